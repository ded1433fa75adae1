"""Zstandard as a stream, block by block as RFC 8878, 3.1.1 frames it.

The decompressor gets one block at a time. So its text is in hand before the next block is looked at, which may be
damaged; so no call gives more than one block's text, 128 KiB; and so a frame is refused before it gets the memory it
asks for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from nomyo_attest.audit.sources.stored import DamageError

WINDOW_LOG_MAX: Final = 27
"""A window of 128 MiB, the largest that the program zstd takes without being told to."""

_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = (0x184D2A50, 0x184D2A5F)
_DICTIONARY_ID_BYTES: Final = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES: Final = (0, 2, 4, 8)
_RLE, _RESERVED = 1, 3
_CUT_OFF: Final = "cut off: the Zstandard archive ends before its end"


def begins_frame(head: bytes) -> bool:
    """Whether a Zstandard archive may begin with the bytes `head`."""
    return head.startswith(_MAGIC) or _skippable(head[:4])


def _skippable(magic: bytes) -> bool:
    return len(magic) == 4 and _SKIPPABLE[0] <= int.from_bytes(magic, "little") <= _SKIPPABLE[1]


class _Bytes:
    """Blocks, taken as many bytes at a time as are asked for."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._block, self._place = b"", 0

    def some(self, most: int) -> bytes:
        """Up to `most` bytes; none at the end only."""
        while self._place == len(self._block):
            self._block, self._place = next(self._blocks, b""), 0
            if not self._block:
                return b""
        piece = self._block[self._place : self._place + most]
        self._place += len(piece)
        return piece

    def up_to(self, size: int) -> bytes:
        """`size` bytes; fewer at the end only."""
        piece = self.some(size)
        if len(piece) == size or not piece:
            return piece
        pieces, size = [piece], size - len(piece)
        while size and (piece := self.some(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def exactly(self, size: int) -> bytes:
        """`size` bytes. Raises `DamageError` where fewer are left."""
        piece = self.up_to(size)
        if len(piece) < size:
            raise DamageError(_CUT_OFF)
        return piece


def unzstd(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The text of all frames. Raises `DamageError`."""
    source = _Bytes(blocks)
    anything = False
    while magic := source.up_to(4):
        if _skippable(magic):
            left = int.from_bytes(source.exactly(4), "little")
            while left:
                skipped = len(source.some(left))
                if not skipped:
                    raise DamageError(_CUT_OFF)
                left -= skipped
        elif magic == _MAGIC:
            yield from _frame(source)
        elif len(magic) < 4 and _MAGIC.startswith(magic):
            raise DamageError(_CUT_OFF)
        elif anything:
            raise DamageError("damaged: bytes that are no Zstandard stand behind the archive")
        else:
            raise DamageError("damaged: it does not begin as Zstandard does; if it is not compressed, rename it")
        anything = True
    if not anything:
        raise DamageError("cut off: the file is empty, not a Zstandard archive")


def _frame(source: _Bytes) -> Iterator[bytes]:
    descriptor = source.exactly(1)
    flags = descriptor[0]
    single_segment, checksum = flags & 0x20, flags & 0x04
    window = b"" if single_segment else source.exactly(1)
    dictionary = source.exactly(_DICTIONARY_ID_BYTES[flags & 3])
    content = source.exactly(_CONTENT_SIZE_BYTES[flags >> 6] or (1 if single_segment else 0))
    if any(dictionary):
        raise DamageError("packed with a dictionary, which is not in the file; unpack it first")
    needed = _window_bytes(window[0]) if window else int.from_bytes(content, "little")
    if needed > 1 << WINDOW_LOG_MAX:
        most = (1 << WINDOW_LOG_MAX) >> 20
        raise DamageError(
            f"needs {needed} bytes of memory to be unpacked, at most {most} MiB are given; unpack it first"
        )
    frame = _Frame()
    frame.decompress(_MAGIC + descriptor + window + dictionary + content)
    last = False
    while not last:
        head = source.exactly(3)
        value = int.from_bytes(head, "little")
        last, kind, size = bool(value & 1), value >> 1 & 3, value >> 3
        if kind == _RESERVED:
            raise DamageError("damaged: a block of a kind that Zstandard does not have")
        text = frame.decompress(head + source.exactly(1 if kind == _RLE else size))
        if text:
            yield text
    if checksum:
        frame.decompress(source.exactly(4))
    frame.end()


def _window_bytes(descriptor: int) -> int:
    """RFC 8878, 3.1.1.1.2."""
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)


class _Frame:
    """The decompressor of one frame; its errors are `DamageError`."""

    def __init__(self) -> None:
        self._zstd = _library()
        limit = {self._zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
        self._frame = self._zstd.ZstdDecompressor(options=limit)

    def decompress(self, data: bytes) -> bytes:
        """The text in `data`, which goes on where the last call ended."""
        try:
            text: bytes = self._frame.decompress(data)
        except (self._zstd.ZstdError, EOFError) as error:
            raise DamageError(f"damaged: {str(error).rpartition(': ')[2]}") from None
        return text

    def end(self) -> None:
        """Refuse a frame that is not over where its blocks are."""
        if not self._frame.eof:
            raise DamageError("damaged: a frame goes on behind its last block")


def _library() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise DamageError("Zstandard is not part of this Python; unpack the file first") from None
    return zstd
