"""Derive incidents from the records that are not affirmed: one for each group of records with the same cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import CONSEQUENCE, FAIL, CauseFinding, CauseGroup, RuleSummary, Summary
from nomyo_attest.policy.pcr_meanings import MEANINGS
from nomyo_attest.report.causes import REMEDIATION_UNREADABLE, compared_values, known_rule, unreadable_by_source
from nomyo_attest.report.formatting import count, sentence
from nomyo_attest.report.incidents.model import Change, Incident, Kind, severity_of
from nomyo_attest.report.incidents.wording import (
    boot_phrase,
    failure,
    machine_description,
    machine_subject,
    period_phrase,
    response_count,
    rule_subject,
)
from nomyo_attest.report.labels import aik_labels, pcr_labels

_BOOT_RULES: Final = ("pcr.values", "firmware.version")
_EVIDENCE_RULES: Final = ("signer.name",)
"""Rules that a policy may soften although they fail only for evidence that a TPM did not make."""

_PLACES_MAXIMUM: Final = 10
_REMEDIATIONS_MAXIMUM: Final = 3


def group_incidents(summary: Summary, apart: Collection[str] = ()) -> Iterator[Incident]:
    """Yield an incident for each group of failing records; the rules in `apart` have incidents of their own."""
    labels, aiks = pcr_labels(summary.policy.document), aik_labels(summary.policy.document)
    for group in summary.cause_groups:
        findings = sorted((finding for finding in group.findings if finding.rule not in apart), key=_importance)
        if findings:
            yield _incident(group, findings, labels, aiks)


def unlisted_record_incidents(summary: Summary, apart: Collection[str] = ()) -> Iterator[Incident]:
    """Yield an incident for each rule that does not hold for records whose group is not listed, except for `apart`."""
    listed: Counter[tuple[str, str]] = Counter()
    for group in summary.cause_groups:
        listed.update({(finding.rule, finding.outcome): group.records for finding in group.findings})
    for rule in summary.rules:
        unlisted = rule.records - listed[rule.rule, rule.outcome]
        is_omitted = rule.outcome == CONSEQUENCE or rule.requirement == "ignore" or rule.rule in apart
        if not is_omitted and unlisted > 0:
            yield _unlisted(rule, unlisted, some_listed=unlisted < rule.records)


def unreadable_incidents(summary: Summary) -> Iterator[Incident]:
    """Yield one incident for everything that could not be read."""
    unreadable_sources = unreadable_by_source(summary)
    if not unreadable_sources:
        return
    records = max(summary.counts.unreadable, sum(source.records for source in unreadable_sources))
    sources = max(len(unreadable_sources), summary.sources_unreadable)
    places = [Place(source.source, source.lines[0] if source.lines else 0) for source in unreadable_sources]
    yield Incident(
        kind=Kind.UNREADABLE,
        severity=severity_of(Kind.UNREADABLE),
        title=f"{count(records, 'record')} in {count(sources, 'source')} could not be read",
        records=records,
        first=places[0],
        last=places[-1],
        rules=("unreadable",),
        problem=unreadable_sources[0].problem,
        places=tuple(places[1 : 1 + _PLACES_MAXIMUM]),
        places_total=sources - 1,
        remediation=sentence(REMEDIATION_UNREADABLE),
    )


def _importance(finding: CauseFinding) -> int:
    """Return a sort key: required rules that failed first, and rules that explain others before these."""
    return list(Kind).index(_kind(finding))


def _kind(finding: CauseFinding | RuleSummary) -> Kind:
    if finding.rule == "evidence.available":
        return Kind.MISSING_EVIDENCE
    if finding.requirement == "warn":
        return Kind.WARNING
    if finding.outcome != FAIL:
        return Kind.UNDECIDED
    if finding.rule in _BOOT_RULES:
        return Kind.BOOT
    rule = known_rule(finding.rule)
    return Kind.EVIDENCE if rule is not None and (rule.core or rule.id in _EVIDENCE_RULES) else Kind.POLICY


_Labels = Mapping[str, Mapping[str, str]]


def _incident(group: CauseGroup, findings: list[CauseFinding], labels: _Labels, aiks: Mapping[str, str]) -> Incident:
    main = findings[0]
    aik = group.boots[0].aik if group.pinned_aiks == 1 and group.boots and not group.boots_inferred else ""
    kind = _kind(main)
    return Incident(
        kind=kind,
        severity=severity_of(kind),
        title=_title(group, main, kind, aiks),
        records=group.records,
        first=group.first,
        last=group.last,
        rules=tuple(finding.rule for finding in findings),
        changes=tuple(change for finding in findings for change in _changes(finding, labels)),
        values=group.values,
        problem=main.message,
        aik=aik,
        aik_label=aiks.get(aik, ""),
        machine="" if kind is Kind.MISSING_EVIDENCE else machine_description(group),
        boots=tuple(group.boots),
        boots_total=group.boots_total,
        places=tuple(boot.first for boot in group.boots if boot.first != group.first),
        places_total=max(0, group.boots_total - 1),
        remediation=_remediation([finding.rule for finding in findings]),
    )


def _remediation(rules: list[str]) -> str:
    """Return what to do about each rule; if there are several rules, each text begins with its rule."""
    remediations = {rule: sentence(known.remediation) for rule in rules if (known := known_rule(rule)) is not None}
    if len(remediations) == 1:
        return next(iter(remediations.values()))
    return " ".join(f"For {rule}: {text}" for rule, text in list(remediations.items())[:_REMEDIATIONS_MAXIMUM])


def _title(group: CauseGroup, main: CauseFinding, kind: Kind, aiks: Mapping[str, str]) -> str:
    records, when = response_count(group.records), period_phrase(group.first, group.last)
    if kind is Kind.MISSING_EVIDENCE:
        return f"{records} {'has' if group.records == 1 else 'have'} no evidence{when}"
    subject = machine_subject(group, aiks)
    if main.rule == "pcr.values" and main.outcome == FAIL:
        text = f"{subject or 'Machines that cannot be identified'} {boot_phrase(main.got)}: {records}{when}"
    else:
        origin = f" from {subject[:1].lower()}{subject[1:]}" if subject else ""
        text = f"{_failure_or_undecided(main)}: {records}{origin}{when}"
    if group.values > 1:
        text += f", with {group.values:,} different values"
    return f"{text} (the policy makes this a warning)" if kind is Kind.WARNING else text


def _failure_or_undecided(finding: CauseFinding | RuleSummary) -> str:
    return failure(finding.rule) if finding.outcome == FAIL else f"{rule_subject(finding.rule)} could not be evaluated"


def _unlisted(rule: RuleSummary, records: int, *, some_listed: bool) -> Incident:
    kind = _kind(rule)
    known = known_rule(rule.rule)
    number = count(records, "more response") if some_listed else response_count(records)
    if kind is Kind.MISSING_EVIDENCE:
        title = f"{number} {'has' if records == 1 else 'have'} no evidence"
    elif rule.rule == "pcr.values" and rule.outcome == FAIL:
        title = f"Machines that cannot be identified booted something that the policy does not list: {number}"
    else:
        title = f"{_failure_or_undecided(rule)}: {number}"
    return Incident(
        kind=kind,
        severity=severity_of(kind),
        title=f"{title} (the policy makes this a warning)" if kind is Kind.WARNING else title,
        records=records,
        first=None if some_listed else rule.first,
        rules=(rule.rule,),
        problem=rule.message,
        remediation=sentence(known.remediation) if known else "",
    )


def _changes(finding: CauseFinding, labels: _Labels) -> Iterator[Change]:
    expected, got = finding.expected, finding.got
    if finding.rule == "pcr.values" and isinstance(expected, dict) and isinstance(got, dict):
        for place, references in expected.items():
            index = place.rpartition(":")[2]
            before = tuple(str(reference) for reference in references) if isinstance(references, list) else ()
            meaning = MEANINGS.get(int(index), "") if index.isdecimal() and len(index) < 4 else ""
            value = got.get(place)
            yield Change(
                what=place,
                meaning=meaning.partition(";")[0],
                before=before,
                labels=tuple(labels.get(place, {}).get(reference, "") for reference in before),
                after=value if isinstance(value, str) else "",
            )
    elif expected is not None and got is not None and finding.rule != "evidence.available":
        before_text, after = compared_values(finding.rule, expected, got)
        yield Change(what=finding.rule, before=(before_text,), labels=("",), after=after)
