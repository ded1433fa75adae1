"""Build the section on incidents: what happened, most urgent first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from nomyo_attest.audit.summary import Boot
from nomyo_attest.report.document import (
    Aik,
    Block,
    Detail,
    Digest,
    Entries,
    Entry,
    Fact,
    Mark,
    Name,
    Paragraph,
    Quote,
    Section,
    Text,
)
from nomyo_attest.report.formatting import count, duration, moment, number
from nomyo_attest.report.incidents import COUNTERS, Change, Incident, Kind, Severity
from nomyo_attest.report.incidents.plain import is_digest, value_text

FULL, PAGE = Detail.FULL, Detail.PAGE

SEVERITY_KINDS: Final = {
    Severity.HIGH: "contraindicated",
    Severity.MEDIUM: "warning",
    Severity.LOW: "none",
}
"""Severity → the verdict whose color and symbol an incident has."""

_CHANGES_MAXIMUM: Final = 6
_REFERENCES_MAXIMUM: Final = 4
_VALUE_MAX: Final = 400


def incidents_section(listed_incidents: Sequence[Incident]) -> Section:
    """List the incidents, with what changed, where, and what to do."""
    title = "Incidents"
    if not listed_incidents:
        return Section("incidents", title, [Paragraph("No incidents.", PAGE)])
    listed: Block = Entries("incidents", [_entry(*numbered) for numbered in enumerate(listed_incidents, 1)], "incident")
    return Section("incidents", title, [listed], number(len(listed_incidents)))


def _entry(position: int, incident: Incident) -> Entry:
    severity = incident.severity
    return Entry(
        Mark(SEVERITY_KINDS[severity], severity.value.upper()),
        incident.title,
        facts=list(_facts(incident)),
        items=[_boot(boot) for boot in incident.boots] if incident.boots_total > 1 else [],
        noun="boot",
        number=position,
        total=incident.boots_total if incident.boots_total > 1 else 0,
    )


def _facts(incident: Incident) -> Iterator[Fact]:
    first, last = incident.first, incident.last
    if first is not None and first.processed_at is not None:
        yield Fact("when", _period(first.processed_at, last.processed_at if last else None), PAGE)
    yield Fact("records", _records(incident), PAGE if incident.affirming is None else Detail.BRIEF)
    if incident.problem and not incident.changes:
        yield Fact("problem", Quote(incident.problem, message=True), FULL if incident.keys else Detail.BRIEF)
    for change in incident.changes[:_CHANGES_MAXIMUM]:
        yield from _change(change)
    if len(incident.changes) > _CHANGES_MAXIMUM:
        yield Fact("", f"and {count(len(incident.changes) - _CHANGES_MAXIMUM, 'more value')}")
    if incident.values > 1:
        yield Fact("", f"The records have {number(incident.values)} different values; this is the first.")
    if incident.aik:
        yield Fact("AIK", Aik(incident.aik, incident.aik_label), Detail.BRIEF if incident.aik_label else FULL)
    if incident.machine:
        yield Fact("machine", incident.machine)
    if incident.first is not None and incident.kind is not Kind.PERIOD:
        yield Fact("first", incident.first)
    if incident.last is not None and incident.last != incident.first:
        yield Fact("last", incident.last)
    places: list[Text] = [part for place in incident.places for part in (place, "\n")]
    unlisted = incident.places_total - len(incident.places)
    if places and incident.boots_total < 2:
        hint = "" if incident.affirming is None else ": `--affected FILE` writes all of them"
        yield Fact("also", (*places, f"and {number(unlisted)} more{hint}" if unlisted > 0 else ""), FULL)
    yield Fact("rules" if len(incident.rules) > 1 else "rule", tuple(_names(incident.rules)))
    if incident.remediation:
        yield Fact("remediation", incident.remediation)


def _records(incident: Incident) -> str:
    records, affirming = incident.records, incident.affirming
    if affirming is None:
        return number(records)
    share = "none" if not affirming else number(affirming) if affirming < records else "all"
    return f"{number(records)}, {share} of them affirmed" if records > 1 else f"1, {'not ' * (not affirming)}affirmed"


def _period(first: int, last: int | None) -> str:
    if last is None or last == first:
        return moment(first)
    return f"{moment(first)} to {moment(last)}, {duration(last - first)}"


def _change(change: Change) -> Iterator[Fact]:
    if change.what in COUNTERS:
        yield Fact("changed", f"the {change.what} went from {change.before[0]} to {change.after}")
        return
    meaning = f": {change.meaning}" if change.meaning else ""
    yield Fact("changed" if change.meaning else "compared", (Name(change.what, 60), meaning))
    references = change.before[:_REFERENCES_MAXIMUM]
    expected: list[Text] = []
    for index, value in enumerate(references):
        label = change.labels[index] if index < len(change.labels) else ""
        expected += [" or " if index else "", _value(value, change, change.after)]
        expected += [" (", Quote(label, 80), ")"] if label else []
    if len(change.before) > len(references):
        expected.append(f" or one of {number(len(change.before) - len(references))} more")
    yield Fact("expected", tuple(expected) if references else "any signed value")
    near = references[0] if references else ""
    yield Fact("got", _value(change.after, change, near) if change.after else "not signed")


def _value(value: str, change: Change, other: str) -> Text:
    if not is_digest(value):
        return Quote(value, _VALUE_MAX)
    return Digest(value, value_text(value, change), other if len(other) == len(value) else "")


def _names(rules: Sequence[str]) -> Iterator[Text]:
    for index, rule in enumerate(rules):
        yield from (", ", Name(rule, 60)) if index else (Name(rule, 60),)


def _boot(boot: Boot) -> list[Fact]:
    basis = "AIK pinned" if boot.aik else "inferred"
    text: list[Text] = [
        f"resetCount {boot.reset_count} ({basis}), {count(boot.records, 'record')}, first ",
        boot.first,
    ]
    if boot.last != boot.first:
        text += [", last ", boot.last]
    return [Fact("boot", tuple(text))]
