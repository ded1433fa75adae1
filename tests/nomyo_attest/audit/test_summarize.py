from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomyo_attest.audit import summary as limits
from nomyo_attest.audit import totals
from nomyo_attest.audit.chunk import Fact
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summarize import FAIL_ON, FAIL_ON_DEFAULT, status_of
from nomyo_attest.audit.summary import Counts, Released
from tests.nomyo_attest.audit.stores import (
    NOTHING,
    POLICY,
    digest,
    end,
    facts_of,
    fill,
    name,
    result,
    summary_of,
    tally,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s") as store:
        yield store


def test_an_audit_of_nothing_has_a_summary(store: Store) -> None:
    summary = summary_of(store)
    assert summary.counts == Counts()
    assert (summary.sources, summary.timeline, summary.profiles, summary.cross_record) == ([], [], [], [])
    assert [(rule.findings, rule.records) for rule in summary.cross_record_rules] == [(0, 0)] * 5
    assert (summary.status, summary.status_reason) == (1, "no record was appraised")
    assert summary.policy.document == POLICY.to_dict()


def test_the_period_is_from_the_first_to_the_last_record(store: Store) -> None:
    fill(store, facts_of({"processed_at": 1_800_000_911}, {"processed_at": 1_800_000_077}, {}))
    summary = summary_of(store)
    assert (summary.period_begins, summary.period_ends) == (1_800_000_077, 1_800_000_911)
    assert summary.timeline[0].at < 1_800_000_077


def test_sources_with_a_problem_or_a_failure_come_first_and_totals_add_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {0: [5, 0, 0, 0, 0, 2, 7], 1: [1, 1, 0, 0, 0, 0, 0], 2: [0, 0, 1, 0, 0, 0, 0], 4: [3, 0, 0, 0, 1, 0, 0]}
    ends = [end(0, "a", blank=3), end(1, "b"), end(2, "c"), end(3, "d"), end(4, "e", sha256=None, problem="cut off")]
    store.add(result(counts=counts, source_ends=tuple(ends), written=9))
    summary = summary_of(store)
    assert [source.name for source in summary.sources] == ["c", "e", "a", "b", "d"]
    assert summary.counts == Counts(affirming=9, warning=1, contraindicated=1, unreadable=1)
    assert (summary.outside, summary.outside_by_server, summary.blank, summary.written) == (9, 7, 3, 9)
    assert [(one.outside, one.outside_by_server) for one in summary.sources] == [(0, 0), (0, 0), (9, 7), (0, 0), (0, 0)]
    assert (summary.sources_total, summary.sources_unreadable, summary.failures_total) == (5, 1, 2)
    assert sum(source.counts.total for source in summary.sources) == summary.counts.total
    assert (summary.sources[1].problem, summary.sources[1].sha256) == ("cut off", None)
    assert summary.status == 2


def test_records_that_were_released_though_not_affirmed_are_counted_by_the_gate(store: Store) -> None:
    def of(released: bool, gate: str, verdict: str) -> tuple[bool, str, int]:
        return released, gate, VERDICTS.index(verdict)

    store.add(result(released={of(True, "on", "affirming"): 9, of(True, "off", "none"): 2, of(False, "on", "none"): 4}))
    store.add(result(number=1, released={of(True, "off", "none"): 3, of(True, "on", "contraindicated"): 1}))
    store.add(result(number=2, released={of(True, "", "unreadable"): 1, of(True, "on", "warning"): 5}))
    found = summary_of(store).released
    assert (found.known, found.released, found.not_affirmed) == (25, 21, 7)
    assert (found.gate_off, found.gate_on) == (5, 1)
    assert found.counts == Counts(none=5, contraindicated=1, unreadable=1)


def test_the_inputs_in_one_value_are_every_sources_digest_and_name_in_order(store: Store) -> None:
    ends = (end(0, "b\n\"'é", sha256="11" * 32), end(1, "a", sha256=None))
    store.add(result(source_ends=ends))
    lines = "".join(json.dumps(pair, separators=(",", ":"), ensure_ascii=False) + "\n"
                    for pair in (["11" * 32, "b\n\"'é"], [None, "a"]))  # fmt: skip
    assert summary_of(store).inputs_digest == hashlib.sha256(lines.encode()).hexdigest()


def test_rules_are_in_the_order_of_the_table_and_say_where_first(store: Store) -> None:
    facts = [NOTHING._replace(source=source, line=line, processed_at=100 * source + line)
             for source in range(3) for line in range(1, 6)]  # fmt: skip
    fill(store, facts, ("z", "y", "x"))
    store.add(result(number=50, tallies=[tally(1, "pcr.values", records=2, lines=[4, 5]), tally(1, "nonce.match")]))
    undecided = tally(0, "pcr.values", outcome="undecided", records=3, lines=[2, 3, 5], message="no quote")
    following = tally(0, "claims.a.b", outcome="consequence", lines=[2], message="no claims")
    store.add(result(number=51, tallies=[tally(2, "pcr.values"), undecided, tally(2, "claims.a.b"), following]))
    rules = summary_of(store).rules
    assert [(rule.rule, rule.outcome, rule.records, rule.first, rule.message) for rule in rules] == [
        ("nonce.match", "fail", 1, Place("y", 1, 101), "no"),
        ("pcr.values", "fail", 3, Place("y", 4, 104), "no"),
        ("pcr.values", "undecided", 3, Place("z", 2, 2), "no quote"),
        ("claims.a.b", "fail", 1, Place("x", 1, 201), "no"),
        ("claims.a.b", "consequence", 1, Place("z", 2, 2), "no claims"),
    ]


def test_places_are_in_the_order_read_and_those_left_out_count_least(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(result(
        tallies=[
            tally(0, "pcr.values", requirement="ignore"), tally(1, "clock.safe", requirement="warn", lines=[7]),
            tally(2, "pcr.values", outcome="undecided"), tally(0, "key.form", outcome="consequence"),
            tally(3, "nonce.match"), tally(3, "key.form"),
        ],
        source_ends=tuple(end(number, str(number)) for number in range(4)),
    ))  # fmt: skip
    summary = summary_of(store)
    assert [(place.source, place.rule) for place in summary.places] == [
        ("0", "pcr.values"), ("1", "clock.safe"), ("2", "pcr.values"), ("3", "key.form"), ("3", "nonce.match"),
    ]  # fmt: skip
    query = totals._PLACES_QUERY.replace(f"LIMIT {limits.PLACES_LISTED}", "LIMIT 3")
    monkeypatch.setattr(totals, "_PLACES_QUERY", query)
    few = summary_of(store)
    assert [(place.source, place.rule) for place in few.places] == [
        ("2", "pcr.values"), ("3", "key.form"), ("3", "nonce.match"),
    ]  # fmt: skip
    assert few.places_total == 5


def test_failures_are_listed_without_the_evidence_and_with_long_values_cut(store: Store) -> None:
    long = "x" * 100_000
    finding = {"rule": "pcr.values", "expected": ["00"], "got": {"value": long}}
    rows = [{"source": "a", "line": 1, "evidence": {"big": long}, "findings": [finding]}, {"source": "a", "line": 2}]
    store.add(result(failures=[msgspec.json.encode(row) for row in rows]))
    first, second = summary_of(store).failures
    assert first["evidence"] is None
    assert first["findings"][0]["expected"] == ["00"]
    assert len(first["findings"][0]["got"]) < 5000
    assert first["findings"][0]["got"].endswith("… (100012 characters)")
    assert second["line"] == 2


def test_tiers_are_listed_by_how_many_claim_them_and_no_tier_is_not_an_empty_one(store: Store) -> None:
    tiers = ["high", None, "maximum", "", "maximum", None, "maximum"]
    fill(store, facts_of(*({"security_tier": tier} for tier in tiers)), at_once=2)
    summary = summary_of(store)
    assert summary.tiers == [("maximum", 3), (None, 2), ("", 1), ("high", 1)]
    assert summary.tiers_total == 4


def test_an_unreadable_record_is_not_counted_among_the_tiers(store: Store) -> None:
    unreadable = VERDICTS.index("unreadable")
    fill(store, facts_of({"verdict": unreadable}, {"security_tier": "high"}, {"verdict": unreadable}))
    assert summary_of(store).tiers == [("high", 1)]


def test_each_sentence_on_what_is_not_established_occurs_once(store: Store) -> None:
    store.add(result(not_established={"b", "a"}))
    store.add(result(number=1, not_established={"b", "c"}))
    assert summary_of(store).not_established == ["a", "b", "c"]


def test_a_profile_has_its_records_by_verdict_its_aiks_and_its_first_and_last(store: Store) -> None:
    first, second = {"pcr_profile": digest(1)}, {"pcr_profile": digest(2)}
    fill(store, facts_of(
        {**first, "processed_at": 500, "aik_name": name(1), "aik_pinned": True},
        {**first, "processed_at": 400, "aik_name": name(2), "aik_pinned": False, "verdict": 2},
        {**second, "aik_name": name(1), "aik_pinned": True},
        {**first, "processed_at": 600, "aik_name": name(1), "aik_pinned": True},
        {**second, "processed_at": 450, "aik_name": name(3), "aik_pinned": False},
        {"processed_at": 10, "aik_name": name(4), "aik_pinned": False},
    ))  # fmt: skip
    summary = summary_of(store)
    one, other = summary.profiles
    assert (one.profile, one.counts, one.aiks) == (digest(1).hex(), Counts(affirming=2, contraindicated=1), 2)
    assert (one.first, one.last) == (Place("a.jsonl", 2, 400), Place("a.jsonl", 4, 600))
    assert (one.first_seen, one.last_seen) == (400, 600)
    assert (other.first, other.last) == (Place("a.jsonl", 3, None), Place("a.jsonl", 5, 450))
    assert (other.first_seen, other.last_seen, other.aiks) == (450, 450, 2)
    assert len(one.over_time) == len(summary.timeline)
    assert sum(one.over_time) == 3
    assert sum(other.over_time) == 1
    assert (summary.aiks, summary.aiks_pinned, summary.profiles_total) == (4, 1, 2)


def test_profiles_most_used_are_listed_and_the_first_few_over_time(store: Store) -> None:
    many = limits.PROFILES_LISTED + 10
    fill(store, facts_of(*(
        {"pcr_profile": digest(number), "processed_at": number} for number in range(many) for _ in range(number + 1)
    )), at_once=100)  # fmt: skip
    summary = summary_of(store)
    assert [one.counts.total for one in summary.profiles] == list(range(many, 10, -1))
    assert summary.profiles_total == many
    assert [bool(one.over_time) for one in summary.profiles] == (
        [True] * limits.PROFILES_OVER_TIME + [False] * (limits.PROFILES_LISTED - limits.PROFILES_OVER_TIME)
    )


def test_a_summary_is_plain_data_that_json_holds(store: Store) -> None:
    fill(store, facts_of({"pcr_profile": digest(1), "processed_at": 5}))
    summary = summary_of(store, skipped=["notes.txt"], skipped_total=7)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=type(summary)) == summary
    assert (summary.skipped, summary.skipped_total) == (["notes.txt"], 7)


def test_a_store_is_summarized_again_to_the_same_bytes(store: Store) -> None:
    fill(
        store, facts_of(*({"pcr_profile": digest(n % 3), "quote": digest(n % 5), "processed_at": n} for n in range(40)))
    )
    assert msgspec.json.encode(summary_of(store, max_gap=0)) == msgspec.json.encode(summary_of(store, max_gap=0))


@st.composite
def records(draw: st.DrawFn) -> list[Fact]:
    made = []
    for source in range(3):
        for line in range(1, draw(st.integers(0, 15)) + 1):
            aik = draw(st.one_of(st.none(), st.integers(0, 6)))
            profile = draw(st.one_of(st.none(), st.integers(0, 3)))
            made.append(
                NOTHING._replace(
                    source=source,
                    line=line,
                    verdict=draw(st.integers(0, len(VERDICTS) - 1)),
                    processed_at=draw(st.one_of(st.none(), st.integers(0, 200))),
                    security_tier=draw(st.sampled_from((None, "", "high", "maximum"))),
                    available=draw(st.sampled_from((True, False, None))),
                    aik_name=None if aik is None else name(aik),
                    aik_pinned=None if aik is None else aik < 3,
                    pcr_profile=None if profile is None else digest(profile),
                )
            )
    return made


NAMES = ("b", "c", "a")


@settings(max_examples=30)
@given(records(), st.integers(1, 50))
@pytest.mark.slow
def test_totals_are_those_of_a_model_whatever_the_chunks(facts: list[Fact], at_once: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s") as store:
        fill(store, facts, NAMES, at_once)
        summary = summary_of(store)
    assert summary.counts == counted(facts)
    assert summary.undated == sum(fact.processed_at is None for fact in facts)
    assert sum(bucket.unavailable for bucket in summary.timeline) == sum(
        fact.available is False for fact in facts if fact.processed_at is not None
    )
    assert dict(summary.tiers) == Counter(
        fact.security_tier for fact in facts if VERDICTS[fact.verdict] != "unreadable"
    )
    aiks = {fact.aik_name for fact in facts if fact.aik_name is not None}
    assert (summary.aiks, summary.aiks_pinned) == (len(aiks), len(aiks & {name(0), name(1), name(2)}))
    by_profile: dict[bytes, list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.pcr_profile is not None:
            by_profile[fact.pcr_profile].append(fact)
    assert [one.profile for one in summary.profiles] == [
        profile.hex() for profile, _ in sorted(by_profile.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    for one in summary.profiles:
        assert_profile(one, by_profile[bytes.fromhex(one.profile)])


def counted(facts: list[Fact]) -> Counts:
    by_verdict = Counter(VERDICTS[fact.verdict] for fact in facts)
    return Counts(**by_verdict)


def assert_profile(one: Any, facts: list[Fact]) -> None:
    places = sorted(
        (Place(NAMES[fact.source], fact.line, fact.processed_at) for fact in facts),
        key=lambda place: (place.processed_at is not None, place.processed_at or 0, place.source, place.line),
    )
    assert (one.first, one.last) == (places[0], places[-1])
    assert one.counts == counted(facts)
    assert one.aiks == len({fact.aik_name for fact in facts} - {None})
    times = [fact.processed_at for fact in facts if fact.processed_at is not None]
    assert (one.first_seen, one.last_seen) == ((min(times), max(times)) if times else (None, None))
    assert sum(one.over_time) == len(times)


GOOD = Counts(affirming=90, warning=10)
BAD = Counts(affirming=4, none=9)
RELEASED = Released(known=13, released=6, not_affirmed=2, gate_off=2, counts=Counts(none=2))


def status(counts: Counts, **given: Any) -> tuple[int, str]:
    return status_of(counts, **{"sources_unreadable": 0, "cross_record": 0, "evidence": True, **given})


def test_the_values_of_fail_on_and_its_default() -> None:
    assert FAIL_ON == ("warning", "contraindicated", "none", "unreadable", "cross-record", "released", "outside")
    assert sorted(FAIL_ON_DEFAULT) == ["contraindicated", "cross-record", "none", "unreadable"]


@pytest.mark.parametrize(
    ("counts", "given", "expected"),
    [
        (GOOD, {}, (0, "none of 100 records failed")),
        (GOOD, {"fail_on": {"warning"}}, (1, "10 records failed: 10 warning")),
        (Counts(affirming=1, none=1), {}, (1, "1 record failed: 1 none")),
        (
            Counts(affirming=1, contraindicated=2000, none=1, unreadable=3),
            {},
            (1, "2,004 records failed: 2,000 contraindicated, 1 none, 3 unreadable"),
        ),
        (Counts(affirming=1, none=1), {"fail_on": {"contraindicated"}}, (0, "none of 2 records failed")),
        (Counts(none=2), {"max_failures": 2}, (0, "2 records failed, no more than the 2 tolerated")),
        (Counts(none=2), {"max_failures": 1}, (1, "2 records failed, more than the 1 tolerated: 2 none")),
        (GOOD, {"cross_record": 1}, (1, "1 finding across records")),
        (GOOD, {"cross_record": 2, "max_failures": 100}, (1, "2 findings across records")),
        (GOOD, {"cross_record": 2, "fail_on": {"none"}}, (0, "none of 100 records failed")),
        (Counts(none=1), {"cross_record": 2}, (1, "1 record failed: 1 none; 2 findings across records")),
        (GOOD, {"sources_unreadable": 1}, (2, "1 source could not be read completely")),
        (GOOD, {"sources_unreadable": 2, "max_failures": 9}, (2, "2 sources could not be read completely")),
        (GOOD, {"sources_unreadable": 1, "fail_on": {"none"}}, (0, "none of 100 records failed")),
        (GOOD, {"outside_by_server": 3}, (0, "none of 100 records failed")),
        (
            GOOD,
            {"outside_by_server": 3, "fail_on": {"outside"}, "max_failures": 9},
            (1, "3 records outside the window by the server's own time"),
        ),
        (BAD, {"released": RELEASED, "fail_on": {"released"}}, (1, "2 records failed: 2 none though released")),
        (BAD, {"released": RELEASED, "fail_on": {"none", "released"}}, (1, "9 records failed: 9 none")),
        (BAD, {"released": RELEASED, "fail_on": {"cross-record"}}, (0, "none of 13 records failed")),
        (BAD, {"released": Released(known=3, released=1), "fail_on": {"released"}}, (0, "none of 13 records failed")),
        (
            GOOD,
            {"fail_on": {"released"}},
            (1, "no record states whether its completion was released; only lines of a ledger do"),
        ),
        (Counts(), {}, (1, "no record was appraised")),
        (Counts(), {"fail_on": {"cross-record"}}, (1, "no record was appraised")),
        (
            Counts(unreadable=3),
            {"fail_on": {"contraindicated"}, "sources_unreadable": 3},
            (1, "no record was appraised"),
        ),
        (Counts(unreadable=3), {"max_failures": 3}, (1, "no record was appraised")),
        (Counts(unreadable=3), {}, (1, "3 records failed: 3 unreadable")),
        (Counts(unreadable=3, none=1), {"fail_on": {"contraindicated"}}, (0, "none of 4 records failed")),
        (Counts(unreadable=3), {"fail_on": set(), "sources_unreadable": 3}, (1, "no record was appraised")),
        (
            Counts(none=5),
            {"fail_on": set(), "cross_record": 3, "sources_unreadable": 1},
            (0, "nothing counts as a failure"),
        ),
    ],
)
def test_the_status_and_its_reason(counts: Counts, given: dict[str, Any], expected: tuple[int, str]) -> None:
    assert status(counts, **given) == expected


@pytest.mark.parametrize("fail_on", [set(), {"contraindicated"}, {"warning"}, set(FAIL_ON) - {"none", "released"}])
@pytest.mark.parametrize("counts", [Counts(none=5), Counts(none=5, unreadable=1)])
def test_an_audit_in_which_no_record_has_evidence_fails_whatever_counts_as_a_failure(
    counts: Counts, fail_on: set[str]
) -> None:
    limits = {"fail_on": fail_on, "max_failures": 10}
    number, reason = status(counts, evidence=False, **limits)
    assert number == 1
    assert "no record has evidence" in reason
    assert status(counts, evidence=False, allow_no_evidence=True, **limits)[0] == 0
    assert status(counts, evidence=True, **limits)[0] == 0


@pytest.mark.parametrize("counts", [Counts(), Counts(unreadable=3)])
def test_an_audit_that_appraised_nothing_fails_even_if_nothing_counts_as_a_failure(counts: Counts) -> None:
    assert status(counts, evidence=False, fail_on=set()) == (1, "no record was appraised")
    assert status(counts, evidence=False, fail_on={"contraindicated"}) == (1, "no record was appraised")
    assert status(counts, evidence=False, fail_on={"contraindicated"}, allow_no_evidence=True)[0] == 1
    assert status(counts, evidence=False, fail_on=set(), allow_no_evidence=True)[0] == 1
