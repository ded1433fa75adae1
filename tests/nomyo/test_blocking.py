"""The blocking client, over the wire."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nomyo import (
    ArgumentTypeError,
    AttestationError,
    BlockingChatCompletion,
    ChatResponse,
    ClientClosedError,
    SecureChatCompletion,
)
from nomyo_attest.appraisal import Verdict
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import API_KEY, MODEL, PROMPT, Wire, policy
from tests.nomyo.wire.plain_router import Reply

MESSAGES = [{"role": "user", "content": PROMPT}]


def blocking(wire: Wire, **options: Any) -> BlockingChatCompletion:
    """A blocking client that shares the key pair of the other clients of the tests, since generating one takes long."""
    client = BlockingChatCompletion(wire.router.url, api_key=API_KEY, max_retries=0, timeout=30.0, **options)
    client._client.client.keyring.pair = wire.client().client.keyring.pair or asyncio.run(
        wire.client().client.keyring.get()
    )
    return client


def test_the_methods_have_the_parameters_of_the_asynchronous_client() -> None:
    for name in ("__init__", "create", "complete", "attest", "with_options"):
        ours, theirs = (
            inspect.signature(getattr(kind, name)) for kind in (BlockingChatCompletion, SecureChatCompletion)
        )
        assert ours.parameters == theirs.parameters


def test_a_call_returns_a_response_with_attributes(wire: Wire, tpm: Forge) -> None:
    with blocking(wire, attestation_policy=policy()) as client:
        response = client.create(MODEL, MESSAGES)
        completed = client.complete({"model": MODEL, "messages": MESSAGES})
        assert client.attest(MODEL).verdict is Verdict.AFFIRMING

    assert (type(response), type(completed)) == (ChatResponse, ChatResponse)
    assert response.choices[0].message.content == completed.choices[0].message.content == PROMPT
    with pytest.raises(ClientClosedError):
        client.create(MODEL, MESSAGES)


def test_the_gate_refuses_and_holds_as_in_the_asynchronous_client(wire: Wire) -> None:
    with blocking(wire, attestation_policy=policy(), refusal_hold=60) as client:
        codes = []
        for each in (client, client.with_options(timeout=9)):
            with pytest.raises(AttestationError) as caught:
                each.create(MODEL, MESSAGES)
            codes.append(caught.value.code)

    assert codes == ["not_affirmed", "held"]
    assert len(wire.posts) == 1


def test_many_threads_share_one_client(wire: Wire) -> None:
    with blocking(wire) as client, ThreadPoolExecutor(16) as threads:
        responses = list(threads.map(lambda _: client.create(MODEL, MESSAGES), range(48)))

    assert len({response._metadata.payload_id for response in responses}) == 48


def test_a_call_works_in_a_thread_with_a_running_event_loop(wire: Wire) -> None:
    async def main() -> Any:
        with blocking(wire) as client:
            return client.create(MODEL, MESSAGES)

    assert asyncio.run(main()).choices[0].message.content == PROMPT


def test_a_misspelled_option_is_refused(wire: Wire) -> None:
    with pytest.raises(ArgumentTypeError, match="did you mean require_attestation"):
        BlockingChatCompletion(wire.router.url, require_atestation=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_uses_and_closes_the_client_of_its_parent(wire: Wire) -> None:
    program = """
        import os, sys, time
        from nomyo import BlockingChatCompletion

        client = BlockingChatCompletion(sys.argv[1], api_key=sys.argv[2])
        messages = [{"role": "user", "content": "hello"}]
        client.create("m", messages)
        child = os.fork()
        response = client.create("m", messages)
        assert response.choices[0].message.content == "hello"
        started = time.monotonic()
        client.close()
        assert time.monotonic() - started < 10
        if not child:
            os._exit(0)
        print(os.waitpid(child, 0)[1])
    """
    done = subprocess.run(
        # Python 3.12 and newer warn about a fork in a process with threads.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program), wire.router.url, API_KEY],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("0\n", "")


def test_ctrl_c_cancels_the_call_and_no_frame_of_the_error_refers_to_the_prompt(wire: Wire) -> None:
    program = """
        import os, signal, sys, threading
        from nomyo import BlockingChatCompletion

        client = BlockingChatCompletion(sys.argv[1], api_key=sys.argv[2])
        interrupt = lambda: (sys.stdin.readline(), os.kill(os.getpid(), signal.SIGINT))
        threading.Thread(target=interrupt, daemon=True).start()
        try:
            client.create("m", [{"role": "user", "content": "a secret prompt"}])
        except KeyboardInterrupt as error:
            frames, here = [], error.__traceback__.tb_next
            while here is not None:
                frames.append(repr(here.tb_frame.f_locals))
                here = here.tb_next
            print("canceled", "a secret prompt" in str(frames))
    """
    wire.router.answer(Reply(delay=30))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), wire.router.url, API_KEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        while not wire.posts and process.poll() is None:
            pass
        assert process.communicate("go\n", timeout=60) == ("canceled False\n", "")
