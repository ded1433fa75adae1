from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import BUCKETS_MAXIMUM, GAPS_LISTED, Gap
from nomyo_attest.audit.timeline import BUCKET_LENGTHS, SPAN_MARGIN_MIN, Timeline, bucket_length, timeline_of
from tests.nomyo_attest.audit.stores import facts_of, fill

DAY = 86400
NOON = 1_750_000_000 // DAY * DAY + DAY // 2
YEAR_9999 = 253_402_300_799


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s") as store:
        yield store


def timeline(store: Store, times: Sequence[int | None]) -> Timeline:
    fill(store, facts_of(*({"processed_at": at} for at in times)), at_once=200)
    return timeline_of(store)


def test_no_record_with_a_time_gives_no_timeline(store: Store) -> None:
    made = timeline(store, [None, None])
    assert (made.buckets, made.undated, made.time_outliers, made.gaps, made.unavailable) == ([], 2, 0, [], [])


def test_a_single_record_is_one_bucket_of_a_second(store: Store) -> None:
    made = timeline(store, [NOON])
    assert [(bucket.at, bucket.counts.total) for bucket in made.buckets] == [(NOON, 1)]
    assert made.seconds == 1


def test_every_bucket_from_the_first_to_the_last_is_there_also_an_empty_one(store: Store) -> None:
    made = timeline(store, [NOON, NOON + 1, NOON + 4, None])
    assert [bucket.counts.total for bucket in made.buckets] == [1, 1, 0, 0, 1]
    assert [bucket.at for bucket in made.buckets] == list(range(NOON, NOON + 5))
    assert made.undated == 1


def test_buckets_begin_at_multiples_of_their_length(store: Store) -> None:
    made = timeline(store, [NOON + 13, NOON + 13 + 90 * 60])
    assert made.seconds == 60
    assert [bucket.at % 60 for bucket in made.buckets] == [0] * 91


def test_buckets_count_verdicts_and_records_without_evidence(store: Store) -> None:
    fill(store, facts_of(
        {"processed_at": NOON, "verdict": 3, "available": False}, {"processed_at": NOON, "verdict": 2},
        {"processed_at": NOON, "verdict": 2, "available": None}, {"processed_at": NOON + 1, "verdict": 4},
    ))  # fmt: skip
    first, second = timeline_of(store).buckets
    assert (first.counts.none, first.counts.contraindicated, first.unavailable) == (1, 2, 1)
    assert (second.counts.unreadable, second.unavailable) == (1, 0)


@pytest.mark.parametrize("wrong", [YEAR_9999, -YEAR_9999, 2**53 - 1, 0])
def test_a_few_wrong_times_do_not_press_all_others_together(store: Store, wrong: int) -> None:
    made = timeline(store, [wrong, wrong, wrong, *range(NOON, NOON + 3000, 3)])
    assert made.seconds == 30
    assert made.time_outliers == 3
    assert sum(bucket.counts.total for bucket in made.buckets) == 1000
    assert made.gaps[0] == Gap(begins=NOON, ends=NOON + 3, records=0)


def test_half_of_all_times_being_wrong_still_gives_few_buckets(store: Store) -> None:
    made = timeline(store, [-(2**53) + 1, 2**53 - 1] * 20 + [NOON])
    assert len(made.buckets) <= BUCKETS_MAXIMUM
    assert made.time_outliers == 0


def test_a_month_without_records_is_shown_and_not_cut_off(store: Store) -> None:
    made = timeline(store, [NOON + 10 - SPAN_MARGIN_MIN, *range(NOON, NOON + 100)])
    assert made.time_outliers == 0
    assert made.buckets[0].counts.total == 1
    assert made.gaps == [Gap(begins=NOON + 10 - SPAN_MARGIN_MIN, ends=NOON, records=0)]


def test_the_longest_gaps_are_listed_longest_first(store: Store) -> None:
    times = [NOON + number * (number + 1) // 2 for number in range(30)]
    made = timeline(store, times)
    assert [gap.ends - gap.begins for gap in made.gaps] == list(range(29, 29 - GAPS_LISTED, -1))


@pytest.mark.parametrize(
    ("times", "usual"), [([], 0), ([0], 0), ([0, 0, 7], 7), ([0, 1, 5], 1), ([0, 2, 5, 100], 3), ([3, 0, 1, 90, 92], 2)]
)
def test_the_usual_interval_is_the_median_between_different_times(store: Store, times: list[int], usual: int) -> None:
    assert timeline(store, [NOON + at for at in times]).usual_interval == usual


def test_seconds_that_follow_each_other_have_no_gap(store: Store) -> None:
    assert timeline(store, [NOON, NOON, NOON + 1]).gaps == []


def test_the_longest_times_without_evidence_end_where_any_record_has_some(store: Store) -> None:
    def absent(at: int, available: bool | None = False) -> dict[str, object]:
        return {"processed_at": NOON + at, "available": available}

    fill(store, facts_of(
        absent(0), absent(5), absent(9), absent(9), absent(10, True),
        absent(11), absent(11, None), absent(12), absent(100), absent(101), absent(101, True),
    ))  # fmt: skip
    assert timeline_of(store).unavailable == [
        Gap(begins=NOON + 12, ends=NOON + 100, records=2),
        Gap(begins=NOON, ends=NOON + 9, records=4),
    ]


@given(st.integers(-(2**53), 2**53), st.integers(0, 2**54))
def test_the_length_of_a_bucket_is_the_shortest_that_does(first: int, span: int) -> None:
    ladder = [*BUCKET_LENGTHS, *(BUCKET_LENGTHS[-1] << doubled for doubled in range(1, 40))]
    seconds = bucket_length(first, first + span)
    fits = [one for one in ladder if (first + span) // one - first // one + 1 <= BUCKETS_MAXIMUM]
    assert seconds == fits[0]


TIMES = st.one_of(st.none(), st.integers(NOON, NOON + 300), st.integers(-(2**53) + 1, 2**53 - 1))


@settings(max_examples=25)
@given(st.lists(TIMES, max_size=60))
def test_every_record_is_in_a_bucket_or_undated_or_beyond(times: list[int | None]) -> None:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s") as store:
        made = timeline(store, times)
    dated = [at for at in times if at is not None]
    assert made.undated == len(times) - len(dated)
    shown = [at for at in dated if made.first <= at <= made.last]
    assert made.time_outliers == len(dated) - len(shown)
    assert made.time_outliers <= 2 * (len(dated) // 10)
    assert len(made.buckets) <= BUCKETS_MAXIMUM
    for bucket in made.buckets:
        assert bucket.counts.total == sum(bucket.at <= at < bucket.at + made.seconds for at in shown)
    assert sum(bucket.counts.total for bucket in made.buckets) == len(shown)
