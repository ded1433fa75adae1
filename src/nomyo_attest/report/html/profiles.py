"""The PCR profiles: which sets of values are in use, by how many records, and in what they differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.summary import Profile, Summary
from nomyo_attest.policy.pcr_meanings import MEANINGS
from nomyo_attest.report.formatting import number, shares
from nomyo_attest.report.html.bands import bands
from nomyo_attest.report.html.markup import Markup, element, fit, join
from nomyo_attest.report.html.tables import columns, row, section, table
from nomyo_attest.report.html.wording import code, digits, outside, spot, stamp, verdict

_SIZE: Final = 100_000
_PLACES_MAXIMUM: Final = 100
"""PCRs of one profile: there are 24, in a few banks."""

_LABEL_MAX: Final = 80


def profiles(summary: Summary) -> Markup:
    """The section."""
    title = "PCR profiles"
    if not summary.profiles:
        return section("profiles", title, element("p", "No record reports PCR values."))
    told = element(
        "p",
        "A profile is a set of PCR values that machines reported, without those of which the policy accepts any. "
        "Records of one profile come from machines that booted alike. P1 is the commonest.",
    )
    return section("profiles", title, told, bands(summary), _in_use(summary), _values(summary))


def _pcrs(profile: Profile) -> dict[tuple[str, str], str]:
    """(bank, index) → value, in the order of indices."""
    found = {(bank, index): value for bank, values in profile.pcrs.items() for index, value in values.items()}
    order = sorted(found, key=lambda key: (key[0], len(key[1]), key[1]))[:_PLACES_MAXIMUM]
    return {key: found[key] for key in order}


def _in_use(summary: Summary) -> Markup:
    of = columns("profile", "differs from P1 in", "#records", "#share", "verdicts", "#AIKs", "first", "last")
    common = _pcrs(summary.profiles[0])
    of_all = shares([one.counts.total for one in summary.profiles], summary.counts.total)
    found = enumerate(zip(summary.profiles, of_all, strict=True), 1)
    rows = fit((_profile(at, one, share, common) for at, (one, share) in found), _SIZE)
    caption = "PCR profiles, the commonest first. Times are UTC."
    if len(rows) < summary.profiles_total:
        caption += f" The first {number(len(rows))} of {number(summary.profiles_total)} are shown."
    return table("profiles", caption, of, rows)


def _profile(at: int, profile: Profile, share: str, common: dict[tuple[str, str], str]) -> Markup:
    of = columns("", "", "#", "#", "", "#", "", "")
    own = _pcrs(profile)
    differ = [key for key in dict.fromkeys([*common, *own]) if own.get(key) != common.get(key)]
    told: str = "is P1" if at == 1 else "nothing shown"
    if differ:
        told = join(
            [element("span", "≠ ", aria_hidden="true"), join([code(":".join(key), 20) for key in differ[:24]], " ")]
        )
    counts = [
        join([verdict(name), " ", number(getattr(profile.counts, name))])
        for name in VERDICTS
        if getattr(profile.counts, name)
    ]
    cells = [
        join([element("strong", f"P{at}"), element("br"), digits(profile.profile)]),
        told,
        number(profile.counts.total),
        share,
        join(counts, Markup("<br>")),
        number(profile.aiks),
        _seen(profile.first_seen, spot(profile.first.source, profile.first.line)),
        _seen(profile.last_seen, spot(profile.last.source, profile.last.line)),
    ]
    return row(of, cells)


def _seen(time: int | None, where: Markup) -> Markup:
    return join([stamp(time), element("br"), element("small", where)])


def _values(summary: Summary) -> Markup:
    """Every value of every PCR, with the profiles that have it: where a PCR has two lines, machines differ."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for at, profile in enumerate(summary.profiles, 1):
        for key, value in _pcrs(profile).items():
            found.setdefault(key, {}).setdefault(value, []).append(f"P{at}")
    of = columns("PCR", "value", "of profiles", "the policy")
    rows = list(_value_rows(summary, found))
    shown = fit(rows, _SIZE)
    cut = "" if len(shown) == len(rows) else f" The first {number(len(shown))} of {number(len(rows))} are shown."
    return table("values", f"PCR values of these profiles: a PCR with several lines differs.{cut}", of, shown)


def _value_rows(summary: Summary, found: dict[tuple[str, str], dict[str, list[str]]]) -> Iterator[Markup]:
    of = columns("PCR", "value", "of profiles", "the policy")
    for (bank, index), values in found.items():
        several = " ≠" if len(values) > 1 else ""
        name = join([code(f"{bank}:{index}", 20), several, element("br"), element("small", meaning(index))])
        for value, having in values.items():
            names = ", ".join(having[:12]) + (f" and {len(having) - 12} more" if len(having) > 12 else "")
            yield row(of, [name, digits(value), names, _accepted(summary.policy.document, bank, index, value)])


def meaning(index: str) -> str:
    """What a PCR measures; empty for what is no index."""
    return MEANINGS.get(int(index), "") if index.isdecimal() and len(index) < 4 else ""


def _accepted(document: dict[str, Any], bank: str, index: str, value: str) -> Markup:
    known = document.get("pcrs", {}).get(bank, {}).get(index)
    if known is None:
        return Markup("does not name this PCR")
    if not isinstance(known, list):
        return Markup("accepts any value")
    for one in known:
        if one.get("value") == value:
            label = one.get("label") or ""
            return join([_mark("affirming", "✓", "accepts it"), ": " if label else "", outside(label, _LABEL_MAX)])
    return _mark("contraindicated", "✗", "does not accept it")


def _mark(kind: str, symbol: str, words: str) -> Markup:
    return element("span", element("span", symbol, aria_hidden="true"), f" {words}", class_=f"v v-{kind}")
