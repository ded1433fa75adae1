"""TPMS_ATTEST and every arm that a TPM may attest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.tpm import TPMS_ATTEST, TPMS_CERTIFY_INFO, TPMS_CLOCK_INFO, TPMS_CREATION_INFO, TPMS_QUOTE_INFO
from nomyo_attest.tpm.constants import TPM_ST
from tests.nomyo_attest.tpm import layouts, wire
from tests.nomyo_attest.tpm.layouts import ATTESTED
from tests.nomyo_attest.tpm.wire import Fields, join, refused

QUOTE: Fields = {
    "magic": 0xFF544347,
    "type": 0x8018,
    "qualified_signer": b"\0\x0b" + b"S" * 32,
    "extra_data": b"N" * 16,
    "clock_info": {"clock": 1, "reset_count": 2, "restart_count": 3, "safe": True},
    "firmware_version": 4,
    "attested": {
        "pcr_select": {"pcr_selections": [{"hash": 0x000B, "pcr_select": b"\x81\x04\0"}]},
        "pcr_digest": b"D" * 32,
    },
}
# Where each field of QUOTE begins, counted by hand
AT = {"type": 4, "qualified_signer": 6, "extra_data": 42, "safe": 76, "pcr_digest": 95}


@pytest.mark.parametrize("tag", ATTESTED, ids=lambda tag: ATTESTED[tag][0])
@given(data=st.data())
def test_an_attestation_of_each_type_reads_as_it_was_written(tag: int, data: st.DataObject) -> None:
    wire.check_round_trip(TPMS_ATTEST, layouts.attest, data.draw(layouts.attests_of(tag)))


@given(layouts.some_attests)
def test_an_attestation_cut_anywhere_is_refused_at_the_field_that_is_cut(fields: Fields) -> None:
    wire.check_every_truncation(TPMS_ATTEST, layouts.attest(fields))


@given(layouts.some_attests, st.binary(min_size=1, max_size=9))
def test_bytes_behind_an_attestation_are_refused(fields: Fields, more: bytes) -> None:
    wire.check_leftovers(TPMS_ATTEST, layouts.attest(fields), more)


@given(st.one_of(st.binary(), st.binary(max_size=200).map(lambda tail: join(layouts.attest(QUOTE))[:6] + tail)))
def test_any_bytes_are_refused_or_are_an_attestation_to_the_last_bit(data: bytes) -> None:
    wire.check_any_bytes(TPMS_ATTEST, layouts.attest, data)


@given(wire.mutations(layouts.some_attests.map(layouts.attest).map(join)))
def test_a_changed_attestation_is_refused_or_is_another_one_to_the_last_bit(data: bytes) -> None:
    wire.check_any_bytes(TPMS_ATTEST, layouts.attest, data)


def test_the_arms_are_those_of_the_specification() -> None:
    assert {int(tag) for tag in TPM_ST} == set(ATTESTED)


@pytest.mark.parametrize(
    ("tag", "arm"),
    [(0x8018, TPMS_QUOTE_INFO), (0x8017, TPMS_CERTIFY_INFO), (0x801A, TPMS_CREATION_INFO)],
)
@given(data=st.data())
def test_an_arm_is_of_the_class_that_its_type_says(tag: int, arm: type, data: st.DataObject) -> None:
    parsed = TPMS_ATTEST.parse(join(layouts.attest(data.draw(layouts.attests_of(tag)))))
    assert type(parsed.attested) is arm
    assert parsed.type is TPM_ST(tag)


def tampered(offset: int, octets: bytes) -> bytes:
    blob = join(layouts.attest(QUOTE))
    return blob[:offset] + octets + blob[offset + len(octets) :]


@pytest.mark.parametrize("octet", range(2, 256))
def test_a_boolean_other_than_0_and_1_is_refused(octet: int) -> None:
    error = refused(TPMS_ATTEST, tampered(AT["safe"], bytes([octet])))
    assert (error.where, error.offset) == ("TPMS_CLOCK_INFO.safe", AT["safe"])
    assert (error.expected, error.got) == ("TPMI_YES_NO, 0 or 1", f"0x{octet:02x}")


@pytest.mark.parametrize("octet", [0, 1])
def test_a_boolean_is_read_as_a_bool(octet: int) -> None:
    assert TPMS_ATTEST.parse(tampered(AT["safe"], bytes([octet]))).clock_info.safe is bool(octet)


# TPM 2.0 Part 2, 6.9: structure tags that are no TPMI_ST_ATTEST, and numbers that are no tag
@pytest.mark.parametrize("tag", [0x00C4, 0x8000, 0x8001, 0x8002, 0x801B, 0x8021, 0x8024, 0x8029, 0x0000, 0xFFFF])
def test_a_tag_that_is_no_attestation_is_refused(tag: int) -> None:
    error = refused(TPMS_ATTEST, tampered(AT["type"], tag.to_bytes(2, "big")))
    assert (error.where, error.offset, error.got) == ("TPMS_ATTEST.type", AT["type"], f"0x{tag:04x}")


@pytest.mark.parametrize(
    ("field", "structure", "limit"),
    [("qualified_signer", "TPMS_ATTEST", 66), ("extra_data", "TPMS_ATTEST", 66), ("pcr_digest", "TPMS_QUOTE_INFO", 64)],
)
def test_a_buffer_longer_than_its_type_allows_is_refused_even_where_the_bytes_are_there(
    field: str, structure: str, limit: int
) -> None:
    def with_size(size: int) -> Fields:
        if field in QUOTE:
            return {**QUOTE, field: bytes(size)}
        return {**QUOTE, "attested": {**QUOTE["attested"], field: bytes(size)}}

    wire.check_round_trip(TPMS_ATTEST, layouts.attest, with_size(limit))
    error = refused(TPMS_ATTEST, join(layouts.attest(with_size(limit + 1))))
    assert (error.where, error.offset) == (f"{structure}.{field}", AT[field])
    assert (error.expected, error.got) == (f"a size of at most {limit}", str(limit + 1))


@pytest.mark.parametrize("magic", [0, 0xFF544346, 0xFFFFFFFF])
def test_another_magic_is_read_as_it_stands_for_a_rule_to_refuse(magic: int) -> None:
    wire.check_round_trip(TPMS_ATTEST, layouts.attest, {**QUOTE, "magic": magic})


def test_a_quote_under_the_tag_of_another_type_is_refused() -> None:
    for tag in ATTESTED.keys() - {0x8018}:
        refused(TPMS_ATTEST, tampered(AT["type"], tag.to_bytes(2, "big")))


@given(layouts.some_clock_infos)
def test_a_clock_info_reads_as_it_was_written(fields: Fields) -> None:
    wire.check_round_trip(TPMS_CLOCK_INFO, layouts.clock_info, fields)


@pytest.mark.tpm
@given(fields=layouts.attests_of(0x8018))
def test_tpm2_pytss_reads_the_same_fields_from_a_quote(fields: Fields) -> None:
    import tpm2_pytss

    blob = join(layouts.attest(fields))
    theirs, end = tpm2_pytss.TPMS_ATTEST.unmarshal(blob)
    ours = TPMS_ATTEST.parse(blob)
    assert end == len(blob)
    assert (int(theirs.magic), int(theirs.type)) == (ours.magic, ours.type)
    assert bytes(theirs.qualifiedSigner) == ours.qualified_signer
    assert bytes(theirs.extraData) == ours.extra_data
    assert theirs.clockInfo.clock == ours.clock_info.clock
    assert theirs.clockInfo.resetCount == ours.clock_info.reset_count
    assert theirs.clockInfo.restartCount == ours.clock_info.restart_count
    assert bool(theirs.clockInfo.safe) is ours.clock_info.safe
    assert theirs.firmwareVersion == ours.firmware_version
    quote = theirs.attested.quote
    assert isinstance(ours.attested, TPMS_QUOTE_INFO)
    assert bytes(quote.pcrDigest) == ours.attested.pcr_digest
    assert [(int(one.hash), bytes(one.pcrSelect)[: one.sizeofSelect]) for one in quote.pcrSelect] == [
        (int(one.hash), one.pcr_select) for one in ours.attested.pcr_select.pcr_selections
    ]
