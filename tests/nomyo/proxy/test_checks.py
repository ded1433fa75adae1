"""Who may use the proxy: hosts, origins, tokens; and that nothing but a completion is ever sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nomyo.proxy.options import ProxyError, ProxyOptions
from nomyo.proxy.running import RunningProxy
from tests.nomyo.client_calls import MODEL, Wire, policy
from tests.nomyo.proxy.proxy_calls import API_KEY, CLIENT_KEY, JSON, Answer, Caller, question
from tests.nomyo.wire.plain_router import PlainRouter

ORIGIN = "http://localhost:3000"
TOKEN = "token-of-this-machine"


def with_host(proxy: Caller, host: str) -> Answer:
    return proxy.get("/health", Host=host)


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:{}", "[::1]:{}", "host.docker.internal"])
def test_a_host_of_this_machine_or_an_allowed_one_is_served(proxy: Caller, host: str) -> None:
    assert with_host(proxy, host.format(proxy.port)).status == 200


def test_an_allowed_host_without_a_port_is_served_at_any_port(proxy: Caller) -> None:
    assert with_host(proxy, "host.docker.internal:9").status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{}",
        "localhost",
        "localhost:1",
        "127.0.0.1.evil.example:{}",
        "localhost.:{}",
        "evil.example@localhost:{}",
        "[::2]:{}",
        "",
    ],
)
def test_another_host_is_refused_on_every_path_so_a_rebound_name_reads_nothing(
    proxy: Caller, router: PlainRouter, host: str
) -> None:
    named = host.format(proxy.port)
    answer = with_host(proxy, named)
    assert (answer.status, answer.code) == (421, "host_not_allowed")
    assert named in answer.document["error"]["message"]
    assert "--allow-host" in answer.document["error"]["message"]
    assert proxy.ask(headers={"Host": named}).status == 421
    assert router.requests == []


def test_a_second_host_header_is_refused(proxy: Caller) -> None:
    connection = proxy.connection()
    connection.putrequest("GET", "/health")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status == 400


def test_an_absolute_url_in_the_request_line_is_refused(proxy: Caller, router: PlainRouter) -> None:
    answer = proxy.send("POST", f"http://localhost:{proxy.port}/v1/chat/completions", JSON, question())
    assert (answer.status, answer.code) == (404, "not_encrypted")
    assert router.requests == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3001", f"{ORIGIN}.evil.example"])
def test_a_page_of_another_origin_is_refused_and_cannot_read_why(
    proxy: Caller, router: PlainRouter, origin: str
) -> None:
    answer = proxy.ask(headers={"Origin": origin})
    assert (answer.status, answer.code) == (403, "origin_not_allowed")
    assert origin in answer.document["error"]["message"]
    assert "--allow-origin" in answer.document["error"]["message"]
    asked = proxy.send("OPTIONS", "/v1/chat/completions", {"Origin": origin, "Access-Control-Request-Method": "POST"})
    assert asked.status == 403
    assert not any(name.startswith("access-control-") for name in answer.headers | asked.headers)
    assert router.requests == []


def test_a_page_of_an_allowed_origin_can_read_completions_and_errors(proxy: Caller) -> None:
    for answer in (proxy.ask(headers={"Origin": ORIGIN}), proxy.get("/v1/nothing", Origin=ORIGIN)):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-nomyo-verdict" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers


def test_a_browser_may_ask_for_an_allowed_origin_what_it_may_send(proxy: Caller, router: PlainRouter) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
        "Access-Control-Request-Private-Network": "true",
    }
    answer = proxy.send("OPTIONS", "/v1/chat/completions", asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type,x-stainless-os"
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert router.requests == []


def test_a_response_without_an_origin_has_no_cors_headers(proxy: Caller) -> None:
    assert not any(name.startswith("access-control-") for name in proxy.ask().headers)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/moderations"),
        ("POST", "/v1/files"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/chat/completions"),
        ("POST", "/v1//chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/models"),
        ("GET", "/v1/chat/completions"),
        ("PUT", "/v1/chat/completions"),
        ("OPTIONS", "/v1/chat/completions"),
        ("DELETE", "/v1/models/x"),
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/pki/public_key"),
        ("CONNECT", "api.example:443"),
    ],
)
def test_anything_else_is_refused_and_no_request_reaches_the_server(
    proxy: Caller, router: PlainRouter, method: str, path: str
) -> None:
    answer = proxy.send(method, path, {**JSON, "Host": f"127.0.0.1:{proxy.port}"}, question())
    assert (answer.status, answer.code) == (404, "not_encrypted")
    assert router.requests == []


def test_health_contacts_no_server(proxy: Caller, router: PlainRouter) -> None:
    answer = proxy.get("/health")
    assert (answer.status, answer.document) == (200, {"status": "ok"})
    assert router.requests == []


@pytest.fixture(scope="module")
def shared_guarded(shared_wire: Wire) -> Iterator[RunningProxy]:
    """A proxy with a token and one model, whose client has no API key."""
    client = shared_wire.client(api_key=None, attestation_policy=policy(), require_attestation="always")
    with RunningProxy(client, ProxyOptions(token=TOKEN, models=(MODEL, "other"), tier="high")) as proxy:
        yield proxy


@pytest.fixture
def guarded(router: PlainRouter, shared_guarded: RunningProxy) -> Iterator[Caller]:
    with Caller(shared_guarded.url) as caller:
        yield caller


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer t\xf6ken"]
)
def test_with_a_token_everything_but_health_needs_it(guarded: Caller, router: PlainRouter, sent: str) -> None:
    for answer in (
        guarded.ask(headers={"Authorization": sent}),
        guarded.get("/v1/models", Authorization=sent),
        guarded.get("/attestation", Authorization=sent),
        guarded.get("/v1/nothing", Authorization=sent),
    ):
        assert (answer.status, answer.code) == (401, "invalid_api_key")
        assert TOKEN not in answer.body.decode()
    assert guarded.get("/health").status == 200
    assert router.requests == []


def test_the_token_is_not_forwarded_and_the_default_tier_is_requested(guarded: Caller, router: PlainRouter) -> None:
    assert guarded.ask(headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    (post,) = router.posts
    assert post.header("Authorization") is None
    assert post.tier == "high"


def test_the_declared_models_are_listed_and_no_other_is_sent(guarded: Caller, router: PlainRouter) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    listed = guarded.get("/v1/models", **token).document
    assert [entry["id"] for entry in listed["data"]] == [MODEL, "other"]
    assert guarded.get(f"/v1/models/{MODEL}", **token).document["id"] == MODEL
    assert guarded.get(f"/v1/models/{MODEL.replace('/', '%2F')}", **token).document["id"] == MODEL
    for answer in (
        guarded.get("/v1/models/nothing", **token),
        guarded.ask(headers=token, model="nothing"),
        guarded.ask(headers=token, model=[MODEL]),
    ):
        assert (answer.status, answer.code) == (404, "model_not_found")
    assert router.requests == []


def test_without_declared_models_the_list_is_empty(proxy: Caller) -> None:
    assert proxy.get("/v1/models").document == {"object": "list", "data": []}


def test_a_proxy_without_token_and_api_key_forwards_the_clients_key(shared_wire: Wire, router: PlainRouter) -> None:
    client = shared_wire.client(api_key=None)
    with RunningProxy(client, ProxyOptions()) as running, Caller(running.url) as proxy:
        assert proxy.ask(headers={"Authorization": f"Bearer {CLIENT_KEY}"}).status == 200
        assert proxy.ask().status == 200
    assert [post.header("Authorization") for post in router.posts] == [f"Bearer {CLIENT_KEY}", None]


@pytest.mark.parametrize(
    "options",
    [
        {"allow_origin": ("*",)},
        {"allow_origin": ("null",)},
        {"allow_origin": ("http://localhost:3000/",)},
        {"allow_origin": ("localhost:3000",)},
        {"allow_origin": ("http://*.example",)},
        {"allow_host": ("*",)},
        {"allow_host": ("http://proxy.lan",)},
        {"allow_host": ("proxy.lan:99999",)},
        {"allow_host": ("",)},
        {"host": "0.0.0.0"},
        {"host": "0.0.0.0", "token": TOKEN},
        {"host": "192.0.2.1", "allow_host": ("proxy.lan",)},
        {"host": "proxy.lan"},
        {"token": ""},
        {"token": "two words"},
        {"token": "t\xf6ken"},
        {"port": 65536},
        {"keepalive": -1.0},
    ],
)
def test_options_that_would_open_the_proxy_to_others_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ProxyError, match=r"\A--"):
        ProxyOptions(**options)  # type: ignore[arg-type]  # the options of one case


@pytest.mark.parametrize("origin", ["app://obsidian.md", "tauri://localhost", "https://chat.example:8443"])
def test_origins_of_applications_can_be_allowed(origin: str) -> None:
    assert ProxyOptions(allow_origin=(origin,)).allows_origin(origin)


def test_another_address_is_allowed_with_a_token_and_the_host_of_its_urls() -> None:
    options = ProxyOptions(host="0.0.0.0", token=TOKEN, allow_host=("Proxy.LAN:8642", "[fd00::1]"))
    assert options.allows_host("proxy.lan:8642", 8642)
    assert options.allows_host("[fd00::1]:80", 8642)
    assert not options.allows_host("proxy.lan", 8642)
    assert not options.allows_host("0.0.0.0:8642", 8642)
    assert API_KEY not in repr(options)
    assert TOKEN not in repr(options)


def test_the_port_may_be_omitted_at_port_80_only() -> None:
    assert ProxyOptions().allows_host("localhost", 80)
    assert not ProxyOptions().allows_host("localhost", 8642)
    assert ProxyOptions(host="127.0.0.2").allows_host("127.0.0.2:8642", 8642)
