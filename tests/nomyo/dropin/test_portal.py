import asyncio
import contextvars
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from nomyo import EventLoopError
from nomyo.dropin.portal import portal

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST", default="none")


async def loop_of_call() -> int:
    return id(asyncio.get_running_loop())


def run(program: str) -> str:
    """Run a program in a process of its own, since forks and signals need one, and return its output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_all_threads_of_a_process_share_one_loop() -> None:
    loops = [portal().call(loop_of_call())]
    threads = [threading.Thread(target=lambda: loops.append(portal().call(loop_of_call()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(loops) == 5
    assert len(set(loops)) == 1


def test_the_exception_of_the_coroutine_is_raised_in_the_caller() -> None:
    async def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        portal().call(fail())


def test_an_exception_that_ends_programs_is_raised_in_the_caller_and_the_loop_goes_on() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        portal().call(leave())
    assert portal().call(loop_of_call())


def test_a_blocking_call_works_while_the_caller_has_a_running_loop() -> None:
    async def main() -> int:
        return portal().call(loop_of_call())

    assert asyncio.run(main()) == portal().call(loop_of_call())


def test_the_coroutine_sees_the_context_variables_of_the_caller() -> None:
    async def read() -> str:
        return REQUEST.get()

    token = REQUEST.set("request 7")
    try:
        assert portal().call(read()) == "request 7"
    finally:
        REQUEST.reset(token)


def test_a_call_from_the_portals_own_loop_is_refused_instead_of_waiting_for_itself() -> None:
    async def nested() -> int:
        return portal().call(loop_of_call())

    with pytest.raises(EventLoopError):
        portal().call(nested())


def test_an_exception_in_the_waiting_thread_cancels_the_coroutine() -> None:
    program = """
        import asyncio, os, signal, threading
        from nomyo.dropin.portal import portal

        async def wait_forever():
            try:
                threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("canceled")
                raise

        try:
            portal().call(wait_forever())
        except KeyboardInterrupt:
            print("interrupted")
    """

    assert run(program) == "canceled\ninterrupted\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_starts_its_own_portal() -> None:
    program = """
        import asyncio, os
        from nomyo.dropin.portal import portal

        async def thread():
            return id(asyncio.get_running_loop())

        before = portal().call(thread())
        child = os.fork()
        if not child:
            os._exit(0 if portal().call(thread()) != before else 1)
        print(os.waitpid(child, 0)[1], portal().call(thread()) == before)
    """

    assert run(program) == "0 True\n"
