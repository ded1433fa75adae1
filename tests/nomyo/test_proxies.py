"""Proxies of the environment: which one applies, what an unusual variable leads to, and what a proxy's refusal says."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo import APIConnectionError, ArgumentError, InternalError, NomyoError, keys
from nomyo.connections import environment_proxy, is_exempt
from tests.nomyo.cli import runner
from tests.nomyo.client_calls import PROMPT, Wire, content
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.loopback import Connection, Loopback

PASSWORD = "p@ss:w0rd/6c1f4b2d"
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)


class ConnectProxy(Loopback):
    """An HTTP proxy that connects anywhere, or answers every CONNECT with a status line of its own."""

    def __init__(self, status: str | None = None, token: str | None = None) -> None:
        super().__init__()
        self.status = status
        self.token = token
        self.asked: list[str] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def serve(self, connection: Connection) -> None:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n")[0].decode()
        self.asked.append(line)
        status = self.status
        if self.token is not None and f"Basic {self.token}".encode() not in head:
            status = "407 Proxy Authentication Required"
        if status is not None:
            connection.writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            await connection.writer.drain()
            return
        host, _, port = line.split()[1].rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        connection.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(
                pump(connection.reader, there_writer), pump(there_reader, connection.writer), return_exceptions=True
            )
        finally:
            there_writer.transport.abort()


class SocksProxy(Loopback):
    """A SOCKS 5 proxy (RFC 1928) without authentication that connects to this machine, whatever name it is given."""

    async def serve(self, connection: Connection) -> None:
        reader, writer = connection.reader, connection.writer
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        length = 4 if kind == 1 else (await reader.readexactly(1))[0]
        await reader.readexactly(length)
        port = int.from_bytes(await reader.readexactly(2), "big")
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        try:
            await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer), return_exceptions=True)
        finally:
            there_writer.transport.abort()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@contextmanager
def nobody_listens() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    ("no_proxy", "host", "exempt"),
    [
        ("*", "api.example", True),
        ("", "api.example", False),
        (" , ,", "api.example", False),
        ("api.example", "api.example", True),
        ("other.example, API.Example ", "api.example", True),
        ("example", "api.example", True),
        (".example", "api.example", True),
        ("*.example", "api.example", True),
        ("pi.example", "api.example", False),
        (".", "api.example", False),
        ("api.example:443", "api.example", True),
        ("api.example:8443", "api.example", False),
        ("https://api.example", "api.example", True),
        ("http://api.example", "api.example", False),
        ("api.example.", "api.example", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "fe12::1", False),
        ("fd00::/8", "api.example", False),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("[::1]:443", "::1", True),
        ("[::1]:444", "::1", False),
        ("0:0:0:0:0:0:0:1", "::1", True),
        ("localhost,fd00::/8,127.0.0.0/8,[::1", "localhost", True),
    ],
)
def test_no_proxy_exempts_hosts_subdomains_addresses_and_networks(no_proxy: str, host: str, exempt: bool) -> None:
    assert is_exempt(no_proxy, "https", host, 443) is exempt


@given(
    no_proxy=st.text(max_size=60)
    | st.lists(st.sampled_from(["a", ".", "*", "/", ":", "[", "]", ",", "1", "::", "/8", "https://"])).map("".join)
)
def test_any_text_in_no_proxy_is_read_without_an_error(no_proxy: str) -> None:
    assert is_exempt(no_proxy, "https", "api.example", 443) in (True, False)
    assert is_exempt(no_proxy, "https", "::1", 443) in (True, False)


@pytest.mark.parametrize(
    ("variables", "place", "variable"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://one:1"}, "http://one:1", "HTTPS_PROXY"),
        ({"https_proxy": "http://one:1", "HTTPS_PROXY": "http://two:2"}, "http://one:1", "https_proxy"),
        ({"ALL_PROXY": "http://one:1"}, "http://one:1", "ALL_PROXY"),
        ({"ALL_PROXY": "http://one:1", "HTTPS_PROXY": "http://two:2"}, "http://two:2", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "one:1"}, "http://one:1", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "https://[::1]:1"}, "https://[::1]:1", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": ""}, None, None),
        ({"HTTP_PROXY": "socks5://one:1"}, None, None),
        ({"HTTP_PROXY": "http://one:1"}, None, None),
        ({"HTTPS_PROXY": "socks4://one:1", "NO_PROXY": "api.example"}, None, None),
    ],
)
def test_the_proxy_of_the_https_scheme_applies(
    variables: dict[str, str], place: str | None, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = environment_proxy("https", "api.example", 443)
    assert (found and found.address, found and found.variable) == (place, variable)


def test_plain_http_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "http://one:1")
    assert environment_proxy("http", "localhost", 80) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f"socks4://u:{quote(PASSWORD, safe='')}@one:1", "'socks4' proxies are not supported"),
        (f"ftp://u:{quote(PASSWORD, safe='')}@one:1", "'ftp' proxies are not supported"),
        (f"http://u:{PASSWORD} x@one:1", "not a proxy URL"),
        ("http://one:99999", "not a proxy URL"),
        ("http://[::1", "not a proxy URL"),
        ("http://", "not a proxy URL"),
        ("http://ü:1", "not a proxy URL"),
        ("http://10.0.0.256:3128", "not a proxy URL"),
        (f"http://u:{'p' * 70_000}@one:1", "not a proxy URL"),
        (f"u:{quote(PASSWORD, safe='')}@http://one:1", "not a proxy URL"),
        (f"u:{PASSWORD[:8]}@http://one:1", "not a proxy URL"),
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
def test_a_proxy_that_cannot_be_used_is_an_error_that_names_the_variable_and_not_the_password(
    name: str, value: str, said: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    error = wire.refused(ArgumentError)
    assert str(error).startswith(f"{name}: ")
    assert said in str(error)
    assert PASSWORD[:8] not in str(error)
    assert quote(PASSWORD, safe="") not in str(error)
    assert wire.router.connections == 0


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS5"])
def test_a_socks_proxy_without_its_extra_says_which_one(
    scheme: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:1")
    assert "[socks]" in str(wire.refused(ArgumentError))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_call_goes_through_a_socks_proxy(scheme: str, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    with SocksProxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{proxy.port}")
        assert content(wire.ask()) == PROMPT
        assert proxy.connections >= 1


# Values as they are found in shells, containers and company laptops; and some that are mistakes.
USUAL = [
    {"NO_PROXY": "localhost,fd00::/8"},
    {"NO_PROXY": "localhost,127.0.0.0/8,::1"},
    {"no_proxy": "[::1],*.internal,10.0.0.0/8,.svc,.cluster.local"},
    {"HTTP_PROXY": "socks5://127.0.0.1:1", "http_proxy": "socks5://127.0.0.1:1"},
    {"ALL_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": "localhost"},
    {"HTTPS_PROXY": "", "ALL_PROXY": "", "NO_PROXY": ""},
    {"FTP_PROXY": "ftp://127.0.0.1:1", "RSYNC_PROXY": "127.0.0.1:1"},
    {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "localhost:*,localhost"},
    {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://127.0.0.1:1"},
]


@pytest.mark.parametrize("variables", USUAL, ids=str)
def test_entries_that_do_not_apply_change_nothing(
    variables: dict[str, str], wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert content(wire.ask()) == PROMPT


VALUES = st.sampled_from(
    ["", "*", "localhost", "127.0.0.1:1", "http://127.0.0.1:1", "socks5://127.0.0.1:1", "socks5h://u:p@127.0.0.1:1",
     "socks://127.0.0.1:1", "https://127.0.0.1:1", "http://[::1", "http://127.0.0.1:x", "fd00::/8", "::1", "[::1]:1",
     "http://u:p@127.0.0.1:1", "ü", "://", "http:///", "\x7f"]
)  # fmt: skip


@given(variables=st.dictionaries(st.sampled_from([*NAMES, *map(str.lower, NAMES)]), VALUES))
def test_no_environment_is_reported_as_an_internal_error(variables: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            found = environment_proxy("https", "localhost", 1)
        except ArgumentError:
            return  # any other exception fails the test
        assert found is None or found.url


def test_a_call_goes_through_the_proxy_that_applies(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.place}")
        assert content(wire.ask()) == PROMPT
    assert {line.split()[0] for line in proxy.asked} == {"CONNECT"}


def test_the_user_name_and_password_of_a_proxy_are_sent_to_it(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    token = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    with ConnectProxy(token=token) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{quote(PASSWORD, safe='')}@{proxy.place}")
        assert content(wire.ask()) == PROMPT


@pytest.mark.parametrize("given", ["", "user:wrong-7d41@"])
def test_a_407_names_the_proxy_and_its_variable_and_is_not_tried_again(
    given: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy("407 Proxy Authentication Required") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{given}{proxy.place}")
        error = wire.refused(APIConnectionError, {"max_retries": 2})
    assert len(proxy.asked) == 1
    assert f"the proxy http://{proxy.place} (from HTTPS_PROXY)" in str(error)
    assert "407" in str(error)
    assert ("requires a user name" in str(error)) is not bool(given)
    assert "wrong-7d41" not in str(error)
    assert (error.retryable, error.maybe_processed) == (False, False)


@pytest.mark.parametrize(("status", "again"), [("403 Forbidden", False), ("502 Bad Gateway", True)])
def test_another_refusal_of_a_proxy_is_tried_again_only_if_it_may_pass(
    status: str, again: bool, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(status) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.place}")
        error = wire.refused(APIConnectionError)
    assert f"(from HTTPS_PROXY) refused to connect to it: HTTP {status}" in str(error)
    assert error.retryable is again


def test_a_connection_error_names_the_host(wire: Wire) -> None:
    with nobody_listens() as port:
        error = wire.refused(APIConnectionError, {"base_url": f"https://localhost:{port}"})
    assert str(error).startswith(f"Failed to connect to router: localhost:{port}: ")
    assert "proxy" not in str(error)


def test_a_connection_error_behind_a_proxy_names_both(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody_listens() as port:
        monkeypatch.setenv("all_proxy", f"http://u:{quote(PASSWORD, safe='')}@127.0.0.1:{port}")
        error = wire.refused(APIConnectionError)
    assert f"Failed to connect to router: localhost:{wire.router.port}: " in str(error)
    assert f"through the proxy http://127.0.0.1:{port} (from all_proxy)" in str(error)
    assert quote(PASSWORD, safe="") not in str(error)


@pytest.mark.parametrize(
    "variables",
    [{"NO_PROXY": "localhost,fd00::/8"}, {"ALL_PROXY": "socks5://127.0.0.1:1"}, {"HTTP_PROXY": "socks5://127.0.0.1:1"}],
    ids=str,
)
def test_the_demo_runs_in_unusual_proxy_environments(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "generate", lambda bits=keys.KEY_BITS: server_keys.pair(0, bits))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ran = runner.run("demo", "--tpm", "soft")
    assert (ran.status, ran.err) == (0, "")


def test_the_environment_of_a_given_http_client_is_its_own(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:1")

    async def call() -> str:
        async with (
            httpx.AsyncClient(verify=httpx.create_ssl_context(), trust_env=False) as http,
            wire.client(http_client=http) as client,
        ):
            return content(await client.create("m", [{"role": "user", "content": PROMPT}]))

    assert wire.run(call()) == PROMPT


def test_no_internal_error_is_left_in_the_usual_environments(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("socks5://127.0.0.1:1", "socks://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:x"):
        monkeypatch.setenv("ALL_PROXY", value)
        with pytest.raises(NomyoError) as caught:
            wire.ask()
        assert not isinstance(caught.value, InternalError)
