"""What the records of an audit are about, as text: PCR profiles, gaps, tiers, sources."""

from __future__ import annotations

from typing import Any, Final

from nomyo_attest.audit.summary import Gap, Profile, Summary
from nomyo_attest.report.audit_words import (
    MEND_UNREADABLE,
    PASSED_OVER,
    REPEATED,
    counts_line,
    lines_text,
    many,
    moment,
    number,
    source_name,
    span,
    unreadable_within,
)
from nomyo_attest.report.clean import short
from nomyo_attest.report.look import Look, sentence
from nomyo_attest.report.values import Digests, digests

_LISTED: Final = 10
_PROFILES: Final = 6
_PCRS: Final = 6
_GAPS: Final = 3
"""How much of each list a terminal shows without `Look.verbose`."""

_MINUTE: Final = 60


def profiles(summary: Summary, look: Look) -> list[str]:
    """The sets of PCR values in use, the most frequent first; of their values those in which they differ."""
    if not summary.profiles_total:
        return []
    lines = [look.paint(f"PCR profiles in use: {number(summary.profiles_total)}", "bold")]
    shown = summary.profiles if look.verbose else summary.profiles[:_PROFILES]
    places = _places(summary.profiles, telling=not look.verbose)
    labels = _labels(summary.policy.document)
    written = _written(summary.profiles, whole=look.verbose)
    for one in shown:
        seen = "without a time"
        if one.first_seen is not None and one.last_seen is not None:
            first, last = moment(one.first_seen), moment(one.last_seen)
            seen = first if first == last else f"{first} to {last}"
        head = f"{one.profile[:8]}  {many(one.counts.total, 'record')}, {seen}"
        lines += look.wrap(head, "  ", "            ")
        if one.counts.total != one.counts.affirming:
            lines += look.wrap(counts_line(one.counts), " " * 12)
        for bank, index in places if look.verbose else places[:_PCRS]:
            value = one.pcrs.get(bank, {}).get(index)
            text = "not reported" if value is None else written.get(_bytes(value)) or short(value)
            label = labels.get((bank, index, value or ""), "")
            # With four columns before it, a whole SHA-256 digest just fits into 80 beside its PCR.
            first = f"{' ' * (4 if look.verbose else 12)}{short(f'{bank}:{index}', 20)}  "
            if look.verbose:
                lines += look.beside(first, text) + (look.wrap(label, " " * len(first)) if label else [])
            else:
                lines += look.wrap(f"{text}  {label}", first)
    return lines + _more(summary.profiles_total - len(shown), "profile", look)


def _places(found: list[Profile], *, telling: bool) -> list[tuple[str, str]]:
    """The PCRs of some profiles, in order; `telling`: only those in which they are not all alike."""
    places = {(bank, index) for one in found for bank, of_bank in one.pcrs.items() for index in of_bank}
    kept = [
        (bank, index)
        for bank, index in places
        if not telling or len({one.pcrs.get(bank, {}).get(index) for one in found}) > 1
    ]
    return sorted(kept, key=lambda place: (place[0], len(place[1]), place[1]))


def _labels(document: dict[str, Any]) -> dict[tuple[str, str, str], str]:
    """Bank, index and value → the policy's label of it."""
    return {
        (bank, index, one["value"]): short(one.get("label") or "")
        for bank, of_bank in document.get("pcrs", {}).items()
        for index, values in of_bank.items()
        if isinstance(values, list)
        for one in values
        if isinstance(one, dict)
    }


def _bytes(value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError:
        return b""


def _written(found: list[Profile], *, whole: bool) -> Digests:
    values = {_bytes(value) for one in found for of_bank in one.pcrs.values() for value in of_bank.values()}
    return digests(values - {b""}, whole=whole)


def over_time(summary: Summary, look: Look) -> list[str]:
    """The longest times without records, and with records but no evidence."""
    lines = _gaps("no records", summary.gaps, look) + _gaps("no evidence", summary.unavailable, look)
    beside = [f"{many(summary.undated, 'record')} without a time"] * bool(summary.undated)
    beside += [f"{many(summary.beyond, 'record')} of a time far from all others"] * bool(summary.beyond)
    if beside and (lines or summary.beyond):
        lines += look.wrap(f"{' and '.join(beside)}, in none of these", "  ")
    return [look.paint("Over time, the longest", "bold"), *lines] if lines else []


def _gaps(what: str, gaps: list[Gap], look: Look) -> list[str]:
    lines = []
    longest = sorted(gaps, key=lambda gap: gap.begins - gap.ends)
    for gap in longest if look.verbose else longest[:_GAPS]:
        text = moment(gap.begins)
        if gap.ends - gap.begins >= _MINUTE:
            text += f" to {moment(gap.ends)} ({span(gap.ends - gap.begins)})"
        elif gap.ends > gap.begins and not gap.records:
            text += f" ({span(gap.ends - gap.begins)})"
        text += f", {many(gap.records, 'record')}" if gap.records else ""
        lines += look.wrap(text, f"  {what.ljust(13)}")
    return lines


def tiers(summary: Summary, look: Look) -> list[str]:
    """The tiers that the servers claim."""
    if not summary.tiers:
        return []
    named = ["no tier" if tier is None else short(tier, 40) for tier, _ in summary.tiers]
    told = [f"{name} {number(records)}" for name, (_, records) in zip(named, summary.tiers, strict=True)]
    left = summary.tiers_total - len(summary.tiers)
    told += [f"and {many(left, 'other')}"] * (left > 0)
    return look.wrap(", ".join(told), "Tiers claimed, which nothing signs: ", "  ")


def sources(summary: Summary, look: Look) -> list[str]:
    """The sources that could not be read as a whole."""
    found = [one for one in summary.sources if one.problem]
    if not found:
        return []
    shown = found if look.verbose else found[:_LISTED]
    total = max(summary.sources_unreadable, len(found))
    lines = [look.paint(f"Sources that could not be read whole: {number(total)}", "bold")]
    for one in shown:
        lines += look.wrap(source_name(one.name), "  ", "    ")
        lines += look.wrap(sentence(short(one.problem)), "    problem     ")
        lines += look.wrap(counts_line(one.counts), "    records     ")
    lines += _more(total - len(shown), "source", look)
    return lines + look.wrap(sentence(MEND_UNREADABLE), "    what to do  ")


def unread(summary: Summary, look: Look) -> list[str]:
    """The records that could not be read in sources that could, by source."""
    found = unreadable_within(summary)
    if not found:
        return []
    shown = found if look.verbose else found[:_LISTED]
    total = sum(one.records for one in found)
    lines = [look.paint(f"Records that could not be read: {number(total)}", "bold")]
    for one in shown:
        lines += look.wrap(f"{source_name(one.source)}, {lines_text(one.lines[:_LISTED], one.records)}", "  ", "    ")
        lines += look.wrap(sentence(short(one.problem)), "    problem     ")
    return lines + _more(len(found) - len(shown), "source", look)


def passed_over(summary: Summary, look: Look) -> list[str]:
    """Files in folders that were not taken for records."""
    return _names(PASSED_OVER, summary.passed_over, summary.passed_over_total, look)


def repeated(summary: Summary, look: Look) -> list[str]:
    """Files that were found under more than one name."""
    return _names(REPEATED, summary.repeated, summary.repeated_total, look)


def _names(head: str, names: list[str], total: int, look: Look) -> list[str]:
    if not total:
        return []
    shown = names if look.verbose else names[:_LISTED]
    lines = look.wrap(f"{head}: {many(total, 'file')}")
    for name in shown:
        lines += look.wrap(source_name(name), "  ", "    ")
    return lines + _more(total - len(shown), "file", look)


def _more(left: int, noun: str, look: Look) -> list[str]:
    if left <= 0:
        return []
    return look.wrap(f"and {many(left, f'more {noun}')}" + ("" if look.verbose else " (--verbose lists more)"), "  ")
