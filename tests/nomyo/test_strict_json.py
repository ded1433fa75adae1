"""JSON out as `json.dumps` has it, whatever the length; JSON in without its ambiguities; errors that quote nothing."""

from __future__ import annotations

import enum
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nomyo import strict_json
from nomyo.errors import ArgumentError, ArgumentTypeError
from nomyo_attest.evidence.strict_json import TooManyContainersError

SECRET = "prompt-6c1f4b2d8e"
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)  # lone surrogates, too
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(10**17, 10**40)
SCALARS = st.none() | st.booleans() | NUMBERS | ANY_TEXT
KEYS = ANY_TEXT | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)


def trees(keys: st.SearchStrategy[Any], scalars: st.SearchStrategy[Any] = SCALARS) -> st.SearchStrategy[Any]:
    """Values of JSON, lists also as tuples."""
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=5)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(keys, inner, max_size=5)
        ),
        max_leaves=25,
    )


class Color(enum.IntEnum):
    """A number with a name."""

    RED = 3


class Role(enum.StrEnum):
    """A text with a name."""

    USER = "user"


class Pair(NamedTuple):
    """A tuple with names."""

    first: object
    second: object


def written(value: object) -> bytes:
    """What `encode` makes of a value."""
    buffer = strict_json.encode(value)
    assert type(buffer) is bytearray
    return bytes(buffer)


@pytest.fixture(params=[1, 2, 3, 7, strict_json.LONG_TEXT], ids=lambda size: f"slices of {size}")
def slices(request: pytest.FixtureRequest) -> Iterator[int]:
    """Strings are cut into slices of so many characters."""
    with patch.object(strict_json, "LONG_TEXT", request.param):
        yield request.param


@given(value=trees(KEYS), size=st.sampled_from([1, 2, 3, 7, 20, strict_json.LONG_TEXT]))
@example(value={"a": "\U0001f600" * 5}, size=1)
@example(value="\ud83d\ude00", size=1)
@example(value={None: "xx", True: "yy", 1.5: ("zz",), 7: {}}, size=1)
@example(value=[[], {}, (), "", "x"], size=1)
def test_what_is_written_is_what_json_dumps_writes_however_it_is_cut(value: Any, size: int) -> None:
    with patch.object(strict_json, "LONG_TEXT", size):
        assert written(value) == json.dumps(value).encode()


@pytest.mark.parametrize("character", ["a", "é", "€", "\U0001f600", "\ud83d", '"', "\\", "\x00", "\n", "\x7f"])
@pytest.mark.parametrize("around", [-2, -1, 0, 1, 2])
def test_a_long_string_is_whole_at_the_border_of_a_slice(character: str, around: int) -> None:
    text = "x" * (strict_json.LONG_TEXT + around) + character * 3 + "y" * 10
    assert written(text) == json.dumps(text).encode()
    assert (
        written({"messages": [{"content": text, text: ()}]})
        == json.dumps({"messages": [{"content": text, text: ()}]}).encode()
    )


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Characters that an encoder was given at a time: it holds the interpreter for as long as it works on them."""
    given: list[int] = []

    def encode(text: str) -> str:
        given.append(len(text))
        return encode_basestring_ascii(text)

    monkeypatch.setattr(strict_json, "encode_basestring_ascii", encode)
    dumps = json.dumps

    def whole(value: object, **options: Any) -> str:
        given.append(strict_json.size_hint(value))
        return dumps(value, **options)

    monkeypatch.setattr(json, "dumps", whole)
    return given


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [1, one], lambda one: {"a": ({"b": one}, "x")}])
def test_a_long_string_is_written_in_slices_so_that_other_threads_get_their_turn(
    wrap: Callable[[object], object], at_once: list[int]
) -> None:
    strict_json.encode(wrap("€" * (3 * strict_json.LONG_TEXT + 5)))
    assert max(at_once) == strict_json.LONG_TEXT
    assert at_once.count(strict_json.LONG_TEXT) == 3
    at_once.clear()
    strict_json.encode(wrap(["x" * (strict_json.LONG_TEXT // 2)] * 10))
    assert max(at_once) < strict_json.LONG_TEXT


def test_a_short_value_is_written_at_once(at_once: list[int]) -> None:
    value = {"messages": [{"role": "user", "content": "x" * 1000}] * 20}
    strict_json.encode(value)
    assert at_once == [strict_json.size_hint(value)]


@pytest.mark.parametrize("slices_of_it", [1, 2, 3])
def test_a_string_of_whole_slices_is_written_once(slices_of_it: int) -> None:
    text = "€" * (slices_of_it * strict_json.LONG_TEXT)
    assert written(text) == json.dumps(text).encode()


@pytest.mark.parametrize(
    "value",
    [
        {"role": Role.USER, Role.USER: Color.RED, Color.RED: [Color.RED]},
        Pair("a", Pair(1, None)),
        OrderedDict([("b", 1), ("a", 2)]),
        {"x": -0.0, "y": 1e300, "z": 5e-324, "big": 2**70, "true": True},
        {1: "a", "1": "b", False: "c", "false": "d"},
        10**600,
    ],
    ids=repr,
)
def test_kinds_of_numbers_texts_tuples_and_dicts_are_written_as_json_dumps_does(value: Any, slices: int) -> None:
    assert written(value) == json.dumps(value).encode()


@given(value=trees(ANY_TEXT))
def test_what_was_written_is_read_as_it_was(value: Any) -> None:
    def listed(one: Any) -> Any:
        if isinstance(one, (list, tuple)):
            return [listed(each) for each in one]
        return {key: listed(each) for key, each in one.items()} if isinstance(one, dict) else one

    again = strict_json.decode(strict_json.encode(value))
    # By its text, so that True is not 1. A high and a low surrogate side by side are one character in JSON.
    assert json.dumps(again) == json.dumps(listed(value))


NOT_JSON = "expected text, a number, a list or a dict, got"


class Opaque:
    """An object that JSON cannot represent; no error may contain its repr."""

    def __repr__(self) -> str:
        return SECRET


def holding_itself(kind: str) -> Any:
    """A list or a dict that is in itself."""
    if kind == "list":
        value: list[Any] = [SECRET]
        value.append({"again": value})
        return value
    pairs: dict[str, Any] = {"text": SECRET}
    pairs["again"] = [pairs]
    return pairs


def nested(levels: int) -> Any:
    value: Any = SECRET
    for _ in range(levels):
        value = [value]
    return value


WRONG: list[tuple[Any, type[ArgumentError], str]] = [
    (Opaque(), ArgumentTypeError, f"payload: {NOT_JSON} Opaque"),
    ({"a": {"b": [0, Opaque()]}}, ArgumentTypeError, f"a.…[1]: {NOT_JSON} Opaque"),
    ({"messages": [{"content": SECRET}, {"content": b"x"}]}, ArgumentTypeError, f"messages[1].content: {NOT_JSON} "),
    ({"stop": {SECRET}}, ArgumentTypeError, f"stop: {NOT_JSON} set"),
    ({"top_p": Decimal("0.5")}, ArgumentTypeError, f"top_p: {NOT_JSON} Decimal"),
    ({"tools": (x for x in SECRET)}, ArgumentTypeError, f"tools: {NOT_JSON} generator"),
    ([[[object]]], ArgumentTypeError, f"[0][0][0]: {NOT_JSON} type"),
    ({"temperature": math.nan}, ArgumentError, "temperature: expected a finite number"),
    ({"logit_bias": {"5": -math.inf}}, ArgumentError, "logit_bias.…: expected a finite number"),
    ([1, (2, math.inf)], ArgumentError, "[1][1]: expected a finite number"),
    ({"a": {(1, 2): 3}}, ArgumentTypeError, "a: expected a string as a key, got tuple"),
    ({b"a": 3}, ArgumentTypeError, "payload: expected a string as a key, got bytes"),
    ({"a": {math.nan: 3}}, ArgumentError, "a: expected a finite number as a key"),
    ({"a": [10**5000]}, ArgumentError, "a[0]: expected a number with fewer digits"),
    ({"a": {-(10**5000): 1}}, ArgumentError, "a: expected a key with fewer digits"),
    (holding_itself("list"), ArgumentError, "[1].…: contains itself"),
    (holding_itself("dict"), ArgumentError, ": contains itself"),
    (nested(100_000), ArgumentError, "nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind", "message"), WRONG, ids=[message for _, _, message in WRONG])
@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("do", [strict_json.encode, strict_json.snapshot])
def test_what_json_cannot_say_is_refused_by_its_place_and_not_quoted(
    value: Any, kind: type[ArgumentError], message: str, long: bool, do: Any
) -> None:
    if long:
        rest = value if isinstance(value, dict) else {"value": value}
        value = {"first": "x" * strict_json.LONG_TEXT, **rest}
        message = message.replace(f"payload: {NOT_JSON}", f"value: {NOT_JSON}")
    with pytest.raises(ArgumentError) as caught:
        do(value)
    error = caught.value
    assert type(error) is kind
    assert message in str(error)
    assert SECRET not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None  # what json raises may quote


@pytest.mark.parametrize("key", [math.nan, math.inf, b"a", (1,), 10**5000], ids=lambda key: type(key).__name__)
def test_a_key_that_is_none_is_refused_also_before_a_long_text(key: Any) -> None:
    for value in ({key: "x" * strict_json.LONG_TEXT}, {"a": [{key: ["x" * strict_json.LONG_TEXT]}]}):
        with pytest.raises(ArgumentError, match=r"expected .* key"):
            strict_json.encode(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("index", [0, 12_345, 19_999])
def test_a_number_that_is_not_finite_is_refused_inside_a_long_list(number: float, index: int) -> None:
    floats = [0.5] * 20_000
    floats[index] = number
    for write in (strict_json.encode, strict_json.snapshot):
        with pytest.raises(ArgumentError, match=rf"^embedding\[{index}\]: expected a finite number"):
            write({"embedding": floats})


def test_the_place_of_a_fault_behind_a_long_key_is_shortened() -> None:
    for value in ({"k" * 5000: math.nan}, {"a": {"k" * 5000: math.nan}}, {"k" * 5000: {"b": math.nan}}):
        with pytest.raises(ArgumentError) as caught:
            strict_json.encode(value)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"temperature": math.nan}, "temperature"),
        ({"my_own_parameter": math.nan}, "my_own_parameter"),
        ({SECRET: math.nan}, "…"),
        ({"the user's words": math.nan}, "…"),
        ({"k" * 41: math.nan}, "…"),
        ({5: math.nan}, "…"),
        ({"messages": [0, {"content": [{"type": "text", "text": math.nan}]}]}, "messages[1].content[0].text"),
        ({"tools": [{"function": {"parameters": {"properties": {"password": math.nan}}}}]},
         "tools[0].function.parameters.properties.…"),
        ({"metadata": {SECRET: math.nan}}, "metadata.…"),
        ({"metadata": {"Alice": {"name": math.nan}}}, "metadata.….name"),
        ({"metadata": {7: math.nan}}, "metadata.…"),
        ([{"content": math.nan}], "[0].content"),
        (math.nan, "payload"),
    ],
)  # fmt: skip
def test_a_place_is_told_in_the_protocols_words_and_not_in_the_users(value: Any, place: str) -> None:
    for do in (strict_json.encode, strict_json.snapshot):
        with pytest.raises(ArgumentError) as caught:
            do(value)
        assert str(caught.value).partition(": ")[0] == place


@pytest.mark.parametrize("brackets", ["[{}]", "{{{}}}"])
def test_the_number_of_values_is_told_by_commas_and_brackets(brackets: str) -> None:
    inner = ",".join(f'"k{n}": {n}' if brackets == "{{{}}}" else str(n) for n in range(10))
    data = brackets.format(inner).encode()  # nine commas and a bracket
    assert len(strict_json.decode(data, values_max=10)) == 10
    with pytest.raises(ValueError, match=r"^more than 9 values$"):
        strict_json.decode(data, values_max=9)


def test_objects_and_arrays_are_bounded_by_the_length_of_a_text_and_other_values_are_not() -> None:
    assert len(strict_json.decode(b"[" + b"1," * 1_000_000 + b"1]")) == 1_000_001
    assert strict_json.decode(json.dumps({"content": "1,[{" * 501_000}).encode())["content"].count(",") == 501_000
    with pytest.raises(TooManyContainersError) as caught:
        strict_json.decode(b"[" + b"[]," * 100_000 + b"1]")
    assert (caught.value.found, caught.value.limit) == (100_001, 10_000 + 300_003 // 24)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"messages": [{}, {}, {"role": "user", "content": "\ud83d"}]}, "messages[2].content"),
        ({"messages": [{"role": "user", "content": ["a", None, "\udcff"]}]}, "messages[0].content[2]"),
        ({"stop": ["\u00e9", "\udcff"]}, "stop[1]"),
        ({"stop": ["x"] * 5 + ["\udcff"]}, "stop[5]"),
        ({"model": "\ud800", "n": 1}, "model"),
        ({"metadata": {"\ud800": 1}}, "metadata"),
        ({"metadata": {"name": "\ud83d\ude00"}}, "metadata.name"),  # a pair, but of two characters
    ],
)
def test_a_lone_surrogate_is_refused_with_its_place_before_anything_is_sent(value: Any, place: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        strict_json.snapshot(value)
    assert str(caught.value).startswith(f"{place}: ")
    assert "a lone surrogate; decode it with the right encoding, or replace it" in str(caught.value)
    str(caught.value).encode("ascii")


def test_text_beyond_ascii_passes() -> None:
    value = {"messages": [{"content": "\u00e9\U0001f600"}, {"\u00e9": ["\u4e2d", None, "x"]}], "user": "\u00fc"}
    assert strict_json.snapshot(value) == value


def test_what_was_written_before_a_fault_is_wiped() -> None:
    buffer = bytearray()
    with patch.object(strict_json, "LONG_TEXT", 4):
        assert strict_json._write([SECRET, SECRET, object()], buffer) is False
    assert len(buffer) > 2 * len(SECRET)
    assert not any(buffer)


@given(value=trees(KEYS))
def test_a_snapshot_is_written_as_its_original_and_shares_nothing_that_changes(value: Any) -> None:
    if re.search(r"[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
        with pytest.raises(ArgumentError, match="a lone surrogate"):
            strict_json.snapshot(value)
        return
    taken = strict_json.snapshot(value)
    assert json.dumps(taken) == json.dumps(value)
    mutable, left = set(), [value]
    while left:
        one = left.pop()
        if isinstance(one, (dict, list, tuple)):
            if not isinstance(one, tuple):
                mutable.add(id(one))
            left += one.values() if isinstance(one, dict) else one
    left = [taken]
    while left:
        one = left.pop()
        assert id(one) not in mutable
        if isinstance(one, (dict, list)):
            left += one.values() if isinstance(one, dict) else one


@pytest.mark.parametrize(
    "values",
    [[1, 10**5000], [-(10**5000), 1], [0.5, math.nan], [0.5, math.inf, 1.0], ["x", object()], [1, True, math.nan]],
)
def test_lists_that_are_copied_at_once_are_looked_at_all_the_same(values: list[Any]) -> None:
    with pytest.raises(ArgumentError):
        strict_json.snapshot({"values": values})


@pytest.mark.parametrize(
    "count",
    [
        strict_json._SLICE_ITEMS - 1,
        strict_json._SLICE_ITEMS,
        strict_json._SLICE_ITEMS + 1,
        3 * strict_json._SLICE_ITEMS,
    ],
)
def test_long_lists_are_written_in_parts(count: int) -> None:
    for value in (["x" * 300] * count, list(range(count)) * 20, [{"content": "x" * 300}] * count):
        assert bytes(strict_json.encode(value)) == json.dumps(value).encode()


@pytest.mark.parametrize("levels", [10, 150])
def test_honest_nesting_passes(levels: int, slices: int) -> None:
    value = {"schema": nested(levels)}
    assert strict_json.snapshot(value) == value
    assert written(value) == json.dumps(value).encode()


@pytest.mark.parametrize("kind", ["lists", "dicts", "both"])
def test_nesting_has_an_end_before_python_gives_up(kind: str) -> None:
    def around(levels: int, inside: object) -> Any:
        value = inside
        for level in range(levels):
            value = [value, 0.5, "x"] if kind == "lists" or (kind == "both" and level % 2) else {"a": value, "b": None}
        return value

    for inside in (SECRET, SECRET * strict_json.LONG_TEXT):
        assert strict_json.snapshot(around(200, inside)) == around(200, inside)
        assert written(around(200, inside)) == json.dumps(around(200, inside)).encode()
        for levels in (202, 400):
            with pytest.raises(ArgumentError, match="nested too deeply"):
                strict_json.snapshot(around(levels, inside))
    with pytest.raises(ArgumentError, match="nested too deeply"):
        strict_json.encode(around(400, SECRET * strict_json.LONG_TEXT))


def test_one_list_may_stand_in_several_places() -> None:
    shared = ["x"]
    value: Any = [shared, shared]
    for _ in range(15):
        value = [value, value]
    assert written(value) == json.dumps(value).encode()


def test_the_hint_tells_long_payloads_from_short_ones() -> None:
    assert strict_json.size_hint({"a": ["xx", ("yyy", {"k": "zzzz"})], "b": 5}) == 9 + 8
    assert strict_json.size_hint([0] * strict_json.LONG_TEXT) == strict_json.LONG_TEXT
    assert strict_json.size_hint([{"k": ""}] * strict_json.LONG_TEXT) == strict_json.LONG_TEXT
    assert strict_json.size_hint(["x" * strict_json.LONG_TEXT, "y"]) >= strict_json.LONG_TEXT
    assert (
        strict_json.size_hint({"m": [{"content": "x"}] * 3, "n": "y" * strict_json.LONG_TEXT}) >= strict_json.LONG_TEXT
    )
    assert strict_json.size_hint(["x"] * (2 * strict_json.LONG_TEXT)) >= strict_json.LONG_TEXT


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_the_hint_comes_to_an_end_where_a_value_holds_itself(kind: str) -> None:
    assert strict_json.size_hint(holding_itself(kind)) == len(SECRET)


UNREADABLE = {
    "nothing": b"",
    "blank": b" ",
    "words": b"the answer",
    "cut": b'{"a": "b',
    "two values": b"{} {}",
    "trailing comma": b"[1,]",
    "single quotes": b"{'a': 1}",
    "comment": b"[1] // one",
    "control character": b'"a\nb"',
    "key twice": b'{"a": 1, "a": 1}',
    "key twice, escaped": b'{"a": 1, "\\u0061": 2}',
    "key twice, deep": b'[{"x": [{"a": {}, "b": 1, "a": {}}]}]',
    "NaN": b'{"a": NaN}',
    "Infinity": b"[Infinity]",
    "-Infinity": b"-Infinity",
    "a number beyond floats": b"[1e999]",
    "a negative number beyond floats": b"-1e999",
    "5000 digits": b"1" * 5000,
    "5000 digits, negative": b'{"a": -' + b"1" * 5000 + b"}",
    "deep": b"[" * 5000 + b"]" * 5000,
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "UTF-32": "{}".encode("utf-32-be"),
    "invalid UTF-8": b'"\xff"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "cut UTF-8": b'"\xe2\x82',
    "zero byte": b"{}\x00",
    "01": b"01",
    "+1": b"+1",
    ".5": b".5",
    "0x10": b"0x10",
    "nan": b"nan",
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_what_is_no_json_or_ambiguous_is_refused_without_a_word_about_it(name: str, kind: type[bytes]) -> None:
    with pytest.raises(ValueError, match=r"^not JSON, or ambiguous$") as caught:
        strict_json.decode(kind(UNREADABLE[name]))
    assert type(caught.value) is ValueError
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # what json raises holds the whole text


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b' {"a": [1, 2.5, true, null, "\xe2\x82\xac"]}\r\n\t', {"a": [1, 2.5, True, None, "€"]}),
        (b'{"a": {"b": 1}, "b": {"a": 1}}', {"a": {"b": 1}, "b": {"a": 1}}),
        (b'"\\ud83d"', "\ud83d"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"1" * 4000, int("1" * 4000)),
        (b"1e308", 1e308),
        (b"1e-999", 0.0),
        (b"-0", 0),
        (b"[" * 100 + b"]" * 100, json.loads("[" * 100 + "]" * 100)),
        (b'{"": {"": ""}}', {"": {"": ""}}),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_json_is_read(data: bytes, value: object) -> None:
    assert strict_json.decode(data) == value
    assert type(strict_json.decode(data)) is type(value)


@given(data=st.binary(max_size=60) | st.text('{}[]",:0123456789.eE+-\\unaltrfsNIy ', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused_with_the_one_error(data: bytes) -> None:
    value: object = Ellipsis
    with suppress(ValueError):  # any other fails the test
        value = strict_json.decode(data)
    if value is Ellipsis:
        with pytest.raises(ValueError, match=r"^not JSON, or ambiguous$"):
            strict_json.decode(data)
    else:
        assert json.loads(data.decode()) == value
