from __future__ import annotations

import ast
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.nomyo.wire.plain_router import POST_PATH, PlainRouter
from tests.nomyo.wire.proxy import Proxy
from tests.nomyo.wire.simple_client import Client, pem, read, request_headers, sealed

TOOLS = [path for path in sorted(Path(__file__).parent.glob("*.py")) if not path.name.startswith(("test_", "conf"))]
PUBLISHED = os.environ.get("NOMYO_PUBLISHED_PYTHON")


def test_a_client_made_by_hand_gets_a_right_answer(router: PlainRouter, client: Client) -> None:
    completion = read(client.call(tier="high"))
    assert completion["choices"][0]["message"] == {"role": "assistant", "content": "Grüße"}
    assert completion["_metadata"]["tpm_attestation"] == {"is_available": False}
    assert [(each.method, each.path, each.status) for each in router.requests] == [
        ("GET", "/pki/public_key", 200),
        ("POST", "/v1/chat/secure_completion", 200),
    ]


def test_a_request_is_recorded_as_it_came(router: PlainRouter, client: Client) -> None:
    before = time.monotonic()
    answer = client.call({"model": "m", "messages": [], "stop": ["a"]}, headers={"X-UPPER-lower": "1, 2"})
    (post,) = router.posts
    assert post.plaintext == {"model": "m", "messages": [], "stop": ["a"]}
    assert ("X-UPPER-lower", "1, 2") in post.headers
    assert (post.payload_id, post.tier, post.refused) == (answer.payload_id, None, None)
    assert before < post.at < time.monotonic()
    assert json.loads(post.body)["version"] == "1.0"


def test_a_connection_is_kept_for_many_requests(router: PlainRouter, client: Client) -> None:
    for _ in range(3):
        read(client.call())
    assert router.connections == 1
    assert {each.connection for each in router.requests} == {1}


def test_connections_are_counted_and_told_apart(router: PlainRouter, client: Client) -> None:
    read(client.call())
    with Client(router.port, router.ca) as second:
        read(second.call())
    assert router.connections == 2
    assert [each.connection for each in router.requests] == [1, 1, 2, 2]


def test_a_connection_whose_handshake_fails_counts(router: PlainRouter) -> None:
    stranger = http.client.HTTPSConnection("localhost", router.port, context=ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.connect()
    assert router.connections == 1


@pytest.mark.parametrize("said", [b"", b"\x16\x03"])
@pytest.mark.parametrize("tls", [True, False])
def test_a_connection_that_says_nothing_keeps_no_router_from_ending(tls: bool, said: bytes) -> None:
    begun = time.monotonic()
    with socket.socket() as silent:
        with PlainRouter(tls=tls) as router, Proxy("localhost", router.port) as proxy:
            silent.connect(("127.0.0.1", proxy.port))
            silent.sendall(said)
            while not router.connections:
                time.sleep(0.01)
        assert silent.recv(1) == b""
    assert time.monotonic() - begun < 3


def test_many_clients_at_once_get_each_its_own_answer(router: PlainRouter) -> None:
    answers = {}

    def call(number: int) -> None:
        with Client(router.port, router.ca) as client:
            answers[number] = read(client.call({"messages": [{"content": f"number {number}"}]}))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: a["choices"][0]["message"]["content"] for n, a in answers.items()} == {
        n: f"number {n}" for n in range(10)
    }


def test_without_tls_it_speaks_http() -> None:
    with PlainRouter(tls=False) as router, Client(router.port, None) as client:
        assert router.url == f"http://localhost:{router.port}"
        read(client.call())


def test_a_prefix_is_part_of_both_paths() -> None:
    with PlainRouter(prefix="/eu/west") as router, Client(router.port, router.ca) as client:
        assert router.url.endswith("/eu/west")
        assert client.send("GET", "/eu/west/pki/public_key").read() == router.key_document
        assert client.send("GET", "/pki/public_key").status == 404


def test_a_chunked_request_is_read(router: PlainRouter, client: Client) -> None:
    key = router.private_key.public_key()
    body = sealed({"model": "m"}, key)
    headers = {name: str(value) for name, value in request_headers("an-id").items()}
    client.connection.request("POST", POST_PATH, iter([body[:7], body[7:]]), headers, encode_chunked=True)
    assert client.connection.getresponse().status == 200
    assert router.posts[0].body == body
    assert router.posts[0].header("Transfer-Encoding") == "chunked"


@pytest.mark.parametrize("ending", ["\n", ""])
@pytest.mark.parametrize("safe", ["/", ""])
def test_the_clients_key_may_be_encoded_in_either_way(client: Client, safe: str, ending: str) -> None:
    read(client.call(headers={"X-Public-Key": quote(pem().strip() + ending, safe=safe)}))


def test_the_tag_may_be_inside_the_ciphertext(client: Client) -> None:
    read(client.call(inside=True))


def test_evidence_comes_from_attest(router: PlainRouter, client: Client) -> None:
    router.attest = lambda payload_id: {"is_available": True, "quote_b64": payload_id}
    answer = client.call(tier="maximum")
    assert read(answer)["_metadata"]["tpm_attestation"] == {"is_available": True, "quote_b64": answer.payload_id}


def test_the_completion_may_be_any(router: PlainRouter, client: Client) -> None:
    router.complete = lambda payload, payload_id: {"id": payload_id, "model": payload["model"]}
    answer = client.call()
    completion = read(answer)
    assert (completion["id"], completion["model"]) == (answer.payload_id, "m")


def test_a_router_begins_with_the_key_of_its_number_and_never_goes_back() -> None:
    first, second = PlainRouter(bits=2048), PlainRouter(key=1, bits=2048)
    assert first.key_document != second.key_document
    assert PlainRouter(bits=2048).key_document == first.key_document
    seen = [first.key_document]
    for _ in range(3):
        first.rotate_key(2048)
        seen.append(first.key_document)
    assert len(set(seen)) == 4


SCRIPT = """
import asyncio, json, sys
from nomyo import SecureChatCompletion

async def main():
    client = SecureChatCompletion(base_url=sys.argv[1], api_key="right", max_retries=0)
    for content in ("eins", "zwei"):
        print(json.dumps(await client.create("m", [{"role": "user", "content": content}], security_tier="high")))

asyncio.run(main())
"""


@pytest.mark.skipif(not PUBLISHED, reason="NOMYO_PUBLISHED_PYTHON names no Python with nomyo==0.2.9")
def test_the_published_client_gets_its_answers() -> None:
    with PlainRouter(api_key="right") as router:
        router.attest = lambda payload_id: {"is_available": True, "quote_b64": payload_id}
        done = subprocess.run(
            [str(PUBLISHED), "-c", SCRIPT, router.url],
            env={**os.environ, "SSL_CERT_FILE": router.ca},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["choices"][0]["message"]["content"] for each in answers] == ["eins", "zwei"]
    assert [each["_metadata"]["tpm_attestation"]["quote_b64"] for each in answers] == [
        post.payload_id for post in router.posts
    ]
    assert [post.refused for post in router.posts] == [None, None]
    assert [post.tier for post in router.posts] == ["high", "high"]


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.name)
def test_the_tools_need_only_the_standard_library_cryptography_and_trustme(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "cryptography", "trustme"}
    names = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(str(node.module))
    others = [name for name in names if not f"{name}.".startswith("tests.nomyo.wire.")]
    assert {name.partition(".")[0] for name in others} <= allowed
    assert names
