"""A cross-record check that compared nothing is not reported as one that holds, in any report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import run

WHY = "2 records have no usable processed_at, so the order is unknown; 0 records were compared"


def response(number: int, time: object) -> dict[str, Any]:
    """One of two responses of a pinned AIK, whose clock goes back."""
    forge = Forge(payload_id=f"id-{number}", clock=9_000_000 - number * 1_000_000)
    made: dict[str, Any] = forge.response()
    made["_metadata"]["processed_at"] = time
    return made


@pytest.fixture
def pinned(folder: Path) -> Path:
    """A policy that pins the AIK of all responses."""
    answer = Forge().build()
    policy = Forge().policy() | {"key": {"pinned": [answer.name.hex()]}}
    (folder / "pinned.json").write_text(json.dumps(policy), encoding="utf-8")
    return folder


def audit(times: list[object], *argv: str) -> Any:
    lines = [json.dumps(response(number, time)) for number, time in enumerate(times)]
    Path("day.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return run("audit", "day.jsonl", "--policy", "pinned.json", "--force", *argv)


def outcomes(times: list[object]) -> dict[str, str]:
    document = audit(times, "--format", "json").json()
    return {one["rule"]: one["outcome"] for one in document["cross_record_rules"]}


UNDATED: list[object] = ["2026-01-01T00:00:00", "yesterday"]
DATED: list[object] = ["2026-01-01T00:00:00Z", "2026-01-01T02:00:00+01:00"]


@pytest.mark.usefixtures("pinned")
class TestNotEvaluated:
    def test_a_clock_that_goes_back_is_found_where_times_are_in_iso_8601(self) -> None:
        assert outcomes(DATED)["rollback.clock"] == "found"

    @pytest.mark.parametrize("times", [UNDATED, [None, None], [None, 1767225600]])
    def test_a_clock_is_not_evaluated_where_a_record_has_no_usable_time(self, times: list[object]) -> None:
        found = outcomes(times)
        assert (found["rollback.clock"], found["rollback.counters"]) == ("not_evaluated", "not_evaluated")
        assert found["duplicate.quote"] == "held"

    def test_it_fails_by_default_and_under_series_and_not_with_allow_undated(self) -> None:
        for argv in ((), ("--fail-on", "cross-record")):
            ran = audit(UNDATED, *argv)
            assert ran.status == 1
            assert "exit status 1: not passed; 2 cross-record checks not evaluated" in ran.out
        assert audit(UNDATED, "--fail-on", "contraindicated").status == 0
        assert audit(UNDATED, "--allow-undated").status == 0
        assert audit(DATED, "--allow-undated").status == 1

    def test_one_record_without_a_time_is_fine(self) -> None:
        assert audit([None]).status == 0

    def test_the_text_says_why_and_what_to_do(self) -> None:
        text = audit(UNDATED).out
        assert "  NOT EVALUATED  rollback.clock\n" in text
        assert "  NOT EVALUATED  rollback.counters\n" in text
        assert WHY in " ".join(text.split())
        assert "remediation Record `processed_at` of each response" in " ".join(text.split())
        assert "  holds  duplicate.quote\n  holds  duplicate.payload_id\n  holds  reused.aik\n" in text
        accepted = audit(UNDATED, "--allow-undated").out
        assert "  NOT EVALUATED  rollback.clock  accepted\n" in accepted

    def test_every_other_report_says_it(self) -> None:
        written = ("--markdown", "m.md", "--html", "r.html", "--junit", "j.xml", "--sarif", "s.json")
        ran = audit(UNDATED, "--github", *written)
        assert "::error title=2 cross-record checks could not be evaluated" in ran.out
        assert f"::{WHY}.%0A" in ran.out
        text = Path("m.md").read_text(encoding="utf-8")
        assert "**NOT EVALUATED** `rollback.clock`\n" in text
        assert WHY.split(";", maxsplit=1)[0] in text
        assert "\n\nholds `reused.aik`\n" in text
        page = Path("r.html").read_text(encoding="utf-8")
        assert page.count("<bdi>NOT EVALUATED</bdi></span>") == 2
        assert "2 cross-record checks could not be evaluated." in page
        cases = {case.get("name"): case for case in ET.parse("j.xml").getroot().iter("testcase")}
        failure = cases["rollback.clock"].find("failure")
        assert failure is not None
        assert failure.get("message") == f"not evaluated: {WHY}"
        (sarif_run,) = json.loads(Path("s.json").read_text(encoding="utf-8"))["runs"]
        notified = sarif_run["invocations"][0]["toolExecutionNotifications"]
        assert [one["message"]["text"] for one in notified] == [
            f"rollback.{rule} was not evaluated: {WHY}" for rule in ("clock", "counters")
        ]
        clock = sarif_run["properties"]["acrossRecords"]["rollback.clock"]
        assert (clock["outcome"], clock["undated"], clock["remark"]) == ("not_evaluated", 2, WHY)

    def test_what_is_accepted_is_skipped_in_junit_and_no_annotation(self) -> None:
        ran = audit(UNDATED, "--allow-undated", "--github", "--junit", "j.xml")
        assert "::error" not in ran.out
        cases = {case.get("name"): case for case in ET.parse("j.xml").getroot().iter("testcase")}
        assert cases["rollback.clock"].find("failure") is None
        assert cases["rollback.clock"].find("skipped") is not None
