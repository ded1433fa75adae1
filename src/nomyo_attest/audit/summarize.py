"""Summarize an audit from its store, with the exit status and its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Final

from nomyo_attest.audit.cause_groups import cause_groups_of
from nomyo_attest.audit.cross_record.affected import affected_of
from nomyo_attest.audit.cross_record.findings import QueryRow, findings_of, outcome_of, remark_of
from nomyo_attest.audit.cross_record.model import (
    NOT_EVALUATED,
    AffectedRecord,
    CrossRecordFinding,
    CrossRecordRuleSummary,
)
from nomyo_attest.audit.cross_record.queries import QUERY_COLUMNS
from nomyo_attest.audit.cross_record.rules import evaluated_rules
from nomyo_attest.audit.cross_record.stored import StoredRecords
from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.status import EXIT_NOT_AFFIRMED, EXIT_OK, EXIT_UNUSABLE
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import CROSS_RECORD_LISTED, Counts, Policy, Released, Run, Summary
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

FAIL_ON_CROSS_RECORD: Final = "cross-record"
FAIL_ON_RELEASED: Final = "released"
FAIL_ON_OUTSIDE: Final = "outside"
FAIL_ON_NOTHING: Final = "nothing"

FAIL_ON: Final = (*VERDICTS[1:], FAIL_ON_CROSS_RECORD, FAIL_ON_RELEASED, FAIL_ON_OUTSIDE)
"""The values of ``--fail-on`` that can be combined; `FAIL_ON_NOTHING` must be the only value."""

FAIL_ON_DEFAULT: Final = frozenset({"contraindicated", "none", UNREADABLE, FAIL_ON_CROSS_RECORD})

_RELEASE_UNKNOWN: Final = "no record states whether its completion was released; only lines of a ledger do"

_PLACE: Final = QUERY_COLUMNS.index("place")
_RECORDS: Final = QUERY_COLUMNS.index("records")


def summarize(
    store: Store,
    *,
    policy: AppraisalPolicy,
    run: Run,
    skipped: Sequence[str] = (),
    skipped_total: int | None = None,
    duplicate_names: Sequence[str] = (),
    duplicate_names_total: int | None = None,
    max_gap: int | None = None,
    fail_on: AbstractSet[str] = FAIL_ON_DEFAULT,
    max_failures: int = 0,
    allow_no_evidence: bool = False,
    allow_undated: bool = False,
    on_finding: Callable[[CrossRecordFinding], None] | None = None,
    on_affected: Callable[[AffectedRecord], None] | None = None,
) -> Summary:
    """Summarize an audit.

    Args:
        store: the store, after all results were added.
        policy: the policy of the audit.
        run: how the audit was run.
        skipped, skipped_total: names of files that were skipped, and the number of these files.
        duplicate_names, duplicate_names_total: further names of files that were read under another name, and their
            number.
        max_gap: the limit of `gap.records`, in seconds; None to not evaluate that rule.
        fail_on, max_failures, allow_no_evidence: see `status_of`.
        allow_undated: accept cross-record checks that were not evaluated because records have no usable time.
        on_finding: called with every finding across records; the summary lists only `CROSS_RECORD_LISTED` of them.
        on_affected: called with every record of every finding, except those of `gap.records`.

    Raises:
        StoreError: the store cannot be read, or the disk is too full for temporary files.
    """
    order = SourceOrder(store)
    stored = StoredRecords(store, order)
    cross_record, cross_record_rules = _run_cross_record_rules(stored, max_gap, on_finding)
    ids_found = {rule.rule for rule in cross_record_rules if rule.findings}
    rules_found = [rule for rule in evaluated_rules(max_gap) if rule.id in ids_found]
    affected = affected_of(store, stored, rules_found, cross_record)
    if on_affected is not None:
        for record in chain.from_iterable(map(stored.affected_records, rules_found)):
            on_affected(record)
    evidence = has_evidence(store)
    for rule in cross_record_rules:
        rule.accepted = _is_accepted(
            rule, policy, undated=allow_undated, no_evidence=allow_no_evidence and not evidence
        )
    timeline = timeline_of(store)
    profiles, profiles_total = profiles_of(store, order, stored, timeline)
    counts, outside_by_client, outside_by_server = counts_of(store)
    released = released_of(store)
    tiers, tiers_total = tiers_of(store)
    aiks, aiks_pinned = stored.count_aiks()
    ((sources_total, sources_unreadable, blank),) = store.query(
        "SELECT COUNT(*), coalesce(SUM(problem <> ''), 0), coalesce(SUM(blank), 0) FROM sources"
    )
    ((written,),) = store.query("SELECT written FROM totals")
    places_total = places_total_of(store)
    cause_groups, cause_groups_total = cause_groups_of(store)
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
        skipped=list(skipped),
        skipped_total=len(skipped) if skipped_total is None else skipped_total,
        duplicate_names=list(duplicate_names),
        duplicate_names_total=len(duplicate_names) if duplicate_names_total is None else duplicate_names_total,
        inputs_digest=inputs_digest_of(store),
        rules=rules_of(store),
        places=places_of(store),
        places_total=places_total,
        failures=failures_of(store),
        failures_total=counts.contraindicated + counts.none + counts.unreadable,
        cross_record=cross_record,
        cross_record_rules=cross_record_rules,
        profiles=profiles,
        profiles_total=profiles_total,
        bucket_seconds=timeline.seconds,
        timeline=timeline.buckets,
        period_begins=timeline.first if timeline.buckets else None,
        period_ends=timeline.last if timeline.buckets else None,
        usual_interval=timeline.usual_interval,
        undated=timeline.undated,
        time_outliers=timeline.time_outliers,
        gaps=timeline.gaps,
        unavailable=timeline.unavailable,
        tiers=tiers,
        tiers_total=tiers_total,
        aiks=aiks,
        aiks_pinned=aiks_pinned,
        not_established=[
            sentence for (sentence,) in store.query("SELECT sentence FROM not_established ORDER BY sentence")
        ],
        status=status,
        status_reason=reason,
        cause_groups=cause_groups,
        cause_groups_total=cause_groups_total,
        affected=affected,
    )


def _run_cross_record_rules(
    stored: StoredRecords, max_gap: int | None, on_finding: Callable[[CrossRecordFinding], None] | None
) -> tuple[list[CrossRecordFinding], list[CrossRecordRuleSummary]]:
    """Return the findings to list and the summary of each rule, in the order of the rules.

    Findings whose records may be copies of one response come last within a rule, and are listed only if the limit
    leaves room after all others: no number of copies can hide a replay.
    """
    summaries: list[CrossRecordRuleSummary] = []
    urgent: list[list[CrossRecordFinding]] = []
    copies: list[list[CrossRecordFinding]] = []
    for rule in evaluated_rules(max_gap):
        summary = CrossRecordRuleSummary(
            rule=rule.id, question=rule.question, remediation=rule.remediation, findings=0, records=0
        )
        rows = _count_findings(stored.query_rows(rule, max_gap), summary)
        found = findings_of(rule, rows)
        if on_finding is not None:
            found = _report_findings(found, on_finding)
        urgent.append([])
        copies.append([])
        for finding in found:
            candidates = copies[-1] if finding.may_be_copies else urgent[-1]
            if len(candidates) < CROSS_RECORD_LISTED:
                candidates.append(finding)
        coverage = stored.coverage(rule)
        summary.outcome, summary.remark = outcome_of(rule, summary.findings, coverage), remark_of(rule, coverage)
        summary.appraised, summary.usable, summary.undated, summary.compared = coverage
        summaries.append(summary)
    urgent = _limit_findings(urgent, CROSS_RECORD_LISTED)
    copies = _limit_findings(copies, CROSS_RECORD_LISTED - sum(map(len, urgent)))
    return [finding for rule in zip(urgent, copies, strict=True) for finding in chain(*rule)], summaries


def _is_accepted(rule: CrossRecordRuleSummary, policy: AppraisalPolicy, *, undated: bool, no_evidence: bool) -> bool:
    """Whether an option, or a policy that does not require payload ids, accepts that a rule was not evaluated."""
    if rule.outcome != NOT_EVALUATED:
        return False
    if rule.undated:
        return undated
    return no_evidence or (rule.rule == "duplicate.payload_id" and policy.unsafe_any_nonce)


def _count_findings(rows: Iterable[QueryRow], summary: CrossRecordRuleSummary) -> Iterator[QueryRow]:
    """Yield the rows unchanged, and count findings by their first row."""
    for row in rows:
        if row[_PLACE] == 1:
            summary.findings += 1
            summary.records += row[_RECORDS]
        yield row


def _report_findings(
    found: Iterable[CrossRecordFinding], on_finding: Callable[[CrossRecordFinding], None]
) -> Iterator[CrossRecordFinding]:
    for finding in found:
        on_finding(finding)
        yield finding


def _limit_findings(candidates: list[list[CrossRecordFinding]], limit: int) -> list[list[CrossRecordFinding]]:
    """Return the findings of each rule to list: all if they fit, otherwise equal shares of the limit."""
    listed = list(candidates)
    by_length = sorted(range(len(candidates)), key=lambda rule: len(candidates[rule]))
    for done, rule in enumerate(by_length):
        listed[rule] = candidates[rule][: limit // (len(candidates) - done)]
        limit -= len(listed[rule])
    return listed


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
    """Return the exit status and its reason.

    Args:
        counts: records by verdict.
        sources_unreadable: number of sources that could not be read completely.
        cross_record: number of findings across records.
        evidence: whether any record has evidence, malformed or not.
        not_evaluated: number of cross-record checks that were not evaluated, except those that an option or the policy
            accepts.
        outside_by_server: number of records outside the window by the server's own time.
        released: counts of released records from ledgers; None if there are no ledgers.
        fail_on: the values of `FAIL_ON` that count as failures; empty if nothing counts as a failure.
        max_failures: number of records that may fail: those with a verdict in `fail_on` and, if `fail_on` contains
            ``released``, those that were released though not affirmed. It does not apply to other conditions.
        allow_no_evidence: accept an audit in which no record has evidence. Otherwise the status of such an audit is
            never 0, regardless of `fail_on` and `max_failures`, since its records may not be responses.

    Returns:
        2 if a source could not be read completely and `fail_on` contains ``unreadable``. Otherwise 1 in any of these
        cases: more than `max_failures` records failed; `fail_on` contains ``cross-record`` and a cross-record check has
        findings or was not evaluated; `fail_on` contains ``outside`` and records are outside the window by the server's
        own time; `fail_on` contains ``released`` and no record states whether its completion was released; no record
        was appraised; no record has evidence. Otherwise 0.
    """
    none_appraised = counts.total == counts.unreadable
    missing = "" if evidence or allow_no_evidence else "no record has evidence; check that the records are responses"
    if not fail_on:
        if none_appraised:
            return EXIT_NOT_AFFIRMED, "no record was appraised"
        return (EXIT_NOT_AFFIRMED, missing) if missing else (EXIT_OK, "nothing counts as a failure")
    if sources_unreadable and UNREADABLE in fail_on:
        return EXIT_UNUSABLE, f"{_quantity(sources_unreadable, 'source')} could not be read completely"
    released = released or Released()
    found = {verdict: getattr(counts, verdict) for verdict in VERDICTS if verdict in fail_on}
    if FAIL_ON_RELEASED in fail_on:
        others = {verdict: getattr(released.counts, verdict) for verdict in VERDICTS if verdict not in fail_on}
        found |= {f"{verdict} though released": number for verdict, number in others.items()}
    failures = sum(found.values())
    reasons = []
    if failures > max_failures:
        verdicts = ", ".join(f"{number:,} {verdict}" for verdict, number in found.items() if number)
        limit = f", more than the {max_failures:,} tolerated" if max_failures else ""
        reasons.append(f"{_quantity(failures, 'record')} failed{limit}: {verdicts}")
    if cross_record and FAIL_ON_CROSS_RECORD in fail_on:
        reasons.append(f"{_quantity(cross_record, 'finding')} across records")
    if not_evaluated and FAIL_ON_CROSS_RECORD in fail_on:
        reasons.append(f"{_quantity(not_evaluated, 'cross-record check')} not evaluated")
    if outside_by_server and FAIL_ON_OUTSIDE in fail_on:
        reasons.append(f"{_quantity(outside_by_server, 'record')} outside the window by the server's own time")
    if FAIL_ON_RELEASED in fail_on and counts.total and not released.known:
        reasons.append(_RELEASE_UNKNOWN)
    if reasons:
        return EXIT_NOT_AFFIRMED, "; ".join(reasons)
    if none_appraised:
        return EXIT_NOT_AFFIRMED, "no record was appraised"
    if missing:
        return EXIT_NOT_AFFIRMED, missing
    if failures:
        return EXIT_OK, f"{_quantity(failures, 'record')} failed, no more than the {max_failures:,} tolerated"
    return EXIT_OK, f"none of {_quantity(counts.total, 'record')} failed"


def _quantity(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
