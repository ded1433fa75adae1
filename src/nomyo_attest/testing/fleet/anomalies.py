"""What is wrong in every made-up fleet: three things, and what an audit must say of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Anomaly:
    """One planted anomaly.

    Attributes:
        name: a slug.
        what: what happened, in a sentence.
        rules: the rules that do not hold for its records, each by itself; none if every record passes.
        cross_record: the rules across records that find it; none if it shows in one record.
    """

    name: str
    what: str
    rules: tuple[str, ...] = ()
    cross_record: tuple[str, ...] = ()


SECURE_BOOT: Final = Anomaly(
    "secure-boot-off",
    "One machine runs with Secure Boot off for one day: PCR 7 has a value that no reference value is.",
    rules=("pcr.values",),
)
REPLAY: Final = Anomaly(
    "replayed-evidence",
    "The evidence of an answer is recorded again days later, with its payload id, around another answer. Each of the "
    "two passes every rule; together they are one quote, of an AIK that was to be used once.",
    cross_record=("duplicate.quote", "duplicate.payload_id", "reused.aik"),
)
SNAPSHOT: Final = Anomaly(
    "restored-snapshot",
    "A machine with a pinned AIK is put back to a snapshot of some days before: the TPM's clock and resetCount go "
    "back. Every answer passes every rule.",
    cross_record=("rollback.clock", "rollback.counters"),
)

ANOMALIES: Final = (SECURE_BOOT, REPLAY, SNAPSHOT)
"""All of them."""
