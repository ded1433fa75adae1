"""The incidents of whole audits, of records with every fault."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from nomyo_attest.audit.summary import CONSEQUENCE
from nomyo_attest.testing import Forge
from tests.nomyo_attest.audit.recorded import TEXTS
from tests.nomyo_attest.cli.runner import run

Json = dict[str, Any]


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Json, Json]:
    """The audit of three files by one process, and the audit of the same files in another order by two."""
    folder = tmp_path_factory.mktemp("incidents")
    (folder / "policy.json").write_text(json.dumps(Forge().policy()), encoding="utf-8")
    names = [folder / f"{name}.jsonl" for name in "abc"]
    for at, name in enumerate(names):
        name.write_bytes(b"\n".join(TEXTS[at::2]) + b"\n")

    def audit(*arguments: object) -> Json:
        ran = run("audit", *arguments, "--policy", folder / "policy.json", "--format", "json")
        assert ran.status == 1
        return dict(ran.json())

    return audit(*names, "--processes", 1), audit(*reversed(names), "--processes", 2)


def test_incidents_depend_neither_on_the_order_of_sources_nor_on_the_number_of_processes(
    summaries: tuple[Json, Json],
) -> None:
    one, other = summaries
    assert len(one["incidents"]) > 10
    for key in ("incidents", "cause_groups", "cause_groups_total"):
        assert one[key] == other[key]


def test_each_failing_record_is_in_one_incident_of_each_rule_that_does_not_hold_for_it(
    summaries: tuple[Json, Json],
) -> None:
    summary, _ = summaries
    expected: Counter[str] = Counter()
    for one in summary["rules"]:
        expected[one["rule"]] += one["records"] * (one["outcome"] != CONSEQUENCE and one["requirement"] != "ignore")
    counted: Counter[str] = Counter()
    for incident in summary["incidents"]:
        assert 0 < incident["records"] <= sum(summary["counts"].values())
        for rule in incident["rules"]:
            counted[rule] += incident["records"]
    assert {rule: counted[rule] for rule in expected} == dict(expected)


def test_the_findings_across_records_are_all_in_incidents(summaries: tuple[Json, Json]) -> None:
    summary, _ = summaries
    found = {one["rule"] for one in summary["cross_record"]}
    assert found
    assert found <= {rule for incident in summary["incidents"] for rule in incident["rules"]}
