"""Evidence of the soft TPM, whose private keys anyone can derive, is called what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.appraisal.soft_tpm import TEST_KEYS, key_digest
from nomyo_attest.testing import FAULTS, Forge
from nomyo_attest.tpm import parse_public

FIXTURES = Path(__file__).parents[3] / "fixtures"
RECORDED = sorted((FIXTURES / "evidence" / "recorded").glob("*.json"))
OTHER_PCRS = {"sha256": {index: bytes([index + 1]) * 32 for index in range(24)}}
POLICY = na.AppraisalPolicy.from_dict(
    {"format": "nomyo-attest-policy/1", "id": "any", "unsafe_accept_any_pcrs": True, "unsafe_any_nonce": True}
)


def is_test_key(response: Any) -> bool:
    return na.appraise(response, POLICY).test_key


@pytest.mark.parametrize("key", ["rsa2048", "rsa3072", "p256", "p384", "p521"])
def test_a_key_of_the_fixtures_is_known_whatever_the_pcrs_hold(key: str) -> None:
    forge = Forge(key=key, pcrs=OTHER_PCRS)
    assert key_digest(parse_public(forge.build().public).value) in TEST_KEYS
    result = na.appraise(forge.response(), POLICY)
    assert result.verdict is na.Verdict.AFFIRMING
    assert result.test_key is True
    assert result.to_dict()["aik"]["test_key"] is True


def test_a_boot_of_the_soft_tpm_is_known_whatever_the_key() -> None:
    forge = Forge(key="p256", label="nobody's")
    assert is_test_key(forge.response())
    assert is_test_key(forge.measure(0, b"something else").response())
    assert not is_test_key(Forge(key="p256", label="nobody's", pcrs=OTHER_PCRS).response())
    assert is_test_key(Forge(key="p256", label="nobody's", selection="sha384:7").response())


def test_a_router_that_says_that_it_runs_the_soft_tpm_is_believed() -> None:
    response = Forge(key="p256", label="nobody's", pcrs=OTHER_PCRS).response()
    for said, expected in (("soft, public test keys: for tests only", True), ("swtpm", False), (7, False)):
        response["_metadata"]["tpm_kind"] = said
        assert is_test_key(response) is expected


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_quote_of_another_tpm_is_not_called_a_test_key(path: Path) -> None:
    assert not is_test_key(json.loads(path.read_text(encoding="utf-8"))["response"])


@pytest.mark.parametrize("name", ["known-good", "response", "other-firmware"])
def test_the_plain_fixtures_are_known(name: str) -> None:
    assert is_test_key((FIXTURES / "evidence" / f"{name}.json").read_bytes())


def test_a_response_without_evidence_has_no_test_key() -> None:
    for response in ({}, "nonsense", {"_metadata": {"tpm_kind": ["soft"]}}):
        assert not is_test_key(response)


def test_what_a_fault_does_to_the_key_or_quote_does_not_raise() -> None:
    for fault in FAULTS[::20]:
        assert isinstance(is_test_key(fault.case().response), bool)
