"""List the incidents of an audit: what happened, as sentences that a person can act on, most urgent first."""

from __future__ import annotations

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.incidents.cross_record import cross_record_incidents, unevaluated_check_incidents
from nomyo_attest.report.incidents.failures import group_incidents, unlisted_record_incidents, unreadable_incidents
from nomyo_attest.report.incidents.model import COUNTERS, Change, Incident, Kind, Severity, urgency
from nomyo_attest.report.incidents.policy_period import POLICY_PERIOD, policy_period_incident

__all__ = ["COUNTERS", "Change", "Incident", "Kind", "Severity", "incidents"]


def incidents(summary: Summary) -> list[Incident]:
    """List the incidents of an audit, most urgent first.

    A record that is not affirmed is in one incident of each rule that does not hold for it. Rules that are undecided as
    a consequence of others, and rules that the policy ignores, do not create an incident. Cross-record findings about
    the same records, or about the same AIK, are one incident. A policy that was not valid is one incident, without the
    other rules of the records. The number of incidents is bounded: if there are too many
    of a kind, they are combined into one.
    """
    period = policy_period_incident(summary)
    apart = (POLICY_PERIOD,) if period is not None else ()
    listed = [
        *([period] if period is not None else []),
        *group_incidents(summary, apart),
        *unlisted_record_incidents(summary, apart),
        *cross_record_incidents(summary),
        *unevaluated_check_incidents(summary),
        *unreadable_incidents(summary),
    ]
    return sorted(listed or unevaluated_check_incidents(summary, without_values=True), key=urgency)
