"""List why an audit did not pass: rules that failed or are undecided, values expected and found, unreadable sources.

All reports use these lists, including the machine-readable ones (JUnit, SARIF, annotations).
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from nomyo_attest.appraisal.rules import RULES, Rule, find_rule
from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.summary import (
    CONSEQUENCE,
    FAIL,
    Counts,
    CrossRecordFinding,
    CrossRecordRuleSummary,
    Place,
    Released,
    Summary,
)
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
"""Maximum characters of one expected or found value of a rule."""

WHY_UNREADABLE: Final = "A record that could not be read was not appraised: it has no verdict."
REMEDIATION_UNREADABLE: Final = "fix the problem stated; replace a truncated or damaged file with an intact copy"

NOT_AFFIRMED: Final = "Released though not affirmed"
REMEDIATION_RELEASED: Final = (
    'treat these completions as not attested; a client built with `require_attestation="always"` cannot release them'
)

_REMEDIATION_UNDATED: Final = (
    "record `processed_at` of each response, as seconds since 1970 or as ISO 8601 with an offset from UTC; for records "
    "whose time is lost, `--allow-undated` accepts that they are not compared"
)
_REMEDIATION_NOT_EVALUATED: Final = "record the values that this check compares; no record here has them"

_DIGEST: Final = re.compile(r"(?:[0-9a-f]{2}){16,}", re.ASCII)
_ORDER: Final = {rule.id: position for position, rule in enumerate(RULES)}


class Cause(NamedTuple):
    """One rule that failed or is undecided, in one source or over all sources.

    Attributes:
        source: the source; empty for all sources.
        rule, requirement: the rule, and what the policy requires of it: ``"required"`` or ``"warn"``.
        outcome: ``"fail"`` or ``"undecided"``.
        records: the number of records.
        first: the first of them; for one source without its time.
        lines: the first few of the records; empty for all sources.
        message: the message of the first one.
        expected, got: the values of the first one, one line each; empty if the summary does not list them.
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
    """Find a rule of the appraisals; None if the table does not have it."""
    try:
        return find_rule(rule_id)
    except KeyError:
        return None


def causes(summary: Summary) -> list[Cause]:
    """List the rules that failed or are undecided, over all sources: required ones first, then failures."""
    return _sorted(
        summary,
        [
            Cause("", one.rule, one.requirement, one.outcome, one.records, one.first, (), one.message)
            for one in summary.rules
        ],
    )


def causes_by_source(summary: Summary) -> list[Cause]:
    """List the rules that failed or are undecided, by source: required ones first, then failures."""
    found = []
    for one in summary.places:
        first, lines = Place(one.source, one.lines[0] if one.lines else 0), tuple(one.lines)
        found.append(Cause(one.source, one.rule, one.requirement, one.outcome, one.records, first, lines, one.message))
    return _sorted(summary, found)


def _sorted(summary: Summary, found: list[Cause]) -> list[Cause]:
    """Sort causes and add their values; drop consequences and the rules that the policy ignores."""
    shown = [one for one in found if one.outcome != CONSEQUENCE and one.requirement != "ignore"]
    values = _values(summary, {(one.first.source, one.first.line, one.rule) for one in shown})
    compared = []
    for one in shown:
        expected, got = values.get((one.first.source, one.first.line, one.rule), ("", ""))
        compared.append(one._replace(expected=expected, got=got))
    return sorted(compared, key=lambda one: (one.softened, not one.failed))


def dependent_rules(summary: Summary) -> list[str]:
    """List the rules that are undecided only as a consequence of others, in the order of the table."""
    reasons = {one.rule for one in summary.rules if one.outcome != CONSEQUENCE and one.requirement != "ignore"}
    found = {one.rule for one in summary.rules if one.requirement != "ignore" and one.rule not in reasons}
    return sorted(found, key=_rule_order)


def ignored(summary: Summary) -> list[str]:
    """List the rules that failed or are undecided but that the policy ignores, in the order of the table."""
    return sorted({one.rule for one in summary.rules if one.requirement == "ignore"}, key=_rule_order)


def _rule_order(rule: str) -> tuple[int, str]:
    """Return the sort key of a rule: its position in the table of rules; unknown rules come last."""
    return _ORDER.get("claims.*" if rule.startswith("claims.") else rule, len(_ORDER)), rule


# ---- expected and found values


def _values(summary: Summary, wanted: set[tuple[str, int, str]]) -> dict[tuple[str, int, str], tuple[str, str]]:
    """Return (source, line, rule) → (expected, got), for the records that the summary lists."""
    found = {}
    for row in summary.failures:
        for finding in row.get("findings") or ():
            expected, got = finding.get("expected"), finding.get("got")
            key = (row.get("source", ""), row.get("line", 0), finding.get("rule", ""))
            if key in wanted and expected is not None and got is not None:
                found[key] = compared_values(key[2], expected, got)
    return found


def compared_values(rule: str, expected: Any, got: Any) -> tuple[str, str]:
    """Format the expected and the found value of a rule, in one line each."""
    if not rule.startswith("claims."):  # a claim is text from the server, even if it looks like a digest
        expected, got = _with_bytes(expected), _with_bytes(got)
    written = digests({*_bytes_in(expected), *_bytes_in(got)})
    return excerpt(_text(rule, expected, written), VALUE_MAX), excerpt(_text(rule, got, written), VALUE_MAX)


def _with_bytes(value: Any) -> Any:
    """Return `value` with digests as bytes, so that they are shortened like those of a single result."""
    if isinstance(value, str):
        return bytes.fromhex(value) if _DIGEST.fullmatch(value) else value
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _with_bytes(one) for key, one in value.items()}
    return value


def _bytes_in(value: Any) -> set[bytes]:
    if isinstance(value, bytes):
        return {value}
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {found for one in inside for found in _bytes_in(one)}


def _text(rule: str, value: Any, written: Digests) -> str:
    if rule == "pcr.values" and isinstance(value, dict):
        return ", ".join(f"{sanitize(place)} {_choice(rule, one, written)}" for place, one in value.items())
    return value_text(rule, value, written)


def _choice(rule: str, value: Any, written: Digests) -> str:
    if isinstance(value, list):
        return " or ".join(value_text(rule, one, written) for one in value) or "any value, but signed"
    return "not signed" if value is None else value_text(rule, value, written)


# ---- places and counts


def place_text(source: str, line: int) -> str:
    """``"recorded.jsonl:12"``."""
    return f"{source_name(source)}:{line}" if line else source_name(source)


def where(place: Place) -> str:
    """Format a place with its time, if it has one."""
    text = place_text(place.source, place.line)
    return text if place.processed_at is None else f"{text}, {moment(place.processed_at)}"


def lines_text(lines: tuple[int, ...] | list[int], total: int) -> str:
    """``"line 7"``, ``"lines 7, 8, 12 and 34 more"``."""
    if not lines:
        return count(total, "record")
    listed = ", ".join(map(str, lines))
    more = f" and {total - len(lines):,} more" if total > len(lines) else ""
    return f"line{'s' * (total > 1)} {listed}{more}"


def verdict_counts(counts: Counts) -> list[tuple[str, int]]:
    """Return each verdict with its number of records."""
    return [(verdict, getattr(counts, verdict)) for verdict in VERDICTS]


def counts_line(counts: Counts) -> str:
    """``"12 affirming, 1 none"``; verdicts without records are left out."""
    return ", ".join(f"{value:,} {verdict}" for verdict, value in verdict_counts(counts) if value) or "no records"


# ---- other facts about an audit


def outside_text(summary: Summary) -> str:
    """State how many records are outside the window, by the server's time and by the client's; empty if none."""
    if not summary.outside:
        return ""
    by_client = summary.outside - summary.outside_by_server
    parts = []
    if summary.outside_by_server:
        parts.append(f"{number(summary.outside_by_server)} by the server's own time, which nothing signs")
    if by_client:
        parts.append(f"{number(by_client)} by the time that the client recorded")
    return "; ".join(parts)


def finding_message(found: CrossRecordFinding) -> str:
    """State what a cross-record check found, with lengths of time in units that people read.

    `CrossRecordFinding.message` has them in milliseconds or seconds.
    """
    begins, ends = found.first.processed_at, found.last.processed_at
    if found.rule == "gap.records" and begins is not None and ends is not None:
        return f"no record for {duration(ends - begins)}"
    if found.detail != "clock" or found.high is None or found.low is None:
        return found.message
    message = f"the clock goes back by {duration((found.high - found.low) / 1000)}"
    more = found.records - 1
    has = "has" if more == 1 else "have"
    return f"{message}, and {count(more, 'more record')} {has} an earlier clock" if more else message


def not_evaluated_text(rule: CrossRecordRuleSummary) -> str:
    """State why a cross-record check was not evaluated, and whether that is accepted."""
    return f"{rule.remark}{' (accepted)' if rule.accepted else ''}"


def remediation_not_evaluated(rule: CrossRecordRuleSummary) -> str:
    """State what to do about a cross-record check that was not evaluated."""
    return _REMEDIATION_UNDATED if rule.undated else _REMEDIATION_NOT_EVALUATED


def released_text(released: Released) -> str:
    """State how many records were released though not affirmed, by the state of the gate; empty if no record has it."""
    if not released.known:
        return ""
    if not released.not_affirmed:
        return f"none of {count(released.released, 'released record')}"
    others = released.not_affirmed - released.gate_off - released.gate_on
    parts = [f"{number(released.gate_off)} with the client's gate off"] * bool(released.gate_off)
    parts += [f"{number(released.gate_on)} with the gate on, by the client's policy"] * bool(released.gate_on)
    parts += [f"{number(others)} without a record of the gate"] * bool(others)
    return f"{number(released.not_affirmed)} of {count(released.released, 'released record')}: {', '.join(parts)}"


class Unreadable(NamedTuple):
    """The part of a source that could not be read.

    Attributes:
        source: its name.
        records: number of records; a truncated source counts as one.
        lines: their lines, as far as the summary lists them.
        problem: a sentence.
    """

    source: str
    records: int
    lines: tuple[int, ...]
    problem: str


def unreadable(summary: Summary) -> list[Unreadable]:
    """List the sources with unreadable records: those that could not be read to the end first, then in the order read.

    The listed failures alone are not enough: the summary has only the first of them, but all sources with a problem
    come first in its list of sources.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in summary.failures:
        if row.get("verdict") == UNREADABLE:
            rows.setdefault(row["source"], []).append(row)
    known = {one.name: one for one in summary.sources if one.problem or one.counts.unreadable}
    found = []
    for name in dict.fromkeys([*known, *rows]):
        source, of_source = known.get(name), rows.get(name, [])
        records = max(len(of_source), source.counts.unreadable if source else 0, 1)
        reason = of_source[0]["reason"] if of_source else ""
        problem = (source.problem if source else "") or reason or "cannot be read"
        found.append(Unreadable(name, records, tuple(row["line"] for row in of_source), problem))
    return found
