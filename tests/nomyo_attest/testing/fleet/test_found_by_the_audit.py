"""The audit finds the three anomalies of a synthetic fleet, and the answers without evidence, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nomyo_attest.testing.fleet import ANOMALIES, Fleet, place_of
from nomyo_attest.testing.fleet.fleet import REPLAY, SECURE_BOOT, SNAPSHOT
from tests.nomyo_attest.cli.runner import run

FLEETS = [Fleet(), Fleet(records=50, machines=4, days=5, seed=3), Fleet(records=300, machines=60, days=30, seed=7)]


def places(fleet: Fleet, numbers: tuple[int, ...]) -> list[tuple[str, int]]:
    """Where answers stand, as an audit of the folder names it."""
    return [(f"recorded/{name}", line) for name, line in (place_of(fleet, number) for number in numbers)]


@pytest.mark.parametrize("fleet", FLEETS, ids=str)
def test_the_audit_finds_the_three_anomalies_and_nothing_else(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = ("--records", fleet.records, "--machines", fleet.machines, "--days", fleet.days, "--seed", fleet.seed)
    assert run("example", "fleet", "fleet", *numbers).status == 0
    monkeypatch.chdir("fleet")
    options = ("--policy", "policy.toml", "--processes", 1, "--format", "json", "--out", "verdicts.jsonl")
    ran = run("audit", "recorded", *options)
    assert (ran.status, ran.err) == (1, "")
    summary: Any = ran.json()
    rows = [json.loads(line) for line in Path("verdicts.jsonl").read_text().splitlines()]

    # What one record shows: Secure Boot off, and no evidence.
    odd, without = fleet.planted[SECURE_BOOT], tuple(sorted(fleet.unavailable))
    refused = {(row["source"], row["line"]): row for row in rows if row["verdict"] != "affirming"}
    assert sorted(refused) == sorted(places(fleet, (*odd, *without)))
    for place in places(fleet, odd):
        assert (refused[place]["verdict"], refused[place]["failed"]) == ("contraindicated", [*SECURE_BOOT.rules])
    for place in places(fleet, without):
        assert (refused[place]["verdict"], refused[place]["available"]) == ("none", False)
    counts = {"affirming": fleet.records - len(refused), "contraindicated": len(odd), "none": len(without)}
    assert summary["counts"] == {"warning": 0, "unreadable": 0} | counts

    # What only shows across records: evidence recorded twice, and a snapshot brought back.
    found = {finding["rule"]: finding for finding in summary["cross_record"]}
    assert len(found) == len(summary["cross_record"])
    assert sorted(found) == sorted(rule for anomaly in ANOMALIES for rule in anomaly.cross_record)
    for rule in REPLAY.cross_record:
        told = [(place["source"], place["line"]) for place in found[rule]["places"]]
        assert told == places(fleet, fleet.planted[REPLAY])
    for rule in SNAPSHOT.cross_record:
        first = found[rule]["first"]
        assert [(first["source"], first["line"])] == places(fleet, fleet.planted[SNAPSHOT][1:])

    # An incident for each anomaly, and one for the answers without evidence, with the place of the first record.
    incidents = summary["incidents"]
    assert [one["kind"] for one in incidents] == ["boot", "replay", "rollback", "missing_evidence"]
    first = [(one["first"]["source"], one["first"]["line"]) for one in incidents]
    expected = (odd[:1], fleet.planted[REPLAY][:1], fleet.planted[SNAPSHOT][1:], without[:1])
    assert first == [place for numbers in expected for place in places(fleet, numbers)]
    assert [one["records"] for one in incidents if one["kind"] != "rollback"] == [len(odd), 2, len(without)]
    assert incidents[0]["title"].startswith("One machine (inferred) ")
    assert sum(boot["records"] for boot in incidents[0]["boots"]) == len(odd)
    assert {boot["aik"] for boot in incidents[0]["boots"]} == {""}  # inferred: no AIK of this machine is pinned

    # The roll-out: two firmwares, and apart from them the machine with Secure Boot off.
    sound = [profile for profile in summary["profiles"] if not profile["counts"]["contraindicated"]]
    assert len({profile["pcrs"]["sha256"]["0"] for profile in sound}) == len(sound) == 2
    assert [sorted(profile["pcrs"]["sha256"]) for profile in sound] == [["0", "7"]] * 2
    apart = [profile for profile in summary["profiles"] if profile not in sound]
    assert sum(profile["counts"]["contraindicated"] for profile in apart) == len(odd)
