"""With which status an audit ends, and why: a pure function of what it counted."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.summary import Counts, Released

CROSS_RECORD: Final = "cross-record"
RELEASED: Final = "released"
OUTSIDE: Final = "outside"
NOTHING: Final = "nothing"

FAIL_ON: Final = (*VERDICTS[1:], CROSS_RECORD, RELEASED, OUTSIDE)
"""What `--fail-on` may name, beside `NOTHING` alone."""

FAIL_ON_DEFAULT: Final = frozenset({"contraindicated", "none", UNREADABLE, CROSS_RECORD})

OK: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2

_NOT_SAID: Final = "no record says whether its completion was released: only lines of an evidence ledger do"


def status_of(
    counts: Counts,
    *,
    sources_unreadable: int,
    cross_record: int,
    evidence: bool,
    not_evaluated: int = 0,
    outside_by_server: int = 0,
    released: Released | None = None,
    fail_on: AbstractSet[str] = FAIL_ON_DEFAULT,
    max_failures: int = 0,
    allow_no_evidence: bool = False,
) -> tuple[int, str]:
    """The exit status and its reason.

    Args:
        counts: records by verdict.
        sources_unreadable: sources of which not all could be read.
        cross_record: findings across records.
        evidence: whether any record has evidence, malformed or not.
        not_evaluated: cross-record checks that were not evaluated, without those that an option or the policy accepts.
        outside_by_server: records outside the window by the server's own time.
        released: records of ledgers by whether they were released; None for none.
        fail_on: those of `FAIL_ON` that count; none: no verdict, finding or unreadable source counts.
        max_failures: how many records are tolerated that are of a verdict that counts, or, if ``released`` counts, were
            released though not affirmed; nothing else is tolerated.
        allow_no_evidence: accept an audit in which no record has evidence. Without it the status of such an audit is
            never 0, whatever `fail_on` and `max_failures` are: it would be the same if the records were not responses.

    Returns:
        2 if a source could not be read and ``unreadable`` counts; else 1 if more records than are tolerated failed; if
        ``series`` counts and there are findings across records or cross-record checks that were not evaluated; if
        ``outside`` counts and records are outside the window by the server's own time; if ``released`` counts and no
        record says whether it was released; if no record was appraised although something counts; or if no record has
        evidence; else 0.
    """
    none_appraised = counts.total == counts.unreadable
    missing = "" if evidence or allow_no_evidence else "no record has evidence; see whether the records are responses"
    if not fail_on:
        if missing:
            return FAILED, "no record was appraised" if none_appraised else missing
        return OK, "nothing counts as a failure"
    if sources_unreadable and UNREADABLE in fail_on:
        return UNUSABLE, f"{_number(sources_unreadable, 'source')} could not be read, or not to the end"
    released = released or Released()
    found = {one: getattr(counts, one) for one in VERDICTS if one in fail_on}
    if RELEASED in fail_on:
        others = {one: getattr(released.counts, one) for one in VERDICTS if one not in fail_on}
        found |= {f"{one} though released": number for one, number in others.items()}
    failures = sum(found.values())
    reasons = []
    if failures > max_failures:
        told = ", ".join(f"{number:,} {what}" for what, number in found.items() if number)
        limit = f", more than the {max_failures:,} tolerated" if max_failures else ""
        reasons.append(f"{_number(failures, 'record')} failed{limit}: {told}")
    if cross_record and CROSS_RECORD in fail_on:
        reasons.append(f"{_number(cross_record, 'finding')} across records")
    if not_evaluated and CROSS_RECORD in fail_on:
        reasons.append(f"{_number(not_evaluated, 'cross-record check')} not evaluated")
    if outside_by_server and OUTSIDE in fail_on:
        reasons.append(f"{_number(outside_by_server, 'record')} outside the window by the server's own time")
    if RELEASED in fail_on and counts.total and not released.known:
        reasons.append(_NOT_SAID)
    if reasons:
        return FAILED, "; ".join(reasons)
    if none_appraised:
        return FAILED, "no record was appraised"
    if missing:
        return FAILED, missing
    if failures:
        return OK, f"{_number(failures, 'record')} failed, no more than the {max_failures:,} tolerated"
    return OK, f"none of {_number(counts.total, 'record')} failed"


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
