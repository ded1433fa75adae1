"""`nomyo chat --evidence-log`: what is kept of answers that are printed, refused, or cannot be kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nomyo_attest.ledger.verify import verify
from tests.nomyo.cli.router_evidence import PROMPT, evidence
from tests.nomyo.cli.runner import run
from tests.nomyo.wire.plain_router import PlainRouter

LEDGER = "evidence.jsonl"


def records() -> list[dict[str, Any]]:
    assert verify([LEDGER]).problems == []
    return [json.loads(line) for line in Path(LEDGER).read_text(encoding="utf-8").splitlines()]


def test_answers_and_refusals_are_kept(router: PlainRouter, policy: str, here: Path) -> None:
    assert run("chat", "--policy", policy, "--evidence-log", LEDGER, PROMPT).out == f"{PROMPT}\n"
    assert run("chat", "--evidence-log", LEDGER, PROMPT).status == 0
    router.attest = lambda payload_id: evidence(payload_id, b"other firmware")
    refused = run("chat", "--policy", policy, "--evidence-log", LEDGER, PROMPT)
    assert refused.status == 1
    assert f"record 3 of {LEDGER}" in refused.err
    assert refused.err.endswith(f"\n  tail -n 1 {LEDGER} > refused.jsonl\n")
    verdicts = [record["result"] and record["result"]["verdict"] for record in records()]
    assert verdicts == ["affirming", None, "contraindicated"]
    assert PROMPT not in Path(LEDGER).read_text(encoding="utf-8")


def test_the_environment_may_name_the_ledger(router: PlainRouter, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOMYO_EVIDENCE_LOG", LEDGER)
    assert run("chat", PROMPT).status == 0
    assert len(records()) == 1
    monkeypatch.setenv("NOMYO_EVIDENCE_LOG", "")
    assert "NOMYO_EVIDENCE_LOG: empty environment variable" in run("chat", PROMPT).err


def test_a_ledger_that_cannot_be_used_is_one_line_and_nothing_is_sent(router: PlainRouter, here: Path) -> None:
    ran = run("chat", "--evidence-log", "none/evidence.jsonl", PROMPT)
    assert (ran.status, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("nomyo: --evidence-log: ")
    assert "its folder does not exist; create it: mkdir -p" in line
    assert router.requests == []


def test_an_answer_that_cannot_be_kept_is_not_printed(router: PlainRouter, here: Path) -> None:
    echo = router.complete

    def tamper(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
        Path(LEDGER).chmod(0o666)
        return echo(payload, payload_id)

    router.complete = tamper
    ran = run("chat", "--evidence-log", LEDGER, PROMPT)
    assert (ran.status, ran.out) == (2, "")
    assert "could not be stored, so the completion is not released" in ran.err
    assert len(router.posts) == 1
