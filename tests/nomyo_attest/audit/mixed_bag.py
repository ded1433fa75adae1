"""Records of every kind, for tests that compare two ways to appraise records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from nomyo_attest.audit.record import AppraisedRecord, RecordAppraiser, unreadable_row
from nomyo_attest.audit.row import Row, encode_row
from nomyo_attest.policy import AppraisalPolicy
from nomyo_attest.testing import FAULTS, VARIANTS, Forge

POLICY = AppraisalPolicy.from_dict(Forge().policy())

GARBAGE = (
    b"",
    b"   ",
    b"{",
    b"null",
    b"[1, 2]",
    b'"text"',
    b"\xff\xfe",
    b"\x00",
    b"[" * 100_000,
    b'{"_metadata": {"payload_id": "\\ud800"}}',
    b'{"_metadata": {"processed_at": 1e400, "security_tier": "\\ud800", "payload_id": "x"}}',
    b'{"_metadata": {"processed_at": 99999999999999999999999, "payload_id": "x"}, "_metadata": {}}',
)


@dataclass(frozen=True)
class Record:
    """A record and its place; `text` is None where a table has null."""

    source: str
    line: int
    text: bytes | None

    def row(self, *, keep_evidence: bool = False) -> Row:
        """Return the row of the record appraiser for this record."""
        if self.text is None:
            return unreadable_row(self.source, self.line, "expected JSON text, got null")
        appraised = RecordAppraiser(POLICY, keep_evidence=keep_evidence).appraise(self.source, self.line, self.text)
        assert isinstance(appraised, AppraisedRecord)
        return appraised.row


@cache
def mixed_records() -> tuple[Record, ...]:
    """Return valid and invalid evidence of every kind, garbage, null, duplicate quotes, and a clock that goes back."""
    cases = [*(one.case() for one in VARIANTS[::4]), *(one.case() for one in FAULTS[::4])]
    responses = (one.response for one in cases)
    texts: list[bytes | None] = [(one if isinstance(one, str) else json.dumps(one)).encode() for one in responses]
    texts += [*GARBAGE, None]
    texts += [one.text().encode() for one in states()]
    return tuple(Record(f"file-{number % 3}", number // 3 + 1, text) for number, text in enumerate(texts))


STATES = (
    (0, 5_000, 17, 0),
    (1, 6_000, 17, 0),
    (2, 4_000, 17, 1),
    (3, 2**63 - 1, 17, 1),
    (4, 2**64 - 1, 17, 1),
    (5, 7_000, 17, 0),
    (6, 8_000, 18, 0),
    (7, 9_000, 16, 0),
    (90_000, 1, 18, 0),
)
"""States of an AIK: seconds, clock in milliseconds, resetCount, restartCount. Rows do not store the largest clock."""


def states() -> Iterator[Forge]:
    """Yield a forge for each of these states."""
    start = Forge().processed_at + 10
    for seconds, clock, resets, restarts in STATES:
        yield Forge(
            payload_id=f"id-{seconds}",
            processed_at=start + seconds,
            clock=clock,
            reset_count=resets,
            restart_count=restarts,
        )


def lines(rows: list[Row]) -> list[bytes]:
    """Return rows as sorted JSON Lines, for comparison."""
    return sorted(map(encode_row, rows))
