"""From a store to the summary that every report is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from nomyo_attest.audit.profiles import profiles_of
from nomyo_attest.audit.series.rules import rules_asked
from nomyo_attest.audit.series.stored import StoredSeries
from nomyo_attest.audit.source_order import SourceOrder
from nomyo_attest.audit.status import FAIL_ON_DEFAULT, status_of
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import SERIES_LISTED, Policy, Run, SeriesFinding, SeriesRuleSummary, Summary
from nomyo_attest.audit.tallied import (
    counts_of,
    failures_of,
    inputs_digest_of,
    places_of,
    rules_of,
    sources_of,
    tiers_of,
)
from nomyo_attest.audit.timeline import timeline_of
from nomyo_attest.policy.model import AppraisalPolicy


def summarise(
    store: Store,
    *,
    policy: AppraisalPolicy,
    run: Run,
    passed_over: Sequence[str] = (),
    passed_over_total: int | None = None,
    max_gap: int | None = None,
    fail_on: AbstractSet[str] = FAIL_ON_DEFAULT,
    max_failures: int = 0,
    on_finding: Callable[[SeriesFinding], None] | None = None,
) -> Summary:
    """Everything that an audit found out.

    Args:
        store: everything was added to it.
        policy: the policy applied.
        run: how the audit was run; it is taken over as it is.
        passed_over, passed_over_total: names of files that are no records, and how many there were in all.
        max_gap: seconds for `series.gap`, which is not asked without it.
        fail_on, max_failures: see `status_of`.
        on_finding: called with each finding across records, of which the summary lists `SERIES_LISTED`.

    Raises:
        StoreError: the store cannot be read, or there is no room beside it for what does not fit into memory.
    """
    order = SourceOrder(store)
    stored = StoredSeries(store, order)
    series, series_rules = _series(stored, max_gap, on_finding)
    timeline = timeline_of(store)
    profiles, profiles_total = profiles_of(store, order, stored, timeline)
    counts, outside = counts_of(store)
    tiers, tiers_total = tiers_of(store)
    aiks, aiks_pinned = stored.aiks()
    ((sources_total, sources_unreadable, blank),) = store.query(
        "SELECT COUNT(*), coalesce(SUM(problem <> ''), 0), coalesce(SUM(blank), 0) FROM sources"
    )
    ((written,),) = store.query("SELECT written FROM totals")
    ((places_total,),) = store.query("SELECT COUNT(*) FROM tallies")
    status, reason = status_of(
        counts,
        sources_unreadable=sources_unreadable,
        series=sum(rule.findings for rule in series_rules),
        fail_on=fail_on,
        max_failures=max_failures,
    )
    return Summary(
        policy=Policy(id=policy.id, digest=policy.digest, source=policy.source, document=policy.to_dict()),
        run=run,
        counts=counts,
        outside=outside,
        blank=blank,
        written=written,
        sources_total=sources_total,
        sources_unreadable=sources_unreadable,
        sources=sources_of(store),
        passed_over=list(passed_over),
        passed_over_total=len(passed_over) if passed_over_total is None else passed_over_total,
        inputs_digest=inputs_digest_of(store),
        rules=rules_of(store),
        places=places_of(store),
        places_total=places_total,
        failures=failures_of(store),
        failures_total=counts.contraindicated + counts.none + counts.unreadable,
        series=series,
        series_rules=series_rules,
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
    stored: StoredSeries, max_gap: int | None, on_finding: Callable[[SeriesFinding], None] | None
) -> tuple[list[SeriesFinding], list[SeriesRuleSummary]]:
    """The findings listed, in the order of the rules, and a line for each rule that was asked.

    No rule takes the room of another: where not all findings can be listed, each rule has its share.
    """
    rules = rules_asked(max_gap)
    found: Counter[str] = Counter()
    records: Counter[str] = Counter()
    listed: dict[str, list[SeriesFinding]] = {rule.id: [] for rule in rules}
    for finding in stored.findings(max_gap):
        found[finding.rule] += 1
        records[finding.rule] += finding.records
        if found[finding.rule] <= SERIES_LISTED:
            listed[finding.rule].append(finding)
        if on_finding is not None:
            on_finding(finding)
    shares: dict[str, int] = {}
    for done, rule_id in enumerate(sorted(listed, key=lambda one: found[one])):
        shares[rule_id] = min(found[rule_id], (SERIES_LISTED - sum(shares.values())) // (len(rules) - done))
    summaries = [
        SeriesRuleSummary(
            rule=rule.id, question=rule.question, mend=rule.mend, findings=found[rule.id], records=records[rule.id]
        )
        for rule in rules
    ]
    return [finding for rule in rules for finding in listed[rule.id][: shares[rule.id]]], summaries
