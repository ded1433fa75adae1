"""Every recording from a TPM ends as the attack that made it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na

RECORDED = Path(__file__).parents[2] / "fixtures" / "evidence" / "recorded"
PATHS = sorted(RECORDED.glob("*.json"))

# What the project promises to have recorded; the folder is made anew at will, but never with less.
VALID = {
    "rsa2048-rsassa", "rsa2048-rsapss", "rsa3072-rsassa", "p256", "p384", "sha384-bank", "sha384-bank-sha256-signature",
    "two-banks", "three-banks", "owner", "platform", "null", "child-of-ek",
}  # fmt: skip
ATTACKS = {
    "unrestricted-key", "imported-key", "foreign-bytes-without-magic", "certify", "get-time", "certify-creation",
    "nv-certify", "empty-selection", "unextended-bank", "bank-listed-twice-to-splice", "bank-listed-thrice-to-splice",
    "pcr16-presented-as-7",
}  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def by_name(path: Path) -> str:
    return path.stem


def appraise(recording: dict[str, Any]) -> na.AttestationResult:
    return na.appraise(recording["response"], na.AppraisalPolicy.from_dict(recording["policy"]))


@pytest.mark.parametrize("path", PATHS, ids=by_name)
def test_a_recording_ends_as_its_file_says(path: Path) -> None:
    recording = load(path)
    result = appraise(recording)
    expect, also = recording["expect"], set(recording["also"])
    assert result.verdict.value == expect["verdict"]
    assert set(expect["failed"]) <= set(result.failed) <= set(expect["failed"]) | also
    assert set(expect["undecided"]) <= set(result.undecided) <= set(expect["undecided"]) | also


@pytest.mark.parametrize("path", [path for path in PATHS if load(path)["rule"]], ids=by_name)
def test_an_attack_is_caught_by_the_rule_its_file_names(path: Path) -> None:
    recording = load(path)
    result = appraise(recording)
    assert recording["rule"] in (*result.failed, *result.undecided)
    with pytest.raises(na.AttestationError, match=recording["rule"]):
        result.require()


@pytest.mark.parametrize("path", [path for path in PATHS if not load(path)["rule"]], ids=by_name)
def test_an_honest_recording_is_refused_under_another_payload_id(path: Path) -> None:
    recording = load(path)
    policy = na.AppraisalPolicy.from_dict(recording["policy"])
    result = na.appraise(recording["response"], policy, payload_id="not-the-one-it-was-made-for")
    assert result.failed == ("nonce.match",)


def test_every_kind_of_evidence_and_attack_that_was_promised_is_recorded() -> None:
    rules = {load(path)["name"]: load(path)["rule"] for path in PATHS}
    assert {name for name, rule in rules.items() if rule is None} >= VALID
    assert {name for name, rule in rules.items() if rule is not None} >= ATTACKS


def test_every_recording_says_where_it_comes_from_and_why() -> None:
    for path in PATHS:
        recording = load(path)
        assert recording["name"] == path.stem
        assert recording["origin"].keys() == {"script", "swtpm", "tpm2-pytss"}
        assert recording["reason"]
