"""Read TLS records without decrypting them (RFC 8446, section 5.1), and detect those that contain requests."""

from __future__ import annotations

import asyncio

HANDSHAKE, CHANGE_CIPHER_SPEC, APPLICATION_DATA = 0x16, 0x14, 0x17
_TLS12_FINISHED_MAX = (
    64  # bytes: an encrypted Finished of TLS 1.2 is 32 to 40 bytes long, a second ClientHello much longer
)


async def read_unit(reader: asyncio.StreamReader, *, tls: bool) -> bytes:
    """Return the next record, or the next bytes without TLS; at the end, an incomplete record and then `b""`."""
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
    """Distinguishes records with a client's requests from those of its handshake.

    TLS 1.3 sends the client's Finished as application data, after a CHANGE_CIPHER_SPEC; TLS 1.2 as a handshake record.
    """

    def __init__(self) -> None:
        self.finished = False
        self.tls12 = False
        self._changed = False

    def carries_data(self, record: bytes) -> bool:
        """Return whether the next record is part of a request."""
        kind = record[0]
        if kind == CHANGE_CIPHER_SPEC:
            self._changed = True
        elif kind == HANDSHAKE and self._changed and len(record) <= _TLS12_FINISHED_MAX:
            self.finished = self.tls12 = True
        elif kind == APPLICATION_DATA and self.finished:
            return True
        elif kind == APPLICATION_DATA:
            self.finished = True
        return False
