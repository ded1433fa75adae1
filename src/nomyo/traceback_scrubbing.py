"""Keep prompts, completions, passwords and API keys out of exceptions.

A traceback refers to frames, and frames to the data being processed, which crash reporters and log handlers print.
Therefore every public method is guarded: its exception loses its traceback and its chained exceptions, and is raised
again from a frame without data. The message of an unexpected error may quote data, so the error becomes an
`InternalError` that names its class and source line.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import PurePath
from typing import Any, Generic, ParamSpec, TypeVar

from nomyo.errors import ArgumentTypeError, EventLoopError, InternalError, NomyoError
from nomyo.option_names import hint
from nomyo_attest.errors import NomyoAttestError

P = ParamSpec("P")
T = TypeVar("T")

_SAFE_TO_QUOTE = (NomyoError, NomyoAttestError, OSError, MemoryError, RecursionError)
"""Errors whose messages quote no secrets: those of both packages, and those about files and memory."""

_UNKNOWN_ARGUMENT = re.compile(r"got an unexpected keyword argument '([^']*)'")
"""Python's message about an unknown argument; since 3.13, a suggestion may follow."""

_NO_LOOP = (
    "no asyncio event loop is running. Run the call with asyncio.run(); under trio, in a separate thread: "
    "await trio.to_thread.run_sync(asyncio.run, client.create(…))"
)


class _Failure:
    """An exception as a return value, so that it leaves the frames in which it was raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Success(Generic[T]):
    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


def guarded(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that none of its data is reachable from an exception that it raises."""

    @wraps(method)
    def guard(*args: P.args, **kwargs: P.kwargs) -> T:
        arguments = [args, kwargs]
        del args, kwargs
        outcome = _run(method, arguments)
        if isinstance(outcome, _Success):
            return outcome.value
        error = outcome.error
        del outcome
        try:
            raise error
        finally:
            del error  # otherwise the traceback would refer to itself

    return guard


def guarded_async(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a coroutine function in the same way as `guarded` decorates a function."""

    @wraps(method)
    async def guard(*args: P.args, **kwargs: P.kwargs) -> T:
        arguments = [args, kwargs]
        del args, kwargs
        outcome = await _run_async(method, arguments)
        if isinstance(outcome, _Success):
            return outcome.value
        error = outcome.error
        del outcome
        try:
            raise error
        finally:
            del error  # otherwise the traceback would refer to itself

    return guard


def _run(method: Callable[..., T], arguments: list[Any]) -> _Success[T] | _Failure:
    """Call `method` with the arguments and keyword arguments in `arguments`, and empty that list, so that an exception
    thrown into the guard (when a coroutine is closed) refers to no data.
    """
    kwargs, args = arguments.pop(), arguments.pop()
    try:
        return _Success(method(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - every error must leave these frames; the guard raises it again
        return _Failure(_scrubbed(error, method))


async def _run_async(method: Callable[..., Coroutine[Any, Any, T]], arguments: list[Any]) -> _Success[T] | _Failure:
    kwargs, args = arguments.pop(), arguments.pop()
    try:
        return _Success(await method(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - every error must leave these frames; the guard raises it again
        if _means_no_asyncio(error):
            return _Failure(EventLoopError(_NO_LOOP))
        return _Failure(_scrubbed(error, method))


def _means_no_asyncio(error: BaseException) -> bool:
    """Whether an error means that no asyncio event loop is running, as under trio."""
    if type(error) is not RuntimeError or not ("event loop" in str(error) or "inside a task" in str(error)):
        return False
    import asyncio  # imported here so that commands that make no call start faster

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def _scrubbed(error: BaseException, method: Callable[..., Any]) -> BaseException:
    """Return the exception to raise for an `error` of `method`."""
    traceback = error.__traceback__
    if type(error) is TypeError and traceback is not None and traceback.tb_next is None:
        # Raised by the call itself: an argument is missing or unknown. The message only contains parameter names.
        return ArgumentTypeError(_with_hint(str(error), method))
    return _sanitized(error)


def _with_hint(problem: str, method: Callable[..., Any]) -> str:
    """Append the option that was probably meant to Python's message about an unknown argument."""
    unknown = _UNKNOWN_ARGUMENT.search(problem)
    if unknown is None:
        return problem

    return problem[: unknown.end()] + hint(unknown[1], inspect.signature(method).parameters)


def _sanitized(error: BaseException) -> BaseException:
    """Return the sanitized exception to raise: `error` itself if its message quotes no data."""
    sanitized = error
    if isinstance(error, Exception) and not isinstance(error, _SAFE_TO_QUOTE):
        sanitized = InternalError(
            f"internal error: {type(error).__name__} at {_source_line(error)}; please report this line"
        )
    elif isinstance(error, BaseExceptionGroup):  # each member has its own frames
        sanitized = BaseExceptionGroup("several errors", [_sanitized(member) for member in error.exceptions])
    error.__traceback__ = error.__context__ = error.__cause__ = None  # also where another reference to it exists
    return sanitized


def _source_line(error: BaseException) -> str:
    """Return file and line of the innermost frame."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "an unknown line"
    path = PurePath(traceback.tb_frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}, line {traceback.tb_lineno}"
