"""Format an audit as JUnit XML, which most CI systems show as tests.

Each source is a suite with two cases: the source can be read, and no record in it is refused; the second fails with all
rules that refuse a record, so that a record is counted once, however many rules refuse it. The cross-record checks are
a suite with a case for each rule, and the audit as a whole is another suite. A rule that the policy makes a warning
passes, with the warning as its output, since JUnit has no outcome between passed and failed.
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET

from nomyo_attest.audit.summary import FOUND, HELD, NOT_EVALUATED, Counts, SourceSummary, Summary
from nomyo_attest.report.causes import (
    NOT_AFFIRMED,
    REMEDIATION_RELEASED,
    REMEDIATION_UNREADABLE,
    Cause,
    Unreadable,
    causes_by_source,
    counts_line,
    finding_message,
    lines_text,
    not_evaluated_text,
    released_text,
    remediation_not_evaluated,
    unreadable,
    where,
)
from nomyo_attest.report.formatting import count, excerpt, sanitize, sentence, source_name
from nomyo_attest.report.labels import aik_labels
from nomyo_attest.report.limits import limit_names, trust_text

RULES_MAXIMUM: Final = 2000
"""Maximum (source, rule) pairs, about 2 to 3 MB; if there are more, a failing case states how many."""

AUDIT: Final = "nomyo-attest audit"
ACROSS: Final = "across records"
READABLE: Final = "can be read"
RELEASED: Final = "only affirmed records are released"
NONE_REFUSED: Final = "no record is refused"
EXIT_STATUS: Final = "exit status"
"""Names of suites and cases, by which CI systems compare runs."""

_FINDINGS_MAXIMUM: Final = 20
_LINES_MAXIMUM: Final = 10
_LIMITS_MAX: Final = 4000


def junit_xml(summary: Summary) -> str:
    """Return the whole document, with its final line end. XML 1.0 allows every character in it."""
    root = ET.Element("testsuites", name=AUDIT)
    root.append(_whole(summary))
    if summary.cross_record_rules:
        root.append(_across(summary))
    for suite in _sources(summary):
        root.append(suite)
    _add_exit_status(summary, list(root.iter("testcase")))
    for suite in root:
        _add_counts(suite, list(suite.iter("testcase")))
    _add_counts(root, list(root.iter("testcase")))
    root.set("time", f"{summary.run.seconds:.3f}")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add_counts(element: ET.Element, cases: list[ET.Element]) -> None:
    element.set("tests", str(len(cases)))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(kind) is not None for case in cases)))


def _suite(name: str) -> ET.Element:
    return ET.Element("testsuite", name=name, time="0")


def _case(suite: ET.Element, name: str, source: str = "") -> ET.Element:
    """Add a case, which passes unless `_set_outcome` is called for it."""
    case = ET.SubElement(suite, "testcase", classname=suite.get("name", ""), name=name, time="0")
    if source and source != "-":
        case.set("file", sanitize(source))
    return case


def _set_outcome(case: ET.Element, kind: str, message: str, text: list[str], rule: str = "") -> None:
    outcome = ET.SubElement(case, kind, message=message)
    if rule:
        outcome.set("type", rule)
    outcome.text = "\n".join(text)


def _whole(summary: Summary) -> ET.Element:
    suite = _suite(AUDIT)
    if summary.run.started_at:
        suite.set("timestamp", excerpt(summary.run.started_at, 40))
    properties = ET.SubElement(suite, "properties")
    for name, value in {
        "nomyo-attest": excerpt(summary.run.version),
        "policy": excerpt(summary.policy.id),
        "policy digest": summary.policy.digest,
        "inputs digest": summary.inputs_digest,
        "records": str(summary.counts.total),
        "verdicts": counts_line(summary.counts),
        "AIK trust": trust_text(summary),
        "not established": excerpt("; ".join(limit_names(summary)), _LIMITS_MAX) or "nothing was appraised",
        "outside the time asked for": str(summary.outside),
        "outside by the server's own time": str(summary.outside_by_server),
        "released": str(summary.released.released),
        "released though not affirmed": str(summary.released.not_affirmed),
        "sources": str(summary.sources_total),
        "sources listed": str(len(summary.sources)),
    }.items():
        ET.SubElement(properties, "property", name=name, value=value)
    if text := released_text(summary.released):
        case = _case(suite, RELEASED)
        if summary.released.not_affirmed:
            _set_outcome(case, "failure", f"{NOT_AFFIRMED}: {text}", [f"Remediation: {sentence(REMEDIATION_RELEASED)}"])
    _case(suite, EXIT_STATUS)
    return suite


def _add_exit_status(summary: Summary, cases: list[ET.Element]) -> None:
    """Fail the case of the exit status only if no other case failed: else one record would count as two failures."""
    case = next(case for case in cases if case.get("name") == EXIT_STATUS)
    if summary.status:
        others = any(one.find(kind) is not None for one in cases for kind in ("failure", "error"))
        kind = "skipped" if others else "failure"
        _set_outcome(case, kind, f"exit status {summary.status}", [sentence(excerpt(summary.status_reason, 1000))])


def _across(summary: Summary) -> ET.Element:
    suite = _suite(ACROSS)
    aiks = aik_labels(summary.policy.document)
    for rule in summary.cross_record_rules:
        case = _case(suite, excerpt(rule.rule))
        if not summary.counts.total:
            _set_outcome(case, "skipped", "no records", [])
        if rule.outcome == NOT_EVALUATED and summary.counts.total:
            message = f"not evaluated: {excerpt(not_evaluated_text(rule))}"
            remediation = [f"Remediation: {sentence(remediation_not_evaluated(rule))}"]
            if rule.accepted:
                _set_outcome(case, "skipped", message, remediation)
            else:
                _set_outcome(case, "failure", message, remediation, excerpt(rule.rule))
        if rule.outcome == HELD and rule.remark and summary.counts.total:
            ET.SubElement(case, "system-out").text = sentence(excerpt(rule.remark))
        if rule.outcome != FOUND:
            continue
        found = [one for one in summary.cross_record if one.rule == rule.rule][:_FINDINGS_MAXIMUM]
        text = []
        for one in found:
            shown = one.places[:_LINES_MAXIMUM]
            text.append(sentence(excerpt(finding_message(one))))
            if label := aiks.get(one.key, ""):
                text.append(f"  AIK {excerpt(label)} ({excerpt(one.key)})")
            text += [f"  {where(place)}" for place in shown]
            text += [f"  and {count(one.records - len(shown), 'more record')}"] * (one.records > len(shown))
        if rule.findings > len(found):
            text.append(f"And {count(rule.findings - len(found), 'more finding')}.")
        message = f"{rule.question} {count(rule.findings, 'finding')}, {count(rule.records, 'record')}"
        text += [f"Records: {sentence(excerpt(rule.remark))}"] * bool(rule.remark)
        _set_outcome(
            case, "failure", message, [*text, f"Remediation: {sentence(rule.remediation)}"], excerpt(rule.rule)
        )
    return suite


def _sources(summary: Summary) -> list[ET.Element]:
    """Return a suite for each source that is listed or in which a rule failed or is undecided."""
    causes = causes_by_source(summary)
    by_source: dict[str, list[Cause]] = {}
    for cause in causes[:RULES_MAXIMUM]:
        by_source.setdefault(cause.source, []).append(cause)
    lost = {one.source: one for one in unreadable(summary)}
    known = {one.name: one for one in summary.sources}
    suites = []
    for name in dict.fromkeys([*known, *by_source]):
        suite = _suite(source_name(name))
        source = known.get(name)
        if source is not None:
            _readable(suite, source, lost.get(name))
        _none_refused(suite, name, source, by_source.get(name, []))
        suites.append(suite)
    cut = len(causes) - min(len(causes), RULES_MAXIMUM) + max(0, summary.places_total - len(summary.places))
    if cut:
        suite = _suite("not listed")
        _set_outcome(
            _case(suite, "rules in sources"),
            "failure",
            f"{count(cut, 'more failure')} of a rule in a source",
            ["This report lists the first of them. The verdicts have all."],
        )
        suites.append(suite)
    return suites


def _readable(suite: ET.Element, source: SourceSummary, lost: Unreadable | None) -> None:
    case = _case(suite, READABLE, source.name)
    if lost is None:
        return
    where_lost = [f"{source_name(source.name)}: {lines_text(lost.lines[:_LINES_MAXIMUM], lost.records)}"]
    _set_outcome(
        case,
        "error",
        excerpt(lost.problem),
        [*where_lost, f"Remediation: {sentence(REMEDIATION_UNREADABLE)}"],
        "unreadable",
    )


def _none_refused(suite: ET.Element, name: str, source: SourceSummary | None, found: list[Cause]) -> None:
    """Add the case of all records of a source: a record that several rules refuse is one failure, not several."""
    counts = source.counts if source is not None else Counts()
    if counts.unreadable and counts.total == counts.unreadable:
        return  # they are errors of the other case
    case = _case(suite, NONE_REFUSED, name)
    causes = [cause for cause in found if not cause.softened]
    refused = Counts(contraindicated=counts.contraindicated, none=counts.none)
    warned = [line for cause in found if cause.softened for line in ["", *_rule(cause)]]
    if causes or refused.total:
        text = [line for cause in causes for line in [*_rule(cause), ""]]
        message = counts_line(refused) if refused.total else count(max(cause.records for cause in causes), "record")
        rules = ", ".join(dict.fromkeys(excerpt(cause.rule) for cause in causes))
        if causes:
            if len(causes) == 1:
                rules += f": {excerpt(causes[0].message)}"
            _set_outcome(case, "failure", f"{message}: {rules}", text[:-1], excerpt(causes[0].rule))
        else:
            _set_outcome(case, "failure", message, ["The rules are not listed here. The verdicts have them."])
    elif not counts.total:
        _set_outcome(case, "skipped", "no records", [])
    if counts.total and (warned or not refused.total):
        ET.SubElement(case, "system-out").text = "\n".join([counts_line(counts), *warned])


def _rule(cause: Cause) -> list[str]:
    """Describe a rule in one source: the number of records, their lines, the values expected and got, what to do."""
    name = excerpt(cause.rule) if cause.failed else f"{excerpt(cause.rule)} ({cause.outcome})"
    head = f"{name}: {count(cause.records, 'record')}: {cause.problem}"
    lines = [f"WARNING: {head}" if cause.softened else head]
    lines.append(f"{source_name(cause.source)}: {lines_text(cause.lines, cause.records)}")
    if cause.expected:
        lines += [f"expected    {cause.expected}", f"got         {cause.got}"]
    return lines + ([f"Remediation: {cause.remediation}"] if cause.remediation else [])
