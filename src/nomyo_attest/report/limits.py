"""State the limits of an audit's verdicts: the trust in the AIKs, and what no verdict establishes."""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.summary import Summary
from nomyo_attest.policy.model import Requirement, Trust
from nomyo_attest.report.formatting import number

_NAME_MAX: Final = 200
"""Maximum characters that are shown of a limit without its reason."""

_LIMITS_MAXIMUM: Final = 30
"""Maximum limits that are listed; there are about a dozen."""

_UNCONFIRMED: Final = "arrived with its response, and nothing else confirms it"


def trust_text(summary: Summary) -> str:
    """State how far the AIKs of the records are trusted, as a sentence without a period."""
    document = summary.policy.document
    key, rules = document.get("key", {}), document.get("rules", {})
    required = rules.get("key.trust", Requirement.REQUIRED.value) == Requirement.REQUIRED.value
    if not summary.aiks:
        return "no AIK: no record has evidence that parses"
    if key.get("trust") == Trust.PINNED_AIK.value and required:
        return "pinned_aik: the policy affirms a response only if an AIK that it pins signed the quote"
    if not summary.aiks_pinned:
        return f"self_asserted: each AIK {_UNCONFIRMED}"
    pinned = f"the policy pins {number(summary.aiks_pinned)} of {number(summary.aiks)} AIKs"
    return f"self_asserted except for pinned AIKs: {pinned}; each of the others {_UNCONFIRMED}"


def limit_names(summary: Summary) -> list[str]:
    """List what no verdict of the audit establishes, without reasons, each as a clause."""
    limits = summary.not_established
    clauses = [limit[:_NAME_MAX].partition(":")[0].rstrip(".") for limit in limits[:_LIMITS_MAXIMUM]]
    rest = [f"and {number(len(limits) - _LIMITS_MAXIMUM)} more"] * (len(limits) > _LIMITS_MAXIMUM)
    return [*(f"{limit[:1].lower()}{limit[1:]}" for limit in clauses), *rest]
