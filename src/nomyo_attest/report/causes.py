"""List why an audit did not pass: rules that failed or are undecided, values expected and found, unreadable sources.

All reports use these lists, including those for programs: JUnit, SARIF and annotations.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from nomyo_attest.appraisal.rules import RULES, Rule, find_rule
from nomyo_attest.audit.cross_record.model import CrossRecordFinding, CrossRecordRuleSummary
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.summary import CONSEQUENCE, FAIL, Counts, Released, Summary
from nomyo_attest.report.explain import value_text
from nomyo_attest.report.formatting import (
    Digests,
    count,
    digests,
    duration,
    excerpt,
    moment,
    number,
    sanitize,
    sentence,
    source_name,
)

VALUE_MAX: Final = 400
"""Maximum characters of an expected or found value of a rule."""

WHY_UNREADABLE: Final = "A record that could not be read was not appraised: it has no verdict."
REMEDIATION_UNREADABLE: Final = "fix the problem stated; replace a truncated or damaged file with an intact copy"

RELEASED_NOT_AFFIRMED: Final = "Released though not affirmed"
REMEDIATION_RELEASED: Final = (
    'treat these completions as unattested; a client built with `require_attestation="always"` cannot release them'
)

_REMEDIATION_UNDATED: Final = (
    "record `processed_at` of each response, as seconds since 1970 or as ISO 8601 with an offset from UTC; for records "
    "whose time is lost, `--allow-undated` accepts that they are not compared"
)
_REMEDIATION_NOT_EVALUATED: Final = "record the values that this check compares; none of these records has them"

_DIGEST: Final = re.compile(r"(?:[0-9a-f]{2}){16,}", re.ASCII)
_ORDER: Final = {rule.id: position for position, rule in enumerate(RULES)}


class Cause(NamedTuple):
    """A rule that failed or is undecided, in one source or in all sources.

    Attributes:
        source: the name of the source; empty for all sources.
        rule, requirement: the rule, and what the policy requires of it: ``"required"`` or ``"warn"``.
        outcome: ``"fail"`` or ``"undecided"``.
        records: the number of records.
        first: the first of these records. Of a single source, it has no time.
        lines: the lines of the first few records; empty for all sources.
        message: the finding's message for the first record.
        expected, got: the values of the first record, one line each; empty if the summary does not list them.
    """

    source: str
    rule: str
    requirement: str
    outcome: str
    records: int
    first: Place
    lines: tuple[int, ...] = ()
    message: str = ""
    expected: str = ""
    got: str = ""

    @property
    def failed(self) -> bool:
        """Whether the rule failed, rather than being undecided."""
        return self.outcome == FAIL

    @property
    def softened(self) -> bool:
        """Whether the policy makes the rule a warning."""
        return self.requirement == "warn"

    @property
    def tag(self) -> str:
        """``"FAIL"``, ``"UNDECIDED"`` or ``"WARNING"``, as before a rule of a single result."""
        return "WARNING" if self.softened else "FAIL" if self.failed else "UNDECIDED"

    @property
    def remediation(self) -> str:
        """What to do about it, as a sentence; empty for a rule that is not in the table of rules."""
        rule = known_rule(self.rule)
        return sentence(rule.remediation) if rule else ""

    @property
    def problem(self) -> str:
        """The message as a sanitized sentence."""
        return sentence(excerpt(self.message))


def known_rule(rule_id: str) -> Rule | None:
    """Find an appraisal rule; None if the table of rules does not have it."""
    try:
        return find_rule(rule_id)
    except KeyError:
        return None


def causes(summary: Summary) -> list[Cause]:
    """List the rules that failed or are undecided, over all sources together: required ones first, then failures."""
    return _with_values_sorted(
        summary,
        [
            Cause("", rule.rule, rule.requirement, rule.outcome, rule.records, rule.first, (), rule.message)
            for rule in summary.rules
        ],
    )


def causes_by_source(summary: Summary) -> list[Cause]:
    """List the rules that failed or are undecided in each source: required ones first, then failures."""
    in_sources = []
    for entry in summary.places:
        first, lines = Place(entry.source, entry.lines[0] if entry.lines else 0), tuple(entry.lines)
        in_sources.append(
            Cause(
                entry.source, entry.rule, entry.requirement, entry.outcome, entry.records, first, lines, entry.message
            )
        )
    return _with_values_sorted(summary, in_sources)


def _with_values_sorted(summary: Summary, all_causes: list[Cause]) -> list[Cause]:
    """Add the values of causes, and sort them; omit consequences and the rules that the policy ignores."""
    shown = [cause for cause in all_causes if cause.outcome != CONSEQUENCE and cause.requirement != "ignore"]
    values = _values(summary, {(cause.first.source, cause.first.line, cause.rule) for cause in shown})
    compared = []
    for cause in shown:
        expected, got = values.get((cause.first.source, cause.first.line, cause.rule), ("", ""))
        compared.append(cause._replace(expected=expected, got=got))
    return sorted(compared, key=lambda cause: (cause.softened, not cause.failed))


def dependent_rules(summary: Summary) -> list[str]:
    """List the rules that are undecided only as a consequence of others, in the order of the table."""
    reasons = {rule.rule for rule in summary.rules if rule.outcome != CONSEQUENCE and rule.requirement != "ignore"}
    rules = {rule.rule for rule in summary.rules if rule.requirement != "ignore" and rule.rule not in reasons}
    return sorted(rules, key=_rule_order)


def ignored_rules(summary: Summary) -> list[str]:
    """List the rules that failed or are undecided and that the policy ignores, in the order of the table."""
    return sorted({rule.rule for rule in summary.rules if rule.requirement == "ignore"}, key=_rule_order)


def _rule_order(rule: str) -> tuple[int, str]:
    """Return the sort key of a rule: its position in the table of rules; unknown rules come last."""
    return _ORDER.get("claims.*" if rule.startswith("claims.") else rule, len(_ORDER)), rule


# ---- expected and found values


def _values(summary: Summary, wanted: set[tuple[str, int, str]]) -> dict[tuple[str, int, str], tuple[str, str]]:
    """Return (source, line, rule) → (expected, got), for the records that the summary lists."""
    values = {}
    for row in summary.failures:
        for finding in row.get("findings") or ():
            expected, got = finding.get("expected"), finding.get("got")
            key = (row.get("source", ""), row.get("line", 0), finding.get("rule", ""))
            if key in wanted and expected is not None and got is not None:
                values[key] = compared_values(key[2], expected, got)
    return values


def compared_values(rule: str, expected: Any, got: Any) -> tuple[str, str]:
    """Format the expected and the found value of a rule, in one line each."""
    if not rule.startswith("claims."):  # a claim is text from the server, even if it looks like a digest
        expected, got = _with_digests_as_bytes(expected), _with_digests_as_bytes(got)
    shortened = digests({*_bytes_in(expected), *_bytes_in(got)})
    return (
        excerpt(_one_line(rule, expected, shortened), VALUE_MAX),
        excerpt(_one_line(rule, got, shortened), VALUE_MAX),
    )


def _with_digests_as_bytes(value: Any) -> Any:
    """Return `value` with digests as bytes, so that they are shortened like those of a single result."""
    if isinstance(value, str):
        return bytes.fromhex(value) if _DIGEST.fullmatch(value) else value
    if isinstance(value, list):
        return [_with_digests_as_bytes(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _with_digests_as_bytes(item) for key, item in value.items()}
    return value


def _bytes_in(value: Any) -> set[bytes]:
    if isinstance(value, bytes):
        return {value}
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {octets for item in items for octets in _bytes_in(item)}


def _one_line(rule: str, value: Any, shortened: Digests) -> str:
    if rule == "pcr.values" and isinstance(value, dict):
        return ", ".join(f"{sanitize(place)} {_pcr_text(rule, item, shortened)}" for place, item in value.items())
    return value_text(rule, value, shortened)


def _pcr_text(rule: str, value: Any, shortened: Digests) -> str:
    if isinstance(value, list):
        return " or ".join(value_text(rule, item, shortened) for item in value) or "any signed value"
    return "not signed" if value is None else value_text(rule, value, shortened)


# ---- places and counts


def place_text(source: str, line: int) -> str:
    """Format a place: ``"recorded.jsonl:12"``; without the line if it is 0."""
    return f"{source_name(source)}:{line}" if line else source_name(source)


def place_and_time(place: Place) -> str:
    """Format a place with its time: ``"recorded.jsonl:12, 2026-11-02 06:00:00Z"``; without a time if it is unknown."""
    text = place_text(place.source, place.line)
    return text if place.processed_at is None else f"{text}, {moment(place.processed_at)}"


def lines_text(lines: tuple[int, ...] | list[int], total: int) -> str:
    """Format lines: ``"line 7"``, ``"lines 7, 8, 12 and 34 more"``."""
    if not lines:
        return count(total, "record")
    listed = ", ".join(map(str, lines))
    more = f" and {total - len(lines):,} more" if total > len(lines) else ""
    return f"line{'s' * (total > 1)} {listed}{more}"


def verdict_counts(counts: Counts) -> list[tuple[str, int]]:
    """Return each verdict with its number of records."""
    return [(verdict, getattr(counts, verdict)) for verdict in VERDICTS]


def counts_line(counts: Counts) -> str:
    """Format counts: ``"12 affirming, 1 none"``; verdicts without records are omitted."""
    return ", ".join(f"{value:,} {verdict}" for verdict, value in verdict_counts(counts) if value) or "no records"


# ---- other facts about an audit


def outside_text(summary: Summary) -> str:
    """State how many records are outside the window, by the server's time and by the client's; empty if none."""
    if not summary.outside:
        return ""
    by_client = summary.outside - summary.outside_by_server
    parts = []
    if summary.outside_by_server:
        parts.append(f"{number(summary.outside_by_server)} by the server's own time, which is unsigned")
    if by_client:
        parts.append(f"{number(by_client)} by the time that the client recorded")
    return "; ".join(parts)


def finding_message(finding: CrossRecordFinding) -> str:
    """State what a cross-record check found, with lengths of time in units that people read.

    `CrossRecordFinding.message` has them in milliseconds or seconds.
    """
    begins, ends = finding.first.processed_at, finding.last.processed_at
    if finding.rule == "gap.records" and begins is not None and ends is not None:
        return f"no record for {duration(ends - begins)}"
    if finding.detail != "clock" or finding.high is None or finding.low is None:
        return finding.message
    message = f"the clock goes back by {duration((finding.high - finding.low) / 1000)}"
    more = finding.records - 1
    has = "has" if more == 1 else "have"
    return f"{message}, and {count(more, 'more record')} {has} an earlier clock" if more else message


def not_evaluated_text(rule: CrossRecordRuleSummary) -> str:
    """State why a cross-record check was not evaluated, and whether that is accepted."""
    return f"{rule.remark}{' (accepted)' if rule.accepted else ''}"


def remediation_not_evaluated(rule: CrossRecordRuleSummary) -> str:
    """State what to do about a cross-record check that was not evaluated."""
    return _REMEDIATION_UNDATED if rule.undated else _REMEDIATION_NOT_EVALUATED


def released_text(released: Released) -> str:
    """State how many records were released though not affirmed, by the state of the gate.

    Empty if no record states whether it was released.
    """
    if not released.known:
        return ""
    if not released.not_affirmed:
        return f"none of {count(released.released, 'released record')}"
    others = released.not_affirmed - released.gate_off - released.gate_on
    parts = [f"{number(released.gate_off)} with the client's gate off"] * bool(released.gate_off)
    parts += [f"{number(released.gate_on)} with the gate on, by the client's policy"] * bool(released.gate_on)
    parts += [f"{number(others)} without a record of the gate"] * bool(others)
    return f"{number(released.not_affirmed)} of {count(released.released, 'released record')}: {', '.join(parts)}"


class UnreadableSource(NamedTuple):
    """A source with parts that could not be read.

    Attributes:
        source: its name.
        records: the number of unreadable records; a truncated source counts as one record.
        lines: the lines of these records, as far as the summary lists them.
        problem: why, as a sentence without a period.
    """

    source: str
    records: int
    lines: tuple[int, ...]
    problem: str


def unreadable_by_source(summary: Summary) -> list[UnreadableSource]:
    """List the sources with unreadable records. Sources that could not be read to the end come first.

    A summary lists only the first failures. In its list of sources, all those with a problem come first.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in summary.failures:
        if row.get("verdict") == UNREADABLE:
            rows.setdefault(row["source"], []).append(row)
    known = {source.name: source for source in summary.sources if source.problem or source.counts.unreadable}
    sources = []
    for name in dict.fromkeys([*known, *rows]):
        source, of_source = known.get(name), rows.get(name, [])
        records = max(len(of_source), source.counts.unreadable if source else 0, 1)
        reason = of_source[0]["reason"] if of_source else ""
        problem = (source.problem if source else "") or reason or "cannot be read"
        sources.append(UnreadableSource(name, records, tuple(row["line"] for row in of_source), problem))
    return sources
