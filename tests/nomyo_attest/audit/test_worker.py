from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import nomyo_attest as na
from nomyo_attest.audit.chunk import LINES_LISTED, Chunk, RawRecord, SourceEnd
from nomyo_attest.audit.summary import FAILURES_LISTED
from nomyo_attest.audit.worker import Worker, WorkOrder
from nomyo_attest.testing import Forge

END = SourceEnd(source=3, name="a.jsonl", kind="jsonl", size=9, sha256="00" * 32)


class Some(Chunk):
    def __init__(self, texts: Sequence[bytes | None]) -> None:
        self.number, self.progress = 5, 1234
        self._texts = texts

    def records(self) -> Iterator[RawRecord]:
        for line, text in enumerate(self._texts, 1):
            yield RawRecord(3, "a.jsonl", line, text, "" if text is not None else "the archive is cut off")

    def source_ends(self) -> tuple[SourceEnd, ...]:
        return (END,)


def forge(**fields: Any) -> Forge:
    return Forge(key="p256", **fields)


POLICY = na.AppraisalPolicy.from_dict(forge().policy())
GOOD = forge().text().encode()
BAD = forge(nonce=b"another").text().encode()
ABSENT = b'{"_metadata": {"payload_id": "x", "processed_at": 5}}'


def work(texts: Sequence[bytes | None], **order: Any) -> Any:
    return Worker(WorkOrder(policy=POLICY, **order)).appraise(Some(texts))


def test_every_record_is_counted_once_under_its_verdict() -> None:
    result = work([GOOD, BAD, ABSENT, None, b"{", GOOD])
    assert result.counts == {3: [2, 0, 2, 1, 1, 0, 0]}
    assert [json.loads(row)["verdict"] for row in result.rows.splitlines()] == [
        "affirming", "contraindicated", "none", "unreadable", "contraindicated", "affirming",
    ]  # fmt: skip
    assert [json.loads(row)["line"] for row in result.rows.splitlines()] == [1, 2, 3, 4, 5, 6]
    assert (result.number, result.progress, result.written, result.source_ends) == (5, 1234, 6, (END,))
    assert [fact.line for fact in result.facts] == [1, 2, 3, 4, 5, 6]


def test_a_record_that_is_not_selected_is_counted_and_not_written() -> None:
    result = work([GOOD, BAD, None], select=frozenset({"unreadable"}))
    assert [json.loads(row)["verdict"] for row in result.rows.splitlines()] == ["unreadable"]
    assert result.written == 1
    assert result.counts == {3: [1, 0, 1, 0, 1, 0, 0]}
    assert len(result.facts) == 3
    assert len(result.failures) == 2


def test_a_record_outside_the_window_is_only_counted() -> None:
    result = work([GOOD, BAD, ABSENT], until=10)
    assert result.counts == {3: [0, 0, 0, 1, 0, 0, 2]}
    assert len(result.facts) == 1


def test_a_tally_counts_all_and_names_the_first_lines() -> None:
    result = work([BAD] * (LINES_LISTED + 5) + [ABSENT])
    tallies = {(tally.rule, tally.outcome): tally for tally in result.tallies}
    nonce = tallies["nonce.match", "fail"]
    assert (nonce.records, nonce.lines, nonce.requirement) == (
        LINES_LISTED + 5,
        list(range(1, LINES_LISTED + 1)),
        "required",
    )
    following = tallies["nonce.match", "consequence"]
    assert (following.records, following.lines) == (1, [LINES_LISTED + 6])
    assert tallies["evidence.available", "undecided"].lines == [LINES_LISTED + 6]


def test_failures_are_listed_up_to_a_limit() -> None:
    result = work([b"{"] * (FAILURES_LISTED + 5))
    assert len(result.failures) == FAILURES_LISTED
    assert result.written == FAILURES_LISTED + 5


def test_a_profile_occurs_once_with_its_values() -> None:
    result = work([GOOD, BAD])
    assert len(result.profiles) == 1
    ((profile, text),) = result.profiles.items()
    assert {fact.pcr_profile for fact in result.facts} == {profile}
    assert json.loads(text) == json.loads(GOOD)["_metadata"]["tpm_attestation"]["pcr_values"]


def test_an_order_and_a_result_travel_between_processes() -> None:
    order = pickle.loads(pickle.dumps(WorkOrder(policy=POLICY, since=5)))
    assert order.policy.digest == POLICY.digest
    result = work([GOOD, BAD])
    again = pickle.loads(pickle.dumps(result))
    assert (again.rows, again.facts, again.tallies) == (result.rows, result.facts, result.tallies)


def test_sentences_on_what_verdicts_do_not_establish_are_collected() -> None:
    result = work([GOOD, ABSENT])
    assert any("has no certificate" in sentence for sentence in result.not_established)
