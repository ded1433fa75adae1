"""How programs that use the client end: in a process of their own, with every warning an error, and nothing printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.nomyo.client_calls import API_KEY, PROMPT, Wire
from tests.nomyo.defects.conftest import write_keys
from tests.nomyo.wire.plain_router import Reply

START = """
import asyncio, gc, os, signal, sys, threading, time
from nomyo import SecureChatCompletion
from nomyo import keys
URL, KEYS = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "%(prompt)s"}]

def client(**options):
    return SecureChatCompletion(URL, api_key="%(api_key)s", **{"key_dir": KEYS, **options})

async def ask(client, **more):
    return await client.create("m", MESSAGES, **more)

async def request_arrived():
    await asyncio.to_thread(sys.stdin.readline)  # `Program.run` writes a line when the router has the request
""" % {"prompt": PROMPT, "api_key": API_KEY}  # noqa: UP031 - the code has braces of its own


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("endings") / "keys")


class Program:
    """A program that uses the client."""

    def __init__(self, wire: Wire, keys: Path) -> None:
        self.wire = wire
        self._arguments = [wire.router.url, str(keys)]
        self._env = {**os.environ, "SSL_CERT_FILE": wire.router.ca}

    def begin(self, code: str) -> subprocess.Popen[str]:
        """Begin it: a Python in development mode, in which a warning is an error."""
        program = [sys.executable, "-X", "dev", "-W", "error", "-c", START + textwrap.dedent(code), *self._arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(program, env=self._env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def run(self, code: str) -> tuple[int, str, str]:
        """Run it to its end: exit status, standard output and error."""
        process = self.begin(code)
        try:
            if "request_arrived()" in code:
                self.wait_for_request("POST", process)
            out, err = process.communicate("\n", timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"it hangs: {process.communicate()}") from None
        # A development-mode loop remarks on steps of 0.1 s and more, which on a busy machine every step may take.
        return process.returncode, out, re.sub(r"(?m)^Executing <.* took [\d.]+ seconds\n", "", err)

    def wait_for_request(self, method: str, process: subprocess.Popen[str]) -> None:
        """Wait until the router has received a request of the process, or the process has ended."""
        deadline = time.monotonic() + 60
        while process.poll() is None and all(request.method != method for request in self.wire.router.requests):
            assert time.monotonic() < deadline, f"no {method} arrived"
            time.sleep(0.01)


@pytest.fixture
def program(wire: Wire, keys: Path) -> Program:
    return Program(wire, keys)


SETTLED = {
    "closed": """
        async def main():
            async with client() as c:
                await ask(c)
        asyncio.run(main())
    """,
    "dropped while the loop goes on": """
        async def main():
            for _ in range(3):
                await ask(client())
                gc.collect()
                await asyncio.sleep(0.05)
        asyncio.run(main())
    """,
    "many other hosts": """
        async def main():
            async with client() as c:
                for n in range(20):
                    await ask(c, base_url=URL + "/" * n)
        asyncio.run(main())
    """,
    "closed without being used": """
        asyncio.run(client().aclose())
    """,
    "a loop by hand": """
        loop = asyncio.new_event_loop()
        c = client()
        loop.run_until_complete(ask(c))
        loop.run_until_complete(c.aclose())
        loop.close()
    """,
    "closed from a second loop": """
        c = client()
        asyncio.run(ask(c))
        asyncio.run(c.aclose())
    """,
    "with_options": """
        async def main():
            c = client()
            await ask(c.with_options(max_retries=0))
            await ask(c.with_options(timeout=9))
            await c.aclose()
        asyncio.run(main())
    """,
    "arguments that make no sense": """
        for wrong in ({"max_retries": -1}, {"timeout": 0}, {"server_key_pins": ["x"]}):
            try:
                client(**wrong)
            except ValueError:
                pass
    """,
    "an error that is caught": """
        async def main():
            async with client(server_key_pins=["sha256/" + "A" * 43 + "="]) as c:
                try:
                    await ask(c)
                except ValueError as error:
                    assert "not pinned" in str(error)
        asyncio.run(main())
    """,
    "a loop that tells all": """
        async def main():
            async with client() as c:
                await asyncio.gather(*(ask(c) for _ in range(5)))
        asyncio.run(main(), debug=True)
    """,
}
"""Programs that leave nothing to the end of the process, so that one process runs them one after the other."""

ENDINGS = {
    "not closed": """
        async def main():
            c = client()
            await ask(c)
        asyncio.run(main())
    """,
    "nowhere kept": """
        asyncio.run(ask(client()))
    """,
    "kept to the end": """
        c = client()
        asyncio.run(ask(c))
        asyncio.run(ask(c))
    """,
    "never used": """
        client()
    """,
    "a call given up": """
        async def main():
            c = client()
            task = asyncio.create_task(ask(c))
            await request_arrived()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        asyncio.run(main())
    """,
    "a call nobody waits for": """
        async def main():
            c = client()
            task = asyncio.create_task(ask(c))
            await request_arrived()
        asyncio.run(main())
    """,
    "a call not even begun": """
        async def main():
            c = client()
            ask(c).close()
        asyncio.run(main())
    """,
    "loops in threads": """
        c = client()
        threads = [threading.Thread(target=lambda: asyncio.run(ask(c))) for _ in range(4)]
        [one.start() for one in threads]
        [one.join() for one in threads]
    """,
    "a loop by hand without a farewell": """
        loop = asyncio.new_event_loop()
        c = client()
        loop.run_until_complete(ask(c))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    """,
    "in a child of a fork": """
        import warnings
        c = client()
        asyncio.run(ask(c))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            asyncio.run(ask(c))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """,
    "sys.exit in a call": """
        async def main():
            c = client()
            asyncio.create_task(ask(c))
            await request_arrived()
            sys.exit(0)
        asyncio.run(main())
    """,
}
"""Programs that leave something to the end of the process."""


UNFINISHED = ("a call given up", "a call nobody waits for", "sys.exit in a call")
"""Programs whose call is still waiting for its response at the end.

They wait for `request_arrived`, not for a fixed time: a canceled connection attempt makes anyio warn about a coroutine
that was never awaited, and on a busy machine connecting can take longer than any fixed time.
"""


@pytest.mark.parametrize("name", ENDINGS)
def test_a_program_ends_without_a_warning_or_a_word(program: Program, name: str) -> None:
    if name in UNFINISHED:
        program.wire.router.answer(lambda post: Reply(delay=20))
    assert program.run(ENDINGS[name]) == (0, "", "")


def test_programs_that_leave_nothing_to_the_end_go_on_without_a_warning_or_a_word(program: Program) -> None:
    code = "".join(
        f"print({name!r}, flush=True)\nexec({textwrap.dedent(text)!r}, {{**globals()}})\ngc.collect()\n"
        for name, text in SETTLED.items()
    )
    assert program.run(code) == (0, "".join(f"{name}\n" for name in SETTLED), "")


@pytest.mark.parametrize("code", ["client()", "client(key_dir=None)"])
def test_a_program_that_ends_right_after_making_a_client_ends_well_each_time(program: Program, code: str) -> None:
    times = int(os.environ.get("NOMYO_ENDINGS", "4"))  # 200, for a patient evening
    quick = "keys.generate.__defaults__ = (2048,)\n"  # a pair of 4096 bits takes a second
    with ThreadPoolExecutor(2) as both:
        found = list(both.map(lambda _: program.run(quick + code), range(times)))
    assert set(found) == {(0, "", "")}


def test_a_program_that_ends_while_a_real_pair_is_made_waits_for_it_and_ends_well(program: Program) -> None:
    assert program.run("client(key_dir=None)") == (0, "", "")


@pytest.mark.parametrize("where", ["POST", "GET", "keys"])
def test_a_program_that_is_interrupted_in_a_call_ends_and_tells_no_secret(program: Program, where: str) -> None:
    program.wire.router.answer(lambda request: Reply(delay=30), on="GET" if where == "GET" else "POST")
    keys = {"key_dir": None} if where == "keys" else {}
    process = program.begin(f"""
        print("begun", flush=True)
        asyncio.run(ask(client(**{keys!r})))
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    if where != "keys":
        program.wait_for_request(where, process)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    # 1: CPython forgets that it was interrupted if another thread calls eval() while the program ends, as imports do.
    assert process.returncode in (-signal.SIGINT, 130, 1)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "Warning" not in err
    assert API_KEY not in err
    assert "nomyo/call.py" not in err


def test_an_error_that_nobody_catches_is_told_without_a_secret(program: Program) -> None:
    program.wire.router.answer(lambda post: Reply(401, body=f"{post.plaintext} {post.headers}".encode()))
    status, out, err = program.run("asyncio.run(ask(client()))")
    assert (status, out) == (1, "")
    assert err.rstrip().endswith("nomyo.errors.AuthenticationError: Invalid API key or authentication failed")
    assert "The above exception" not in err
    assert "During handling" not in err
    assert PROMPT not in err
    assert API_KEY not in err
