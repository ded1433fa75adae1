"""Build the sections about the fleet: verdicts over time, PCR profiles, tiers and keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from nomyo_attest.audit.place import Place
from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.summary import Counts, Gap, Profile, Summary
from nomyo_attest.policy.pcr_meanings import MEANINGS
from nomyo_attest.report.causes import (
    verdict_counts,
)
from nomyo_attest.report.document import (
    Block,
    Chart,
    Column,
    Detail,
    Digest,
    Fact,
    Facts,
    Fold,
    Mark,
    Name,
    Paragraph,
    Quote,
    Row,
    Section,
    Share,
    Table,
    Text,
)
from nomyo_attest.report.formatting import count, digests, duration, moment, number, shares

FULL, PAGE = Detail.FULL, Detail.PAGE

_PCRS_MAXIMUM: Final = 100
"""Maximum PCRs that are shown of a profile. A TPM has 24, in a few banks."""
_PROFILES_NAMED: Final = 12
_UNUSUAL_FACTOR: Final = 10
"""A gap is listed if it has at least this many times the length of the usual interval between records."""


# ---- over time


def timeline_section(summary: Summary) -> Section:
    """Show the verdicts over time, and the longest periods without records or evidence."""
    blocks: list[Block] = []
    if summary.timeline:
        blocks.append(Chart("timeline"))
    long_gaps = unusual_gaps(summary)
    gaps = [*_gaps(summary, long_gaps, "no records", "G"), *_gaps(summary, summary.unavailable, "no evidence", "E")]
    undated = _undated(summary)
    blocks.append(Paragraph(undated, Detail.BRIEF if summary.time_outliers or (gaps and summary.undated) else PAGE))
    if gaps:
        columns = (
            Column("missing"),
            Column("in the chart", detail=PAGE),
            Column("from"),
            Column("until"),
            Column("for"),
            Column("records", numeric=True),
        )
        missing = ["without records"] * bool(long_gaps) + ["without evidence"] * bool(summary.unavailable)
        blocks.append(Table("gaps", f"The longest periods {', or '.join(missing)}", columns, gaps, "time"))
    if summary.timeline and not long_gaps:
        blocks.append(Paragraph(_no_gaps(summary), PAGE))
    if summary.timeline:
        blocks.append(Fold("The chart as a table", [_buckets(summary)], PAGE))
    return Section("timeline", "Over time", blocks, folded=True)


def unusual_gaps(summary: Summary) -> list[Gap]:
    """Return the gaps that are much longer than the usual interval between records; all if that is unknown."""
    return [gap for gap in summary.gaps if gap.ends - gap.begins >= _UNUSUAL_FACTOR * summary.usual_interval]


def _no_gaps(summary: Summary) -> str:
    if not summary.usual_interval:
        return "No period is without records."
    return (
        f"No period without records is {_UNUSUAL_FACTOR} times as long as the usual interval between records, which is "
        f"{duration(summary.usual_interval)}."
    )


def drawable_gaps(summary: Summary, gaps: Iterable[Gap]) -> list[Gap]:
    """Return the gaps that are at least as long as a bar of the chart: shorter ones cannot be drawn."""
    return [gap for gap in gaps if gap.ends - gap.begins >= max(summary.bucket_seconds, 1)]


def _gaps(summary: Summary, gaps: list[Gap], missing: str, letter: str) -> list[Row]:
    marks = {id(gap): f"{letter}{number}" for number, gap in enumerate(drawable_gaps(summary, gaps), 1)}
    longest = sorted(gaps, key=lambda gap: gap.begins - gap.ends)
    return [
        Row(
            (
                missing,
                marks.get(id(gap), "shorter than a bar"),
                moment(gap.begins),
                moment(gap.ends),
                duration(gap.ends - gap.begins) if gap.ends > gap.begins else "isolated",
                gap.records,
            ),
            Detail.BRIEF if index < 3 else FULL,
        )
        for index, gap in enumerate(longest)
    ]


def _undated(summary: Summary) -> str:
    if not summary.counts.total:
        return "No records to show."
    if not summary.timeline:
        return "No record has a time, so nothing can be shown over time."
    parts = [f"{count(summary.undated, 'record')} without a time"] * bool(summary.undated)
    parts += [f"{count(summary.time_outliers, 'record')} with a time far from all others"] * bool(summary.time_outliers)
    if not parts:
        return "Every record has a time."
    return f"{' and '.join(parts)}: not shown here, but counted in all other sections."


def _buckets(summary: Summary) -> Table:
    columns = [Column("from"), *(Column(name, numeric=True) for name in (*VERDICTS, "all", "without evidence"))]
    rows = [
        Row((moment(bucket.at), *counts_by_verdict(bucket.counts), bucket.counts.total, bucket.unavailable))
        for bucket in summary.timeline
    ]
    dated = Counts(**{name: sum(getattr(bucket.counts, name) for bucket in summary.timeline) for name in VERDICTS})
    totals: tuple[Text, ...] = (
        "all with a time",
        *counts_by_verdict(dated),
        dated.total,
        sum(bucket.unavailable for bucket in summary.timeline),
    )
    sums = f"{number(dated.total)} with a time and {number(summary.undated)} without: {number(summary.counts.total)}."
    if dated.total + summary.undated != summary.counts.total:
        sums = f"These do not add up to the {number(summary.counts.total)} records of the audit."
    caption = f"The numbers of the chart, by {duration(summary.bucket_seconds)}. {sums}"
    return Table("buckets", caption, columns, rows, "bar", totals=totals)


def counts_by_verdict(counts: Counts) -> Iterator[int]:
    """Return the number of records of each verdict, in order."""
    return (getattr(counts, name) for name in VERDICTS)


# ---- PCR profiles


def profiles_section(summary: Summary) -> Section:
    """Show the PCR profiles, the number of records with each, and how the profiles differ."""
    if not summary.profiles:
        return Section("profiles", "PCR profiles", [Paragraph("No record reports PCR values.", PAGE)])
    intro = (
        "A profile is a set of PCR values that machines reported, without the PCRs for which the policy accepts any "
        "value. Records of one profile come from machines that booted the same software. P1 is the most frequent."
    )
    columns = (
        Column("profile"),
        Column("differs in"),
        Column("records", numeric=True),
        Column("share", numeric=True, detail=PAGE),
        Column("verdicts", detail=FULL),
        Column("AIKs", numeric=True, detail=FULL),
        Column("first"),
        Column("last"),
        Column("first record", detail=PAGE),
        Column("last record", detail=PAGE),
    )
    common = _pcrs(summary.profiles[0])
    of_all = shares([profile.counts.total for profile in summary.profiles], summary.counts.total)
    rows = [
        _profile(position, profile, share, common, summary.counts.total)
        for position, (profile, share) in enumerate(zip(summary.profiles, of_all, strict=True), 1)
    ]
    table = Table(
        "profiles",
        "PCR profiles, the most frequent first, and the PCRs in which they differ from P1",
        columns,
        rows,
        "profile",
        total=summary.profiles_total,
    )
    amount = number(summary.profiles_total)
    blocks: list[Block] = [Paragraph(intro, PAGE), Chart("profiles"), table, _values(summary)]
    return Section("profiles", "PCR profiles", blocks, amount, folded=True)


def _pcrs(profile: Profile) -> dict[tuple[str, str], str]:
    """Return (bank, index) → value, in the order of indices."""
    values = {(bank, index): value for bank, values in profile.pcrs.items() for index, value in values.items()}
    order = sorted(values, key=lambda key: (key[0], len(key[1]), key[1]))[:_PCRS_MAXIMUM]
    return {key: values[key] for key in order}


def most_frequent_verdict(profile: Profile) -> str:
    """Return the most frequent verdict of a profile's records; in a tie, the worst."""
    return max(reversed(VERDICTS), key=lambda name: int(getattr(profile.counts, name)))


def _profile(position: int, profile: Profile, share: str, common: dict[tuple[str, str], str], whole: int) -> Row:
    pcrs = _pcrs(profile)
    differing_keys = [key for key in dict.fromkeys([*common, *pcrs]) if pcrs.get(key) != common.get(key)]
    differing: tuple[Text, ...] = ("none",) if position == 1 else ("nothing shown",)
    if differing_keys:
        differing = tuple(part for key in differing_keys[:24] for part in (Name(":".join(key), 20), " "))[:-1]
    verdicts: list[Text] = []
    for name, records in verdict_counts(profile.counts):
        if records:
            verdicts += [Mark(name, name), f" {number(records)}", "\n"]
    return Row(
        (
            (f"P{position} ", Digest(profile.profile, profile.profile[:8])),
            differing,
            profile.counts.total,
            Share(share, profile.counts.total, whole, most_frequent_verdict(profile)),
            tuple(verdicts[:-1]),
            profile.aiks,
            moment(profile.first_seen),
            moment(profile.last_seen),
            Place(profile.first.source, profile.first.line),
            Place(profile.last.source, profile.last.line),
        )
    )


def _values(summary: Summary) -> Table:
    """List all values of each PCR, with their profiles. A PCR with several rows differs between machines."""
    by_pcr: dict[tuple[str, str], dict[str, list[str]]] = {}
    for position, profile in enumerate(summary.profiles, 1):
        for key, value in _pcrs(profile).items():
            by_pcr.setdefault(key, {}).setdefault(value, []).append(f"P{position}")
    shortened = digests(_bytes(value) for values in by_pcr.values() for value in values)
    rows = []
    for (bank, index), values in by_pcr.items():
        name: Text = (Name(f"{bank}:{index}", 20), " ≠" if len(values) > 1 else "")
        for value, profiles in values.items():
            names = ", ".join(profiles[:_PROFILES_NAMED])
            names += f" and {len(profiles) - _PROFILES_NAMED} more" if len(profiles) > _PROFILES_NAMED else ""
            short = shortened.get(_bytes(value), "")
            accepted = _accepted(summary.policy.document, bank, index, value)
            cells = (name, Digest(value, short), names, accepted, pcr_meaning(index))
            rows.append(Row(cells, Detail.BRIEF if len(values) > 1 else FULL))
    columns = (*map(Column, ("PCR", "value", "profiles", "policy")), Column("measures", detail=PAGE))
    caption = "PCR values of these profiles: a PCR with several values differs (≠)"
    return Table("values", caption, columns, rows, "value")


def _bytes(value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError:
        return b""


def pcr_meaning(index: str) -> str:
    """Return what a PCR measures; empty for an invalid index."""
    return MEANINGS.get(int(index), "") if index.isdecimal() and len(index) < 4 else ""


def _accepted(document: dict[str, Any], bank: str, index: str, value: str) -> Text:
    references = document.get("pcrs", {}).get(bank, {}).get(index)
    if references is None:
        return "does not name this PCR"
    if not isinstance(references, list):
        return "accepts any value"
    for reference in references:
        if reference.get("value") == value:
            label = reference.get("label") or ""
            return (Mark("affirming", "accepts it"), *((": ", Quote(label, 80)) if label else ()))
    return Mark("contraindicated", "does not accept it")


# ---- tiers and keys


def claims_section(summary: Summary) -> Section:
    """Show the security tiers that the server claims, the signing keys, and how much evidence is missing."""
    without = sum(bucket.unavailable for bucket in summary.timeline)
    missing = f"{count(without, 'record')} with a time"
    periods = [gap.ends - gap.begins for gap in summary.unavailable if gap.ends > gap.begins]
    if periods:
        missing += f"; in {count(len(periods), 'period')}, {duration(sum(periods))} together, no record has any"
    elif summary.unavailable:
        missing += ", each isolated"
    aiks = f"{number(summary.aiks)} different Names; the policy pins {number(summary.aiks_pinned)} of them"
    trust = (
        "`pinned_aik` if the policy pins the Name and the signature verifies; `self_asserted` otherwise, since nothing "
        "else confirms a key that arrives with its quote"
    )
    facts = Facts([Fact("AIKs", aiks), Fact("Trust in them", trust), Fact("Without evidence", missing)], PAGE)
    if not summary.tiers:
        tiers: Block = Paragraph("No record claims a tier.", PAGE)
    else:
        of_all = shares([records for _, records in summary.tiers], summary.counts.total)
        rows = [
            Row((Name(tier, 80) if tier is not None else "no tier", records, share))
            for (tier, records), share in zip(summary.tiers, of_all, strict=True)
        ]
        columns = (Column("tier"), Column("records", numeric=True), Column("share", numeric=True))
        caption = "Security tiers that the server claims, unsigned"
        tiers = Table("tiers", caption, columns, rows, "tier", total=summary.tiers_total)
    return Section("claims", "Tiers and keys", [facts, tiers], folded=True)
