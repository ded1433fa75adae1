"""The sections of an audit's report: what they say, in the order in which an auditor asks.

Built once from a `Summary`. What each format shows of them, and how, is up to its renderer.
"""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.row import UNREADABLE
from nomyo_attest.audit.summary import NOT_EVALUATED, Summary
from nomyo_attest.report.causes import (
    NOT_AFFIRMED,
    REMEDIATION_RELEASED,
    outside_text,
    released_text,
    verdict_counts,
)
from nomyo_attest.report.document import (
    Block,
    Column,
    Detail,
    Digest,
    Document,
    Entries,
    Entry,
    Fact,
    Facts,
    Mark,
    Name,
    Paragraph,
    Row,
    Section,
    Share,
    Table,
)
from nomyo_attest.report.formatting import count, moment, number, sentence, shares
from nomyo_attest.report.sections.findings import cross_record, failures, rules, unreadable_sources
from nomyo_attest.report.sections.fleet import claims, profiles, timeline
from nomyo_attest.report.sections.inputs import limits, policy, provenance, sources

__all__ = ["document"]

FULL, PAGE = Detail.FULL, Detail.PAGE

_STATUS: Final = {
    0: Mark("affirming", "passed"),
    1: Mark("contraindicated", "not passed"),
    2: Mark("unreadable", "not complete: something could not be read"),
}
_MEANINGS: Final = {
    "affirming": "every rule that the policy requires holds",
    "warning": "all required rules hold; a rule that the policy made a warning does not hold, or is undecided",
    "contraindicated": "a required rule does not hold",
    "none": "no required rule fails, but one is undecided; or there is no evidence",
    UNREADABLE: "a file, an archive or a line could not be read: nothing was appraised",
}


def document(summary: Summary) -> Document:
    """Build the report of an audit."""
    applied = summary.policy
    return Document(
        title=f"{count(summary.counts.total, 'record')} in {count(summary.sources_total, 'source')}",
        subject=("policy ", Name(applied.id, 60), " (", Name(f"{applied.digest[:19]}…"), ")"),
        code=summary.status,
        status=_STATUS.get(summary.status, _STATUS[1]),
        reason=summary.status_reason,
        sections=(
            _result(summary),
            rules(summary),
            unreadable_sources(summary),
            cross_record(summary),
            timeline(summary),
            profiles(summary),
            failures(summary),
            claims(summary),
            sources(summary),
            policy(summary),
            limits(summary),
            provenance(summary),
        ),
    )


def _result(summary: Summary) -> Section:
    total = summary.counts.total
    told = Paragraph(_sentence(summary), PAGE if total else Detail.BRIEF)
    found = verdict_counts(summary.counts)
    rows = [
        Row(
            (Mark(name, name), records, Share(share, records, total, name), _MEANINGS[name]),
            Detail.BRIEF if records else PAGE,
        )
        for (name, records), share in zip(found, shares([records for _, records in found]), strict=True)
    ]
    numeric = (Column("records", numeric=True), Column("share", numeric=True))
    of = (Column("verdict"), *numeric, Column("meaning", detail=PAGE))
    table = Table("counts", "Records by verdict", of, rows if total else ())
    return Section("result", "Result", [told, table, _facts(summary), *_released(summary)])


def _sentence(summary: Summary) -> str:
    counts = summary.counts
    if not counts.total:
        return "No record was appraised, so nothing is affirmed."
    rest = counts.total - counts.affirming - counts.warning
    if counts.total == 1:
        one = "is affirmed" if counts.affirming else "passes with a warning that the policy allows"
        parts = [f"The one record {'is not affirmed' if rest else one}."]
    else:
        parts = [f"{number(counts.affirming)} of {number(counts.total)} records are affirmed."]
        if counts.warning:
            parts.append(f"{number(counts.warning)} more pass with a warning that the policy allows.")
        parts.append(f"{number(rest)} {'is' if rest == 1 else 'are'} not affirmed." if rest else "None is refused.")
    if findings := sum(rule.findings for rule in summary.cross_record_rules):
        parts.append(f"There {'is' if findings == 1 else 'are'} {count(findings, 'finding')} across records.")
    if open_checks := sum(rule.outcome == NOT_EVALUATED for rule in summary.cross_record_rules):
        parts.append(f"{count(open_checks, 'cross-record check')} could not be evaluated.")
    return " ".join(parts)


def _facts(summary: Summary) -> Facts:
    applied = summary.policy
    rows = [
        Fact("Policy", (Name(applied.id), " ", Digest(applied.digest.removeprefix("sha256:"))), PAGE),
        Fact("Inputs", (count(summary.sources_total, "source"), ", digest ", Digest(summary.inputs_digest)), PAGE),
    ]
    if summary.timeline:
        end = summary.timeline[-1].at + summary.bucket_seconds
        rows.append(Fact("Period", f"{moment(summary.timeline[0].at)} to {moment(end)}", FULL))
    if summary.outside:
        text = f"{count(summary.outside, 'record')}, not appraised: {outside_text(summary)}"
        rows.append(Fact("Outside the window", text))
    if summary.blank:
        rows.append(Fact("Without a record", count(summary.blank, "blank line")))
    if text := released_text(summary.released):
        rows.append(Fact(NOT_AFFIRMED, text))
    return Facts(rows)


def _released(summary: Summary) -> list[Block]:
    if not summary.released.not_affirmed:
        return []
    amount = count(summary.released.not_affirmed, "completion")
    facts = [Fact("what to do", sentence(REMEDIATION_RELEASED))]
    return [Entries("released", [Entry(Mark("contraindicated", "RELEASED"), "not affirmed", amount, facts)])]
