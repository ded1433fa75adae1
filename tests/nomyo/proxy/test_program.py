"""The log of the proxy, and `nomyo proxy` as a program: its ready line, its options and how it ends."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nomyo import SecureChatCompletion
from nomyo.proxy.options import ProxyOptions
from nomyo_attest.installation import install_command
from nomyo_attest.testing import Forge
from tests.nomyo.cli import runner
from tests.nomyo.cli.runner import error_message, run
from tests.nomyo.client_calls import PROMPT, shared_key_pair
from tests.nomyo.proxy.proxy_calls import API_KEY, CLIENT_KEY, JSON, Caller, other_firmware, question, wait_until
from tests.nomyo.wire.plain_router import PlainRouter, Reply
from tests.nomyo_attest.cli import runner as verifier


def test_the_log_has_a_line_for_each_request_with_its_verdict_and_no_content(
    proxy: Caller, router: PlainRouter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    key = {"Authorization": f"Bearer {CLIENT_KEY}"}
    payload_id = proxy.ask(headers=key).headers["x-nomyo-payload-id"]
    router.attest = other_firmware()
    refused = proxy.ask(headers=key).document["error"]["payload_id"]
    proxy.send("POST", f"/v1/embeddings?key={CLIENT_KEY}", {**JSON, **key}, question())
    proxy.get("/health")
    wait_until(lambda: sum(record.name == "nomyo.proxy" for record in caplog.records) == 4)
    lines = [record.getMessage() for record in caplog.records if record.name == "nomyo.proxy"]
    assert [re.sub(r" \d+ ms| client=127\.0\.0\.1", "", line) for line in lines] == [
        f'POST /v1/chat/completions 200 id="{payload_id}" verdict=affirming',
        f'POST /v1/chat/completions 403 id="{refused}" verdict=contraindicated detail="not_affirmed"',
        'POST /v1/embeddings 404 detail="not_encrypted"',
        "GET /health 200",
    ]
    for secret in (PROMPT, API_KEY, CLIENT_KEY):
        assert secret not in caplog.text


def test_a_request_that_is_not_http_gets_an_error_in_the_form_of_the_api(proxy: Caller) -> None:
    connection = proxy.connection()
    connection.putrequest("GET", "/health")
    connection.putheader("Authorization", "Bearer a")
    connection.putheader("Authorization", "Bearer b")
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 400
    assert json.loads(response.read())["error"]["code"] == "invalid_http"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[SecureChatCompletion, ProxyOptions, str | None]]:
    """What the command would have served; its clients share a key pair."""
    calls: list[tuple[SecureChatCompletion, ProxyOptions, str | None]] = []
    monkeypatch.setattr("nomyo.keys.generate", lambda bits=0: shared_key_pair())
    monkeypatch.setattr("nomyo.proxy.running.serve", lambda *arguments: calls.append(arguments))
    for name in os.environ:
        if name.startswith("NOMYO_"):
            monkeypatch.delenv(name)
    return calls


@pytest.fixture
def policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A policy for the evidence of the router, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("known.json").write_text(Forge().text(), encoding="utf-8")
    learn = ("policy", "learn", "--allow-test-keys", "known.json", "--id", "mine", "-o", "p.toml")
    assert verifier.run(*learn).status == 0
    return "p.toml"


def test_every_option_is_passed_on(served: list[Any], policy_file: str, tmp_path: Path) -> None:
    Path("token").write_text("a-token\n", encoding="utf-8")
    Path("key").write_text("a-key\n", encoding="utf-8")
    for name in ("token", "key"):
        Path(name).chmod(0o600)
    line = (
        f"--policy {policy_file} --host 0.0.0.0 --port 1234 --model a --model b --tier high --token-file token "
        "--allow-host proxy.lan --allow-host other.lan:1 --allow-origin http://localhost:3000 --keepalive 2.5 "
        "--refusal-hold 7 --preflight 60 --evidence-log ledger --base-url https://server.example --api-key-file key "
        "--timeout 8"
    )
    assert run("proxy", *line.split()) == (0, "", "")
    ((client, options, policy_id),) = served
    assert options == ProxyOptions(
        host="0.0.0.0",
        port=1234,
        models=("a", "b"),
        tier="high",
        token="a-token",
        allow_host=("proxy.lan", "other.lan:1"),
        allow_origin=("http://localhost:3000",),
        keepalive=2.5,
    )
    set_ = client._options
    assert (set_.refusal_hold, set_.preflight, set_.timeout, client.api_key) == (7.0, 60.0, 8.0, "a-key")
    assert (set_.base_url, set_.policy.id, set_.log.path) == ("https://server.example", policy_id, tmp_path / "ledger")
    assert policy_id == "mine"
    assert set_.is_always_gated


def test_the_defaults_are_loopback_and_a_hold(served: list[Any], policy_file: str) -> None:
    assert run("proxy", "--policy", policy_file) == (0, "", "")
    assert run("proxy", "--no-attestation") == (0, "", "")
    (gated, options, _), (open_, _, policy_id) = served
    assert options == ProxyOptions(host="127.0.0.1", port=8642, keepalive=15.0)
    assert (gated._options.refusal_hold, gated._options.preflight) == (30.0, None)
    assert (open_._options.policy, open_._options.gated, policy_id) == (None, False, None)


def test_the_environment_and_the_working_directory_loosen_nothing(
    served: list[Any], policy_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOMYO_POLICY", policy_file)
    assert "--policy --no-attestation is required" in error_message(run("proxy"))
    monkeypatch.setenv("NOMYO_SECURITY_TIER", "standard")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    Path(".env").write_text("NOMYO_POLICY=other\n", encoding="utf-8")
    assert run("proxy", "--policy", policy_file).status == 0
    ((_, options, _),) = served
    assert options == ProxyOptions(port=8642)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--policy p.toml --no-attestation", "not allowed with argument"),
        ("--policy none.toml", "none.toml: "),
        ("--no-attestation --preflight 60", "--preflight: requires --policy"),
        ("--no-attestation --host 0.0.0.0", "--host 0.0.0.0: other machines can connect"),
        ("--no-attestation --allow-origin *", "--allow-origin: '*' would let every web page"),
        ("--no-attestation --port 65536", "--port: expected 0 to 65535"),
        ("--no-attestation --refusal-hold -1", "--refusal-hold: "),
        ("--no-attestation --token-file none", "--token-file: none: "),
    ],
)
def test_what_it_cannot_do_is_one_line_that_names_the_option(
    served: list[Any], policy_file: str, line: str, message: str
) -> None:
    assert message in error_message(run("proxy", *line.split()))
    assert served == []


def test_without_the_extra_it_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomyo.cli.proxy.find_spec", lambda name: None if name == "uvicorn" else object())
    said = error_message(run("proxy", "--no-attestation"))
    assert said == f"the proxy needs uvicorn from the extra proxy: {install_command('proxy')}"


@pytest.fixture
def process(
    router: PlainRouter, policy_file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[subprocess.Popen[str]]:
    """`nomyo proxy` in a process of its own, with a policy for the router."""
    pem = tmp_path / "client.pem"
    pem.write_bytes(shared_key_pair().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv(runner.KEY_FILE, str(pem))
    command = runner.command("proxy", "--policy", policy_file, "--port", "0", "--base-url", router.url)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_the_ready_line_is_all_of_standard_output_and_sigterm_ends_it_after_the_requests_in_progress(
    process: subprocess.Popen[str], router: PlainRouter
) -> None:
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert ready == {"url": ready["url"], "policy": "mine", "server": router.url}
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", ready["url"])
    with Caller(ready["url"]) as proxy:
        assert proxy.ask().status == 200
        router.answer(Reply(delay=0.7))
        connection, idle = proxy.connection(), proxy.connection()
        idle.connect()
        connection.request("POST", "/v1/chat/completions", question(), JSON)
        wait_until(lambda: len(router.posts) == 2)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        idle.request("POST", "/v1/chat/completions", question(), JSON)
        late = idle.getresponse()
        assert (late.status, json.loads(late.read())["error"]["code"]) == (503, "shutting_down")
        assert connection.getresponse().status == 200
        out, log = process.communicate(timeout=20)
    assert time.monotonic() - began < 9
    assert (process.returncode, out) == (0, "")
    assert len(router.posts) == 2
    assert "1 request in progress may take 10 s" in log
    assert "verdict=affirming" in log
    assert PROMPT not in log


def test_a_port_in_use_is_one_line(proxy: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomyo.keys.generate", lambda bits=0: shared_key_pair())
    said = error_message(run("proxy", "--no-attestation", "--port", proxy.port))
    assert said.startswith(f"cannot listen on 127.0.0.1, port {proxy.port}: ")
    assert logging.getLogger("nomyo.proxy").handlers == []
