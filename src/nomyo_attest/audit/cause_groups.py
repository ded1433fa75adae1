"""Read the groups of failing records from a store: the records of one cause, with the boots that signed their quotes.

A boot is inferred. The records of an AIK that the policy pins, or of any AIKs that it does not pin, belong to one boot
if their quotes have the same resetCount and if `processed_at` minus the TPM's clock is constant within seconds. Boots
of one machine have the same difference, unless it was without power: a TPM's clock continues through a restart.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import (
    BOOTS_LISTED,
    CAUSE_GROUPS_LISTED,
    Boot,
    CauseFinding,
    CauseGroup,
    Place,
)

BOOT_SECONDS: Final = 10
"""Maximum difference of `processed_at` minus clock between a record of a boot and the next one, in that order.

`processed_at` is in whole seconds, the quote is made some time before or after it, and both clocks drift.
"""

VALUES_APART: Final = 5
"""Maximum groups that differ only in the values found; if there are more, they are one group."""

_SHAPES: Final = """
SELECT shape, COUNT(DISTINCT cause), SUM(records) AS total FROM causes JOIN boots USING (cause)
GROUP BY shape ORDER BY total DESC, shape
"""
_CAUSES: Final = """
SELECT cause, findings, SUM(records) AS total FROM causes JOIN boots USING (cause) WHERE shape = ?
GROUP BY cause ORDER BY total DESC, cause
"""
_EARLIEST: Final = "SELECT findings FROM causes WHERE shape = ? ORDER BY undated, at, source, line LIMIT 1"
_BOOTS: Final = """
SELECT aik, reset_count, clock_epoch, boots.undated, records, first_at, first_source, first_line, last_at, last_source,
    last_line
FROM boots JOIN causes USING (cause) WHERE {column} = ? ORDER BY aik, reset_count, clock_epoch, boots.undated, cause
"""
_CLOCKS: Final = """
SELECT COUNT(CASE WHEN before IS NULL OR clock_epoch - before > {seconds} THEN 1 END) FROM (
    SELECT clock_epoch, LAG(clock_epoch) OVER (ORDER BY clock_epoch) AS before
    FROM boots JOIN causes USING (cause) WHERE {column} = ? AND aik = x'' AND clock_epoch <> '')
"""

_Position = tuple[int, int, str, int]


def cause_groups_of(store: Store) -> tuple[list[CauseGroup], int]:
    """Return the largest groups, and the total number of groups."""
    found: list[CauseGroup] = []
    total = 0
    for shape, values, _ in store.query(_SHAPES):
        total += 1 if values > VALUES_APART else values
        if len(found) >= CAUSE_GROUPS_LISTED:
            continue
        if values > VALUES_APART:
            ((findings,),) = store.query(_EARLIEST, (shape,))
            found.append(_group(store, findings, values, "shape", shape))
        else:
            for cause, findings, _ in store.query(_CAUSES, (shape,)):
                found.append(_group(store, findings, 1, "cause", cause))
    return sorted(found, key=lambda group: -group.records)[:CAUSE_GROUPS_LISTED], total


class _Boot:
    """The rows of the table `boots` that are one boot, or that have no known boot."""

    def __init__(self, aik: bytes, reset_count: int | str, epoch: int | str) -> None:
        self.aik, self.reset_count, self.epoch, self.last_epoch = aik, reset_count, epoch, epoch
        self.records = 0
        self.first: _Position | None = None
        self.last: _Position | None = None

    @property
    def is_known(self) -> bool:
        return isinstance(self.epoch, int)

    def continues_with(self, aik: bytes, reset_count: int | str, epoch: int | str) -> bool:
        """Whether the next row belongs to this boot."""
        if (aik, reset_count) != (self.aik, self.reset_count):
            return False
        if isinstance(epoch, int) and isinstance(self.last_epoch, int):
            return epoch - self.last_epoch <= BOOT_SECONDS
        return epoch == self.last_epoch

    def add(self, epoch: int | str, records: int, first: _Position, last: _Position) -> None:
        self.last_epoch = epoch
        self.records += records
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def listed(self) -> Boot:
        assert isinstance(self.reset_count, int)
        assert isinstance(self.epoch, int)
        return Boot(
            aik=self.aik.hex(),
            reset_count=self.reset_count,
            clock_epoch=self.epoch,
            records=self.records,
            first=_place(self.first),
            last=_place(self.last),
        )


def _group(store: Store, findings: bytes, values: int, column: str, digest: bytes) -> CauseGroup:
    """Return the group of one cause or of one shape, as `column` says."""
    ((machines,),) = store.query(_CLOCKS.format(column=column, seconds=BOOT_SECONDS), (digest,))
    rows = store.query(_BOOTS.format(column=column), (digest,))
    whole = _Boot(b"", "", "")
    known = inferred = unknown = 0
    aiks: set[bytes] = set()
    most: list[tuple[int, int]] = []
    listed: dict[int, Boot] = {}
    for number, boot in enumerate(_boots(rows)):
        assert boot.first is not None
        assert boot.last is not None
        whole.add("", boot.records, boot.first, boot.last)
        if boot.aik:
            aiks.add(boot.aik)
        if not boot.is_known:
            unknown += boot.records
            continue
        known += 1
        inferred += not boot.aik
        listed[number] = boot.listed()
        heapq.heappush(most, (boot.records, -number))  # of as many records, the first in the order of the query
        if len(most) > BOOTS_LISTED:
            del listed[-heapq.heappop(most)[1]]
    return CauseGroup(
        findings=msgspec.json.decode(findings, type=list[CauseFinding]),
        values=values,
        records=whole.records,
        first=_place(whole.first),
        last=_place(whole.last),
        boots=[listed[-number] for _, number in sorted(most, reverse=True)],
        boots_total=known,
        boots_inferred=inferred,
        machines_inferred=machines,
        pinned_aiks=len(aiks),
        without_boot=unknown,
    )


def _boots(rows: Iterable[tuple[Any, ...]]) -> Iterator[_Boot]:
    """Yield the boots, from the rows ordered by AIK, resetCount and clock."""
    boot: _Boot | None = None
    for aik, reset_count, epoch, undated, records, *places in rows:
        if boot is None or not boot.continues_with(aik, reset_count, epoch):
            if boot is not None:
                yield boot
            boot = _Boot(aik, reset_count, epoch)
        boot.add(epoch, records, (undated, *places[:3]), (undated, *places[3:]))
    if boot is not None:
        yield boot


def _place(position: _Position | None) -> Place:
    assert position is not None  # a group has records
    undated, at, source, line = position
    return Place(source, line, None if undated else at)
