"""Recognize files whose content does not have the format that their name states, and say how to fix them.

A file of responses that PowerShell wrote as UTF-16, a pretty-printed ``.jsonl`` file or an archive named ``.json`` is
not malformed evidence: its records cannot be read, for a reason that its owner can fix. A problem is a phrase that
follows the file's name: ``is UTF-16 text; save it as UTF-8``.
"""

from __future__ import annotations

import re
from typing import Final

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX, parse_record

EMPTY: Final = "is empty: it contains no record; check whether the program that writes it failed"

UTF_16: Final = (
    "is UTF-16 text; save it as UTF-8 (Windows PowerShell writes UTF-16 unless you use `Out-File -Encoding utf8`)"
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
"""Leading bytes of each format (RFC 1952, RFC 8878, PKWARE's APPNOTE 4.3, the .xz format 2.1.1.1)."""

_ASCII_TEXT: Final = frozenset(b"\t\n\r") | frozenset(range(0x20, 0x7F))

HEAD_MAX: Final = 1024 * 1024
"""Maximum bytes at the start of a text that are examined to recognize its format."""

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BOM: Final = b"\xef\xbb\xbf"
_ONE_PER_LINE: Final = "write one record on each line"


def wrong_encoding(head: bytes) -> str:
    """Return why a text that begins with `head` is not UTF-8; empty if it may be, with or without a byte order mark."""
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return _UTF_32
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return UTF_16
    first = head[:2]
    if len(first) == 2 and 0 in first and first[first[0] == 0] in _ASCII_TEXT:
        return UTF_16  # without a byte order mark
    return ""


def wrong_content(head: bytes, *, by_extension: bool = False) -> str:
    """Return why records cannot be read from a file that begins with `head`; empty if they may be readable.

    Args:
        head: the first bytes of the file: at least 64, or the whole file if it is shorter.
        by_extension: whether the reader recognizes compressed files and Parquet by their extensions, so that renaming
            the file is the fix.
    """
    problem = wrong_encoding(head)
    if problem:
        return problem
    for magic, problem in _ARCHIVES:
        if head.startswith(magic):
            extension = {GZIP: ".gz", ZSTANDARD: ".zst"}.get(magic, "")
            if by_extension and extension:
                return f"{problem}, and its name does not end in {extension}; rename it, or unpack it"
            return f"{problem}; unpack it first"
    if head.startswith(PARQUET):
        return "is a Parquet file; " + (
            "rename it, so that its name ends in .parquet"
            if by_extension
            else "use `nomyo-attest audit`, which reads Parquet"
        )
    return ""


def one_record_problem(text: bytes, *, by_extension: bool = False) -> str:
    """Return why a file does not contain exactly one record; empty if it may contain one, even with malformed evidence.

    `by_extension` is as in `wrong_content`.
    """
    if not text.removeprefix(_BOM).strip():
        return EMPTY
    problem = wrong_content(text[:64], by_extension=by_extension)
    if problem:
        return problem
    first, second, _ = _first_lines(text, complete=True)
    if second.startswith(b"{") and _is_object(first):
        hint = (
            "rename it, so that its name ends in .jsonl"
            if by_extension
            else "use `nomyo-attest audit`, which reads JSON Lines"
        )
        return f"has a record on each line; {hint}"
    return ""


def can_classify_lines(head: bytes) -> bool:
    """Whether `head`, the start of a text, is long enough for `lines_problem` to decide."""
    start = head.removeprefix(_BOM).lstrip()
    if start.startswith(b"["):
        maximum = RECORD_BYTES_MAX  # no record begins with a bracket, and the array may be on one line
    elif start.startswith(b"{") or not start:
        maximum = HEAD_MAX
    else:
        return True
    return len(head) > maximum or bool(_first_lines(head, complete=False)[2])


def lines_problem(head: bytes, *, complete: bool, by_extension: bool = True) -> str:
    """Return why a text does not have one record on each line; empty if it may be JSON Lines.

    Args:
        head: the start of the text, for which `can_classify_lines` is true, or the whole text.
        complete: whether `head` is the whole text.
        by_extension: as in `wrong_content`.
    """
    problem = wrong_content(head[:64], by_extension=by_extension)
    if problem:
        return problem
    first, second, third = _first_lines(head, complete=complete)
    if first.startswith(b"["):
        continues = _is_left_open(first) and second and (not _is_object(second) or (first, third) == (b"[", b"]"))
        if continues or (complete and not second):
            return f"is a JSON array, not JSON Lines; {_ONE_PER_LINE}: `jq -c '.[]'`"
    # A truncated line is followed by a record; the first line of a pretty-printed document is not.
    elif first.startswith(b"{") and _is_left_open(first) and second and not _is_object(second):
        return f"is pretty-printed JSON, not JSON Lines; {_ONE_PER_LINE}: `jq -c .`"
    return ""


def _first_lines(head: bytes, *, complete: bool) -> tuple[bytes, bytes, bytes]:
    """Return the first three lines that are not empty, stripped.

    A missing line, or one that may be incomplete, is returned as empty.
    """
    lines: list[bytes] = []
    start = len(_BOM) if head.startswith(_BOM) else 0
    while len(lines) < 3 and start < len(head):
        end = head.find(b"\n", start)
        if end < 0 and not complete:
            break
        line = head[start : end if end >= 0 else None].strip()
        start = end + 1 if end >= 0 else len(head)
        if line:
            lines.append(line)
    first, second, third = (*lines, b"", b"", b"")[:3]
    return first, second, third


def _is_left_open(line: bytes) -> bool:
    """Whether a line ends inside an object or array. A line that ends inside a string is truncated."""
    rest = _STRING.sub(b"", line)
    return b'"' not in rest and rest.count(b"{") + rest.count(b"[") > rest.count(b"}") + rest.count(b"]")


def _is_object(line: bytes) -> bool:
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    try:
        return isinstance(parse_record(line), dict)
    except EvidenceError:
        return False
