"""The policy as a value: its digest, its full form, and what it means where it says nothing."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import pickle
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.appraisal.rules import requirement_of
from nomyo_attest.policy import AppraisalPolicy, Requirement, Trust
from nomyo_attest.testing import Forge
from tests.nomyo_attest.policy.documents import CORE, SOFT, TIMED, ZEROS, Json, small, some_policies


def test_a_policy_that_says_little_means_the_defaults() -> None:
    policy = AppraisalPolicy.from_dict(small())
    assert (policy.id, policy.description, policy.source) == ("small", "", "policy")
    assert [(pcr.place, [value.value for value in pcr.values]) for pcr in policy.pcrs] == [("sha256:0", [bytes(32)])]
    assert policy.hierarchies == ()
    assert policy.rsa_min_bits == 2048
    assert policy.trust is Trust.SELF_ASSERTED
    assert policy.pinned == frozenset()
    assert policy.signature_hashes == ("sha256", "sha384", "sha512")
    assert policy.bank_hashes == ("sha256", "sha384", "sha512")
    assert policy.firmware_versions == frozenset()
    assert policy.claims == {}
    assert policy.rules == {}
    assert (policy.valid_from, policy.valid_until) == (None, None)
    assert policy.unsafe_any_nonce is False
    assert policy.unsafe_accept_any_pcrs is False


def test_the_hashes_of_banks_follow_those_of_signatures_unless_they_are_given() -> None:
    assert AppraisalPolicy.from_dict(small(signature={"hashes": ["sha1"]})).bank_hashes == (
        "sha256", "sha384", "sha512", "sha1",
    )  # fmt: skip
    assert AppraisalPolicy.from_dict(small(signature={"hashes": ["sha384"]})).bank_hashes == (
        "sha256", "sha384", "sha512",
    )  # fmt: skip
    both = small(signature={"hashes": ["sha1"]}, bank={"hashes": ["sha384"]})
    assert AppraisalPolicy.from_dict(both).bank_hashes == ("sha384",)


@pytest.mark.parametrize("rule", [*CORE, *SOFT, "claims.security_tier"])
def test_a_rule_that_the_policy_does_not_mention_is_required(rule: str) -> None:
    assert requirement_of(rule, AppraisalPolicy.from_dict(small())) is Requirement.REQUIRED


@pytest.mark.parametrize(
    ("rule", "word"),
    [(rule, word) for rule in SOFT for word in ("required", "warn", "ignore") if word != "ignore" or rule not in TIMED],
)
def test_a_rule_that_is_not_core_means_what_the_policy_says(rule: str, word: str) -> None:
    asking = {"key": {"hierarchy": ["owner"]}, "firmware": {"versions": ["0x1"]}, "valid_from": "2026-01-01T00:00:00Z"}
    policy = AppraisalPolicy.from_dict(small(rules={rule: word}, unsafe_warn_until="2026-02-01", **asking))
    assert requirement_of(rule, policy) is Requirement(word)


def test_what_is_said_of_one_claim_goes_before_what_is_said_of_all() -> None:
    rules = {"claims.*": "warn", "claims.a.b": "required", "claims.c": "ignore"}
    policy = AppraisalPolicy.from_dict(small(claims={"a.b": [1], "c": [2], "d": [3]}, rules=rules))
    assert requirement_of("claims.a.b", policy) is Requirement.REQUIRED
    assert requirement_of("claims.c", policy) is Requirement.IGNORE
    assert requirement_of("claims.d", policy) is Requirement.WARN
    assert requirement_of("pcr.values", policy) is Requirement.REQUIRED


def test_trust_is_in_three_steps() -> None:
    assert [trust.value for trust in Trust] == ["self_asserted", "pinned_aik", "certified_aik"]
    for low, one in enumerate(Trust):
        for high, other in enumerate(Trust):
            assert other.reaches(one) is (high >= low)


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same document with every table in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(inner, rng)) for key, inner in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [shuffled(inner, rng) for inner in value] if isinstance(value, list) else value


@given(some_policies, st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_of_keys(document: Json, rng: random.Random) -> None:
    one, other = AppraisalPolicy.from_dict(document), AppraisalPolicy.from_dict(shuffled(document, rng))
    assert one.digest == other.digest
    assert one.to_dict() == other.to_dict()


@given(some_policies)
def test_the_full_form_of_a_policy_makes_the_same_policy(document: Json) -> None:
    before = copy.deepcopy(document)
    policy = AppraisalPolicy.from_dict(document)
    assert document == before
    full = policy.to_dict()
    again = AppraisalPolicy.from_dict(json.loads(json.dumps(full)))
    assert again.to_dict() == full
    assert again.digest == policy.digest
    for name in ("id", "pcrs", "accepted", "pinned", "pinned_labels", "trust", "rsa_min_bits", "rules"):
        assert getattr(again, name) == getattr(policy, name), name
    assert {path: {*map(repr, values)} for path, values in again.claims.items()} == {
        path: {*map(repr, values)} for path, values in policy.claims.items()
    }
    assert set(again.signature_hashes) == set(policy.signature_hashes)
    assert set(again.bank_hashes) == set(policy.bank_hashes)
    assert set(again.hierarchies) == set(policy.hierarchies)
    assert again.valid_from == policy.valid_from


def test_the_digest_is_that_of_the_full_form_as_json_with_sorted_keys_and_no_blanks() -> None:
    # Users store digests: this text may not change with the library's version.
    canonical = (
        '{"bank":{"hashes":["sha256","sha384","sha512"]},"claims":{},"description":"","format":"nomyo-attest-policy/1",'
        '"id":"small","key":{"rsa_min_bits":2048,"trust":"self_asserted"},"pcrs":{"sha256":{"0":[{"label":"",'
        f'"value":"{ZEROS}"}}]}}}},"rules":{{}},"signature":{{"hashes":["sha256","sha384","sha512"]}},'
        '"unsafe_accept_any_pcrs":false,"unsafe_any_nonce":false}'
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    assert AppraisalPolicy.from_dict(small()).digest == f"sha256:{digest}"


ONES, TWOS = "11" * 32, "22" * 32
CHANGES: dict[str, Json] = {
    "nothing": {},
    "id": {"id": "other"},
    "description": {"description": "words"},
    "a value": {"pcrs": {"sha256": {"0": [ONES]}}},
    "two values": {"pcrs": {"sha256": {"0": [ZEROS, ONES]}}},
    "a label": {"pcrs": {"sha256": {"0": [{"value": ZEROS, "label": "Secure Boot"}]}}},
    "another label": {"pcrs": {"sha256": {"0": [{"value": ZEROS, "label": "Secure Boot off"}]}}},
    "another index": {"pcrs": {"sha256": {"1": [ZEROS]}}},
    "another bank": {"pcrs": {"sha3_256": {"0": [ZEROS]}}},
    "an index more": {"pcrs": {"sha256": {"0": [ZEROS], "7": "any"}}},
    "a value for it": {"pcrs": {"sha256": {"0": [ZEROS], "7": [ZEROS]}}},
    "a bank more": {"pcrs": {"sha256": {"0": [ZEROS]}, "sha1": {"0": "any"}}},
    "hierarchy": {"key": {"hierarchy": ["owner"]}},
    "hierarchies": {"key": {"hierarchy": ["owner", "null"]}},
    "rsa_min_bits": {"key": {"rsa_min_bits": 3072}},
    "pinned": {"key": {"pinned": ["000b" + ONES]}},
    "pinned with a label": {"key": {"pinned": [{"name": "000b" + ONES, "label": "router-eu-1"}]}},
    "pinned with another label": {"key": {"pinned": [{"name": "000b" + ONES, "label": "router-eu-2"}]}},
    "another pinned": {"key": {"pinned": ["000b" + TWOS]}},
    "pinned without trust": {"key": {"pinned": ["000b" + ONES], "trust": "self_asserted"}},
    "signature hashes": {"signature": {"hashes": ["sha256"]}},
    "SHA-1 signatures": {"signature": {"hashes": ["sha1", "sha256", "sha384", "sha512"]}},
    "bank hashes": {"bank": {"hashes": ["sha256"]}},
    "firmware": {"firmware": {"versions": ["0x1"]}},
    "firmwares": {"firmware": {"versions": ["0x1", "0x2"]}},
    "a claim": {"claims": {"security_tier": ["high"]}},
    "a claim of true": {"claims": {"security_tier": [True]}},
    "a claim of 1": {"claims": {"security_tier": [1]}},
    "a claim of text 1": {"claims": {"security_tier": ["1"]}},
    "a claim elsewhere": {"claims": {"security_tier.x": ["high"]}},
    "a rule": {"rules": {"clock.safe": "warn"}},
    "a rule ignored": {"rules": {"clock.safe": "ignore"}},
    "valid_from": {"valid_from": "2026-01-01T00:00:00Z"},
    "valid_until": {"valid_until": "2026-01-01T00:00:00Z"},
    "unsafe_any_nonce": {"unsafe_any_nonce": True},
    "unsafe_accept_any_pcrs": {"unsafe_accept_any_pcrs": True},
}


def test_each_thing_that_a_policy_can_say_changes_its_digest() -> None:
    digests = {what: AppraisalPolicy.from_dict(small(**change)).digest for what, change in CHANGES.items()}
    assert len(set(digests.values())) == len(digests)
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in digests.values())


SAME: dict[str, tuple[Json, Json]] = {
    "upper case": ({"pcrs": {"sha256": {"0": ["ab" * 32]}}}, {"pcrs": {"sha256": {"0": ["AB" * 32]}}}),
    "order of values": ({"pcrs": {"sha256": {"0": [ZEROS, ONES]}}}, {"pcrs": {"sha256": {"0": [ONES, ZEROS]}}}),
    "a value without a label": (
        {"pcrs": {"sha256": {"0": [ZEROS]}}},
        {"pcrs": {"sha256": {"0": [{"value": ZEROS, "label": ""}]}}},
    ),
    "a default said aloud": ({}, {"key": {"rsa_min_bits": 2048, "trust": "self_asserted"}, "unsafe_any_nonce": False}),
    "order of hashes": ({"signature": {"hashes": ["sha256", "sha1"]}}, {"signature": {"hashes": ["sha1", "sha256"]}}),
    "order of hierarchies": ({"key": {"hierarchy": ["owner", "null"]}}, {"key": {"hierarchy": ["null", "owner"]}}),
    "a pinned AIK without a label": (
        {"key": {"pinned": ["000b" + ONES, "000b" + TWOS]}},
        {"key": {"pinned": [{"name": "000B" + TWOS}, {"name": "000b" + ONES}]}},
    ),
    "order of labelled AIKs": (
        {"key": {"pinned": [{"name": "000b" + ONES, "label": "a"}, {"name": "000b" + TWOS, "label": "b"}]}},
        {"key": {"pinned": [{"name": "000b" + TWOS, "label": "b"}, {"name": "000b" + ONES, "label": "a"}]}},
    ),
    "spelling of firmware": ({"firmware": {"versions": ["0x1"]}}, {"firmware": {"versions": ["0x0001"]}}),
    "order of claims": ({"claims": {"a": ["x", "y"]}}, {"claims": {"a": ["y", "x"]}}),
}


@pytest.mark.parametrize("what", SAME)
def test_what_means_the_same_has_the_same_digest(what: str) -> None:
    one, other = (AppraisalPolicy.from_dict(small(**change)) for change in SAME[what])
    assert one.digest == other.digest


@pytest.mark.parametrize(
    ("whole", "float_"),
    [
        ({"key": {"rsa_min_bits": 3072}}, {"key": {"rsa_min_bits": 3072.0}}),
        ({"claims": {"a": [1]}}, {"claims": {"a": [1.0]}}),
    ],
)
def test_a_float_is_refused_or_means_the_whole_number_that_it_is(whole: Json, float_: Json) -> None:
    try:
        policy = AppraisalPolicy.from_dict(small(**float_))
    except na.PolicyError:
        return
    assert policy.digest == AppraisalPolicy.from_dict(small(**whole)).digest


def test_a_policy_without_labels_keeps_the_digest_of_version_1() -> None:
    # Users store digests: labels were added later, and a policy without them is not to change.
    document = AppraisalPolicy.from_dict(small(key={"pinned": ["000b" + TWOS, {"name": "000b" + ONES}]})).to_dict()
    assert document["key"]["pinned"] == ["000b" + ONES, "000b" + TWOS]


def test_a_pinned_key_has_the_label_that_the_policy_gives_it() -> None:
    pinned = [{"name": "000B" + ONES, "label": "router-eu-1"}, "000b" + TWOS]
    policy = AppraisalPolicy.from_dict(small(key={"pinned": pinned}))
    assert policy.pinned == {bytes.fromhex("000b" + ONES), bytes.fromhex("000b" + TWOS)}
    assert policy.pinned_labels == {bytes.fromhex("000b" + ONES): "router-eu-1"}
    assert policy.to_dict()["key"]["pinned"] == [{"name": "000b" + ONES, "label": "router-eu-1"}, "000b" + TWOS]


def test_pinned_keys_are_asked_for_unless_the_policy_says_otherwise() -> None:
    pinned = {"pinned": ["000b" + ONES]}
    assert AppraisalPolicy.from_dict(small(key=pinned)).trust is Trust.PINNED_AIK
    assert AppraisalPolicy.from_dict(small(key={**pinned, "trust": "self_asserted"})).trust is Trust.SELF_ASSERTED


def test_core_rules_are_required_even_of_a_policy_that_was_put_together_by_hand() -> None:
    rules = {rule.id: na.Requirement.IGNORE for rule in na.RULES}
    try:
        policy = AppraisalPolicy(id="by hand", rules=rules, unsafe_accept_any_pcrs=True, unsafe_any_nonce=True)
    except na.PolicyError:
        return
    tampered = Forge().tamper("signature", lambda blob: bytes(262)).response()
    for given_ in ({"is_available": False}, {}, "nonsense", tampered):
        result = na.appraise(given_, policy)
        assert result.verdict not in (na.Verdict.AFFIRMING, na.Verdict.WARNING)


def test_a_policy_put_together_by_hand_with_an_unknown_rule_is_refused() -> None:
    rules = {"pcr.value": na.Requirement.WARN}
    with pytest.raises(na.PolicyError, match=r"unknown rule") as caught:
        AppraisalPolicy(id="by hand", rules=rules, unsafe_accept_any_pcrs=True)
    assert caught.value.where == 'rules."pcr.value"'


def test_a_policy_put_together_by_hand_that_pins_nothing_is_refused() -> None:
    with pytest.raises(na.PolicyError):
        AppraisalPolicy(id="by hand")
    with pytest.raises(na.PolicyError):
        dataclasses.replace(AppraisalPolicy.from_dict(small()), pcrs=())


@pytest.mark.parametrize(
    "name", ["pcrs", "rules", "claims", "accepted", "pinned", "unsafe_any_nonce", "digest", "trust"]
)
def test_a_policy_cannot_be_changed(name: str) -> None:
    policy = AppraisalPolicy.from_dict(small(claims={"a": [1]}))
    with pytest.raises(AttributeError):
        setattr(policy, name, getattr(policy, name))
    for table in (policy.rules, policy.claims, policy.pinned_labels):
        with pytest.raises(TypeError):
            table["clock.safe"] = na.Requirement.IGNORE  # type: ignore[index]  # that is what must not work


@given(some_policies)
def test_a_policy_comes_the_same_from_another_process(document: Json) -> None:
    policy = AppraisalPolicy.from_dict(document)
    again = pickle.loads(pickle.dumps(policy))
    assert again.digest == policy.digest
    assert again.to_dict() == policy.to_dict()


def test_a_policy_shows_its_id_and_the_beginning_of_its_digest() -> None:
    policy = AppraisalPolicy.from_dict(small())
    assert repr(policy) == f"<AppraisalPolicy 'small' {policy.digest[:19]}>"
