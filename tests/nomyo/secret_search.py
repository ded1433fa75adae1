"""A hunt for secrets in all that an exception or a log record drags along.

A crash reporter, a log handler that prints local variables or a debugger sees an exception as this hunt does: message,
repr, args, attributes, notes, the exceptions behind it and in it, and the local variables of every frame of every
traceback, and from there whatever the garbage collector knows to be referred to: containers, attributes, slots, cells,
suspended coroutines, event loops.

Not followed: modules, classes, code and the globals of functions, which hold no data of a call; loggers and their
handlers, which are looked at by themselves; and frames of tests, which know the secrets because they made them up.
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
"""Objects that are looked at: a hunt that finds more has run away, and says so."""

STOPS = (types.ModuleType, type, types.CodeType, types.FrameType, logging.Logger, logging.Handler)
PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None))
OF_BUILTINS = ("doc", "object", "msg", "reason", "filename", "filename2", "strerror", "value", "code", "obj", "name")
"""Attributes of built-in exceptions, which keep them outside of `__dict__`."""


@functools.cache
def encodings(secret: str) -> tuple[bytes, ...]:
    """A secret as bytes, and in the encodings in which it may stand in something else."""
    raw = secret.encode()
    found = [raw, raw.hex().encode(), secret.encode("utf-16-le"), quote(secret, safe="").encode()]
    for before in range(3):  # base64 looks different at each place of a group of three
        text = base64.b64encode(bytes(before) + raw)
        found.append(text[-(-before * 8 // 6) : len(text) // 4 * 4 - 4])
    return tuple(dict.fromkeys(found))


class SecretSearch:
    """Looks for secrets; `found` are the paths to all that hold one."""

    def __init__(self, *secrets: str) -> None:
        self._forms = [(secret[:12], form) for secret in secrets for form in encodings(secret)]
        self._shortest = min((len(form) for _, form in self._forms), default=0)
        self._clean: set[bytes] = set()
        self._seen: dict[int, object] = {}
        self.found: list[str] = []

    @property
    def object_count(self) -> int:
        """How many objects were looked at."""
        return len(self._seen)

    def look(self, name: str, start: object) -> SecretSearch:
        """Look at an object and all that it drags along."""
        left: list[tuple[str, object]] = [(name, start)]
        while left:
            path, value = left.pop()
            if id(value) in self._seen or isinstance(value, STOPS):
                continue
            self._seen[id(value)] = value  # kept, so that no id is given to another object
            if len(self._seen) > MAXIMUM:
                raise RuntimeError(f"{MAXIMUM} objects can be reached; the last was at {path}")
            self._judge(path, value)
            left += [(f"{path}{step}", one) for step, one in inside(value)]
        return self

    def _judge(self, path: str, value: object) -> None:
        if isinstance(value, (rsa.RSAPrivateKey, rsa.RSAPrivateNumbers)):
            self.found.append(f"{path}: a private key")
        held = content(value)
        if not held or len(held) < self._shortest or held in self._clean:
            return
        found = [f"{path}: {secret}… as {form[:40]!r}" for secret, form in self._forms if form in held]
        self.found += found
        if not found:
            self._clean.add(held)


def content(value: object) -> bytes:
    """What a text or a buffer holds, as bytes; empty for other objects."""
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
    """What an object drags along, each with the step that leads there."""
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
        for key, one in list(value.items()):
            yield ".key", key
            yield f"[{str(key) if isinstance(key, str) else type(key).__name__!s:.40}]", one
        if type(value) is dict:
            return
    kind = type(value).__name__
    try:
        yield ".repr()", repr(value) if not isinstance(value, (list, tuple, set, frozenset, dict)) else ""
    except Exception:  # noqa: BLE001 - half-made objects may not have one
        yield ".repr()", ""
    for place, one in enumerate(gc.get_referents(value)):
        yield f".{kind}{{{place}}}", one


def of_exception(error: BaseException) -> Iterator[tuple[str, object]]:
    """What an exception says and keeps."""
    yield ".str()", str(error)
    yield ".args", error.args
    yield ".__cause__", error.__cause__
    yield ".__context__", error.__context__
    yield ".__notes__", getattr(error, "__notes__", None)
    yield ".__traceback__", error.__traceback__
    yield ".__dict__", vars(error)
    for name in OF_BUILTINS:
        yield f".{name}", getattr(error, name, None)
    if isinstance(error, BaseExceptionGroup):
        yield ".exceptions", error.exceptions


def of_traceback(traceback: types.TracebackType) -> Iterator[tuple[str, object]]:
    """The local variables of the frames of a traceback, those of tests left out."""
    step: types.TracebackType | None = traceback
    while step is not None:
        code = step.tb_frame.f_code
        if not code.co_filename.startswith(TESTS):
            for name, one in list(step.tb_frame.f_locals.items()):
                yield f" in {Path(code.co_filename).name}:{code.co_qualname}: {name}", one
        step = step.tb_next


def _is_full(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


@dataclass
class CapturedOutput:
    """What was logged, warned of, and complained of by nobody's request, while it was listened to."""

    records: list[logging.LogRecord] = field(default_factory=list)
    warnings: list[warnings.WarningMessage] = field(default_factory=list)
    unraisable: list[Any] = field(default_factory=list)
    threads: list[Any] = field(default_factory=list)

    def search(self, hunt: SecretSearch, *, but: Iterable[str] = ()) -> None:
        """Look at all of it; `but` are loggers that are left out."""
        formatter = logging.Formatter("%(asctime)s %(name)s %(message)s")
        for record in self.records:
            if not record.name.startswith(tuple(but)) or not tuple(but):
                hunt.look(f"log of {record.name}", record.__dict__)
                hunt.look(f"log of {record.name}, as text", formatter.format(record))
        for warning in self.warnings:
            hunt.look("a warning", warning.message)
        for kind, said in (("unraisable", self.unraisable), ("of a thread", self.threads)):
            for one in said:
                hunt.look(kind, [getattr(one, name, None) for name in ("exc_value", "err_msg", "object", "args")])


class _Listener(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.NOTSET)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextmanager
def capture_output() -> Iterator[CapturedOutput]:
    """Listen to everything that is said: logs of all levels and loggers, warnings, what cannot be raised."""
    heard = CapturedOutput()
    root, handler = logging.getLogger(), _Listener(heard.records)
    level, hooks = root.level, (sys.unraisablehook, threading.excepthook)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    sys.unraisablehook = heard.unraisable.append
    threading.excepthook = heard.threads.append
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield heard
            gc.collect()
            heard.warnings += caught
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        root.setLevel(level)
        root.removeHandler(handler)
