"""Run nomyo 0.2.9 in another process; NOMYO_PUBLISHED_PYTHON names the interpreter of its environment.

`tox -e published` creates this environment; without it, these tests are skipped.
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
            result = {"answer": await client.create(**arguments)}
        except Exception as error:
            result = {"error": type(error).__name__, "status": getattr(error, "status_code", None), "text": str(error)}
        print(json.dumps(result))

assert nomyo.__version__ == "0.2.9"
asyncio.run(main())
"""


@dataclass
class Service:
    """A router for nomyo 0.2.9, and functions that configure its responses.

    refuse: answer every request with this status; 503 is the status for tier maximum without a TPM.
    retry_once: answer the next request with 429, and later ones normally.
    """

    url: str
    ca: str
    refuse: Callable[[int], object]
    retry_once: Callable[[], object]


class Published:
    """Calls of nomyo 0.2.9."""

    def __init__(self, url: str, ca: str) -> None:
        self.url = url
        self.ca = ca

    def __call__(self, *calls: dict[str, Any], api_key: str = API_KEY, max_retries: int = 0) -> list[dict[str, Any]]:
        """Make calls with one client; return for each `answer`, or `error`, `status` and `text`."""
        options = {"base_url": self.url, "api_key": api_key, "max_retries": max_retries}
        completed = subprocess.run(
            [str(PYTHON), "-c", PROGRAM],
            input=json.dumps([options, [message(call) for call in calls]]),
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
            | {"SSL_CERT_FILE": self.ca},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert completed.returncode == 0, completed.stderr
        return [json.loads(line) for line in completed.stdout.splitlines()]


def message(call: dict[str, Any]) -> dict[str, Any]:
    """Complete the arguments of a call: `content` stands for a message, and `model` has a default."""
    call = {"model": "any", **call}
    if "content" in call:
        call["messages"] = [{"role": "user", "content": call.pop("content")}]
    return call


def plain() -> Iterator[Service]:
    """The router that was written from the wire protocol alone."""
    with PlainRouter(api_key=API_KEY, forbidden=[(FORBIDDEN, "standard")]) as router:

        def refuse(status: int) -> None:
            if status == 404:
                router.secure_inference = False
            else:
                router.answer(lambda request: error(status, "refused"))

        yield Service(router.url, router.ca, refuse, lambda: router.answer(limited(1)))


def reference() -> Iterator[Service]:
    """The reference router of this project, with the soft TPM."""
    tiers = frozenset({"standard", "high", "maximum"})
    models = {"*": tiers, FORBIDDEN: frozenset({"maximum"})}
    options = RouterOptions(tpm="soft", api_keys=(API_KEY,), models=models)
    with RunningRouter(options, server_key=server_keys.pair()) as router:

        def refuse(status: int) -> None:
            router.set_fault(f"status-{status}")

        yield Service(router.url, str(router.ca), refuse, lambda: router.set_fault("status-429-seconds", 1))


@pytest.fixture(autouse=True)
def needs_the_published_client() -> None:
    """Skip the tests if nomyo 0.2.9 is not available."""
    if not PYTHON:
        pytest.skip("NOMYO_PUBLISHED_PYTHON is not set; `tox -e published` creates an environment with nomyo 0.2.9")


@pytest.fixture(params=[plain, reference], ids=["plain", "reference"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """Each of the two routers."""
    yield from request.param()


@pytest.fixture
def published(service: Service) -> Published:
    """Calls of nomyo 0.2.9 to that router."""
    return Published(service.url, service.ca)
