"""Read the groups of failing records from a store: the records of one cause, with the boots that signed their quotes.

A boot is inferred: records belong to one boot if their quotes have the same resetCount, if `processed_at` minus the
TPM's clock is constant to within seconds, and if one pinned AIK or only AIKs that are not pinned signed them. All boots
of a machine have the same difference unless it was without power, since a TPM's clock continues through a restart.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from nomyo_attest.audit.cause_counts import Position
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import BOOTS_LISTED, CAUSE_GROUPS_LISTED, Boot, CauseFinding, CauseGroup

BOOT_SECONDS: Final = 10
"""Maximum difference between consecutive records of a boot, when they are sorted by `processed_at` minus clock.

`processed_at` is in whole seconds, the quote is created shortly before or after it, and both clocks drift.
"""

VARIANTS_SEPARATE_MAX: Final = 5
"""Maximum number of groups that differ only in the values found. More of them are combined into one group."""

_SHAPES_QUERY: Final = """
SELECT shape, COUNT(DISTINCT cause), SUM(records) AS total FROM causes JOIN boots USING (cause)
GROUP BY shape ORDER BY total DESC, shape
"""
_CAUSES_QUERY: Final = """
SELECT cause, findings, SUM(records) AS total FROM causes JOIN boots USING (cause) WHERE shape = ?
GROUP BY cause ORDER BY total DESC, cause
"""
_EARLIEST_QUERY: Final = "SELECT findings FROM causes WHERE shape = ? ORDER BY undated, at, source, line LIMIT 1"
_BOOTS_QUERY: Final = """
SELECT aik, reset_count, clock_epoch, boots.undated, records, first_at, first_source, first_line, last_at, last_source,
    last_line
FROM boots JOIN causes USING (cause) WHERE {column} = ? ORDER BY aik, reset_count, clock_epoch, boots.undated, cause
"""
_MACHINES_QUERY: Final = """
SELECT COUNT(CASE WHEN before IS NULL OR clock_epoch - before > {seconds} THEN 1 END) FROM (
    SELECT clock_epoch, LAG(clock_epoch) OVER (ORDER BY clock_epoch) AS before
    FROM boots JOIN causes USING (cause) WHERE {column} = ? AND aik = x'' AND clock_epoch <> '')
"""


def cause_groups_of(store: Store) -> tuple[list[CauseGroup], int]:
    """Return the largest groups, and the total number of groups."""
    groups: list[CauseGroup] = []
    total = 0
    for shape, variants, _ in store.query(_SHAPES_QUERY):
        total += 1 if variants > VARIANTS_SEPARATE_MAX else variants
        if len(groups) >= CAUSE_GROUPS_LISTED:
            continue
        if variants > VARIANTS_SEPARATE_MAX:
            ((findings,),) = store.query(_EARLIEST_QUERY, (shape,))
            groups.append(_build_group(store, findings, variants, "shape", shape))
        else:
            for cause, findings, _ in store.query(_CAUSES_QUERY, (shape,)):
                groups.append(_build_group(store, findings, 1, "cause", cause))
    return sorted(groups, key=lambda group: -group.records)[:CAUSE_GROUPS_LISTED], total


class _BootRecords:
    """The records of one boot, or those whose boot is unknown, summed up from rows of the table `boots`."""

    def __init__(self, aik: bytes, reset_count: int | str, epoch: int | str) -> None:
        self.aik, self.reset_count, self.epoch, self.last_epoch = aik, reset_count, epoch, epoch
        self.records = 0
        self.first: Position | None = None
        self.last: Position | None = None

    @property
    def is_known(self) -> bool:
        return isinstance(self.epoch, int)

    def includes(self, aik: bytes, reset_count: int | str, epoch: int | str) -> bool:
        """Whether the next row belongs to this boot."""
        if (aik, reset_count) != (self.aik, self.reset_count):
            return False
        if isinstance(epoch, int) and isinstance(self.last_epoch, int):
            return epoch - self.last_epoch <= BOOT_SECONDS
        return epoch == self.last_epoch

    def add(self, epoch: int | str, records: int, first: Position, last: Position) -> None:
        self.last_epoch = epoch
        self.records += records
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def to_boot(self) -> Boot:
        assert isinstance(self.reset_count, int)
        assert isinstance(self.epoch, int)
        return Boot(
            aik=self.aik.hex(),
            reset_count=self.reset_count,
            clock_epoch=self.epoch,
            records=self.records,
            first=_to_place(self.first),
            last=_to_place(self.last),
        )


def _build_group(store: Store, findings: bytes, variants: int, column: str, digest: bytes) -> CauseGroup:
    """Return the group of the cause or the shape `digest`; `column` is ``"cause"`` or ``"shape"``."""
    ((machines,),) = store.query(_MACHINES_QUERY.format(column=column, seconds=BOOT_SECONDS), (digest,))
    rows = store.query(_BOOTS_QUERY.format(column=column), (digest,))
    whole_group = _BootRecords(b"", "", "")
    known = inferred = without_boot = 0
    aiks: set[bytes] = set()
    largest: list[tuple[int, int]] = []
    listed: dict[int, Boot] = {}
    for number, boot in enumerate(_merge_boots(rows)):
        assert boot.first is not None
        assert boot.last is not None
        whole_group.add("", boot.records, boot.first, boot.last)
        if boot.aik:
            aiks.add(boot.aik)
        if not boot.is_known:
            without_boot += boot.records
            continue
        known += 1
        inferred += not boot.aik
        listed[number] = boot.to_boot()
        heapq.heappush(largest, (boot.records, -number))  # among boots of the same size, the first of the query
        if len(largest) > BOOTS_LISTED:
            del listed[-heapq.heappop(largest)[1]]
    return CauseGroup(
        findings=msgspec.json.decode(findings, type=list[CauseFinding]),
        values=variants,
        records=whole_group.records,
        first=_to_place(whole_group.first),
        last=_to_place(whole_group.last),
        boots=[listed[-number] for _, number in sorted(largest, reverse=True)],
        boots_total=known,
        boots_inferred=inferred,
        machines_inferred=machines,
        pinned_aiks=len(aiks),
        without_boot=without_boot,
    )


def _merge_boots(rows: Iterable[tuple[Any, ...]]) -> Iterator[_BootRecords]:
    """Yield the boots; the rows must be sorted by AIK, resetCount and clock epoch."""
    boot: _BootRecords | None = None
    for aik, reset_count, epoch, undated, records, *positions in rows:
        if boot is None or not boot.includes(aik, reset_count, epoch):
            if boot is not None:
                yield boot
            boot = _BootRecords(aik, reset_count, epoch)
        boot.add(epoch, records, (undated, *positions[:3]), (undated, *positions[3:]))
    if boot is not None:
        yield boot


def _to_place(position: Position | None) -> Place:
    assert position is not None  # a group has at least one record
    undated, at, source, line = position
    return Place(source, line, None if undated else at)
