"""Search everything that is reachable from an exception for a secret.

A crash reporter, a log handler that prints local variables, or a debugger sees an exception as this walker does: its
message, arguments and attributes, the exceptions it was raised from or while handling, and every local variable of
every frame of each traceback. The walker follows references: containers, attributes, slots and buffers.

It skips modules, classes, functions and code, which contain no data of a call, and the frames of tests, which contain
the secret because they define it.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = str(Path(__file__).parents[2])
OBJECTS_MAXIMUM = 200_000
SKIPPED = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, types.FrameType, type)


def places_of(marker: str, start: object, *, frames: bool = True) -> list[str]:
    """Return the paths from `start` to every reachable text or buffer that contains `marker`.

    Args:
        frames: whether to search the local variables of tracebacks.
    """
    return [path for path, value in reachable(start, frames=frames) if contains(marker, value)]


def contains(marker: str, value: object) -> bool:
    """Return whether a text or a buffer contains the marker unencoded."""
    if isinstance(value, str):
        return marker in value
    if isinstance(value, (bytes, bytearray)):
        return marker.encode() in value
    if isinstance(value, memoryview):
        return marker.encode() in value.tobytes()
    return False


def reachable(start: object, *, frames: bool = True) -> Iterator[tuple[str, object]]:
    """Yield every value that is reachable from `start` once, with its path."""
    seen: set[int] = set()
    alive: list[object] = []  # so that ids are not reused
    pending: list[tuple[str, object]] = [(type(start).__name__, start)]
    while pending:
        path, value = pending.pop()
        if id(value) in seen or isinstance(value, SKIPPED):
            continue
        if len(seen) > OBJECTS_MAXIMUM:
            raise RuntimeError(f"more than {OBJECTS_MAXIMUM} values can be reached; the last was {path}")
        seen.add(id(value))
        alive.append(value)
        yield path, value
        pending += [(path + step, child) for step, child in inside(value, frames=frames)]


def inside(value: object, *, frames: bool) -> Iterator[tuple[str, object]]:
    """Yield the objects that `value` references, each with the step that leads to it."""
    if isinstance(value, (str, bytes, bytearray, int, float)):
        return
    if isinstance(value, BaseException):
        yield from of_exception(value, frames=frames)
    if isinstance(value, Mapping):
        for key, child in list(value.items()):
            yield ".key", key
            yield f"[{key!r:.40}]", child
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, child in enumerate(list(value)):
            yield f"[{index}]", child
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)):
        yield from of_suspended(value, frames=frames)
    yield from attributes(value)


def of_exception(error: BaseException, *, frames: bool) -> Iterator[tuple[str, object]]:
    """Yield the message, arguments, cause, context, notes and frames of an exception."""
    yield ".str()", str(error)
    yield ".repr()", repr(error)
    yield ".args", error.args
    yield ".__cause__", error.__cause__
    yield ".__context__", error.__context__
    yield ".__notes__", getattr(error, "__notes__", None)
    if isinstance(error, BaseExceptionGroup):
        yield ".exceptions", error.exceptions
    for name in (
        "doc",
        "object",
        "msg",
        "reason",
        "filename",
    ):  # some built-in exceptions do not store these in __dict__
        yield f".{name}", getattr(error, name, None)
    traceback = error.__traceback__ if frames else None
    while traceback is not None:
        frame = traceback.tb_frame
        if not frame.f_code.co_filename.startswith(TESTS):
            for name, child in list(frame.f_locals.items()):
                yield f" in {Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}: {name}", child
        traceback = traceback.tb_next


def of_suspended(value: object, *, frames: bool) -> Iterator[tuple[str, object]]:
    """Yield the locals of a suspended coroutine or generator, and the object that it awaits."""
    for kind in ("cr", "gi", "ag"):
        frame = getattr(value, f"{kind}_frame", None)
        if frames and isinstance(frame, types.FrameType) and not frame.f_code.co_filename.startswith(TESTS):
            for name, child in list(frame.f_locals.items()):
                yield f" in {Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}: {name}", child
        awaited = getattr(value, f"{kind}_await", getattr(value, f"{kind}_yieldfrom", None))
        if awaited is not None:
            yield ".await", awaited


def attributes(value: object) -> Iterator[tuple[str, object]]:
    """Yield the attributes of an object in its dict and its slots."""
    fields = getattr(value, "__dict__", None)
    if isinstance(fields, dict):
        for name, child in list(fields.items()):
            yield f".{name}", child
    names = list(getattr(type(value), "__struct_fields__", ()))  # the fields of a msgspec.Struct
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    for name in names:
        try:
            yield f".{name}", object.__getattribute__(value, name)
        except AttributeError:
            continue
