"""EvidenceLog: appending to a ledger, so that a line is there whole and for good, or not at all.

1. The file is locked, against threads and processes alike.
2. Its last line is read: the new one carries the digest of that. What a crash has torn is noted first.
3. The new line is written at once, and synced. If that fails, what was written is cut back.

So a line that `append` returned survives a crash of the process and, as far as the disk keeps its word, of the machine.
A line may be there that was never returned: whoever asked for it was killed in between.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from nomyo_attest._files import Access, sync_folder
from nomyo_attest._version import __version__
from nomyo_attest.appraisal import appraise
from nomyo_attest.errors import LedgerError
from nomyo_attest.evidence.response import check_payload_id
from nomyo_attest.ledger.files import as_ledger_error, locked, move_aside, numbered, open_reading
from nomyo_attest.ledger.keep import Withhold, keep
from nomyo_attest.ledger.line import GATES, LINE_MAX, NO_PREVIOUS, digest_of, encode_line
from nomyo_attest.ledger.tail import Last, Tail, read_tail
from nomyo_attest.policy import AppraisalPolicy

ROTATE_BYTES: Final = 64 * 1024 * 1024
"""Bytes that a file holds at the most, unless said otherwise: some 10,000 answers."""

LOCK_SECONDS: Final = 30.0
"""Seconds that others may have the file locked before that is an error, unless said otherwise."""

_OURS: Final = {"name": "nomyo-attest", "version": __version__}


class Receipt(msgspec.Struct, frozen=True):
    """Where an answer's evidence was kept.

    Attributes:
        number: the line's number in the ledger, from 1.
        digest: ``sha256:…`` of the line. Kept elsewhere it shows later whether anything up to this line was changed.
        path: the file.
    """

    number: int
    digest: str
    path: str


class EvidenceLog:
    """A ledger to append to. It may be shared by threads, processes and forks, and holds no file open.

    Args:
        path: the file; made with mode 0600 if it is not there. A full one is moved aside: ``evidence.jsonl`` becomes
            ``evidence.0001.jsonl``.
        rotate_bytes: how many bytes a file may have; None for any number.
        lock_seconds: how long others may have it locked.

    Raises:
        ValueError, TypeError: an argument makes no sense.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        rotate_bytes: int | None = ROTATE_BYTES,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        if rotate_bytes is not None and rotate_bytes < 1:
            raise ValueError(f"rotate_bytes: expected 1 or more, or None, got {rotate_bytes}")
        if not lock_seconds >= 0:
            raise ValueError(f"lock_seconds: expected 0 or more, got {lock_seconds}")
        self.path: Final = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a symbolic link
        self._rotate_bytes = rotate_bytes
        self._lock_seconds = lock_seconds
        self._mutex = threading.Lock()
        self._process = os.getpid()

    def check(self) -> None:
        """See whether something can be appended; the file is made if it is not there. Raises `LedgerError`."""
        with as_ledger_error(self.path, "opened"), self._locked() as descriptor:
            read_tail(descriptor, self.path)

    def append(
        self,
        response: dict[str, Any],
        *,
        payload_id: str | None = None,
        policy: AppraisalPolicy | None = None,
        now: datetime | None = None,
        refused: str | None = None,
        gate: str | None = None,
        withhold: Withhold | None = None,
        client: Mapping[str, str] = _OURS,
    ) -> Receipt:
        """Keep the evidence of an answer, and what a policy makes of it; returns when both are on the disk.

        Args:
            response: a whole response, its `_metadata`, or the bare block. Nothing of a completion is kept: see `keep`.
            payload_id: the one that was sent; None if that is not known.
            policy: what the evidence is appraised by; None for no result.
            now: the time of the appraisal; see `appraise`.
            refused: why the answer was not handed over, a code; None if it was.
            gate: ``"on"`` if the policy decided about the release of the completion, ``"off"`` if the gate was off for
                this call; None where there was no policy.
            withhold: says which texts must not be kept; see `keep`.
            client: name and version of the program.

        Raises:
            LedgerError: it could not be kept, and nothing was changed.
            TypeError, ValueError: an argument makes no sense.
        """
        if gate is not None and gate not in GATES:
            raise ValueError(f"gate: expected 'on', 'off' or None, got {gate!r:.60}")
        kept = keep(response, policy, withhold)
        result = None
        if policy is not None:
            result = appraise(kept.evidence, policy, payload_id=payload_id, now=now).to_dict()
        record = {
            "payload_id": None if payload_id is None else check_payload_id(payload_id, ""),
            "given": payload_id is not None,
            "refused": refused,
            **({} if gate is None else {"gate": gate}),
            "whole": kept.whole,
            "evidence": kept.evidence,
            "result": result,
            "client": dict(client),
        }
        with as_ledger_error(self.path, "written"):
            while True:
                with self._locked() as descriptor:
                    receipt = self._append(descriptor, record)
                    if receipt is not None:
                        return receipt

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, opened and locked against this process's threads and against other processes."""
        if self._process != os.getpid():  # forked: a thread that is not here may have had the lock
            self._mutex, self._process = threading.Lock(), os.getpid()
        mutex = self._mutex
        deadline = time.monotonic() + self._lock_seconds
        if not mutex.acquire(timeout=min(self._lock_seconds, threading.TIMEOUT_MAX)):
            raise LedgerError(str(self.path), "is locked by another thread", "look for what that waits for")
        try:
            with locked(self.path, deadline) as descriptor:
                yield descriptor
        finally:
            mutex.release()

    def _append(self, descriptor: int, record: dict[str, Any]) -> Receipt | None:
        """Write the line of `record`; None if the file was full, and has been moved aside instead."""
        status = os.fstat(descriptor)
        if status.st_nlink > 1 and self._is_aside(status):
            move_aside(self.path)
            return None
        tail = read_tail(descriptor, self.path)
        before = self._before() if tail.last is None else None
        if tail.torn:
            line = self._line(tail.last, before, tail.note())
            self._repair(descriptor, line, tail)
            tail, before = Tail(Last(_number(tail.last, before), digest_of(line)), tail.size + len(line), b""), None
        line = self._line(tail.last, before, record)
        if self._rotate_bytes is not None and tail.size and tail.size + len(line) > self._rotate_bytes:
            move_aside(self.path)
            return None
        _write(descriptor, line, tail.size)
        if not tail.size:
            sync_folder(self.path.parent)
        return Receipt(_number(tail.last, before), digest_of(line), str(self.path))

    def _is_aside(self, status: os.stat_result) -> bool:
        """Whether the file has its number already: somebody was killed while moving it aside."""
        before = numbered(self.path)
        return bool(before) and os.path.samestat(before[-1].stat(follow_symlinks=False), status)

    def _before(self) -> tuple[Path, Last] | None:
        """The file that a new one continues, and its last line."""
        files = numbered(self.path)
        if not files:
            return None
        descriptor = open_reading(files[-1])
        try:
            last = read_tail(descriptor, files[-1]).last
        finally:
            os.close(descriptor)
        if last is None:
            raise LedgerError(str(files[-1]), "is empty, and a ledger is to continue it", "move it away")
        return files[-1], last

    def _line(self, last: Last | None, before: tuple[Path, Last] | None, more: Mapping[str, Any]) -> bytes:
        time = {"recorded_at": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")}
        number = _number(last, before)
        if last is not None:
            line = encode_line(number, last.digest, {**time, **more})
        elif before is not None:
            line = encode_line(number, before[1].digest, {"continues": before[0].name, **time, **more})
        else:
            line = encode_line(number, NO_PREVIOUS, {**time, **more})
        if len(line) > LINE_MAX:
            raise LedgerError(str(self.path), f"a line has {len(line)} bytes, which is too long", "shorten the policy")
        return line

    def _repair(self, locked: int, line: bytes, tail: Tail) -> None:
        """Put `line`, which holds what was torn, in the place of that.

        What is longer than it goes behind it first: where there is no room, nothing is lost. Interrupted at any point,
        this leaves something torn.
        """
        descriptor = Access.UPDATE.open(self.path)  # what is open for appending writes at the end only
        try:
            if not os.path.samestat(os.fstat(descriptor), os.fstat(locked)):
                raise LedgerError(str(self.path), "was exchanged while it was locked", "see who writes to its folder")
            end = tail.size + len(tail.torn)
            try:
                _write_at(descriptor, line[len(tail.torn) :], end)
            except BaseException:
                os.ftruncate(descriptor, end)
                raise
            _write_at(descriptor, line[: len(tail.torn)], tail.size)
            os.ftruncate(descriptor, tail.size + len(line))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def __repr__(self) -> str:
        return f"<EvidenceLog {str(self.path)!r}>"


def _number(last: Last | None, before: tuple[Path, Last] | None) -> int:
    """The next line's number."""
    if last is None and before is not None:
        last = before[1]
    return 1 if last is None else last.number + 1


def _write(descriptor: int, line: bytes, size: int) -> None:
    """Append a line to a file of `size` bytes, and sync it; the file is as it was if that fails."""
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):  # what stays behind is noted by the next who appends
            os.ftruncate(descriptor, size)
        raise


def _write_at(descriptor: int, part: bytes, offset: int) -> None:
    written = 0
    while written < len(part):
        written += os.pwrite(descriptor, part[written:], offset + written)
