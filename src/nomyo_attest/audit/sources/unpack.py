"""Stored bytes → the text in them: plain, gzip (RFC 1952) or Zstandard (RFC 8878), as a stream in bounded memory.

Everything in front of a damage comes out before `DamageError` is raised, and it is the same however the stored bytes
were cut into blocks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from nomyo_attest.audit.sources.kinds import Packing
from nomyo_attest.audit.sources.stored import DamageError

TEXT_BLOCK: Final = 256 * 1024
"""Bytes of text that come out at once: an archive of zeros has a thousand for each of its own."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 31
"""wbits of zlib: a gzip header, and a window of any size that deflate knows, at most 32 KiB."""


def unpacked(blocks: Iterator[bytes], packing: Packing) -> Iterator[bytes]:
    """The text in stored `blocks`. Raises `DamageError` where it is damaged."""
    if packing == "gz":
        return _gunzipped(blocks)
    if packing == "zst":
        from nomyo_attest.audit.sources.zst import unzstd

        return unzstd(blocks)
    return blocks


def packing_of(head: bytes) -> Packing:
    """How something is packed that begins with the bytes `head`."""
    if head.startswith(_GZIP_MAGIC):
        return "gz"
    from nomyo_attest.audit.sources.zst import begins_frame

    return "zst" if begins_frame(head) else ""


def _gunzipped(blocks: Iterator[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WINDOW)
    members, inside = 0, False
    for data in blocks:
        while True:
            if members and not inside:
                # Tapes and some file systems fill their last block with zeros; gzip itself takes them.
                data = data.lstrip(b"\0")
                if data and not _GZIP_MAGIC.startswith(data[:2]):
                    raise DamageError("damaged: bytes that are no gzip stand behind the archive")
            if not data and not inside:
                break
            if not (members or inside or _GZIP_MAGIC.startswith(data[:2])):
                raise DamageError("damaged: it does not begin as gzip does; if it is not compressed, rename it")
            before = member.copy()
            try:
                text = member.decompress(data, TEXT_BLOCK)
            except zlib.error as error:
                # The text of a call that fails is lost with it: the same bytes again, one by one.
                yield from _in_front_of_damage(before, data)
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
        raise DamageError("cut off: the gzip archive ends before its end")
    if not members:
        raise DamageError("cut off: the file is empty, not a gzip archive")


def _in_front_of_damage(member: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    out = bytearray()
    try:
        # What the last call had no room for: a byte at a time, since the damage may be right behind it.
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
