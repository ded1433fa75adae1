"""`nomyo chat` at a terminal without a prompt."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.nomyo.cli.router_evidence import evidence
from tests.nomyo.wire.plain_router import PlainRouter, Recorded, Reply, error

if sys.platform == "win32":
    pytest.skip("needs pseudo-terminals", allow_module_level=True)

from tests.nomyo.cli.terminal import PATIENCE, Terminal


def said(post: Recorded) -> list[tuple[str, str]]:
    """Who said what, in the messages of a request."""
    assert post.plaintext is not None
    return [(message["role"], message["content"]) for message in post.plaintext["messages"]]


def test_the_server_is_told_all_that_was_said_before(router: PlainRouter, policy: str) -> None:
    with Terminal("chat", "--policy", policy, "--system", "Be brief.") as terminal:
        for question in ("first question", "second question"):
            terminal.see("> ")
            terminal.type(f"{question}\r")
            terminal.see(f"\r\x1b[K{question}\r\n")
            terminal.see("\x1b[32maffirming\x1b[0m   policy known (")
        terminal.see("> ")
        terminal.type("\r")  # nothing is asked
        terminal.see("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert [said(post) for post in router.posts] == [
        [("system", "Be brief."), ("user", "first question")],
        [
            ("system", "Be brief."),
            ("user", "first question"),
            ("assistant", "first question"),
            ("user", "second question"),
        ],
    ]
    assert router.connections == 1


def test_after_a_refusal_nothing_more_is_sent(router: PlainRouter, policy: str) -> None:
    with Terminal("chat", "--policy", policy) as terminal:
        terminal.see("> ")
        terminal.type("first\r")
        terminal.see("affirming")
        router.attest = lambda payload_id: evidence(payload_id, b"other firmware")
        terminal.see("> ")
        terminal.type("second\r")
        terminal.see("contraindicated")
        terminal.see("pcr.values")
        terminal.see("The response is not released.")
        assert terminal.end() == 1
    assert len(router.posts) == 2
    assert "second\r\n\x1b[31" not in terminal.shown


def test_what_another_question_may_mend_does_not_end_it_and_counts_as_not_asked(router: PlainRouter) -> None:
    router.answer(error(400, "too long"), None)
    with Terminal("chat") as terminal:
        for question, answer in (("one", "Bad request"), ("three", "not appraised")):
            terminal.see("> ")
            terminal.type(f"{question}\r")
            terminal.see(answer)
        terminal.see("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert said(router.posts[-1]) == [("user", "three")]


def test_a_question_during_a_pause_that_the_service_asked_for_is_not_sent(router: PlainRouter) -> None:
    router.answer(Reply(status=429, headers=[("Retry-After", "3600")]), None)
    with Terminal("chat", "--timeout", "20") as terminal:
        for question, answer in (("one", "try again in 3600 s"), ("two", "Nothing was sent. Call again later\r\n")):
            terminal.see("> ")
            terminal.type(f"{question}\r")
            terminal.see(answer)
        terminal.see("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert len(router.posts) == 1


def test_what_no_question_can_mend_ends_it(router: PlainRouter) -> None:
    router.answer(error(401, "no"))
    with Terminal("chat") as terminal:
        terminal.see("> ")
        terminal.type("one\r")
        terminal.see("no API key was sent")
        assert terminal.end() == 2


def test_ctrl_c_drops_a_question_that_is_being_asked(router: PlainRouter) -> None:
    asked = threading.Event()
    router.on_request = lambda request: asked.set() if request.method == "POST" else None
    router.answer(Reply(delay=60), None)
    with Terminal("chat") as terminal:
        terminal.see("> ")
        terminal.type("slow\r")
        terminal.see(f"asking localhost:{router.port} …")
        assert asked.wait(PATIENCE)
        terminal.type("\x03")
        terminal.see("nomyo: canceled; the server may have received the question\r\n")
        terminal.see("> ")
        terminal.type("quick\r")
        terminal.see("not appraised")
        terminal.see("> ")
        assert terminal.interrupt() == 130  # with nothing asked, it ends the conversation
    assert said(router.posts[-1]) == [("user", "quick")]
    assert "Traceback" not in terminal.shown


def test_a_key_that_was_rotated_is_noticed(router: PlainRouter) -> None:
    with Terminal("chat") as terminal:
        terminal.see("> ")
        terminal.type("one\r")
        terminal.see("not appraised")
        router.rotate_key()
        terminal.see("> ")
        terminal.type("two\r")
        terminal.see("nomyo: notice: the server's key changed from sha256/")
        terminal.see("not appraised")
        terminal.see("> ")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_an_answer_cannot_drive_the_terminal(router: PlainRouter) -> None:
    right = router.complete

    def hostile(payload: dict[str, object], payload_id: str) -> dict[str, object]:
        answer = right(payload, payload_id)
        answer["choices"][0]["message"]["content"] = "a\x1b]0;title\x07b\u202ec\rd\n\te\x9b2Jf"
        return answer

    router.complete = hostile
    with Terminal("chat", "x") as terminal:
        assert terminal.end() == 0
    assert r"a\x1b]0;title\x07b\u202ec\rd" in terminal.shown
    assert r"e\x9b2Jf" in terminal.shown
    assert not set("\x07\u202e\x9b") & set(terminal.shown)


def test_into_a_file_go_the_answers_alone(router: PlainRouter, here: Path) -> None:
    out = here / "answers.txt"
    with Terminal("chat", out=out) as terminal:
        for question in ("one", "two"):
            terminal.see("> ")
            terminal.type(f"{question}\r")
            terminal.see("not appraised")
        terminal.see("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert out.read_text(encoding="utf-8") == "one\ntwo\n"


def test_a_pasted_text_is_one_question(router: PlainRouter) -> None:
    pytest.importorskip("readline")
    with Terminal("chat") as terminal:
        terminal.see("> ")
        terminal.type("\x1b[200~two\nlines\x1b[201~\r")
        terminal.see("not appraised")
        terminal.see("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert [said(post) for post in router.posts] == [[("user", "two\nlines")]]


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_where_none_is_wanted(router: PlainRouter, policy: str, plain: dict[str, str]) -> None:
    with Terminal("chat", "--policy", policy, "x", more=plain) as terminal:
        assert terminal.end() == 0
    assert "affirming   policy known (" in terminal.shown
    assert "\x1b[3" not in terminal.shown


def test_a_response_without_text_is_reported_and_the_conversation_goes_on(router: PlainRouter) -> None:
    right = router.complete

    def without_text(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
        answer = right(payload, payload_id)
        if payload["messages"][-1]["content"] == "first":
            answer["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": []}
        return answer

    router.complete = without_text
    with Terminal("chat") as terminal:
        for question, answer in (("first", "the response has no text"), ("second", "not appraised")):
            terminal.see("> ")
            terminal.type(f"{question}\r")
            terminal.see(answer)
        terminal.see("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert said(router.posts[1]) == [("user", "second")]


def test_a_completion_that_ends_amid_a_character_does_not_end_the_conversation(router: PlainRouter) -> None:
    right = router.complete

    def cut(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
        answer = right(payload, payload_id)
        answer["choices"][0]["message"]["content"] = "half of an emoji: \ud83d"
        return answer

    router.complete = cut
    with Terminal("chat") as terminal:
        for question in ("first", "second"):
            terminal.see("> ")
            terminal.type(f"{question}\r")
            terminal.see("not appraised")
        terminal.see("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert said(router.posts[1])[1] == ("assistant", "half of an emoji: ?")
