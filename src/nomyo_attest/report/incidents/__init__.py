"""List the incidents of an audit: what happened, as sentences that a person can act on, most urgent first."""

from __future__ import annotations

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.incidents.across import of_checks, of_findings
from nomyo_attest.report.incidents.failures import of_groups, of_other_records, of_unreadable
from nomyo_attest.report.incidents.model import COUNTERS, Change, Incident, Kind, Severity, urgency

__all__ = ["COUNTERS", "Change", "Incident", "Kind", "Severity", "incidents"]


def incidents(summary: Summary) -> list[Incident]:
    """List the incidents of an audit, most urgent first.

    A record that is not affirmed is in one incident of each rule that does not hold for it; rules that are undecided as
    a consequence of others, and rules that the policy ignores, do not create an incident. The findings across records
    about the same records, or about the same AIK, are one incident. The number of incidents is bounded: where there are
    too many of a kind, one incident counts the others.
    """
    found = [
        *of_groups(summary),
        *of_other_records(summary),
        *of_findings(summary),
        *of_checks(summary),
        *of_unreadable(summary),
    ]
    return sorted(found or of_checks(summary, all_of_them=True), key=urgency)
