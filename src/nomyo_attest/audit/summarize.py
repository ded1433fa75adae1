"""From a store to the summary that every report is made from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final

from nomyo_attest.audit.cross_record.findings import QueryRow, findings, outcome_of, remark_of
from nomyo_attest.audit.cross_record.rules import QUERY_COLUMNS, evaluated_rules
from nomyo_attest.audit.cross_record.stored import StoredRecords
from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import (
    NOT_EVALUATED,
    SERIES_LISTED,
    Counts,
    CrossRecordFinding,
    CrossRecordRuleSummary,
    Policy,
    Released,
    Run,
    Summary,
)
from nomyo_attest.audit.timeline import profiles_of, timeline_of
from nomyo_attest.audit.totals import (
    SourceOrder,
    counts_of,
    failures_of,
    has_evidence,
    inputs_digest_of,
    places_of,
    places_total_of,
    released_of,
    rules_of,
    sources_of,
    tiers_of,
)
from nomyo_attest.policy.model import AppraisalPolicy

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


_PLACE: Final = QUERY_COLUMNS.index("place")
_RECORDS: Final = QUERY_COLUMNS.index("records")


def summarize(
    store: Store,
    *,
    policy: AppraisalPolicy,
    run: Run,
    passed_over: Sequence[str] = (),
    passed_over_total: int | None = None,
    repeated: Sequence[str] = (),
    repeated_total: int | None = None,
    max_gap: int | None = None,
    fail_on: AbstractSet[str] = FAIL_ON_DEFAULT,
    max_failures: int = 0,
    allow_no_evidence: bool = False,
    allow_undated: bool = False,
    on_finding: Callable[[CrossRecordFinding], None] | None = None,
) -> Summary:
    """Everything that an audit found out.

    Args:
        store: everything was added to it.
        policy: the policy applied.
        run: how the audit was run; it is taken over as it is.
        passed_over, passed_over_total: names of files that are no records, and how many there were in all.
        repeated, repeated_total: names under which files were found again, and how many.
        max_gap: seconds for `gap.records`, which is not asked without it.
        fail_on, max_failures, allow_no_evidence: see `status_of`.
        allow_undated: accept cross-record checks that were not evaluated since records have no usable time.
        on_finding: called with each finding across records, of which the summary lists `SERIES_LISTED`.

    Raises:
        StoreError: the store cannot be read, or there is no room beside it for what does not fit into memory.
    """
    order = SourceOrder(store)
    stored = StoredRecords(store, order)
    series, cross_record_rules = _series(stored, max_gap, on_finding)
    evidence = has_evidence(store)
    for rule in cross_record_rules:
        rule.accepted = _accepted(rule, policy, undated=allow_undated, no_evidence=allow_no_evidence and not evidence)
    timeline = timeline_of(store)
    profiles, profiles_total = profiles_of(store, order, stored, timeline)
    counts, outside_by_client, outside_by_server = counts_of(store)
    released = released_of(store)
    tiers, tiers_total = tiers_of(store)
    aiks, aiks_pinned = stored.aiks()
    ((sources_total, sources_unreadable, blank),) = store.query(
        "SELECT COUNT(*), coalesce(SUM(problem <> ''), 0), coalesce(SUM(blank), 0) FROM sources"
    )
    ((written,),) = store.query("SELECT written FROM totals")
    places_total = places_total_of(store)
    status, reason = status_of(
        counts,
        sources_unreadable=sources_unreadable,
        cross_record=sum(rule.findings for rule in cross_record_rules),
        evidence=evidence,
        not_evaluated=sum(rule.outcome == NOT_EVALUATED and not rule.accepted for rule in cross_record_rules),
        outside_by_server=outside_by_server,
        released=released,
        fail_on=fail_on,
        max_failures=max_failures,
        allow_no_evidence=allow_no_evidence,
    )
    return Summary(
        policy=Policy(id=policy.id, digest=policy.digest, source=policy.source, document=policy.to_dict()),
        run=run,
        counts=counts,
        outside=outside_by_client + outside_by_server,
        outside_by_server=outside_by_server,
        released=released,
        blank=blank,
        written=written,
        sources_total=sources_total,
        sources_unreadable=sources_unreadable,
        sources=sources_of(store),
        passed_over=list(passed_over),
        passed_over_total=len(passed_over) if passed_over_total is None else passed_over_total,
        repeated=list(repeated),
        repeated_total=len(repeated) if repeated_total is None else repeated_total,
        inputs_digest=inputs_digest_of(store),
        rules=rules_of(store),
        places=places_of(store),
        places_total=places_total,
        failures=failures_of(store),
        failures_total=counts.contraindicated + counts.none + counts.unreadable,
        cross_record=series,
        cross_record_rules=cross_record_rules,
        profiles=profiles,
        profiles_total=profiles_total,
        bucket_seconds=timeline.seconds,
        timeline=timeline.buckets,
        undated=timeline.undated,
        beyond=timeline.beyond,
        gaps=timeline.gaps,
        unavailable=timeline.unavailable,
        tiers=tiers,
        tiers_total=tiers_total,
        aiks=aiks,
        aiks_pinned=aiks_pinned,
        not_established=[one for (one,) in store.query("SELECT sentence FROM not_established ORDER BY sentence")],
        status=status,
        status_reason=reason,
    )


def _series(
    stored: StoredRecords, max_gap: int | None, on_finding: Callable[[CrossRecordFinding], None] | None
) -> tuple[list[CrossRecordFinding], list[CrossRecordRuleSummary]]:
    """The findings listed, in the order of the rules, and a line for each rule that was asked."""
    summaries: list[CrossRecordRuleSummary] = []
    listed: list[list[CrossRecordFinding]] = []
    for rule in evaluated_rules(max_gap):
        summary = CrossRecordRuleSummary(
            rule=rule.id, question=rule.question, remediation=rule.remediation, findings=0, records=0
        )
        answer = _counted(stored.query_rows(rule, max_gap), summary)
        found = findings(rule, answer)
        if on_finding is not None:
            found = _shown(found, on_finding)
        listed.append(list(islice(found, SERIES_LISTED)))
        # What is not listed need not be put in words, unless somebody wants it: then counting is all.
        deque(found if on_finding is not None else answer, maxlen=0)
        covered = stored.coverage(rule)
        summary.outcome, summary.remark = outcome_of(rule, summary.findings, covered), remark_of(rule, covered)
        summary.appraised, summary.usable, summary.undated, summary.compared = covered
        summaries.append(summary)
    return [
        finding for some, share in zip(listed, _shares(summaries), strict=True) for finding in some[:share]
    ], summaries


def _accepted(rule: CrossRecordRuleSummary, policy: AppraisalPolicy, *, undated: bool, no_evidence: bool) -> bool:
    """Whether it is accepted that a rule was not evaluated: by an option, or since the policy needs no payload ids."""
    if rule.outcome != NOT_EVALUATED:
        return False
    if rule.undated:
        return undated
    return no_evidence or (rule.rule == "duplicate.payload_id" and policy.unsafe_any_nonce)


def _counted(answer: Iterable[QueryRow], summary: CrossRecordRuleSummary) -> Iterator[QueryRow]:
    """The rows as they are; each finding's first one is counted."""
    for row in answer:
        if row[_PLACE] == 1:
            summary.findings += 1
            summary.records += row[_RECORDS]
        yield row


def _shown(
    found: Iterable[CrossRecordFinding], on_finding: Callable[[CrossRecordFinding], None]
) -> Iterator[CrossRecordFinding]:
    for finding in found:
        on_finding(finding)
        yield finding


def _shares(summaries: Sequence[CrossRecordRuleSummary]) -> list[int]:
    """How many findings of each rule are listed: all if there is room, and of the room there is no rule takes another's
    share.
    """
    shares = [0] * len(summaries)
    room = SERIES_LISTED
    for done, index in enumerate(sorted(range(len(summaries)), key=lambda one: summaries[one].findings)):
        shares[index] = min(summaries[index].findings, room // (len(summaries) - done))
        room -= shares[index]
    return shares


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
        ``cross-record`` counts and there are findings across records or cross-record checks that were not evaluated; if
        ``outside`` counts and records are outside the window by the server's own time; if ``released`` counts and no
        record says whether it was released; if no record was appraised, which no option accepts; or if no record has
        evidence; else 0.
    """
    none_appraised = counts.total == counts.unreadable
    missing = "" if evidence or allow_no_evidence else "no record has evidence; see whether the records are responses"
    if not fail_on:
        if none_appraised:
            return FAILED, "no record was appraised"
        return (FAILED, missing) if missing else (OK, "nothing counts as a failure")
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
