"""Blobs with and without their TPM2B size: one reading must make sense, and only one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.errors import ParseError
from nomyo_attest.tpm import TPMS_ATTEST, TPMT_PUBLIC, Framed, parse_attest, parse_public
from tests.nomyo_attest.tpm import layouts, public_layouts, wire
from tests.nomyo_attest.tpm.test_attest import QUOTE
from tests.nomyo_attest.tpm.test_public import ECC, RSA
from tests.nomyo_attest.tpm.wire import Fields, attempt, join, plain


def tpm2b(content: bytes, size: int | None = None) -> bytes:
    return (len(content) if size is None else size).to_bytes(2, "big") + content


GENERATED = layouts.some_attests.map(lambda fields: {**fields, "magic": 0xFF544347})


@given(GENERATED)
def test_both_framings_of_an_attestation_are_read_and_told_apart(fields: Fields) -> None:
    blob = join(layouts.attest(fields))
    for given_, framing in ((blob, "TPMS_ATTEST"), (tpm2b(blob), "TPM2B_ATTEST")):
        framed = parse_attest(given_)
        assert plain(framed.value) == fields
        assert (framed.inner, framed.framing) == (blob, framing)


@given(public_layouts.some_publics)
def test_both_framings_of_a_public_area_are_read_and_told_apart(fields: Fields) -> None:
    blob = join(public_layouts.public(fields))
    for given_, framing in ((blob, "TPMT_PUBLIC"), (tpm2b(blob), "TPM2B_PUBLIC")):
        framed = parse_public(given_)
        assert plain(framed.value) == fields
        assert (framed.inner, framed.framing) == (blob, framing)


QUOTE_BLOB, KEY_BLOB = join(layouts.attest(QUOTE)), join(public_layouts.public(RSA))


@pytest.mark.parametrize("off", [-2, -1, 1, 2, 256])
def test_a_size_that_is_not_that_of_the_rest_is_refused(off: int) -> None:
    for parse, blob in ((parse_attest, QUOTE_BLOB), (parse_public, KEY_BLOB)):
        with pytest.raises(ParseError):
            parse(tpm2b(blob, len(blob) + off))


def test_a_size_around_a_size_is_refused() -> None:
    for parse, blob in ((parse_attest, QUOTE_BLOB), (parse_public, KEY_BLOB)):
        with pytest.raises(ParseError):
            parse(tpm2b(tpm2b(blob)))


def test_a_right_size_around_a_broken_structure_is_refused_with_positions_of_the_whole_blob() -> None:
    with pytest.raises(ParseError) as caught:
        parse_attest(tpm2b(QUOTE_BLOB + b"\0"))
    assert caught.value.offset == 2 + len(QUOTE_BLOB)
    with pytest.raises(ParseError) as caught:
        parse_public(tpm2b(KEY_BLOB[:-1]))
    assert caught.value.where == "TPMS_RSA_UNIQUE.modulus"
    assert caught.value.offset == 2 + len(KEY_BLOB) - 256


def test_no_bytes_and_one_byte_are_refused() -> None:
    for parse in (parse_attest, parse_public):
        for blob in (b"", b"\0", b"\0\0", b"\xff", b"\0\1\0"):
            with pytest.raises(ParseError):
                parse(blob)


def looks_sized(blob: bytes) -> bool:
    """Whether the first two octets of a blob are the size of the others."""
    return int.from_bytes(blob[:2], "big") == len(blob) - 2


@given(layouts.some_attests)
def test_a_bare_attestation_whose_magic_happens_to_be_its_size_is_read_bare(fields: Fields) -> None:
    size = len(join(layouts.attest(fields))) - 2
    fields = {**fields, "magic": size << 16 | fields["magic"] & 0xFFFF}
    blob = join(layouts.attest(fields))
    assert looks_sized(blob)
    framed = parse_attest(blob)
    assert (framed.framing, framed.inner, plain(framed.value)) == ("TPMS_ATTEST", blob, fields)


def test_a_bare_public_area_whose_type_happens_to_be_its_size_is_read_bare() -> None:
    fields = {**ECC, "auth_policy": b"", "unique": {"x": bytes(7), "y": bytes(6)}}
    blob = join(public_layouts.public(fields))
    assert looks_sized(blob)
    framed = parse_public(blob)
    assert (framed.framing, framed.inner, plain(framed.value)) == ("TPMT_PUBLIC", blob, fields)


ATTESTS = layouts.some_attests.map(layouts.attest).map(join)
PUBLICS = public_layouts.some_publics.map(public_layouts.public).map(join)
ANY_BLOBS = st.one_of(
    st.binary(),
    st.binary().map(tpm2b),
    *(
        changed
        for valid in (
            layouts.some_attests.map(layouts.attest).map(join),
            public_layouts.some_publics.map(public_layouts.public).map(join),
        )
        for changed in (valid, valid.map(tpm2b), wire.mutations(valid), wire.mutations(valid).map(tpm2b))
    ),
)


def read(parse: Callable[[bytes], Framed[Any]], blob: bytes) -> Framed[Any] | ParseError:
    try:
        return parse(blob)
    except ParseError as error:
        return error


@given(ANY_BLOBS)
def test_a_blob_has_one_reading_or_is_refused(blob: bytes) -> None:
    for parse, kind, with_size in (
        (parse_attest, TPMS_ATTEST, "TPM2B_ATTEST"),
        (parse_public, TPMT_PUBLIC, "TPM2B_PUBLIC"),
    ):
        inners = {kind.__name__: blob, with_size: blob[2:]} if looks_sized(blob) else {kind.__name__: blob}
        readings = {}
        for framing, inner in inners.items():
            parsed = attempt(kind, inner)
            if not isinstance(parsed, ParseError):
                readings[framing] = (parsed, inner)
        assert len(readings) <= 1, "no bytes can be both, as the fields stand in these structures"
        framed = read(parse, blob)
        if isinstance(framed, ParseError):
            assert not readings
            assert 0 <= framed.offset <= len(blob)
        else:
            assert readings == {framed.framing: (framed.value, framed.inner)}
