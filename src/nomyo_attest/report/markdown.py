"""The summary of an audit as Markdown, for the summary of a CI job or a comment on a pull request.

What came from records, files and the command line stands in code spans, where Markdown, HTML, links and mentions mean
nothing, unless it is nothing but plain words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from nomyo_attest.audit.summary import FOUND, HELD, NOT_EVALUATED, CrossRecordFinding, Place, Summary
from nomyo_attest.report.audit_reasons import causes, causes_by_source, ignored, waiting
from nomyo_attest.report.audit_words import (
    MEND_RELEASED,
    MEND_UNREADABLE,
    NOT_AFFIRMED,
    PASSED_OVER,
    REPEATED,
    Compared,
    counts_line,
    lines_text,
    not_evaluated_text,
    outside_text,
    place_text,
    released_text,
    remediation_not_evaluated,
    remediation_of,
    unreadable_within,
    verdict_counts,
)
from nomyo_attest.report.formatting import (
    count,
    duration,
    excerpt,
    moment,
    number,
    sanitize,
    sentence,
    shares,
    source_name,
)

BYTES_MAXIMUM: Final = 1024 * 1024
"""What GitHub takes for the summary of a step; it shows nothing of a longer one. The limits below keep far under it."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9 ,.:;()'-]+", re.ASCII)

_RULES: Final = 30
_FINDINGS: Final = 5
_FOLLOWING: Final = 6
_PLACES: Final = 50
_LISTED: Final = 20
_PROFILES: Final = 10


def audit_markdown(summary: Summary) -> str:
    """`summary` as Markdown of GitHub's flavor, with its line end: the first screen says what and why."""
    parts = [
        *_head(summary),
        *_rules(summary),
        *_series(summary),
        *_sources(summary),
        *_places(summary),
        *_profiles(summary),
        *_over_time(summary),
        *_limits(summary),
        *_provenance(summary),
    ]
    return "\n\n".join(parts) + "\n"


def code(text: str) -> str:
    """`text` as a code span that nothing in it can end, and that fits into a cell of a table."""
    text = sanitize(text)
    if text.strip() and "`" not in text and "|" not in text:
        return f"`{text}`"
    # Character references are no syntax to Markdown, and inside <code> nobody is mentioned and nothing linked.
    return f"<code>{''.join(one if one.isalnum() or one == ' ' else f'&#{ord(one)};' for one in text)}</code>"


def prose(text: str) -> str:
    """`text` as it is, if it is plain words and nothing to Markdown; as `code` if not."""
    return text if _PLAIN.fullmatch(text) and "www." not in text else code(text)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; a column whose name begins with ``>`` is for numbers."""
    head = list(head)
    marks = ["--:" if name.startswith(">") else "---" for name in head]
    lines = [[name.removeprefix(">") for name in head], marks, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(title: str, *parts: str) -> list[str]:
    return [f"<details><summary>{title}</summary>", *parts, "</details>"]


def _more(left: int, noun: str) -> list[str]:
    return [f"And {count(left, f'more {noun}')}."] if left > 0 else []


def _place(place: Place) -> str:
    at = "" if place.processed_at is None else f", {moment(place.processed_at)}"
    return f"{code(place_text(place.source, place.line))}{at}"


def _head(summary: Summary) -> list[str]:
    counts = summary.counts
    state = "passed" if summary.status == 0 else "not passed"
    records = f"**{count(counts.total, 'record')}** in {count(summary.sources_total, 'source')}"
    beside = [f"{count(summary.outside, 'record')} outside the time asked for: {outside_text(summary)}"]
    beside = beside * bool(summary.outside)
    beside += [count(summary.blank, "blank line")] * bool(summary.blank)
    told = f"{records} (beside {' and '.join(beside)})" if beside else records
    policy = f"policy {code(excerpt(summary.policy.id, 60))} ({code(f'{summary.policy.digest[:19]}…')})"
    why = f": {prose(excerpt(summary.status_reason))}" if summary.status_reason else ""
    found = [(name, value) for name, value in verdict_counts(counts) if value]
    rows = [
        [f"**{name}**" if name != "affirming" else name, number(value), share]
        for (name, value), share in zip(found, shares([value for _, value in found]), strict=True)
    ]
    return [
        f"## nomyo-attest audit: {state}",
        f"{told}, {policy}.",
        *([_table(["verdict", ">records", ">share"], rows)] if rows else ["There is nothing to appraise."]),
        *_released(summary),
        f"Exit status {summary.status}{why}.",
    ]


def _released(summary: Summary) -> list[str]:
    told = released_text(summary.released)
    if not summary.released.not_affirmed:
        return [f"{NOT_AFFIRMED}: {told}."] * bool(told)
    return [f"**{NOT_AFFIRMED}**: {told}. What to do: {sentence(MEND_RELEASED)}"]


def _rules(summary: Summary) -> list[str]:
    found = causes(summary)
    if not found:
        return []
    compared = Compared(summary)
    rows, remediations = [], []
    for cause in found[:_RULES]:
        expected, got = compared.of(cause)
        told = f"expected {code(expected)}, got {code(got)}" if expected else prose(excerpt(cause.message))
        rows.append([f"**{cause.tag}**", code(excerpt(cause.rule)), number(cause.records), _place(cause.first), told])
        remediation = f"- {code(excerpt(cause.rule))}: {remediation_of(cause.rule)}"
        if remediation_of(cause.rule) and remediation not in remediations:
            remediations.append(remediation)
    parts = [
        "### Rules that do not hold",
        _table(["", "rule", ">records", "first", "why"], rows),
        *_more(len(found) - _RULES, "rule"),
        *(["What to do:", "\n".join(remediations)] if remediations else []),
    ]
    if late := waiting(summary):
        named = ", ".join(code(excerpt(one)) for one in late)
        told = named if len(late) <= _FOLLOWING else count(len(late), "other rule")
        parts.append(f"Not decided because of these: {told}.")
    if quiet := ignored(summary):
        parts.append(f"Not heeded, as the policy has it: {', '.join(code(excerpt(one)) for one in quiet[:_RULES])}.")
    return parts


def _series(summary: Summary) -> list[str]:
    rules = summary.cross_record_rules
    if not rules:
        return []
    parts = ["### Across records"]
    for rule in rules:
        if rule.outcome == NOT_EVALUATED:
            why = prose(excerpt(not_evaluated_text(rule)))
            parts.append(f"**{code(excerpt(rule.rule))}** {rule.question} **Not evaluated**: {why}.")
            parts.append(f"What to do: {sentence(remediation_not_evaluated(rule))}")
        if rule.outcome != FOUND:
            continue
        found = [one for one in summary.cross_record if one.rule == rule.rule][:_FINDINGS]
        parts.append(
            f"**{code(excerpt(rule.rule))}** {rule.question} "
            f"**{count(rule.findings, 'finding')}**, {count(rule.records, 'record')}."
            f"{f' Records: {prose(excerpt(rule.remark))}.' if rule.remark else ''}"
        )
        parts.append("\n".join(f"- {_finding(one)}" for one in found))
        parts += _more(rule.findings - len(found), "finding")
        parts.append(f"What to do: {rule.remediation}")
    held = [one for one in rules if one.outcome == HELD]
    for remark in dict.fromkeys(one.remark for one in held):
        holding = ", ".join(code(excerpt(one.rule)) for one in held if one.remark == remark)
        parts.append(f"Nothing found by {holding}{f' ({prose(excerpt(remark))})' if remark else ''}.")
    return parts


def _finding(one: CrossRecordFinding) -> str:
    return f"{prose(sentence(excerpt(one.message)))} First {_place(one.first)}; last {_place(one.last)}"


def _sources(summary: Summary) -> list[str]:
    parts = []
    if found := [one for one in summary.sources if one.problem]:
        rows = [[code(source_name(one.name)), prose(excerpt(one.problem)), counts_line(one.counts)] for one in found]
        parts += [
            "### Sources that could not be read whole",
            _table(["source", "problem", "records"], rows[:_LISTED]),
            *_more(max(summary.sources_unreadable, len(found)) - min(len(found), _LISTED), "source"),
            f"What to do: {MEND_UNREADABLE}.",
        ]
    if within := unreadable_within(summary):
        rows = [
            [code(source_name(one.source)), prose(excerpt(one.problem)), lines_text(one.lines[:_LISTED], one.records)]
            for one in within
        ]
        parts += [
            "### Records that could not be read",
            _table(["source", "problem", "records"], rows[:_LISTED]),
            *_more(len(rows) - min(len(rows), _LISTED), "source"),
        ]
    for title, listed, total in (
        (PASSED_OVER, summary.passed_over, summary.passed_over_total),
        (REPEATED, summary.repeated, summary.repeated_total),
    ):
        if total:
            shown = listed[:_LISTED]
            names = "\n".join(f"- {code(source_name(name))}" for name in shown)
            parts += _folded(f"{title}: {count(total, 'file')}", names, *_more(total - len(shown), "file"))
    return parts


def _places(summary: Summary) -> list[str]:
    found = causes_by_source(summary)
    if not found:
        return []
    rows = [
        [code(source_name(one.source)), code(excerpt(one.rule)), one.tag, lines_text(one.lines, one.records)]
        for one in found[:_PLACES]
    ]
    left = len(found) - len(rows) + max(0, summary.places_total - len(summary.places))
    return _folded("Where, by source and rule", _table(["source", "rule", "", "records"], rows), *_more(left, "place"))


def _profiles(summary: Summary) -> list[str]:
    if not summary.profiles_total:
        return []
    rows = []
    for one in summary.profiles[:_PROFILES]:
        seen = [moment(one.first_seen), moment(one.last_seen)] if one.first_seen is not None else ["no time", ""]
        rows.append([code(one.profile[:8]), number(one.counts.total), *seen, counts_line(one.counts)])
    table = _table(["profile", ">records", "first seen", "last seen", "verdicts"], rows)
    title = f"PCR profiles in use: {number(summary.profiles_total)}"
    return _folded(title, table, *_more(summary.profiles_total - len(rows), "profile"))


def _over_time(summary: Summary) -> list[str]:
    rows = [
        [what, moment(gap.begins), moment(gap.ends), duration(gap.ends - gap.begins), number(gap.records)]
        for what, gaps in (("no records", summary.gaps), ("no evidence", summary.unavailable))
        for gap in gaps[:_LISTED]
    ]
    tiers = [f"{'no tier' if tier is None else code(excerpt(tier, 40))} {number(of)}" for tier, of in summary.tiers]
    parts = []
    if rows:
        parts += _folded(
            "The longest times without records or evidence", _table(["", "from", "to", "long", ">records"], rows)
        )
    if summary.beyond:
        parts.append(f"{count(summary.beyond, 'record')} of a time far from all others, in none of the gaps.")
    if tiers:
        left = summary.tiers_total - len(summary.tiers)
        parts.append(
            f"Tiers claimed, which nothing signs: {', '.join([*tiers, *[count(left, 'other')] * (left > 0)])}."
        )
    return parts


def _limits(summary: Summary) -> list[str]:
    if not summary.not_established:
        return []
    limits = "\n".join(f"- {prose(excerpt(one, 600))}" for one in summary.not_established[:_LISTED])
    return _folded("What the verdicts do not establish", limits)


def _provenance(summary: Summary) -> list[str]:
    run = summary.run
    rows = [
        ["policy", code(summary.policy.digest)],
        ["inputs", code(f"sha256:{summary.inputs_digest}")],
        ["command", code(excerpt(" ".join(run.command), 1000))],
        ["nomyo-attest", code(run.version)],
        *([["appraised as of", code(run.at)]] if run.at else []),
    ]
    return _folded("How to run it again", _table(["", ""], rows))
