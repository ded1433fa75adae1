"""The soft TPM's PCRs are those of a machine that booted."""

from __future__ import annotations

import hashlib

import pytest

from nomyo_attest.testing import ForgeError
from nomyo_attest.testing.pcrs import booted, extend, parse_selection


def test_a_pcr_is_extended_with_the_digest_of_the_event() -> None:
    value = bytes(32)
    assert extend("sha256", value, b"event") == hashlib.sha256(value + hashlib.sha256(b"event").digest()).digest()


@pytest.mark.parametrize(("bank", "size"), [("sha1", 20), ("sha256", 32), ("sha384", 48), ("sha512", 64)])
def test_every_bank_has_24_pcrs_of_its_size(bank: str, size: int) -> None:
    values = booted()[bank]
    assert sorted(values) == list(range(24))
    assert {len(value) for value in values.values()} == {size}
    assert values[16] == bytes(size)
    assert values[17] == b"\xff" * size


def test_the_pcrs_that_are_quoted_all_differ() -> None:
    values = [bank[index] for bank in booted().values() for index in (0, 1, 2, 3, 4, 5, 6, 7, 10)]
    assert len(set(values)) == len(values)


def test_a_selection_is_read_in_its_order() -> None:
    assert parse_selection("sha384:7,0+sha256:10") == [("sha384", [7, 0]), ("sha256", [10])]


@pytest.mark.parametrize("text", ["", "sha256", "sha256:", "sha256:24", "sha256:x", "md5:0", "sha256:0,", "sha256:-1"])
def test_a_selection_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ForgeError, match="selection: expected banks"):
        parse_selection(text)
