"""PCR selections as text and as the structure a TPM takes."""

from __future__ import annotations

import hashlib
import importlib.util

import pytest

import nomyo_attest as na

if importlib.util.find_spec("tpm2_pytss") is not None:  # without it, the marker below skips these tests
    from nomyo_attest.attester.pcrs import (
        parse_quote_selection,
        pcr_digest,
        selection_structure,
        selection_text,
        structure_selection,
    )

pytestmark = pytest.mark.tpm


@pytest.mark.parametrize("text", ["sha256:0,7,10", "sha384:23+sha1:0", "sha256:0+sha384:0+sha512:0+sha1:0"])
def test_a_selection_goes_to_the_tpm_and_back_unchanged(text: str) -> None:
    selection = parse_quote_selection(text)
    assert selection_text(selection) == text
    assert structure_selection(selection_structure(selection)) == selection


def test_a_selection_is_marshalled_as_the_specification_writes_it() -> None:
    # count; hash, size of the bitmap, bitmap: bit n of byte m stands for PCR 8m + n (Part 2, 10.6.1)
    assert (
        selection_structure(parse_quote_selection("sha256:0,7,10")).marshal().hex()
        == "00000001" + "000b" + "03" + "810400"
    )


def test_a_bank_without_pcrs_and_a_bank_listed_twice_can_be_asked_for() -> None:
    selection = (("sha256", ()), ("sha256", (16,)))
    assert selection_structure(selection).marshal().hex() == "00000002" + "000b03000000" + "000b03000001"
    assert structure_selection(selection_structure(selection)) == selection


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", "sha256:0,", "sha256:24", "sha256: 0", "sha256:+0", "md5:0", "sha256:0+", "sha256:0,0"],
)
def test_a_text_that_selects_nothing_sound_is_refused(text: str) -> None:
    with pytest.raises(na.AttesterError, match=r"PCR selection .*: expected "):
        parse_quote_selection(text)


def test_the_digest_covers_the_values_in_the_order_of_the_selection() -> None:
    values = {"sha256": {0: b"a", 7: b"b"}, "sha384": {1: b"c"}}
    selection = (("sha384", (1,)), ("sha256", (0, 7)))
    assert pcr_digest(selection, values, "sha512") == hashlib.sha512(b"cab").digest()
