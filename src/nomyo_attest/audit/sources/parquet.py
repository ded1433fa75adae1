"""Parquet, read by a process of its own, which may crash or be killed and takes nothing with it.

pyarrow decodes in C++ what a stranger may have made; a page of a few bytes may ask for gigabytes; and a row group can
only be read from its beginning. So one process reads the column, and its cells come through a pipe: no worker reads a
row group over again to get at its share, the process that writes the verdicts stays small, and if the reader dies, what
it did not get to is a record that is unreadable.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, Self

import msgspec

from nomyo_attest.audit.sources.column import Cut, Event, Lost, Rows, read_column
from nomyo_attest.audit.sources.kinds import Source
from nomyo_attest.audit.sources.parts import Cells, End, Part, Unread, failed
from nomyo_attest.audit.sources.stored import DamageError, Stored, changed_since, open_regular, os_problem

_END: Final = b"end"
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Event).decode


class ParquetReader:
    """Reads Parquet files; the process for it is started with the first one.

    Args:
        column: the column that has the records, if it was given.
    """

    def __init__(self, column: str | None) -> None:
        self._column = column
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def parts(self, source: Source, before: int) -> Iterator[Part]:
        """The parts of a source; `before` are the bytes on disk of the sources in front of it."""
        size = source.size or 0
        try:
            file = open_regular(source.path)
        except DamageError as damage:
            yield from failed(source, str(damage), before + size)
            return
        except (OSError, ValueError) as error:
            yield from failed(source, os_problem(error), before + size)
            return
        with file:
            # The digest is taken as the rows come, since the disk has read those bytes just then.
            stored = Stored(file, size)
            problem, line, total = "", 1, 0
            for event in self._events(source.path):
                if isinstance(event, Rows):
                    total = event.count
                elif isinstance(event, Cut):
                    line = event.first + len(event.cells)
                    _read_to(stored, size * (line - 1) // max(total, 1))
                    yield Cells(source, event.first, event.cells, before + stored.count)
                else:
                    problem = problem or event.problem
                    yield Unread(source, event.line, event.problem, before + stored.count)
            stored.drain()
            if not problem and (problem := changed_since(file, size, source.mtime, may_grow=False)):
                yield Unread(source, line, problem, before + size)
        yield End(source.ended(stored.sha256, problem), before + size)

    def _events(self, path: str) -> Iterator[Event]:
        """What the reader says of a file; if it dies, `Lost` for what it did not get to."""
        line, total = 0, 0
        finished = False
        try:
            connection = self._started()
            connection.send((path, self._column))
            while (message := connection.recv_bytes()) != _END:
                event = _decode(message)
                if isinstance(event, Rows):
                    line, total = 1, event.count
                elif isinstance(event, Cut):
                    line = event.first + len(event.cells)
                yield event
            finished = True
        except (EOFError, OSError):
            finished = True
            what = f"rows {line} to {total} cannot be read" if line else "cannot be read"
            yield Lost(line, f"{what}: the process that reads Parquet {self._death()}")
        finally:
            if not finished:  # whoever reads has given up in the middle
                self._stop()

    def _started(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            with theirs:
                process = context.Process(target=serve, args=(theirs,), daemon=True)
                process.start()
            self._process = process
        return self._connection

    def _death(self) -> str:
        """Why the reader is no more. The next file gets a new one."""
        process = self._process
        if process is None:
            self._stop()
            return "could not be started"
        process.join(10)
        code = process.exitcode
        self._stop()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        self._process = self._connection = None


def serve(connection: Connection) -> None:
    """The reader: reads the files it is told, until nobody tells it any more."""
    # Ctrl-C goes to every process of the terminal; this one ends when its pipe does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        while True:
            path, column = connection.recv()
            for event in read_column(path, column):
                connection.send_bytes(_encode(event))
            connection.send_bytes(_END)


def _read_to(stored: Stored, place: int) -> None:
    """Read up to a place at least, in bytes. What is wrong with the file shows when all of it is read."""
    with contextlib.suppress(DamageError):
        while stored.count < place and stored.block():
            pass
