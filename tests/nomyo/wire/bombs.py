"""Bodies that are larger than they look: gzip, a gzip bomb, and one without an end.

Each begins with a right answer and goes on with spaces, which JSON allows: a client without a limit takes it for one.
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
    """A body gzipped, as no client asked for."""
    return Reply(headers=[("Content-Encoding", "gzip")], body=gzip.compress(body))


def gzip_bomb(body: bytes, mib: int = 128) -> Reply:
    """A body and so many MiB of spaces, gzipped: about 1 kB for each MiB."""
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
    """A body and spaces for ever, a MiB at a time."""
    return itertools.chain([body], itertools.repeat(_MIB))
