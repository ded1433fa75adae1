"""Clients that nobody closes, and processes that fork: in processes of their own, where every warning is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

START = """
import asyncio, gc, os, sys
sys.path.insert(0, sys.argv[1])
import nomyo
from tests.nomyo.wire.plain_router import PlainRouter

MESSAGES = [{"role": "user", "content": "hello"}]
"""

SMALL_KEYS = """
import nomyo.keys
nomyo.keys.generate.__defaults__ = (2048,)  # a client's pair of 4096 bits takes a second
"""

DROPPED = (
    SMALL_KEYS
    + """
async def main(url):
    client = nomyo.SecureChatCompletion(url)
    for _ in range(4):
        await client.with_options().create("m", MESSAGES)
        gc.collect()
        await asyncio.sleep(0.05)
    await client.aclose()

with PlainRouter() as router:
    os.environ["SSL_CERT_FILE"] = router.ca
    asyncio.run(main(router.url))
    print(len(router.posts))
"""
)

LOOPS = (
    SMALL_KEYS
    + """
with PlainRouter() as router:
    os.environ["SSL_CERT_FILE"] = router.ca
    client = nomyo.SecureChatCompletion(router.url)
    for _ in range(4):
        asyncio.run(client.create("m", MESSAGES))
    print(len(router.posts))
"""
)

FORKED = """
with PlainRouter() as router:
    os.environ["SSL_CERT_FILE"] = router.ca
    client = nomyo.SecureChatCompletion(router.url)  # its keys are being made now
    child = os.fork()
    asyncio.run(client.create("m", MESSAGES))
    if child == 0:
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(len(router.posts) + os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize(
    ("program", "posts"),
    [
        pytest.param(DROPPED, 4, id="dropped-while-the-loop-goes-on"),
        pytest.param(LOOPS, 4, id="a-loop-for-each-call"),
        pytest.param(FORKED, 2, id="forked"),
    ],
)
def test_a_client_that_nobody_closes_leaves_nothing_open(program: str, posts: int) -> None:
    # From 3.12 on Python warns of any fork with threads about, such as the router's here.
    threads = "ignore:This process:DeprecationWarning"
    command = [sys.executable, "-W", "error", "-W", threads, "-c", START + program, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{posts}\n")


GIVEN_UP = (
    SMALL_KEYS
    + """
async def main(url):
    client = nomyo.SecureChatCompletion(url)
    await client.create("m", MESSAGES)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(60):
        calls = [asyncio.create_task(client.create("m", MESSAGES)) for _ in range(5)]
        await asyncio.sleep(0.0007 * number)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    # Of the last ones, some may have been answered in time, and left connections that wait for the next call. A call
    # given up for sure sends those away.
    last = asyncio.create_task(client.create("m", MESSAGES))
    await asyncio.sleep(0)
    last.cancel()
    await asyncio.gather(last, return_exceptions=True)
    await client.create("m", MESSAGES)
    for _ in range(100):
        await asyncio.sleep(0.05)
        after = len(os.listdir("/proc/self/fd"))
        if after <= before:
            break
    print(after - before)
    await client.aclose()

with PlainRouter() as router:
    os.environ["SSL_CERT_FILE"] = router.ca
    asyncio.run(main(router.url))
"""
)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_calls_that_are_given_up_leave_no_connections_behind() -> None:
    command = [sys.executable, "-W", "error", "-c", START + GIVEN_UP, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    # Both ends of a connection are in that process.
    assert int(done.stdout) <= 2
