"""The published client, nomyo 0.2.9, in a process of its own: NOMYO_PUBLISHED_PYTHON names the interpreter that has it.

`tox -e published` makes such an environment; without one these tests skip.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from nomyo.router import RouterOptions, RunningRouter
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.plain_router import PlainRouter, error, limited

PYTHON = os.environ.get("NOMYO_PUBLISHED_PYTHON")
API_KEY = "right"
FORBIDDEN = "a-model-for-tier-maximum"

PROGRAM = """
import asyncio, json, sys
import nomyo

async def main():
    options, calls = json.load(sys.stdin)
    client = nomyo.SecureChatCompletion(**options)
    for arguments in calls:
        try:
            told = {"answer": await client.create(**arguments)}
        except Exception as error:
            told = {"error": type(error).__name__, "status": getattr(error, "status_code", None), "text": str(error)}
        print(json.dumps(told))

assert nomyo.__version__ == "0.2.9"
asyncio.run(main())
"""


@dataclass
class Service:
    """A router that the published client is to work with, and how to put it into a state.

    refuse: have every request answered with a status; 503 is what tier maximum without a TPM gives.
    retry_once: have the next request answered with 429, and the one after it rightly.
    """

    url: str
    ca: str
    refuse: Callable[[int], object]
    retry_once: Callable[[], object]


class Published:
    """Calls of the published client."""

    def __init__(self, url: str, ca: str) -> None:
        self.url = url
        self.ca = ca

    def __call__(self, *calls: dict[str, Any], api_key: str = API_KEY, max_retries: int = 0) -> list[dict[str, Any]]:
        """What came of each call of one client: `answer`, or `error`, `status` and `text`."""
        options = {"base_url": self.url, "api_key": api_key, "max_retries": max_retries}
        done = subprocess.run(
            [str(PYTHON), "-c", PROGRAM],
            input=json.dumps([options, [message(call) for call in calls]]),
            env={name: one for name, one in os.environ.items() if not name.startswith("PYTHON")}
            | {"SSL_CERT_FILE": self.ca},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def message(call: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments; `content` is short for a message, and the model need not be named."""
    call = {"model": "any", **call}
    if "content" in call:
        call["messages"] = [{"role": "user", "content": call.pop("content")}]
    return call


def plain() -> Iterator[Service]:
    """The router written from the wire protocol alone."""
    with PlainRouter(api_key=API_KEY, forbidden=[(FORBIDDEN, "standard")]) as router:

        def refuse(status: int) -> None:
            if status == 404:
                router.secure_inference = False
            else:
                router.answer(lambda request: error(status, "refused"))

        yield Service(router.url, router.ca, refuse, lambda: router.answer(limited(1)))


def reference() -> Iterator[Service]:
    """The router that comes with this project, with the soft TPM."""
    tiers = frozenset({"standard", "high", "maximum"})
    models = {"*": tiers, FORBIDDEN: frozenset({"maximum"})}
    options = RouterOptions(tpm="soft", api_keys=(API_KEY,), models=models)
    with RunningRouter(options, server_key=server_keys.pair()) as router:

        def refuse(status: int) -> None:
            router.set_fault(f"status-{status}")

        yield Service(router.url, str(router.ca), refuse, lambda: router.set_fault("status-429-seconds", 1))


@pytest.fixture(autouse=True)
def needs_the_published_client() -> None:
    """Skip where there is none."""
    if not PYTHON:
        pytest.skip("NOMYO_PUBLISHED_PYTHON names no Python with nomyo==0.2.9; `tox -e published` makes one")


@pytest.fixture(params=[plain, reference], ids=["plain", "reference"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """Each router in turn."""
    yield from request.param()


@pytest.fixture
def published(service: Service) -> Published:
    """The published client, at that router."""
    return Published(service.url, service.ca)
