from __future__ import annotations

import gzip
import http.client
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.nomyo.wire.http11 import Request
from tests.nomyo.wire.plain_router import PlainRouter
from tests.nomyo.wire.simple_client import CONNECTION_LOST, Client, read
from tests.nomyo.wire.tls_proxy import TlsProxy, deliver, flipped, gzip_body, html, redirect_to


@pytest.fixture
def proxy(router: PlainRouter) -> Iterator[TlsProxy]:
    with TlsProxy("localhost", router.port, ca=router.ca) as proxy:
        yield proxy


@pytest.fixture
def through(proxy: TlsProxy) -> Iterator[Client]:
    with Client(proxy.port, proxy.ca) as client:
        yield client


def test_everything_passes_as_it_is(router: PlainRouter, proxy: TlsProxy, through: Client) -> None:
    for _ in range(2):
        read(through.call(tier="high"))
    assert proxy.connections == router.connections == 1
    assert [(each.method, sorted(each.headers), each.body) for each in proxy.requests] == [
        (each.method, sorted(each.headers), each.body) for each in router.requests
    ]


def test_a_bit_of_the_body_is_another(through: Client, proxy: TlsProxy) -> None:
    right = through.key_document()
    proxy.alter(flipped(40, bit=2), on="GET")
    wrong = through.key_document()
    assert [n for n in range(len(right)) if right[n] != wrong[n]] == [40]
    assert right[40] ^ wrong[40] == 4


def test_a_web_page_takes_the_answers_place(through: Client, proxy: TlsProxy) -> None:
    proxy.alter(html(b"<h1>Sign in</h1>"))
    answer = through.call()
    assert (answer.status, answer.body) == (200, b"<h1>Sign in</h1>")
    assert answer.headers["Content-Type"].startswith("text/html")


def test_a_body_is_gzipped_and_right_inside(through: Client, proxy: TlsProxy) -> None:
    proxy.alter(gzip_body())
    answer = through.call()
    assert answer.headers["Content-Encoding"] == "gzip"
    answer.body = gzip.decompress(answer.body)
    read(answer)


def test_an_answer_becomes_a_redirect(through: Client, proxy: TlsProxy) -> None:
    proxy.alter(redirect_to("https://localhost:1/"))
    answer = through.call()
    assert (answer.status, answer.headers["Location"]) == (307, "https://localhost:1/")


def test_an_answer_ends_early(through: Client, proxy: TlsProxy) -> None:
    proxy.alter(deliver(truncate_at=7))
    with pytest.raises(http.client.IncompleteRead) as caught:
        through.call()
    assert len(caught.value.partial) == 7


def test_a_connection_is_reset_when_the_server_has_answered(
    router: PlainRouter, through: Client, proxy: TlsProxy
) -> None:
    proxy.alter(deliver(reset="after"))
    with pytest.raises(CONNECTION_LOST):
        through.call()
    assert [post.status for post in router.posts] == [200]


def test_only_the_requests_of_one_method_are_altered_and_only_until_told_otherwise(
    through: Client, proxy: TlsProxy
) -> None:
    proxy.alter(html(b""))
    assert through.key_document().startswith(b"-----BEGIN")
    proxy.alter(None)
    read(through.call())


def test_requests_may_be_altered_too(router: PlainRouter, through: Client, proxy: TlsProxy) -> None:
    def stripped(request: Request) -> Request:
        return replace(request, headers=[each for each in request.headers if each[0] != "X-Security-Tier"])

    proxy.alter_requests(stripped)
    answer = through.call(tier="high")
    assert router.posts[0].tier is None
    with pytest.raises(ValueError, match="security_tier standard"):
        read(answer)
    assert proxy.requests[-1].header("X-Security-Tier") == "high"


def test_a_server_without_tls_may_stand_behind_it() -> None:
    with (
        PlainRouter(tls=False) as router,
        TlsProxy("localhost", router.port, ca=None) as proxy,
        Client(proxy.port, proxy.ca) as client,
    ):
        read(client.call())
