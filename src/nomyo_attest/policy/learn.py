"""Recorded evidence → the text of a policy that accepts it, with comments for whoever reads it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

import msgspec

from nomyo_attest.errors import PolicyError
from nomyo_attest.evidence.response import Evidence
from nomyo_attest.policy.model import POLICY_FORMAT, STRONG_HASHES
from nomyo_attest.policy.pcr_meanings import MEANINGS, never_extended, reset_by
from nomyo_attest.policy.toml import toml_comment, toml_string

COMMENT_WIDTH: Final = 80
"""Columns of a comment in the policy."""

LABEL_NAMES_MAXIMUM: Final = 3
"""Files named in one label; the others are counted."""

Place = tuple[str, int]
"""Bank and PCR index."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence to learn from. Whoever makes it has appraised the evidence: nothing is judged here.

    Attributes:
        name: where it came from; becomes the label of its values.
        evidence: as read; its values count as signed.
        hierarchy: the one whose primary key the AIK is, None if of none.
        clock_safe: TPMS_CLOCK_INFO.safe.
        firmware_version: TPMS_ATTEST.firmwareVersion.
        test_key: whether the soft TPM made it, whose private keys everybody can make again.
    """

    name: str
    evidence: Evidence
    hierarchy: str | None
    clock_safe: bool
    firmware_version: int
    test_key: bool = False


class Lesson(msgspec.Struct, frozen=True):
    """What was learned.

    Attributes:
        text: the policy, in TOML.
        notices: what its owner should know besides: a sentence each.
    """

    text: str
    notices: tuple[str, ...]


def learn(recordings: Sequence[Recording], *, policy_id: str, description: str) -> Lesson:
    """Make a policy that accepts every one of `recordings`: for each PCR that all sign, the values that any has.

    Raises `PolicyError` if they sign no PCR in common.
    """
    notices: list[str] = []
    places = _common(recordings, notices)
    values = {place: _labelled(place, recordings) for place in places}
    notices += _suspicious(values)
    lines = [
        *comment(f"Learned by nomyo-attest policy learn from {names_text([one.name for one in recordings])}."),
        *comment("Read it before you rely on it: it accepts whatever those machines had booted."),
        *_test_key_lines(recordings),
        f"format = {toml_string(POLICY_FORMAT)}",
        f"id = {toml_string(policy_id)}",
        f"description = {toml_string(description)}",
        "",
        *comment("Reference values. Each PCR named here must be signed, with one of its values."),
        *comment('"any" in place of a list accepts every value of that PCR, if it is signed.'),
    ]
    for bank in dict.fromkeys(bank for bank, _ in places):
        lines.append(f"[pcrs.{bank}]")
        for index in (index for of, index in places if of == bank):
            lines += [*comment(f"PCR {index}: {MEANINGS[index]}."), f"{index} = ["]
            lines += [
                f"    {{ value = {toml_string(v.hex())}, label = {toml_string(t)} }},"
                for v, t in values[bank, index].items()
            ]
            lines.append("]")
        lines.append("")
    lines += [
        *_bank_lines(places),
        *_key_lines(recordings, notices),
        *_clock_lines(recordings, notices),
        *_open_lines(recordings),
    ]
    return Lesson("\n".join(lines).rstrip("\n") + "\n", tuple(notices))


def _test_key_lines(recordings: Sequence[Recording]) -> list[str]:
    names = [one.name for one in recordings if one.test_key]
    if not names:
        return []
    return comment(
        f"FOR TESTS ONLY: the soft TPM of nomyo_attest.testing made {names_text(names)} (--allow-test-keys). Everybody "
        "can make its private keys again, and with them evidence that this policy affirms."
    )


def _common(recordings: Sequence[Recording], notices: list[str]) -> list[Place]:
    """The PCRs to be pinned: those that every recording signs, but for a SHA-1 bank beside another."""
    signed = [{(bank, i) for bank, of in one.evidence.pcrs.values.items() for i in of} for one in recordings]
    common = set.intersection(*signed)
    if not common:
        raise PolicyError(
            "pcrs", "there is no PCR that every file signs", "learn from recordings of one kind of machine"
        )
    for one, places in zip(recordings, signed, strict=True):
        left = sorted(places - common)
        if left:
            notices.append(f"{one.name}: not every file signs {_text(left)}; left out")
    if any(bank != "sha1" for bank, _ in common):
        weak = sorted(place for place in common if place[0] == "sha1")
        if weak:
            notices.append(
                f"{_text(weak)} left out: SHA-1 values can be reached by other measurements; a stronger bank is there"
            )
            common = common.difference(weak)
    return sorted(common)


def _labelled(place: Place, recordings: Sequence[Recording]) -> dict[bytes, str]:
    bank, index = place
    sources: dict[bytes, list[str]] = {}
    for one in recordings:
        sources.setdefault(one.evidence.pcrs.values[bank][index], []).append(one.name)
    return {value: names_text(names) for value, names in sources.items()}


def names_text(names: list[str]) -> str:
    """Names of files, the first few and how many more there are."""
    if len(names) <= LABEL_NAMES_MAXIMUM:
        return ", ".join(names)
    return f"{', '.join(names[:LABEL_NAMES_MAXIMUM])} and {len(names) - LABEL_NAMES_MAXIMUM} more"


def _text(places: Sequence[Place]) -> str:
    banks: dict[str, list[str]] = {}
    for bank, index in places:
        banks.setdefault(bank, []).append(str(index))
    return "+".join(f"{bank}:{','.join(indices)}" for bank, indices in banks.items())


def _suspicious(values: dict[Place, dict[bytes, str]]) -> list[str]:
    notices = []
    fresh = [place for place, of_place in values.items() if any(map(never_extended, of_place))]
    if fresh:
        notices.append(f"{_text(fresh)}: a value of a PCR that was never extended says nothing about the machine")
    for reason in dict.fromkeys(reset_by(index) for _, index in values):
        if reason:
            places = [place for place in values if reset_by(place[1]) == reason]
            notices.append(f"{_text(places)}: the value proves little: {reason}")
    return notices


def _bank_lines(places: Sequence[Place]) -> list[str]:
    banks = list(dict.fromkeys(bank for bank, _ in places))
    if all(bank in STRONG_HASHES for bank in banks):
        return []
    reason = "SHA-1 is weak: its values can be reached by other measurements. There was no other bank."
    hashes = ", ".join(toml_string(bank) for bank in dict.fromkeys([*STRONG_HASHES, *banks]))
    return ["[bank]", *(comment(reason) if "sha1" in banks else []), f"hashes = [{hashes}]", ""]


def _key_lines(recordings: Sequence[Recording], notices: list[str]) -> list[str]:
    hierarchies = list(dict.fromkeys(one.hierarchy for one in recordings))
    if None in hierarchies:
        notices.append(
            "no key.hierarchy is asked for: not every AIK is a primary key. Nothing ties its attributes to the quote"
        )
        return []
    named = ", ".join(toml_string(str(hierarchy)) for hierarchy in hierarchies)
    reason = "The AIK must be a primary key here. That ties every bit of its public area to the quote."
    return ["[key]", *comment(reason), f"hierarchy = [{named}]", ""]


def _clock_lines(recordings: Sequence[Recording], notices: list[str]) -> list[str]:
    unsafe = [one.name for one in recordings if not one.clock_safe]
    if not unsafe:
        return []
    notices.append(f"clock.safe is made a warning: it does not hold in {names_text(unsafe)}")
    reason = (
        f"The clock's `safe` was clear in {names_text(unsafe)}, as it is for a while after a power cut. "
        "Remove the line if you order quotes by their clock."
    )
    return ["[rules]", *comment(reason), '"clock.safe" = "warn"', ""]


def _open_lines(recordings: Sequence[Recording]) -> list[str]:
    """What the policy does not ask, as comments that can be put into force."""
    lines = [
        *comment("Left open. Remove the # before a table and its line to ask for it, too."),
        "#",
        *comment("Who vouches for the AIK. Nobody does here; one made for each answer cannot be pinned either."),
    ]
    if all(one.hierarchy in ("endorsement", "platform") for one in recordings):
        versions = ", ".join(
            toml_string(f"0x{v:016x}") for v in dict.fromkeys(one.firmware_version for one in recordings)
        )
        lines += ["#", *comment("The TPM's own firmware:"), "# [firmware]", f"# versions = [{versions}]"]
    tiers = [tier for tier in dict.fromkeys(_tier(one.evidence) for one in recordings) if tier is not None]
    if tiers:
        lines += ["#", *comment("What the server says of itself, which nothing signs:"), "# [claims]"]
        lines.append(f"# security_tier = [{', '.join(toml_string(tier) for tier in tiers)}]")
    return lines


def comment(text: str) -> list[str]:
    """`text` as comment lines of a policy file, safe whatever is in it."""
    return textwrap.wrap(
        toml_comment(text),
        COMMENT_WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _tier(evidence: Evidence) -> str | None:
    """The tier claimed, if it is one of the service's."""
    tier = evidence.claims.get("security_tier")
    return tier if tier in ("standard", "high", "maximum") else None
