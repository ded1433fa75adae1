"""Incidents of findings across records: one for each duplicate, AIK or gap, however many rules found it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from nomyo_attest.audit.summary import NOT_EVALUATED, CrossRecordFinding, Place, Summary
from nomyo_attest.report.causes import finding_message, remediation_not_evaluated
from nomyo_attest.report.formatting import clock_reading, count, duration, number, sentence
from nomyo_attest.report.incidents.model import Change, Incident, Kind, severity_of
from nomyo_attest.report.incidents.wording import aik, day, period
from nomyo_attest.report.labels import aik_labels

APART: Final = 5
"""Maximum incidents of a kind that are listed one by one; if there are more, they are one incident."""

_PLACES_MAXIMUM: Final = 10
_REMEDIATION_MAXIMUM: Final = 2000
_KEY_MAXIMUM: Final = 200
_DUPLICATES: Final = ("duplicate.quote", "duplicate.payload_id", "reused.aik")

_Findings = list[CrossRecordFinding]
_Labels = Mapping[str, str]


def of_findings(summary: Summary) -> Iterator[Incident]:
    """Yield the incidents of all findings across records."""
    duplicates = _merged([one for one in summary.cross_record if one.rule in _DUPLICATES])
    by_kind: dict[Kind, list[_Findings]] = {}
    for found in duplicates:
        by_kind.setdefault(_kind(found), []).append(found)
    rollbacks: dict[str, _Findings] = {}
    for one in summary.cross_record:
        if one.rule.startswith("rollback."):
            rollbacks.setdefault(one.key, []).append(one)
        elif one.rule not in _DUPLICATES:
            by_kind.setdefault(Kind.GAP, []).append([one])
    if rollbacks:
        by_kind[Kind.ROLLBACK] = list(rollbacks.values())
    for kind, groups in by_kind.items():
        if len(groups) > APART or (kind is Kind.DUPLICATE and len(groups) > 1):
            yield _collapsed(summary, kind, groups)
        else:
            for found in groups:
                yield _incident(summary, kind, found)


def of_checks(summary: Summary, *, all_of_them: bool = False) -> Iterator[Incident]:
    """Yield an incident for cross-record checks that could not order the records, because they have no time.

    A check for which no record has a value is the consequence of another incident, such as missing evidence; with
    `all_of_them` it counts as well.
    """
    found = [
        one
        for one in summary.cross_record_rules
        if one.outcome == NOT_EVALUATED and not one.accepted and (one.undated or all_of_them) and summary.counts.total
    ]
    if found:
        records = max(one.undated for one in found)
        checks = count(len(found), "cross-record check")
        why = f"{count(records, 'record')} without a usable time" if records else "no record has the values compared"
        yield Incident(
            kind=Kind.NOT_COMPARED,
            severity=severity_of(Kind.NOT_COMPARED),
            title=f"{checks} could not be evaluated: {why}",
            records=records,
            rules=tuple(one.rule for one in found),
            problem=found[0].remark,
            remediation=sentence(remediation_not_evaluated(found[0])),
        )


def _merged(found: _Findings) -> list[_Findings]:
    """Merge findings about the same records, in the order of the rules."""
    merged: list[_Findings] = []
    of_place: dict[tuple[str, int], _Findings] = {}
    for one in sorted(found, key=lambda one: _DUPLICATES.index(one.rule)):
        known = of_place.get((one.first.source, one.first.line))
        if known is not None and _is_part(one, known[0]):
            known.append(one)
            continue
        group = [one]
        merged.append(group)
        for place in (*one.places, one.last):
            of_place.setdefault((place.source, place.line), group)
    return merged


def _is_part(one: CrossRecordFinding, other: CrossRecordFinding) -> bool:
    """Whether the records of one finding are records of the other one as well."""
    places = {(place.source, place.line) for place in (*other.places, other.last)}
    listed = {(place.source, place.line) for place in (*one.places, one.last)}
    if len(listed) == one.records:
        return listed <= places
    return listed == places and one.records == other.records


def _kind(found: _Findings) -> Kind:
    """Return the kind of a duplicate: one response recorded again has the same time, a replay has another one."""
    main = found[0]
    if main.rule == "reused.aik" and main.detail != "same":  # with one quote, it is a duplicate like the others
        return Kind.REUSED_KEY
    return Kind.DUPLICATE if main.may_be_copies else Kind.REPLAY


# ---- incidents


def _incident(summary: Summary, kind: Kind, found: _Findings) -> Incident:
    main = max(found, key=lambda one: one.records) if kind is Kind.ROLLBACK else found[0]
    aiks = aik_labels(summary.policy.document)
    aik_name = main.key[:_KEY_MAXIMUM] if kind in (Kind.ROLLBACK, Kind.REUSED_KEY) else ""
    first, last = min((one.first for one in found), key=_position), max((one.last for one in found), key=_position)
    listed = [place for one in found for place in (*one.places, one.last)]
    between = tuple(dict.fromkeys(place for place in listed if place not in (first, last)))
    return Incident(
        kind=kind,
        severity=severity_of(kind),
        title=_TITLES[kind](found, aiks),
        records=main.records,
        first=first,
        last=last,
        rules=tuple(one.rule for one in found),
        keys=tuple(dict.fromkeys(one.key for one in found)),
        aik=aik_name,
        aik_label=aiks.get(aik_name, ""),
        changes=tuple(change for one in found for change in _changes(one)),
        problem=finding_message(found[0]),
        places=between[:_PLACES_MAXIMUM],
        places_total=max(0, main.records - 2),
        remediation=_remediation(summary, found),
    )


def _collapsed(summary: Summary, kind: Kind, groups: list[_Findings]) -> Incident:
    """Return one incident for many findings of a kind."""
    rules = tuple(dict.fromkeys(one.rule for found in groups for one in found))
    firsts = [found[0].first for found in groups]
    total = sum(one.findings for one in summary.cross_record_rules if one.rule in rules)
    more = total - sum(one.rule in rules for one in summary.cross_record)
    records = min(sum(max(one.records for one in found) for found in groups), summary.counts.total)
    noun = {
        Kind.REPLAY: "responses were replayed",
        Kind.DUPLICATE: "responses were recorded more than once",
        Kind.REUSED_KEY: "AIKs that the policy does not pin signed more than one quote",
        Kind.ROLLBACK: "AIKs have a clock or a counter that went back",
        Kind.GAP: "times without records are longer than the limit",
    }[kind]
    first, last = min(firsts, key=_position), max((one.last for found in groups for one in found), key=_position)
    at_least = "At least " if more > 0 else ""
    title = f"{at_least}{number(len(groups))} {noun}: {count(records, 'record')}{period(first, last)}"
    return Incident(
        kind=kind,
        severity=severity_of(kind),
        title=title,
        records=records,
        first=first,
        last=last,
        rules=rules,
        places=tuple(place for place in firsts if place != first)[:_PLACES_MAXIMUM],
        places_total=len(groups) - 1,
        remediation=_remediation(summary, groups[0]),
    )


def _position(place: Place) -> tuple[int, int, str, int]:
    at = place.processed_at
    return int(at is None), at or 0, place.source, place.line


def _remediation(summary: Summary, found: Sequence[CrossRecordFinding]) -> str:
    for rule in summary.cross_record_rules:
        if rule.rule == found[0].rule:
            return sentence(rule.remediation[:_REMEDIATION_MAXIMUM])
    return ""


def _changes(found: CrossRecordFinding) -> Iterator[Change]:
    if found.rule.startswith("rollback.") and found.high is not None and found.low is not None:
        value_text = clock_reading if found.detail == "clock" else number
        yield Change(
            what=_counter(found.detail), before=(value_text(found.high),), labels=("",), after=value_text(found.low)
        )


def _counter(detail: str) -> str:
    return {"reset_count": "resetCount", "restart_count": "restartCount"}.get(detail, "clock")


# ---- titles


def _replay(found: _Findings, _: _Labels) -> str:
    main = found[0]
    subject = "One payload id" if main.rule == "duplicate.payload_id" else "One response"
    if main.rule == "duplicate.quote" and main.detail == "different":
        subject = "The quote of one response"
    begins, ends = main.first.processed_at, main.last.processed_at
    of = f" of {day(begins)}" if begins is not None else ""
    when = f" on {day(ends)}" if ends is not None else ""
    again = main.records - 1
    times = "" if again == 1 else f" {again:,} times, the last time"
    if main.rule == "duplicate.payload_id":
        quote = " with another quote" if main.detail == "different" else ""
        return f"{subject}{of} was used again{quote}{times}{when}"
    if main.detail == "different":
        return f"{subject}{of} was used again under another payload id{times}{when}"
    if begins is None or ends is None:
        return f"{subject} appears in {count(main.records, 'record')}, of which some have no time"
    return f"{subject}{of} was replayed{times}{when}"


def _duplicate(found: _Findings, _: _Labels) -> str:
    main = found[0]
    times = "twice" if main.records == 2 else f"{main.records:,} times"
    return f"One response{_of(main.first)} was recorded {times}"


def _of(place: Place) -> str:
    return "" if place.processed_at is None else f" of {day(place.processed_at)}"


def _reused(found: _Findings, labels: _Labels) -> str:
    main = found[0]
    signed = f"signed the quotes of {count(main.records, 'record')}{period(main.first, main.last)}"
    return f"{_capital(aik(main.key, labels))}, which the policy does not pin, {signed}"


def _rollback(found: _Findings, labels: _Labels) -> str:
    clocks = [one for one in found if one.rule == "rollback.clock"]
    main = (clocks or found)[0]
    when = f" on {day(main.first.processed_at)}" if main.first.processed_at is not None else ""
    high, low = main.high, main.low
    what = _counter(main.detail)
    if high is None or low is None:
        return f"The {what} of {aik(main.key, labels)} went back{when}"
    if main.detail == "clock":
        return f"The clock of {aik(main.key, labels)} went back {duration((high - low) / 1000)}{when}"
    return f"{what} of {aik(main.key, labels)} went back from {high:,} to {low:,}{when}"


def _gap(found: _Findings, _: _Labels) -> str:
    main = found[0]
    begins, ends = main.first.processed_at, main.last.processed_at
    if begins is None or ends is None:
        return "No record for longer than the limit"
    return f"No record for {duration(ends - begins)}{period(main.first, main.last)}"


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


_TITLES: Final[dict[Kind, Callable[[_Findings, _Labels], str]]] = {
    Kind.REPLAY: _replay,
    Kind.DUPLICATE: _duplicate,
    Kind.REUSED_KEY: _reused,
    Kind.ROLLBACK: _rollback,
    Kind.GAP: _gap,
}
