"""Derive incidents from cross-record findings: one for each duplicate, AIK or gap, however many rules found it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from nomyo_attest.audit.cross_record.model import NOT_EVALUATED, CrossRecordFinding
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.causes import finding_message, remediation_not_evaluated
from nomyo_attest.report.formatting import clock_reading, count, duration, number, sentence
from nomyo_attest.report.incidents.model import Change, Incident, Kind, severity_of
from nomyo_attest.report.incidents.remediation import remediation, replay_machine, replay_problem
from nomyo_attest.report.incidents.wording import aik_text, date_text, period_phrase
from nomyo_attest.report.labels import aik_labels

SEPARATE_MAXIMUM: Final = 5
"""Maximum incidents of a kind that are listed separately; if there are more, they are combined into one."""

_PLACES_MAXIMUM: Final = 10
_KEY_MAXIMUM: Final = 200
_DUPLICATES: Final = ("duplicate.quote", "duplicate.payload_id", "reused.aik")

_Findings = list[CrossRecordFinding]
_Labels = Mapping[str, str]


def cross_record_incidents(summary: Summary) -> Iterator[Incident]:
    """Yield the incidents of all cross-record findings."""
    duplicates = _merge([finding for finding in summary.cross_record if finding.rule in _DUPLICATES])
    by_kind: dict[Kind, list[_Findings]] = {}
    for findings in duplicates:
        by_kind.setdefault(_kind(findings), []).append(findings)
    rollbacks: dict[str, _Findings] = {}
    for finding in summary.cross_record:
        if finding.rule.startswith("rollback."):
            rollbacks.setdefault(finding.key, []).append(finding)
        elif finding.rule not in _DUPLICATES:
            by_kind.setdefault(Kind.GAP, []).append([finding])
    if rollbacks:
        by_kind[Kind.ROLLBACK] = list(rollbacks.values())
    for kind, groups in by_kind.items():
        if len(groups) > SEPARATE_MAXIMUM or (kind is Kind.DUPLICATE and len(groups) > 1):
            yield _combined_incident(summary, kind, groups)
        else:
            for findings in groups:
                yield _incident(summary, kind, findings)


def unevaluated_check_incidents(summary: Summary, *, without_values: bool = False) -> Iterator[Incident]:
    """Yield an incident for cross-record checks that could not order the records, because they have no time.

    Usually, a check for which no record has a value is the consequence of another incident, such as missing evidence.
    It counts only with `without_values`.
    """
    rules = [
        rule
        for rule in summary.cross_record_rules
        if rule.outcome == NOT_EVALUATED
        and not rule.accepted
        and (rule.undated or without_values)
        and summary.counts.total
    ]
    if rules:
        records = max(rule.undated for rule in rules)
        checks = count(len(rules), "cross-record check")
        why = f"{count(records, 'record')} without a usable time" if records else "no record has the values compared"
        yield Incident(
            kind=Kind.NOT_COMPARED,
            severity=severity_of(Kind.NOT_COMPARED),
            title=f"{checks} could not be evaluated: {why}",
            records=records,
            rules=tuple(rule.rule for rule in rules),
            problem=rules[0].remark,
            remediation=sentence(remediation_not_evaluated(rules[0])),
        )


def _merge(findings: _Findings) -> list[_Findings]:
    """Merge findings about the same records, in the order of the rules."""
    merged: list[_Findings] = []
    by_place: dict[tuple[str, int], _Findings] = {}
    for finding in sorted(findings, key=lambda finding: _DUPLICATES.index(finding.rule)):
        known = by_place.get((finding.first.source, finding.first.line))
        if known is not None and _is_part(finding, known[0]):
            known.append(finding)
            continue
        group = [finding]
        merged.append(group)
        for place in (*finding.places, finding.last):
            by_place.setdefault((place.source, place.line), group)
    return merged


def _is_part(finding: CrossRecordFinding, other: CrossRecordFinding) -> bool:
    """Whether all records of a finding are also records of the other finding."""
    places = {(place.source, place.line) for place in (*other.places, other.last)}
    listed = {(place.source, place.line) for place in (*finding.places, finding.last)}
    if len(listed) == finding.records:
        return listed <= places
    return listed == places and finding.records == other.records


def _kind(findings: _Findings) -> Kind:
    """Return the kind of a duplicate: copies of one response have the same time, a replay has a different one."""
    main = findings[0]
    if main.rule == "reused.aik" and main.detail != "same":  # with a single quote, it is a duplicate like any other
        return Kind.REUSED_KEY
    return Kind.DUPLICATE if main.may_be_copies else Kind.REPLAY


# ---- incidents


def _incident(summary: Summary, kind: Kind, findings: _Findings) -> Incident:
    main = findings[0]
    records, affirming = _counts(summary, findings)
    aiks = aik_labels(summary.policy.document)
    aik_name = main.key[:_KEY_MAXIMUM] if kind in (Kind.ROLLBACK, Kind.REUSED_KEY) else ""
    first, last = (
        min((finding.first for finding in findings), key=_position),
        max((finding.last for finding in findings), key=_position),
    )
    listed = [place for finding in findings for place in (*finding.places, finding.last)]
    between = tuple(dict.fromkeys(place for place in listed if place not in (first, last)))
    return Incident(
        kind=kind,
        severity=severity_of(kind),
        title=_TITLES[kind](findings, aiks),
        records=records,
        affirming=affirming,
        first=first,
        last=last,
        rules=tuple(finding.rule for finding in findings),
        keys=tuple(dict.fromkeys(finding.key for finding in findings)),
        aik=aik_name,
        aik_label=aiks.get(aik_name, ""),
        changes=tuple(change for finding in findings for change in _changes(finding)),
        problem=(replay_problem(findings) if kind is Kind.REPLAY else "") or finding_message(findings[0]),
        places=between[:_PLACES_MAXIMUM],
        places_total=max(0, records - 2),
        machine=replay_machine(findings, aiks) if kind is Kind.REPLAY else "",
        remediation=remediation(kind, findings, summary.cross_record_rules, combined=False),
    )


def _combined_incident(summary: Summary, kind: Kind, groups: list[_Findings]) -> Incident:
    """Combine many findings of a kind into one incident."""
    rules = tuple(dict.fromkeys(finding.rule for findings in groups for finding in findings))
    firsts = [findings[0].first for findings in groups]
    total = sum(rule.findings for rule in summary.cross_record_rules if rule.rule in rules)
    more = total - sum(finding.rule in rules for finding in summary.cross_record)
    counted = [_counts(summary, findings) for findings in groups]
    records = min(sum(records for records, _ in counted), summary.counts.total)
    affirming = [number for _, number in counted if number is not None]
    noun = {
        Kind.REPLAY: "responses were replayed",
        Kind.DUPLICATE: "responses were recorded more than once",
        Kind.REUSED_KEY: "AIKs that the policy does not pin signed more than one quote",
        Kind.ROLLBACK: "AIKs have a clock or a counter that went back",
        Kind.GAP: "periods without records are longer than the limit",
    }[kind]
    first, last = (
        min(firsts, key=_position),
        max((finding.last for findings in groups for finding in findings), key=_position),
    )
    at_least = "At least " if more > 0 else ""
    title = f"{at_least}{number(len(groups))} {noun}: {count(records, 'record')}{period_phrase(first, last)}"
    return Incident(
        kind=kind,
        severity=severity_of(kind),
        title=title,
        records=records,
        affirming=min(sum(affirming), records) if affirming else None,
        first=first,
        last=last,
        rules=rules,
        places=tuple(place for place in firsts if place != first)[:_PLACES_MAXIMUM],
        places_total=len(groups) - 1,
        remediation=remediation(kind, groups[0], summary.cross_record_rules, combined=True),
    )


def _counts(summary: Summary, findings: _Findings) -> tuple[int, int | None]:
    """Count the records of an incident, and those that are affirmed; None if these were not counted.

    Findings of a duplicate are about the same records. Findings about the clock and the counters of an AIK have some
    records in common, and the summary counts each of these once.
    """
    keys = {(finding.rule.partition(".")[0], finding.key) for finding in findings}
    counted = [one for one in (summary.affected.by_key if summary.affected else ()) if (one.family, one.key) in keys]
    records = max(*(one.records for one in findings), *(one.records for one in counted), 0)
    return records, max((one.affirming for one in counted), default=None)


def _position(place: Place) -> tuple[int, int, str, int]:
    time = place.processed_at
    return int(time is None), time or 0, place.source, place.line


def _changes(finding: CrossRecordFinding) -> Iterator[Change]:
    if finding.rule.startswith("rollback.") and finding.high is not None and finding.low is not None:
        value_text = clock_reading if finding.detail == "clock" else number
        yield Change(
            what=_counter_name(finding.detail),
            before=(value_text(finding.high),),
            labels=("",),
            after=value_text(finding.low),
        )


def _counter_name(detail: str) -> str:
    return {"reset_count": "resetCount", "restart_count": "restartCount"}.get(detail, "clock")


# ---- titles


def _replay_title(findings: _Findings, _: _Labels) -> str:
    main = findings[0]
    subject = "One payload id" if main.rule == "duplicate.payload_id" else "One response"
    if main.rule == "duplicate.quote" and main.detail == "different":
        subject = "The quote of one response"
    begins, ends = main.first.processed_at, main.last.processed_at
    dated = _dated(main.first)
    when = f" on {date_text(ends)}" if ends is not None else ""
    again = main.records - 1
    times = "" if again == 1 else f" {again:,} times{', the last time' if when else ''}"
    if main.rule == "duplicate.payload_id":
        quote = " with a different quote" if main.detail == "different" else ""
        return f"{subject}{dated} was used again{quote}{times}{when}"
    if main.detail == "different":
        return f"{subject}{dated} was used again under a different payload id{times}{when}"
    if begins is None or ends is None:
        return f"{subject} appears in {count(main.records, 'record')}, some of which have no time"
    return f"{subject}{dated} was replayed{times}{when}"


def _duplicate_title(findings: _Findings, _: _Labels) -> str:
    main = findings[0]
    times = "twice" if main.records == 2 else f"{main.records:,} times"
    return f"One response{_dated(main.first)} was recorded {times}"


def _dated(place: Place) -> str:
    return "" if place.processed_at is None else f" of {date_text(place.processed_at)}"


def _reused_key_title(findings: _Findings, labels: _Labels) -> str:
    main = findings[0]
    signed = f"signed the quotes of {count(main.records, 'record')}{period_phrase(main.first, main.last)}"
    return f"{_capitalize(aik_text(main.key, labels))}, which the policy does not pin, {signed}"


def _rollback_title(findings: _Findings, labels: _Labels) -> str:
    clocks = [finding for finding in findings if finding.rule == "rollback.clock"]
    main = (clocks or findings)[0]
    when = f" on {date_text(main.first.processed_at)}" if main.first.processed_at is not None else ""
    high, low = main.high, main.low
    what = _counter_name(main.detail)
    if high is None or low is None:
        return f"The {what} of {aik_text(main.key, labels)} went back{when}"
    if main.detail == "clock":
        return f"The clock of {aik_text(main.key, labels)} went back {duration((high - low) / 1000)}{when}"
    return f"{what} of {aik_text(main.key, labels)} went back from {high:,} to {low:,}{when}"


def _gap_title(findings: _Findings, _: _Labels) -> str:
    main = findings[0]
    begins, ends = main.first.processed_at, main.last.processed_at
    if begins is None or ends is None:
        return "No record for longer than the limit"
    return f"No record for {duration(ends - begins)}{period_phrase(main.first, main.last)}"


def _capitalize(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


_TITLES: Final[dict[Kind, Callable[[_Findings, _Labels], str]]] = {
    Kind.REPLAY: _replay_title,
    Kind.DUPLICATE: _duplicate_title,
    Kind.REUSED_KEY: _reused_key_title,
    Kind.ROLLBACK: _rollback_title,
    Kind.GAP: _gap_title,
}
