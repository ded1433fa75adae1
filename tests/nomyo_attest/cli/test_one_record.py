"""The commands for one response read one line of a ledger as an audit does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nomyo_attest.ledger.line import NO_PREVIOUS, encode_line
from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import run, single_error_line

SENT = "the-id-that-was-sent"
MORE: dict[str, Any] = {"recorded_at": "2026-01-01T00:00:00.000000Z", "refused": None, "whole": True, "result": {}}


def ledger_line(forge: Forge, *, given: bool = True, payload_id: str = SENT) -> dict[str, Any]:
    evidence = {"_metadata": forge.response()["_metadata"]}
    line = encode_line(1, NO_PREVIOUS, {**MORE, "payload_id": payload_id, "given": given, "evidence": evidence})
    document: dict[str, Any] = json.loads(line)
    return document


def write(name: str, *documents: object) -> None:
    Path(name).write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    line = ledger_line(Forge(payload_id=SENT))
    write("line.jsonl", line)
    write("line.json", line)
    assert run("policy", "learn", "--allow-test-keys", "line.jsonl", "-o", "policy.toml").status == 0
    return line


@pytest.mark.parametrize("name", ["line.jsonl", "line.json"])
def test_one_line_of_a_ledger_is_appraised_with_the_id_that_the_client_sent(line: dict[str, Any], name: str) -> None:
    ran = run("verify", name, "--policy", "policy.toml", "--format", "json")
    (entry,) = json.loads(ran.out)["results"]
    found = entry["result"]
    assert (ran.status, found["verdict"]) == (0, "affirming")
    assert (found["payload_id"], found["payload_id_source"]) == (SENT, "given")
    assert run("inspect", name).status == 0


def test_the_response_of_another_request_is_refused_although_it_contains_its_own_id(line: dict[str, Any]) -> None:
    write("other.jsonl", ledger_line(Forge(payload_id="another-id")))
    ran = run("verify", "other.jsonl", "--policy", "policy.toml", "--format", "json")
    (entry,) = json.loads(ran.out)["results"]
    assert ran.status == 1
    assert [one["outcome"] for one in entry["result"]["findings"] if one["rule"] == "nonce.match"] == ["fail"]
    for files in (["other.jsonl"], ["line.jsonl", "other.jsonl"]):
        ran = run("policy", "learn", "--allow-test-keys", *files)
        assert ran.status == 1
        assert "nonce.match" in single_error_line(ran)


@pytest.mark.parametrize("option", [["--payload-id", "another-id"], ["--nonce", "00" * 16]])
def test_an_option_that_contradicts_the_line_is_an_error(line: dict[str, Any], option: list[str]) -> None:
    for command in (["verify", "--policy", "policy.toml"], ["policy", "learn", "--allow-test-keys"]):
        ran = run(*command, "line.jsonl", *option)
        assert ran.status == 2
        assert option[0] in single_error_line(ran)
    assert run("verify", "--policy", "policy.toml", "line.jsonl", "--payload-id", SENT).status == 0


def test_an_id_that_was_not_sent_does_not_count(line: dict[str, Any]) -> None:
    write("line.jsonl", ledger_line(Forge(payload_id="another-id"), given=False))
    ran = run("verify", "line.jsonl", "--policy", "policy.toml", "--format", "json")
    (entry,) = json.loads(ran.out)["results"]
    assert (entry["result"]["payload_id"], entry["result"]["payload_id_source"]) == ("another-id", "recorded")
    assert run("verify", "line.jsonl", "--policy", "policy.toml", "--payload-id", SENT).status == 1


@pytest.mark.parametrize("key", ["_metadata", "tpm_attestation", "is_available", "choices"])
def test_a_response_cannot_pose_as_a_line_of_a_ledger(line: dict[str, Any], key: str) -> None:
    write("posing.json", {**line, key: {}})
    ran = run("verify", "posing.json", "--policy", "policy.toml")
    assert ran.status in (1, 2)
    assert "affirming" not in ran.out


def test_a_malformed_line_is_malformed_evidence(line: dict[str, Any]) -> None:
    write("line.jsonl", {**line, "given": "yes"})
    assert run("verify", "line.jsonl", "--policy", "policy.toml").status == 1
    assert run("policy", "learn", "--allow-test-keys", "line.jsonl").status == 1
    assert run("inspect", "line.jsonl").status == 1


def test_a_repair_line_contains_no_record(line: dict[str, Any]) -> None:
    repair = {"bytes": 1, "sha256": "", "torn": ""}
    write("line.jsonl", json.loads(encode_line(1, NO_PREVIOUS, {"recorded_at": "", "repair": repair})))
    for command in (["verify", "--policy", "policy.toml"], ["policy", "learn"], ["inspect"]):
        ran = run(*command, "line.jsonl")
        assert ran.status == 2
        assert single_error_line(ran).startswith("line.jsonl: ")


def test_a_ledger_of_more_lines_is_refused_with_the_command_for_one_line(line: dict[str, Any]) -> None:
    write("evidence.jsonl", line, line)
    write("evidence.json", line, line)
    for name in ("evidence.jsonl", "evidence.json"):
        for command in (["verify", "--policy", "policy.toml"], ["policy", "learn"], ["inspect"]):
            ran = run(*command, name)
            assert ran.status == 2
            assert "tail -n 1 evidence.jsonl > line.jsonl" in single_error_line(ran)
