"""What a policy says of whoever answered: one line, and for a refusal the findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nomyo_attest.appraisal import AttestationResult
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.report.formatting import TextStyle

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
