"""TLS records as they pass, unopened (RFC 8446 section 5.1), and which of a client's carry its requests."""

from __future__ import annotations

import asyncio

HANDSHAKE, CHANGE_CIPHER_SPEC, APPLICATION_DATA = 0x16, 0x14, 0x17
_TLS12_FINISHED_MOST = 64  # bytes: an encrypted Finished of TLS 1.2 has 32 to 40, a second ClientHello many more


async def read_unit(reader: asyncio.StreamReader, *, tls: bool) -> bytes:
    """The next record, or the next bytes where there is no TLS; what is there of it at the end, then `b""`."""
    if not tls:
        return await reader.read(1 << 16)
    try:
        head = await reader.readexactly(5)
    except asyncio.IncompleteReadError as end:
        return end.partial
    try:
        return head + await reader.readexactly(int.from_bytes(head[3:5], "big"))
    except asyncio.IncompleteReadError as end:
        return head + end.partial


class ClientRecords:
    """Tells the records of a client's requests from those of its handshake.

    TLS 1.3 sends the client's Finished as application data, after a CHANGE_CIPHER_SPEC; TLS 1.2 as a handshake record.
    """

    def __init__(self) -> None:
        self.finished = False
        self.tls12 = False
        self._changed = False

    def carries_data(self, record: bytes) -> bool:
        """Whether this record, the next one, is part of a request."""
        kind = record[0]
        if kind == CHANGE_CIPHER_SPEC:
            self._changed = True
        elif kind == HANDSHAKE and self._changed and len(record) <= _TLS12_FINISHED_MOST:
            self.finished = self.tls12 = True
        elif kind == APPLICATION_DATA and self.finished:
            return True
        elif kind == APPLICATION_DATA:
            self.finished = True
        return False
