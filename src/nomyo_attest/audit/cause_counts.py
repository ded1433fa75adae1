"""Count failing records by cause and by boot: in a worker for one chunk, and in the store for all of them.

A cause is the set of rules that do not hold for a record, and the values found. The counts do not depend on the order
of the sources or on the number of workers. A record for which every rule holds costs nothing here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from nomyo_attest.audit.row import Row, RowFinding, bounded
from nomyo_attest.audit.summary import CauseFinding

MESSAGE_MAXIMUM: Final = 500
"""Maximum characters of a message in a sample."""

_PER_RECORD: Final = frozenset(
    {
        *("evidence.available", "evidence.form", "attest.form", "signature.form", "key.form", "key.template"),
        *("signer.name", "signature.valid", "nonce.match", "pcr.digest", "policy.period"),
    }
)
"""Rules whose values differ from record to record, so that they do not tell causes apart."""

_Position = tuple[int, int, str, int]
"""Where a record is in time: whether it has no time, its time, its source, its line."""


class CauseSample(NamedTuple):
    """One cause, with the findings of its earliest record.

    Attributes:
        cause: 16 bytes that stand for the rules and what differs.
        shape: 16 bytes that stand for the rules and the PCRs that differ, whatever their values.
        position: where the record is.
        findings: its findings, as JSON.
    """

    cause: bytes
    shape: bytes
    position: _Position
    findings: bytes


class BootKey(NamedTuple):
    """The records of one cause that share a boot; values that are unknown are empty.

    Attributes:
        cause: as in `CauseSample`.
        aik: the AIK's Name, if the policy pins it.
        reset_count: of the quote.
        clock_epoch: `processed_at` minus the TPM's clock, in whole seconds.
        undated: 1 for records without a time.
    """

    cause: bytes
    aik: bytes
    reset_count: int | str
    clock_epoch: int | str
    undated: int


class BootCount(msgspec.Struct):
    """How many records, and the first and the last of them."""

    records: int
    first: _Position
    last: _Position


class CauseCounts:
    """Add up the failing records of one chunk.

    Attributes:
        samples: a sample for each cause.
        boots: the records of each cause and boot.
    """

    def __init__(self) -> None:
        self.samples: dict[bytes, CauseSample] = {}
        self.boots: dict[BootKey, BootCount] = {}

    def add(self, row: Row, following: Collection[str]) -> None:
        """Add a record with findings; the rules `following` are undecided because of others."""
        found = [
            finding for finding in row.findings if finding.requirement != "ignore" and finding.rule not in following
        ]
        if not found:
            return
        at = row.processed_at
        position = (int(at is None), at or 0, row.source, row.line)
        cause = _digest([_difference(finding) for finding in found])
        known = self.samples.get(cause)
        if known is None or position < known.position:
            shape = known.shape if known else _digest([_shape(finding) for finding in found])
            self.samples[cause] = CauseSample(cause, shape, position, _encoded(found))
        key = _boot_key(cause, row)
        boot = self.boots.get(key)
        if boot is None:
            self.boots[key] = BootCount(1, position, position)
            return
        boot.records += 1
        boot.first, boot.last = min(boot.first, position), max(boot.last, position)


def _digest(value: Any) -> bytes:
    return hashlib.sha256(msgspec.json.encode(value)).digest()[:16]


def _difference(finding: RowFinding) -> list[Any]:
    got = finding.got
    if finding.rule in _PER_RECORD:
        got = None
    elif isinstance(got, dict):
        got = sorted(got.items())
    return [finding.rule, finding.requirement, finding.outcome, got]


def _shape(finding: RowFinding) -> list[Any]:
    places = sorted(finding.got) if isinstance(finding.got, dict) else None
    return [finding.rule, finding.requirement, finding.outcome, places]


def _encoded(found: list[RowFinding]) -> bytes:
    return msgspec.json.encode(
        [
            CauseFinding(
                rule=finding.rule,
                requirement=finding.requirement,
                outcome=finding.outcome,
                expected=bounded(finding.expected),
                got=bounded(finding.got),
                message=finding.message[:MESSAGE_MAXIMUM],
            )
            for finding in found
        ]
    )


def _boot_key(cause: bytes, row: Row) -> BootKey:
    """Return the boot of a record; unknown without a signature that verifies, since anybody can write such a clock."""
    undated = int(row.processed_at is None)
    if not row.signature_valid or row.aik_name is None or row.reset_count is None:
        return BootKey(cause, b"", "", "", undated)
    aik = bytes.fromhex(row.aik_name) if row.aik_pinned else b""
    epoch: int | str = ""
    if row.processed_at is not None and row.clock is not None:
        epoch = row.processed_at - row.clock // 1000
    return BootKey(cause, aik, row.reset_count, epoch, undated)


# ---- in the store

CAUSE_TABLES: Final = (
    """CREATE TABLE causes (
        cause BLOB PRIMARY KEY, shape BLOB, undated INTEGER, at INTEGER, source TEXT, line INTEGER, findings BLOB
        ) WITHOUT ROWID""",
    # `reset_count` and `clock_epoch` are empty if they are unknown.
    """CREATE TABLE boots (
        cause BLOB, aik BLOB, reset_count INTEGER, clock_epoch INTEGER, undated INTEGER, records INTEGER,
        first_at INTEGER, first_source TEXT, first_line INTEGER, last_at INTEGER, last_source TEXT, last_line INTEGER,
        PRIMARY KEY (cause, aik, reset_count, clock_epoch, undated)) WITHOUT ROWID""",
)

UPSERT_CAUSE: Final = """
INSERT INTO causes VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (cause) DO UPDATE SET undated = excluded.undated, at = excluded.at, source = excluded.source,
    line = excluded.line, findings = excluded.findings
WHERE (excluded.undated, excluded.at, excluded.source, excluded.line) < (undated, at, source, line)"""


def _extreme(side: str, comparison: str) -> str:
    names = [f"{side}_{part}" for part in ("at", "source", "line")]
    new = ", ".join(f"excluded.{name}" for name in names)
    is_new = f"({new}) {comparison} ({', '.join(names)})"
    return ", ".join(f"{name} = CASE WHEN {is_new} THEN excluded.{name} ELSE {name} END" for name in names)


UPSERT_BOOT: Final = f"""
INSERT INTO boots VALUES ({", ".join("?" * 12)})
ON CONFLICT (cause, aik, reset_count, clock_epoch, undated) DO UPDATE SET records = records + excluded.records,
    {_extreme("first", "<")}, {_extreme("last", ">")}"""  # noqa: S608 - names of columns


def cause_rows(samples: dict[bytes, CauseSample]) -> Iterator[tuple[Any, ...]]:
    """Yield the parameters of `UPSERT_CAUSE`."""
    for sample in samples.values():
        yield (sample.cause, sample.shape, *sample.position, sample.findings)


def boot_rows(boots: dict[BootKey, BootCount]) -> Iterator[tuple[Any, ...]]:
    """Yield the parameters of `UPSERT_BOOT`."""
    for key, one in boots.items():
        yield (*key, one.records, *one.first[1:], *one.last[1:])
