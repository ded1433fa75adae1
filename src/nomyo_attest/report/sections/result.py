"""Build the section on the result: records by verdict, and what the verdicts are based on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nomyo_attest.audit.cross_record.model import NOT_EVALUATED
from nomyo_attest.audit.row import UNREADABLE
from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.causes import (
    RELEASED_NOT_AFFIRMED,
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
    Entries,
    Entry,
    Fact,
    Facts,
    Mark,
    Name,
    Paragraph,
    Quote,
    Row,
    Section,
    Share,
    Table,
    Text,
)
from nomyo_attest.report.formatting import count, moment, number, sentence, shares
from nomyo_attest.report.incidents import Incident
from nomyo_attest.report.incidents.wording import joined_with_and
from nomyo_attest.report.limits import limit_names, trust_text

FULL, PAGE = Detail.FULL, Detail.PAGE

_VERDICT_MEANINGS: Final = {
    "affirming": "every rule that the policy requires holds",
    "warning": "all required rules hold; a rule that the policy makes a warning does not hold or is undecided",
    "contraindicated": "a required rule does not hold",
    "none": "no required rule fails, but a required rule is undecided, or there is no evidence",
    UNREADABLE: "a file, an archive or a line could not be read, and was not appraised",
}


def result_section(summary: Summary, listed_incidents: Sequence[Incident]) -> Section:
    """Show the records by verdict, which of the affirmed records are in an incident, and the limits of the result."""
    total = summary.counts.total
    verdicts = Paragraph(_result_sentences(summary), PAGE if total else Detail.BRIEF)
    counts = verdict_counts(summary.counts)
    rows = [
        Row(
            (Mark(name, name), records, Share(share, records, total, name), _VERDICT_MEANINGS[name]),
            Detail.BRIEF if records else PAGE,
        )
        for (name, records), share in zip(counts, shares([records for _, records in counts]), strict=True)
    ]
    numeric = (Column("records", numeric=True), Column("share", numeric=True))
    columns = (Column("verdict"), *numeric, Column("meaning", detail=PAGE))
    table = Table("counts", "Records by verdict", columns, rows if total else ())
    in_incidents = _affirmed_in_incidents(summary, listed_incidents)
    return Section(
        "result",
        "Result",
        [verdicts, table, *([Paragraph(in_incidents)] if in_incidents else []), _facts(summary), *_released(summary)],
    )


def _result_sentences(summary: Summary) -> str:
    counts = summary.counts
    if not counts.total:
        return "No record was appraised, so nothing is affirmed."
    not_passed = counts.total - counts.affirming - counts.warning
    if counts.total == 1:
        outcome = "is affirmed" if counts.affirming else "passes with a warning that the policy allows"
        parts = [f"The record {'is not affirmed' if not_passed else outcome}."]
    else:
        parts = [f"{number(counts.affirming)} of {number(counts.total)} records are affirmed."]
        if counts.warning:
            parts.append(f"{number(counts.warning)} more pass with a warning that the policy allows.")
        if not_passed:
            parts.append(f"{number(not_passed)} {'is' if not_passed == 1 else 'are'} not affirmed.")
    if findings := sum(rule.findings for rule in summary.cross_record_rules):
        parts.append(f"The cross-record checks have {count(findings, 'finding')}.")
    if not_evaluated := sum(rule.outcome == NOT_EVALUATED for rule in summary.cross_record_rules):
        parts.append(f"{count(not_evaluated, 'cross-record check')} could not be evaluated.")
    return " ".join(parts)


def _affirmed_in_incidents(summary: Summary, listed_incidents: Sequence[Incident]) -> str:
    """State how many affirmed records are in no incident; empty if no records were compared, or nothing was found.

    An affirmed record can only be in an incident across records, since every rule holds for it.
    """
    affirmed, affected = summary.counts.affirming, summary.affected
    if affected is None or not affirmed or not listed_incidents:
        return ""
    evaluated = ""
    if any(rule.outcome == NOT_EVALUATED for rule in summary.cross_record_rules):
        evaluated = ", as far as the cross-record checks could be evaluated"
    subject = "The affirmed record" if affirmed == 1 else f"All {number(affirmed)} affirmed records"
    verb, them = ("is", "it") if affirmed == 1 else ("are", "them")
    if not affected.affirming:
        return f"{subject} {verb} in no incident{evaluated}."
    where = _incident_numbers(summary, listed_incidents)
    free = affirmed - affected.affirming
    if not free:
        return f"{subject} {verb} in {where}: see there whether you can rely on {them}."
    verb, them = ("is", "it") if affected.affirming == 1 else ("are", "them")
    return (
        f"Of {number(affirmed)} affirmed records, {number(free)} {'is' if free == 1 else 'are'} in no "
        f"incident{evaluated}. {number(affected.affirming)} {verb} in {where}: see there whether you can rely on "
        f"{them}."
    )


def _incident_numbers(summary: Summary, listed_incidents: Sequence[Incident]) -> str:
    """Name the incidents that have affirmed records, by their numbers."""
    numbers = [str(place) for place, incident in enumerate(listed_incidents, 1) if incident.affirming]
    names = [f"incident{'s' * (len(numbers) > 1)} {joined_with_and(numbers)}"] if numbers else []
    if sum(rule.findings for rule in summary.cross_record_rules) > len(summary.cross_record):
        names.append("findings that are not listed")
    return " or in ".join(names) or "an incident"


def _facts(summary: Summary) -> Facts:
    policy = summary.policy
    limits = limit_names(summary)
    quoted: tuple[Text, ...] = tuple(part for limit in limits for part in ("; ", Quote(limit)))[1:]
    rows = [
        Fact("AIK trust", trust_text(summary), FULL),
        *([Fact("Not established", (*quoted, "."), FULL)] if limits else []),
        Fact("Policy", (Name(policy.id), " ", Digest(policy.digest.removeprefix("sha256:"))), PAGE),
        Fact("Inputs", (count(summary.sources_total, "source"), ", digest ", Digest(summary.inputs_digest)), PAGE),
    ]
    if summary.period_begins is not None and summary.period_ends is not None:
        rows.append(Fact("Period", f"{moment(summary.period_begins)} to {moment(summary.period_ends)}", FULL))
    if summary.outside:
        text = f"{count(summary.outside, 'record')}, not appraised: {outside_text(summary)}"
        rows.append(Fact("Outside the window", text))
    if summary.blank:
        rows.append(Fact("Without a record", count(summary.blank, "blank line")))
    if text := released_text(summary.released):
        rows.append(Fact(RELEASED_NOT_AFFIRMED, text))
    return Facts(rows)


def _released(summary: Summary) -> list[Block]:
    if not summary.released.not_affirmed:
        return []
    amount = count(summary.released.not_affirmed, "completion")
    facts = [Fact("remediation", sentence(REMEDIATION_RELEASED))]
    return [Entries("released", [Entry(Mark("contraindicated", "RELEASED"), "not affirmed", amount, facts)])]
