"""What the server says of itself, the keys that signed, and how much evidence is missing."""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.formatting import count, duration, number, shares
from nomyo_attest.report.html.markup import Markup, element, fit
from nomyo_attest.report.html.tables import columns, pairs, row, section, table
from nomyo_attest.report.html.wording import code

_TIER_MAX: Final = 80
_SIZE: Final = 20_000


def claims(summary: Summary) -> Markup:
    """The section."""
    return section("claims", "Tiers, keys and missing evidence", _keys(summary), _tiers(summary))


def _keys(summary: Summary) -> Markup:
    without = sum(bucket.unavailable for bucket in summary.timeline)
    outage = sum(gap.ends - gap.begins for gap in summary.unavailable)
    lost = f"{count(without, 'record')} with a time"
    if summary.unavailable:
        stretches = count(len(summary.unavailable), "stretch", "stretches")
        lost += f"; in {stretches} of time, {duration(outage)} together, no record has any"
    aiks = f"{number(summary.aiks)} different Names; the policy pins {number(summary.aiks_pinned)} of them"
    trust = (
        "pinned_aik where the policy pins the Name and the signature verifies; self_asserted everywhere else: nothing "
        "vouches for a key that came with its quote"
    )
    return pairs([("AIKs", aiks), ("Trust in them", trust), ("Without evidence", lost)])


def _tiers(summary: Summary) -> Markup:
    if not summary.tiers:
        return element("p", "No record claims a tier.")
    of = columns("tier", "#records", "#share")
    total = summary.counts.total
    named = ((code(tier, _TIER_MAX) if tier is not None else "none is claimed", part) for tier, part in summary.tiers)
    of_all = shares([part for _, part in summary.tiers], total)
    rows = fit((row(of, [tier, number(part), one]) for (tier, part), one in zip(named, of_all, strict=True)), _SIZE)
    caption = "Security tiers that the server claims; nothing signs them."
    if len(rows) < summary.tiers_total:
        caption += f" The first {number(len(rows))} of {number(summary.tiers_total)} are shown."
    return table("tiers", caption, of, rows)
