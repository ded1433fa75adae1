"""What a ledger's line says about its recording: which time the window uses, and whether a completion was released."""

from __future__ import annotations

import json
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.audit.record import AppraisedRecord, OutsideWindow, RecordAppraiser
from nomyo_attest.audit.row import Row, encode_row
from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.strict_json import parse_json
from nomyo_attest.ledger.line import LEDGER_FORMAT, Recording, read_recording
from nomyo_attest.testing import Forge

FORGE = Forge(key="p256", processed_at=5)
"""The server dates its responses to 1970."""

POLICY = na.AppraisalPolicy.from_dict(FORGE.policy())
RECORDED = "2026-11-30T12:00:00.500000Z"
AT = 1796040000


def line(**changes: Any) -> bytes:
    whole = {
        "format": LEDGER_FORMAT,
        "number": 1,
        "recorded_at": RECORDED,
        "payload_id": FORGE.payload_id,
        "given": True,
        "refused": None,
        "gate": "off",
        "evidence": {"_metadata": FORGE.response()["_metadata"]},
        **changes,
    }
    return json.dumps({key: value for key, value in whole.items() if value is not ...}).encode()


def appraised(text: bytes, **options: Any) -> AppraisedRecord | OutsideWindow:
    return RecordAppraiser(POLICY, **options).appraise("ledger.jsonl", 1, text)


def row_of(text: bytes, **options: Any) -> Row:
    found = appraised(text, **options)
    assert isinstance(found, AppraisedRecord)
    return found.row


def test_the_row_of_a_ledgers_line_has_the_clients_time_the_gate_and_the_release() -> None:
    row = row_of(line())
    assert (row.verdict, row.processed_at, row.recorded_at) == ("affirming", 5, AT)
    assert (row.gate, row.released) == ("off", True)


@pytest.mark.parametrize(
    ("changes", "gate", "released"),
    [
        ({"refused": "not_affirmed", "gate": "on"}, "on", False),
        ({"gate": ...}, None, True),
        ({"gate": ..., "refused": ...}, None, None),
    ],
)
def test_a_value_that_a_line_does_not_have_is_unknown(
    changes: dict[str, Any], gate: str | None, released: bool | None
) -> None:
    row = row_of(line(**changes))
    assert (row.verdict, row.gate, row.released) == ("affirming", gate, released)


def test_a_response_that_is_not_a_line_has_no_recording() -> None:
    row = row_of(FORGE.text().encode())
    assert (row.recorded_at, row.gate, row.released) == (None, None, None)


def test_a_server_cannot_date_a_ledgers_line_out_of_the_window() -> None:
    assert appraised(FORGE.text().encode(), since=AT) is OutsideWindow.BY_SERVER
    assert row_of(line(), since=AT).verdict == "affirming"
    assert appraised(line(), since=AT + 1) is OutsideWindow.BY_CLIENT
    assert appraised(line(), until=AT) is OutsideWindow.BY_CLIENT


def test_a_line_without_a_time_of_its_own_has_the_servers() -> None:
    assert appraised(line(recorded_at=...), since=AT) is OutsideWindow.BY_SERVER
    assert row_of(line(recorded_at=...)).recorded_at is None


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"recorded_at": "yesterday"}, "recorded_at"),
        ({"recorded_at": "2026-11-30T12:00:00"}, "recorded_at"),
        ({"recorded_at": 5}, "recorded_at"),
        ({"gate": "ajar"}, "gate"),
        ({"gate": True}, "gate"),
        ({"refused": False}, "refused"),
    ],
)
def test_a_recording_that_no_writer_makes_is_malformed_evidence_and_is_appraised(
    changes: dict[str, Any], where: str
) -> None:
    with pytest.raises(EvidenceError) as caught:
        read_recording(json.loads(line(**changes)))
    assert caught.value.where == where
    row = row_of(line(**changes), since=AT + 1, until=AT + 2)
    assert (row.verdict, row.failed) == ("contraindicated", ["evidence.form"])


@pytest.mark.parametrize("key", ["recorded_at", "refused", "gate"])
def test_a_recording_that_is_given_twice_is_malformed_evidence(key: str) -> None:
    text = line().replace(f'"{key}"'.encode(), f'"{key}": null, "{key}"'.encode(), 1)
    with pytest.raises(EvidenceError, match="duplicate"):
        read_recording(parse_json(text))
    assert row_of(text).verdict == "contraindicated"


def test_a_line_whose_evidence_cannot_be_read_was_released_all_the_same() -> None:
    row = row_of(line(given="yes"))
    assert (row.verdict, row.released, row.recorded_at) == ("contraindicated", True, AT)
    assert appraised(line(given="yes"), until=AT) is OutsideWindow.BY_CLIENT


def test_a_line_whose_evidence_is_not_where_it_belongs_was_released_all_the_same() -> None:
    row = row_of(line(evidence={"log": {"_metadata": FORGE.response()["_metadata"]}}))
    assert (row.verdict, row.released, row.gate, row.recorded_at) == ("unreadable", True, "off", AT)


def test_a_verdict_that_stores_its_evidence_keeps_the_recording() -> None:
    first = row_of(line(), keep_evidence=True)
    stored = encode_row(first).rstrip(b"\n")
    again = row_of(stored, keep_evidence=True)
    assert encode_row(again).rstrip(b"\n") == stored
    assert (again.recorded_at, again.gate, again.released) == (AT, "off", True)
    assert appraised(stored, until=AT) is OutsideWindow.BY_CLIENT


@pytest.mark.parametrize(
    ("column", "value"), [("recorded_at", "now"), ("recorded_at", 1.5), ("gate", "ajar"), ("released", "yes")]
)
def test_a_verdict_with_a_recording_that_no_audit_writes_is_malformed_evidence(column: str, value: object) -> None:
    stored = json.loads(encode_row(row_of(line(), keep_evidence=True)))
    row = row_of(json.dumps(stored | {column: value}).encode())
    assert (row.verdict, row.failed) == ("contraindicated", ["evidence.form"])


def test_a_line_that_says_nothing_about_its_recording_has_an_empty_one() -> None:
    assert read_recording({}) == Recording(None, None, None)


@pytest.mark.parametrize("key", ["client", "result", "whole", "number", "previous"])
def test_a_duplicate_key_that_no_appraisal_reads_changes_nothing(key: str) -> None:
    text = line(**{key: 1}).replace(f'"{key}"'.encode(), f'"{key}": {{}}, "{key}"'.encode(), 1)
    row = row_of(text, keep_evidence=True)
    assert (row.verdict, row.released, row.gate, row.recorded_at) == ("affirming", True, "off", AT)
    assert row.evidence is not None


@pytest.mark.parametrize("key", ["format", "payload_id", "given", "evidence"])
def test_a_duplicate_key_that_an_appraisal_reads_is_malformed_evidence(key: str) -> None:
    text = line().replace(f'"{key}"'.encode(), f'"{key}": "{LEDGER_FORMAT}", "{key}"'.encode(), 1)
    row = row_of(text)
    assert (row.verdict, row.failed, row.released) == ("contraindicated", ["evidence.form"], True)
