"""The words that all reports of an audit share: numbers, times, places, what was expected and found, what to do."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from nomyo_attest.appraisal.rules import find_rule
from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.summary import Counts, CrossRecordRuleSummary, Place, Released, Summary
from nomyo_attest.report.audit_reasons import Cause
from nomyo_attest.report.formatting import Digests, count, digests, excerpt, moment, number, sanitize, source_name
from nomyo_attest.report.values import value_text

VALUE_MAX: Final = 400
"""Characters of the longest expected or found values of a rule, together; each alone is cut by `short` before."""

WHY_UNREADABLE: Final = "What could not be read was not appraised, and nothing is known of it."

PASSED_OVER: Final = "Passed over, for their names say that they are no records"
REPEATED: Final = "Found again under another name, and read once"

NOT_AFFIRMED: Final = "Released though not affirmed"

MEND_UNDATED: Final = (
    "record `processed_at` of each response, as seconds since 1970 or as ISO 8601 with an offset from UTC; for records "
    "whose time is lost, `--allow-undated` accepts that they are not compared"
)
MEND_NOT_EVALUATED: Final = "record what this check compares, which no record here has"

MEND_RELEASED: Final = (
    'treat these completions as not attested; a client built with `require_attestation="always"` cannot release them'
)

MEND_UNREADABLE: Final = "fix what the problem names; fetch a file again that was cut off or damaged"

_DIGEST: Final = re.compile(r"(?:[0-9a-f]{2}){16,}", re.ASCII)


def verdict_counts(counts: Counts) -> list[tuple[str, int]]:
    """Every verdict with its number of records."""
    return [(verdict, getattr(counts, verdict)) for verdict in VERDICTS]


def counts_line(counts: Counts) -> str:
    """``"12 affirming, 1 none"``: what there is."""
    return ", ".join(f"{value:,} {verdict}" for verdict, value in verdict_counts(counts) if value) or "no records"


def place_text(source: str, line: int) -> str:
    """``"recorded.jsonl:12"``."""
    return f"{source_name(source)}:{line}" if line else source_name(source)


def where(place: Place) -> str:
    """A place, with its time if it has one."""
    text = place_text(place.source, place.line)
    return text if place.processed_at is None else f"{text}, {moment(place.processed_at)}"


def lines_text(lines: tuple[int, ...] | list[int], total: int) -> str:
    """``"line 7"``, ``"lines 7, 8, 12 and 34 more"``."""
    if not lines:
        return count(total, "record")
    listed = ", ".join(map(str, lines))
    more = f" and {total - len(lines):,} more" if total > len(lines) else ""
    return f"line{'s' * (total > 1)} {listed}{more}"


def outside_text(summary: Summary) -> str:
    """By whose clock the records outside the window are outside; empty if there are none."""
    if not summary.outside:
        return ""
    by_client = summary.outside - summary.outside_by_server
    parts = []
    if summary.outside_by_server:
        parts.append(f"{number(summary.outside_by_server)} by the server's own time, which nothing signs")
    if by_client:
        parts.append(f"{number(by_client)} by the time that the client recorded")
    return "; ".join(parts)


def not_evaluated_text(rule: CrossRecordRuleSummary) -> str:
    """Why a cross-record check was not evaluated, and whether that is accepted."""
    return f"{rule.remark}{' (accepted)' if rule.accepted else ''}"


def remediation_not_evaluated(rule: CrossRecordRuleSummary) -> str:
    """What to do about a cross-record check that was not evaluated."""
    return MEND_UNDATED if rule.undated else MEND_NOT_EVALUATED


def released_text(released: Released) -> str:
    """How many records were released though not affirmed, and with what gate; empty if no record says it."""
    if not released.known:
        return ""
    if not released.not_affirmed:
        return f"none of {count(released.released, 'released record')}"
    others = released.not_affirmed - released.gate_off - released.gate_on
    parts = [f"{number(released.gate_off)} with the client's gate off"] * bool(released.gate_off)
    parts += [f"{number(released.gate_on)} with the gate on, by the client's policy"] * bool(released.gate_on)
    parts += [f"{number(others)} without a record of the gate"] * bool(others)
    return f"{number(released.not_affirmed)} of {count(released.released, 'released record')}: {', '.join(parts)}"


def remediation_of(rule: str) -> str:
    """What to do when an appraisal's rule does not hold; empty for an id that is none of ours."""
    try:
        return find_rule(rule).remediation
    except KeyError:
        return ""


class Unreadable(NamedTuple):
    """What could not be read of a source.

    Attributes:
        source: its name.
        records: how many records, a source that is cut off being one.
        lines: where, as far as the summary lists it.
        problem: a sentence.
    """

    source: str
    records: int
    lines: tuple[int, ...]
    problem: str


def unreadable(summary: Summary) -> list[Unreadable]:
    """What could not be read, a source at a time: those that could not be read whole first, then in the order read.

    Not of the failures alone: the summary lists the first of these only, but sources with a problem before others.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in summary.failures:
        if row["verdict"] == UNREADABLE:
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


def unreadable_within(summary: Summary) -> list[Unreadable]:
    """Records that could not be read in sources that were read to their end, as `unreadable` has them."""
    whole = {one.name for one in summary.sources if one.problem}
    return [one for one in unreadable(summary) if one.source not in whole]


class Compared:
    """What was expected and found in the first record of a cause, as far as the summary lists that record."""

    def __init__(self, summary: Summary) -> None:
        self._findings: dict[tuple[str, int, str], dict[str, Any]] = {
            (row["source"], row["line"], finding["rule"]): finding
            for row in summary.failures
            for finding in row.get("findings") or ()
        }

    def of(self, cause: Cause) -> tuple[str, str]:
        """The values of a cause's first record: texts of one line, empty where there is nothing to compare."""
        finding = self._findings.get((cause.first.source, cause.first.line, cause.rule))
        if finding is None or finding["expected"] is None or finding["got"] is None:
            return "", ""
        expected, got = finding["expected"], finding["got"]
        if not cause.rule.startswith("claims."):  # those are the server's words, whatever they look like
            expected, got = _with_bytes(expected), _with_bytes(got)
        written = digests({*_bytes_in(expected), *_bytes_in(got)})
        return (
            excerpt(_text(cause.rule, expected, written), VALUE_MAX),
            excerpt(_text(cause.rule, got, written), VALUE_MAX),
        )

    def sentence(self, cause: Cause) -> str:
        """``"Expected …; got …."``, or nothing."""
        expected, got = self.of(cause)
        return f"Expected {expected}; got {got}." if expected else ""


def _with_bytes(value: Any) -> Any:
    """`value`, with digests as the bytes that they stand for, so that they are cut as those of a single result."""
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
