"""Build the sections on failures: rules, cross-record checks, unreadable sources, and records that are not affirmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from nomyo_attest.appraisal import Finding, Outcome
from nomyo_attest.audit.cross_record.model import FOUND, HELD, NOT_EVALUATED, CrossRecordFinding, CrossRecordRuleSummary
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.summary import OUTCOMES, Summary
from nomyo_attest.policy.model import Requirement, Trust
from nomyo_attest.report.causes import (
    REMEDIATION_UNREADABLE,
    VALUE_MAX,
    Cause,
    UnreadableSource,
    causes,
    causes_by_source,
    dependent_rules,
    finding_message,
    ignored_rules,
    known_rule,
    lines_text,
    remediation_not_evaluated,
    unreadable_by_source,
)
from nomyo_attest.report.document import (
    Aik,
    Block,
    Column,
    Detail,
    Digest,
    Entries,
    Entry,
    Fact,
    Fold,
    Mark,
    Name,
    Paragraph,
    Quote,
    Row,
    Section,
    Share,
    Table,
    Text,
    more,
)
from nomyo_attest.report.explain import sort_findings, value_text
from nomyo_attest.report.formatting import count, number, sentence, shares
from nomyo_attest.report.labels import aik_labels, pcr_labels

FULL, PAGE = Detail.FULL, Detail.PAGE

_TAG_KINDS: Final = {"FAIL": "contraindicated", "UNDECIDED": "none", "WARNING": "warning"}
_MESSAGE_MAX: Final = 500
_LONG_MAX: Final = 2000
_SOURCES_MAXIMUM: Final = 100
_SOURCES_BRIEF: Final = 3
_PLACES_MAXIMUM: Final = 5
_KEYED_BY_AIK: Final = frozenset({"reused.aik", "rollback.clock", "rollback.counters"})
"""The cross-record rules whose findings have an AIK's Name as their key."""

_FINDINGS_MAXIMUM: Final = 4
_REFERENCES_MAXIMUM: Final = 4
_COMPARED_MAXIMUM: Final = 6


# ---- rules and causes


def rules_section(summary: Summary) -> Section:
    """List the rules that do not hold, or are undecided, for some records."""
    title = "Rules that do not hold"
    if not summary.rules:
        return Section("rules", title, [Paragraph("Every rule holds for every record appraised.", PAGE)])
    all_causes = causes(summary)
    by_source: dict[tuple[str, str], list[Cause]] = {}
    for cause in causes_by_source(summary):
        by_source.setdefault((cause.rule, cause.outcome), []).append(cause)
    entries = [_cause(cause, by_source.get((cause.rule, cause.outcome), []), summary) for cause in all_causes]
    blocks: list[Block] = [Entries("rules", entries, "rule")]
    if not all_causes:
        blocks = [Paragraph("All rules that the policy requires hold; see the table of all rules.", PAGE)]
    if dependent := dependent_rules(summary):
        blocks.append(Paragraph(("Undecided because of these rules: ", *_names(dependent, 6), ".")))
    if ignored := ignored_rules(summary):
        blocks.append(Paragraph(("Ignored by the policy: ", *_names(ignored, 30), ".")))
    return Section(
        "rules", title, [*blocks, _every_rule(summary, dependent)], number(len(all_causes)) if all_causes else ""
    )


def _names(rules: Sequence[str], maximum: int) -> Iterator[Text]:
    for index, rule in enumerate(rules[:maximum]):
        yield from (", ", Name(rule, 60)) if index else (Name(rule, 60),)
    if len(rules) > maximum:
        yield f" and {number(len(rules) - maximum)} more"


def _cause(cause: Cause, by_source: list[Cause], summary: Summary) -> Entry:
    rule = known_rule(cause.rule)
    total = summary.counts.total
    facts = [Fact("question", rule.question, PAGE)] if rule else []
    facts.append(Fact("problem", Quote(cause.message, _MESSAGE_MAX, message=True), PAGE if cause.expected else FULL))
    if cause.expected:
        facts += [
            Fact("expected", Quote(cause.expected, 2 * VALUE_MAX), FULL),
            Fact("got", Quote(cause.got, 2 * VALUE_MAX), FULL),
        ]
    share = Share(shares([cause.records], total)[0], cause.records, total, _TAG_KINDS[cause.tag])
    facts += [Fact("share", share, PAGE), Fact("first", cause.first, FULL)]
    if cause.remediation:
        facts.append(Fact("remediation", cause.remediation, FULL))
    if rule and rule.core:
        facts.append(Fact("policy", "core: every policy requires the rule", PAGE))
    items = [
        [Fact("in", (Name(cause_in_source.source), ": ", lines_text(cause_in_source.lines, cause_in_source.records)))]
        for cause_in_source in by_source[:_SOURCES_MAXIMUM]
    ]
    return Entry(
        Mark(_TAG_KINDS[cause.tag], cause.tag),
        Name(cause.rule, 60),
        count(cause.records, "record"),
        facts,
        items,
        noun="source",
        total=len(by_source),
    )


def _every_rule(summary: Summary, dependent: Sequence[str]) -> Fold:
    """Show the counts of all rules, including those that are undecided as a consequence of others."""
    columns = [Column(name) for name in ("rule", "policy")]
    columns += [Column(name, numeric=True) for name in ("fails", "undecided", "undecided because of another rule")]
    counts: dict[str, dict[str, int]] = {}
    for rule in summary.rules:
        counts.setdefault(rule.rule, dict.fromkeys(OUTCOMES, 0))[rule.outcome] = rule.records
    requirements = {rule.rule: rule.requirement for rule in summary.rules}
    rows = [
        Row((Name(rule), Quote(requirements[rule], 20), *(by_outcome[outcome] for outcome in OUTCOMES)))
        for rule, by_outcome in counts.items()
    ]
    title = f"All rules that fail or are undecided for some record: {number(len(counts))}"
    if dependent:
        title += f"; {len(dependent)} of them only as a consequence of others"
    why = (
        "Without evidence, or with malformed evidence, many rules are undecided. A record is never affirmed if a "
        "required rule is undecided."
    )
    return Fold(title, [Paragraph(why), Table("everyrule", "Counts of every rule", columns, rows, "rule")], PAGE)


# ---- across records

_OUTCOME_MARKS: Final = {
    FOUND: Mark("contraindicated", "FOUND"),
    NOT_EVALUATED: Mark("none", "NOT EVALUATED"),
    HELD: Mark("affirming", "holds"),
}


def cross_record_section(summary: Summary) -> Section:
    """Show the cross-record checks: those with findings, those that were not evaluated, and those that hold."""
    title = "Across records"
    rules = [rule for rule in summary.cross_record_rules if summary.counts.total or rule.outcome != HELD]
    if not rules:
        return Section("cross_record", title, [Paragraph("No cross-record check was evaluated.", PAGE)])
    by_rule: dict[str, list[CrossRecordFinding]] = {}
    for finding in summary.cross_record:
        by_rule.setdefault(finding.rule, []).append(finding)
    order = list(_OUTCOME_MARKS)
    rules.sort(key=lambda rule: order.index(rule.outcome) if rule.outcome in order else len(order))
    intro = "Records may contradict each other although each of them is affirmed. These checks compare records."
    aiks = aik_labels(summary.policy.document)
    entries = [_cross_record_rule(rule, by_rule.pop(rule.rule, []), aiks) for rule in rules]
    findings = sum(rule.findings for rule in rules)
    amount = count(findings, "finding") if findings else ""
    return Section("cross_record", title, [Paragraph(intro, PAGE), Entries("cross_record", entries, "check")], amount)


def _cross_record_rule(
    rule: CrossRecordRuleSummary, findings: list[CrossRecordFinding], aiks: Mapping[str, str]
) -> Entry:
    mark = _OUTCOME_MARKS.get(rule.outcome, _OUTCOME_MARKS[NOT_EVALUATED])
    amount: Text = Quote(rule.remark, _MESSAGE_MAX)
    facts = [Fact("question", rule.question, Detail.BRIEF if rule.outcome == NOT_EVALUATED else FULL)]
    if rule.outcome == FOUND:
        amount = f"{count(rule.findings, 'finding')}, {count(rule.records, 'record')}"
        if rule.remark:
            facts.append(Fact("records", Quote(rule.remark, _MESSAGE_MAX, message=True)))
        facts.append(Fact("remediation", sentence(rule.remediation[:_LONG_MAX]), FULL))
    elif rule.outcome != HELD:
        amount = "accepted" if rule.accepted else ""
        facts.append(Fact("problem", Quote(rule.remark, _MESSAGE_MAX, message=True)))
        facts.append(Fact("remediation", sentence(remediation_not_evaluated(rule))))
    items = [_cross_record_finding(finding, aiks) for finding in findings]
    return Entry(mark, Name(rule.rule, 60), amount, facts, items, noun="finding", total=rule.findings)


def _cross_record_finding(finding: CrossRecordFinding, aiks: Mapping[str, str]) -> list[Fact]:
    between = [place for place in finding.places[: _PLACES_MAXIMUM + 1] if place not in (finding.first, finding.last)]
    also: list[Text] = [part for place in between for part in (place, "\n")]
    unlisted = finding.records - len(between) - 2
    if unlisted > 0:
        also.append(f"{number(unlisted)} more" if not between else f"and {number(unlisted)} more")
    facts = [
        Fact("found", Quote(finding_message(finding), _MESSAGE_MAX, message=True)),
        _key(finding, aiks),
        Fact("first", finding.first),
        Fact("last", finding.last),
    ]
    return [*facts, Fact("also", tuple(also), PAGE)] if also else facts


def _key(finding: CrossRecordFinding, aiks: Mapping[str, str]) -> Fact:
    if finding.rule not in _KEYED_BY_AIK:
        return Fact("key", Digest(finding.key), FULL)
    label = aiks.get(finding.key, "")
    return Fact("AIK", Aik(finding.key, label), Detail.BRIEF if label else FULL)


# ---- what could not be read


def unreadable_section(summary: Summary) -> Section:
    """List the sources that could not be read to the end, or that have unreadable records."""
    title = "Could not be read"
    sources = unreadable_by_source(summary)
    if not sources:
        return Section("unreadable", title, [Paragraph("Every source was read to the end.", PAGE)])
    by_problem: dict[str, list[UnreadableSource]] = {}
    for source in sources:
        by_problem.setdefault(source.problem, []).append(source)
    entries = [_unreadable(sources) for sources in sorted(by_problem.values(), key=len, reverse=True)]
    unlisted = max(0, summary.sources_unreadable - sum(bool(source.problem) for source in summary.sources))
    listed = Entries("unreadable", entries, "reason")
    blocks: list[Block] = [listed, Paragraph(more(unlisted, "source"))] if unlisted else [listed]
    return Section("unreadable", title, blocks, count(len(sources) + unlisted, "source"))


def _unreadable(sources: Sequence[UnreadableSource]) -> Entry:
    """Describe the sources that have the same problem."""
    first = sources[0]
    items: list[list[Fact]] = []
    name: Text = Name(first.source)
    amount = _unreadable_lines(first)
    if len(sources) > 1:
        name, amount = count(len(sources), "source"), count(sum(source.records for source in sources), "record")
        items = [[Fact("source", _unreadable_source(source))] for source in sources[:_SOURCES_MAXIMUM]]
    problem = Fact("problem", Quote(first.problem, message=True))
    remediation = Fact("remediation", sentence(REMEDIATION_UNREADABLE), FULL)
    return Entry(
        Mark("unreadable", "UNREADABLE"),
        name,
        amount,
        [problem, remediation],
        items,
        brief=_SOURCES_BRIEF,
        noun="source",
        total=len(sources) if items else 0,
    )


def _unreadable_source(source: UnreadableSource) -> Text:
    lines = _unreadable_lines(source)
    return (Name(source.source), "  ", lines) if lines else Name(source.source)


def _unreadable_lines(source: UnreadableSource) -> str:
    """List the lines; empty if the source as a whole could not be read (line 0)."""
    lines = [line for line in source.lines[:10] if line]
    return lines_text(lines, source.records) if lines or source.records > 1 else ""


# ---- records that are not affirmed


def failures_section(summary: Summary) -> Section:
    """List the records that are not affirmed, with the rules that do not hold and their values."""
    title = "Records that are not affirmed"
    if not summary.failures_total:
        text = "Every record is affirming, or has a warning that the policy allows."
        return Section("failures", title, [Paragraph(text, PAGE)])
    note = (
        "If a digest nearly equals the expected one, the digits that differ are marked. The verdicts file (`--out`) "
        "contains every record."
    )
    labels, aiks = pcr_labels(summary.policy.document), aik_labels(summary.policy.document)
    entries = [_failure(record, labels, aiks) for record in summary.failures]
    listed = Entries("failures", entries, "record", summary.failures_total, PAGE)
    return Section("failures", title, [Paragraph(note, PAGE), listed], number(summary.failures_total))


_Labels = Mapping[str, Mapping[str, str]]
"""PCR, such as ``"sha256:7"`` → reference value in hex → its label."""


def _failure(record: Mapping[str, Any], labels: _Labels, aiks: Mapping[str, str]) -> Entry:
    verdict = str(record.get("verdict", UNREADABLE))
    payload_id = record.get("payload_id")
    place = Place(str(record.get("source", "")), record.get("line", 0), record.get("processed_at"))
    grouped = sort_findings(_as_finding(finding) for finding in record.get("findings") or ())
    reasons = [
        *(("fails", finding) for finding in grouped.failed),
        *(("undecided", finding) for finding in grouped.undecided),
    ]
    reasons += [("warning", finding) for finding in grouped.softened]
    facts = [fact for tag, finding in reasons[:_FINDINGS_MAXIMUM] for fact in _finding_facts(tag, finding, labels)]
    if not reasons:
        facts = [Fact("reason", Quote(str(record.get("reason") or "no reason is recorded"), _MESSAGE_MAX))]
    if len(reasons) > _FINDINGS_MAXIMUM:
        facts.append(Fact("", f"and {count(len(reasons) - _FINDINGS_MAXIMUM, 'other rule')}"))
    if grouped.consequences:
        facts.append(Fact("", f"{count(len(grouped.consequences), 'rule')} undecided as a consequence"))
    if record.get("aik_pinned"):
        facts.append(Fact("AIK", _pinned_aik(record, aiks)))
    identity: Text = ("payload id ", Name(str(payload_id))) if payload_id is not None else "no payload id"
    return Entry(Mark(verdict if verdict in VERDICTS else "none", verdict), place, identity, facts)


def _pinned_aik(record: Mapping[str, Any], aiks: Mapping[str, str]) -> Text:
    name = str(record.get("aik_name") or "")
    aik = Aik(name, aiks.get(name, ""))
    is_proven = record.get("trust") == Trust.PINNED_AIK.value
    return aik if is_proven else (aik, ": not proven, the signature does not verify")


def _as_finding(record: Mapping[str, Any]) -> Finding:
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


def _finding_facts(tag: str, finding: Finding, labels: _Labels) -> Iterator[Fact]:
    """Yield the facts of a finding: its rule, its message, and the expected and found values."""
    yield Fact(tag, (Name(finding.rule), ": ", Quote(finding.message, VALUE_MAX, message=True)))
    if finding.rule == "pcr.values" and isinstance(finding.expected, dict) and isinstance(finding.got, dict):
        yield from _pcrs_compared(finding.expected, finding.got, labels)
        return
    if finding.expected is not None:
        yield Fact("expected", _value(finding.rule, finding.expected, finding.got))
    if finding.got is not None:
        yield Fact("got", _value(finding.rule, finding.got, finding.expected))


def _value(rule: str, value: Any, other: Any) -> Text:
    if _is_hex(value) and not rule.startswith("claims."):
        return Digest(value, near=other if _is_hex(other) and len(other) == len(value) else "")
    return Name(value_text(rule, value), VALUE_MAX)


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and 16 <= len(value) <= VALUE_MAX and not set(value) - set("0123456789abcdef")


def _pcrs_compared(expected: dict[str, Any], got: dict[str, Any], labels: _Labels) -> Iterator[Fact]:
    """Yield the reference values of each PCR and, below them, its value."""
    for pcr, references in list(expected.items())[:_COMPARED_MAXIMUM]:
        known = (
            [reference for reference in references if isinstance(reference, str)]
            if isinstance(references, list)
            else []
        )
        value = got.get(pcr)
        value = value if isinstance(value, str) else None
        for index, reference in enumerate(known[:_REFERENCES_MAXIMUM]):
            label = labels.get(pcr, {}).get(reference, "")
            note = (" ", Quote(label, 80)) if label else ()
            yield Fact((Name(pcr, 20), " or" if index else " expected"), (Digest(reference, near=value or ""), *note))
        if len(known) > _REFERENCES_MAXIMUM:
            yield Fact("", f"or one of {len(known) - _REFERENCES_MAXIMUM} more")
        if not known:
            yield Fact((Name(pcr, 20), " expected"), "any signed value")
        near = min(known, key=lambda reference: _differing_digits(reference, value), default="") if value else ""
        yield Fact((Name(pcr, 20), " got"), "not signed" if value is None else Digest(value, near=near))
    if len(expected) > _COMPARED_MAXIMUM:
        yield Fact("", f"and {len(expected) - _COMPARED_MAXIMUM} more PCRs")


def _differing_digits(value: str, other: str | None) -> int:
    return sum(a != b for a, b in zip(value, other or "", strict=False))
