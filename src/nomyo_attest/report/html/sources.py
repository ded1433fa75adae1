"""What the audit read, and that nothing is missing: every source with its digest, and totals that add up."""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.summary import Counts, SourceSummary, Summary
from nomyo_attest.report.audit_words import outside_text
from nomyo_attest.report.formatting import count, number, size
from nomyo_attest.report.html.markup import Markup, element, fit, join
from nomyo_attest.report.html.tables import columns, fold, row, section, table
from nomyo_attest.report.html.wording import code, digits, outside

_SIZE: Final = 350_000
_PASSED_OVER_SIZE: Final = 60_000
_PROBLEM_MAX: Final = 300

_COLUMNS: Final = columns("source", *(f"#{name}" for name in VERDICTS), "#all", "#outside the window", "#blank lines")


def sources(summary: Summary) -> Markup:
    """The section."""
    parts = [
        element("p", _sum(summary)),
        _problems(summary),
        _table(summary),
        _passed_over(summary),
        _repeated(summary),
    ]
    return section("sources", "Sources", *parts)


def _numbers(counts: Counts, outside_window: int, blank: int) -> list[str]:
    each = [number(getattr(counts, name)) for name in VERDICTS]
    return [*each, number(counts.total), number(outside_window), number(blank)]


def _sum(summary: Summary) -> str:
    counts = summary.counts
    each = " + ".join(f"{number(getattr(counts, name))} {name}" for name in VERDICTS)
    read = counts.total + summary.outside
    told = f"{each} = {count(counts.total, 'record')}. "
    if summary.outside:
        told += f"With {number(summary.outside)} outside the window of time ({outside_text(summary)}), "
        told += f"{count(read, 'record')} were read. "
    if summary.blank:
        told += f"Beside them stood {count(summary.blank, 'blank line')}. "
    return (
        told + f"{count(summary.written, 'row')} {'was' if summary.written == 1 else 'were'} selected for the verdicts."
    )


def _problems(summary: Summary) -> Markup:
    if not summary.sources_unreadable:
        return element("p", "Every source was read to its end.")
    symbol = element("span", "∅ ", aria_hidden="true")
    was = "was" if summary.sources_unreadable == 1 else "were"
    told = f"{count(summary.sources_unreadable, 'source')} {was} not read to the end; each says why below."
    return element("p", element("strong", symbol, told), class_="note v-unreadable")


def _table(summary: Summary) -> Markup:
    rows = fit(map(_source, summary.sources), _SIZE)
    shown = summary.sources[: len(rows)]
    sums = {name: sum(getattr(one.counts, name) for one in shown) for name in VERDICTS}
    outside_sum, blank_sum = sum(one.outside for one in shown), sum(one.blank for one in shown)
    rest = {name: getattr(summary.counts, name) - part for name, part in sums.items()}
    others = summary.sources_total - len(rows)
    left = [*rest.values(), summary.outside - outside_sum, summary.blank - blank_sum]
    foot = []
    if others > 0:
        counted = _numbers(Counts(**rest), summary.outside - outside_sum, summary.blank - blank_sum)
        foot.append(row(_COLUMNS, [count(others, "other source"), *counted]))
    all_of_it = join(["all", element("br"), element("small", "digest of all inputs ", digits(summary.inputs_digest))])
    foot.append(row(_COLUMNS, [all_of_it, *_numbers(summary.counts, summary.outside, summary.blank)]))
    caption = "Sources, those with a problem or a failure first. "
    if others > 0:
        caption += f"The first {number(len(rows))} of {number(summary.sources_total)} are shown. "
    whole = min(left) >= 0 if others > 0 else not any(left)
    caption += "The columns add up." if whole else "The columns do not add up to the totals: do not rely on them."
    return table("sources", caption, _COLUMNS, rows, foot)


def _source(source: SourceSummary) -> Markup:
    digest = digits(source.sha256) if source.sha256 else "no digest: not all of it could be read"
    facts = join([outside(source.kind, 20), ", ", size(source.size), element("br"), digest])
    parts = [code(source.name), element("br"), element("small", facts)]
    if source.problem:
        problem = outside(source.problem, _PROBLEM_MAX)
        parts.append(element("p", element("span", "∅ ", aria_hidden="true"), problem, class_="v-unreadable"))
    return row(_COLUMNS, [join(parts), *_numbers(source.counts, source.outside, source.blank)])


def _passed_over(summary: Summary) -> Markup:
    if not summary.passed_over_total:
        return element("p", "No file in the folders was passed over.")
    title = f"{count(summary.passed_over_total, 'file')} passed over: by name no records"
    return _names(title, summary.passed_over, summary.passed_over_total)


def _repeated(summary: Summary) -> Markup:
    if not summary.repeated_total:
        return join([])
    title = f"{count(summary.repeated_total, 'file')} found again under another name, and read once"
    return _names(title, summary.repeated, summary.repeated_total)


def _names(title: str, names: list[str], total: int) -> Markup:
    items = fit((element("li", code(name)) for name in names), _PASSED_OVER_SIZE)
    more = total - len(items)
    return fold(title, element("ul", *items), element("p", f"and {number(more)} more") if more > 0 else "")
