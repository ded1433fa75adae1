"""Print completions, verdicts and errors, so that text from a server cannot control a terminal or a CI system."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from nomyo_attest.cli import errors
from nomyo_attest.cli.console import print_output
from nomyo_attest.cli.errors import CommandError

if TYPE_CHECKING:
    from nomyo_attest.appraisal import AttestationResult
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.report.formatting import TextStyle


_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters (ECMA-48), except tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Bidi_Control: would change the displayed order
    "\u2028\u2029\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"  # line separators, surrogates, hidden text
)
"""Characters that could move the cursor, set the title, send input, or disguise text."""

_CI_VARIABLES: Final = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION")
"""Variables that CI systems set in every job: most of them, GitHub Actions, Azure Pipelines, TeamCity."""


def require_stdout() -> None:
    """Raise `CommandError` if standard output is closed, since the output would be lost silently."""
    if sys.stdout is None:
        raise CommandError("standard output is closed, so the output would be lost; nothing was sent")


def print_completion(text: str) -> None:
    """Print a completion on standard output.

    A pipe or file receives the completion unchanged. On a terminal and in the log of a CI job, control characters are
    escaped (`escape_controls`); in a log, commands to the CI system are escaped as well.
    """
    is_log = _is_ci_log()
    print_output(
        escape_controls(text) if is_log or (sys.stdout is not None and sys.stdout.isatty()) else text,
        commands=not is_log,
    )


def _is_ci_log() -> bool:
    """Whether standard output may be the log of a CI job: in a CI job, anything but a regular file."""
    if not any(os.environ.get(name) for name in _CI_VARIABLES):
        return False
    try:
        return not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):  # closed, or without a file descriptor
        return True


def escape_controls(text: str) -> str:
    r"""Replace every character that could control a terminal with an escape, such as ``\x1b``.

    Line feeds, tabs, and the joiners that some scripts and emoji need are unchanged. A carriage return before a line
    feed is removed.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text.replace("\r\n", "\n"))


def print_error(text: str) -> None:
    """Print one line with the prefix ``nomyo:`` on standard error; control characters are escaped."""
    errors.print_error(text, "nomyo")


NOT_APPRAISED = "not appraised: without --policy nothing is known about the server"


def verdict_line(result: Mapping[str, Any], style: TextStyle) -> str:
    """Format an attestation result in its JSON form as one line. On a terminal, a long line is broken."""
    from nomyo_attest.appraisal import Verdict
    from nomyo_attest.report.explain import VERDICT_INKS
    from nomyo_attest.report.formatting import excerpt

    verdict = Verdict(result["verdict"])
    policy = f"policy {excerpt(result['policy']['id'], 40)} ({result['policy']['digest'][:11]}…)"
    trust = f"AIK trust: {result['trust']}" if result["aik"]["name"] else "AIK trust: no AIK"
    parts = [policy, trust]
    softened = [row["rule"] for row in result["findings"] if row["requirement"] == "warn" and row["outcome"] != "pass"]
    if softened:
        parts.append(f"warnings: {', '.join(softened)}")
    length = sum(3 + len(part) for part in (verdict.value, *parts)) - 3
    gap = f"\n{' ' * (len(verdict.value) + 3)}" if style.terminal and length > style.width else "   "
    return f"{style.paint(verdict.value, VERDICT_INKS[verdict])}   {gap.join(parts)}"


def refusal_text(result: AttestationResult, policy: AppraisalPolicy, style: TextStyle) -> str:
    """Format a refusal: verdict, findings with remediation, and the note that the prompt has been sent."""
    from nomyo_attest.report.explain import body_text

    note = "The response is not released. The prompt has been sent: evidence comes with the response, not before it."
    return "\n\n".join(
        [verdict_line(result.to_dict(), style), body_text(result, policy, style), "\n".join(style.wrap(note))]
    )


def stored_evidence_text(stored: Mapping[str, Any] | None, ledger: str | None, style: TextStyle) -> str:
    """Say where the evidence of a refused response is, and how to examine it.

    Args:
        stored: `AttestationError.evidence_log`.
        ledger: the value of --evidence-log.
        style: the style of the text.
    """
    from nomyo_attest.report.formatting import sanitize

    if stored is not None and stored.get("stored") and ledger is not None:
        command = f"tail -n 1 {shlex.quote(ledger)} > refused.jsonl"
        text = (
            f"The evidence is record {stored['number']} of {ledger}, now its last line. `nomyo-attest verify` and "
            "`nomyo-attest policy learn` read a file that contains this line alone:"
        )
    else:
        command = 'nomyo chat --evidence-log evidence.jsonl "Hello"'
        text = (
            "The evidence is not stored. To record evidence of this server, send a harmless prompt with --evidence-log:"
        )
    return "\n".join([*style.wrap(sanitize(text)), f"  {sanitize(command)}"])
