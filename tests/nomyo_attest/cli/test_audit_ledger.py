"""Audits of ledgers and other records over a window of time, and of what was released though not affirmed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from nomyo_attest import AppraisalPolicy, EvidenceLog
from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import run, single_error_line

WINDOW = ("--since", "2020-01-01T00:00:00Z")


def responses() -> list[dict[str, Any]]:
    """Two responses, of which the server dates the second, with another PCR value, to 1970."""
    good, bad = Forge(payload_id="id-0"), Forge(payload_id="id-1", processed_at=5).measure(7, b"db 2026-11")
    return [good.response(), bad.response()]


@pytest.fixture
def plain(folder: Path) -> str:
    (folder / "day.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in responses()), encoding="utf-8")
    return "day.jsonl"


@pytest.fixture
def ledger(folder: Path) -> str:
    log = EvidenceLog("ledger.jsonl")
    policy = AppraisalPolicy.load("policy.toml")
    good, bad = responses()
    log.append(good, payload_id="id-0", policy=policy, gate="on")
    log.append(bad, payload_id="id-1", policy=policy, gate="off")
    log.append(bad, payload_id="id-1", policy=policy, gate="on", refused="not_affirmed")
    return "ledger.jsonl"


def audit(*argv: str) -> Any:
    return run("audit", *argv, "--policy", "policy.toml")


def summary(*argv: str) -> dict[str, Any]:
    document: dict[str, Any] = audit(*argv, "--format", "json").json()
    return document


class TestTheWindow:
    def test_a_ledgers_line_is_in_the_window_by_the_clients_clock_whatever_the_server_says(self, ledger: str) -> None:
        document = summary(ledger, *WINDOW)
        assert (document["outside"], document["counts"]["contraindicated"], document["status"]) == (0, 2, 1)
        assert summary(ledger, "--until", "2020-01-01T00:00:00Z")["outside"] == 3

    def test_records_outside_by_the_servers_time_are_counted(self, plain: str) -> None:
        document = summary(plain, *WINDOW)
        assert (document["outside"], document["outside_by_server"], document["status"]) == (1, 1, 0)
        (source,) = document["sources"]
        assert (source["outside"], source["outside_by_server"]) == (1, 1)

    def test_records_outside_by_the_clients_time_are_told_apart(self, ledger: str) -> None:
        document = summary(ledger, "--until", "2020-01-01T00:00:00Z")
        assert (document["outside"], document["outside_by_server"]) == (3, 0)

    def test_fail_on_outside_fails_for_records_that_the_server_dates_out_of_the_window(
        self, plain: str, ledger: str
    ) -> None:
        ran = audit(plain, *WINDOW, "--fail-on", "outside")
        assert ran.status == 1
        assert "exit status 1: not passed; 1 record outside the window by the server's own time" in ran.out
        assert audit(ledger, *WINDOW, "--fail-on", "outside").status == 0

    def test_fail_on_outside_without_a_window_is_wrong_usage(self, plain: str) -> None:
        ran = audit(plain, "--fail-on", "outside")
        assert ran.status == 2
        assert single_error_line(ran).startswith("--fail-on outside: requires a time window")

    def test_every_report_tells_by_whose_clock_records_are_outside(self, plain: str) -> None:
        told = "1 by the server's own time, which is unsigned"
        written = ("--markdown", "m.md", "--html", "r.html", "--junit", "j.xml", "--sarif", "s.json")
        ran = audit(plain, *WINDOW, "--github", *written)
        assert told in " ".join(ran.out.split())
        assert "::notice title=outside the window::1 record outside the window: 1 by" in ran.out
        assert told in Path("m.md").read_text(encoding="utf-8")
        assert told.replace("'", "&#x27;") in Path("r.html").read_text(encoding="utf-8")
        found = {one.get("name"): one.get("value") for one in ET.parse("j.xml").getroot().iter("property")}
        assert found["outside by the server's own time"] == "1"
        (sarif_run,) = json.loads(Path("s.json").read_text(encoding="utf-8"))["runs"]
        assert (sarif_run["properties"]["outside"], sarif_run["properties"]["outsideByServer"]) == (1, 1)

    def test_a_time_in_iso_8601_is_a_time(self, folder: Path) -> None:
        response = Forge().response()
        response["_metadata"]["processed_at"] = "1970-01-01T00:00:05Z"
        (folder / "iso.jsonl").write_text(json.dumps(response) + "\n", encoding="utf-8")
        assert summary("iso.jsonl", *WINDOW)["outside_by_server"] == 1


class TestReleased:
    def test_rows_say_whether_the_gate_was_on_and_the_completion_released(self, ledger: str) -> None:
        audit(ledger, "--out", "v.jsonl")
        rows = [json.loads(line) for line in Path("v.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [(row["gate"], row["released"], row["verdict"]) for row in rows] == [
            ("on", True, "affirming"),
            ("off", True, "contraindicated"),
            ("on", False, "contraindicated"),
        ]

    def test_what_was_released_though_not_affirmed_is_counted_by_the_gate(self, ledger: str) -> None:
        found = summary(ledger)["released"]
        assert (found["known"], found["released"], found["not_affirmed"]) == (3, 2, 1)
        assert (found["gate_off"], found["gate_on"], found["counts"]["contraindicated"]) == (1, 0, 1)

    def test_fail_on_released_fails_for_those_alone(self, ledger: str) -> None:
        ran = audit(ledger, "--fail-on", "released")
        assert ran.status == 1
        assert "exit status 1: not passed; 1 record failed: 1 contraindicated though released" in ran.out
        lines = Path(ledger).read_bytes().splitlines(keepends=True)
        Path("refused.jsonl").write_bytes(lines[0] + lines[2])
        assert audit("refused.jsonl", "--fail-on", "released").status == 0
        assert audit("refused.jsonl").status == 1

    def test_fail_on_released_fails_where_no_record_says_it(self, plain: str) -> None:
        ran = audit(plain, "--fail-on", "released")
        assert ran.status == 1
        assert "no record states whether its completion was released" in ran.out

    def test_every_report_tells_what_was_released_though_not_affirmed(self, ledger: str) -> None:
        told = "1 of 2 released records: 1 with the client's gate off"
        written = ("--markdown", "m.md", "--html", "r.html", "--junit", "j.xml", "--sarif", "s.json")
        ran = audit(ledger, "--github", *written)
        assert f"Released though not affirmed {told}" in " ".join(ran.out.split())
        assert f"::error title=released though not affirmed::Released though not affirmed: {told}." in ran.out
        assert f"- Released though not affirmed: {told}" in Path("m.md").read_text(encoding="utf-8")
        assert told.replace("'", "&#x27;") in Path("r.html").read_text(encoding="utf-8")
        root = ET.parse("j.xml").getroot()
        found = {one.get("name"): one.get("value") for one in root.iter("property")}
        assert (found["released"], found["released though not affirmed"]) == ("2", "1")
        cases = {case.get("name"): case for case in root.iter("testcase")}
        failure = cases["only affirmed records are released"].find("failure")
        assert failure is not None
        assert failure.get("message") == f"Released though not affirmed: {told}"
        (sarif_run,) = json.loads(Path("s.json").read_text(encoding="utf-8"))["runs"]
        assert (sarif_run["properties"]["released"], sarif_run["properties"]["releasedNotAffirmed"]) == (2, 1)

    def test_reports_of_records_that_do_not_say_it_do_not_mention_release(self, plain: str) -> None:
        audit(plain, "--markdown", "m.md", "--junit", "j.xml")
        assert "eleased" not in Path("m.md").read_text(encoding="utf-8")
        assert "only affirmed records are released" not in Path("j.xml").read_text(encoding="utf-8")
