"""The guard: whatever a method raises, nothing that it worked on can be reached from it, nor kept alive by it.

The proof is by weak references: while the exception is held, and without the garbage collector, what was given to the
method must die. What is reachable could not.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import weakref
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any

import pytest

from nomyo import errors, traceback_scrubbing
from nomyo.traceback_scrubbing import guarded, guarded_async
from nomyo_attest.errors import EvidenceError
from tests.nomyo.client_calls import run
from tests.nomyo.defects.walker import places_of

SECRET = "prompt-6c1f4b2d8e"


class Precious:
    """What a method is given; it can be watched."""

    def __init__(self) -> None:
        self.text = SECRET


class Holder:
    """An object whose methods are guarded, and who is precious himself."""

    def __init__(self, raising: Callable[[Any], object]) -> None:
        self.secret = SECRET
        self.raising = raising

    @guarded
    def work(self, first: Precious, *, second: Precious) -> object:
        """Do it."""
        local = [first.text, second.text]
        return self._deeper(first, local)

    def _deeper(self, precious: Precious, local: list[str]) -> object:
        return self.raising((precious, local, self))

    @guarded_async
    async def work_async(self, first: Precious, *, second: Precious) -> object:
        """Do it later."""
        local = [first.text, second.text]
        await asyncio.sleep(0)
        return self._deeper(first, local)


def raise_plain(held: Any) -> None:
    raise held[0].error if hasattr(held[0], "error") else ValueError(SECRET, held)


def raise_chained(held: Any) -> None:
    try:
        json.loads(f'{{"{SECRET}": ')
    except ValueError as error:
        raise errors.ServerKeyError("refused") from error


def raise_in_a_handler(held: Any) -> None:
    try:
        raise_plain(held)
    except ValueError:
        raise errors.ServerKeyError("refused")  # noqa: B904 - its context is what is to be looked at


def raise_a_group(held: Any) -> None:
    raise ExceptionGroup(SECRET, [ValueError(SECRET, held), errors.NomyoError("known")])


def raise_a_group_with_an_interrupt(held: Any) -> None:
    found: list[BaseException] = []
    for raising in (raise_plain, raise_an_interrupt, raise_chained):
        try:
            raising(held)
        except BaseException as error:  # noqa: BLE001 - the interrupt, too
            found.append(error)
    raise BaseExceptionGroup(SECRET, [*found, BaseExceptionGroup(SECRET, [KeyboardInterrupt(), found[0]])])


def raise_an_interrupt(held: Any) -> None:
    raise KeyboardInterrupt


def raise_an_exit(held: Any) -> None:
    raise SystemExit(3)


def raise_a_cancellation(held: Any) -> None:
    raise asyncio.CancelledError


def raise_an_os_error(held: Any) -> None:
    open("/no/such/folder/file")  # noqa: PTH123, SIM115 - the plainest way to the system's error


def raise_a_recursion_error(held: Any) -> None:
    raise_a_recursion_error([held])


def raise_a_memory_error(held: Any) -> None:
    raise MemoryError


def raise_a_stop(held: Any) -> None:
    raise StopIteration(SECRET)


def raise_a_type_error(held: Any) -> None:
    held[0].text()


def raise_a_unicode_error(held: Any) -> None:
    (SECRET + "é").encode("ascii")


def raise_an_assertion(held: Any) -> None:
    raise AssertionError(f"{SECRET} {held}")


def raise_an_attribute_error(held: Any) -> None:
    _ = held[0].nothing  # the error's `obj` is the precious one


RAISING: dict[Callable[[Any], object], type[BaseException]] = {
    raise_plain: errors.InternalError,
    raise_chained: errors.ServerKeyError,
    raise_in_a_handler: errors.ServerKeyError,
    raise_a_group: errors.InternalError,
    raise_a_group_with_an_interrupt: BaseExceptionGroup,
    raise_an_interrupt: KeyboardInterrupt,
    raise_an_exit: SystemExit,
    raise_a_cancellation: asyncio.CancelledError,
    raise_an_os_error: FileNotFoundError,
    raise_a_recursion_error: RecursionError,
    raise_a_memory_error: MemoryError,
    raise_a_stop: errors.InternalError,
    raise_a_type_error: errors.InternalError,
    raise_a_unicode_error: errors.InternalError,
    raise_an_assertion: errors.InternalError,
    raise_an_attribute_error: errors.InternalError,
}


@pytest.fixture(autouse=True)
def _no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def caught_from(call: Callable[..., object], *args: object, **kwargs: object) -> BaseException:
    """What a call raises, its traceback from the module under test on: the frames of the test hold what they gave."""
    try:
        call(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - interrupts and exits, too
        error.__traceback__ = own_part(error.__traceback__)
        return error
    raise AssertionError("nothing was raised")


def own_part(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback from the module under test on; the whole one where it does not go there."""
    part = traceback
    while part is not None and part.tb_frame.f_code.co_filename != traceback_scrubbing.__file__:
        part = part.tb_next
    return part or traceback


def holds_on_to(error: BaseException, watched: list[weakref.ref[Any]]) -> list[Any]:
    """Which of the watched an exception keeps alive, and the local variables of the frames it went through.

    The frame of the guard is looked at and then let go of: behind it, by `f_back`, there is that of the caller, who may
    know what he gave.
    """
    traceback = error.__traceback__
    assert traceback is not None
    assert traceback.tb_next is None
    assert traceback.tb_frame.f_code.co_filename == traceback_scrubbing.__file__
    found: list[Any] = [name for name, value in traceback.tb_frame.f_locals.items() if name != "method" and value != []]
    error.__traceback__ = traceback = None
    return found + [alive for one in watched if (alive := one()) is not None]


def each_of(error: BaseException) -> list[BaseException]:
    """An exception, and those in it if it is a group."""
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [error, *(one for each in inner for one in each_of(each))]


def step(work: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine that only ever yields to the loop, without a loop: no task of a loop holds on to anything."""
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            return end.value


def given(raising: Callable[[Any], object], way: str) -> tuple[BaseException, list[weakref.ref[Any]]]:
    """What a guarded method raises, and watches over its arguments and its object, whom nobody else holds."""
    holder, first, second = Holder(raising), Precious(), Precious()
    watched = [weakref.ref(one) for one in (holder, first, second)]
    if way == "sync":
        return caught_from(holder.work, first, second=second), watched
    return caught_from(step, holder.work_async(first, second=second)), watched


@pytest.mark.parametrize("raising", RAISING, ids=lambda each: each.__name__)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_nothing_that_was_given_outlives_the_call_in_its_exception(raising: Callable[[Any], object], way: str) -> None:
    error, watched = given(raising, way)
    assert isinstance(error, RAISING[raising])
    for one in each_of(error):
        assert one.__cause__ is None
        assert one.__context__ is None
        assert places_of(SECRET, one) == []
        assert one is error or one.__traceback__ is None
    assert holds_on_to(error, watched) == []


def test_the_watch_would_notice() -> None:
    """Without the guard all of them live, so the test above can fail."""
    holder, first, second = Holder(raise_plain), Precious(), Precious()
    watched = [weakref.ref(one) for one in (holder, first, second)]
    unguarded = inspect.unwrap(Holder.work)
    error = caught_from(unguarded, holder, first, second=second)
    del holder, first, second
    assert None not in [one() for one in watched]
    assert isinstance(error, ValueError)


def test_nothing_is_kept_of_a_call_that_ends_well() -> None:
    for way in ("sync", "async"):
        holder, first = Holder(lambda held: "done"), Precious()
        watched = weakref.ref(first)
        if way == "sync":
            assert holder.work(first, second=first) == "done"
        else:
            assert step(holder.work_async(first, second=first)) == "done"
        del first
        assert watched() is None


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_exception_leaves_no_cycle_behind(way: str) -> None:
    error, _ = given(raise_plain, way)
    watched = weakref.ref(error)
    del error
    assert watched() is None


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("raising", [raise_plain, raise_a_type_error, raise_a_unicode_error, raise_a_group])
def test_an_unexpected_error_is_told_by_kind_and_place_alone(raising: Callable[[Any], object], way: str) -> None:
    error, _ = given(raising, way)
    kinds: dict[Callable[[Any], object], str] = {
        raise_plain: "ValueError",
        raise_a_type_error: "TypeError",
        raise_a_unicode_error: "UnicodeEncodeError",
        raise_a_group: "ExceptionGroup",
    }
    line = raising.__code__.co_firstlineno + 1
    place = f"nomyo/test_traceback_scrubbing.py, line {line}"
    assert str(error) == f"internal error: {kinds[raising]} at {place}; please report this line"
    assert error.args == (str(error),)


def test_a_group_with_an_interrupt_stays_one_that_quotes_nothing() -> None:
    error, _ = given(raise_a_group_with_an_interrupt, "sync")
    assert isinstance(error, BaseExceptionGroup)
    assert error.message == "several errors"
    assert [type(one) for one in error.exceptions] == [
        errors.InternalError, KeyboardInterrupt, errors.ServerKeyError, BaseExceptionGroup,
    ]  # fmt: skip
    assert [type(one) for one in each_of(error)[5:]] == [KeyboardInterrupt, errors.InternalError]


def test_an_error_without_a_place_says_so() -> None:
    assert traceback_scrubbing._source_line(ValueError()) == "an unknown line"


@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimitError("m", 429, {"detail": "d"}),
        errors.KeyFileNotFoundError("k"),
        errors.ArgumentTypeError("m"),
        EvidenceError("_metadata", "an object", "null"),
        PermissionError(13, "Permission denied", "/etc/x"),
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_error_that_is_meant_to_be_seen_arrives_as_it_is(error: BaseException, way: str) -> None:
    before = (str(error), error.args, dict(vars(error)))

    def raising(held: object) -> None:
        raise error

    found, _ = given(raising, way)
    assert found is error
    assert (str(found), found.args, dict(vars(found))) == before


def test_what_is_handled_where_the_method_is_called_is_still_its_context() -> None:
    try:
        raise KeyError("the caller's own")
    except KeyError:
        error = caught_from(Holder(raise_plain).work, Precious(), second=Precious())
    assert isinstance(error.__context__, KeyError)


WRONG_CALLS: list[tuple[Callable[[Any], object], str]] = [
    (lambda work: work(), r"missing 1 required positional argument: 'first'"),
    (lambda work: work(1), r"missing 1 required keyword-only argument: 'second'"),
    (lambda work: work(1, 2, second=3), r"takes 2 positional arguments but 3"),
    (lambda work: work(1, second=2, third=3), r"got an unexpected keyword argument 'third'"),
    (lambda work: work(1, first=1, second=2), r"got multiple values for argument 'first'"),
]


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_call_that_does_not_fit_is_a_type_error_in_pythons_words(
    call: Callable[[Any], object], message: str, way: str
) -> None:
    holder = Holder(raise_plain)
    with pytest.raises(TypeError, match=message) as caught:
        call(holder.work) if way == "sync" else step(call(holder.work_async))  # type: ignore[arg-type] # a coroutine
    assert type(caught.value) is errors.ArgumentTypeError


@guarded
def fail_at_once(value: object) -> None:
    raise TypeError(SECRET)


@guarded_async
async def fail_at_once_async(value: object) -> None:
    raise TypeError(SECRET)


def test_a_type_error_of_the_method_itself_is_no_word_of_the_call() -> None:
    for error in (caught_from(fail_at_once, 1), caught_from(step, fail_at_once_async(1))):
        assert type(error) is errors.InternalError
        assert SECRET not in str(error)


def test_signature_name_and_documentation_are_those_of_the_method() -> None:
    for guard, plain in ((Holder.work, "work"), (Holder.work_async, "work_async")):
        signature = inspect.signature(guard)
        assert list(signature.parameters) == ["self", "first", "second"]
        assert signature.parameters["second"].kind is inspect.Parameter.KEYWORD_ONLY
        assert signature.return_annotation == "object"
        assert guard.__name__ == plain
        assert guard.__qualname__ == f"Holder.{plain}"
        assert guard.__module__ == __name__
    assert Holder.work.__doc__ == "Do it."
    assert Holder.work_async.__doc__ == "Do it later."


def test_a_coroutine_function_stays_one_and_a_function_a_function() -> None:
    assert inspect.iscoroutinefunction(Holder.work_async)
    assert asyncio.iscoroutinefunction(Holder.work_async)
    assert not inspect.iscoroutinefunction(Holder.work)
    coroutine = Holder(lambda held: None).work_async(Precious(), second=Precious())
    assert inspect.iscoroutine(coroutine)
    coroutine.close()


def suspended(raising: Callable[[Any], object]) -> tuple[Coroutine[Any, Any, object], list[weakref.ref[Any]]]:
    """A guarded coroutine in mid-flight."""
    holder, first, second = Holder(raising), Precious(), Precious()
    watched = [weakref.ref(one) for one in (holder, first, second)]
    work = holder.work_async(first, second=second)
    work.send(None)
    return work, watched


def test_a_coroutine_that_is_closed_in_mid_flight_ends_quietly_and_lets_go() -> None:
    work, watched = suspended(raise_plain)
    assert None not in [one() for one in watched]
    work.close()
    assert [one() for one in watched] == [None, None, None]
    assert work.cr_frame is None  # type: ignore[attr-defined] # it is a coroutine of Python's own


@pytest.mark.parametrize(
    ("thrown", "found"),
    [
        (asyncio.CancelledError, asyncio.CancelledError),
        (KeyboardInterrupt, KeyboardInterrupt),
        (GeneratorExit, GeneratorExit),
        (ValueError, errors.InternalError),
        (errors.APITimeoutError, errors.APITimeoutError),
    ],
)
def test_what_is_thrown_into_a_coroutine_comes_out_without_its_frames(
    thrown: type[BaseException], found: type[BaseException]
) -> None:
    work, watched = suspended(raise_plain)
    error = caught_from(work.throw, thrown("a reason"))
    del work
    assert type(error) is found
    assert places_of(SECRET, error) == []
    assert holds_on_to(error, watched) == []


def test_a_task_that_is_cancelled_is_cancelled_and_a_timeout_stays_one() -> None:
    class Slow:
        @guarded_async
        async def work(self, precious: Precious) -> None:
            await asyncio.sleep(30)

    async def main() -> None:
        task = asyncio.create_task(Slow().work(Precious()))
        await asyncio.sleep(0)
        task.cancel("a reason of the caller's")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Slow().work(Precious())

    run(main())


def test_a_context_that_guards_itself_may_guard_another() -> None:
    @guarded
    def inner(precious: Precious) -> None:
        raise errors.ServerKeyError("refused")

    @guarded
    def outer(precious: Precious) -> None:
        inner(precious)

    precious = Precious()
    watched = weakref.ref(precious)
    error = caught_from(outer, precious)
    del precious
    assert type(error) is errors.ServerKeyError
    assert holds_on_to(error, [watched]) == []
