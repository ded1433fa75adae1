"""Are the reported PCR values the signed ones, and those the policy knows?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.testing import Forge
from tests.nomyo_attest.appraisal.checks.rule_findings import FAIL, PASS, UNDECIDED, ask, outcome, policy_for

SIZES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
selections = st.dictionaries(
    st.sampled_from(sorted(SIZES)), st.lists(st.integers(0, 23), min_size=1, max_size=6, unique=True), min_size=1
)


def written(selection: dict[str, list[int]]) -> str:
    return "+".join(f"{bank}:{','.join(map(str, indices))}" for bank, indices in selection.items())


def forge_of(selection: dict[str, list[int]] | str, **fields: Any) -> Forge:
    text = selection if isinstance(selection, str) else written(selection)
    return Forge(**{"key": "p256", "selection": text, **fields})


def policy_of(forge: Forge, pcrs: dict[str, Any], **more: Any) -> na.AppraisalPolicy:
    base = {"pcrs": pcrs, "bank": {"hashes": sorted(SIZES)}, "unsafe_accept_any_pcrs": True}
    return na.AppraisalPolicy.from_dict({**forge.policy(), **base, **more})


@given(selections, st.sampled_from(["sha256", "sha384", "sha512"]))
def test_every_selection_that_is_reported_as_it_was_signed_is_affirmed(
    selection: dict[str, list[int]], hash_alg: str
) -> None:
    forge = forge_of(selection, hash_alg=hash_alg)
    assert na.appraise(forge.response(), policy_for(forge)).verdict is na.Verdict.AFFIRMING


@given(selections, selections)
def test_a_report_of_other_pcrs_than_the_signed_ones_is_refused(
    signed: dict[str, list[int]], reported: dict[str, list[int]]
) -> None:
    forge = forge_of(reported).tamper("selections", lambda _: list(signed.items()))
    same = {bank: set(indices) for bank, indices in signed.items()} == {
        bank: set(indices) for bank, indices in reported.items()
    }
    assert outcome("pcr.selection", forge) is (PASS if same else FAIL)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("bank", ["sha1", "sha384", 0x0012, 0x0027])
def test_a_bank_that_is_signed_with_no_pcr_beside_others_is_left_out_of_the_report(bank: Any, place: int) -> None:
    """TPM 2.0 Part 3, TPM2_PCR_Read: a bank that is not allocated stays in the selection, with every bit clear."""
    signed: list[tuple[Any, list[int]]] = [("sha256", [0, 7, 10])]
    signed.insert(place, (bank, []))
    forge = Forge(key="p256").tamper("selections", lambda _: signed)
    assert na.appraise(forge.response(), policy_for(forge)).verdict is na.Verdict.AFFIRMING
    unknown = policy_of(forge, {"sha256": forge.policy()["pcrs"]["sha256"], "sha1": {"0": "any"}})
    assert na.appraise(forge.response(), unknown).failed == ("pcr.values",)


@pytest.mark.parametrize(
    "signed",
    [
        [],
        [("sha256", [])],
        [("sha256", []), ("sha1", [])],
        [("sha256", [0, 7, 10]), ("sha256", [])],
        [("sha256", []), ("sha256", [0, 7, 10])],
        [("sha256", [0, 7, 10]), ("sha256", [0, 7, 10])],
        [("sha256", [0, 7]), ("sha256", [10])],
        [("sha256", [0, 7, 10]), ("sha1", []), ("sha1", [])],
        [("sha256", [0, 7, 10]), ("sha1", [0])],
        [("sha256", [0, 7])],
        [("sha256", [0, 7, 10, 11])],
        [("sha256", [0, 7, 10, 24])],
        [("sha256", [24])],
        [("sha1", [0, 7, 10])],
        [(0x0027, [0, 7, 10])],
    ],
    ids=str,
)
def test_a_signed_selection_that_is_not_just_what_is_reported_is_refused(signed: list[tuple[Any, list[int]]]) -> None:
    forge = Forge(key="p256").tamper("selections", lambda _: signed)
    finding = ask("pcr.selection", forge)
    assert finding.outcome is FAIL
    assert finding.expected != finding.got or "more than once" in finding.message
    assert finding.message


def test_the_order_of_banks_and_indices_in_the_report_does_not_matter_but_the_signed_one_does() -> None:
    for banks in ("sha256:0,7,10+sha384:1,2", "sha384:2,1+sha256:10,0,7"):
        forge = forge_of("sha256:0,7,10+sha384:1,2").tamper("pcr_banks", lambda _, banks=banks: banks)  # type: ignore[misc]
        assert na.appraise(forge.response(), policy_for(forge)).verdict is na.Verdict.AFFIRMING
    forge = forge_of("sha256:0,7,10+sha384:1,2")
    values = [forge.pcrs["sha384"][i] for i in (1, 2)] + [forge.pcrs["sha256"][i] for i in (0, 7, 10)]
    forge.tamper("pcr_digest", lambda _: hashlib.sha256(b"".join(values)).digest())
    assert outcome("pcr.digest", forge) is FAIL


@given(selections, st.sampled_from(["sha1", "sha256", "sha384", "sha512"]))
def test_the_digest_is_that_of_the_signature_s_hash_over_the_values_in_signed_order(
    selection: dict[str, list[int]], hash_alg: str
) -> None:
    forge = forge_of(selection, hash_alg=hash_alg)
    values = b"".join(forge.pcrs[bank][i] for bank, indices in selection.items() for i in sorted(indices))
    finding = ask("pcr.digest", forge)
    assert (finding.outcome, finding.got) == (PASS, hashlib.new(hash_alg, values).digest())


@pytest.mark.parametrize("used", sorted(SIZES))
@pytest.mark.parametrize("other", sorted(SIZES))
def test_a_digest_of_another_hash_does_not_count(used: str, other: str) -> None:
    forge = forge_of("sha256:0,7,10", hash_alg=used)
    values = b"".join(forge.pcrs["sha256"][i] for i in (0, 7, 10))
    forge.tamper("pcr_digest", lambda _: hashlib.new(other, values).digest())
    assert outcome("pcr.digest", forge) is (PASS if used == other else FAIL)


@pytest.mark.parametrize("size", [0, 1, 16, 31, 33, 64])
def test_a_digest_cut_or_padded_does_not_count(size: int) -> None:
    forge = Forge(key="p256").tamper("pcr_digest", lambda digest: (digest + bytes(64))[:size])
    assert outcome("pcr.digest", forge) is FAIL


@given(st.sampled_from([0, 7, 10]), st.integers(0, 63), st.integers(1, 15))
def test_each_digit_of_each_value_counts(index: int, digit: int, change: int) -> None:
    def tamper(values: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        text = values["sha256"][str(index)]
        other = f"{int(text[digit], 16) ^ change:x}"
        return {"sha256": {**values["sha256"], str(index): text[:digit] + other + text[digit + 1 :]}}

    forge = Forge(key="p256").tamper("pcr_values", tamper)
    result = na.appraise(forge.response(), policy_for(forge))
    assert set(result.failed) == {"pcr.digest", "pcr.values"}


def test_values_under_swapped_indices_do_not_count() -> None:
    def swap(values: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        return {"sha256": {**values["sha256"], "0": values["sha256"]["7"], "7": values["sha256"]["0"]}}

    assert outcome("pcr.digest", Forge(key="p256").tamper("pcr_values", swap)) is FAIL


def test_upper_case_digits_are_the_same_value() -> None:
    def upper(values: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        return {bank: {index: value.upper() for index, value in of_bank.items()} for bank, of_bank in values.items()}

    forge = Forge(key="p256").tamper("pcr_values", upper)
    assert na.appraise(forge.response(), policy_for(forge)).verdict is na.Verdict.AFFIRMING


@pytest.mark.parametrize("relied_on", sorted(SIZES))
@pytest.mark.parametrize("allowed", [["sha256"], ["sha1", "sha384"], sorted(SIZES), None])
def test_reference_values_count_only_in_banks_that_the_policy_allows(relied_on: str, allowed: list[str] | None) -> None:
    forge = forge_of(f"{relied_on}:0")
    policy = {**forge.policy()}
    policy.pop("bank", None)
    if allowed is not None:
        policy["bank"] = {"hashes": allowed}
    fine = relied_on in (allowed if allowed is not None else ("sha256", "sha384", "sha512"))
    assert na.appraise(forge.response(), na.AppraisalPolicy.from_dict(policy)).failed == (() if fine else ("pcr.bank",))


def test_a_weak_bank_beside_a_strong_one_does_no_harm_until_a_value_relies_on_it() -> None:
    forge = forge_of("sha1:0,7+sha256:0,7")
    strong = {"sha256": {"0": [forge.pcrs["sha256"][0].hex()]}}
    for weak, verdict in (
        ({}, na.Verdict.AFFIRMING),
        ({"sha1": {"0": "any"}}, na.Verdict.AFFIRMING),
        ({"sha1": {"0": [forge.pcrs["sha1"][0].hex()]}}, na.Verdict.CONTRAINDICATED),
    ):
        policy = na.AppraisalPolicy.from_dict(
            {**forge.policy(), "pcrs": {**strong, **weak}, "bank": {"hashes": ["sha256"]}}
        )
        assert na.appraise(forge.response(), policy).verdict is verdict


named = st.dictionaries(
    st.integers(0, 23), st.sampled_from(["any", "right", "wrong", "right of two"]), min_size=1, max_size=5
)


@given(st.lists(st.integers(0, 23), min_size=1, max_size=6, unique=True), named)
def test_each_pcr_that_the_policy_names_must_be_signed_with_one_of_its_values(
    signed: list[int], asked: dict[int, str]
) -> None:
    forge = forge_of({"sha256": signed})
    right = {index: forge.pcrs["sha256"][index].hex() for index in asked}
    values: dict[str, Callable[[int], Any]] = {
        "any": lambda index: "any",
        "right": lambda index: [right[index]],
        "wrong": lambda index: ["ab" * 32],
        "right of two": lambda index: ["ab" * 32, {"value": right[index].upper(), "label": "now"}],
    }
    policy = policy_of(forge, {"sha256": {str(index): values[how](index) for index, how in asked.items()}})
    wrong = {f"sha256:{index}" for index, how in asked.items() if index not in signed or how == "wrong"}
    result = na.appraise(forge.response(), policy)
    (finding,) = (one for one in result.findings if one.rule == "pcr.values")
    assert finding.outcome is (FAIL if wrong else PASS)
    if wrong:
        assert result.failed == ("pcr.values",)
        assert set(finding.expected) == set(finding.got) == wrong
        for place in wrong:
            index = int(place.partition(":")[2])
            assert place in finding.message
            assert finding.got[place] == (forge.pcrs["sha256"][index] if index in signed else None)


def test_a_value_of_the_right_index_in_another_bank_does_not_count() -> None:
    forge = forge_of("sha384:0")
    policy = policy_of(forge, {"sha256": {"0": [forge.pcrs["sha256"][0].hex()]}})
    assert na.appraise(forge.response(), policy).failed == ("pcr.values",)


def test_a_reported_value_that_was_not_signed_does_not_count_even_where_it_is_right() -> None:
    forge = Forge(key="p256").tamper("selections", lambda _: [("sha256", [0, 10])])
    finding = ask("pcr.values", forge)
    assert finding.outcome is FAIL
    assert finding.got == {"sha256:7": None}
    assert finding.message == "PCR sha256:7 (not quoted) does not match the policy"


def test_of_values_that_were_all_signed_none_is_said_to_be_missing() -> None:
    forge = Forge(key="p256")
    policy = policy_of(forge, {"sha256": {"0": ["00" * 32]}})
    (finding,) = [one for one in na.appraise(forge.response(), policy).findings if one.rule == "pcr.values"]
    assert finding.message == "PCR sha256:0 does not match the policy"


def test_a_policy_that_pins_nothing_still_wants_what_is_reported_to_be_signed() -> None:
    forge = Forge(key="p256")
    policy = policy_of(forge, {})
    assert na.appraise(forge.response(), policy).verdict is na.Verdict.AFFIRMING
    for stage, change in (
        ("pcr_digest", lambda digest: bytes(32)),
        ("selections", lambda _: []),
        ("selections", lambda _: [("sha256", [0, 7])]),
        ("signed", lambda signed: signed + b"\0"),
    ):
        assert na.appraise(Forge(key="p256").tamper(stage, change).response(), policy).verdict in (
            na.Verdict.CONTRAINDICATED,
            na.Verdict.NONE,
        )


def test_what_is_no_quote_has_no_pcrs() -> None:
    name = b"\0\x22" + b"\0\x0b" + bytes(32)
    forge = Forge(key="p256", attest_type=0x8017).tamper("attested", lambda _: name + name)
    for rule in ("pcr.selection", "pcr.digest", "pcr.values"):
        assert outcome(rule, forge) is UNDECIDED
    assert outcome("attest.type", forge) is FAIL
