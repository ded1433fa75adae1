"""Standard output: that there is one, and how a completion reaches a terminal or a log, which it must not drive."""

from __future__ import annotations

import os
import re
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


_DRIVING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters (ECMA-48), but for tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Bidi_Control: what is read would not be what is there
    "\u2028\u2029\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"  # line ends of Unicode, surrogates, hidden text
)
"""What could move the cursor, set the title, answer for the user, or show one text for another."""

_CI_VARIABLES: Final = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION")
"""Set in every job: by most CI systems, by GitHub Actions, by Azure Pipelines, by TeamCity."""


def need_output() -> None:
    """Raise `CommandError` where standard output is closed: an answer would go nowhere, and nobody would know."""
    if sys.stdout is None:
        raise CommandError("standard output is closed, and what was asked for goes there; nothing was sent")


def print_completion(text: str) -> None:
    """Print a completion on standard output.

    A program that reads it through a pipe, and a file, get it as it is. A terminal and the log of a CI job get it
    without what could drive them: `harmless`, and in a log without commands to the CI system, too.
    """
    log = _in_a_log()
    print_output(harmless(text) if log or (sys.stdout is not None and sys.stdout.isatty()) else text, commands=not log)


def _in_a_log() -> bool:
    """Whether standard output may be the log of a CI job: there is one, and it is not a regular file."""
    if not any(os.environ.get(name) for name in _CI_VARIABLES):
        return False
    try:
        return not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):  # closed, or not a file at all
        return True


def harmless(text: str) -> str:
    r"""`text` with every character that could drive a terminal written as an escape, such as ``\x1b``.

    Line feeds and tabs stay, and so do joiners, which some scripts and emoji need; a carriage return before a line feed
    goes.
    """
    return _DRIVING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text.replace("\r\n", "\n"))


def print_error(text: str) -> None:
    """Print one line on standard error, after the program's name; control characters are escaped."""
    errors.print_error(text, "nomyo")


NOT_APPRAISED = "not appraised: no --policy, so nothing is known of the server that answered"


def verdict_line(result: Mapping[str, Any], style: TextStyle) -> str:
    """An attestation result, in its JSON form, as one line."""
    from nomyo_attest.appraisal import Verdict
    from nomyo_attest.report.formatting import excerpt
    from nomyo_attest.report.verdict import VERDICT_INKS

    verdict = Verdict(result["verdict"])
    policy = f"policy {excerpt(result['policy']['id'], 40)} ({result['policy']['digest'][:11]}…)"
    trust = f"AIK trust: {result['trust']}" if result["aik"]["name"] else "AIK trust: no AIK"
    line = f"{style.paint(verdict.value, VERDICT_INKS[verdict])}   {policy}   {trust}"
    softened = [one["rule"] for one in result["findings"] if one["requirement"] == "warn" and one["outcome"] != "pass"]
    return f"{line}   does not hold: {', '.join(softened)}" if softened else line


def refusal_text(result: AttestationResult, policy: AppraisalPolicy, style: TextStyle) -> str:
    """A refusal: the line, what does not hold and what to do, and what a refusal cannot undo."""
    from nomyo_attest.report.verdict import body_text

    end = "The answer is withheld. The prompt has been sent: evidence comes with an answer, not before the question."
    return "\n\n".join(
        [verdict_line(result.to_dict(), style), body_text(result, policy, style), "\n".join(style.wrap(end))]
    )
