"""Decompress stored bytes as a stream in bounded memory: gzip (RFC 1952), Zstandard (RFC 8878), or none.

The text does not depend on how the stored bytes are divided into blocks. All text before the end of a truncated archive
is returned, and all text before the damage in a gzip archive; before the damage in a Zstandard archive, less than
`ZSTANDARD_TEXT` bytes of text are lost.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any, Final

from nomyo_attest.audit.sources.source import DamageError, Packing
from nomyo_attest.evidence.content import GZIP, ZSTANDARD

TEXT_BLOCK: Final = 256 * 1024
"""Maximum bytes of text decompressed at once: an archive of zeros expands a thousandfold."""

_GZIP_WINDOW: Final = 31
"""wbits of zlib: a gzip header, and a window of any size that deflate allows, at most 32 KiB."""

WINDOW_LOG_MAX: Final = 27
"""Zstandard's window, as a power of two: 128 MiB, the largest that the program zstd accepts by default."""

ZSTANDARD_TEXT: Final = 64 * 1024
"""Maximum bytes of text that the decompressor returns at once. An error loses the text of the same call."""

_ZSTANDARD_INPUT: Final = 16 * 1024
"""Stored bytes given to the decompressor at once. It copies those after a frame, and a frame may have only nine."""

_SKIPPABLE: Final = range(0x184D2A50, 0x184D2A60)
"""Magic numbers of Zstandard's skippable frames (RFC 8878, section 3.1.2)."""


def unpacked(blocks: Iterator[bytes], packing: Packing) -> Iterator[bytes]:
    """Yield the text in stored `blocks`. Raises `DamageError` where it is damaged or truncated."""
    if packing == "gz":
        return _gunzipped(blocks)
    if packing == "zst":
        return _unzstd(blocks)
    return blocks


def packing_of(head: bytes) -> Packing:
    """Return the compression of a file that begins with the bytes `head`."""
    if head.startswith(GZIP):
        return "gz"
    skippable = len(head) >= 4 and int.from_bytes(head[:4], "little") in _SKIPPABLE
    return "zst" if skippable or head.startswith(ZSTANDARD) else ""


def _gunzipped(blocks: Iterator[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WINDOW)
    members, inside = 0, False
    for data in blocks:
        while True:
            if members and not inside:
                # Tapes and some file systems fill their last block with zeros; gzip itself accepts them.
                data = data.lstrip(b"\0")
                if data and not GZIP.startswith(data[:2]):
                    raise DamageError("damaged: the bytes behind the archive are not gzip")
            if not data and not inside:
                break
            if not (members or inside or GZIP.startswith(data[:2])):
                raise DamageError("damaged: does not begin as gzip does; if it is not compressed, rename it")
            before = member.copy()
            try:
                text = member.decompress(data, TEXT_BLOCK)
            except zlib.error as error:
                # The text of a call that fails is lost with it: decompress the same bytes again, one by one.
                yield from _before_damage(before, data)
                raise DamageError(f"damaged: {str(error).rpartition(': ')[2]}") from None
            inside = True
            if text:
                yield text
            if member.eof:
                data = member.unused_data
                member = zlib.decompressobj(_GZIP_WINDOW)
                members, inside = members + 1, False
            elif member.unconsumed_tail or len(text) == TEXT_BLOCK:
                data = member.unconsumed_tail
            else:
                break
    if inside:
        raise DamageError("cut off: the gzip archive is not complete")
    if not members:
        raise DamageError("cut off: the file is empty, not a gzip archive")


def _before_damage(member: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    out = bytearray()
    try:
        # Output that exceeded the limit of the last call: one byte at a time, since the damage may follow directly.
        while text := member.decompress(b"", 1):
            out += text
        for place in range(len(data)):
            out += member.decompress(data[place : place + 1])
            if len(out) >= TEXT_BLOCK:
                yield bytes(out)
                out.clear()
    except zlib.error:
        pass
    if out:
        yield bytes(out)


def _unzstd(blocks: Iterator[bytes]) -> Iterator[bytes]:
    zstd = _zstandard()
    # A frame that needs a larger window is refused before the decompressor allocates it.
    options = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    frames, frame = 0, None
    for data in _slices(blocks, _ZSTANDARD_INPUT):
        while data or (frame is not None and not frame.needs_input):
            if frame is None:
                frame = zstd.ZstdDecompressor(options=options)
            try:
                text = frame.decompress(data, ZSTANDARD_TEXT)
            except zstd.ZstdError as error:
                raise DamageError(_zstandard_problem(str(error), frames)) from None
            if text:
                yield text
            data = b""
            if frame.eof:
                data = frame.unused_data
                frames, frame = frames + 1, None
    if frame is not None:
        raise DamageError("cut off: the Zstandard archive is not complete")
    if not frames:
        raise DamageError("cut off: the file is empty, not a Zstandard archive")


def _slices(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in slices of `size`, so that the text before damage does not depend on the blocks."""
    rest = b""
    damage = None
    try:
        for block in blocks:
            data = rest + block
            whole = len(data) - len(data) % size
            for start in range(0, whole, size):
                yield data[start : start + size]
            rest = data[whole:]
    except DamageError as error:
        damage = error
    if rest:
        yield rest
    if damage is not None:
        raise damage


def _zstandard_problem(error: str, frames: int) -> str:
    """Describe an error of the library, after `frames` complete frames."""
    if "too much memory" in error:
        return f"needs more than {(1 << WINDOW_LOG_MAX) >> 20} MiB of memory to be decompressed; decompress it first"
    if "Dictionary" in error:
        return "compressed with a dictionary, which is not in the file; decompress it first"
    if "Unknown frame" in error:
        if frames:
            return "damaged: the bytes behind the archive are not Zstandard"
        return "damaged: does not begin as Zstandard does; if it is not compressed, rename it"
    return f"damaged: {error.rpartition(': ')[2]}"


def _zstandard() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise DamageError("Zstandard is not part of this Python; decompress the file first") from None
    return zstd
