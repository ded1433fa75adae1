"""The demonstration, played: what is done, step by step, and what came of each."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from nomyo.chat import SecureChatCompletion
from nomyo.cli.terminal import refusal_text, verdict_line
from nomyo.errors import AttestationError
from nomyo.router import RouterError, RouterOptions, RunningRouter
from nomyo_attest.appraisal import AttestationResult, Verdict
from nomyo_attest.installation import install_command
from nomyo_attest.policy import AppraisalPolicy, learn
from nomyo_attest.policy.pcr_meanings import MEANINGS
from nomyo_attest.report.formatting import TextStyle, sanitize

MODEL: Final = "echo"
"""The router has no model: it answers with what it was asked."""

QUESTION: Final = "Is this still the machine I trust?"

FIRST: Final = "first-answer.json"
POLICY: Final = "policy.toml"
AFFIRMED: Final = "affirmed-answer.json"
REFUSAL: Final = "refusal.json"

MOVED: Final = "pcr.values"
"""The rule that other firmware breaks, and no other."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the story.

    Attributes:
        name: which.
        went: whether it went as it should.
        seconds: how long it took.
        facts: what is to be said of it, in JSON's types.
        result: the appraisal's result, where there was one.
        policy: the policy learned, from that step on.
        keep: what there is to be looked at later: file name → content.
    """

    name: str
    went: bool
    seconds: float
    facts: Mapping[str, Any]
    result: AttestationResult | None = None
    policy: AppraisalPolicy | None = None
    keep: Mapping[str, Any] = field(default_factory=dict)


def play(tpm: str | None) -> Generator[Step]:
    """Play it; the last step is the first that did not go as it should, if any. What was started ends with it.

    Args:
        tpm: ``"swtpm"`` or ``"soft"``; None for the better one that is there. Never this machine's own: the story goes
            on with other firmware.

    Raises `RouterError`, and `NomyoError` if a call fails that should not.
    """
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        clock = _Clock()
        router, instead = _started(stack, tpm)
        stack.enter_context(_trusting(router))
        runner = stack.enter_context(asyncio.Runner())
        yield Step("start", True, clock.lap(), {"url": router.url, "tpm": router.tpm, "why_not_swtpm": instead})

        client = SecureChatCompletion(router.url)
        stack.callback(lambda: runner.run(client.aclose()))
        first = runner.run(client.create(MODEL, _MESSAGES))
        facts = _facts(first) | {"server_key": first["_metadata"]["verification"]["server_key"]}
        yield Step("ask", True, clock.lap(), facts, keep={FIRST: first})

        learned = learn(
            [first],
            names=["the first answer"],
            policy_id="demo",
            description="Learned by nomyo demo from its router's first answer",
            allow_test_keys=True,
        )
        policy = learned.policy
        facts = {
            "policy": {"id": policy.id, "digest": policy.digest},
            "pcrs": {pcr.place: [one.value.hex() for one in pcr.values] for pcr in policy.pcrs},
        }
        yield Step("learn", True, clock.lap(), facts, policy=policy, keep={POLICY: learned.text})

        gated = client.with_options(attestation_policy=policy)
        stack.callback(lambda: runner.run(gated.aclose()))
        affirmed = _asked(runner, gated, policy, clock, "affirm", AFFIRMED)
        yield affirmed
        if not affirmed.went:
            return

        router.boot_other_firmware()
        yield Step("boot", True, clock.lap(), {})
        yield _asked(runner, gated, policy, clock, "refuse", REFUSAL)


_MESSAGES: Final = [{"role": "user", "content": QUESTION}]


def _asked(
    runner: asyncio.Runner, client: SecureChatCompletion, policy: AppraisalPolicy, clock: _Clock, name: str, file: str
) -> Step:
    """Ask with the gate; to be affirmed or refused, as the name says."""
    try:
        answer = runner.run(client.create(MODEL, _MESSAGES))
    except AttestationError as refusal:
        result = refusal.result
        went = name == "refuse" and result.verdict is Verdict.CONTRAINDICATED and result.failed == (MOVED,)
        document = result.to_dict()
        facts = {"answer": None, "result": document}
        return Step(name, went, clock.lap(), facts, result=result, policy=policy, keep={file: document})
    document = answer["_metadata"]["attestation_result"]
    went = name == "affirm" and document["verdict"] == Verdict.AFFIRMING.value
    facts = {**_facts(answer), "result": document}
    return Step(name, went, clock.lap(), facts, policy=policy, keep={file: answer})


def _facts(answer: Mapping[str, Any]) -> dict[str, Any]:
    metadata = answer["_metadata"]
    return {
        "payload_id": metadata["payload_id"],
        "question": QUESTION,
        "answer": answer["choices"][0]["message"]["content"],
        "quoted": metadata["tpm_attestation"].get("pcr_banks"),
    }


def _started(stack: ExitStack, tpm: str | None) -> tuple[RunningRouter, str | None]:
    """A router, and why it does not have the better TPM, if it was to be chosen."""
    if tpm is not None:
        return stack.enter_context(RunningRouter(RouterOptions(tpm=tpm))), None
    try:
        return stack.enter_context(RunningRouter(RouterOptions(tpm="swtpm"))), None
    except RouterError as error:
        return stack.enter_context(RunningRouter(RouterOptions(tpm="soft"))), str(error)


class _Clock:
    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last call."""
        before, self._last = self._last, time.monotonic()
        return round(self._last - before, 3)


@contextmanager
def _trusting(router: RunningRouter) -> Iterator[None]:
    """The environment of somebody who trusts the router's throw-away CA, and reaches it without a proxy."""
    changes = {"SSL_CERT_FILE": str(router.ca), "NO_PROXY": "localhost", "no_proxy": "localhost"}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quiet() -> Iterator[None]:
    """No log on standard error: the story tells what the router would warn of."""
    handler = logging.NullHandler()
    logger = logging.getLogger("nomyo")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


_SWTPM: Final = "swtpm, a TPM in software: it signs as a chip does, and says nothing about this machine."
_SOFT: Final = "the soft TPM, whose keys are known to everybody: it shows the way, and proves nothing."
_FOR_SWTPM: Final = f"For a better one, install the program swtpm and the extra tpm: {install_command('tpm')}."


def told(step: Step, style: TextStyle) -> str:
    """One step as text, without a line end."""
    heading, tell = _STEPS[step.name]
    return "\n".join([style.paint(heading, "bold"), *tell(step, style)])


def ending(style: TextStyle, seconds: float, kept: str | None) -> str:
    """What all of it shows and does not show, and what is left of it."""
    shows = (
        "An answer is handed over only if the evidence with it is what your policy says. In your code that is one "
        'argument: attestation_policy="policy.toml".'
    )
    trust = (
        "AIK trust is self_asserted: the key that signs is made for each answer and nobody vouches for it, so any "
        "software can sign such evidence, as it did here. A PCR value says what was loaded, not that it is good. And "
        "the question was out each time before the evidence came."
    )
    lines = [style.paint("What this shows", "bold"), *style.wrap(shows, "  "), ""]
    lines += [style.paint("What it does not", "bold"), *style.wrap(trust, "  "), ""]
    if kept is None:
        return "\n".join([*lines, f"{seconds:.1f} s. Nothing is left behind."])
    lines += [f"{seconds:.1f} s. Policy, answers and refusal are in {sanitize(kept)}. To look at them yourself:", ""]
    files = (sanitize(shlex.quote(f"{kept}/{name}")) for name in (AFFIRMED, POLICY))
    return "\n".join([*lines, f"  nomyo-attest verify {' --policy '.join(files)}"])


def astray(step: Step) -> str:
    """What went otherwise than it should."""
    if step.result is None:
        return "the gate handed over an answer that it should have withheld"
    if step.name == "affirm":
        return "the gate withheld an answer that its policy was learned from"
    rules = ", ".join((*step.result.failed, *step.result.undecided))
    return f"the gate withheld the answer for other reasons than it should: {rules}"


def _start(step: Step, style: TextStyle) -> list[str]:
    tpm = _SWTPM if step.facts["tpm"] == "swtpm" else _SOFT
    better = f" {_FOR_SWTPM}" if step.facts["why_not_swtpm"] is not None else ""
    return style.wrap(
        f"The reference router, at {step.facts['url']}, for this minute only. Its TPM is {tpm}{better}", "  "
    )


def _ask(step: Step, style: TextStyle) -> list[str]:
    text = (
        f'"{step.facts["question"]}" was sealed to the server\'s key, its answer to ours. It is an echo: there is no '
        f"model here. With it came a quote: PCRs {step.facts['quoted']}, signed. Nobody has looked at that yet."
    )
    return style.wrap(text, "  ")


def _learn(step: Step, style: TextStyle) -> list[str]:
    lines = style.wrap("From now on only these values will do:", "  ")
    for place, values in step.facts["pcrs"].items():
        meaning = MEANINGS[int(place.partition(":")[2])].partition(";")[0]
        lines += style.wrap(meaning, f"    {place.ljust(11)}{values[0][:8]}…{values[0][-4:]}  ")
    return lines


def _affirm(step: Step, style: TextStyle) -> list[str]:
    line = f"  {verdict_line(step.facts['result'], style)}"
    if step.facts["answer"] is None:
        return [line]
    return [line, *style.wrap(f'Handed over: "{sanitize(step.facts["answer"])}"', "  ")]


def _boot(_: Step, style: TextStyle) -> list[str]:
    text = (
        "Same address, same certificate, same key, answers as good as before. TLS and encryption have nothing to say "
        "about it."
    )
    return style.wrap(text, "  ")


def _refuse(step: Step, style: TextStyle) -> list[str]:
    if step.result is None or step.policy is None:
        return _affirm(step, style)
    text = refusal_text(step.result, step.policy, style._replace(width=style.width - 2))
    return [f"  {line}" if line else "" for line in text.splitlines()]


_STEPS: Final[dict[str, tuple[str, Callable[[Step, TextStyle], list[str]]]]] = {
    "start": ("A server", _start),
    "ask": ("A first answer, taken on trust", _ask),
    "learn": ("A policy, learned from it", _learn),
    "affirm": ("The same question, through the gate", _affirm),
    "boot": ("The server boots other firmware", _boot),
    "refuse": ("The same question again", _refuse),
}
