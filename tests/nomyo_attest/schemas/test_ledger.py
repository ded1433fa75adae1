"""The schema of a ledger's line describes every line that a ledger writes, and nothing looser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

import nomyo_attest as na
from nomyo_attest.ledger.line import LEDGER_FORMAT, Line, RepairContent
from nomyo_attest.schemas import load_schema
from tests.nomyo_attest.ledger.ledgers import SMALL, answer, policy, records

SCHEMA = load_schema("ledger")
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the lines of a ledger of two files: records of each kind, and a repair line."""
    path: Path = tmp_path_factory.mktemp("ledger") / "evidence.jsonl"
    log = na.EvidenceLog(path)
    log.append(answer(), payload_id="an-id", policy=policy(), gate="on")
    log.append(SMALL, policy=policy(), refused="not_affirmed", gate="off")
    log.append(SMALL, payload_id="x", canary=True)
    with path.open("ab") as file:
        file.write(path.read_bytes()[:100])  # a torn line
    log.append(SMALL)
    na.EvidenceLog(path, rotate_bytes=1).append(SMALL)
    return [*records(path.with_name("evidence.0001.jsonl")), *records(path)]


def is_valid(line: dict[str, Any]) -> bool:
    return bool(VALIDATOR.is_valid(line))


def test_it_is_a_schema_of_the_keys() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["format"]["const"] == LEDGER_FORMAT
    assert {*SCHEMA["properties"]} == {field.name for field in msgspec.structs.fields(Line)} | {"client", "canary"}
    assert [*SCHEMA["properties"]["repair"]["properties"]] == [
        field.name for field in msgspec.structs.fields(RepairContent)
    ]


def test_every_line_is_valid(lines: list[dict[str, Any]]) -> None:
    assert {key for line in lines for key in line} == {*SCHEMA["properties"]}
    for line in lines:
        VALIDATOR.validate(line)


def test_a_line_without_a_required_key_is_invalid(lines: list[dict[str, Any]]) -> None:
    optional = {"canary", "continues", "gate", "repair"}
    for line in lines:
        for key in line.keys() - optional:
            assert not is_valid({other: value for other, value in line.items() if other != key})


def test_a_line_with_another_key_is_invalid(lines: list[dict[str, Any]]) -> None:
    assert not any(is_valid({**line, "prompt": "x"}) for line in lines)


def test_a_repair_line_with_evidence_is_invalid(lines: list[dict[str, Any]]) -> None:
    (repair,) = (line for line in lines if "repair" in line)
    assert not is_valid({**repair, "evidence": SMALL})


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 0},
        {"previous": 64 * "0"},
        {"recorded_at": "2026-01-01"},
        {"payload_id": 1},
        {"given": None},
        {"gate": None},
        {"canary": False},
        {"evidence": None},
        {"client": {"name": 1}},
        {"format": json.dumps(LEDGER_FORMAT)},
    ],
)
def test_a_wrong_value_is_invalid(lines: list[dict[str, Any]], changes: dict[str, Any]) -> None:
    assert not is_valid({**lines[0], **changes})
