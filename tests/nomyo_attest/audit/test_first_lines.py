"""The lines named of a rule are those that it fails for, not those of which it could only not be told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import nomyo_attest as na
from nomyo_attest.audit.chunk import Chunk, RawRecord, SourceEnd, Tally
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.tallied import places_of, rules_of
from nomyo_attest.audit.worker import Worker, WorkOrder
from nomyo_attest.testing import Forge

POLICY = na.AppraisalPolicy.from_dict(Forge(key="p256").policy())
BAD = Forge(key="p256", nonce=b"another").text().encode()
ABSENT = b'{"_metadata": {"payload_id": "x", "processed_at": 5}}'
CUT_OFF = b"{"
"""`nonce.match` fails for the first, and cannot be told of the others."""


class Part(Chunk):
    def __init__(self, number: int, source: int, texts: Sequence[bytes], first: int = 1) -> None:
        self.number, self.progress, self.source = number, 0, source
        self._texts, self._first = texts, first

    def records(self) -> Iterator[RawRecord]:
        for line, text in enumerate(self._texts, self._first):
            yield RawRecord(self.source, f"{self.source}.jsonl", line, text)

    def ends(self) -> tuple[SourceEnd, ...]:
        return (SourceEnd(source=self.source, name=f"{self.source}.jsonl", kind="jsonl", size=1, sha256="00" * 32),)


def nonce_of(part: Part) -> Tally:
    (tally,) = (one for one in Worker(WorkOrder(policy=POLICY)).work(part).tallies if one.rule == "nonce.match")
    return tally


def test_in_a_chunk() -> None:
    tally = nonce_of(Part(0, 0, [ABSENT, CUT_OFF, BAD, ABSENT, BAD]))
    assert (tally.failed, tally.undecided, tally.lines) == (2, 3, [3, 5])
    assert tally.message == nonce_of(Part(0, 0, [BAD])).message
    assert nonce_of(Part(0, 0, [ABSENT, CUT_OFF])).lines == [1, 2]


def test_across_chunks_and_sources(tmp_path: Path) -> None:
    worker = Worker(WorkOrder(policy=POLICY))
    parts = [
        Part(0, 0, [ABSENT, ABSENT]),
        Part(1, 1, [ABSENT]),
        Part(2, 1, [ABSENT, BAD], first=2),
        Part(3, 1, [ABSENT, BAD], first=4),
    ]
    with Store.open(tmp_path / "store") as store:
        for part in parts:
            store.add(worker.work(part))
        (rule,) = (one for one in rules_of(store) if one.rule == "nonce.match")
        assert (rule.failed, rule.undecided) == (2, 5)
        assert (rule.first.source, rule.first.line) == ("1.jsonl", 3)
        found = [(one.source, one.lines, one.message) for one in places_of(store) if one.rule == "nonce.match"]
    failing = nonce_of(Part(0, 0, [BAD])).message
    undecided = nonce_of(Part(0, 0, [ABSENT])).message
    assert found == [("0.jsonl", [1, 2], undecided), ("1.jsonl", [3, 5], failing)]
