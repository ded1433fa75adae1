"""How many containers, strings and levels a JSON text has, counted before it is parsed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.evidence.json_bounds import (
    CONTAINERS_BASE,
    TooManyContainersError,
    check_containers,
    containers_max,
    count_strings,
    is_deeper,
    outside_strings,
)

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
def test_marks_are_inside_or_outside_also_across_the_pieces_of_a_long_text(texts: list[str]) -> None:
    text = json.dumps([texts, {}] * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nomyo_attest.evidence.json_bounds._PIECE", 3)
        assert outside_strings(text.encode(), b"[{") == b"[" + b"[{" * 3
        assert outside_strings(bytearray(text.encode()), b"]}") == b"]}" * 3 + b"]"


@pytest.mark.parametrize("text", [b'{"a": "\\\\"}', b'["\\"[[[", "]"]', b'["\\\\\\"[", {}]', b'"[{"', b'{"[":"{"}'])
def test_escapes_and_quotation_marks_do_not_mislead_the_count(text: bytes) -> None:
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


def test_the_error_tells_the_limit_and_the_number_found() -> None:
    with pytest.raises(TooManyContainersError, match=r"^20001 objects and arrays, more than the 12500 that a text of"):
        check_containers(b"[" + b"[]," * 20_000 + b"]")


@pytest.mark.parametrize("unit", [b"[],", b'"[",', b'"\\"[",', b'"\\\\",', b'"",', b'{"a":"b"},'])
def test_a_text_of_sixteen_mebibytes_is_counted_at_once(unit: bytes) -> None:
    text = b"[" + unit * (16 * 1024 * 1024 // len(unit)) + b"0]"
    began = time.process_time()
    try:
        check_containers(text)
    except TooManyContainersError:
        assert b"[" in unit.replace(b'"[', b"") or b"{" in unit
    assert time.process_time() - began < 2
