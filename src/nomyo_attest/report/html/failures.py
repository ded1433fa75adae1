"""The records that are not affirmed: where each stands, which rules refuse it, and on what values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nomyo_attest.appraisal import Finding, Outcome
from nomyo_attest.audit.row import UNREADABLE
from nomyo_attest.audit.summary import Summary
from nomyo_attest.policy.model import Requirement
from nomyo_attest.report.formatting import count, number
from nomyo_attest.report.html.markup import Markup, element, fit, join
from nomyo_attest.report.html.tables import columns, row, section, table
from nomyo_attest.report.html.values import Labels, labels_of, told
from nomyo_attest.report.html.wording import code, outside, spot, stamp, verdict
from nomyo_attest.report.reasons import sort_findings

_SIZE: Final = 1_250_000
"""Bytes of the table: the page has to fit into a mail."""

_FINDINGS_MAXIMUM: Final = 4
_REASON_MAX: Final = 400


def failures(summary: Summary) -> Markup:
    """The section."""
    title = "Records that are not affirmed"
    if not summary.failures_total:
        return section(
            "failures", title, element("p", "None: every record is affirming, or warns as the policy allows.")
        )
    labels = labels_of(summary.policy.document)
    of = columns("record", "payload id, time (UTC)", "verdict", "rules, expected and got")
    rows = fit((_row(one, labels) for one in summary.failures), _SIZE)
    caption = f"{count(summary.failures_total, 'record')}: contraindicated, none or unreadable."
    if len(rows) < summary.failures_total:
        caption = (
            f"The first {number(len(rows))} of {number(summary.failures_total)} are shown; the verdicts file (--out) "
            f"has all."
        )
    note = (
        "A digest that nearly is the one expected has the digits marked that differ; two unlike digests differ almost "
        "everywhere, and nothing is marked."
    )
    return section("failures", title, element("p", note), table("failures", caption, of, rows))


def _row(record: Mapping[str, Any], labels: Labels) -> Markup:
    of = columns("", "", "", "")
    payload_id = record.get("payload_id")
    time = record.get("processed_at")
    where = spot(str(record.get("source", "")), record.get("line", 0))
    named = code(str(payload_id)) if payload_id is not None else Markup("no payload id")
    cells = [
        where,
        join([named, element("br"), element("small", stamp(time))]),
        verdict(str(record.get("verdict", UNREADABLE))),
        _why(record, labels),
    ]
    return row(of, cells)


def _why(record: Mapping[str, Any], labels: Labels) -> Markup:
    """The findings that are the reason, and how many only follow from them."""
    found = sort_findings(_finding(one) for one in record.get("findings") or ())
    reasons = [*((one, "fails", "contraindicated") for one in found.failed)]
    reasons += [(one, "cannot be told", "none") for one in found.open]
    reasons += [(one, "warning", "warning") for one in found.softened]
    if not reasons:
        return element("p", outside(str(record.get("reason") or "no reason is recorded"), _REASON_MAX))
    parts = [told(one, labels, tag, kind) for one, tag, kind in reasons[:_FINDINGS_MAXIMUM]]
    more = len(reasons) - _FINDINGS_MAXIMUM
    if more > 0:
        parts.append(element("p", f"and {count(more, 'other rule')}"))
    if found.waiting:
        parts.append(element("p", element("small", f"{count(len(found.waiting), 'rule')} not decided because of this")))
    return join(parts)


def _finding(record: Mapping[str, Any]) -> Finding:
    return Finding(
        rule=str(record.get("rule", "")),
        outcome=Outcome(record.get("outcome", Outcome.UNDECIDED.value)),
        requirement=Requirement(record.get("requirement", Requirement.REQUIRED.value)),
        field="",
        expected=record.get("expected"),
        got=record.get("got"),
        message=str(record.get("message", "")),
        remediation="",
    )
