"""Search everything that is reachable from an exception or a log record for secrets.

A crash reporter, a log handler that prints local variables, or a debugger sees an exception as this search does: its
message, repr, args, attributes, notes, causes and grouped exceptions, and the local variables of every frame of every
traceback. From these, the search follows all references that the garbage collector knows: containers, attributes,
slots, cells, suspended coroutines, event loops.

It skips modules, classes, code and the globals of functions, which contain no data of a call; loggers and their
handlers, which are searched separately; and frames of tests, which contain the secrets because they define them.
"""

from __future__ import annotations

import array
import base64
import functools
import gc
import io
import logging
import mmap
import sys
import threading
import types
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa

TESTS = str(Path(__file__).parents[1])
MAXIMUM = 1_000_000
"""The maximum number of objects; a search that reaches more has left the exception, and fails."""

SKIPPED = (types.ModuleType, type, types.CodeType, types.FrameType, logging.Logger, logging.Handler)
PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None))
EXCEPTION_ATTRIBUTES = (
    "doc",
    "object",
    "msg",
    "reason",
    "filename",
    "filename2",
    "strerror",
    "value",
    "code",
    "obj",
    "name",
)
"""Attributes that built-in exceptions do not store in `__dict__`."""


@functools.cache
def encodings(secret: str) -> tuple[bytes, ...]:
    """Return a secret as bytes, in every encoding in which other data can contain it."""
    raw = secret.encode()
    found = [raw, raw.hex().encode(), secret.encode("utf-16-le"), quote(secret, safe="").encode()]
    for before in range(3):  # its base64 depends on its position in a group of three bytes
        text = base64.b64encode(bytes(before) + raw)
        found.append(text[-(-before * 8 // 6) : len(text) // 4 * 4 - 4])
    return tuple(dict.fromkeys(found))


class SecretSearch:
    """Searches objects for secrets; `found` lists the paths to the objects that contain one."""

    def __init__(self, *secrets: str) -> None:
        self._forms = [(secret[:12], form) for secret in secrets for form in encodings(secret)]
        self._shortest = min((len(form) for _, form in self._forms), default=0)
        self._clean: set[bytes] = set()
        self._seen: dict[int, object] = {}
        self.found: list[str] = []

    @property
    def object_count(self) -> int:
        """The number of objects that were searched."""
        return len(self._seen)

    def look(self, name: str, start: object) -> SecretSearch:
        """Search an object and everything reachable from it."""
        pending: list[tuple[str, object]] = [(name, start)]
        while pending:
            path, value = pending.pop()
            if id(value) in self._seen or isinstance(value, SKIPPED):
                continue
            self._seen[id(value)] = value  # keeps the object alive, so that its id is not reused
            if len(self._seen) > MAXIMUM:
                raise RuntimeError(f"more than {MAXIMUM} objects are reachable; the last was {path}")
            self._check(path, value)
            pending += [(f"{path}{step}", child) for step, child in inside(value)]
        return self

    def _check(self, path: str, value: object) -> None:
        if isinstance(value, (rsa.RSAPrivateKey, rsa.RSAPrivateNumbers)):
            self.found.append(f"{path}: a private key")
        data = content(value)
        if not data or len(data) < self._shortest or data in self._clean:
            return
        found = [f"{path}: {secret}… as {form[:40]!r}" for secret, form in self._forms if form in data]
        self.found += found
        if not found:
            self._clean.add(data)


def content(value: object) -> bytes:
    """Return the content of a text or a buffer as bytes; empty for other objects."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    try:
        if isinstance(value, (memoryview, array.array)):
            return value.tobytes()
        if isinstance(value, mmap.mmap):
            return value[:]
        if isinstance(value, io.BytesIO):
            return value.getvalue()
        if isinstance(value, io.StringIO):
            return value.getvalue().encode("utf-8", "surrogatepass")
    except ValueError:  # released, or closed
        return b""
    return b""


def inside(value: object) -> Iterator[tuple[str, object]]:
    """Yield the objects that an object references, each with the step that leads to it."""
    if type(value) in PLAIN:
        return
    if isinstance(value, BaseException):
        yield from of_exception(value)
    elif isinstance(value, types.TracebackType):
        yield from of_traceback(value)
        return
    elif isinstance(value, types.FunctionType):
        cells = [cell for cell in value.__closure__ or () if _is_full(cell)]
        yield from ((f" closure[{place}]", cell.cell_contents) for place, cell in enumerate(cells))
        yield " defaults", (value.__defaults__, value.__kwdefaults__, value.__dict__)
        return
    elif isinstance(value, (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)):
        code = getattr(value, "cr_code", getattr(value, "gi_code", getattr(value, "ag_code", None)))
        if code is not None and code.co_filename.startswith(TESTS):
            return
    elif isinstance(value, dict):
        for key, child in list(value.items()):
            yield ".key", key
            yield f"[{str(key) if isinstance(key, str) else type(key).__name__!s:.40}]", child
        if type(value) is dict:
            return
    kind = type(value).__name__
    try:
        yield ".repr()", repr(value) if not isinstance(value, (list, tuple, set, frozenset, dict)) else ""
    except Exception:  # noqa: BLE001 - partly initialized objects may not have one
        yield ".repr()", ""
    for index, child in enumerate(gc.get_referents(value)):
        yield f".{kind}{{{index}}}", child


def of_exception(error: BaseException) -> Iterator[tuple[str, object]]:
    """Yield the message and the attributes of an exception."""
    yield ".str()", str(error)
    yield ".args", error.args
    yield ".__cause__", error.__cause__
    yield ".__context__", error.__context__
    yield ".__notes__", getattr(error, "__notes__", None)
    yield ".__traceback__", error.__traceback__
    yield ".__dict__", vars(error)
    for name in EXCEPTION_ATTRIBUTES:
        yield f".{name}", getattr(error, name, None)
    if isinstance(error, BaseExceptionGroup):
        yield ".exceptions", error.exceptions


def of_traceback(traceback: types.TracebackType) -> Iterator[tuple[str, object]]:
    """Yield the local variables of the frames of a traceback, except those of tests."""
    step: types.TracebackType | None = traceback
    while step is not None:
        code = step.tb_frame.f_code
        if not code.co_filename.startswith(TESTS):
            for name, child in list(step.tb_frame.f_locals.items()):
                yield f" in {Path(code.co_filename).name}:{code.co_qualname}: {name}", child
        step = step.tb_next


def _is_full(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


@dataclass
class CapturedOutput:
    """Log records, warnings, and exceptions outside of calls that were captured."""

    records: list[logging.LogRecord] = field(default_factory=list)
    warnings: list[warnings.WarningMessage] = field(default_factory=list)
    unraisable: list[Any] = field(default_factory=list)
    threads: list[Any] = field(default_factory=list)

    def search(self, hunt: SecretSearch, *, but: Iterable[str] = ()) -> None:
        """Search all of it, except the records of the loggers `but`."""
        formatter = logging.Formatter("%(asctime)s %(name)s %(message)s")
        for record in self.records:
            if not record.name.startswith(tuple(but)) or not tuple(but):
                hunt.look(f"log of {record.name}", record.__dict__)
                hunt.look(f"log of {record.name}, as text", formatter.format(record))
        for warning in self.warnings:
            hunt.look("a warning", warning.message)
        for kind, hooks in (("unraisable", self.unraisable), ("of a thread", self.threads)):
            for arguments in hooks:
                hunt.look(kind, [getattr(arguments, name, None) for name in ("exc_value", "err_msg", "object", "args")])


class _Listener(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.NOTSET)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextmanager
def capture_output() -> Iterator[CapturedOutput]:
    """Capture log records of all levels and loggers, warnings, and unraisable exceptions."""
    captured = CapturedOutput()
    root, handler = logging.getLogger(), _Listener(captured.records)
    level, hooks = root.level, (sys.unraisablehook, threading.excepthook)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    sys.unraisablehook = captured.unraisable.append
    threading.excepthook = captured.threads.append
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield captured
            gc.collect()
            captured.warnings += caught
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        root.setLevel(level)
        root.removeHandler(handler)
