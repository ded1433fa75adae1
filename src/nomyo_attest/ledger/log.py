"""Append lines to a ledger: a line is complete and synced, or absent.

1. The file is locked against other threads and processes.
2. The last line is read, and its digest goes into the new line. A line that a crash cut off is first replaced by a
   repair line.
3. The new line is written and synced. If that fails, the file is truncated to its former size.

So a line whose receipt `append` has returned survives a crash of the process and, if the disk honors syncs, of the
machine. If the process is killed after step 3, the line exists although no receipt was returned.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from nomyo_attest._files import Access, Folder
from nomyo_attest._version import __version__
from nomyo_attest.appraisal import appraise
from nomyo_attest.errors import LedgerError
from nomyo_attest.evidence.response import check_payload_id
from nomyo_attest.evidence.strict_json import check_containers
from nomyo_attest.ledger.files import convert_os_errors, find_full_files, move_full_file, open_full_file, open_locked
from nomyo_attest.ledger.line import (
    BEGINNING,
    GATES,
    LINE_MAX,
    NO_PREVIOUS,
    TORN_STORED_MAX,
    digest_of,
    encode_line,
    is_line,
)
from nomyo_attest.ledger.redaction import Withhold, redact
from nomyo_attest.policy import AppraisalPolicy

_BLOCK: Final = 64 * 1024

ROTATE_BYTES: Final = 64 * 1024 * 1024
"""The default maximum size of a file in bytes: about 10,000 responses."""

LOCK_SECONDS: Final = 30.0
"""The default number of seconds to wait for a lock."""

_THIS_PACKAGE: Final = {"name": "nomyo-attest", "version": __version__}


class Receipt(msgspec.Struct, frozen=True):
    """Where the evidence of a response was stored.

    Attributes:
        number: the line's number in the ledger, from 1.
        digest: ``sha256:…`` of the line. If it is stored elsewhere, ``nomyo-attest ledger verify`` detects every change
            up to this line.
        path: the file.
    """

    number: int
    digest: str
    path: str


class EvidenceLog:
    """Append the evidence of responses to a ledger.

    Threads and processes, including forked ones, may share it. No file stays open between calls.

    Args:
        path: the file; created with mode 0600 if it does not exist. A full one is renamed: ``evidence.jsonl`` becomes
            ``evidence.0001.jsonl``.
        rotate_bytes: the size limit of a file in bytes; None for no limit.
        lock_seconds: the number of seconds to wait for a lock.

    Raises:
        ValueError, TypeError: an argument is out of range or has the wrong type.
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
        """Check that lines can be appended, and create the file if it does not exist. Raises `LedgerError`."""
        with convert_os_errors(self.path, "opened"), self._locked() as descriptor:
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
        client: Mapping[str, str] = _THIS_PACKAGE,
        canary: bool = False,
    ) -> Receipt:
        """Store the evidence of a response and the result of its appraisal; returns when both are synced.

        Args:
            response: a whole response, its `_metadata`, or the bare block. The completion is never stored: see
                `nomyo_attest.ledger.redaction.redact`.
            payload_id: the payload id that the client sent; None if it is unknown.
            policy: the policy to appraise the evidence with; None to store no result.
            now: the time of the appraisal; see `appraise`.
            refused: the code of the reason why the completion was not released; None if it was released.
            gate: ``"on"`` if a policy decided whether the completion was released, ``"off"`` if there was a policy and
                the gate was off for this call; None if there was no policy.
            withhold: returns the texts that must not be stored; see `redact`.
            client: name and version of the program that received the response.
            canary: whether the request was a constant question that the client sent to appraise the server.

        Raises:
            LedgerError: the evidence could not be stored. A torn line may have been repaired, or a full file renamed.
            TypeError, ValueError: an argument is out of range or has the wrong type.
        """
        if gate is not None and gate not in GATES:
            raise ValueError(f"gate: expected 'on', 'off' or None, got {gate!r:.60}")
        stored = redact(response, policy, withhold)
        result = None
        if policy is not None:
            result = appraise(stored.evidence, policy, payload_id=payload_id, now=now).to_dict()
        record = {
            "payload_id": None if payload_id is None else check_payload_id(payload_id, ""),
            "given": payload_id is not None,
            "refused": refused,
            **({} if gate is None else {"gate": gate}),
            **({"canary": True} if canary else {}),
            "whole": stored.whole,
            "evidence": stored.evidence,
            "result": result,
            "client": dict(client),
        }
        with convert_os_errors(self.path, "written"):
            while True:
                with self._locked() as descriptor:
                    receipt = self._append(descriptor, record)
                    if receipt is not None:
                        return receipt

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file, locked against threads of this process and against other processes."""
        if self._process != os.getpid():  # forked: a thread of the parent process may hold the lock
            self._mutex, self._process = threading.Lock(), os.getpid()
        mutex = self._mutex
        deadline = time.monotonic() + self._lock_seconds
        if not mutex.acquire(timeout=min(self._lock_seconds, threading.TIMEOUT_MAX)):
            raise LedgerError(str(self.path), "is locked by another thread", "find the thread that holds the lock")
        try:
            with open_locked(self.path, deadline) as descriptor:
                yield descriptor
        finally:
            mutex.release()

    def _append(self, descriptor: int, record: dict[str, Any]) -> Receipt | None:
        """Write the line of `record`; returns None if the file was full and was renamed instead."""
        status = os.fstat(descriptor)
        if status.st_nlink > 1 and self._is_half_renamed(status):
            move_full_file(self.path)
            return None
        tail = read_tail(descriptor, self.path)
        before = self._before() if tail.last is None else None
        if tail.torn:
            line = self._line(tail.last, before, tail.repair_keys())
            self._repair(descriptor, line, tail)
            tail = Tail(LastLine(_next_number(tail.last, before), digest_of(line)), tail.size + len(line), b"")
        line = self._line(tail.last, before, record)
        if self._rotate_bytes is not None and tail.size and tail.size + len(line) > self._rotate_bytes:
            move_full_file(self.path)
            return None
        _write(descriptor, line, tail.size)
        if not tail.size:
            Folder(self.path.parent).sync()
        return Receipt(_next_number(tail.last, before), digest_of(line), str(self.path))

    def _is_half_renamed(self, status: os.stat_result) -> bool:
        """Whether the file already has its new name too, because a process was killed while renaming it."""
        before = find_full_files(self.path)
        return bool(before) and os.path.samestat(before[-1].stat(follow_symlinks=False), status)

    def _before(self) -> tuple[Path, LastLine] | None:
        """Return the newest full file, which a new file continues, and the number and digest of its last line."""
        files = find_full_files(self.path)
        if not files:
            return None
        descriptor = open_full_file(files[-1])
        try:
            last = read_tail(descriptor, files[-1]).last
        finally:
            os.close(descriptor)
        if last is None:
            raise LedgerError(str(files[-1]), "is empty, but the ledger continues it", "move it to another folder")
        return files[-1], last

    def _line(self, last: LastLine | None, before: tuple[Path, LastLine] | None, keys: Mapping[str, Any]) -> bytes:
        time = {"recorded_at": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")}
        number = _next_number(last, before)
        if last is not None:
            line = encode_line(number, last.digest, {**time, **keys})
        elif before is not None:
            line = encode_line(number, before[1].digest, {"continues": before[0].name, **time, **keys})
        else:
            line = encode_line(number, NO_PREVIOUS, {**time, **keys})
        if len(line) > LINE_MAX:
            problem = f"a line of {len(line)} bytes is longer than the limit of {LINE_MAX}"
            raise LedgerError(str(self.path), problem, "shorten the policy")
        return line

    def _repair(self, locked: int, line: bytes, tail: Tail) -> None:
        """Overwrite the remainder of a torn line with `line`, a repair line, which contains it.

        The part of `line` that extends past the remainder is written first, so that nothing is lost if the disk is
        full. An interruption at any point leaves a torn line, which the next writer repairs.
        """
        descriptor = Access.UPDATE.open(self.path)  # `locked` is open for appending, so it can only write at the end
        try:
            if not os.path.samestat(os.fstat(descriptor), os.fstat(locked)):
                raise LedgerError(
                    str(self.path), "was replaced while it was locked", "check which program writes to its folder"
                )
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


def _next_number(last: LastLine | None, before: tuple[Path, LastLine] | None) -> int:
    """Return the number of the next line."""
    if last is None and before is not None:
        last = before[1]
    return 1 if last is None else last.number + 1


def _write(descriptor: int, line: bytes, size: int) -> None:
    """Append a line to a file of `size` bytes and sync it; if that fails, truncate the file to `size`."""
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):  # the next writer repairs the rest
            os.ftruncate(descriptor, size)
        raise


def _write_at(descriptor: int, part: bytes, offset: int) -> None:
    written = 0
    while written < len(part):
        written += os.pwrite(descriptor, part[written:], offset + written)


class LastLine(msgspec.Struct, frozen=True):
    """The last complete line: its number and its digest."""

    number: int
    digest: str


class Tail(msgspec.Struct, frozen=True):
    """The end of a file.

    Attributes:
        last: the last complete line; None if there is none.
        size: offset of the end of that line, in bytes.
        torn: the bytes after it: the remainder of a line that a crash cut off.
    """

    last: LastLine | None
    size: int
    torn: bytes

    def repair_keys(self) -> dict[str, Any]:
        """Return the keys of the repair line that replaces the torn line."""
        stored = base64.b64encode(self.torn[:TORN_STORED_MAX]).decode("ascii")
        return {"repair": {"bytes": len(self.torn), "sha256": hashlib.sha256(self.torn).hexdigest(), "torn": stored}}


def read_tail(descriptor: int, path: Path) -> Tail:
    """Read the end of a file.

    A line is torn if it has no newline, because a write was interrupted, or if it is not a valid line, because power
    was lost before all its blocks were written.

    Raises:
        LedgerError: the file is not a ledger.
        OSError: it cannot be read.
    """
    size = os.fstat(descriptor).st_size
    start, data = _last_lines(descriptor, size, path)
    end = data.rfind(b"\n") + 1
    torn = data[end:]
    before = data[:end]
    line = _last_line(before)
    if line:
        number = line_number(line)
        if number is not None:
            return Tail(LastLine(number, digest_of(line)), start + end, torn)
        torn = line + torn
        before = before[: len(before) - len(line)]
        line_above = _last_line(before)
        number = line_number(line_above)
        if number is not None:
            return Tail(LastLine(number, digest_of(line_above)), start + len(before), torn)
    if before or not _may_be_torn_line(torn):
        raise LedgerError(
            str(path), "is not a ledger: its last line is not a ledger line", "name another file, or move this one"
        )
    return Tail(None, 0, torn)


def line_number(line: bytes) -> int | None:
    """Return the number of a line; None if it is not a line of a ledger."""
    if not (line.startswith(BEGINNING) and line.endswith(b"}\n")):
        return None
    try:
        check_containers(line)
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    number = document.get("number") if is_line(document) else None
    return number if type(number) is int and number > 0 else None


def _last_lines(descriptor: int, size: int, path: Path) -> tuple[int, bytes]:
    """Return the end of the file from before its last two lines: its offset and its bytes."""
    start, blocks, newlines = size, list[bytes](), 0
    while start > 0 and newlines < 3:
        if size - start > 3 * LINE_MAX:
            raise LedgerError(str(path), "is not a ledger: its lines are too long", "name another file")
        length = min(_BLOCK, start)
        block = os.pread(descriptor, length, start - length)
        if len(block) < length:
            raise LedgerError(str(path), "became shorter while it was read", "check which other program writes to it")
        start -= length
        newlines += block.count(b"\n")
        blocks.append(block)
    return start, b"".join(reversed(blocks))


def _last_line(text: bytes) -> bytes:
    """Return the last line of a text that ends with a newline; empty for an empty text."""
    return text[text[:-1].rfind(b"\n") + 1 :] if text else b""


def _may_be_torn_line(torn: bytes) -> bool:
    """Whether `torn` is empty or can be the remainder of a ledger's first line, not content of another file."""
    return torn[: len(BEGINNING)] == BEGINNING[: len(torn)] or not torn.strip(b"\0")
