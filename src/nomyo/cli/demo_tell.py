"""The demonstration, told: a few lines for each step."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Final

from nomyo.cli.demo_play import AFFIRMED, POLICY, Step
from nomyo.cli.verdict import refusal_text, verdict_line
from nomyo_attest.installation import install_command
from nomyo_attest.policy.pcr_meanings import MEANINGS
from nomyo_attest.report.formatting import TextStyle, sanitize

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
