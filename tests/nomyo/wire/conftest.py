"""Fixtures: a router, and a simple client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nomyo.wire.plain_router import PlainRouter
from tests.nomyo.wire.simple_client import Client


@pytest.fixture
def router() -> Iterator[PlainRouter]:
    with PlainRouter() as router:
        yield router


@pytest.fixture
def client(router: PlainRouter) -> Iterator[Client]:
    with Client(router.port, router.ca) as client:
        yield client
