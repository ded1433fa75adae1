"""The cross-record rules against a model that has all records in memory and compares every pair."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nomyo_attest.audit.chunk import Fact
from nomyo_attest.audit.cross_record.stored import StoredRecords
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.totals import SourceOrder
from tests.nomyo_attest.audit.stores import NOTHING, digest, fill, name

NAMES = ("m/2.jsonl", "m/10.jsonl", "é.jsonl", "m/2.jsonl")

few = st.integers(0, 4)
times = st.one_of(st.none(), st.integers(-2, 8), st.sampled_from((-(2**53) + 1, 2**53 - 1)))


@st.composite
def facts(draw: st.DrawFn) -> list[Fact]:
    made = []
    for source in range(len(NAMES)):
        for line in range(1, draw(st.integers(0, 12)) + 1):
            key = draw(st.one_of(st.none(), few))
            attested = draw(st.booleans())
            made.append(
                NOTHING._replace(
                    source=source,
                    line=line,
                    payload_id=draw(st.one_of(st.none(), st.sampled_from(("a", "b", "", "é")))),
                    processed_at=draw(times),
                    signature_valid=draw(st.sampled_from((True, True, True, False, None))),
                    aik_name=None if key is None else name(key),
                    aik_pinned=None if key is None else key < 2,
                    quote=digest(draw(st.integers(0, 30))) if attested else None,
                    clock=draw(st.integers(0, 6)) if attested else None,
                    reset_count=draw(st.integers(0, 2)) if attested else None,
                    restart_count=draw(st.integers(0, 2)) if attested else None,
                )
            )
    return made


Place = tuple[str, int, int | None]
Found = tuple[str, str, int, list[Place], Place]


def place(fact: Fact) -> Place:
    return NAMES[fact.source], fact.line, fact.processed_at


def in_order(places: Iterable[Place]) -> list[Place]:
    return sorted(places, key=lambda one: (one[2] is not None, one[2] or 0, one[0].encode(), one[1]))


def grouped(rule: str, records: Iterable[Fact], key: Callable[[Fact], Any], least: int) -> list[Found]:
    groups: dict[Hashable, list[Place]] = defaultdict(list)
    for fact in records:
        if key(fact) is not None:
            groups[key(fact)].append(place(fact))
    found = []
    for value, places in groups.items():
        places = in_order(places)
        if len(places) >= least:
            text = value.hex() if isinstance(value, bytes) else str(value)
            found.append((rule, text, len(places), places[:5], places[-1]))
    return sorted(found, key=lambda one: one[1])


def goes_back(facts: list[Fact], fact: Fact, back: Callable[[Fact, Fact], bool]) -> bool:
    """Whether any vouched-for answer of an earlier second, of the same AIK, has more."""
    return vouched_for(fact) and any(
        vouched_for(before)
        and before.aik_name == fact.aik_name
        and before.processed_at < fact.processed_at  # type: ignore[operator]  # both have one: vouched_for
        and back(before, fact)
        for before in facts
    )


def vouched_for(fact: Fact) -> bool:
    return None not in (fact.processed_at, fact.aik_name, fact.clock) and fact.signature_valid is True


def clock_back(before: Any, fact: Any) -> bool:
    return bool(before.reset_count == fact.reset_count and before.clock > fact.clock)


def counter_back(before: Any, fact: Any) -> bool:
    return bool(
        before.reset_count > fact.reset_count
        or (before.reset_count == fact.reset_count and before.restart_count > fact.restart_count)
    )


def model(facts: list[Fact], max_gap: int) -> list[Found]:
    backward = [one for one in facts if goes_back(facts, one, clock_back)]
    uncounted = [one for one in facts if goes_back(facts, one, counter_back)]
    found = [
        *grouped("duplicate.quote", facts, lambda one: one.quote, 2),
        *grouped("duplicate.payload_id", facts, lambda one: one.payload_id, 2),
        *grouped("reused.aik", (one for one in facts if one.aik_pinned is False), lambda one: one.aik_name, 2),
        *grouped("rollback.clock", backward, lambda one: one.aik_name, 1),
        *grouped("rollback.counters", uncounted, lambda one: one.aik_name, 1),
    ]
    dated = in_order(place(one) for one in facts if one.processed_at is not None)
    for one, other in pairwise(dated):
        assert one[2] is not None
        assert other[2] is not None
        if other[2] - one[2] > max_gap:
            found.append(("gap.records", "", 2, [one, other], other))
    return found


def found_by(store: Store, max_gap: int) -> list[Found]:
    made = []
    for one in StoredRecords(store, SourceOrder(store)).findings(max_gap):
        places = [(each.source, each.line, each.processed_at) for each in one.places]
        last = (one.last.source, one.last.line, one.last.processed_at)
        made.append((one.rule, "" if one.rule == "gap.records" else one.key, one.records, places, last))
    return made


@settings(max_examples=40)
@given(facts(), st.integers(0, 5), st.integers(1, 20))
def test_every_finding_of_the_model_is_found_and_no_other(records: list[Fact], max_gap: int, at_once: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s") as store:
        fill(store, records, NAMES, at_once)
        got = found_by(store, max_gap)
    expected = model(records, max_gap)
    rules = list(dict.fromkeys(one[0] for one in expected))
    assert list(dict.fromkeys(one[0] for one in got)) == rules
    for rule in rules:
        mine = [one for one in got if one[0] == rule]
        assert [one[3][0] for one in mine] == in_order(one[3][0] for one in mine), "findings are in order"
        assert sorted(mine, key=_by_key) == sorted((one for one in expected if one[0] == rule), key=_by_key)


@settings(max_examples=15)
@given(facts())
def test_a_query_over_the_shared_records_only_finds_the_same(records: list[Fact]) -> None:
    alone = [
        NOTHING._replace(
            source=3,
            line=100 + one,
            quote=digest(1000 + one),
            aik_name=name(1000 + one),
            aik_pinned=False,
            payload_id=f"alone {one}",
        )
        for one in range(9 * len(records))
    ]
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s") as store:
        fill(store, [*records, *alone], NAMES, 100)
        stored = StoredRecords(store, SourceOrder(store))
        assert not records or stored.lookup_is_faster("quote")
        got = found_by(store, 2**60)
    assert sorted(got, key=_by_key) == sorted(model(records, 2**60), key=_by_key)


def _by_key(found: Found) -> tuple[Any, ...]:
    rule, key, _, places, _ = found
    return rule, key, [(at is not None, at or 0, source, line) for source, line, at in places]
