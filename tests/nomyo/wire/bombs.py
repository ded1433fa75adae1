"""Bodies with unexpected sizes: gzip, a gzip bomb, and an endless body.

Each begins with a valid response, followed by spaces, which JSON allows: a client without a limit accepts it.
"""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from collections.abc import Iterable

from tests.nomyo.wire.http11 import Reply

_MIB = b" " * (1 << 20)


def gzipped(body: bytes) -> Reply:
    """Compress a body with gzip, although no client requests it."""
    return Reply(headers=[("Content-Encoding", "gzip")], body=gzip.compress(body))


def gzip_bomb(body: bytes, mib: int = 128) -> Reply:
    """Compress a body followed by `mib` MiB of spaces with gzip: about 1 kB per MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = [packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)]
    # After a full flush the same input packs to the same bytes: one MiB is packed once, however many are sent.
    packed += [packer.compress(_MIB) + packer.flush(zlib.Z_FULL_FLUSH)] * mib
    packed.append(packer.flush())
    checksum = zlib.crc32(body)
    for _ in range(mib):
        checksum = zlib.crc32(_MIB, checksum)
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952: deflate, no flags, no time, unknown system
    tail = struct.pack("<II", checksum, (len(body) + mib * len(_MIB)) & 0xFFFFFFFF)
    return Reply(headers=[("Content-Encoding", "gzip")], body=head + b"".join(packed) + tail)


def endless(body: bytes) -> Iterable[bytes]:
    """Yield a body, then an endless sequence of spaces, one MiB at a time."""
    return itertools.chain([body], itertools.repeat(_MIB))
