"""Describe an incident in plain sentences, for the formats that show it beside a file: SARIF and annotations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nomyo_attest.audit.place import Place
from nomyo_attest.report.causes import place_and_time
from nomyo_attest.report.formatting import digests, excerpt, sentence
from nomyo_attest.report.incidents.model import COUNTERS, Change, Incident, Kind

_CHANGES_MAXIMUM: Final = 6
_PLACES_MAXIMUM: Final = 3
_REFERENCES_MAXIMUM: Final = 4
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


def place_of(incident: Incident) -> Place | None:
    """Return where to show an incident: a replay or a duplicate at its last record, any other at its first."""
    return incident.last if incident.kind in (Kind.REPLAY, Kind.DUPLICATE) else incident.first


def other_places(incident: Incident) -> list[Place]:
    """Return the other places of an incident; those of its first and its last record come first."""
    places = [place for place in (incident.first, incident.last, *incident.places) if place is not None]
    return [place for place in dict.fromkeys(places) if place != place_of(incident)]


def fact_sentences(incident: Incident) -> list[str]:
    """Return sentences about what changed, on which machines, and where. All text from outside is sanitized."""
    sentences = [_change_sentence(change) for change in incident.changes[:_CHANGES_MAXIMUM]]
    if not sentences and incident.problem:
        sentences.append(sentence(excerpt(incident.problem)))
    if incident.machine:
        sentences.append(f"Machine: {incident.machine}.")
    if incident.first is not None and incident.last is not None and incident.last != incident.first:
        sentences.append(f"First {place_and_time(incident.first)}; last {place_and_time(incident.last)}.")
    if incident.places and incident.boots_total < 2:
        shown = incident.places[:_PLACES_MAXIMUM]
        unlisted = incident.places_total - len(shown)
        sentences.append(
            f"Also {'; '.join(map(place_and_time, shown))}{f'; and {unlisted:,} more' if unlisted > 0 else ''}."
        )
    if len(incident.rules) > 1:
        sentences.append(f"Rules: {', '.join(excerpt(rule, 60) for rule in incident.rules)}.")
    return sentences


def _change_sentence(change: Change) -> str:
    if change.what in COUNTERS:
        return f"The {change.what} went from {change.before[0]} to {change.after}."
    meaning = f" ({change.meaning})" if change.meaning else ""
    return f"{excerpt(change.what, 60)}{meaning}: expected {' or '.join(_expected(change))}; got {_got(change)}."


def _expected(change: Change) -> Iterator[str]:
    shown = change.before[:_REFERENCES_MAXIMUM]
    for index, value in enumerate(shown):
        label = change.labels[index] if index < len(change.labels) else ""
        yield value_text(value, change) + (f" ({excerpt(label, 80)})" if label else "")
    if len(change.before) > len(shown):
        yield f"one of {len(change.before) - len(shown)} more"
    if not shown:
        yield "any signed value"


def _got(change: Change) -> str:
    return value_text(change.after, change) if change.after else "not signed"


def value_text(value: str, change: Change) -> str:
    """Format a value of a change in one line; digests are shortened so that different ones remain different."""
    if not is_digest(value):
        return excerpt(value)
    shortened = digests(bytes.fromhex(digest) for digest in (*change.before, change.after) if is_digest(digest))
    return shortened[bytes.fromhex(value)]


def is_digest(value: str) -> bool:
    """Whether a value is the hexadecimal form of 16 to 64 bytes."""
    return 32 <= len(value) <= 128 and not len(value) % 2 and _HEX_DIGITS.issuperset(value)
