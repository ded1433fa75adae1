"""The package reader against any bytes: a refusal is the one error, and what is not refused the one plaintext."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nomyo import envelope
from tests.nomyo.packages import (
    BASE64_FIELDS,
    FIELDS,
    KEY,
    PARTS,
    PLAINTEXT,
    document,
    holder,
    is_refused,
    opens,
    tampered,
    valid,
)  # fmt: skip
from tests.nomyo.wire import package as wire

JSON_VALUES: list[Any] = [
    None, True, False, 0, 1, 1.0, -1, 2**70, 1.5, "", "x", "1.0", "\ud800", "é", "AAAA", [], ["1.0"], {}, {"a": 1},
    {"ciphertext": "", "nonce": "", "tag": ""},
]  # fmt: skip


@pytest.mark.parametrize("name", [*FIELDS, *PARTS, "processed_at"])
@pytest.mark.parametrize("value", JSON_VALUES, ids=ascii)
@pytest.mark.parametrize("inside", [False, True])
def test_a_field_of_any_other_value_or_type_is_refused(name: str, value: Any, inside: bool) -> None:
    before = holder(document(inside=inside), name).get(name)
    if (inside and name == "tag") or (type(before) is type(value) and before == value):
        return
    harmless = name == "processed_at" and (value is None or type(value) is int)
    package = tampered(name, lambda _: value, inside=inside)
    assert opens(package, tag_inside=inside) is harmless


@pytest.mark.parametrize("value", JSON_VALUES, ids=ascii)
def test_a_package_is_an_object(value: object) -> None:
    assert is_refused(json.dumps(value).encode())
    assert is_refused(json.dumps([document()]).encode())


def trailing_bits(text: str) -> str:
    """The same bytes in base64 whose last character before the padding has bits that count for nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = text.rstrip("=")
    return body[:-1] + alphabet[alphabet.index(body[-1]) | 1] + text[len(body) :]


LAX: dict[str, Callable[[str], str]] = {
    "without padding": lambda text: text.rstrip("="),
    "padded once more": lambda text: f"{text}=",
    "padded four more": lambda text: f"{text}====",
    "padding first": lambda text: f"={text}",
    "padding in the middle": lambda text: f"{text[:4]}===={text[4:]}",
    "bits that count for nothing": trailing_bits,
    "a line end behind": lambda text: f"{text}\n",
    "lines": lambda text: "\n".join([text[:8], text[8:]]),
    "a blank before": lambda text: f" {text}",
    "a blank within": lambda text: f"{text[:4]} {text[4:]}",
    "a NUL": lambda text: f"{text[:4]}\x00{text[4:]}",
    "a stranger": lambda text: f"{text[:4]}!{text[4:]}",
    "the alphabet for URLs": lambda text: base64.urlsafe_b64encode(base64.b64decode(text)).decode(),
    "base32": lambda text: base64.b32encode(base64.b64decode(text)).decode(),
    "hexadecimal": lambda text: base64.b64decode(text).hex(),
    "a letter outside ASCII": lambda text: f"{text[:-1]}é",
    "a wide letter": lambda text: f"\uff21{text[1:]}",
    "a lone surrogate": lambda text: f"{text}\udc80",
    "something behind the padding": lambda text: f"{text}AAAA",
    "another character behind": lambda text: f"{text}A",
    "a data URL": lambda text: f"data:;base64,{text}",
}


TWELVE_BYTES_FILL_SIXTEEN_CHARACTERS = {("nonce", "without padding"), ("nonce", "bits that count for nothing")}


@pytest.mark.parametrize(
    ("name", "how"),
    [(name, how) for name in BASE64_FIELDS for how in LAX if (name, how) not in TWELVE_BYTES_FILL_SIXTEEN_CHARACTERS],
)
def test_base64_that_is_not_canonical_is_refused(name: str, how: str) -> None:
    while True:  # until the bytes have a character that the other alphabet writes otherwise
        package = json.loads(wire.seal(PLAINTEXT, KEY.public_key()))
        at = holder(package, name)
        before, at[name] = at[name], LAX[how](at[name])
        if at[name] != before:
            break
    assert is_refused(json.dumps(package).encode())


@given(
    text=st.text("AQgwz019+/=", max_size=24)
    | st.text("AB+/=-_ \n\u00e9", max_size=12)
    | st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode()),
    piece=st.sampled_from([4, 8, 12, envelope._BASE64_CHUNK_LENGTH]),
)
def test_base64_is_taken_if_it_is_the_one_text_for_its_bytes_however_it_is_cut(text: str, piece: int) -> None:
    data = None
    with suppress(ValueError), patch.object(envelope, "_BASE64_CHUNK_LENGTH", piece):
        data = envelope._unb64(text)
    expected = None
    with suppress(ValueError):
        expected = base64.b64decode(text, validate=True)
    if expected is not None and base64.b64encode(expected).decode() != text:
        expected = None
    assert data == expected


@pytest.mark.parametrize("padded", ["QQ==", "QUI="])
def test_padding_at_the_end_of_a_piece_is_refused_if_more_follows(padded: str) -> None:
    with patch.object(envelope, "_BASE64_CHUNK_LENGTH", 4), pytest.raises(ValueError, match=r"^$"):
        envelope._unb64(f"{padded}QUJD")


TEXT = valid().decode()
NOT_ONE_OBJECT = {
    "nothing": b"",
    "blank": b" \n",
    "HTML": b"<!doctype html><html></html>",
    "cut": valid()[:-1],
    "cut in the middle": valid()[: len(valid()) // 2],
    "something behind": valid() + b"x",
    "twice": valid() * 2,
    "a byte order mark": b"\xef\xbb\xbf" + valid(),
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "UTF-32": TEXT.encode("utf-32"),
    "invalid UTF-8": valid()[:-1] + b', "x": "\xff"}',
    "a surrogate in UTF-8": valid()[:-1] + b', "x": "\xed\xa0\x80"}',
    "NaN": valid()[:-1] + b', "x": NaN}',
    "Infinity": valid()[:-1] + b', "x": -Infinity}',
    "a number beyond floats": valid()[:-1] + b', "x": 1e999}',
    "5000 digits": valid()[:-1] + b', "x": ' + b"7" * 5000 + b"}",
    "5000 digits of time": valid().replace(b"1700000000", b"1" * 5000),
    "deep": valid()[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": valid()[:-1] + b', "x": ' + b'{"x":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "a control character": valid()[:-1] + b', "x": "\x01"}',
    "a key twice": valid()[:-1] + b', "x": 1, "x": 1}',
    "a key twice, deep": valid()[:-1] + b', "x": [{"y": 1, "y": 1}]}',
}


@pytest.mark.parametrize("name", NOT_ONE_OBJECT)
def test_what_is_not_exactly_one_json_object_is_refused(name: str) -> None:
    assert is_refused(NOT_ONE_OBJECT[name])


@pytest.mark.parametrize("name", [*FIELDS, *PARTS, "processed_at"])
@pytest.mark.parametrize("same", [False, True])
def test_a_field_that_is_there_twice_is_refused_whichever_is_right(name: str, same: bool) -> None:
    value = json.dumps(holder(document(), name)[name])
    field, wrong = f'"{name}": {value}', f'"{name}": {value if same else "null"}'
    assert TEXT.count(field) == 1
    assert is_refused(TEXT.replace(field, f"{wrong}, {field}").encode())
    assert is_refused(TEXT.replace(field, f"{field}, {wrong}").encode())


@pytest.mark.parametrize(("fields", "taken"), [(10, True), (80, True), (100, False), (1000, False)])
@pytest.mark.parametrize("value", ["1", "[]", "{}", '"x"'])
def test_a_package_of_far_more_values_than_it_has_is_not_read(fields: int, taken: bool, value: str) -> None:
    more = "".join(f', "more{number}": {value}' for number in range(fields // (1 if value in ("1", '"x"') else 2)))
    assert opens(f"{TEXT[:-1]}{more}}}".encode()) is taken


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(FIELDS + PARTS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS + PARTS) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=20,
)


@given(value=ANY_JSON)
def test_no_other_json_is_taken_for_a_package(value: object) -> None:
    assert is_refused(json.dumps(value).encode())


@given(name=st.sampled_from([*FIELDS, *PARTS]), value=ANY_JSON, inside=st.booleans())
def test_no_field_may_be_any_other_json(name: str, value: object, inside: bool) -> None:
    before = holder(document(inside=inside), name).get(name)
    assume(value != before)
    assume(not (inside and name == "tag"))
    assert is_refused(tampered(name, lambda _: value, inside=inside), tag_inside=inside)


@given(data=st.binary(max_size=300))
def test_no_bytes_are_taken_for_a_package(data: bytes) -> None:
    assert is_refused(data)
    assert is_refused(data, tag_inside=True)


EDITS = st.tuples(st.integers(0, 10_000), st.sampled_from(["replace", "insert", "delete", "swap"]), st.integers(0, 255))


@given(edits=st.lists(EDITS, min_size=1, max_size=4), inside=st.booleans())
def test_a_package_with_any_bytes_changed_is_refused_or_still_means_the_same(
    edits: list[tuple[int, str, int]], inside: bool
) -> None:
    data = bytearray(valid(inside=inside))
    for place, kind, byte in edits:
        at = place % (len(data) - 1)
        if kind == "replace":
            data[at] = byte
        elif kind == "insert":
            data.insert(at, byte)
        elif kind == "delete":
            del data[at]
        else:
            data[at], data[at + 1] = data[at + 1], data[at]
    opens(bytes(data), tag_inside=inside)  # to nothing else: that is looked at in it
