"""Selections of PCRs: bitmaps, limits, and how they are written out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.tpm import TPML_PCR_SELECTION, TPMS_PCR_SELECTION
from nomyo_attest.tpm.constants import TPM_ALG_ID
from tests.nomyo_attest.tpm import layouts, wire
from tests.nomyo_attest.tpm.wire import Fields, join, refused

SHA256 = 0x000B


def selection(*banks: tuple[int, bytes]) -> bytes:
    return join(layouts.pcr_selections({"pcr_selections": [{"hash": alg, "pcr_select": bits} for alg, bits in banks]}))


@given(layouts.some_pcr_selections)
def test_a_selection_reads_as_it_was_written(fields: Fields) -> None:
    wire.check_round_trip(TPML_PCR_SELECTION, layouts.pcr_selections, fields)


@given(layouts.some_pcr_selections)
def test_a_selection_cut_anywhere_is_refused_at_the_field_that_is_cut(fields: Fields) -> None:
    wire.check_every_truncation(TPML_PCR_SELECTION, layouts.pcr_selections(fields))


@given(layouts.some_pcr_selections, st.binary(min_size=1, max_size=9))
def test_bytes_behind_a_selection_are_refused(fields: Fields, more: bytes) -> None:
    wire.check_leftovers(TPML_PCR_SELECTION, layouts.pcr_selections(fields), more)


@given(st.one_of(st.binary(), wire.mutations(layouts.some_pcr_selections.map(layouts.pcr_selections).map(join))))
def test_any_bytes_are_refused_or_are_a_selection_to_the_last_bit(data: bytes) -> None:
    wire.check_any_bytes(TPML_PCR_SELECTION, layouts.pcr_selections, data)


@given(st.sets(st.integers(0, 31)))
def test_bit_n_of_octet_m_is_pcr_8m_plus_n(chosen: set[int]) -> None:
    bitmap = sum(1 << index for index in chosen).to_bytes(4, "little")
    parsed = TPMS_PCR_SELECTION.parse(join(layouts.pcr_selection({"hash": SHA256, "pcr_select": bitmap})))
    assert parsed.indices == tuple(sorted(chosen))


@pytest.mark.parametrize("count", [17, 24, 255, 2**16, 2**31, 2**32 - 1])
def test_a_count_above_the_limit_is_refused_before_anything_is_read(count: int) -> None:
    blob = count.to_bytes(4, "big") + selection((SHA256, b"\x81\x04\x00"))[4:]
    error = refused(TPML_PCR_SELECTION, blob)
    assert (error.where, error.offset) == ("TPML_PCR_SELECTION.pcr_selections", 0)
    assert (error.expected, error.got) == ("a count of at most 16", str(count))


def test_a_count_of_one_too_many_is_refused_where_the_bytes_end() -> None:
    blob = b"\0\0\0\2" + selection((SHA256, b"\x81\x04\x00"))[4:]
    error = refused(TPML_PCR_SELECTION, blob)
    assert (error.where, error.offset) == ("TPMS_PCR_SELECTION.hash", len(blob))


@pytest.mark.parametrize("size", [0, 1, 2, 5, 32, 255])
def test_a_bitmap_of_other_than_three_or_four_octets_is_refused(size: int) -> None:
    error = refused(TPML_PCR_SELECTION, selection((SHA256, bytes(size))))
    assert (error.where, error.offset) == ("TPMS_PCR_SELECTION.pcr_select", 6)
    assert (error.expected, error.got) == ("a size of 3 to 4", str(size))


@pytest.mark.parametrize("algorithm", [0x0001, 0x0005, 0x0010, 0x0014, 0x0000, 0x000E, 0x002A, 0xFFFF])
def test_a_bank_that_is_no_hash_is_refused(algorithm: int) -> None:
    error = refused(TPML_PCR_SELECTION, selection((SHA256, b"\1\0\0"), (algorithm, b"\1\0\0")))
    assert (error.where, error.offset) == ("TPMS_PCR_SELECTION.hash", 10)
    assert error.got == f"0x{algorithm:04x}"


def test_a_bank_listed_twice_is_read_as_it_stands_for_the_rules_to_refuse() -> None:
    parsed = TPML_PCR_SELECTION.parse(selection((SHA256, b"\1\0\0"), (SHA256, b"\2\0\0")))
    assert [one.indices for one in parsed.pcr_selections] == [(0,), (1,)]


def test_a_selection_is_written_out_as_pcr_banks_has_it() -> None:
    parsed = TPML_PCR_SELECTION.parse(selection((0x0004, b"\x81\0\0"), (SHA256, b"\x81\x04\x80")))
    assert str(parsed) == "sha1:0,7+sha256:0,7,10,23"
    assert str(TPML_PCR_SELECTION.parse(selection())) == ""
    assert str(TPML_PCR_SELECTION.parse(selection((0x0029, b"\0\0\0")))) == "sha3_512:"


def test_the_hash_of_a_bank_is_the_enumeration_s_member() -> None:
    parsed = TPML_PCR_SELECTION.parse(selection((0x000C, b"\1\0\0")))
    assert parsed.pcr_selections[0].hash is TPM_ALG_ID.SHA384
