"""Count, place, lines and sentence of a rule come from the same records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import nomyo_attest as na
from nomyo_attest.audit.chunk import Chunk, RawRecord, SourceEnd, Tally
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.totals import places_of, rules_of
from nomyo_attest.audit.worker import Worker, WorkOrder
from nomyo_attest.testing import Forge

POLICY = na.AppraisalPolicy.from_dict(Forge(key="p256").policy())
BAD = Forge(key="p256", nonce=b"another").text().encode()
ABSENT = b'{"_metadata": {"payload_id": "x", "processed_at": 5}}'
CUT_OFF = b"{"
"""`nonce.match` fails for `BAD`; for the other two it is undecided as a consequence of another rule."""


class Part(Chunk):
    def __init__(self, number: int, source: int, texts: Sequence[bytes], first: int = 1) -> None:
        self.number, self.progress, self.source = number, 0, source
        self._texts, self._first = texts, first

    def records(self) -> Iterator[RawRecord]:
        for line, text in enumerate(self._texts, self._first):
            yield RawRecord(self.source, f"{self.source}.jsonl", line, text)

    def source_ends(self) -> tuple[SourceEnd, ...]:
        return (SourceEnd(source=self.source, name=f"{self.source}.jsonl", kind="jsonl", size=1, sha256="00" * 32),)


def tallies_of(part: Part) -> dict[tuple[str, str], Tally]:
    tallies = Worker(WorkOrder(policy=POLICY)).appraise(part).tallies
    return {(one.rule, one.outcome): one for one in tallies}


def test_failures_and_consequences_of_a_rule_are_counted_apart_in_a_chunk() -> None:
    tallies = tallies_of(Part(0, 0, [ABSENT, CUT_OFF, BAD, ABSENT, BAD]))
    failing, following = tallies["nonce.match", "fail"], tallies["nonce.match", "consequence"]
    assert (failing.records, failing.lines) == (2, [3, 5])
    assert failing.message == tallies_of(Part(0, 0, [BAD]))["nonce.match", "fail"].message
    assert (following.records, following.lines) == (3, [1, 2, 4])
    assert ("nonce.match", "undecided") not in tallies


def test_a_record_that_is_undecided_because_it_is_malformed_is_not_named_for_one_without_evidence() -> None:
    tallies = tallies_of(Part(0, 0, [CUT_OFF, BAD, ABSENT]))
    absent = tallies["evidence.available", "undecided"]
    assert (absent.records, absent.lines) == (1, [3])
    assert absent.message == tallies_of(Part(0, 0, [ABSENT]))["evidence.available", "undecided"].message
    assert tallies["evidence.available", "consequence"].lines == [1]
    assert tallies["evidence.form", "fail"].lines == [1]


def test_counts_lines_and_messages_are_of_the_same_records_across_chunks_and_sources(tmp_path: Path) -> None:
    worker = Worker(WorkOrder(policy=POLICY))
    parts = [
        Part(0, 0, [CUT_OFF, ABSENT]),
        Part(1, 1, [CUT_OFF]),
        Part(2, 1, [CUT_OFF, BAD], first=2),
        Part(3, 1, [ABSENT, BAD], first=4),
    ]
    with Store.open(tmp_path / "store") as store:
        for part in parts:
            store.add(worker.appraise(part))
        rules = {(one.rule, one.outcome): one for one in rules_of(store)}
        places = {(one.source, one.rule, one.outcome): one for one in places_of(store)}
    failing = rules["nonce.match", "fail"]
    assert (failing.records, failing.first.source, failing.first.line) == (2, "1.jsonl", 3)
    assert failing.message == tallies_of(Part(0, 0, [BAD]))["nonce.match", "fail"].message
    assert rules["nonce.match", "consequence"].records == 5
    absent = rules["evidence.available", "undecided"]
    assert (absent.records, absent.first.source, absent.first.line) == (2, "0.jsonl", 2)
    assert absent.message == tallies_of(Part(0, 0, [ABSENT]))["evidence.available", "undecided"].message
    assert places["0.jsonl", "evidence.available", "undecided"].lines == [2]
    assert places["1.jsonl", "evidence.available", "undecided"].lines == [4]
    assert places["1.jsonl", "nonce.match", "fail"].lines == [3, 5]
    assert not any(outcome == "consequence" for _, _, outcome in places)
