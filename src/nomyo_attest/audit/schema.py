"""The tables of the store."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x4E6F4175
"""SQLite's mark of whose file it is."""

FORMAT: Final = 2
"""Raised with every change of the tables: a store of another format is not gone on with."""

LINES_KEPT: Final = 10
"""Lines that a tally names."""

MESSAGE_KEPT: Final = 500
"""Characters of a tally's message: a summary holds many of them."""

SCHEMA: Final = (
    # One row a record, in the order of the chunks; no index, so that adding one is appending it. `profile` is a number
    # of `profiles`, or the digest where numbers had run out.
    """CREATE TABLE facts (
        source INTEGER, line INTEGER, payload_id TEXT, verdict INTEGER, processed_at INTEGER, recorded_at INTEGER,
        available INTEGER,
        signature_valid INTEGER, aik_name BLOB, aik_pinned INTEGER, quote BLOB, clock INTEGER, reset_count INTEGER,
        restart_count INTEGER, profile)""",
    # Those with a number above what facts use may be there more than once.
    "CREATE TABLE profiles (number INTEGER PRIMARY KEY, profile BLOB NOT NULL, pcrs TEXT NOT NULL)",
    """CREATE TABLE counts (
        source INTEGER PRIMARY KEY, affirming INTEGER, warning INTEGER, contraindicated INTEGER, none INTEGER,
        unreadable INTEGER, outside_by_client INTEGER, outside_by_server INTEGER)""",
    """CREATE TABLE released (
        released INTEGER, gate TEXT, verdict INTEGER, records INTEGER,
        PRIMARY KEY (released, gate, verdict)) WITHOUT ROWID""",
    # `lines` joined by commas: the first `LINES_KEPT` of them, and maybe more.
    """CREATE TABLE tallies (
        source INTEGER, rule TEXT, requirement TEXT, outcome TEXT, records INTEGER, lines TEXT, message TEXT,
        PRIMARY KEY (source, rule, outcome)) WITHOUT ROWID""",
    # `named` is 0 for the records without a tier, which are no records of a tier "".
    "CREATE TABLE tiers (named INTEGER, tier TEXT, records INTEGER, PRIMARY KEY (named, tier)) WITHOUT ROWID",
    "CREATE TABLE failures (number INTEGER PRIMARY KEY, row BLOB NOT NULL)",
    "CREATE TABLE not_established (sentence TEXT PRIMARY KEY) WITHOUT ROWID",
    """CREATE TABLE sources (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, kind TEXT, size INTEGER, sha256 TEXT, blank INTEGER,
        problem TEXT)""",
    "CREATE TABLE totals (written INTEGER NOT NULL)",
    "INSERT INTO totals VALUES (0)",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)

UPSERT_COUNTS: Final = """
INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (source) DO UPDATE SET affirming = affirming + excluded.affirming, warning = warning + excluded.warning,
    contraindicated = contraindicated + excluded.contraindicated, none = none + excluded.none,
    unreadable = unreadable + excluded.unreadable,
    outside_by_client = outside_by_client + excluded.outside_by_client,
    outside_by_server = outside_by_server + excluded.outside_by_server"""

UPSERT_RELEASED: Final = """
INSERT INTO released VALUES (?, ?, ?, ?)
ON CONFLICT (released, gate, verdict) DO UPDATE SET records = records + excluded.records"""

# Of lines joined, 20 digits and a comma each at the most, a text this long has enough.
_LONG_ENOUGH: Final = 21 * LINES_KEPT

UPSERT_TALLY: Final = f"""
INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (source, rule, outcome) DO UPDATE SET records = records + excluded.records,
    lines = CASE WHEN length(lines) >= {_LONG_ENOUGH} THEN lines ELSE lines || ',' || excluded.lines END"""  # noqa: S608 - a number

UPSERT_TIER: Final = """
INSERT INTO tiers VALUES (?, ?, ?)
ON CONFLICT (named, tier) DO UPDATE SET records = records + excluded.records"""
