"""Phrase the titles of incidents: what is wrong, on which machines, and when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import CauseGroup
from nomyo_attest.report.causes import known_rule
from nomyo_attest.report.document import Aik
from nomyo_attest.report.formatting import count, moment, number, to_datetime

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.]{1,60}", re.ASCII)
_PLAIN_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,-]{0,59}", re.ASCII)
_HEX_NAME: Final = re.compile(r"[0-9a-f]{1,200}", re.ASCII)

_BOOT_PHRASES: Final = {
    0: "booted firmware",
    1: "booted with firmware settings",
    2: "booted with option ROMs",
    3: "booted with option ROM settings",
    4: "booted a boot loader or kernel",
    5: "booted with boot loader settings",
    7: "booted with a Secure Boot state",
    8: "booted with a kernel command line",
    9: "booted a kernel or initrd",
    10: "ran software",
    11: "booted a kernel image",
    12: "booted with a kernel command line",
    14: "booted with machine owner keys",
}


def failure(rule_id: str) -> str:
    """Return what is wrong if a rule does not hold, as a main clause."""
    rule = known_rule(rule_id)
    if rule is None:
        return f"{rule_subject(rule_id)} does not hold"
    name = rule_id.removeprefix("claims.")
    if name != rule_id and _PLAIN_NAME.fullmatch(name):
        return f"The claim {name} has a value that the policy does not accept"
    return rule.failure


def rule_subject(rule_id: str) -> str:
    """Return a rule as the subject of a sentence. An id with text from outside is shown only if it is a plain name."""
    if _PLAIN_NAME.fullmatch(rule_id):
        return f"The rule {rule_id}"
    return "A rule about a claim" if rule_id.startswith("claims.") else "A rule of a different version"


def boot_phrase(got: Any) -> str:
    """Return a verb phrase for what a machine booted, from the PCR values that do not match."""
    if not isinstance(got, Mapping) or not got:
        return "booted something that the policy does not list"
    places = sorted(got, key=_place_order)
    indices = [place.rpartition(":")[2] for place in places]
    pcrs = f"PCR{'s' * (len(indices) > 1)} {joined_with_and(indices)}" if len(indices) <= 6 else f"{len(indices)} PCRs"
    if all(value is None for value in got.values()):
        return f"did not quote {pcrs}, which the policy requires"
    phrase = _BOOT_PHRASES.get(int(indices[0]), "") if len(indices) == 1 and indices[0].isdecimal() else ""
    if phrase:
        return f"{phrase} ({pcrs}) that the policy does not list"
    return f"booted with values of {pcrs} that the policy does not list"


def _place_order(place: str) -> tuple[str, int, str]:
    bank, _, index = place.rpartition(":")
    return bank, int(index) if index.isdecimal() and len(index) < 4 else 1000, index


def joined_with_and(names: list[str]) -> str:
    """Join names: ``"0, 4 and 7"``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def response_count(records: int) -> str:
    """Format a number of responses: ``"25 responses"``."""
    return count(records, "response")


# ---- machines


def machine_subject(group: CauseGroup, labels: Mapping[str, str]) -> str:
    """Return the machines of a group as the subject of a sentence; empty if they are unknown."""
    if group.without_boot or not group.boots or _machines_cannot_be_inferred(group):
        return ""
    if not group.boots_inferred:
        if group.pinned_aiks == 1:
            return f"The machine with {aik_text(group.boots[0].aik, labels)}"
        return f"{number(group.pinned_aiks)} machines with pinned AIKs"
    machines = group.machines_inferred + group.pinned_aiks
    return "One machine (inferred)" if machines == 1 else f"Up to {number(machines)} machines (inferred)"


def machine_description(group: CauseGroup) -> str:
    """State which machines sent the records of a group, and how they are known."""
    if _machines_cannot_be_inferred(group):
        return "unknown: `processed_at` minus the TPM's clock differs between all of these records"
    parts = []
    if group.pinned_aiks:
        parts.append(f"{'one AIK' if group.pinned_aiks == 1 else count(group.pinned_aiks, 'AIK')} that the policy pins")
    if group.boots_inferred == 1 and group.boots_total == 1:
        parts.append(
            f"one boot, inferred: every quote has resetCount {group.boots[0].reset_count}, and `processed_at` minus "
            "the clock is constant within seconds"
        )
    elif group.boots_inferred:
        parts.append(
            f"{count(group.machines_inferred, 'machine')} at most, with {count(group.boots_inferred, 'boot')}, "
            "inferred: the records of a machine have the same `processed_at` minus clock within seconds, and those of "
            "a boot also have the same resetCount"
        )
    if group.without_boot and parts:
        parts.append(f"unknown for {count(group.without_boot, 'record')}")
    if not parts:
        return "unknown: the records have no time, no clock or no signature that verifies"
    return "; ".join(parts)


def _machines_cannot_be_inferred(group: CauseGroup) -> bool:
    """Whether each of several records seems to be from a different machine, so that nothing can be inferred."""
    return 2 < group.records == group.machines_inferred


def aik_text(name: str, labels: Mapping[str, str]) -> str:
    """Format an AIK: the policy's label in quotation marks, or the first and last digits of its Name."""
    label = labels.get(name, "")
    if _PLAIN_LABEL.fullmatch(label):
        return f'AIK "{label}"'
    return f"AIK {Aik(name).short}" if _HEX_NAME.fullmatch(name) else "an AIK"


# ---- times


def date_text(seconds: int) -> str:
    """Format a date in UTC: ``"8 January 2026"``."""
    time = to_datetime(seconds)
    return f"{_day_and_month(time)} {time.year}" if moment(seconds).endswith("Z") else moment(seconds)


def _day_and_month(time: datetime) -> str:
    return f"{time.day} {_MONTHS[time.month - 1]}"


def period_phrase(first: Place | None, last: Place | None) -> str:
    """Return the days from the first to the last record, in UTC: ``" between 8 and 10 January 2026"``.

    One day is ``" on 8 January 2026"``; without times, the text is empty.
    """
    begins = first.processed_at if first else None
    ends = last.processed_at if last else None
    if begins is None:
        return "" if ends is None else f" until {date_text(ends)}"
    if ends is None or date_text(ends) == date_text(begins):
        return f" on {date_text(begins)}"
    a, b = to_datetime(begins), to_datetime(ends)
    if (a.year, a.month) == (b.year, b.month):
        return f" between {a.day} and {date_text(ends)}"
    return f" between {_day_and_month(a) if a.year == b.year else date_text(begins)} and {date_text(ends)}"
