"""Derive the incident of an audit whose policy was not valid at the time of the appraisals."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import UNDECIDED, RuleSummary, Summary
from nomyo_attest.report.formatting import count, moment
from nomyo_attest.report.incidents.model import Incident, Kind, severity_of
from nomyo_attest.report.incidents.wording import date_text

POLICY_PERIOD: Final = "policy.period"

_EXPIRED: Final = (
    "Renew the policy if its reference values are still right, or get the current policy from its owner. To appraise "
    "old records as of their time, pass this time with --at."
)
_NOT_YET_VALID: Final = (
    "Get the policy that is valid now from its owner. To appraise records as of a later time, pass this time with --at."
)


def policy_period_incident(summary: Summary) -> Incident | None:
    """Return the incident of a policy that had expired, or was not valid yet; None if the policy was valid.

    All records are appraised at one time, so the rule is undecided for all of them, and the incident is about the
    policy, not about a machine or about the time of a record.
    """
    rule = next((rule for rule in summary.rules if rule.rule == POLICY_PERIOD and rule.outcome == UNDECIDED), None)
    at = _time(summary.run.at)
    if rule is None or rule.requirement == "ignore" or at is None:
        return None
    begins, ends = (_time(summary.policy.document.get(key)) for key in ("valid_from", "valid_until"))
    if ends is not None and at > ends:
        return _incident(summary, rule, f"The policy expired on {_date(ends)}", at, _EXPIRED)
    if begins is not None and at < begins:
        return _incident(summary, rule, f"The policy is not valid until {_date(begins)}", at, _NOT_YET_VALID)
    return None


def _incident(summary: Summary, rule: RuleSummary, what: str, at: datetime, remediation: str) -> Incident:
    kind = Kind.WARNING if rule.requirement == "warn" else Kind.PERIOD
    responses = count(summary.counts.total - summary.counts.unreadable, "response")
    result = f"none of {responses} is affirmed"
    if kind is Kind.WARNING:
        result = f"{count(rule.records, 'response')} (the policy makes this a warning)"
    return Incident(
        kind=kind,
        severity=severity_of(kind),
        title=f"{what}: {result}",
        records=rule.records,
        first=Place(rule.first.source, rule.first.line),
        rules=(POLICY_PERIOD,),
        problem=f"{rule.message}: the records were appraised as of {moment(int(at.timestamp()))}",
        remediation=remediation,
    )


def _time(value: Any) -> datetime | None:
    """Parse a time of the summary, which may have been read from a file; None if it is not a time with an offset."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time if time.utcoffset() is not None else None


def _date(time: datetime) -> str:
    return date_text(int(time.timestamp()))
