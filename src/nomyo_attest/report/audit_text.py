"""The summary of an audit as text on a terminal or in a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.audit_text_about import over_time, passed_over, profiles, repeated, sources, tiers, unread
from nomyo_attest.report.audit_text_findings import rules, series
from nomyo_attest.report.audit_words import MEND_RELEASED, NOT_AFFIRMED, outside_text, released_text, verdict_counts
from nomyo_attest.report.formatting import (
    Ink,
    TextStyle,
    count,
    escape_commands,
    excerpt,
    number,
    sentence,
    shares,
    source_name,
)

_INKS: Final[dict[str, Ink]] = {
    "affirming": "good",
    "warning": "warn",
    "contraindicated": "bad",
    "none": "bad",
    "unreadable": "bad",
}


def audit_text(summary: Summary, style: TextStyle, written: Sequence[str] = ()) -> str:
    """`summary` as text, without a line end: what there was, what does not hold, and what the exit status is for.

    `written` are the names of the files that the audit wrote.

    Ten of each list at the most; all that the summary lists with `TextStyle.verbose`. Nothing in it is a
    command to a CI system, whatever the records say.
    """
    parts = [
        _head(summary, style),
        _verdicts(summary, style),
        _released(summary, style),
        rules(summary, style),
        series(summary, style),
        profiles(summary, style),
        over_time(summary, style),
        tiers(summary, style),
        sources(summary, style),
        unread(summary, style),
        passed_over(summary, style),
        repeated(summary, style),
        _limits(summary, style),
        style.wrap(", ".join(source_name(name) for name in written), "written: ") if written else [],
        _status(summary, style),
    ]
    text = "\n\n".join("\n".join(part) for part in parts if part)
    return escape_commands(text)


def _head(summary: Summary, style: TextStyle) -> list[str]:
    policy, run = summary.policy, summary.run
    head = [style.paint(f"{count(summary.counts.total, 'record')} in {count(summary.sources_total, 'source')}", "bold")]
    if not style.verbose:
        return [*head, *style.wrap(f"policy {excerpt(policy.id, 40)} ({policy.digest[:11]}…)", "  ")]
    rows = [("policy", excerpt(policy.id)), ("", policy.digest), ("", excerpt(policy.source))]
    rows.append(("inputs", summary.inputs_digest))
    if run.at:
        rows.append(("appraised as of", excerpt(run.at)))
    rows.append(("command", excerpt(" ".join(run.command), 1000)))
    took = f"{run.seconds:,.1f} s, {run.processes} process{'es' * (run.processes != 1)}"
    if run.resumed:
        took += f", resumed {count(run.resumed, 'time')}"
    if run.workers_lost:
        took += f", {count(run.workers_lost, 'worker')} lost and replaced"
    return [*head, *style.pairs([*rows, ("took", took), ("nomyo-attest", excerpt(run.version))])]


def _verdicts(summary: Summary, style: TextStyle) -> list[str]:
    """Verdicts with their share, and what is beside the records, so that all adds up to the input."""
    found = [(verdict, value) for verdict, value in verdict_counts(summary.counts) if value]
    beside: list[tuple[str, int, str]] = []
    if summary.outside:
        run = summary.run
        window = " ".join([f"from {run.since}"] * bool(run.since) + [f"until {run.until}"] * bool(run.until))
        remark = f"not appraised: not {excerpt(window) or 'in the time asked for'}; {outside_text(summary)}"
        beside.append(("outside", summary.outside, remark))
    if summary.blank:
        beside.append(("blank", summary.blank, f"line{'s' * (summary.blank != 1)} without a record"))
    column = max([len(name) for name, _ in found] + [len(name) for name, *_ in beside], default=0)
    digits = max([len(number(value)) for _, value in found] + [len(number(value)) for _, value, _ in beside], default=0)
    lines = []
    for (name, value), share in zip(found, shares([value for _, value in found]), strict=True):
        rest = f"  {number(value).rjust(digits)}  {share:>7}"
        lines.append(f"  {style.paint(name.ljust(column), _INKS[name])}{rest}")
    for name, value, remark in beside:
        lines += style.wrap(remark, f"  {name.ljust(column)}  {number(value).rjust(digits)}  ")
    return lines or ["  There is nothing to appraise."]


def _released(summary: Summary, style: TextStyle) -> list[str]:
    """How many completions the clients released though this policy does not affirm their evidence."""
    told = released_text(summary.released)
    if not told:
        return []
    lines = style.wrap(f"{NOT_AFFIRMED}: {told}")
    if summary.released.not_affirmed:
        lines[0] = lines[0].replace(NOT_AFFIRMED, style.paint(NOT_AFFIRMED, "bad"), 1)
        lines += style.wrap(sentence(MEND_RELEASED), "    what to do  ")
    return lines


def _limits(summary: Summary, style: TextStyle) -> list[str]:
    if not summary.not_established:
        return []
    if style.verbose:
        lines = ["Not established, whatever the verdicts:"]
        return lines + [line for limit in summary.not_established for line in style.wrap(excerpt(limit, 600), "  - ")]
    named = [excerpt(limit, 600).partition(":")[0].rstrip(".") for limit in summary.not_established]
    brief = "; ".join(f"{limit[:1].lower()}{limit[1:]}" for limit in named)
    return style.wrap(f"Not established (--verbose says why): {brief}.")


def _status(summary: Summary, style: TextStyle) -> list[str]:
    tag = f"exit status {summary.status}"
    reason = f": {excerpt(summary.status_reason, 600)}" if summary.status_reason else ""
    lines = style.wrap(f"{tag}{reason}")
    lines[0] = lines[0].replace(tag, style.paint(tag, "bad" if summary.status else "good"), 1)
    return lines
