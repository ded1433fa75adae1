"""Read Parquet files in a child process, which can crash or be killed without affecting the audit.

pyarrow decodes untrusted files in C++, a page of a few bytes may need gigabytes, and a row group can only be read from
its beginning. Therefore a single process reads the column and sends its cells: workers do not read a row group again
and again, the process that writes the verdicts stays small, and if the reader dies, the rows that it did not reach are
reported as one unreadable record.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Self

import msgspec

from nomyo_attest.audit.child import READY, Child, ChildStartError
from nomyo_attest.audit.sources.column import (
    CellBatch,
    ColumnEvent,
    OversizeCell,
    RowCount,
    UnreadableRows,
    read_column,
)
from nomyo_attest.audit.sources.parts import (
    TOO_LARGE_PHRASE,
    CellsPart,
    EndPart,
    Part,
    UnreadablePart,
    unreadable_parts,
)
from nomyo_attest.audit.sources.source import (
    Source,
    SourceDamageError,
    StoredBytes,
    changed_since,
    open_regular,
    os_problem,
)
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX

MEMORY_BASE: Final = 512 * 1024 * 1024
MEMORY_PER_BYTE: Final = 16
MEMORY_MAX: Final = 4 * 1024 * 1024 * 1024
"""Bytes of memory that reading a file may take: `MEMORY_BASE`, plus `MEMORY_PER_BYTE` for each byte of the file, at
most `MEMORY_MAX`.

pyarrow itself takes about 120 MB. A page is decompressed as a whole, and Arrow's writer puts 1,024 rows into a page by
default; reading it takes three times its size. With these limits, a file of 404 bytes cannot take gigabytes, and a
valid file with a compression ratio of 5:1 can be read.
"""

_END_OF_FILE: Final = b"end"
_encode_event: Final = msgspec.msgpack.Encoder().encode
_decode_event: Final = msgspec.msgpack.Decoder(ColumnEvent).decode


class ParquetReader:
    """Read Parquet files in a child process, which is started for the first file.

    Args:
        column: the column that contains the records; None to find it.
    """

    def __init__(self, column: str | None) -> None:
        self._column = column
        self._child: Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_child()

    def parts(self, source: Source, before: int) -> Iterator[Part]:
        """Yield the parts of a source; `before` is the number of stored bytes of the sources before it."""
        size = source.size or 0
        try:
            file = open_regular(source.path, source.within)
        except SourceDamageError as damage:
            yield from unreadable_parts(source, str(damage), before + size)
            return
        except (OSError, ValueError) as error:
            yield from unreadable_parts(source, os_problem(error), before + size)
            return
        with file:
            # Hash while the rows arrive, since those bytes are then in the page cache.
            stored = StoredBytes(file, size)
            problem, line, total = "", 1, 0
            for event in self._read_events(source.path, source.within):
                if isinstance(event, RowCount):
                    total = event.count
                elif isinstance(event, CellBatch):
                    line = event.first + len(event.cells)
                    _read_to(stored, size * (line - 1) // max(total, 1))
                    yield CellsPart(source, event.first, event.cells, before + stored.count)
                elif isinstance(event, OversizeCell):
                    line = event.line + 1
                    yield UnreadablePart(
                        source, event.line, f"{event.size} {TOO_LARGE_PHRASE} {RECORD_BYTES_MAX}", before + stored.count
                    )
                else:
                    problem = problem or event.problem
                    yield UnreadablePart(source, event.line, event.problem, before + stored.count)
            stored.drain()
            if not problem and (problem := changed_since(file, size, source.mtime, may_grow=False)):
                yield UnreadablePart(source, line, problem, before + size)
        yield EndPart(source.ended(stored.sha256, problem), before + size)

    def _read_events(self, path: str, within: str) -> Iterator[ColumnEvent]:
        """Yield the events for a file; if the child dies, `UnreadableRows` for the rows that it did not reach."""
        line, total = 0, 0
        is_finished = False
        try:
            connection = self._child_connection()
            connection.send((path, self._column, within))
            while (message := connection.recv_bytes()) != _END_OF_FILE:
                event = _decode_event(message)
                if isinstance(event, RowCount):
                    line, total = 1, event.count
                elif isinstance(event, CellBatch):
                    line = event.first + len(event.cells)
                elif isinstance(event, OversizeCell):
                    line = event.line + 1
                yield event
            is_finished = True
        except ChildStartError as error:
            yield UnreadableRows(0, f"cannot be read: the process that reads Parquet cannot start: {error}")
        except (EOFError, OSError):
            is_finished = True
            rows = f"rows {line} to {total} cannot be read" if line else "cannot be read"
            yield UnreadableRows(line, f"{rows}: the process that reads Parquet {self._describe_exit()}")
        finally:
            if not is_finished:  # the child could not start, or the caller closed this generator early
                self._stop_child()

    def _child_connection(self) -> Connection:
        if self._child is None:
            self._child = Child(__name__)
            self._child.check_ready()
        return self._child.connection

    def _describe_exit(self) -> str:
        """Describe how the child ended. The next file gets a new child."""
        assert self._child is not None  # it was started: only its connection can be lost
        code = self._child.wait()
        self._child = None
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    def _stop_child(self) -> None:
        if self._child is not None:
            self._child.stop()
        self._child = None


def serve(connection: Connection) -> None:
    """Run in the child process: read each file that is requested, until the connection is closed."""
    # pyarrow's other allocators reserve a gigabyte in advance, and do not return freed memory.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    connection.send_bytes(READY)
    while True:
        path, column, within = connection.recv()
        for event in read_column(path, column, within, limit_memory(path)):
            connection.send_bytes(_encode_event(event))
        connection.send_bytes(_END_OF_FILE)


def limit_memory(path: str) -> int:
    """Limit the memory of this process for reading a file. Returns the limit in bytes, or 0 if it cannot be limited."""
    if sys.platform != "linux":
        return 0
    import resource

    try:
        size = Path(path).stat().st_size
    except (OSError, ValueError):  # opening the file will report it
        size = 0
    limit = min(MEMORY_BASE + MEMORY_PER_BYTE * size, MEMORY_MAX)
    # Memory that is still in use from an earlier file does not count towards the limit.
    in_use = int(Path("/proc/self/statm").read_text("ascii").split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    maximum = in_use + limit if hard == resource.RLIM_INFINITY else min(in_use + limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (maximum, hard))
    return limit


def _read_to(stored: StoredBytes, position: int) -> None:
    """Read at least up to byte `position`. Damage is reported when the rest of the file is read."""
    with contextlib.suppress(SourceDamageError):
        while stored.count < position and stored.block():
            pass
