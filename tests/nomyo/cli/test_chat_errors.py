"""What keeps `nomyo chat` from an answer: always one line, a hint, and status 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from nomyo.cli.terminal import NOT_APPRAISED
from tests.nomyo.cli.router_evidence import PROMPT
from tests.nomyo.cli.runner import error_message, run
from tests.nomyo.wire.plain_router import PlainRouter, Recorded, Reply, error


@pytest.mark.parametrize(
    ("argv", "stdin", "said"),
    [
        ([], b"", "the prompt is empty"),
        ([], b" \n\n", "the prompt is empty"),
        ([" "], b"", "the prompt is empty"),
        (["-"], b"abc\xff", "standard input: not valid UTF-8 (byte 3)"),
        (["-", "-"], b"x", "standard input (-) can be read only once"),
        (["-", "--api-key-file", "-"], b"x", "standard input (-) can be read only once"),
        (["--max-tokens", "0", "x"], b"", "--max-tokens: expected 1 or more, got 0"),
        (["--temperature", "2.5", "x"], b"", "--temperature: expected 0 to 2, got 2.5"),
        (["--temperature", "nan", "x"], b"", "chat: argument --temperature: invalid number 'nan'"),
        (["--timeout", "0", "x"], b"", "--timeout: expected"),
        (["--timeout", "inf", "x"], b"", "chat: argument --timeout: invalid number 'inf'"),
        (["--key-password-file", "x", "x"], b"", "--key-password-file: requires --key-dir"),
        (["--server-key-pin", "x", "x"], b"", "--server-key-pin: expected a pin"),
        (["--policy", "missing.toml", "x"], b"", "--policy: missing.toml: cannot be read"),
        (["--base-url", "localhost:1", "x"], b"", "base URL: expected https://HOST"),
        (["--base-url", "https://u:secret@localhost", "x"], b"", "base URL: expected no user name"),
        (
            ["--base-url", "http://localhost:1", "x"],
            b"",
            "requires --allow-http; or use https",
        ),
        (["--base-url", "http://example.org", "--allow-http", "x"], b"", "which is not this machine"),
        (["--api-key", "secret", "x"], b"", "unknown option '--api-key' (did you mean --api-key-file?)"),
        (["\udcff"], b"", "the prompt: not valid UTF-8"),
        (["--system", "\udcff", "x"], b"", "--system: not valid UTF-8"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is_sent(
    router: PlainRouter, here: Path, argv: list[str], stdin: bytes, said: str
) -> None:
    answer = error_message(run("chat", *argv, stdin=stdin))
    assert said in answer
    assert "secret@" not in answer
    assert router.posts == []


def test_a_prompt_that_is_too_long_is_not_read_to_its_end(router: PlainRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomyo.cli.chat.PAYLOAD_MAX", 10)
    assert "expected at most 10 bytes" in error_message(run("chat", stdin=b"x" * 11))
    assert router.posts == []


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (error(400, "too long"), "Bad request: too long; check --model, and whether the prompt is too long for it"),
        (error(401, "no"), "no; no API key was sent; set NOMYO_API_KEY or use --api-key-file"),
        (error(403, "not m"), "Forbidden: not m; ask the operator which models and tiers this API key may use"),
        (error(404, "off"), "Endpoint not found: off; check that the base URL is that of a NOMYO router"),
        (
            Reply(status=429, headers=[("Retry-After", "3600")]),
            "Rate limit exceeded: Programmed: 429; try again in 3600 s",
        ),
        (Reply(status=302, headers=[("Location", "https://example.org")]), "check that the base URL"),
        (Reply(status=200, body=b"<html>"), "could not be decrypted and read; try again; if it happens again"),
        (error(400, "\x1b[31mred\n\u202e"), "Bad request: \\x1b[31mred\\n\\u202e; check"),
        (error(400, "##vso[task.complete]\n::error::x"), "Bad request: \\x23#vso[task.complete]\\n::error::x; check"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value.status),
)
def test_what_a_server_refuses_is_one_line_with_a_hint(router: PlainRouter, reply: Reply, said: str) -> None:
    router.answer(lambda _: reply)
    answer = error_message(run("chat", PROMPT))
    assert answer.startswith(f"localhost:{router.port}: ")
    assert said in answer
    assert PROMPT not in answer


def test_a_wrong_api_key_is_to_be_checked_and_not_shown(router: PlainRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOMYO_API_KEY", "secret-of-mine")
    router.answer(lambda _: error(401, "secret-of-mine is wrong"))
    answer = error_message(run("chat", PROMPT))
    assert "check the API key in NOMYO_API_KEY or --api-key-file" in answer
    assert "secret-of-mine" not in answer


def test_a_server_that_does_not_answer_in_time_is_said(router: PlainRouter) -> None:
    router.answer(lambda _: Reply(delay=30))
    answer = error_message(run("chat", "--timeout", "1.5", "x"))
    assert answer == f"localhost:{router.port}: no response within 1.5 s; increase --timeout"


def test_a_server_that_is_not_there_is_said(router: PlainRouter) -> None:
    answer = error_message(run("chat", "--base-url", "https://localhost:1", "--timeout", "20", "x"))
    assert answer.startswith("localhost:1: connection refused: ")
    assert "nomyo router --port 1" in answer


def test_a_certificate_that_does_not_verify_is_said(
    router: PlainRouter, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path("other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", "other.pem")
    answer = error_message(run("chat", "x"))
    assert "its TLS certificate does not verify; if its CA is private, SSL_CERT_FILE must name" in answer
    assert answer.endswith("; nomyo router writes this file with --ca-out")


def test_a_gateways_page_is_not_blamed_on_the_model(router: PlainRouter) -> None:
    router.answer(Reply(403, [("Content-Type", "text/html")], b"<!DOCTYPE html><title>Blocked</title>"))
    answer = error_message(run("chat", "x"))
    assert "an HTML page, not the router's response" in answer
    assert answer.endswith("check that the base URL is that of a NOMYO router")


def test_to_a_key_that_is_not_pinned_nothing_is_sent(router: PlainRouter) -> None:
    answer = error_message(run("chat", "--server-key-pin", f"sha256/{'A' * 43}=", "x"))
    assert "which is not pinned" in answer
    assert answer.endswith("do not send prompts to this server until you know the reason")
    assert router.posts == []


def test_an_answer_at_another_tier_is_not_handed_over(router: PlainRouter) -> None:
    right = router.metadata
    router.metadata = lambda request: {**_dict(right(request)), "security_tier": "standard"}
    answer = error_message(run("chat", "--tier", "maximum", PROMPT))
    assert "expected 'maximum', as requested, got 'standard'; the completion is not released" in answer


def _dict(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.pop("choices"),
        lambda answer: answer.update(choices=[]),
        lambda answer: answer.update(choices={"0": {}}),
        lambda answer: answer.update(choices=[None]),
        lambda answer: answer["choices"][0].update(message=None),
        lambda answer: answer["choices"][0]["message"].pop("content"),
        lambda answer: answer["choices"][0]["message"].update(content=None, tool_calls=[{"id": "1"}]),
        lambda answer: answer["choices"][0]["message"].update(content=["parts"]),
    ],
)
def test_an_answer_without_text_is_said_and_json_shows_it(router: PlainRouter, change: Change) -> None:
    right = router.complete

    def changed(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
        answer = right(payload, payload_id)
        change(answer)
        return answer

    router.complete = changed
    assert "the response has no text; --format json prints the whole response" in error_message(run("chat", "x"))
    ran = run("chat", "--format", "json", "x")
    assert (ran.status, ran.err) == (0, f"{NOT_APPRAISED}\n")
    assert "_metadata" in ran.json()


def test_ctrl_c_while_waiting_ends_quietly_with_130(router: PlainRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    def interrupt(_: Recorded) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    router.on_request = lambda request: interrupt(request) if request.method == "POST" else None
    router.answer(lambda _: Reply(delay=5))
    assert run("chat", "x") == (130, "", "")
