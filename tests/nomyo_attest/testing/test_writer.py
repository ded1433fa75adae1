"""The writer's bytes, against bytes written out from the specification by hand and against tpm2-pytss."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from nomyo_attest.testing import VARIANTS, Forge, Variant, writer
from nomyo_attest.testing.faults.quote import FAULTS as OF_QUOTE

if importlib.util.find_spec("tpm2_pytss") is not None:  # without it, the marker `tpm` skips what needs it
    import tpm2_pytss as tss

# TPM_ST_ATTEST_NV_DIGEST is younger than the structures of tpm2-pytss.
OF_TYPE = [fault for fault in OF_QUOTE if fault.rule == "attest.type" and fault.name != "type-nv-digest"]


def test_a_tpm2b_is_a_size_of_two_bytes_and_the_content() -> None:
    assert writer.tpm2b(b"abc").hex() == "0003616263"
    assert writer.tpm2b(b"").hex() == "0000"


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([], "000b03000000"),
        ([0, 7, 10], "000b03810400"),
        ([10, 7, 0, 7], "000b03810400"),
        ([23], "000b03000080"),
        ([24], "000b0400000001"),
        (range(24), "000b03ffffff"),
    ],
)
def test_a_pcr_is_one_bit_of_a_bitmap_of_three_bytes_or_more(indices: Any, expected: str) -> None:
    assert writer.tpms_pcr_selection(writer.ALG_SHA256, indices).hex() == expected


def test_a_list_of_selections_is_a_count_of_four_bytes_and_the_selections() -> None:
    one = writer.tpms_pcr_selection(writer.ALG_SHA1, [0])
    assert writer.tpml_pcr_selection([one, one]).hex() == "00000002" + "000403010000" * 2
    assert writer.tpml_pcr_selection([]).hex() == "00000000"


def test_a_quote_is_written_as_part_2_lays_it_out() -> None:
    quote = writer.tpms_attest(
        type_=writer.ST_ATTEST_QUOTE,
        qualified_signer=b"\x00\x0b" + b"\x11" * 4,
        extra_data=b"\x22\x33",
        clock_info=writer.tpms_clock_info(0x0102030405060708, 0x090A0B0C, 0x0D0E0F10, 1),
        firmware_version=0xA1A2A3A4A5A6A7A8,
        attested=writer.tpms_quote_info(writer.tpml_pcr_selection([]), b"\x44"),
    )
    assert quote.hex(" ") == (
        "ff 54 43 47 80 18 00 06 00 0b 11 11 11 11 00 02 22 33 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 01 "
        "a1 a2 a3 a4 a5 a6 a7 a8 00 00 00 00 00 01 44"
    )


def test_an_rsa_public_area_is_written_as_part_2_lays_it_out() -> None:
    public = Forge(auth_policy=b"\x77").build().public
    assert public[:25].hex(" ") == (
        # type nameAlg attributes authPolicy symmetric scheme hash keyBits exponent size
        "00 01 00 0b 00 05 00 72 00 01 77 00 10 00 14 00 0b 08 00 00 00 00 00 01 00"
    )
    assert len(public) == 25 + 256


def test_an_ecc_public_area_is_written_as_part_2_lays_it_out() -> None:
    public = Forge(key="p384", hash_alg="sha384").build().public
    # type nameAlg attributes authPolicy symmetric scheme hash curveID kdf, x, y
    assert public[:20].hex(" ") == "00 23 00 0b 00 05 00 72 00 00 00 10 00 18 00 0c 00 04 00 10"
    assert (public[20:22].hex(), public[70:72].hex(), len(public)) == ("0030", "0030", 120)


def test_the_defaults_of_an_aik_are_the_attributes_of_a_restricted_signing_key() -> None:
    assert writer.AIK_ATTRIBUTES == 0x00050072


def read_whole(kind: Any, blob: bytes) -> Any:
    """What tpm2-pytss reads, to the last byte; it writes the same again."""
    value, consumed = kind.unmarshal(blob)
    assert consumed == len(blob)
    assert value.marshal() == blob
    return value


@pytest.mark.tpm
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_tpm2_pytss_reads_every_variant_and_verifies_it(variant: Variant) -> None:
    answer = variant.base().build()
    attest = read_whole(tss.TPMS_ATTEST, answer.attest)
    signature = read_whole(tss.TPMT_SIGNATURE, answer.signature)
    public = tss.TPM2B_PUBLIC(publicArea=read_whole(tss.TPMT_PUBLIC, answer.public))
    assert bytes(public.get_name()) == answer.name
    assert bytes(attest.qualifiedSigner) == answer.qualified_signer
    signature.verify_signature(public, answer.attest)


@pytest.mark.tpm
@pytest.mark.parametrize("fault", OF_TYPE, ids=lambda fault: fault.name)
def test_tpm2_pytss_reads_the_attestations_that_are_no_quotes(fault: Any) -> None:
    forge = fault.base()
    fault.tamper(forge)
    attest = read_whole(tss.TPMS_ATTEST, forge.build().attest)
    assert int(attest.type) == forge.attest_type != writer.ST_ATTEST_QUOTE
