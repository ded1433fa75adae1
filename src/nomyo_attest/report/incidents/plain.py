"""Describe an incident in lines of plain text, for formats that place it beside a file: SARIF and annotations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nomyo_attest.audit.summary import Place
from nomyo_attest.report.causes import where
from nomyo_attest.report.formatting import digests, excerpt, sentence
from nomyo_attest.report.incidents.model import COUNTERS, Change, Incident, Kind

_CHANGES_MAXIMUM: Final = 6
_PLACES_MAXIMUM: Final = 3
_REFERENCES_MAXIMUM: Final = 4
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


def place_of(incident: Incident) -> Place | None:
    """Return where to show an incident: what came again is shown there, anything else where it began."""
    return incident.last if incident.kind in (Kind.REPLAY, Kind.DUPLICATE) else incident.first


def other_places(incident: Incident) -> list[Place]:
    """Return the further places of an incident, the first and the last record before the others."""
    found = [place for place in (incident.first, incident.last, *incident.places) if place is not None]
    return [place for place in dict.fromkeys(found) if place != place_of(incident)]


def facts(incident: Incident) -> list[str]:
    """Return what changed, on which machines, and where, one sentence each. All text from outside is sanitized."""
    found = [_change(one) for one in incident.changes[:_CHANGES_MAXIMUM]]
    if not found and incident.problem:
        found.append(sentence(excerpt(incident.problem)))
    if incident.machine:
        found.append(f"Machine: {incident.machine}.")
    if incident.first is not None and incident.last is not None and incident.last != incident.first:
        found.append(f"First {where(incident.first)}; last {where(incident.last)}.")
    if incident.places and incident.boots_total < 2:
        shown = incident.places[:_PLACES_MAXIMUM]
        left = incident.places_total - len(shown)
        found.append(f"Also {'; '.join(map(where, shown))}{f'; and {left:,} more' if left > 0 else ''}.")
    if len(incident.rules) > 1:
        found.append(f"Rules: {', '.join(excerpt(rule, 60) for rule in incident.rules)}.")
    return found


def _change(change: Change) -> str:
    if change.what in COUNTERS:
        return f"The {change.what} went from {change.before[0]} to {change.after}."
    meaning = f" ({change.meaning})" if change.meaning else ""
    return f"{excerpt(change.what, 60)}{meaning}: expected {' or '.join(_before(change))}; got {_after(change)}."


def _before(change: Change) -> Iterator[str]:
    shown = change.before[:_REFERENCES_MAXIMUM]
    for at, value in enumerate(shown):
        label = change.labels[at] if at < len(change.labels) else ""
        yield value_text(value, change) + (f" ({excerpt(label, 80)})" if label else "")
    if len(change.before) > len(shown):
        yield f"one of {len(change.before) - len(shown)} more"
    if not shown:
        yield "any value, but signed"


def _after(change: Change) -> str:
    return value_text(change.after, change) if change.after else "no value that is signed"


def value_text(value: str, change: Change) -> str:
    """Format a value of a change in one line; digests are shortened so that different ones remain different."""
    if not is_digest(value):
        return excerpt(value)
    written = digests(bytes.fromhex(one) for one in (*change.before, change.after) if is_digest(one))
    return written[bytes.fromhex(value)]


def is_digest(value: str) -> bool:
    """Whether a value is the hexadecimal form of 16 to 64 bytes."""
    return 32 <= len(value) <= 128 and not len(value) % 2 and _HEX_DIGITS.issuperset(value)
