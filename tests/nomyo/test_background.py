"""A function run in the background: run once, its result for all who wait, on any loop; retried after a failure."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from concurrent.futures import Future
from typing import Any

import pytest

from nomyo.background import BackgroundResult
from nomyo.errors import KeyStoreError
from tests.nomyo.client_calls import run

PATIENCE = 60.0


class Work:
    """Work that waits for leave, counts its calls and fails as it is told."""

    def __init__(self, *outcomes: object, held: bool = False) -> None:
        self.calls = 0
        self.threads: list[threading.Thread] = []
        self.leave = threading.Event()
        self._outcomes = list(outcomes)
        if not held:
            self.leave.set()

    def __call__(self) -> object:
        self.calls += 1
        self.threads.append(threading.current_thread())
        assert self.leave.wait(PATIENCE)
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def test_nothing_is_done_before_it_is_begun() -> None:
    work = Work("value")
    result = BackgroundResult(work)
    time.sleep(0.01)
    assert work.calls == 0
    assert result.start().result(PATIENCE) == "value"


def test_it_is_done_once_however_often_it_is_begun() -> None:
    work = Work("value", held=True)
    result = BackgroundResult(work)
    futures: list[Future[object]] = []
    threads = [threading.Thread(target=lambda: futures.append(result.start())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work.leave.set()
    assert {future.result(PATIENCE) for future in futures} == {"value"}
    assert len({id(future) for future in futures}) == 1
    assert result.start() is futures[0]
    assert work.calls == 1


def test_it_is_done_in_a_thread_that_a_program_waits_for() -> None:
    work = Work("value")
    BackgroundResult(work).start().result(PATIENCE)
    (thread,) = work.threads
    assert thread is not threading.current_thread()
    assert not thread.daemon
    assert thread.name == "nomyo-background"


def test_all_who_wait_get_the_value_on_whichever_loop() -> None:
    work = Work(object(), held=True)
    result = BackgroundResult(work)

    async def many() -> list[object]:
        threading.Timer(0.05, work.leave.set).start()
        return await asyncio.gather(*(result.get() for _ in range(10)))

    found = [*run(many()), *run(many()), run(result.get())]
    assert len({id(one) for one in found}) == 1
    assert work.calls == 1


def test_a_failure_is_told_to_all_who_wait_each_its_own_and_without_frames() -> None:
    first = KeyStoreError("k", "is a folder", "name a file")
    work = Work(first, held=True)
    result = BackgroundResult(work)

    async def many() -> list[Any]:
        threading.Timer(0.05, work.leave.set).start()
        return await asyncio.gather(*(result.get() for _ in range(5)), return_exceptions=True)

    found = run(many())
    assert work.calls == 1
    assert {type(one) for one in found} == {KeyStoreError}
    assert {str(one) for one in found} == {"k: is a folder; name a file"}
    assert len({id(one) for one in [first, *found]}) == 6
    assert {one.__context__ for one in found} == {None}
    for one in found:
        names = []
        traceback = one.__traceback__
        while traceback is not None:
            names.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        assert "__call__" not in names
        assert "_run" not in names


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), SystemExit(3)], ids=repr)
def test_a_failure_of_any_other_kind_is_told_too(error: BaseException) -> None:
    result = BackgroundResult(Work(error))
    found = result.start().exception(PATIENCE)
    assert found is error
    assert found.__traceback__ is None


def test_after_a_failure_the_next_who_asks_has_it_tried_again() -> None:
    work = Work(KeyStoreError("k", "p", "m"), KeyStoreError("k", "p", "m"), "value")
    result = BackgroundResult(work)
    for _ in range(2):
        with pytest.raises(KeyStoreError):
            run(result.get())
    assert [run(result.get()) for _ in range(3)] == ["value"] * 3
    assert work.calls == 3


def test_a_failure_that_nobody_asks_about_is_not_tried_again() -> None:
    work = Work(KeyStoreError("k", "p", "m"))
    BackgroundResult(work).start().exception(PATIENCE)
    time.sleep(0.01)
    assert work.calls == 1


@pytest.mark.parametrize("impatience", ["a cancelled task", "a timeout"])
def test_one_who_stops_waiting_does_not_end_it_for_the_others(impatience: str) -> None:
    work = Work("value", held=True)
    result = BackgroundResult(work)

    async def main() -> object:
        patient = asyncio.create_task(result.get())
        if impatience == "a timeout":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(result.get(), 0.02)
        else:
            impatient = asyncio.create_task(result.get())
            await asyncio.sleep(0.02)
            impatient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await impatient
        work.leave.set()
        return await patient

    assert run(main()) == "value"
    assert work.calls == 1


def test_a_loop_is_not_held_up_meanwhile() -> None:
    work = Work("value", held=True)

    async def main() -> int:
        waiting = asyncio.create_task(BackgroundResult(work).get())
        turns = 0
        while not waiting.done():
            turns += 1
            if turns == 20:
                work.leave.set()
            await asyncio.sleep(0.001)
        return turns

    assert run(main()) >= 20


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="this system has no fork")
def test_a_fork_waits_until_the_work_is_done() -> None:
    work = Work("value", held=True)
    result = BackgroundResult(work)
    future = result.start()
    threading.Timer(0.1, work.leave.set).start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: there are threads, which is the point
        child = os.fork()
    if child == 0:  # what it sees is what was there at the fork
        os._exit(0 if future.done() and future.result() == "value" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def no_more_threads(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_thread_that_cannot_be_started_leaves_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    result = BackgroundResult(Work("value"))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more_threads)
        with pytest.raises(RuntimeError):
            result.start()
    assert result.start().result(PATIENCE) == "value"
