"""Layouts: whatever was read before, a blob reads as if it were the first."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.errors import ParseError
from nomyo_attest.tpm import TPMS_ATTEST, TPMT_PUBLIC, TPMT_SIGNATURE
from nomyo_attest.tpm.framing import BlobReader, Framed
from nomyo_attest.tpm.layout import Layout
from tests.nomyo_attest.tpm import layouts, public_layouts
from tests.nomyo_attest.tpm.test_attest import QUOTE
from tests.nomyo_attest.tpm.test_public import ECC, RSA
from tests.nomyo_attest.tpm.wire import Fields, join, mutations

KINDS: dict[str, tuple[Any, str, st.SearchStrategy[bytes]]] = {
    "attest": (TPMS_ATTEST, "TPM2B_ATTEST", layouts.some_attests.map(layouts.attest).map(join)),
    "public": (TPMT_PUBLIC, "TPM2B_PUBLIC", public_layouts.some_publics.map(public_layouts.public).map(join)),
    "signature": (TPMT_SIGNATURE, "", layouts.some_signatures.map(layouts.signature).map(join)),
}


def tpm2b(blob: bytes) -> bytes:
    return len(blob).to_bytes(2, "big") + blob


def read(reader: BlobReader[Any], blob: bytes) -> Framed[Any] | ParseError:
    try:
        return reader(blob)
    except ParseError as error:
        return error


def read_afresh(kind: Any, with_size: str, blob: bytes) -> Framed[Any] | ParseError:
    """The one reading of `blob` that makes sense, by the parser alone."""
    sized = bool(with_size) and len(blob) >= 2 and int.from_bytes(blob[:2], "big") == len(blob) - 2
    try:
        return Framed(kind.parse(blob), blob, kind.__name__, None)
    except ParseError as error:
        if not sized:
            return error
    try:
        return Framed(kind.parse(blob, 2), blob[2:], with_size, None)
    except ParseError as error:
        return error


def check_same(one: Framed[Any] | ParseError, other: Framed[Any] | ParseError) -> None:
    if isinstance(one, ParseError) or isinstance(other, ParseError):
        assert isinstance(one, ParseError), other
        assert isinstance(other, ParseError), one
        assert (type(one), str(one)) == (type(other), str(other))
    else:
        assert (one.value, one.inner, one.framing) == (other.value, other.inner, other.framing)
        assert repr(one.value) == repr(other.value)  # equal numbers of different classes would be equal values


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@pytest.mark.slow
def test_a_reader_that_has_seen_much_reads_as_one_that_has_seen_nothing(name: str, data: st.DataObject) -> None:
    kind, with_size, valid = KINDS[name]
    used = BlobReader(kind, with_size)
    first = data.draw(valid)
    seen = [first, tpm2b(first), *data.draw(st.lists(valid, max_size=3))]
    # What is drawn next is near what was seen: the same bytes with a few of them changed, in place if need be.
    near = mutations(st.sampled_from(seen))
    overwritten = st.builds(overwrite, st.sampled_from(seen), st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
    for blob in [*seen, *data.draw(st.lists(st.one_of(near, overwritten), max_size=8)), *seen]:
        check_same(read(used, blob), read_afresh(kind, with_size, blob))


def overwrite(blob: bytes, edits: list[tuple[int, int]]) -> bytes:
    """The same number of bytes, some of them others."""
    changed = bytearray(blob)
    for at, octet in edits:
        if changed:
            changed[at % len(changed)] = octet
    return bytes(changed)


SAMPLES: dict[str, tuple[Any, str, bytes]] = {
    "quote": (TPMS_ATTEST, "TPM2B_ATTEST", join(layouts.attest(QUOTE))),
    "sized quote": (TPMS_ATTEST, "TPM2B_ATTEST", tpm2b(join(layouts.attest(QUOTE)))),
    "RSA key": (TPMT_PUBLIC, "TPM2B_PUBLIC", join(public_layouts.public(RSA))),
    "ECC key": (TPMT_PUBLIC, "TPM2B_PUBLIC", tpm2b(join(public_layouts.public(ECC)))),
    "signature": (TPMT_SIGNATURE, "", bytes.fromhex("0018000b000401020304000405060708")),
}


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.slow
def test_each_single_byte_in_every_value_is_read_as_if_nothing_had_been_seen_before(sample: str) -> None:
    kind, with_size, blob = SAMPLES[sample]
    for at in range(min(len(blob), 130)):
        used = BlobReader(kind, with_size)
        used(blob)
        for octet in range(256):
            other = blob[:at] + bytes([octet]) + blob[at + 1 :]
            check_same(read(used, other), read_afresh(kind, with_size, other))


def quote(**fields: Any) -> bytes:
    return join(layouts.attest({**QUOTE, **fields}))


def test_contents_that_differ_have_one_layout_and_are_each_read_as_they_are() -> None:
    reader = BlobReader(TPMS_ATTEST, "TPM2B_ATTEST")
    one, other = reader(quote(extra_data=b"1" * 16)), reader(quote(extra_data=b"2" * 16, firmware_version=7))
    assert one.layout is not None
    assert one.layout is other.layout
    assert (one.value.extra_data, other.value.extra_data) == (b"1" * 16, b"2" * 16)
    assert (one.value.firmware_version, other.value.firmware_version) == (4, 7)


CLOCK: Fields = QUOTE["clock_info"]
SELECT = {"pcr_selections": [{"hash": 0x000B, "pcr_select": b"\x80\x04\x01"}]}
OTHER_LAYOUTS: dict[str, Fields] = {
    "magic": {"magic": 0xFF544346},
    "safe": {"clock_info": {**CLOCK, "safe": False}},
    "selection": {"attested": {**QUOTE["attested"], "pcr_select": SELECT}},
    "size of extraData": {"extra_data": b"N" * 15, "qualified_signer": QUOTE["qualified_signer"] + b"S"},
}


@pytest.mark.parametrize("what", OTHER_LAYOUTS)
def test_a_blob_with_another_steering_byte_has_another_layout(what: str) -> None:
    reader = BlobReader(TPMS_ATTEST, "TPM2B_ATTEST")
    usual, other = quote(), quote(**OTHER_LAYOUTS[what])
    assert len(usual) == len(other)
    assert reader(usual).layout is not reader(other).layout
    assert reader(usual).layout is reader(quote(extra_data=b"?" * 16)).layout


def test_attributes_and_algorithms_of_a_key_are_part_of_its_layout() -> None:
    reader = BlobReader(TPMT_PUBLIC, "TPM2B_PUBLIC")
    scheme = {"scheme": 0x0016, "details": {"hash_alg": 0x000B}}
    hashed = {"scheme": 0x0014, "details": {"hash_alg": 0x0004}}
    others = [
        RSA,
        {**RSA, "object_attributes": 0x00040072},
        {**RSA, "name_alg": 0x000C},
        {**RSA, "parameters": {**RSA["parameters"], "scheme": scheme}},
        {**RSA, "parameters": {**RSA["parameters"], "scheme": hashed}},
    ]
    learned = [reader(join(public_layouts.public(fields))).layout for fields in others]
    assert len({id(layout) for layout in learned}) == len(others)


def test_a_layout_matches_no_blob_of_another() -> None:
    layout: Layout[TPMS_ATTEST] = Layout("TPMS_ATTEST", quote(), 0, TPMS_ATTEST.parse(quote()))
    assert layout.match(quote()) == TPMS_ATTEST.parse(quote())
    for fields in OTHER_LAYOUTS.values():
        assert layout.match(quote(**fields)) is None


def test_more_layouts_than_are_stored_are_all_read_correctly() -> None:
    reader = BlobReader(TPMS_ATTEST, "TPM2B_ATTEST")
    blobs = [quote(qualified_signer=bytes(size), magic=magic) for size in range(67) for magic in range(12)]
    for _ in range(2):
        for blob in blobs:
            framed = reader(blob)
            assert (framed.value, framed.inner) == (TPMS_ATTEST.parse(blob), blob)
    assert {len(layouts) for layouts in reader._layouts.values()} == {8}
    assert len(reader._layouts) == 64


@pytest.mark.slow
def test_threads_that_meet_more_lengths_than_are_stored_read_each_correctly() -> None:
    blobs = [
        join(layouts.signature({"sig_alg": 0x14, "signature": {"hash": 0x0B, "sig": bytes(size)}}))
        for size in range(300)
    ]
    problems: list[Exception] = []

    def run(reader: BlobReader[TPMT_SIGNATURE], number: int) -> None:
        for step in range(len(blobs)):
            blob = blobs[(37 * step + 41 * number) % len(blobs)]
            try:
                assert reader(blob).inner == blob
            except Exception as error:  # noqa: BLE001 - whatever it is, it must be told outside this thread
                problems.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-7)  # so that threads meet in the few places where they could harm each other
    try:
        for _ in range(20):
            shared = BlobReader(TPMT_SIGNATURE)
            threads = [threading.Thread(target=run, args=(shared, number)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    assert problems == []


def test_what_does_not_parse_is_not_learned() -> None:
    reader = BlobReader(TPMS_ATTEST, "TPM2B_ATTEST")
    broken = quote()[:-1]
    for _ in range(3):
        with pytest.raises(ParseError):
            reader(broken)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_a_sized_blob_is_never_read_bare_because_a_bare_one_was_seen(name: str, data: st.DataObject) -> None:
    kind, with_size, valid = KINDS[name]
    if with_size:
        reader = BlobReader(kind, with_size)
        blob = data.draw(valid)
        for other in (blob, tpm2b(blob), blob):
            framed = reader(other)
            assert framed.inner == blob
            assert framed.framing == (kind.__name__ if other is blob else with_size)
