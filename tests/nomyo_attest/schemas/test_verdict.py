"""The schema of an audit's verdicts describes every row, and nothing looser."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

import nomyo_attest as na
from nomyo_attest.audit.record import AppraisedRecord, RecordAppraiser, unreadable_row
from nomyo_attest.audit.row import COLUMNS, VERDICTS, encode_row
from nomyo_attest.schemas import load_schema
from nomyo_attest.testing import FAULTS, VARIANTS

SCHEMA = load_schema("verdict")
VALIDATOR = Draft202012Validator(SCHEMA)


def test_it_is_a_schema_of_the_columns() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert tuple(SCHEMA["properties"]) == COLUMNS
    assert tuple(SCHEMA["properties"]["verdict"]["enum"]) == VERDICTS


@pytest.mark.parametrize("kind", ["faults", "variants"])
@pytest.mark.slow
def test_every_row_is_valid(kind: str) -> None:
    for one in FAULTS if kind == "faults" else VARIANTS:
        case = one.case()
        text = case.response if isinstance(case.response, (str, bytes)) else json.dumps(case.response)
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        appraiser = RecordAppraiser(na.AppraisalPolicy.from_dict(case.policy), keep_evidence=True)
        appraised = appraiser.appraise("a", 1, data)
        assert isinstance(appraised, AppraisedRecord)
        assert list(VALIDATOR.iter_errors(json.loads(encode_row(appraised.row)))) == [], one.name


def test_a_row_of_what_could_not_be_read_is_valid() -> None:
    VALIDATOR.validate(json.loads(encode_row(unreadable_row("a.gz", 0, "the archive is cut off"))))


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_is_always_there(column: str) -> None:
    row = json.loads(encode_row(unreadable_row("a.gz", 0, "the archive is cut off")))
    del row[column]
    assert list(VALIDATOR.iter_errors(row))
