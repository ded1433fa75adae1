"""Digests are cut, and what differs still looks different."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.appraisal import Outcome
from nomyo_attest.policy import Trust
from nomyo_attest.report.values import digests, value_text
from nomyo_attest.tpm import TPM_ALG_ID


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


@given(st.sets(st.binary(min_size=32, max_size=32), max_size=6))
def test_different_values_are_written_differently(values: set[bytes]) -> None:
    written = digests(values)
    assert len(set(written.values())) == len(values)


@given(value=st.binary(min_size=32, max_size=64), bits=st.sets(st.integers(0, 255), min_size=1, max_size=4))
def test_values_that_differ_in_one_bit_are_written_differently(value: bytes, bits: set[int]) -> None:
    values = {value, *(flipped(value, bit) for bit in bits)}
    written = digests(values)
    assert len(set(written.values())) == len(values)


@given(value=st.binary(min_size=32, max_size=64), bit=st.integers(0, 255))
def test_two_values_are_cut_at_the_same_places(value: bytes, bit: int) -> None:
    one, other = digests([value, flipped(value, bit)]).values()
    differing = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    assert differing
    assert [i for i, char in enumerate(one) if char == "…"] == [i for i, char in enumerate(other) if char == "…"]
    assert len(one) <= 22


def test_short_values_and_verbose_ones_are_whole() -> None:
    assert digests([bytes(16), bytes(20)]) == {bytes(16): "00" * 16, bytes(20): "00" * 20}
    assert digests([bytes(32)], whole=True) == {bytes(32): "00" * 32}
    assert digests([]) == {}


def test_a_cut_value_shows_its_ends_and_the_place_of_the_difference() -> None:
    value = bytes(range(32))
    assert digests([value])[value] == "00010203…1e1f"
    other = flipped(value, 8 * (31 - 16))
    assert digests([value, other]) == {value: "00010203…10111213…1e1f", other: "00010203…11111213…1e1f"}
    behind = flipped(value, 8 * (31 - 4))
    assert digests([value, behind]) == {value: "0001020304050607…1e1f", behind: "0001020305050607…1e1f"}


@pytest.mark.parametrize(
    ("rule", "value", "text"),
    [
        ("key.attributes", ["sign"], "sign"),
        ("key.attributes", [], "none"),
        ("signature.hash", ("sha256", "sha384"), "sha256 or sha384"),
        ("policy.period", ["2026", None], "from 2026"),
        ("policy.period", [None, "2027"], "until 2027"),
        ("policy.period", ["2026", "2027"], "from 2026 until 2027"),
        ("claims.tier", ["high", True, 1], '"high" or true or 1'),
        ("claims.tier", "true", '"true"'),
        ("claims.tier", "a\x1b", '"a\\u001b"'),
        ("clock.safe", True, "true"),
        ("clock.safe", False, "false"),
        ("nonce.match", b"", "no bytes"),
        ("nonce.match", b"\xab", "ab"),
        ("signature.scheme", TPM_ALG_ID.RSASSA, "TPM_ALG_RSASSA"),
        ("key.trust", Trust.PINNED_AIK, "pinned_aik"),
        ("any", Outcome.FAIL, "fail"),
        ("any", None, "nothing"),
        ("any", 7, "7"),
        ("any", (), "none"),
        ("any", {"sha256:7": [b"\x01"]}, "sha256:7 = 01"),
        ("evidence.form", "a\nb", "a\\nb"),
    ],
)
def test_every_kind_of_value_has_its_words(rule: str, value: object, text: str) -> None:
    assert value_text(rule, value) == text
