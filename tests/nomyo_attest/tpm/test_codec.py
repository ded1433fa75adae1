"""The reader that declarations write: on toy structures, each kind of field by itself."""

from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest import tpm
from nomyo_attest.errors import ParseError, UnsupportedError
from nomyo_attest.tpm import attest, pcr, public, signature
from nomyo_attest.tpm.codec import Structure, declared
from nomyo_attest.tpm.constants import TPM_ALG_ID, TPM_ECC_CURVE, TPM_RH, TPM_ST, specification_name
from nomyo_attest.tpm.fields import ALG_ID, UINT16, UINT32, UINT64, YES_NO, Counted, Nested, Selected, Sized
from tests.nomyo_attest.tpm.wire import attempt, refused


@declared
class Toy(Structure, frozen=True):
    first: UINT16
    second: UINT32
    third: UINT64
    fourth: YES_NO


@declared
class ToyBuffers(Structure, frozen=True):
    one: Annotated[bytes, Sized(4)]
    two: Annotated[bytes, Sized(3, minimum=1, code="B")]


@declared
class ToyList(Structure, frozen=True):
    toys: Annotated[tuple[ToyBuffers, ...], Counted(ToyBuffers, 3)]
    last: UINT16


ARMS: dict[TPM_ALG_ID, type[Structure] | None] = {TPM_ALG_ID.RSA: Toy, TPM_ALG_ID.NULL: None}


@declared
class ToyUnion(Structure, frozen=True):
    kind: ALG_ID
    body: Annotated[Toy | None, Selected("kind", ARMS, others=frozenset({TPM_ALG_ID.ECC}))]


@declared
class ToyNest(Structure, frozen=True):
    before: UINT16
    inner: Annotated[Toy, Nested(Toy)]
    after: UINT16


TOY = bytes.fromhex("0001 00000002 0000000000000003 01")


def test_integers_are_big_endian() -> None:
    assert Toy.parse(TOY) == Toy(1, 2, 3, fourth=True)


def test_reading_begins_where_it_is_told_to_and_positions_count_from_the_start_of_the_blob() -> None:
    assert Toy.parse(b"??" + TOY, 2) == Toy(1, 2, 3, fourth=True)
    with pytest.raises(ParseError) as caught:
        Toy.parse(b"??" + TOY[:-1] + b"\2", 2)
    assert caught.value.offset == 2 + len(TOY) - 1


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.booleans())
def test_every_value_of_an_integer_is_read(first: int, second: int, third: int, fourth: bool) -> None:
    blob = first.to_bytes(2, "big") + second.to_bytes(4, "big") + third.to_bytes(8, "big") + bytes([fourth])
    assert Toy.parse(blob) == Toy(first, second, third, fourth)


@pytest.mark.parametrize(
    ("end", "field", "offset", "expected", "got"),
    [
        (0, "first", 0, "2 bytes", "only 0 bytes left"),
        (1, "first", 0, "2 bytes", "only 1 byte left"),
        (2, "second", 2, "4 bytes", "only 0 bytes left"),
        (5, "second", 2, "4 bytes", "only 3 bytes left"),
        (13, "third", 6, "8 bytes", "only 7 bytes left"),
        (14, "fourth", 14, "1 byte", "only 0 bytes left"),
    ],
)
def test_a_run_of_integers_that_ends_early_says_which_one_it_ends_in(
    end: int, field: str, offset: int, expected: str, got: str
) -> None:
    error = refused(Toy, TOY[:end])
    assert (error.structure, error.field, error.offset) == ("Toy", field, offset)
    assert (error.expected, error.got) == (expected, got)


def test_a_buffer_is_as_long_as_its_size_says() -> None:
    assert ToyBuffers.parse(b"\0\2ab\1c") == ToyBuffers(b"ab", b"c")
    assert ToyBuffers.parse(b"\0\0\3abc") == ToyBuffers(b"", b"abc")


@pytest.mark.parametrize(
    ("blob", "field", "offset", "expected", "got"),
    [
        (b"\0\5abcde\1c", "one", 0, "a size of at most 4", "5"),
        (b"\xff\xff", "one", 0, "a size of at most 4", "65535"),
        (b"\0\4abc", "one", 2, "4 bytes", "only 3 bytes left"),
        (b"\0\4", "one", 2, "4 bytes", "only 0 bytes left"),
        (b"\0\0\0", "two", 2, "a size of 1 to 3", "0"),
        (b"\0\0\4abcd", "two", 2, "a size of 1 to 3", "4"),
        (b"\0\0\3ab", "two", 3, "3 bytes", "only 2 bytes left"),
    ],
)
def test_a_size_that_lies_is_refused_with_its_place(
    blob: bytes, field: str, offset: int, expected: str, got: str
) -> None:
    error = refused(ToyBuffers, blob)
    assert (error.where, error.offset) == (f"ToyBuffers.{field}", offset)
    assert (error.expected, error.got) == (expected, got)


def test_a_list_holds_as_many_members_as_its_count_says() -> None:
    assert ToyList.parse(b"\0\0\0\0" + b"\0\7") == ToyList((), 7)
    assert ToyList.parse(b"\0\0\0\2" + b"\0\0\1a" * 2 + b"\0\7") == ToyList((ToyBuffers(b"", b"a"),) * 2, 7)


def test_a_count_is_judged_before_any_member_is_read() -> None:
    error = refused(ToyList, b"\xff\xff\xff\xff")
    assert (error.where, error.offset, error.got) == ("ToyList.toys", 0, "4294967295")


def test_an_error_inside_a_member_names_the_member_s_own_field() -> None:
    error = refused(ToyList, b"\0\0\0\2" + b"\0\0\1a" + b"\0\0\0" + b"\0\7")
    assert (error.where, error.offset) == ("ToyBuffers.two", 10)


def test_a_union_reads_the_arm_of_its_selector() -> None:
    assert ToyUnion.parse(b"\0\1" + TOY) == ToyUnion(TPM_ALG_ID.RSA, Toy(1, 2, 3, fourth=True))
    assert ToyUnion.parse(b"\0\x10") == ToyUnion(TPM_ALG_ID.NULL, None)


def test_a_selector_without_an_arm_is_refused_by_name() -> None:
    wrong = refused(ToyUnion, b"\0\x0b" + TOY)
    assert type(wrong) is ParseError
    assert str(wrong) == "ToyUnion.kind at byte 0: expected one of TPM_ALG_RSA, TPM_ALG_NULL, got TPM_ALG_SHA256"


def test_a_selector_that_the_specification_allows_but_nobody_reads_is_unsupported() -> None:
    assert isinstance(refused(ToyUnion, b"\0\x23" + TOY), UnsupportedError)


def test_a_nested_structure_stands_between_the_fields_around_it() -> None:
    assert ToyNest.parse(b"\0\5" + TOY + b"\0\6") == ToyNest(5, Toy(1, 2, 3, fourth=True), 6)


def test_the_empty_blob_is_refused_by_every_structure() -> None:
    for kind in STRUCTURES:
        error = refused(kind, b"")
        assert error.offset == 0
        assert error.structure.startswith("TPM")


STRUCTURES = [
    kind
    for module in (attest, pcr, public, signature)
    for kind in vars(module).values()
    if isinstance(kind, type)
    and issubclass(kind, Structure)
    and kind is not Structure
    and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", STRUCTURES, ids=lambda kind: kind.__name__)
def test_a_structure_shows_the_text_of_its_reader_and_field_the_specification(kind: type[Structure]) -> None:
    assert kind.source.startswith("def read_from(data, position):")
    compile(kind.source, kind.__name__, "exec")
    assert kind.__doc__
    assert kind.__doc__.rstrip(".").find("(1") > 0 or "Part 2" in kind.__doc__


@pytest.mark.parametrize("kind", STRUCTURES, ids=lambda kind: kind.__name__)
@given(data=st.binary(max_size=300))
def test_a_structure_reads_any_bytes_or_refuses_them_with_a_parse_error(kind: type[Structure], data: bytes) -> None:
    parsed = attempt(kind, data)
    assert isinstance(parsed, kind) or (isinstance(parsed, ParseError) and 0 <= parsed.offset <= len(data))


def test_a_parsed_structure_cannot_be_changed() -> None:
    parsed = Toy.parse(TOY)
    with pytest.raises(AttributeError):
        parsed.first = 2  # type: ignore[misc]  # that is what must not work


def test_every_public_structure_of_the_package_is_a_declared_one() -> None:
    exported = [getattr(tpm, name) for name in tpm.__all__]
    for one in exported:
        if isinstance(one, type) and issubclass(one, Structure):
            assert one in STRUCTURES


def test_constants_are_called_as_part_2_calls_them() -> None:
    assert specification_name(TPM_ALG_ID.RSASSA) == "TPM_ALG_RSASSA"
    assert specification_name(TPM_ST.ATTEST_QUOTE) == "TPM_ST_ATTEST_QUOTE"
    assert specification_name(TPM_ECC_CURVE.NIST_P256) == "TPM_ECC_NIST_P256"
    assert specification_name(TPM_RH.OWNER) == "TPM_RH_OWNER"


def test_parsed_structures_cannot_be_changed() -> None:
    kinds = [
        kind
        for module in (attest, pcr, public, signature)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Structure) and kind is not Structure
    ]
    assert len(kinds) > 20
    assert [kind.__name__ for kind in kinds if not kind.__struct_config__.frozen] == []
