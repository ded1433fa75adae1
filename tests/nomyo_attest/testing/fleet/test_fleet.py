"""A synthetic fleet is right in every way but for its anomalies and a few answers without evidence."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.testing import ForgeError
from nomyo_attest.testing.fleet import ANOMALIES, Fleet, place_of, write_fleet
from nomyo_attest.testing.fleet.fleet import REPLAY, SECURE_BOOT, SNAPSHOT
from nomyo_attest.tpm import TPMS_QUOTE_INFO, parse_attest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SMALL = Fleet(records=200, machines=5, days=10)
FLEETS = [SMALL, Fleet(records=50, machines=4, days=5, seed=1), Fleet(records=300, machines=60, days=30, seed=7)]


def digest_of(folder: Path) -> str:
    """One value for the names and bytes of all files of a folder."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return whole.hexdigest()


def results_of(fleet: Fleet) -> dict[int, na.AttestationResult]:
    policy = na.AppraisalPolicy.from_dict(fleet.policy())
    return {answer.number: na.appraise(answer.text, policy) for answer in fleet.responses()}


def clock_of(text: str) -> tuple[int, int]:
    """Clock and resetCount of an answer."""
    info: Any = parse_attest(na.Evidence.from_response(text).quote).value.clock_info
    return info.clock, info.reset_count


@pytest.mark.parametrize("fleet", FLEETS, ids=str)
def test_what_is_not_affirmed_is_secure_boot_off_or_comes_without_evidence(fleet: Fleet) -> None:
    results = results_of(fleet)
    failed = {number: result.failed for number, result in results.items() if result.failed}
    assert failed == dict.fromkeys(fleet.planted[SECURE_BOOT], SECURE_BOOT.rules)
    assert failed
    without = {n for n, result in results.items() if result.verdict is na.Verdict.NONE}
    assert without == fleet.unavailable
    assert without
    others = results.keys() - failed.keys() - without
    assert {results[number].verdict for number in others} == {na.Verdict.AFFIRMING}


@pytest.mark.parametrize("fleet", FLEETS, ids=str)
def test_one_machine_alone_has_secure_boot_off_and_all_of_one_day(fleet: Fleet) -> None:
    odd = [fleet.schedule[number] for number in fleet.planted[SECURE_BOOT]]
    assert len({(scheduled.machine, scheduled.day) for scheduled in odd}) == 1
    of_that_day = [v.number for v in fleet.schedule if (v.machine, v.day) == (odd[0].machine, odd[0].day)]
    assert tuple(of_that_day) == fleet.planted[SECURE_BOOT]


@pytest.mark.parametrize("fleet", FLEETS, ids=str)
def test_evidence_is_recorded_twice_once_and_no_aik_but_a_pinned_one_is(fleet: Fleet) -> None:
    seen: dict[str, list[int]] = {}
    names: dict[str, list[int]] = {}
    for number, result in results_of(fleet).items():
        if number in fleet.unavailable:
            continue
        assert result.payload_id is not None
        assert result.aik_name is not None
        seen.setdefault(result.payload_id, []).append(number)
        if bytes.fromhex(result.aik_name) not in na.AppraisalPolicy.from_dict(fleet.policy()).pinned:
            names.setdefault(result.aik_name, []).append(number)
    twice = fleet.planted[REPLAY]
    assert [tuple(numbers) for numbers in seen.values() if len(numbers) > 1] == [twice]
    assert [tuple(numbers) for numbers in names.values() if len(numbers) > 1] == [twice]
    texts = {
        answer.number: json.loads(answer.text)["_metadata"] for answer in fleet.responses() if answer.number in twice
    }
    first, second = (texts[number] for number in twice)
    assert first["tpm_attestation"] == second["tpm_attestation"]
    assert second["processed_at"] - first["processed_at"] > 86_400


@pytest.mark.parametrize("fleet", FLEETS, ids=str)
def test_clock_and_reset_counter_of_a_pinned_aik_go_back_once_only(fleet: Fleet) -> None:
    last: dict[int, tuple[int, tuple[int, int]]] = {}
    back = []
    for answer in fleet.responses():
        machine = fleet.schedule[answer.number].machine
        if machine >= fleet.pinned or answer.number in fleet.unavailable:
            continue
        clock = clock_of(answer.text)
        if machine in last:
            before, earlier = last[machine]
            behind = clock[0] <= earlier[0], clock[1] < earlier[1]
            if any(behind):
                assert all(behind)
                back.append((before, answer.number))
        last[machine] = answer.number, clock
    assert back == [fleet.planted[SNAPSHOT]]


def test_every_machine_is_updated_once_and_from_the_old_firmware_to_the_new() -> None:
    fleet = Fleet(records=600, machines=6, days=20)
    old, new = (one["value"] for one in fleet.policy()["pcrs"]["sha256"]["0"])
    seen: dict[int, list[str]] = {}
    for answer in fleet.responses():
        block = json.loads(answer.text)["_metadata"]["tpm_attestation"]
        scheduled = fleet.schedule[answer.number]
        if block["is_available"] and answer.number not in fleet.planted[REPLAY]:
            seen.setdefault(scheduled.machine, []).append(block["pcr_values"]["sha256"]["0"])
    assert len(seen) == 6
    for values in seen.values():
        assert (values[0], values[-1]) == (old, new)
        assert sum(a != b for a, b in pairwise(values)) == 1


def test_the_answers_are_quotes_over_three_pcrs() -> None:
    answer = next(SMALL.responses())
    attested = parse_attest(na.Evidence.from_response(answer.text).quote).value.attested
    assert isinstance(attested, TPMS_QUOTE_INFO)
    assert [one.indices for one in attested.pcr_select.pcr_selections] == [(0, 7, 10)]


def test_the_same_arguments_make_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = tmp_path / name
        folder.mkdir()
        write_fleet(Fleet(records=60, machines=4, days=5, seed=seed), folder)
        digests.append(digest_of(folder))
    assert digests[0] == digests[1] != digests[2]


def test_every_answer_stands_where_its_place_says(tmp_path: Path) -> None:
    write_fleet(SMALL, tmp_path)
    files: dict[str, list[Any]] = {}
    for path in sorted((tmp_path / "recorded").rglob("*.*")):
        name = path.relative_to(tmp_path / "recorded").as_posix()
        octets = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".gz":
            octets = gzip.decompress(octets)
        elif path.suffix == ".zst":
            octets = zstd.decompress(octets)
        if path.suffix == ".json":
            files[name] = [json.loads(octets)]
        elif octets:
            files[name] = [json.loads(line) for line in octets.splitlines()]
    assert {name.rpartition(".")[2] for name in files} == {"jsonl", "gz", "zst", "json"}
    assert sum(map(len, files.values())) == SMALL.records
    for answer in SMALL.responses():
        name, line = place_of(SMALL, answer.number)
        assert files[name][line - 1] == json.loads(answer.text)
    times = [one["_metadata"]["processed_at"] for name in sorted(files) for one in files[name]]
    assert times == sorted(times)


def test_the_policy_file_says_what_the_policy_says_and_the_readme_gives_no_anomaly_away(tmp_path: Path) -> None:
    write_fleet(SMALL, tmp_path)
    assert tomllib.loads((tmp_path / "policy.toml").read_text()) == SMALL.policy()
    readme = (tmp_path / "README.txt").read_text()
    assert "three anomalies" in readme
    assert len(ANOMALIES) == 3
    for given_away in ("Secure Boot off", "PCR 7", "replay", "twice", "snapshot", "clock"):
        assert given_away not in readme


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"machines": 3}, "machines"),
        ({"machines": 201}, "machines"),
        ({"days": 4}, "days"),
        ({"days": 367}, "days"),
        ({"records": 299}, "records"),
        ({"records": 200_001}, "records"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_fleet_that_could_not_show_everything_is_refused(arguments: dict[str, int], field: str) -> None:
    with pytest.raises(ForgeError) as caught:
        Fleet(**arguments)
    assert caught.value.field == field
