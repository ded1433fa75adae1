"""Run the steps of `nomyo demo`, and describe each step in a few lines."""

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
"""Name of the model in requests. The router has no model: its completion repeats the prompt."""

PROMPT: Final = "Is this still the machine I trust?"

FIRST_FILE: Final = "first-response.json"
POLICY_FILE: Final = "policy.toml"
AFFIRMED_FILE: Final = "affirmed-response.json"
REFUSAL_FILE: Final = "refusal.json"

BROKEN_RULE: Final = "pcr.values"
"""The only rule that fails after other firmware has booted."""


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of one step.

    Attributes:
        name: name of the step in the JSON output.
        succeeded: whether it went as expected.
        seconds: duration.
        facts: what the step did, in JSON types.
        result: the result of the appraisal, if the gate refused the response; else None.
        policy: the learned policy; None before it is learned.
        files: files for ``--keep``: name → content.
    """

    name: str
    succeeded: bool
    seconds: float
    facts: Mapping[str, Any]
    result: AttestationResult | None = None
    policy: AppraisalPolicy | None = None
    files: Mapping[str, Any] = field(default_factory=dict)


def run_steps(tpm: str | None) -> Generator[Step]:
    """Run the demo, and stop after the first step that does not go as expected. The router ends with the generator.

    Args:
        tpm: ``"swtpm"`` or ``"soft"``; None for swtpm if it can be started, otherwise soft. The demo never uses this
            machine's TPM, since it simulates a boot of other firmware.

    Raises `RouterError`, and `NomyoError` for a call that fails unexpectedly.
    """
    with ExitStack() as stack:
        stack.enter_context(_logs_suppressed())
        clock = _Clock()
        router, swtpm_error = _start_router(stack, tpm)
        stack.enter_context(_router_trusted(router))
        runner = stack.enter_context(asyncio.Runner())
        yield Step("start", True, clock.lap(), {"url": router.url, "tpm": router.tpm, "swtpm_error": swtpm_error})

        client = SecureChatCompletion(router.url)
        stack.callback(lambda: runner.run(client.aclose()))
        first = runner.run(client.create(MODEL, _MESSAGES))
        facts = _facts_of(first) | {"server_key": first["_metadata"]["verification"]["server_key"]}
        yield Step("ask", True, clock.lap(), facts, files={FIRST_FILE: first})

        learned = learn(
            [first],
            names=["the first response"],
            policy_id="demo",
            description="Learned by nomyo demo from its router's first response",
            allow_test_keys=True,
        )
        policy = learned.policy
        facts = {
            "policy": {"id": policy.id, "digest": policy.digest},
            "pcrs": {pcr.place: [reference.value.hex() for reference in pcr.values] for pcr in policy.pcrs},
        }
        yield Step("learn", True, clock.lap(), facts, policy=policy, files={POLICY_FILE: learned.text})

        gated = client.with_options(attestation_policy=policy)
        stack.callback(lambda: runner.run(gated.aclose()))
        affirmed = _ask_through_gate(runner, gated, policy, clock, "affirm", AFFIRMED_FILE)
        yield affirmed
        if not affirmed.succeeded:
            return

        router.boot_other_firmware()
        yield Step("boot", True, clock.lap(), {})
        yield _ask_through_gate(runner, gated, policy, clock, "refuse", REFUSAL_FILE)


_MESSAGES: Final = [{"role": "user", "content": PROMPT}]


def _ask_through_gate(
    runner: asyncio.Runner, client: SecureChatCompletion, policy: AppraisalPolicy, clock: _Clock, name: str, file: str
) -> Step:
    """Send the prompt through the gate; the step's `name` is the expected outcome, ``"affirm"`` or ``"refuse"``."""
    try:
        response = runner.run(client.create(MODEL, _MESSAGES))
    except AttestationError as refusal:
        result = refusal.result
        succeeded = name == "refuse" and result.verdict is Verdict.CONTRAINDICATED and result.failed == (BROKEN_RULE,)
        document = result.to_dict()
        facts = {"completion": None, "result": document}
        return Step(name, succeeded, clock.lap(), facts, result=result, policy=policy, files={file: document})
    affirmed: Mapping[str, Any] = response["_metadata"]["attestation_result"]
    succeeded = name == "affirm" and affirmed["verdict"] == Verdict.AFFIRMING.value
    facts = {**_facts_of(response), "result": dict(affirmed)}
    return Step(name, succeeded, clock.lap(), facts, policy=policy, files={file: response})


def _facts_of(response: Mapping[str, Any]) -> dict[str, Any]:
    metadata = response["_metadata"]
    return {
        "payload_id": metadata["payload_id"],
        "prompt": PROMPT,
        "completion": response["choices"][0]["message"]["content"],
        "quoted_pcrs": metadata["tpm_attestation"].get("pcr_banks"),
    }


def _start_router(stack: ExitStack, tpm: str | None) -> tuple[RunningRouter, str | None]:
    """Start a router. Returns it, and the reason why it does not use swtpm, if swtpm could not be started."""
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
        """Return the seconds since the last call."""
        before, self._last = self._last, time.monotonic()
        return round(self._last - before, 3)


@contextmanager
def _router_trusted(router: RunningRouter) -> Iterator[None]:
    """Set environment variables so that clients trust the router's temporary CA and use no proxy for it."""
    changes = {"SSL_CERT_FILE": str(router.ca), "NO_PROXY": "localhost", "no_proxy": "localhost"}
    previous = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _logs_suppressed() -> Iterator[None]:
    """Suppress logs on standard error, since the demo itself explains what the router warns about."""
    handler = logging.NullHandler()
    logger = logging.getLogger("nomyo")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


_SWTPM: Final = "swtpm, a software TPM: it signs as a chip does, but proves nothing about this machine."
_SOFT: Final = "the soft TPM, which uses public test keys: for illustration only."
_SWTPM_HINT: Final = f"To use swtpm, install the program swtpm and the extra tpm: {install_command('tpm')}."


def step_text(step: Step, style: TextStyle) -> str:
    """Format one step as text, without a trailing newline."""
    heading, describe = _STEPS[step.name]
    return "\n".join([style.paint(heading, "bold"), *describe(step, style)])


def closing_text(style: TextStyle, seconds: float, tpm: str, folder: str | None) -> str:
    """Explain what the demo shows and what it does not show, and list the next commands and the stored files."""
    shows = (
        "A response is released only if its evidence matches your policy. In your code that is one "
        'argument: attestation_policy="policy.toml".'
    )
    trust = (
        "AIK trust is self_asserted: the signing key is created for each response and is not certified, so any "
        "software can sign such evidence, as it did here. A PCR value identifies the software that was loaded; it does "
        "not prove that the software is good. And each prompt was sent before the evidence arrived."
    )
    lines = [style.paint("What this shows", "bold"), *style.wrap(shows, "  "), ""]
    lines += [style.paint("What this does not show", "bold"), *style.wrap(trust, "  "), ""]
    lines += [style.paint("Repeat it by hand", "bold"), *_next_commands(style, tpm), ""]
    if folder is None:
        return "\n".join([*lines, f"{seconds:.1f} s. No files were left behind."])
    lines += [f"{seconds:.1f} s. Policy, responses and refusal are in {sanitize(folder)}. To appraise them again:", ""]
    files = (sanitize(shlex.quote(f"{folder}/{name}")) for name in (AFFIRMED_FILE, POLICY_FILE))
    return "\n".join([*lines, f"  nomyo-attest verify {' --policy '.join(files)}"])


def _next_commands(style: TextStyle, tpm: str) -> list[str]:
    allow = "--allow-test-keys " if tpm == "soft" else ""
    client = (
        "export NOMYO_BASE_URL=https://localhost:8443 SSL_CERT_FILE=$PWD/ca.pem",
        'nomyo chat --format json "Hello" > first.json',
        f"nomyo-attest policy learn {allow}first.json -o policy.toml",
        'nomyo chat --policy policy.toml "Hello"',
    )
    note = (
        "Then boot other firmware: the router's log contains the command, kill -USR1 with its process id. Repeat the "
        "last command: the client refuses the response."
    )
    return [
        "  In one terminal:",
        f"    nomyo router --port 8443 --tpm {tpm} --ca-out ca.pem",
        "  In a second terminal, in the same folder:",
        *(f"    {command}" for command in client),
        *style.wrap(note, "  "),
    ]


def describe_failure(step: Step) -> str:
    """Describe how the outcome of a step differs from the expected one."""
    if step.result is None:
        return "the gate released a response that it should have refused"
    if step.name == "affirm":
        return "the gate refused a response of the server that its policy was learned from"
    rules = ", ".join((*step.result.failed, *step.result.undecided))
    return f"the gate refused the response for unexpected reasons: {rules}"


def _start(step: Step, style: TextStyle) -> list[str]:
    tpm = _SWTPM if step.facts["tpm"] == "swtpm" else _SOFT
    hint = f" {_SWTPM_HINT}" if step.facts["swtpm_error"] is not None else ""
    return style.wrap(
        f"The reference router runs at {step.facts['url']}. It is temporary: it stops when the demo ends. "
        f"Its TPM is {tpm}{hint}",
        "  ",
    )


def _ask(step: Step, style: TextStyle) -> list[str]:
    text = (
        f"\"{step.facts['prompt']}\" was encrypted to the server's key, and the response to the client's. The "
        "completion repeats the prompt, since no model is running. The response contains a quote over PCRs "
        f"{step.facts['quoted_pcrs']}, which is not appraised yet."
    )
    return style.wrap(text, "  ")


def _learn(step: Step, style: TextStyle) -> list[str]:
    lines = style.wrap("From now on only these values are accepted:", "  ")
    for place, values in step.facts["pcrs"].items():
        meaning = MEANINGS[int(place.partition(":")[2])].partition(";")[0]
        lines += style.wrap(meaning, f"    {place.ljust(11)}{values[0][:8]}…{values[0][-4:]}  ")
    return lines


def _affirm(step: Step, style: TextStyle) -> list[str]:
    narrower = style._replace(width=style.width - 2)
    lines = [f"  {line}" for line in verdict_line(step.facts["result"], narrower).splitlines()]
    if step.facts["completion"] is None:
        return lines
    return [*lines, *style.wrap(f'Released: "{sanitize(step.facts["completion"])}"', "  ")]


def _boot(_: Step, style: TextStyle) -> list[str]:
    text = "Address, certificate, key and completions stay the same: TLS and encryption do not reveal the change."
    return style.wrap(text, "  ")


def _refuse(step: Step, style: TextStyle) -> list[str]:
    if step.result is None or step.policy is None:
        return _affirm(step, style)
    text = refusal_text(step.result, step.policy, style._replace(width=style.width - 2))
    return [f"  {line}" if line else "" for line in text.splitlines()]


_STEPS: Final[dict[str, tuple[str, Callable[[Step, TextStyle], list[str]]]]] = {
    "start": ("A server", _start),
    "ask": ("A first response, which the demo trusts", _ask),
    "learn": ("A policy, learned from it", _learn),
    "affirm": ("The same question, through the gate", _affirm),
    "boot": ("The server boots other firmware", _boot),
    "refuse": ("The same question again", _refuse),
}
