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
    unreadable_within,
)
from nomyo_attest.report.formatting import (
    Digests,
    TextStyle,
    count,
    digests,
    duration,
    excerpt,
    moment,
    number,
    sentence,
    source_name,
)

_LISTED: Final = 10
_PROFILES: Final = 6
_PCRS: Final = 6
_GAPS: Final = 3
"""How much of each list a terminal shows without `TextStyle.verbose`."""

_MINUTE: Final = 60


def profiles(summary: Summary, style: TextStyle) -> list[str]:
    """The sets of PCR values in use, the most frequent first; of their values those in which they differ."""
    if not summary.profiles_total:
        return []
    lines = [style.paint(f"PCR profiles in use: {number(summary.profiles_total)}", "bold")]
    shown = summary.profiles if style.verbose else summary.profiles[:_PROFILES]
    places = _places(summary.profiles, telling=not style.verbose)
    labels = _labels(summary.policy.document)
    written = _written(summary.profiles, whole=style.verbose)
    for one in shown:
        seen = "without a time"
        if one.first_seen is not None and one.last_seen is not None:
            first, last = moment(one.first_seen), moment(one.last_seen)
            seen = first if first == last else f"{first} to {last}"
        head = f"{one.profile[:8]}  {count(one.counts.total, 'record')}, {seen}"
        lines += style.wrap(head, "  ", "            ")
        if one.counts.total != one.counts.affirming:
            lines += style.wrap(counts_line(one.counts), " " * 12)
        for bank, index in places if style.verbose else places[:_PCRS]:
            value = one.pcrs.get(bank, {}).get(index)
            text = "not reported" if value is None else written.get(_bytes(value)) or excerpt(value)
            label = labels.get((bank, index, value or ""), "")
            # With four columns before it, a whole SHA-256 digest just fits into 80 beside its PCR.
            first = f"{' ' * (4 if style.verbose else 12)}{excerpt(f'{bank}:{index}', 20)}  "
            if style.verbose:
                lines += style.beside(first, text) + (style.wrap(label, " " * len(first)) if label else [])
            else:
                lines += style.wrap(f"{text}  {label}", first)
    return lines + _more(summary.profiles_total - len(shown), "profile", style)


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
        (bank, index, one["value"]): excerpt(one.get("label") or "")
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


def over_time(summary: Summary, style: TextStyle) -> list[str]:
    """The longest times without records, and with records but no evidence."""
    lines = _gaps("no records", summary.gaps, style) + _gaps("no evidence", summary.unavailable, style)
    beside = [f"{count(summary.undated, 'record')} without a time"] * bool(summary.undated)
    beside += [f"{count(summary.beyond, 'record')} of a time far from all others"] * bool(summary.beyond)
    if beside and (lines or summary.beyond):
        lines += style.wrap(f"{' and '.join(beside)}, in none of these", "  ")
    return [style.paint("Over time, the longest", "bold"), *lines] if lines else []


def _gaps(what: str, gaps: list[Gap], style: TextStyle) -> list[str]:
    lines = []
    longest = sorted(gaps, key=lambda gap: gap.begins - gap.ends)
    for gap in longest if style.verbose else longest[:_GAPS]:
        text = moment(gap.begins)
        if gap.ends - gap.begins >= _MINUTE:
            text += f" to {moment(gap.ends)} ({duration(gap.ends - gap.begins)})"
        elif gap.ends > gap.begins and not gap.records:
            text += f" ({duration(gap.ends - gap.begins)})"
        text += f", {count(gap.records, 'record')}" if gap.records else ""
        lines += style.wrap(text, f"  {what.ljust(13)}")
    return lines


def tiers(summary: Summary, style: TextStyle) -> list[str]:
    """The tiers that the servers claim."""
    if not summary.tiers:
        return []
    named = ["no tier" if tier is None else excerpt(tier, 40) for tier, _ in summary.tiers]
    told = [f"{name} {number(records)}" for name, (_, records) in zip(named, summary.tiers, strict=True)]
    left = summary.tiers_total - len(summary.tiers)
    told += [f"and {count(left, 'other')}"] * (left > 0)
    return style.wrap(", ".join(told), "Tiers claimed, which nothing signs: ", "  ")


def sources(summary: Summary, style: TextStyle) -> list[str]:
    """The sources that could not be read as a whole."""
    found = [one for one in summary.sources if one.problem]
    if not found:
        return []
    shown = found if style.verbose else found[:_LISTED]
    total = max(summary.sources_unreadable, len(found))
    lines = [style.paint(f"Sources that could not be read whole: {number(total)}", "bold")]
    for one in shown:
        lines += style.wrap(source_name(one.name), "  ", "    ")
        lines += style.wrap(sentence(excerpt(one.problem)), "    problem     ")
        lines += style.wrap(counts_line(one.counts), "    records     ")
    lines += _more(total - len(shown), "source", style)
    return lines + style.wrap(sentence(MEND_UNREADABLE), "    what to do  ")


def unread(summary: Summary, style: TextStyle) -> list[str]:
    """The records that could not be read in sources that could, by source."""
    found = unreadable_within(summary)
    if not found:
        return []
    shown = found if style.verbose else found[:_LISTED]
    total = sum(one.records for one in found)
    lines = [style.paint(f"Records that could not be read: {number(total)}", "bold")]
    for one in shown:
        lines += style.wrap(f"{source_name(one.source)}, {lines_text(one.lines[:_LISTED], one.records)}", "  ", "    ")
        lines += style.wrap(sentence(excerpt(one.problem)), "    problem     ")
    return lines + _more(len(found) - len(shown), "source", style)


def passed_over(summary: Summary, style: TextStyle) -> list[str]:
    """Files in folders that were not taken for records."""
    return _names(PASSED_OVER, summary.passed_over, summary.passed_over_total, style)


def repeated(summary: Summary, style: TextStyle) -> list[str]:
    """Files that were found under more than one name."""
    return _names(REPEATED, summary.repeated, summary.repeated_total, style)


def _names(head: str, names: list[str], total: int, style: TextStyle) -> list[str]:
    if not total:
        return []
    shown = names if style.verbose else names[:_LISTED]
    lines = style.wrap(f"{head}: {count(total, 'file')}")
    for name in shown:
        lines += style.wrap(source_name(name), "  ", "    ")
    return lines + _more(total - len(shown), "file", style)


def _more(left: int, noun: str, style: TextStyle) -> list[str]:
    if left <= 0:
        return []
    return style.wrap(f"and {count(left, f'more {noun}')}" + ("" if style.verbose else " (--verbose lists more)"), "  ")
