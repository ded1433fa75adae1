"""The place of a record: where an auditor finds it."""

from __future__ import annotations

import msgspec


class Place(msgspec.Struct, frozen=True):
    """The source and line of a record, and its time by the server's clock (seconds since 1970; None if missing)."""

    source: str
    line: int
    processed_at: int | None = None
