"""Format an audit as JUnit XML, which most CI systems show as tests.

Each source is a suite with two cases: the source can be read, and no record in it has the verdict contraindicated or
none. The second case fails with all rules that do not hold, so that a record counts once, however many rules it fails.
The cross-record checks are a suite with a case for each rule, and the audit as a whole is another suite. A rule that
the policy makes a warning passes, with the warning as its output: JUnit has no outcome between passed and failed.
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET

from nomyo_attest.audit.cross_record.model import FOUND, HELD, NOT_EVALUATED
from nomyo_attest.audit.summary import Counts, SourceSummary, Summary
from nomyo_attest.report.causes import (
    RELEASED_NOT_AFFIRMED,
    REMEDIATION_RELEASED,
    REMEDIATION_UNREADABLE,
    Cause,
    UnreadableSource,
    causes_by_source,
    counts_line,
    finding_message,
    lines_text,
    not_evaluated_text,
    place_and_time,
    released_text,
    remediation_not_evaluated,
    unreadable_by_source,
)
from nomyo_attest.report.formatting import count, excerpt, sanitize, sentence, source_name
from nomyo_attest.report.labels import aik_labels
from nomyo_attest.report.limits import limit_names, trust_text

RULES_MAXIMUM: Final = 2000
"""Maximum (source, rule) pairs, about 2 to 3 MB; a failing case states how many more there are."""

AUDIT: Final = "nomyo-attest audit"
ACROSS: Final = "across records"
READABLE: Final = "can be read"
RELEASED: Final = "only affirmed records are released"
NONE_FAILED: Final = "no record is contraindicated or none"
EXIT_STATUS: Final = "exit status"
"""Names of suites and cases, by which CI systems compare runs."""

_FINDINGS_MAXIMUM: Final = 20
_LINES_MAXIMUM: Final = 10
_LIMITS_MAX: Final = 4000


def junit_xml(summary: Summary) -> str:
    """Return the XML document with a final newline. XML 1.0 allows every character in it."""
    root = ET.Element("testsuites", name=AUDIT)
    root.append(_audit_suite(summary))
    if summary.cross_record_rules:
        root.append(_cross_record_suite(summary))
    for suite in _source_suites(summary):
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


def _audit_suite(summary: Summary) -> ET.Element:
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
            remediation = f"Remediation: {sentence(REMEDIATION_RELEASED)}"
            _set_outcome(case, "failure", f"{RELEASED_NOT_AFFIRMED}: {text}", [remediation])
    _case(suite, EXIT_STATUS)
    return suite


def _add_exit_status(summary: Summary, cases: list[ET.Element]) -> None:
    """Fail the case of the exit status only if no other case fails: otherwise a record would count as two failures."""
    exit_case = next(case for case in cases if case.get("name") == EXIT_STATUS)
    if summary.status:
        another_fails = any(case.find(kind) is not None for case in cases for kind in ("failure", "error"))
        kind = "skipped" if another_fails else "failure"
        _set_outcome(exit_case, kind, f"exit status {summary.status}", [sentence(excerpt(summary.status_reason, 1000))])


def _cross_record_suite(summary: Summary) -> ET.Element:
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
        findings = [finding for finding in summary.cross_record if finding.rule == rule.rule][:_FINDINGS_MAXIMUM]
        text = []
        for finding in findings:
            shown = finding.places[:_LINES_MAXIMUM]
            text.append(sentence(excerpt(finding_message(finding))))
            if label := aiks.get(finding.key, ""):
                text.append(f"  AIK {excerpt(label)} ({excerpt(finding.key)})")
            text += [f"  {place_and_time(place)}" for place in shown]
            text += [f"  and {count(finding.records - len(shown), 'more record')}"] * (finding.records > len(shown))
        if rule.findings > len(findings):
            text.append(f"And {count(rule.findings - len(findings), 'more finding')}.")
        message = f"{rule.question} {count(rule.findings, 'finding')}, {count(rule.records, 'record')}"
        text += [f"Records: {sentence(excerpt(rule.remark))}"] * bool(rule.remark)
        _set_outcome(
            case, "failure", message, [*text, f"Remediation: {sentence(rule.remediation)}"], excerpt(rule.rule)
        )
    return suite


def _source_suites(summary: Summary) -> list[ET.Element]:
    """Return a suite for each source that is listed, or in which a rule failed or is undecided."""
    causes = causes_by_source(summary)
    by_source: dict[str, list[Cause]] = {}
    for cause in causes[:RULES_MAXIMUM]:
        by_source.setdefault(cause.source, []).append(cause)
    unreadable = {source.source: source for source in unreadable_by_source(summary)}
    known = {source.name: source for source in summary.sources}
    suites = []
    for name in dict.fromkeys([*known, *by_source]):
        suite = _suite(source_name(name))
        source = known.get(name)
        if source is not None:
            _add_readable(suite, source, unreadable.get(name))
        _add_verdicts(suite, name, source, by_source.get(name, []))
        suites.append(suite)
    cut = len(causes) - min(len(causes), RULES_MAXIMUM) + max(0, summary.places_total - len(summary.places))
    if cut:
        suite = _suite("not listed")
        _set_outcome(
            _case(suite, "rules in sources"),
            "failure",
            f"{count(cut, 'more failure')} of a rule in a source",
            ["This report lists the first ones. The verdicts have all of them."],
        )
        suites.append(suite)
    return suites


def _add_readable(suite: ET.Element, source: SourceSummary, unreadable: UnreadableSource | None) -> None:
    case = _case(suite, READABLE, source.name)
    if unreadable is None:
        return
    lines = f"{source_name(source.name)}: {lines_text(unreadable.lines[:_LINES_MAXIMUM], unreadable.records)}"
    _set_outcome(
        case,
        "error",
        excerpt(unreadable.problem),
        [lines, f"Remediation: {sentence(REMEDIATION_UNREADABLE)}"],
        "unreadable",
    )


def _add_verdicts(suite: ET.Element, name: str, source: SourceSummary | None, causes: list[Cause]) -> None:
    """Add the case about the verdicts of a source's records: however many rules fail, it is one failure."""
    counts = source.counts if source is not None else Counts()
    if counts.unreadable and counts.total == counts.unreadable:
        return  # the other case has an error for them
    case = _case(suite, NONE_FAILED, name)
    required = [cause for cause in causes if not cause.softened]
    failed = Counts(contraindicated=counts.contraindicated, none=counts.none)
    warned = [line for cause in causes if cause.softened for line in ["", *_rule(cause)]]
    if required or failed.total:
        text = [line for cause in required for line in [*_rule(cause), ""]]
        message = counts_line(failed) if failed.total else count(max(cause.records for cause in required), "record")
        rules = ", ".join(dict.fromkeys(excerpt(cause.rule) for cause in required))
        if required:
            if len(required) == 1:
                rules += f": {excerpt(required[0].message)}"
            _set_outcome(case, "failure", f"{message}: {rules}", text[:-1], excerpt(required[0].rule))
        else:
            _set_outcome(case, "failure", message, ["The rules are not listed here. The verdicts have all of them."])
    elif not counts.total:
        _set_outcome(case, "skipped", "no records", [])
    if counts.total and (warned or not failed.total):
        ET.SubElement(case, "system-out").text = "\n".join([counts_line(counts), *warned])


def _rule(cause: Cause) -> list[str]:
    """Describe a rule in one source: the records and their lines, the expected and found values, the remediation."""
    name = excerpt(cause.rule) if cause.failed else f"{excerpt(cause.rule)} ({cause.outcome})"
    head = f"{name}: {count(cause.records, 'record')}: {cause.problem}"
    lines = [f"WARNING: {head}" if cause.softened else head]
    lines.append(f"{source_name(cause.source)}: {lines_text(cause.lines, cause.records)}")
    if cause.expected:
        lines += [f"expected    {cause.expected}", f"got         {cause.got}"]
    return lines + ([f"Remediation: {cause.remediation}"] if cause.remediation else [])
