"""The answer at the top: what came of how many records, and what the audit ended with."""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.summary import NOT_EVALUATED, Summary
from nomyo_attest.report.audit_words import NOT_AFFIRMED, outside_text, released_text
from nomyo_attest.report.formatting import count, moment, number, share, shares
from nomyo_attest.report.html.markup import Markup, element, join
from nomyo_attest.report.html.tables import columns, pairs, row, section, table
from nomyo_attest.report.html.wording import code, digits, outside, verdict

_MEANINGS: Final = {
    "affirming": "every rule that the policy asks for holds",
    "warning": "all required rules hold; one that the policy made a warning does not, or cannot be told",
    "contraindicated": "a required rule does not hold",
    "none": "no required rule fails, but one cannot be told; or there is no evidence",
    UNREADABLE: "a file, an archive or a line could not be read: nothing was appraised",
}

_STATUS: Final = {
    0: ("✓", "affirming", "passed"),
    1: ("✗", "contraindicated", "not passed"),
    2: ("∅", "unreadable", "not complete: something could not be read"),
}

_REASON_MAX: Final = 1000


def answer(summary: Summary) -> Markup:
    """The section."""
    return section(
        "answer", "The answer", _status(summary), element("p", _sentence(summary)), _counts(summary), _facts(summary)
    )


def _status(summary: Summary) -> Markup:
    symbol, kind, word = _STATUS.get(summary.status, ("✗", "contraindicated", "not passed"))
    head = join([element("span", symbol, aria_hidden="true"), f" Exit status {summary.status}: {word}"])
    reason = element("span", outside(summary.status_reason, _REASON_MAX)) if summary.status_reason else ""
    return element("p", element("strong", head), " ", reason, class_=f"status status-{kind}")


def _sentence(summary: Summary) -> str:
    counts = summary.counts
    if not counts.total:
        return "No record was appraised, so nothing is affirmed."
    rest = counts.total - counts.affirming - counts.warning
    if counts.total == 1:
        one = "is affirmed" if counts.affirming else "passes with a warning that the policy allows"
        parts = [f"The one record {'is not affirmed' if rest else one}."]
    else:
        parts = [f"{number(counts.affirming)} of {number(counts.total)} records are affirmed."]
        if counts.warning:
            parts.append(f"{number(counts.warning)} more pass with a warning that the policy allows.")
        parts.append(f"{number(rest)} {'is' if rest == 1 else 'are'} not affirmed." if rest else "None is refused.")
    findings = sum(rule.findings for rule in summary.cross_record_rules)
    if findings:
        parts.append(f"Across records there {'is' if findings == 1 else 'are'} {count(findings, 'finding')}.")
    if open_checks := sum(rule.outcome == NOT_EVALUATED for rule in summary.cross_record_rules):
        parts.append(f"{count(open_checks, 'cross-record check')} could not be evaluated.")
    return " ".join(parts)


def bar(part: int, whole: int, kind: str) -> Markup:
    """A bar of a share, beside the number that says the same."""
    width = 100 * part / whole if whole else 0
    filled = element("rect", width=f"{max(width, 0.7 if part else 0):.2f}%", height=12, class_=f"b-{kind}")
    track = element("rect", width="100%", height=12, class_="track")
    return element("svg", track, filled, class_="bar", width="100%", height=12, aria_hidden="true")


def _counts(summary: Summary) -> Markup:
    of = columns("verdict", "#records", "#share", "of all")
    total = summary.counts.total
    rows = []
    parts = [getattr(summary.counts, name) for name in VERDICTS]
    for name, part, of_all in zip(VERDICTS, parts, shares(parts), strict=True):
        told = join([verdict(name), element("br"), element("small", _MEANINGS[name])])
        rows.append(row(of, [told, number(part), of_all, bar(part, total, name)]))
    return table("counts", "Records by verdict", of, rows, [row(of, ["all", number(total), share(total, total), ""])])


def _facts(summary: Summary) -> Markup:
    findings = sum(rule.findings for rule in summary.cross_record_rules)
    facts: list[tuple[str, str]] = [
        ("Policy", join([code(summary.policy.id), " ", digits(summary.policy.digest.removeprefix("sha256:"))])),
        ("Made from", join([count(summary.sources_total, "source"), ", digest ", digits(summary.inputs_digest)])),
    ]
    if summary.timeline:
        end = summary.timeline[-1].at + summary.bucket_seconds
        facts.append(("Period", f"{moment(summary.timeline[0].at)} to {moment(end)} UTC"))
    if summary.outside:
        facts.append(("Outside the window", f"{count(summary.outside, 'record')}: {outside_text(summary)}"))
    if told := released_text(summary.released):
        facts.append((NOT_AFFIRMED, told))
    facts += [
        ("PCR profiles", number(summary.profiles_total)),
        ("AIKs", f"{number(summary.aiks)}, of which the policy pins {number(summary.aiks_pinned)}"),
        ("Across records", count(findings, "finding")),
    ]
    return pairs(facts)
