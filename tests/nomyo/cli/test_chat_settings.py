"""What `nomyo chat` is told by flags, by the environment, and by files."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from nomyo.cli.terminal import NOT_APPRAISED
from tests.nomyo.cli.router_evidence import PROMPT, evidence, received_payload
from tests.nomyo.cli.runner import error_message, run
from tests.nomyo.wire.plain_router import PlainRouter


def test_options_are_sent(router: PlainRouter) -> None:
    argv = ["--model", "m", "--system", "Be brief.", "--tier", "high", "--max-tokens", "3", "--temperature", "0.5"]
    assert run("chat", *argv, PROMPT).status == 0
    assert received_payload(router) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}],
        "max_tokens": 3,
        "temperature": 0.5,
    }
    assert router.posts[0].tier == "high"
    assert router.posts[0].header("Authorization") is None


def test_what_is_not_given_is_not_sent(router: PlainRouter) -> None:
    assert run("chat", PROMPT).status == 0
    assert sorted(received_payload(router)) == ["messages", "model"]
    assert received_payload(router)["model"] == "Qwen/Qwen3-0.6B"
    assert router.posts[0].tier is None


def test_the_environment_stands_for_what_is_not_given(
    router: PlainRouter, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = run("keys", "pin", router.url).out.strip()
    for name, value in {
        "NOMYO_API_KEY": "of-the-environment",
        "NOMYO_MODEL": "m",
        "NOMYO_POLICY": policy,
        "NOMYO_SECURITY_TIER": "high",
        "NOMYO_SERVER_KEY_PINS": f"sha256/{'A' * 43}=, {pin}",
    }.items():
        monkeypatch.setenv(name, value)
    ran = run("chat", "--format", "json", PROMPT)
    assert ran.err.startswith("affirming   ")
    assert ran.json()["_metadata"]["verification"]["server_key_pinned"] is True
    assert received_payload(router)["model"] == "m"
    assert router.posts[0].tier == "high"
    assert router.posts[0].header("Authorization") == "Bearer of-the-environment"


def test_flags_win_over_the_environment(
    router: PlainRouter, policy: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "NOMYO_API_KEY": "of-the-environment",
        "NOMYO_MODEL": "m",
        "NOMYO_POLICY": "missing.toml",
        "NOMYO_SECURITY_TIER": "nonsense",
        "NOMYO_SERVER_KEY_PINS": "nonsense",
    }.items():
        monkeypatch.setenv(name, value)
    pin = run("keys", "pin", router.url).out.strip()
    Path("key").write_text("of-the-file\n", encoding="utf-8")
    Path("key").chmod(0o600)
    with PlainRouter(authority=authority) as other:
        other.attest = evidence
        argv = ["--base-url", other.url, "--model", "n", "--policy", policy, "--tier", "standard"]
        argv += ["--server-key-pin", pin, "--api-key-file", "key"]
        ran = run("chat", *argv, PROMPT)
        assert (ran.status, ran.err[:12]) == (0, "affirming   ")
        assert received_payload(other)["model"] == "n"
        assert other.posts[0].tier == "standard"
        assert other.posts[0].header("Authorization") == "Bearer of-the-file"
    assert router.posts == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NOMYO_POLICY", "missing.toml", "NOMYO_POLICY: missing.toml: cannot be read"),
        ("NOMYO_SECURITY_TIER", "top", "NOMYO_SECURITY_TIER: expected one of standard, high, maximum, got 'top'"),
        ("NOMYO_SERVER_KEY_PINS", "sha256/x", "NOMYO_SERVER_KEY_PINS: expected a pin"),
        ("NOMYO_BASE_URL", "ftp://x", "base URL: expected https://HOST"),
        ("NOMYO_API_KEY", "sec ret", "API key: expected printable ASCII"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "SSL_CERT_FILE: /nowhere/ca.pem: CA certificates cannot be loaded: "),
    ],
)
def test_a_wrong_variable_is_named(
    router: PlainRouter, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    answer = error_message(run("chat", "x"))
    assert said in answer
    assert "sec ret" not in answer
    assert router.posts == []


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize("name", ["POLICY", "MODEL", "SECURITY_TIER", "SERVER_KEY_PINS", "API_KEY", "BASE_URL"])
def test_an_empty_variable_is_refused_before_anything_is_sent(
    router: PlainRouter, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"NOMYO_{name}", value)
    assert error_message(run("chat", "x")) == f"NOMYO_{name}: empty environment variable; set a value, or unset it"
    assert router.requests == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("NOMYO_POLCY", "NOMYO_POLICY"),
        ("NOMYO_ATTESTATION_POLICY", "NOMYO_POLICY"),
        ("NOMYO_REQUIRE_ATTESTATION", "NOMYO_POLICY"),
        ("nomyo_policy", "NOMYO_POLICY"),
        ("NOMYO_TIER", "NOMYO_SECURITY_TIER"),
        ("NOMYO_SERVER_KEY_PIN", "NOMYO_SERVER_KEY_PINS"),
        ("NOMYO_PINS", "NOMYO_SERVER_KEY_PINS"),
        ("NOMYO_LEDGER", "NOMYO_EVIDENCE_LOG"),
        ("NOMYO_APIKEY", "NOMYO_API_KEY"),
        ("NOMYO_API_BASE", "NOMYO_BASE_URL"),
    ],
)
def test_a_misspelled_variable_is_refused_before_anything_is_sent(
    router: PlainRouter, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "secret-of-mine")
    expected = f"{name}: unknown environment variable; did you mean {meant}? Otherwise unset it"
    assert error_message(run("chat", "x")) == expected
    assert router.requests == []


def test_a_variable_that_looks_like_no_setting_of_the_client_is_ignored(
    router: PlainRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOMYO_EXTRA_VECTORS", "NOMYO_TEAM", "NOMYO_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    assert run("chat", "x").status == 0
    assert len(router.posts) == 1


def test_an_empty_variable_that_a_flag_stands_before_does_no_harm(
    router: PlainRouter, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("key").write_text("of-the-file", encoding="utf-8")
    Path("key").chmod(0o600)
    for name in ("MODEL", "SECURITY_TIER", "API_KEY", "BASE_URL"):
        monkeypatch.setenv(f"NOMYO_{name}", "")
    argv = ["--model", "m", "--tier", "high", "--api-key-file", "key", "--base-url", router.url]
    assert run("chat", *argv, "x") == (0, "x\n", f"{NOT_APPRAISED}\n")
    assert router.posts[0].header("Authorization") == "Bearer of-the-file"


@pytest.mark.usefixtures("_shared_client_key")
def test_plain_http_is_noticed() -> None:
    with PlainRouter(tls=False) as router:
        ran = run("chat", "--base-url", router.url, "--allow-http", "x")
    assert (ran.status, ran.out) == (0, "x\n")
    notice, verdict = ran.err.splitlines()
    assert notice.startswith("nomyo: notice: plain http to localhost")
    assert verdict == NOT_APPRAISED


def test_a_kept_key_is_made_once_and_its_password_is_asked_for(router: PlainRouter, here: Path) -> None:
    Path("password").write_text("correct horse\n", encoding="utf-8")
    Path("password").chmod(0o600)
    argv = ["--key-dir", "keys", "--key-password-file", "password"]
    assert run("chat", *argv, "x").status == 0
    made = Path("keys/private_key.pem").read_bytes()
    assert b"ENCRYPTED" in made
    assert run("chat", *argv, "x").status == 0
    assert Path("keys/private_key.pem").read_bytes() == made
    answer = error_message(run("chat", "--key-dir", "keys", "x"))
    assert answer.startswith("keys/private_key.pem: is encrypted, but no password was given; ")
    assert answer.endswith("; pass the file of its password as --key-password-file")


@pytest.mark.parametrize("content", ["", "\n", "a\nb\n", "x" * 5000])
def test_a_key_file_that_is_no_line_is_refused_without_being_quoted(
    router: PlainRouter, here: Path, content: str
) -> None:
    Path("key").write_text(content, encoding="utf-8")
    Path("key").chmod(0o600)
    answer = error_message(run("chat", "--api-key-file", "key", "x"))
    assert answer.startswith("--api-key-file: key: expected ")
    assert "xxx" not in answer


def test_a_key_file_that_every_user_can_read_is_reported(router: PlainRouter, here: Path) -> None:
    Path("key").write_text("secret-of-mine", encoding="utf-8")
    Path("key").chmod(0o644)
    ran = run("chat", "--api-key-file", "key", "x")
    assert ran.status == 0
    notice = "key: has mode 0644: every user of this machine can read it; chmod 600 key prevents that"
    assert ran.err.startswith(f"nomyo: notice: {notice}\n")
    assert router.posts[0].header("Authorization") == "Bearer secret-of-mine"


def test_a_byte_order_mark_is_not_part_of_an_api_key_or_a_prompt(router: PlainRouter, here: Path) -> None:
    Path("key").write_bytes(b"\xef\xbb\xbfsecret-of-mine\r\n")
    Path("key").chmod(0o600)
    ran = run("chat", "--api-key-file", "key", "-", stdin=b"\xef\xbb\xbfHello\n")
    assert ran.status == 0
    assert router.posts[0].header("Authorization") == "Bearer secret-of-mine"
    assert received_payload(router)["messages"][-1]["content"] == "Hello"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_key_file_or_a_prompt_in_utf_16_is_refused_with_what_to_do(
    router: PlainRouter, here: Path, encoding: str
) -> None:
    Path("key").write_bytes("secret-of-mine\r\n".encode(encoding))
    Path("key").chmod(0o600)
    answer = error_message(run("chat", "--api-key-file", "key", "x"))
    assert answer.startswith("--api-key-file: key: is UTF-16 text; save it as UTF-8")
    answer = error_message(run("chat", "-", stdin="Hello".encode(encoding)))
    assert answer.startswith("standard input: is UTF-16 text; save it as UTF-8")
    assert router.posts == []
