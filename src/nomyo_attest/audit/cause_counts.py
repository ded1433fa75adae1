"""Count failing records by cause and by boot: in a worker for one chunk, and in the store for all chunks.

A cause is the set of rules that do not hold for a record, with the values found. The counts do not depend on the order
of the sources or on the number of workers. Records for which every rule holds are not counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from nomyo_attest.audit.row import Row, RowFinding, truncate_value
from nomyo_attest.audit.summary import CauseFinding
from nomyo_attest.rules import RULE_TABLE

SAMPLE_MESSAGE_MAX: Final = 500
"""Maximum characters of a message in a sample."""

_RULES_WITH_UNIQUE_VALUES: Final = frozenset(rule.id for rule in RULE_TABLE if rule.unique_values)
"""Rules whose values differ from record to record, and therefore do not distinguish causes."""

Position = tuple[int, int, str, int]
"""A sort key of records: 1 for a record without a time, otherwise 0; its time; its source; its line."""


class CauseSample(NamedTuple):
    """One cause, with the findings of its earliest record.

    Attributes:
        cause: 16-byte digest of the rules and the values found.
        shape: 16-byte digest of the rules and the PCRs that differ, without their values.
        position: the position of the earliest record.
        findings: the findings of that record, as JSON.
    """

    cause: bytes
    shape: bytes
    position: Position
    findings: bytes


class BootKey(NamedTuple):
    """The key by which records of one cause and one boot are counted; unknown values are empty.

    Attributes:
        cause: see `CauseSample`.
        aik: the AIK's Name if the policy pins it, otherwise empty.
        reset_count: resetCount of the quote.
        clock_epoch: `processed_at` minus the TPM's clock, in whole seconds.
        undated: 1 for records without a time, otherwise 0.
    """

    cause: bytes
    aik: bytes
    reset_count: int | str
    clock_epoch: int | str
    undated: int


class BootCount(msgspec.Struct):
    """The number of records with one `BootKey`, and the positions of the first and the last of them."""

    records: int
    first: Position
    last: Position


class CauseCounts:
    """Count the failing records of one chunk.

    Attributes:
        samples: cause → its sample.
        boots: cause and boot → the count of their records.
    """

    def __init__(self) -> None:
        self.samples: dict[bytes, CauseSample] = {}
        self.boots: dict[BootKey, BootCount] = {}

    def add(self, row: Row, consequences: Collection[str]) -> None:
        """Count a record with findings. The rules in `consequences` are undecided because of its other findings."""
        findings = [
            finding for finding in row.findings if finding.requirement != "ignore" and finding.rule not in consequences
        ]
        if not findings:
            return
        at = row.processed_at
        position = (int(at is None), at or 0, row.source, row.line)
        cause = _digest([_cause_values(finding) for finding in findings])
        sample = self.samples.get(cause)
        if sample is None or position < sample.position:
            shape = sample.shape if sample else _digest([_shape_values(finding) for finding in findings])
            self.samples[cause] = CauseSample(cause, shape, position, _encode_findings(findings))
        key = _boot_key(cause, row)
        boot = self.boots.get(key)
        if boot is None:
            self.boots[key] = BootCount(1, position, position)
            return
        boot.records += 1
        boot.first, boot.last = min(boot.first, position), max(boot.last, position)


def _digest(value: Any) -> bytes:
    return hashlib.sha256(msgspec.json.encode(value)).digest()[:16]


def _cause_values(finding: RowFinding) -> list[Any]:
    got = finding.got
    if finding.rule in _RULES_WITH_UNIQUE_VALUES:
        got = None
    elif isinstance(got, dict):
        got = sorted(got.items())
    return [finding.rule, finding.requirement, finding.outcome, got]


def _shape_values(finding: RowFinding) -> list[Any]:
    keys = sorted(finding.got) if isinstance(finding.got, dict) else None
    return [finding.rule, finding.requirement, finding.outcome, keys]


def _encode_findings(findings: list[RowFinding]) -> bytes:
    return msgspec.json.encode(
        [
            CauseFinding(
                rule=finding.rule,
                requirement=finding.requirement,
                outcome=finding.outcome,
                expected=truncate_value(finding.expected),
                got=truncate_value(finding.got),
                message=finding.message[:SAMPLE_MESSAGE_MAX],
            )
            for finding in findings
        ]
    )


def _boot_key(cause: bytes, row: Row) -> BootKey:
    """Return the key of a record's boot.

    Without a valid signature the boot is unknown, since anyone could have written the clock and the counters.
    """
    undated = int(row.processed_at is None)
    if not row.signature_valid or row.aik_name is None or row.reset_count is None:
        return BootKey(cause, b"", "", "", undated)
    aik = bytes.fromhex(row.aik_name) if row.aik_pinned else b""
    epoch: int | str = ""
    if row.processed_at is not None and row.clock is not None:
        epoch = row.processed_at - row.clock // 1000
    return BootKey(cause, aik, row.reset_count, epoch, undated)


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


def _update_extreme(side: str, comparison: str) -> str:
    names = [f"{side}_{part}" for part in ("at", "source", "line")]
    new = ", ".join(f"excluded.{name}" for name in names)
    replaces = f"({new}) {comparison} ({', '.join(names)})"
    return ", ".join(f"{name} = CASE WHEN {replaces} THEN excluded.{name} ELSE {name} END" for name in names)


UPSERT_BOOT: Final = f"""
INSERT INTO boots VALUES ({", ".join("?" * 12)})
ON CONFLICT (cause, aik, reset_count, clock_epoch, undated) DO UPDATE SET records = records + excluded.records,
    {_update_extreme("first", "<")}, {_update_extreme("last", ">")}"""  # noqa: S608 - names of columns


def cause_rows(samples: dict[bytes, CauseSample]) -> Iterator[tuple[Any, ...]]:
    """Yield the parameters of `UPSERT_CAUSE`."""
    for sample in samples.values():
        yield (sample.cause, sample.shape, *sample.position, sample.findings)


def boot_rows(boots: dict[BootKey, BootCount]) -> Iterator[tuple[Any, ...]]:
    """Yield the parameters of `UPSERT_BOOT`."""
    for key, boot in boots.items():
        yield (*key, boot.records, *boot.first[1:], *boot.last[1:])
