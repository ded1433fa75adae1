"""What the server says without a PCR behind it: firmware, and unsigned claims."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.testing import Forge
from tests.nomyo_attest.appraisal.checks.rule_findings import FAIL, PASS, UNDECIDED, ask, outcome, policy_for

VERSION = 0x2024012500120000


def firmware(*versions: int) -> dict[str, Any]:
    return {"firmware": {"versions": [f"0x{version:x}" for version in versions]}}


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_firmware_is_one_of_the_versions_that_the_policy_lists(version: int, other: int) -> None:
    forge = Forge(key="p256", firmware_version=version)
    assert outcome("firmware.version", forge, firmware(version)) is PASS
    listed = {other, other ^ 1 << 63} - {version}
    assert outcome("firmware.version", forge, firmware(*listed)) is FAIL
    assert outcome("firmware.version", forge, firmware(*listed, version)) is PASS


@pytest.mark.parametrize(
    ("hierarchy", "told"), [("endorsement", True), ("platform", True), ("owner", False), ("null", False), (None, False)]
)
def test_firmware_can_be_told_in_the_endorsement_and_platform_hierarchies_only(
    hierarchy: str | None,
    told: bool,
) -> None:
    forge = Forge(hierarchy=hierarchy)
    assert outcome("firmware.version", forge, firmware(VERSION)) is (PASS if told else UNDECIDED)
    assert outcome("firmware.version", forge, firmware(1)) is (FAIL if told else UNDECIDED)


def test_firmware_is_asked_only_where_the_policy_lists_some() -> None:
    rules = [finding.rule for finding in na.appraise(Forge().response(), policy_for(Forge())).findings]
    assert "firmware.version" not in rules
    assert not any(rule.startswith("claims") for rule in rules)


VALUES: dict[str, Any] = {
    "true": True, "false": False, "1": 1, "0": 0, "1.0": 1.0, "0.0": 0.0, "text 1": "1", "text true": "true",
    "empty": "", "null": None, "-1": -1, "2**63": 2**63, "list": [1], "object": {"a": 1}, "upper case": "TRUE",
    "with a blank": "true ",
}  # fmt: skip
ASKABLE = [what for what, value in VALUES.items() if isinstance(value, (str, int))]


def claiming(value: Any, path: tuple[str, ...] = ("security_tier",)) -> Forge:
    """A server that claims `value` at a path of its metadata."""

    def change(metadata: dict[str, Any]) -> dict[str, Any]:
        key, *rest = path
        inner: Any = value
        for name in reversed(rest):
            inner = {name: inner}
        return {**metadata, key: inner}

    return Forge(key="p256").tamper("_metadata", change)


@pytest.mark.parametrize("claimed", VALUES)
@pytest.mark.parametrize("asked", ASKABLE)
def test_a_claim_is_the_value_asked_for_and_of_its_type(claimed: str, asked: str) -> None:
    changes = {"claims": {"security_tier": [VALUES[asked]]}}
    forge = claiming(VALUES[claimed])
    expected = PASS if claimed == asked else FAIL
    assert outcome("claims.security_tier", forge, changes) is expected
    assert outcome("claims.security_tier", forge, changes, response=json.dumps(forge.response())) is expected


def test_a_claim_is_one_of_several_values() -> None:
    changes = {"claims": {"security_tier": ["high", "maximum", True]}}
    for value, expected in (("high", PASS), ("maximum", PASS), (True, PASS), (1, FAIL), ("standard", FAIL)):
        assert outcome("claims.security_tier", claiming(value), changes) is expected


@pytest.mark.parametrize("path", [("a",), ("a", "b"), ("a", "b", "c"), ("tpm_attestation-2", "0", "_")])
def test_a_claim_is_found_at_its_path(path: tuple[str, ...]) -> None:
    name = ".".join(path)
    rule, changes = f"claims.{name}", {"claims": {name: ["x"]}}
    assert outcome(rule, claiming("x", path), changes) is PASS
    assert outcome(rule, claiming("y", path), changes) is FAIL
    assert outcome(rule, Forge(key="p256"), changes) is UNDECIDED
    # The path in one key is not the path; nor is a list an object.
    assert outcome(rule, claiming("x", (name,)), changes) is (PASS if len(path) == 1 else UNDECIDED)
    if len(path) > 1:
        for other in (["x"], "x", None, True, {"": "x"}):
            assert outcome(rule, claiming(other, path[:-1]), changes) is UNDECIDED


def test_each_claim_has_a_finding_of_its_own() -> None:
    changes = {"claims": {"security_tier": ["high"], "memory_protection.memory_locking": [True], "nowhere": [1]}}
    result = na.appraise(Forge().response(), policy_for(Forge(), **changes))
    found = {one.rule: one.outcome for one in result.findings if one.rule.startswith("claims.")}
    assert found == {
        "claims.security_tier": PASS,
        "claims.memory_protection.memory_locking": PASS,
        "claims.nowhere": UNDECIDED,
    }
    assert result.verdict is na.Verdict.NONE


PLATFORM = "memory_protection.platform"


@pytest.mark.parametrize(
    ("key", "path"), [("security_tier", "security_tier"), ("memory_protection", PLATFORM), ("platform", PLATFORM)]
)
def test_a_duplicate_claim_does_not_hold_whichever_comes_last(key: str, path: str) -> None:
    metadata = Forge().response()["_metadata"]
    text = json.dumps(Forge().response())
    value: Any = metadata
    for name in path.split("."):
        value = value[name]
    holder = metadata if key in metadata else metadata["memory_protection"]
    changes = {"claims": {path: [value]}}
    for first in ("null", '"other"', json.dumps(holder[key])):
        twice = text.replace(f'"{key}": ', f'"{key}": {first}, "{key}": ', 1)
        finding = ask(f"claims.{path}", Forge(), changes, response=twice)
        assert finding.outcome is FAIL
        assert "more than once" in finding.message


def test_a_claim_beside_a_duplicate_one_holds() -> None:
    twice = json.dumps(Forge().response()).replace('"platform": ', '"platform": 1, "platform": ', 1)
    assert outcome("claims.security_tier", Forge(), {"claims": {"security_tier": ["high"]}}, response=twice) is PASS


def test_a_bare_block_claims_nothing() -> None:
    block = Forge().response()["_metadata"]["tpm_attestation"]
    changes = {"claims": {"security_tier": ["high"]}}
    assert outcome("claims.security_tier", Forge(), changes, response=block, payload_id=Forge().payload_id) is UNDECIDED


def test_claims_are_softened_one_by_one_or_all_together() -> None:
    asked = {"claims": {"security_tier": ["maximum"], "nowhere": ["x"]}}
    for rules, verdict in (
        ({"claims.*": "warn"}, na.Verdict.WARNING),
        ({"claims.*": "ignore"}, na.Verdict.AFFIRMING),
        ({"claims.security_tier": "warn"}, na.Verdict.NONE),
        ({"claims.nowhere": "warn"}, na.Verdict.CONTRAINDICATED),
        ({"claims.*": "ignore", "claims.security_tier": "warn"}, na.Verdict.WARNING),
        ({"claims.*": "ignore", "claims.security_tier": "required"}, na.Verdict.CONTRAINDICATED),
    ):
        assert na.appraise(Forge().response(), policy_for(Forge(), **asked, rules=rules)).verdict is verdict


def test_a_claim_that_holds_makes_up_for_nothing() -> None:
    changes = {"claims": {"security_tier": ["high"]}}
    for forge in (Forge(magic=0), Forge(safe=0), Forge(payload_id="p").tamper("extra_data", lambda _: b"")):
        assert na.appraise(forge.response(), policy_for(forge, **changes)).verdict is na.Verdict.CONTRAINDICATED
