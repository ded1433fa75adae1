"""Recognize files whose content is not in the format of their name, and state how to fix them.

A file of responses that PowerShell wrote as UTF-16, a pretty-printed document under the name ``.jsonl`` or an archive
under the name ``.json`` is not malformed evidence: no record of it can be read, for a reason that its owner can fix.
Problems are phrases to follow a file's name: ``is UTF-16 text; save it as UTF-8``.
"""

from __future__ import annotations

import re
from typing import Final

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.strict_json import TEXT_MAX, parse_record

EMPTY: Final = "is empty: it contains no record; check whether the program that should have written it failed"

UTF_16: Final = (
    "is UTF-16 text; save it as UTF-8 (Windows PowerShell writes UTF-16 unless it is given `Out-File -Encoding utf8`)"
)
_UTF_32: Final = "is UTF-32 text; save it as UTF-8"

GZIP: Final = b"\x1f\x8b"
ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"
PARQUET: Final = b"PAR1"

_ARCHIVES: Final = (
    (GZIP, "is compressed with gzip"),
    (ZSTANDARD, "is compressed with Zstandard"),
    (b"PK\x03\x04", "is a ZIP archive"),
    (b"PK\x05\x06", "is a ZIP archive"),
    (b"\xfd7zXZ\x00", "is compressed with xz"),
    (b"BZh", "is compressed with bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive"),
)
"""First bytes of formats (RFC 1952, RFC 8878, PKWARE's APPNOTE 4.3, the .xz format 2.1.1.1)."""

_ASCII_TEXT: Final = frozenset(b"\t\n\r") | frozenset(range(0x20, 0x7F))

HEAD_MAX: Final = 1024 * 1024
"""Bytes of the beginning of a text by which its format is recognized."""

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BOM: Final = b"\xef\xbb\xbf"
_ONE_PER_LINE: Final = "write one record on each line"


def wrong_encoding(head: bytes) -> str:
    """Why the beginning of a text is not UTF-8; empty if it may be. A byte order mark of UTF-8 is accepted."""
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return _UTF_32
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return UTF_16
    first = head[:2]
    if len(first) == 2 and 0 in first and first[first[0] == 0] in _ASCII_TEXT:
        return UTF_16  # without a byte order mark
    return ""


def wrong_content(head: bytes, *, named: bool = False) -> str:
    """Why no record can be read from a file that begins with `head`; empty if one may be.

    Args:
        head: the first bytes: at least 64, if the file has as many.
        named: whether the reader recognizes compressed files and Parquet by their names, so that the name has to be
            changed.
    """
    problem = wrong_encoding(head)
    if problem:
        return problem
    for magic, what in _ARCHIVES:
        if head.startswith(magic):
            extension = {GZIP: ".gz", ZSTANDARD: ".zst"}.get(magic, "")
            if named and extension:
                return f"{what}, and its name does not end in {extension}; rename it, or unpack it"
            return f"{what}; unpack it first"
    if head.startswith(PARQUET):
        return "is a Parquet file; " + (
            "rename it, so that its name ends in .parquet" if named else "nomyo-attest audit reads such a file"
        )
    return ""


def one_record_problem(text: bytes, *, named: bool = False) -> str:
    """Why the content of a file of one record is not a record; empty if it may be one, or may be malformed evidence.

    `named` is as in `wrong_content`.
    """
    if not text.removeprefix(_BOM).strip():
        return EMPTY
    problem = wrong_content(text[:64], named=named)
    if problem:
        return problem
    first, second, _ = _first_lines(text, ended=True)
    if second.startswith(b"{") and _is_object(first):
        hint = "rename it, so that its name ends in .jsonl" if named else "nomyo-attest audit reads such a file"
        return f"has a record on each line; {hint}"
    return ""


def enough_of_lines(head: bytes) -> bool:
    """Whether `lines_problem` can decide by the beginning of a text."""
    start = head.removeprefix(_BOM).lstrip()
    if start.startswith(b"["):
        maximum = TEXT_MAX  # no record begins like that, and an array may be on one line
    elif start.startswith(b"{") or not start:
        maximum = HEAD_MAX
    else:
        return True
    return len(head) > maximum or bool(_first_lines(head, ended=False)[2])


def lines_problem(head: bytes, *, ended: bool, named: bool = True) -> str:
    """Why there is not a record on each line of a text; empty if there may be.

    Args:
        head: the beginning of the text for which `enough_of_lines` is true, or the whole text.
        ended: whether it is the whole text.
        named: as in `wrong_content`.
    """
    problem = wrong_content(head[:64], named=named)
    if problem:
        return problem
    first, second, third = _first_lines(head, ended=ended)
    if first.startswith(b"["):
        several = _is_left_open(first) and second and (not _is_object(second) or (first, third) == (b"[", b"]"))
        if several or (ended and not second):
            return f"is a JSON array, not JSON Lines; {_ONE_PER_LINE}: `jq -c '.[]'`"
    # A line that was cut off is followed by a record; the first line of a document is not.
    elif first.startswith(b"{") and _is_left_open(first) and second and not _is_object(second):
        return f"is pretty-printed JSON, not JSON Lines; {_ONE_PER_LINE}: `jq -c .`"
    return ""


def _first_lines(head: bytes, *, ended: bool) -> tuple[bytes, bytes, bytes]:
    """The first three lines that are not blank, without white space around them.

    A line is empty if it does not exist, or may be incomplete.
    """
    lines: list[bytes] = []
    begin = len(_BOM) if head.startswith(_BOM) else 0
    while len(lines) < 3 and begin < len(head):
        end = head.find(b"\n", begin)
        if end < 0 and not ended:
            break
        line = head[begin : end if end >= 0 else None].strip()
        begin = end + 1 if end >= 0 else len(head)
        if line:
            lines.append(line)
    first, second, third = (*lines, b"", b"", b"")[:3]
    return first, second, third


def _is_left_open(line: bytes) -> bool:
    """Whether a line ends inside an object or array. A line that ends inside a string was cut off."""
    bare = _STRING.sub(b"", line)
    return b'"' not in bare and bare.count(b"{") + bare.count(b"[") > bare.count(b"}") + bare.count(b"]")


def _is_object(line: bytes) -> bool:
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    try:
        return isinstance(parse_record(line), dict)
    except EvidenceError:
        return False
