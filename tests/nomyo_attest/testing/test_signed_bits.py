"""Every bit that a key may sign is judged, but for those that nothing could be compared with.

The forge signs each changed structure as it is, so what refuses it is never the signature: a Verifier that left a field
out would affirm the change.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import nomyo_attest as na
from nomyo_attest.testing import Forge, writer

POLICY_SIZE = 32


def forge() -> Forge:
    return Forge(key="p256", auth_policy=b"\x11" * POLICY_SIZE)


def flipped(bit: int) -> Callable[[bytes], bytes]:
    def change(blob: bytes) -> bytes:
        number = int.from_bytes(blob, "big") ^ 1 << 8 * len(blob) - 1 - bit
        return number.to_bytes(len(blob), "big")

    return change


def by_verdict(stage: str, size: int) -> dict[na.Verdict, set[int]]:
    """The bits of a structure of `size` bytes, by what becomes of evidence where one of them is changed and signed."""
    policy = na.AppraisalPolicy.from_dict(forge().policy())
    bits: dict[na.Verdict, set[int]] = {verdict: set() for verdict in na.Verdict}
    for bit in range(8 * size):
        result = na.appraise(forge().tamper(stage, flipped(bit)).response(), policy)
        bits[result.verdict].add(bit)
    return bits


def bits_of(first: int, last: int) -> set[int]:
    return set(range(8 * first, 8 * last + 8))


@pytest.fixture(scope="module")
def quote() -> dict[na.Verdict, set[int]]:
    return by_verdict("attest", len(forge().build().attest))


@pytest.fixture(scope="module")
def key() -> dict[na.Verdict, set[int]]:
    return by_verdict("public", len(forge().build().public))


def test_a_quote_is_affirmed_with_any_clock_counters_and_firmware_and_nothing_else(
    quote: dict[na.Verdict, set[int]],
) -> None:
    clock_and_counters, firmware = bits_of(60, 75), bits_of(77, 84)
    assert quote[na.Verdict.AFFIRMING] == clock_and_counters | firmware


def test_a_quote_that_names_another_signer_is_undecided(quote: dict[na.Verdict, set[int]]) -> None:
    assert quote[na.Verdict.NONE] == bits_of(10, 41)


def test_no_bit_of_a_key_goes_unjudged_but_for_those_that_say_who_may_use_it(key: dict[na.Verdict, set[int]]) -> None:
    """`VARIANTS` says which of these must be affirmed."""
    not_judged = (
        writer.ST_CLEAR
        | writer.USER_WITH_AUTH
        | writer.ADMIN_WITH_POLICY
        | writer.FIRMWARE_LIMITED
        | writer.SVN_LIMITED
        | writer.NO_DA
        | writer.ENCRYPTED_DUPLICATION
        | writer.X509_SIGN
    )
    attributes = {bit for bit in bits_of(4, 7) if not_judged >> 63 - bit & 1}
    auth_policy = bits_of(10, 9 + POLICY_SIZE)
    assert len(attributes) == 8
    assert key[na.Verdict.AFFIRMING] <= attributes | auth_policy
    assert not key[na.Verdict.WARNING]
