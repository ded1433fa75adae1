"""State what to do about one incident across records, by the values that its findings have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nomyo_attest.audit.cross_record.model import CrossRecordFinding, CrossRecordRuleSummary
from nomyo_attest.report.formatting import duration, sentence
from nomyo_attest.report.incidents.model import Kind
from nomyo_attest.report.incidents.wording import aik_text

_REMEDIATION_MAXIMUM: Final = 2000
_SECONDS_MAXIMUM_MS: Final = 60_000
"""A clock that goes back by less may be that of a response that overtook another one."""

_UNTIL_EXPLAINED: Final = "Do not rely on the responses until you have an explanation."


def remediation(
    kind: Kind, findings: Sequence[CrossRecordFinding], rules: Sequence[CrossRecordRuleSummary], *, combined: bool
) -> str:
    """Return what to do about an incident, in sentences; for `combined` incidents, what the rule says."""
    specific = ""
    if not combined:
        specific = _replay(findings) if kind is Kind.REPLAY else _rollback(findings) if kind is Kind.ROLLBACK else ""
    general = (rule.remediation for rule in rules if rule.rule == findings[0].rule)
    return specific or sentence(next(general, "")[:_REMEDIATION_MAXIMUM])


def replay_problem(findings: Sequence[CrossRecordFinding]) -> str:
    """State what the records of a replay have in common, and what differs; empty if a value or a time is unknown."""
    main = findings[0]
    first, last = main.first.processed_at, main.last.processed_at
    if main.rule != "duplicate.quote" or main.detail != "same" or first is None or last is None:
        return ""
    both = " and payload id" * any(finding.rule == "duplicate.payload_id" for finding in findings)
    return f"the records have the same quote{both}, but dates {duration(last - first)} apart"


def replay_machine(findings: Sequence[CrossRecordFinding], labels: Mapping[str, str]) -> str:
    """State that the machine of a replayed response is unknown, if its AIK is not pinned; otherwise empty."""
    for finding in findings:
        if finding.rule == "reused.aik":
            return f"unknown: the policy does not pin {aik_text(finding.key, labels)}"
    return ""


def _replay(findings: Sequence[CrossRecordFinding]) -> str:
    main = findings[0]
    if main.rule != "duplicate.quote":
        return ""
    if main.detail == "different":
        return (
            "A quote belongs to one payload id, so at least one response contains the quote of another one. Do not "
            "rely on these responses, and find out where each of them came from."
        )
    if not replay_problem(findings):
        return ""
    later = "the later record" if main.records == 2 else "the later records"
    return (
        f"The response was recorded or sent again under a new date. Do not rely on {later}, and find out where "
        f"{'it' if main.records == 2 else 'they'} came from."
    )


def _rollback(findings: Sequence[CrossRecordFinding]) -> str:
    counters = [finding for finding in findings if finding.rule == "rollback.counters"]
    main = findings[0]
    if counters:
        return (
            "Two TPMs share a key, a virtual TPM was restored to an earlier state, old quotes were given a new date, "
            f"the TPM was cleared, or the server's clock was set back across a restart. {_UNTIL_EXPLAINED}"
        )
    if main.high is None or main.low is None:
        return ""
    if main.high - main.low >= _SECONDS_MAXIMUM_MS:
        return (
            "Two TPMs share a key, a virtual TPM was restored to an earlier state, old quotes were given a new date, "
            f"or the server's clock was set back. {_UNTIL_EXPLAINED}"
        )
    if main.records > 1:  # the difference is that of the first record, and others may be larger
        return ""
    return (
        "A clock that goes back by seconds usually means that one response overtook another one, or that the server's "
        "clock was set back. If neither is the case, do not rely on the response."
    )
