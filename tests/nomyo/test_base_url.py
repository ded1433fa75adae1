"""Which server is asked, and that an error says which it was."""

from __future__ import annotations

import socket

import pytest

from nomyo import APIConnectionError, APITimeoutError, SecureChatCompletion
from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.client_calls import Wire, ask, run
from tests.nomyo.wire.plain_router import Reply


def test_the_environment_does_not_choose_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOMYO_BASE_URL", "https://elsewhere.example")
    assert SecureChatCompletion().client.router_url == "https://api.nomyo.ai"
    assert SecureCompletionClient().router_url == "https://api.nomyo.ai"


def test_a_connection_error_names_the_host_that_could_not_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOMYO_BASE_URL", "https://elsewhere.example")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # no test asks a name server
    client = SecureChatCompletion(max_retries=0)
    with pytest.raises(APIConnectionError, match=r"api\.nomyo\.ai: .*Name or service not known"):
        run(ask(client))


def test_a_response_that_does_not_come_in_time_names_the_host(wire: Wire) -> None:
    wire.router.answer(Reply(delay=5))
    error = wire.refused(APITimeoutError, timeout=0.5)
    assert str(error) == f"localhost:{wire.router.port}: no response within 0.5 s"
