"""Store the results of an audit in one SQLite file, in bounded memory, so that the audit can be resumed.

Results are added in the order of their chunks. `checkpoint` commits everything added since the last checkpoint in one
transaction. If an audit is killed, the results after its last checkpoint are lost, and resuming adds them again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import compress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from nomyo_attest._files import create_empty
from nomyo_attest.audit.cause_counts import CAUSE_TABLES, UPSERT_BOOT, UPSERT_CAUSE, boot_rows, cause_rows
from nomyo_attest.audit.chunk import LINES_LISTED, ChunkResult, Fact, Tally
from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.sources.source import display
from nomyo_attest.audit.state_folder import NO_SPACE_HINT
from nomyo_attest.audit.summary import FAILURES_LISTED
from nomyo_attest.errors import NomyoAttestError

APPLICATION_ID: Final = 0x4E6F4175
"""The SQLite application id of a store."""

STORE_FORMAT: Final = 3
"""Incremented with every change of the tables. An audit cannot be resumed with a store of a different format."""

TALLY_MESSAGE_MAX: Final = 500
"""Maximum characters of a tally's message; a summary contains many messages."""

STORE_SCHEMA: Final = (
    # One row for each record, in the order of the chunks. Without an index, so that SQLite only appends. `profile` is a
    # number in `profiles`, or the digest of the profile once `PROFILES_NUMBERED` numbers are used.
    """CREATE TABLE facts (
        source INTEGER, line INTEGER, payload_id TEXT, verdict INTEGER, processed_at INTEGER, recorded_at INTEGER,
        available INTEGER,
        signature_valid INTEGER, aik_name BLOB, aik_pinned INTEGER, quote BLOB, clock INTEGER, reset_count INTEGER,
        restart_count INTEGER, profile)""",
    # Profiles with a number above `PROFILES_NUMBERED` may be duplicates.
    "CREATE TABLE profiles (number INTEGER PRIMARY KEY, profile BLOB NOT NULL, pcrs TEXT NOT NULL)",
    """CREATE TABLE counts (
        source INTEGER PRIMARY KEY, affirming INTEGER, warning INTEGER, contraindicated INTEGER, none INTEGER,
        unreadable INTEGER, outside_by_client INTEGER, outside_by_server INTEGER)""",
    """CREATE TABLE released (
        released INTEGER, gate TEXT, verdict INTEGER, records INTEGER,
        PRIMARY KEY (released, gate, verdict)) WITHOUT ROWID""",
    # `lines`, joined by commas, contains at least the first `LINES_LISTED` lines.
    """CREATE TABLE tallies (
        source INTEGER, rule TEXT, requirement TEXT, outcome TEXT, records INTEGER, lines TEXT, message TEXT,
        PRIMARY KEY (source, rule, outcome)) WITHOUT ROWID""",
    *CAUSE_TABLES,
    # `named` is 0 for records without a tier, which is different from the tier "".
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

# A text of this length contains enough lines: each has at most 20 digits and a comma.
_LINES_LENGTH: Final = 21 * LINES_LISTED

UPSERT_TALLY: Final = f"""
INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (source, rule, outcome) DO UPDATE SET records = records + excluded.records,
    lines = CASE WHEN length(lines) >= {_LINES_LENGTH} THEN lines ELSE lines || ',' || excluded.lines END"""  # noqa: S608 - a number

UPSERT_TIER: Final = """
INSERT INTO tiers VALUES (?, ?, ?)
ON CONFLICT (named, tier) DO UPDATE SET records = records + excluded.records"""

PROFILES_NUMBERED: Final = 10_000
"""Maximum number of PCR profiles that facts refer to by a number. Facts refer to further profiles by their digest."""

_CACHE_SIZE_KIB: Final = 8_192
_VERDICT, _TIER, _PROFILE = map(Fact._fields.index, ("verdict", "security_tier", "pcr_profile"))
_UNREADABLE_INDEX: Final = VERDICTS.index(UNREADABLE)
_SYSTEM_ERROR_NAMES: Final = (
    *("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN"),
    *("SQLITE_PERM", "SQLITE_AUTH", "SQLITE_NOMEM", "SQLITE_INTERRUPT", "SQLITE_PROTOCOL", "SQLITE_NOLFS"),
)
"""Prefixes of the names of SQLite's error codes that do not concern the content of the file."""

_INSERT_FACT: Final = f"INSERT INTO facts VALUES ({', '.join('?' * 15)})"  # noqa: S608 - question marks only


class StoreError(NomyoAttestError):
    """The audit's store cannot be opened, read or written.

    Attributes:
        path: the path of the file.
        problem: what is wrong.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(path, problem)

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class StoreDamagedError(StoreError):
    """The store has content that an audit does not write."""


class Store:
    """The store of one audit, opened with `Store.open`; a context manager.

    Attributes:
        path: the path of its file.
        connection: the connection to SQLite.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._profiles: dict[bytes, int] = dict(
            connection.execute("SELECT profile, number FROM profiles WHERE number <= ?", (PROFILES_NUMBERED,))
        )
        self._recent: set[bytes] = set()
        self._closed = False
        self._failures: int = connection.execute("SELECT COUNT(*) FROM failures").fetchone()[0]

    @classmethod
    def open(cls, path: str | os.PathLike[str], check: Callable[[], None] | None = None) -> Self:
        """Open the store in the file `path`, which is created if it does not exist, and lock it until it is closed.

        Results that a killed audit added after its last checkpoint are lost.

        Args:
            path: the path of the file.
            check: called after SQLite has opened the file and before it reads or writes the file; may raise.

        Raises:
            StoreError: it cannot be opened.
        """
        path = Path(path).absolute()
        is_new = _create_file(path)
        with _as_store_error(path):
            connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                if check is not None:
                    check()
                is_empty = _is_empty(connection, path)
                _set_up(connection, path.parent)
                if is_empty:
                    _create_tables(connection)
                return cls(path, connection)
            except BaseException:
                connection.close()
                if is_new:
                    path.unlink(missing_ok=True)
                raise

    def add(self, result: ChunkResult) -> None:
        """Add the result of the next chunk.

        Raises:
            StoreError: it cannot be added. The store is then valid only up to its last checkpoint.
        """
        with _as_store_error(self.path):
            self._add_profiles(result.profiles)
            if result.facts:
                self._add_facts(result.facts)
            executemany = self.connection.executemany
            executemany(UPSERT_COUNTS, ((source, *counts) for source, counts in sorted(result.counts.items())))
            executemany(UPSERT_TALLY, map(_tally_parameters, result.tallies))
            executemany(UPSERT_CAUSE, cause_rows(result.causes))
            executemany(UPSERT_BOOT, boot_rows(result.boots))
            executemany(UPSERT_RELEASED, ((*key, records) for key, records in sorted(result.released.items())))
            executemany(
                "INSERT OR IGNORE INTO not_established VALUES (?)",
                ((sentence,) for sentence in sorted(result.not_established)),
            )
            listed = result.failures[: FAILURES_LISTED - self._failures]
            executemany("INSERT INTO failures (row) VALUES (?)", ((row,) for row in listed))
            self._failures += len(listed)
            executemany(
                "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (source.source, source.name, source.kind, source.size, source.sha256, source.blank, source.problem)
                    for source in result.source_ends
                ),
            )
            self.connection.execute("UPDATE totals SET written = written + ?", (result.written,))

    def checkpoint(self, **meta: Any) -> None:
        """Commit all results added so far, together with JSON-compatible values for `meta`.

        The data is synced to disk before this returns. Raises `StoreError`.
        """
        with _as_store_error(self.path):
            self.connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                ((key, msgspec.json.encode(value).decode()) for key, value in meta.items()),
            )
            self.connection.execute("COMMIT")
            self.connection.execute("BEGIN IMMEDIATE")

    def meta(self) -> dict[str, Any]:
        """Return the `meta` values of all checkpoints: for each key, the latest value. Raises `StoreError`."""
        with _as_store_error(self.path):
            rows = self.connection.execute("SELECT key, value FROM meta ORDER BY key").fetchall()
        try:
            return {key: msgspec.json.decode(value) for key, value in rows}
        except (msgspec.DecodeError, TypeError, ValueError, RecursionError):
            raise StoreDamagedError(str(self.path), "contains a value that is not JSON") from None

    def query(self, sql: str, parameters: Iterable[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query. Raises `StoreError`."""
        with _as_store_error(self.path):
            for row in self.connection.execute(sql, tuple(parameters)):  # noqa: UP028 - `yield from` closes the cursor, which raises after the store was closed
                yield row

    def execute(self, sql: str, rows: Iterable[tuple[Any, ...]] | None = None) -> None:
        """Execute a statement once, or once for each of `rows`. Raises `StoreError`."""
        with _as_store_error(self.path):
            if rows is None:
                self.connection.execute(sql)
            else:
                self.connection.executemany(sql, rows)

    def close(self) -> None:
        """Close the store. Results added since the last checkpoint are lost. Closing it again does nothing."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(sqlite3.Error):  # raised by a query whose rows were not all read
            self.connection.rollback()  # the next statement would fail inside a transaction
            self.connection.execute("PRAGMA temp_store_directory = ''")  # the setting applies to the whole process
        with _as_store_error(self.path):
            self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _add_facts(self, facts: list[Fact]) -> None:
        """Add facts column by column: a few calls per chunk are faster than a few calls per record."""
        columns: list[tuple[Any, ...]] = list(zip(*facts, strict=True))
        tier, profile = columns[_TIER], columns[_PROFILE]
        columns[_PROFILE] = tuple(map(self._profiles.get, profile, profile))
        del columns[_TIER]
        self.connection.executemany(_INSERT_FACT, zip(*columns, strict=True))
        is_readable = map(_UNREADABLE_INDEX.__ne__, columns[_VERDICT])  # an unreadable record claims no tier
        counts = Counter(compress(tier, is_readable)).items()
        self.connection.executemany(UPSERT_TIER, [(name is not None, name or "", count) for name, count in counts])

    def _add_profiles(self, profiles: dict[bytes, str]) -> None:
        """Add the new profiles and number them.

        Beyond `PROFILES_NUMBERED`, only the most recent profiles are cached. Other profiles are stored again when they
        recur, which takes space but does not change a result.
        """
        for profile, pcrs in profiles.items():
            if profile in self._profiles or profile in self._recent:
                continue
            added = self.connection.execute("INSERT INTO profiles (profile, pcrs) VALUES (?, ?)", (profile, pcrs))
            assert added.lastrowid is not None  # the INSERT succeeded
            if added.lastrowid <= PROFILES_NUMBERED:
                self._profiles[profile] = added.lastrowid
                continue
            if len(self._recent) >= PROFILES_NUMBERED:
                self._recent.clear()
            self._recent.add(profile)


def _create_file(path: Path) -> bool:
    """Create the file with mode 0600 if it does not exist; returns whether it is new. Raises `StoreError`."""
    try:
        return create_empty(path)
    except OSError as error:
        raise StoreError(str(path), error.strerror or type(error).__name__) from error


def _is_empty(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is empty: it is new, or an audit was killed before it created the tables.

    Raises:
        StoreError: the file is not a store of this format. It is not modified.
    """
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if (application, version, tables) == (0, 0, 0):
        return True
    if application != APPLICATION_ID:
        raise StoreDamagedError(str(path), "expected the store of an audit, got a different file")
    if version != STORE_FORMAT:
        problem = f"expected a store of format {STORE_FORMAT}, got {version}, from a different version of nomyo-attest"
        raise StoreError(str(path), f"{problem}; --force, without --resume, starts over")
    return False


def _set_up(connection: sqlite3.Connection, folder: Path) -> None:
    """Limit SQLite's memory, and put its temporary files into the folder of the store.

    Begins a transaction and writes in it, so that SQLite opens its journal, too.
    """
    quoted = str(folder).replace("'", "''")
    if display(quoted) != quoted:  # SQL cannot contain a path that is not UTF-8
        quoted = ""
    for pragma in (
        "locking_mode = EXCLUSIVE",
        "page_size = 8192",
        "journal_mode = TRUNCATE",
        "synchronous = FULL",
        f"cache_size = -{_CACHE_SIZE_KIB}",
        "temp_store = FILE",
        f"temp_store_directory = '{quoted}'",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN EXCLUSIVE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")


def _create_tables(connection: sqlite3.Connection) -> None:
    for statement in STORE_SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {STORE_FORMAT}")
    connection.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")


@contextlib.contextmanager
def _as_store_error(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as `StoreError`, or as `StoreDamagedError` if the content of the file caused them."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        problem = "another audit is using it" if name == "SQLITE_BUSY" else str(error)
        if name.startswith("SQLITE_IOERR"):
            problem += " (possible causes: a failing disk, a quota, or a file size limit, see ulimit -f)"
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            problem += f"; {NO_SPACE_HINT}"
        is_system_error = name.startswith(_SYSTEM_ERROR_NAMES) or _is_misuse(error) or not os.access(path, os.W_OK)
        kind = StoreError if is_system_error else StoreDamagedError
        raise kind(str(path), problem) from error
    except UnicodeDecodeError as error:  # an error message quotes a name of the schema
        raise StoreDamagedError(str(path), "contains text that is not UTF-8") from error


def _is_misuse(error: sqlite3.Error) -> bool:
    """Whether the caller caused the error, for example by using a closed store. These errors have no SQLite code."""
    return isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError)


def _tally_parameters(tally: Tally) -> tuple[Any, ...]:
    lines = ",".join(map(str, tally.lines[:LINES_LISTED]))
    message = tally.message[:TALLY_MESSAGE_MAX]
    return tally.source, tally.rule, tally.requirement, tally.outcome, tally.records, lines, message
