"""Content that is not what the reader of a file expects, recognized by its beginning."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.evidence.content import (
    EMPTY,
    HEAD_MAX,
    UTF_16,
    can_classify_lines,
    lines_problem,
    one_record_problem,
    wrong_content,
)
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX
from nomyo_attest.testing import Forge

RESPONSE = Forge(key="p256").response()
LINE = json.dumps(RESPONSE).encode()
PRETTY = json.dumps(RESPONSE, indent=1).encode()


def zipped(text: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.json", text)
    return file.getvalue()


def said(text: bytes) -> str:
    """What is said of a file of JSON Lines, read in blocks as an audit reads it."""
    head = b""
    for begin in range(0, len(text), 64 * 1024):
        head += text[begin : begin + 64 * 1024]
        if can_classify_lines(head):
            return lines_problem(head, complete=False)
    return lines_problem(head, complete=True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [LINE, PRETTY, b"\n" + LINE])
def test_utf_16_is_recognized_with_and_without_a_byte_order_mark(encoding: str, text: bytes) -> None:
    content = text.decode().encode(encoding)
    for problem in (wrong_content(content[:64]), one_record_problem(content), said(content)):
        assert problem == UTF_16
        assert "save it as UTF-8" in problem


def test_utf_32_is_recognized() -> None:
    assert "UTF-32" in wrong_content(LINE.decode().encode("utf-32")[:64])


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_utf_8_is_accepted_with_and_without_a_byte_order_mark(bom: bytes) -> None:
    assert wrong_content(bom + LINE[:64]) == ""
    assert one_record_problem(bom + LINE) == one_record_problem(bom + PRETTY) == ""
    assert said(bom + LINE + b"\n" + LINE) == said(bom + LINE) == ""


@pytest.mark.parametrize(
    ("content", "what", "remediation"),
    [
        (gzip.compress(LINE), "is compressed with gzip", ".gz"),
        (zipped(LINE), "is a ZIP archive", "unpack it first"),
        (b"PK\x05\x06" + bytes(18), "is a ZIP archive", "unpack it first"),
        (lzma.compress(LINE), "is compressed with xz", "unpack it first"),
        (bz2.compress(LINE), "is compressed with bzip2", "unpack it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(60), "is compressed with Zstandard", ".zst"),
        (b"PAR1" + bytes(60), "is a Parquet file", ".parquet"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_an_archive_under_the_name_of_a_text_is_recognized(content: bytes, what: str, remediation: str) -> None:
    for problem in (one_record_problem(content, by_extension=True), said(content)):
        assert problem.startswith(what)
        assert remediation in problem
    assert wrong_content(content[:64]).startswith(what)


@pytest.mark.parametrize("text", [b"", b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_a_file_of_one_record_that_has_none_is_empty(text: bytes) -> None:
    assert one_record_problem(text) == EMPTY


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_json_lines_under_the_name_of_one_record_are_recognized(end: bytes) -> None:
    for text in (LINE + end + LINE, end + LINE + end + end + LINE + end, b"\xef\xbb\xbf{}" + end + b'{"a":1}'):
        assert one_record_problem(text) == "has a record on each line; use `nomyo-attest audit`, which reads JSON Lines"
        assert ".jsonl" in one_record_problem(text, by_extension=True)
    for text in (LINE, LINE + end, PRETTY + end, LINE + end + b"tail", LINE + end + b"[]", b"{" + end + b"{}"):
        assert one_record_problem(text) == ""


ARRAY = json.dumps([RESPONSE, RESPONSE]).encode()
PRETTY_ONES = {
    "a document": PRETTY,
    "a document with a byte order mark": b"\xef\xbb\xbf" + PRETTY,
    "two documents": PRETTY + b"\n" + PRETTY,
    "an indent of nothing": json.dumps(RESPONSE, indent=0).encode(),
    "tabs and CRLF": json.dumps(RESPONSE, indent="\t").encode().replace(b"\n", b"\r\n"),
    "a blank line first": b"\n\n" + PRETTY,
    "braces on lines of their own": b'{\n"_metadata":\n{\n}\n}\n',
    "a first key beside the brace": b'{"a": {\n "b": 1}\n}\n',
}
ARRAYS = {
    "pretty": json.dumps([RESPONSE, RESPONSE], indent=2).encode(),
    "a line": ARRAY,
    "a line with its end": ARRAY + b"\n",
    "an element on each line": b"[\n" + LINE + b",\n" + LINE + b"\n]\n",
    "a single element": b"[\n" + LINE + b"\n]",
    "elements on lines beside the bracket": b"[" + LINE + b",\n" + LINE + b"]",
    "nothing": b"[]",
    "longer than the beginning that is examined": b"[" + b",".join([LINE] * (HEAD_MAX // len(LINE) + 2)) + b"]",
}


@pytest.mark.parametrize("name", PRETTY_ONES)
def test_pretty_printed_json_is_not_json_lines(name: str) -> None:
    assert said(PRETTY_ONES[name]) == "is pretty-printed JSON, not JSON Lines; write one record on each line: `jq -c .`"


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_not_json_lines(name: str) -> None:
    assert said(ARRAYS[name]) == "is a JSON array, not JSON Lines; write one record on each line: `jq -c '.[]'`"


LINES = {
    "a record": LINE,
    "records": LINE + b"\n" + LINE + b"\n",
    "a first line that was cut off in a string": LINE[:100] + b"\n" + LINE,
    "a first line that was cut off between values": b'{"a": {"b": 1},\n' + LINE,
    "a first line that was cut off, and a last one": b'{"a": 1,\n' + LINE + b"\n" + LINE[:50],
    "one line that was cut off": b'{"a": {',
    "an array among records": b"[]\n" + LINE,
    "an array that was cut off before a record": b'[{"a":\n' + LINE,
    "an open bracket before records": b"[\n" + LINE + b"\n" + LINE,
    "words": b"words\n{\n",
    "a number": b"1\n2\n",
    "a long record": b'{"a": "' + b"x" * (2 * HEAD_MAX) + b'"}\n{\n"b": 1\n}',
}


@pytest.mark.parametrize("name", LINES)
def test_json_lines_with_a_damaged_line_are_still_json_lines(name: str) -> None:
    assert said(LINES[name]) == ""


@given(
    st.lists(st.sampled_from([LINE, b"{", b"[", b"}", b"]", b'"', b"\\", b"\n", b" ", b"{}", b",", b'"a": 1', b"\xff"]))
)
def test_the_problem_does_not_depend_on_where_the_text_is_cut(parts: list[bytes]) -> None:
    text = b"".join(parts)
    whole = lines_problem(text, complete=True)
    for end in range(0, len(text), max(1, len(text) // 7)):
        if can_classify_lines(text[:end]):
            assert lines_problem(text[:end], complete=False) == whole


def test_no_more_text_is_buffered_than_a_record_may_have() -> None:
    assert can_classify_lines(b"[" + bytes(RECORD_BYTES_MAX))
    assert can_classify_lines(b"{" + bytes(HEAD_MAX))
    assert can_classify_lines(b" " * (HEAD_MAX + 1))
    assert can_classify_lines(b"x")
    assert not can_classify_lines(b"")


def test_lines_after_a_blank_first_line_are_classified_before_the_file_ends() -> None:
    assert can_classify_lines(b"\n" + (LINE + b"\n") * 3)
