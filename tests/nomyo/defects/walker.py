"""Everything that can be reached from an exception, searched for what must not be there.

A crash reporter, a log handler that prints local variables, or a debugger sees an exception as this walker does: its
message, arguments and attributes, the exceptions it was raised from or while handling, and every local variable of
every frame of each traceback. What those refer to is followed, too: containers, attributes, slots and buffers.

Not followed: modules, classes, functions and code, which hold no data of a call, and the frames of the tests
themselves, which know the secret because they made it up.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = str(Path(__file__).parents[2])
FOLLOWED_AT_MAXIMUM = 200_000
SKIPPED = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, types.FrameType, type)


def places_of(marker: str, start: object, *, frames: bool = True) -> list[str]:
    """The paths from `start` to every text or buffer that holds `marker`; empty where none can be reached.

    Args:
        frames: also look into the local variables of tracebacks.
    """
    return [path for path, value in reachable(start, frames=frames) if holds(marker, value)]


def holds(marker: str, value: object) -> bool:
    """Whether a text or a buffer holds the marker as it is."""
    if isinstance(value, str):
        return marker in value
    if isinstance(value, (bytes, bytearray)):
        return marker.encode() in value
    if isinstance(value, memoryview):
        return marker.encode() in value.tobytes()
    return False


def reachable(start: object, *, frames: bool = True) -> Iterator[tuple[str, object]]:
    """Every value that can be reached from `start`, each once, with a path to it."""
    seen: set[int] = set()
    kept: list[object] = []  # so that no id is given to a second object while this runs
    left: list[tuple[str, object]] = [(type(start).__name__, start)]
    while left:
        path, value = left.pop()
        if id(value) in seen or isinstance(value, SKIPPED):
            continue
        if len(seen) > FOLLOWED_AT_MAXIMUM:
            raise RuntimeError(f"more than {FOLLOWED_AT_MAXIMUM} values can be reached; the last was {path}")
        seen.add(id(value))
        kept.append(value)
        yield path, value
        left += [(path + step, one) for step, one in inside(value, frames=frames)]


def inside(value: object, *, frames: bool) -> Iterator[tuple[str, object]]:
    """What `value` itself refers to, each with the step that leads there."""
    if isinstance(value, (str, bytes, bytearray, int, float)):
        return
    if isinstance(value, BaseException):
        yield from of_exception(value, frames=frames)
    if isinstance(value, Mapping):
        for key, one in list(value.items()):
            yield ".key", key
            yield f"[{key!r:.40}]", one
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, one in enumerate(list(value)):
            yield f"[{index}]", one
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)):
        yield from of_suspended(value, frames=frames)
    yield from attributes(value)


def of_exception(error: BaseException, *, frames: bool) -> Iterator[tuple[str, object]]:
    """Message, arguments, cause, context, notes and the frames of an exception."""
    yield ".str()", str(error)
    yield ".repr()", repr(error)
    yield ".args", error.args
    yield ".__cause__", error.__cause__
    yield ".__context__", error.__context__
    yield ".__notes__", getattr(error, "__notes__", None)
    if isinstance(error, BaseExceptionGroup):
        yield ".exceptions", error.exceptions
    for name in ("doc", "object", "msg", "reason", "filename"):  # not in __dict__ for some of the built-in ones
        yield f".{name}", getattr(error, name, None)
    traceback = error.__traceback__ if frames else None
    while traceback is not None:
        frame = traceback.tb_frame
        if not frame.f_code.co_filename.startswith(TESTS):
            for name, one in list(frame.f_locals.items()):
                yield f" in {Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}: {name}", one
        traceback = traceback.tb_next


def of_suspended(value: object, *, frames: bool) -> Iterator[tuple[str, object]]:
    """The locals of a coroutine or generator that waits, and what it waits for."""
    for kind in ("cr", "gi", "ag"):
        frame = getattr(value, f"{kind}_frame", None)
        if frames and isinstance(frame, types.FrameType) and not frame.f_code.co_filename.startswith(TESTS):
            for name, one in list(frame.f_locals.items()):
                yield f" in {Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}: {name}", one
        awaited = getattr(value, f"{kind}_await", getattr(value, f"{kind}_yieldfrom", None))
        if awaited is not None:
            yield ".await", awaited


def attributes(value: object) -> Iterator[tuple[str, object]]:
    """The attributes of an object, kept in a dict or in slots."""
    kept = getattr(value, "__dict__", None)
    if isinstance(kept, dict):
        for name, one in list(kept.items()):
            yield f".{name}", one
    names = list(getattr(type(value), "__struct_fields__", ()))  # where msgspec keeps them
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    for name in names:
        try:
            yield f".{name}", object.__getattribute__(value, name)
        except AttributeError:
            continue
