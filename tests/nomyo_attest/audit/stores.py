"""Fill stores with facts, in chunk results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import nomyo_attest as na
from nomyo_attest.audit.chunk import COUNTERS_PER_SOURCE, ChunkResult, Fact, SourceEnd, Tally
from nomyo_attest.audit.cross_record.model import CrossRecordFinding
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summarize import summarize
from nomyo_attest.audit.summary import Run, Summary

NOTHING: Final = Fact(
    source=0, line=1, payload_id=None, verdict=0, processed_at=None, recorded_at=None, security_tier=None,
    available=True, signature_valid=True, aik_name=None, aik_pinned=None, quote=None, clock=None, reset_count=None,
    restart_count=None, pcr_profile=None,
)  # fmt: skip
POLICY: Final = na.AppraisalPolicy(id="any", unsafe_accept_any_pcrs=True)


def name(number: int) -> bytes:
    """Return the Name of an AIK."""
    return b"\x00\x0b" + number.to_bytes(32, "big")


def digest(number: int) -> bytes:
    """Return the SHA-256 of a quote, or a profile."""
    return number.to_bytes(32, "big")


def facts_of(*records: Mapping[str, Any]) -> list[Fact]:
    """Return facts in the order of records, one per line; missing fields are those of `NOTHING`."""
    return [NOTHING._replace(**{"line": line, **record}) for line, record in enumerate(records, 1)]


def end(number: int, called: str, **fields: Any) -> SourceEnd:
    return SourceEnd(**{"source": number, "name": called, "kind": "jsonl", "size": 1, "sha256": "ab" * 32, **fields})


def result(facts: Iterable[Fact] = (), number: int = 0, **fields: Any) -> ChunkResult:
    """Return a chunk result with these facts and their counts."""
    facts = list(facts)
    counts: dict[int, list[int]] = {}
    for fact in facts:
        counts.setdefault(fact.source, [0] * COUNTERS_PER_SOURCE)[fact.verdict] += 1
    given: dict[str, Any] = {
        "rows": b"", "written": len(facts), "profiles": {}, "tallies": [], "counts": counts, "failures": [],
        "not_established": set(), "released": {}, "source_ends": (), "progress": 0,
    }  # fmt: skip
    return ChunkResult(number=number, facts=facts, **{**given, **fields})


def fill(store: Store, facts: Sequence[Fact], names: Sequence[str] = ("a.jsonl",), at_once: int = 7) -> None:
    """Add all facts in chunks, then the ends of all sources; create a checkpoint."""
    for number, begin in enumerate(range(0, len(facts), at_once)):
        some = facts[begin : begin + at_once]
        profiles = {fact.pcr_profile: '{"sha256":{"7":"00"}}' for fact in some if fact.pcr_profile is not None}
        store.add(result(some, number, profiles=profiles))
    store.add(result(number=len(facts), source_ends=tuple(end(number, one) for number, one in enumerate(names))))
    store.checkpoint()


def summary_of(store: Store, **arguments: Any) -> Summary:
    return summarize(store, policy=POLICY, run=Run(version="1", command=[]), **arguments)


def cross_record_findings(
    folder: Path, *records: Mapping[str, Any], names: Sequence[str] = ("a.jsonl",), **arguments: Any
) -> list[CrossRecordFinding]:
    """Return the cross-record findings for these records."""
    with Store.open(folder / "store.sqlite") as store:
        fill(store, facts_of(*records), names)
        return summary_of(store, **arguments).cross_record


def tally(source: int, rule: str, **fields: Any) -> Tally:
    given: dict[str, Any] = {"requirement": "required", "outcome": "fail", "records": 1, "lines": [1], "message": "no"}
    return Tally(source=source, rule=rule, **{**given, **fields})
