"""`nomyo chat` with a prompt, over TLS: what is printed where, and what is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nomyo.cli.terminal import NOT_APPRAISED
from tests.nomyo.cli.router_evidence import PROMPT, evidence, received_payload
from tests.nomyo.cli.runner import environment, run, start
from tests.nomyo.wire.plain_router import PlainRouter


def test_the_answer_alone_is_on_standard_output(router: PlainRouter) -> None:
    assert run("chat", "Why", "is it?") == (0, "Why is it?\n", f"{NOT_APPRAISED}\n")


def test_with_a_policy_one_line_says_what_it_says(router: PlainRouter, policy: str) -> None:
    ran = run("chat", "--policy", policy, PROMPT)
    assert (ran.status, ran.out) == (0, f"{PROMPT}\n")
    (line,) = ran.err.splitlines()
    assert line.startswith("affirming   policy known (sha256:")
    assert line.endswith("…)   AIK trust: self_asserted")


def test_a_refusal_shows_the_findings_and_never_the_answer(router: PlainRouter, policy: str) -> None:
    router.attest = lambda payload_id: evidence(payload_id, b"other firmware")
    for more in ([], ["--format", "json"]):
        ran = run("chat", "--policy", policy, PROMPT, *more)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith("contraindicated   policy known (")
        assert "\n  FAIL  pcr.values\n" in ran.err
        assert "remediation" in ran.err
        assert "The response is not released. The prompt has been sent" in ran.err
        assert "\n  nomyo chat --evidence-log " in ran.err
        assert PROMPT not in ran.err


def test_without_evidence_a_policy_refuses(router: PlainRouter, policy: str) -> None:
    router.attest = None
    ran = run("chat", "--policy", policy, PROMPT)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("none   policy known (")
    assert "evidence.available" in ran.err


def test_a_rule_that_the_policy_softens_is_named(router: PlainRouter, policy: str) -> None:
    text = Path(policy).read_text(encoding="utf-8")
    softened = f'unsafe_warn_until = 9999-01-01\n{text}\n[rules]\n"pcr.values" = "warn"\n'
    Path(policy).write_text(softened, encoding="utf-8")
    router.attest = lambda payload_id: evidence(payload_id, b"other firmware")
    ran = run("chat", "--policy", policy, PROMPT)
    assert (ran.status, ran.out) == (0, f"{PROMPT}\n")
    assert ran.err.startswith("warning   ")
    assert ran.err.endswith("   warnings: pcr.values\n")


def test_json_is_the_whole_response(router: PlainRouter, policy: str) -> None:
    ran = run("chat", "--policy", policy, "--format", "json", PROMPT)
    assert ran.status == 0
    document = ran.json()
    assert document["choices"][0]["message"]["content"] == PROMPT
    metadata = document["_metadata"]
    assert metadata["attestation_result"]["verdict"] == "affirming"
    assert metadata["payload_id"] == router.posts[0].payload_id
    assert metadata["verification"]["payload_id_echoed"] is True
    assert ran.err.startswith("affirming   ")


def test_what_json_prints_can_be_learned_from(router: PlainRouter, here: Path) -> None:
    from tests.nomyo_attest.cli import runner

    Path("first.json").write_text(run("chat", "--format", "json", PROMPT).out, encoding="utf-8")
    assert runner.run("policy", "learn", "--allow-test-keys", "first.json", "-o", "learned.toml").status == 0
    assert run("chat", "--policy", "learned.toml", PROMPT).err.startswith("affirming   policy first (")


@pytest.mark.parametrize(
    ("argv", "stdin", "prompt"),
    [
        ([], "from a pipe\n", "from a pipe"),
        (["-"], "two\nlines\n\n", "two\nlines\n"),
        (["Review", "this:", "-"], "a = 1\n", "Review this:\n\na = 1"),
        (["-", "In one word?"], "a = 1\n", "a = 1\n\nIn one word?"),
        (["Review", "this:"], "a = 1\n", "Review this:\n\na = 1"),
        (["Hello"], "", "Hello"),
        (["--", "--help"], "", "--help"),
        (["ü \u202e\x1b[31m"], "", "ü \u202e\x1b[31m"),
    ],
)
def test_a_prompt_comes_from_words_and_from_a_pipe(
    router: PlainRouter, argv: list[str], stdin: str, prompt: str
) -> None:
    ran = run("chat", *argv, stdin=stdin.encode())
    assert (ran.status, ran.out) == (0, f"{prompt}\n")
    assert received_payload(router)["messages"] == [{"role": "user", "content": prompt}]


def test_a_pipe_gets_the_answer_as_it_is(router: PlainRouter) -> None:
    text = "\x1b[31mred\x07 \u202e\nnext\ttab"
    assert run("chat", text).out == f"{text}\n"


def test_an_answer_that_was_cut_off_is_noticed(router: PlainRouter) -> None:
    right = router.complete

    def cut(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
        answer = right(payload, payload_id)
        answer["choices"][0]["finish_reason"] = "length"
        return answer

    router.complete = cut
    ran = run("chat", "x")
    assert (ran.status, ran.out) == (0, "x\n")
    assert ran.err.startswith("nomyo: notice: the completion is cut off")


@pytest.mark.skipif(os.name != "posix", reason="a shell closes its output")
@pytest.mark.parametrize("command", [["chat", PROMPT], ["keys", "pin", "https://localhost"]])
def test_nothing_is_sent_where_standard_output_is_closed(router: PlainRouter, command: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m nomyo.cli "$@" >&-', sys.executable, *command],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert done.returncode == 2
    assert done.stderr == "nomyo: standard output is closed, so the output would be lost; nothing was sent\n"
    assert router.requests == []


@pytest.mark.skipif(os.name != "posix", reason="sets a locale")
def test_a_prompt_in_utf_8_is_one_in_a_locale_without_it(router: PlainRouter) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
    done = start("chat", "--system", "kurz, höflich", "grüße", "-", input="aus der Röhre", env=environment(**locale))
    assert (done.returncode, done.stdout) == (0, "grüße\n\naus der Röhre\n")
    assert [message["content"] for message in received_payload(router)["messages"]] == [
        "kurz, höflich",
        "grüße\n\naus der Röhre",
    ]


def test_in_a_process_of_its_own_with_a_key_pair_of_its_own(router: PlainRouter, policy: str) -> None:
    done = start("chat", "--policy", policy, "-", input="from a pipe\n")
    assert (done.returncode, done.stdout) == (0, "from a pipe\n")
    assert done.stderr.startswith("affirming   policy known (")
    assert done.stderr.count("\n") == 1
    assert json.loads(json.dumps(received_payload(router)))["messages"] == [{"role": "user", "content": "from a pipe"}]
