"""Decompress stored bytes as a stream in bounded memory: gzip (RFC 1952), Zstandard (RFC 8878), or none.

The text does not depend on how the stored bytes are divided into blocks. All text of a truncated archive is returned,
and all text before the damage in a gzip archive. In a damaged Zstandard archive, up to `ZSTANDARD_TEXT_BYTES` of the
text before the damage are lost.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any, Final

from nomyo_attest.audit.sources.source import Packing, SourceDamageError
from nomyo_attest.evidence.content import GZIP, ZSTANDARD

GZIP_TEXT_BYTES: Final = 256 * 1024
"""Maximum bytes of text that zlib returns per call: an archive of zeros expands a thousandfold."""

_GZIP_WINDOW: Final = 31
"""zlib's wbits for a gzip header, and a window of any size that deflate allows (at most 32 KiB)."""

WINDOW_LOG_MAX: Final = 27
"""Zstandard's window, as a power of two: 128 MiB, the largest that the program zstd accepts by default."""

ZSTANDARD_TEXT_BYTES: Final = 64 * 1024
"""Maximum bytes of text that the decompressor returns per call. An error loses the text of the same call."""

_ZSTANDARD_INPUT_BYTES: Final = 16 * 1024
"""Stored bytes that are passed to the decompressor per call. It copies the bytes after the end of a frame, and a frame
can be as short as nine bytes.
"""

_SKIPPABLE: Final = range(0x184D2A50, 0x184D2A60)
"""Magic numbers of Zstandard's skippable frames (RFC 8878, section 3.1.2)."""


def decompress(blocks: Iterator[bytes], packing: Packing) -> Iterator[bytes]:
    """Yield the text of stored `blocks`. Raises `SourceDamageError` where they are damaged or truncated."""
    if packing == "gz":
        return _gunzip(blocks)
    if packing == "zst":
        return _unzstd(blocks)
    return blocks


def detect_packing(head: bytes) -> Packing:
    """Return the compression of a file that begins with the bytes `head`."""
    if head.startswith(GZIP):
        return "gz"
    skippable = len(head) >= 4 and int.from_bytes(head[:4], "little") in _SKIPPABLE
    return "zst" if skippable or head.startswith(ZSTANDARD) else ""


def _gunzip(blocks: Iterator[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WINDOW)
    members, is_inside = 0, False
    for data in blocks:
        while True:
            if members and not is_inside:
                # Tapes and some file systems fill their last block with zeros, and gzip accepts them.
                data = data.lstrip(b"\0")
                if data and not GZIP.startswith(data[:2]):
                    raise SourceDamageError("damaged: the bytes behind the archive are not gzip")
            if not data and not is_inside:
                break
            if not (members or is_inside or GZIP.startswith(data[:2])):
                raise SourceDamageError("damaged: does not begin as gzip does; if it is not compressed, rename it")
            before = member.copy()
            try:
                text = member.decompress(data, GZIP_TEXT_BYTES)
            except zlib.error as error:
                # A call that fails returns no text, so decompress the same bytes again, one by one.
                yield from _text_before_damage(before, data)
                raise SourceDamageError(f"damaged: {str(error).rpartition(': ')[2]}") from None
            is_inside = True
            if text:
                yield text
            if member.eof:
                data = member.unused_data
                member = zlib.decompressobj(_GZIP_WINDOW)
                members, is_inside = members + 1, False
            elif member.unconsumed_tail or len(text) == GZIP_TEXT_BYTES:
                data = member.unconsumed_tail
            else:
                break
    if is_inside:
        raise SourceDamageError("cut off: the gzip archive is not complete")
    if not members:
        raise SourceDamageError("cut off: the file is empty, not a gzip archive")


def _text_before_damage(member: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    out = bytearray()
    try:
        # Text beyond the limit of the last call, one byte at a time, since the damage may directly follow it.
        while text := member.decompress(b"", 1):
            out += text
        for position in range(len(data)):
            out += member.decompress(data[position : position + 1])
            if len(out) >= GZIP_TEXT_BYTES:
                yield bytes(out)
                out.clear()
    except zlib.error:
        pass
    if out:
        yield bytes(out)


def _unzstd(blocks: Iterator[bytes]) -> Iterator[bytes]:
    zstd = _import_zstd()
    # The decompressor rejects a frame that needs a larger window before it allocates the window.
    options = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    frames, frame = 0, None
    for data in _slices(blocks, _ZSTANDARD_INPUT_BYTES):
        while data or (frame is not None and not frame.needs_input):
            if frame is None:
                frame = zstd.ZstdDecompressor(options=options)
            try:
                text = frame.decompress(data, ZSTANDARD_TEXT_BYTES)
            except zstd.ZstdError as error:
                raise SourceDamageError(_zstandard_problem(str(error), frames)) from None
            if text:
                yield text
            data = b""
            if frame.eof:
                data = frame.unused_data
                frames, frame = frames + 1, None
    if frame is not None:
        raise SourceDamageError("cut off: the Zstandard archive is not complete")
    if not frames:
        raise SourceDamageError("cut off: the file is empty, not a Zstandard archive")


def _slices(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in slices of `size`, so that the text before damage does not depend on the blocks."""
    rest = b""
    damage = None
    try:
        for block in blocks:
            data = rest + block
            end = len(data) - len(data) % size
            for start in range(0, end, size):
                yield data[start : start + size]
            rest = data[end:]
    except SourceDamageError as error:
        damage = error
    if rest:
        yield rest
    if damage is not None:
        raise damage


def _zstandard_problem(error: str, frames: int) -> str:
    """Describe an error of the decompressor after `frames` complete frames."""
    if "too much memory" in error:
        return f"needs more than {(1 << WINDOW_LOG_MAX) >> 20} MiB of memory to be decompressed; decompress it first"
    if "Dictionary" in error:
        return "compressed with a dictionary, which is not in the file; decompress it first"
    if "Unknown frame" in error:
        if frames:
            return "damaged: the bytes behind the archive are not Zstandard"
        return "damaged: does not begin as Zstandard does; if it is not compressed, rename it"
    return f"damaged: {error.rpartition(': ')[2]}"


def _import_zstd() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise SourceDamageError("Zstandard is not part of this Python; decompress the file first") from None
    return zstd
