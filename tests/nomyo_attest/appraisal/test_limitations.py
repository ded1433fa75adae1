"""Every result states what it does not establish."""

from __future__ import annotations

from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.testing import Forge


def limits(forge: Forge, **changes: Any) -> tuple[str, ...]:
    policy = na.AppraisalPolicy.from_dict({**forge.policy(), **changes})
    return na.appraise(forge.response(), policy).not_established


def some(found: tuple[str, ...], *words: str) -> bool:
    """Whether one of the sentences contains all of these words."""
    return any(all(word in sentence for word in words) for sentence in found)


# threat-model.md, section 2, in plain words
ALWAYS = {
    "self-asserted key": ("TPM made the quote", "no certificate"),
    "relay": ("quoted machine sent the response", "relayed"),
    "proxy": ("nobody else read or wrote the response",),
    "order": ("comes with the response", "processed"),
    "coverage": ("PCR value", "not that this code is sound"),
    "no confidential VM": ("confidential virtual machine", "GPU"),
    "claims": ("security tier", "unsigned"),
}


@pytest.mark.parametrize("limit", ALWAYS)
def test_every_result_names_the_limits_of_the_protocol(limit: str) -> None:
    policy = na.AppraisalPolicy.from_dict(Forge().policy())
    responses: list[object] = [Forge().response(), Forge(magic=0).response(), {}, "nonsense"]
    for response in responses:
        assert some(na.appraise(response, policy).not_established, *ALWAYS[limit])


def test_every_limit_is_a_sentence() -> None:
    for sentence in limits(Forge()):
        assert sentence[0].isupper()
        assert sentence.endswith(".")


def test_a_pinned_key_is_trusted_because_it_is_pinned_and_for_no_other_reason() -> None:
    forge = Forge()
    found = limits(forge, key={"pinned": [forge.build().name.hex()]})
    assert some(found, "AIK is in a TPM", "pins it")
    assert not some(found, "no certificate")


def test_a_pinned_key_whose_signature_does_not_verify_is_as_good_as_any() -> None:
    forge = Forge()
    pinned = forge.build().name.hex()
    found = limits(forge.tamper("signed", lambda signed: signed + b"\0"), key={"pinned": [pinned]})
    assert some(found, "no certificate")


def test_the_obfuscation_of_counters_is_named_outside_endorsement_and_platform() -> None:
    for hierarchy, obfuscated in (
        ("endorsement", False),
        ("platform", False),
        ("owner", True),
        ("null", True),
        (None, True),
    ):
        assert some(limits(Forge(hierarchy=hierarchy)), "obfuscated") is obfuscated


def test_what_an_unsafe_policy_gives_up_is_named() -> None:
    forge = Forge()
    lost = forge.tamper("_metadata", lambda metadata: {"tpm_attestation": metadata["tpm_attestation"]})
    assert some(limits(lost, unsafe_any_nonce=True), "unsafe_any_nonce")
    assert some(limits(lost), "no payload id is known")
    assert not some(limits(Forge()), "unsafe_any_nonce")
    assert some(limits(Forge(), pcrs={}, unsafe_accept_any_pcrs=True), "unsafe_accept_any_pcrs")
    assert not some(limits(Forge()), "unsafe_accept_any_pcrs")


def test_that_an_older_response_passes_is_named_only_where_no_payload_id_was_given() -> None:
    policy, response = na.AppraisalPolicy.from_dict(Forge().policy()), Forge().response()
    assert some(na.appraise(response, policy).not_established, "older response also passes")
    for given in ({"payload_id": Forge().payload_id}, {"payload_id": "another"}, {"nonce": bytes(16)}):
        assert not some(na.appraise(response, policy, **given).not_established, "older response also passes")
