"""Strict JSON: duplicate keys, depth, sizes, numbers and encodings."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.strict_json import (
    CONTAINERS_BASE,
    DEPTH_MAX,
    RECORD_BYTES_MAX,
    JsonObject,
    TooManyContainersError,
    check_containers,
    containers_max,
    count_strings,
    is_deeper,
    outside_strings,
    parse_json,
)

some_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def refused(text: str | bytes) -> EvidenceError:
    with pytest.raises(EvidenceError) as caught:
        parse_json(text)
    assert caught.value.where == "response"
    return caught.value


@given(some_json)
def test_json_is_parsed_as_by_the_standard_library(value: Any) -> None:
    text = json.dumps(value)
    assert parse_json(text) == parse_json(text.encode()) == parse_json(b"\xef\xbb\xbf" + text.encode()) == value


@given(st.one_of(st.text(), st.binary(), st.text(alphabet='{}[]",:0123456789.eE+-\\u ntrfalsNI')))
def test_any_text_or_bytes_are_read_or_refused_with_an_evidence_error(text: str | bytes) -> None:
    try:
        parse_json(text)
    except EvidenceError as error:
        refusal = str(error)
    else:
        refusal = "response"
    assert refusal.startswith("response")


def test_an_object_lists_its_duplicate_keys() -> None:
    plain = parse_json('{"a": {"a": 1}, "b": 2}')
    assert type(plain) is dict
    assert type(plain["a"]) is dict
    marked = parse_json('{"a": 1, "b": 2, "a": 3, "c": {"d": 1, "d": 1}}')
    assert isinstance(marked, JsonObject)
    assert marked == {"a": 3, "b": 2, "c": {"d": 1}}
    assert marked.duplicates == {"a"}
    assert marked["c"].duplicates == {"d"}


def test_a_key_with_and_without_an_escape_is_a_duplicate() -> None:
    marked = parse_json('{"quote": 1, "\\u0071uote": 2}')
    assert isinstance(marked, JsonObject)
    assert marked.duplicates == {"quote"}


def test_keys_that_look_alike_are_different() -> None:
    assert type(parse_json('{"a": 1, "A": 2, "\u0430": 3, "a ": 4}')) is dict


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", "{}}", "{} {}", "[1,]", '{"a": }', "{'a': 1}", '{"a": 1,}', '"', '"\n"', "nul", "+1", "01", "1.",
        ".5", "0x10", '{"a" 1}', "{a: 1}", "// no\n{}", "\x00", "{}\x00", '"\\x41"', '"\\ud8"',
    ],
)  # fmt: skip
def test_invalid_json_is_refused_with_line_and_column(text: str) -> None:
    error = refused(text)
    assert error.expected == "JSON"
    assert error.got.startswith("text that is not JSON, from line ")
    assert ", column " in error.got


@pytest.mark.parametrize("octets", [b"\xff", b'"\xc3"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', "{}".encode("utf-16")])
def test_bytes_that_are_not_utf_8_are_refused_with_the_byte_and_its_place(octets: bytes) -> None:
    error = refused(octets)
    assert error.expected == "JSON in UTF-8"
    assert error.got.startswith("byte 0x")


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":['])
def test_unclosed_nesting_is_refused_without_a_recursion_error(opening: str) -> None:
    assert refused(opening * 1000).got == "objects or arrays nested too deep"
    assert "objects and arrays in a text of this length" in refused(opening * 1_000_000).expected


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"]":', "}"), ('["[[{\\"[",', "]")])
def test_the_depth_limit_does_not_depend_on_the_depth_of_the_caller(opening: str, closing: str) -> None:
    def called_from(calls: int, text: str) -> Any:
        return called_from(calls - 1, text) if calls else parse_json(text)

    for calls in (0, 300):
        called_from(calls, opening * DEPTH_MAX + "1" + closing * DEPTH_MAX)
        with pytest.raises(EvidenceError, match="too deep"):
            called_from(calls, opening * (DEPTH_MAX + 1) + "1" + closing * (DEPTH_MAX + 1))


@pytest.mark.parametrize("siblings", ["[],", "{},", '{"a":[]},', "[[[]]],"])
def test_closed_siblings_before_a_deep_value_do_not_count_against_its_depth(siblings: str) -> None:
    def text(depth: int) -> str:
        return "[" + siblings * 2000 + "[" * (depth - 1) + "]" * (depth - 1) + "]"

    parse_json(text(DEPTH_MAX))
    with pytest.raises(EvidenceError, match="too deep"):
        parse_json(text(DEPTH_MAX + 1))


def test_brackets_in_strings_or_side_by_side_do_not_count_as_depth() -> None:
    assert parse_json(json.dumps({"a": "[{" * 1000 + '"' + "[" * 1000 + "\\", "b": [[]] * 1000})).keys() == {"a", "b"}


@pytest.mark.parametrize("text", ['"' + "\\" * 4_000_000, '["' + '\\"' * 2_000_000, '"' * 4_000_001])
def test_an_unterminated_string_is_scanned_in_linear_time(text: str) -> None:
    began = time.thread_time()
    refused("[" * DEPTH_MAX + "[]," + text)
    assert time.thread_time() - began < 5


@pytest.mark.parametrize("digits", [1000, 4300, 4301, 100_000])
def test_an_integer_of_any_length_is_parsed_quickly(digits: int) -> None:
    began = time.thread_time()
    for sign in ("", "-"):
        parsed = parse_json('{"a": ' + sign + "7" * digits + "}")
        assert parsed.keys() == {"a"}
    assert time.thread_time() - began < 5


@pytest.mark.parametrize("digits", [1000, 1001, 1024, 5000])
def test_an_integer_of_any_length_is_not_a_string(digits: int) -> None:
    assert not isinstance(parse_json("7" * digits), str)


def test_numbers_that_are_not_json_are_parsed() -> None:
    parsed = parse_json('{"a": NaN, "b": Infinity, "c": -Infinity, "d": 1e999}')
    assert parsed.keys() == {"a", "b", "c", "d"}


def test_one_byte_order_mark_is_removed() -> None:
    assert parse_json("\ufeff{}") == {}
    assert parse_json(b"\xef\xbb\xbf{}") == {}
    refused("\ufeff\ufeff{}")
    refused(b"\xef\xbb\xbf\xef\xbb\xbf{}")


def test_text_larger_than_the_maximum_is_refused_without_parsing() -> None:
    error = refused(" " * (RECORD_BYTES_MAX + 1))
    assert (error.expected, error.got) == (f"at most {RECORD_BYTES_MAX} bytes", str(RECORD_BYTES_MAX + 1))
    assert RECORD_BYTES_MAX > 10 * 1024 * 1024, "the protocol allows prompts of that size"


SECRET = "the content of the completion"


def reachable(error: BaseException) -> str:
    """Everything that an error, and whatever it drags along, holds in its attributes."""
    texts = []
    seen: BaseException | None = error
    while seen is not None:
        texts.append(f"{seen!s} {seen!r} {seen.args!r} {vars(seen)!r}")
        texts += [repr(getattr(seen, name, "")) for name in ("doc", "object")]
        seen = seen.__cause__ or seen.__context__
    return " ".join(texts)


HOLDING: dict[str, str | bytes] = {
    "cut short": f'{{"choices": "{SECRET}"',
    "extra data": f'{{"choices": "{SECRET}"}} {SECRET}',
    "no quotes": f'{{"choices": {SECRET}}}',
    "a line break": f'{{"choices": "{SECRET}\n"}}',
    "an unknown escape": f'{{"choices": "\\x{SECRET}"}}',
    "no value": f'{{"{SECRET}"}}',
    "not UTF-8": f'{{"choices": "{SECRET} \xff"}}'.encode("latin-1"),
    "nested too deep": f'{{"choices": "{SECRET}", "a": ' + "[" * 100_000,
}


def test_the_length_of_a_str_is_counted_in_bytes_of_utf_8() -> None:
    text = '"' + "…" * (RECORD_BYTES_MAX // 3) + '"'
    assert len(text) < RECORD_BYTES_MAX < len(text.encode())
    assert refused(text).got == str(len(text.encode()))


@pytest.mark.parametrize("text", HOLDING.values(), ids=HOLDING)
def test_an_error_contains_nothing_of_the_text(text: str | bytes) -> None:
    assert SECRET not in reachable(refused(text))


def test_parsing_does_not_change_the_recursion_limit() -> None:
    before = sys.getrecursionlimit()
    refused("[" * 100_000)
    assert sys.getrecursionlimit() == before


HARD_TEXT = st.text(st.sampled_from('"\\[]{},:a/u0é\n'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | HARD_TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(HARD_TEXT, inner, max_size=4),
    max_leaves=40,
)


def strings_of(value: Any) -> int:
    if isinstance(value, str):
        return 1
    if isinstance(value, list):
        return sum(map(strings_of, value))
    return len(value) + sum(map(strings_of, value.values())) if isinstance(value, dict) else 0


def containers_of(value: Any) -> int:
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else None
    return 0 if inner is None else 1 + sum(map(containers_of, inner))


def depth_of(value: Any) -> int:
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_counts_are_those_of_the_parsed_value(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert len(outside_strings(text, b"[{")) == containers_of(value)
    assert count_strings(text) == strings_of(value)
    depth = depth_of(value)
    assert not is_deeper(text, depth)
    assert depth == 0 or is_deeper(text, depth - 1)


@given(texts=st.lists(HARD_TEXT, min_size=1, max_size=20))
def test_characters_are_counted_correctly_across_the_pieces_of_a_long_text(texts: list[str]) -> None:
    text = json.dumps([texts, {}] * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nomyo_attest.evidence.strict_json._PIECE", 3)
        assert outside_strings(text.encode(), b"[{") == b"[" + b"[{" * 3
        assert outside_strings(bytearray(text.encode()), b"]}") == b"]}" * 3 + b"]"


@pytest.mark.parametrize("text", [b'{"a": "\\\\"}', b'["\\"[[[", "]"]', b'["\\\\\\"[", {}]', b'"[{"', b'{"[":"{"}'])
def test_escapes_and_quotation_marks_are_counted_correctly(text: bytes) -> None:
    assert len(outside_strings(text, b"[{")) == containers_of(json.loads(text))


def test_the_limit_grows_with_the_text() -> None:
    assert containers_max(0) == CONTAINERS_BASE == 10_000
    assert containers_max(24_000) == 11_000


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'{"":[]},', b"[[[]]],"])
@pytest.mark.parametrize("length", [1_000_000, 1_000_007])
def test_one_container_more_than_the_limit_is_refused(unit: bytes, length: int) -> None:
    limit = containers_max(length)
    each = unit.count(b"[") + unit.count(b"{")

    def text(containers: int) -> bytes:
        more = unit * ((containers - 1) // each) + b"[]," * ((containers - 1) % each)
        return b"[" + more + b" " * (length - len(more) - 3) + b"0]"

    check_containers(text(limit))
    with pytest.raises(TooManyContainersError) as caught:
        check_containers(text(limit + 1))
    assert (caught.value.found, caught.value.limit) == (limit + 1, limit)


def test_containers_in_strings_and_scalars_do_not_count() -> None:
    check_containers(json.dumps({"content": "[{" * 100_000, "cells": [1, "a", None] * 100_000}).encode())


def test_the_error_names_the_limit_and_the_number_found() -> None:
    with pytest.raises(TooManyContainersError, match=r"^20001 objects and arrays, more than the 12500 that a text of"):
        check_containers(b"[" + b"[]," * 20_000 + b"]")


@pytest.mark.parametrize("unit", [b"[],", b'"[",', b'"\\"[",', b'"\\\\",', b'"",', b'{"a":"b"},'])
def test_a_text_of_sixteen_mebibytes_is_counted_quickly(unit: bytes) -> None:
    text = b"[" + unit * (16 * 1024 * 1024 // len(unit)) + b"0]"
    began = time.process_time()
    try:
        check_containers(text)
    except TooManyContainersError:
        assert b"[" in unit.replace(b'"[', b"") or b"{" in unit
    assert time.process_time() - began < 2
