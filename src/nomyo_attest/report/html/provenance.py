"""What the verdicts leave open, and what it takes to make them again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.formatting import count, duration, number
from nomyo_attest.report.html.markup import Markup, element, fit
from nomyo_attest.report.html.tables import pairs, section
from nomyo_attest.report.html.wording import code, digits, outside

_SIZE: Final = 30_000
_TEXT_MAX: Final = 600
_COMMAND_MAX: Final = 20_000


def limits(summary: Summary) -> Markup:
    """The section on what no verdict here establishes."""
    title = "What the verdicts do not establish"
    if not summary.not_established:
        return section("limits", title, element("p", "Nothing was appraised, so nothing is established."))
    told = element("p", "Whatever the verdict, these are not shown by the evidence:")
    items = fit((element("li", outside(one, _TEXT_MAX)) for one in summary.not_established), _SIZE)
    return section("limits", title, told, element("ul", *items))


def provenance(summary: Summary) -> Markup:
    """The section on how the audit was run."""
    run = summary.run
    facts: list[tuple[str, str]] = [
        ("Version", code(f"nomyo-attest {run.version}")),
        ("Inputs", digits(summary.inputs_digest)),
        ("", "SHA-256 over every source's SHA-256 and name, in the order read"),
        ("Policy", digits(summary.policy.digest.removeprefix("sha256:"))),
        ("Appraised as of", outside(run.at) if run.at else "no time: the policy has no period"),
        ("Since, until", f"{_or(run.since, 'the beginning')}, {_or(run.until, 'the end')}"),
        ("Rows selected", outside(", ".join(run.select)) if run.select else "all"),
        ("Started", outside(run.started_at) if run.started_at else "not recorded"),
        ("Took", f"{duration(run.seconds)} with {count(run.processes, 'process', 'processes')}"),
        ("Resumed", count(run.resumed, "time") if run.resumed else "never"),
        ("Workers lost", number(run.workers_lost) + (": their work was done again" if run.workers_lost else "")),
    ]
    command = element("pre", element("code", outside(command_text(run.command), _COMMAND_MAX)), tabindex=0)
    again = element("h3", "To make it again", id="again")
    told = element("p", "With the same version, inputs and policy this gives the same verdicts, byte for byte:")
    return section("provenance", "How this was made", pairs(facts), again, told, command)


def _or(time: str | None, otherwise: str) -> str:
    return time[:40] if time else otherwise


def command_text(command: Sequence[str]) -> str:
    """A command as a POSIX shell takes it; what does not print is written as bash's ``$'\\x1b'``."""
    return " ".join(map(_argument, command))


def _argument(text: str) -> str:
    if text.isprintable():
        return shlex.quote(text)
    escaped = []
    for char in text:
        if char in "\\'":
            escaped.append(f"\\{char}")
        elif char.isprintable():
            escaped.append(char)
        else:
            # A file's name may hold bytes that are no UTF-8; Python holds such a byte as a lone surrogate (PEP 383).
            byte = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
            escaped += [f"\\x{one:02x}" for one in char.encode("utf-8", byte)]
    return f"$'{''.join(escaped)}'"
