"""Run an audit, or resume an interrupted one."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec

from nomyo_attest._version import __version__
from nomyo_attest.audit.cross_record.model import AffectedRecord, CrossRecordFinding
from nomyo_attest.audit.pool import Pool
from nomyo_attest.audit.row import VERDICTS, Row
from nomyo_attest.audit.sources import Inventory, read_chunks, take_inventory
from nomyo_attest.audit.sources.source import display
from nomyo_attest.audit.state import State, StateDamagedError, is_caused_by_damage
from nomyo_attest.audit.store import StoreError
from nomyo_attest.audit.summary import Run, Summary
from nomyo_attest.audit.worker import WorkOrder
from nomyo_attest.policy.model import AppraisalPolicy

CHECKPOINT_SECONDS: Final = 2.0
"""Minimum seconds between checkpoints. If the audit is killed, the work since the last checkpoint is lost."""

CHECKPOINT_COST_FACTOR: Final = 30
"""The time until the next checkpoint is at least the duration of the last one times this factor, so that checkpoints
take at most 3% of the time.
"""


class AuditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of an audit.

    Attributes:
        names, column, follow_links: see `take_inventory`.
        policy: the policy.
        at: the time of all appraisals; by default the start of the audit, if the policy depends on the time.
        since, until, select, keep_evidence: see `WorkOrder`.
        processes: number of worker processes; with 1, this process appraises.
        rows: whether to write rows.
        command: the command line, for reports.
    """

    names: Sequence[str]
    policy: AppraisalPolicy
    column: str | None = None
    follow_links: bool = False
    at: datetime | None = None
    since: int | None = None
    until: int | None = None
    select: frozenset[str] = frozenset(VERDICTS)
    keep_evidence: bool = False
    processes: int = 1
    rows: bool = True
    command: Sequence[str] = ()

    def identity(self, inventory: Inventory) -> dict[str, Any]:
        """Return the values that determine rows and facts; only an audit with the same values can resume this one."""
        return {
            "version": __version__,
            "inputs": inventory.identity(),
            "policy": self.policy.digest,
            "at": self.at and self.at.isoformat(),
            "since": self.since,
            "until": self.until,
            "select": self.selected,
            "column": self.column,
            "keep_evidence": self.keep_evidence,
            "rows": self.rows,
        }

    @property
    def selected(self) -> list[str]:
        """The selected verdicts, in the order of `VERDICTS`."""
        return [verdict for verdict in VERDICTS if verdict in self.select]


class Progress(NamedTuple):
    """The progress of an audit.

    Attributes:
        records: number of records so far.
        new_records: those of `records` that were not appraised before the audit was resumed.
        read: stored bytes read so far.
        size: stored bytes of all sources; 0 if unknown.
    """

    records: int
    new_records: int
    read: int
    size: int


class Audit:
    """An audit; a context manager. Unless `finish` was called, its state is stored when the context ends, for `resume`.

    Attributes:
        request: its options.
        inventory: the files to read.
        state: the stored state, until the audit is finished.
    """

    def __init__(self, request: AuditRequest, inventory: Inventory, state: State) -> None:
        self.request = request
        self.inventory = inventory
        self.state = state
        meta = state.meta
        started_at: str = meta.get("started_at") or datetime.now(UTC).isoformat(timespec="seconds")
        at: str | None = meta.get("at")
        if request.at is not None:
            at = request.at.isoformat()
        elif at is None and request.policy.depends_on_time:
            at = datetime.now(UTC).isoformat()
        self._at = at
        self._records: int = meta.get("records", 0)
        self._seconds: float = meta.get("seconds", 0.0)
        self._workers_lost: int = meta.get("lost", 0)
        self._resumed: int = meta.get("resumed", 0) + state.resumed
        self._started = time.monotonic()
        self._started_at = started_at
        state.checkpoint(at=at, started_at=started_at, resumed=self._resumed)

    @classmethod
    def begin(
        cls,
        request: AuditRequest,
        folder: Path | None = None,
        *,
        resume: bool = False,
        force: bool = False,
        allow_temporary: bool = False,
    ) -> Self:
        """List the inputs, and open the state, which may be that of an interrupted audit.

        Args:
            request: the options.
            folder: the folder of the state; by default a temporary folder, and the audit cannot be resumed.
            resume, force, allow_temporary: see `State.open`.

        Raises:
            InventoryError, StateError, StoreError.
        """
        inventory = take_inventory(request.names, column=request.column, follow_links=request.follow_links)
        identity = request.identity(inventory)
        if folder is None:
            state = State.temporary(identity)
        else:
            state = State.open(
                folder,
                identity,
                resume=resume,
                force=force,
                is_rereadable=inventory.is_rereadable,
                allow_temporary=allow_temporary,
            )
        try:
            return cls(request, inventory, state)
        except BaseException as error:
            state.close()
            if state.resumed and is_caused_by_damage(error):
                raise StateDamagedError(str(state.folder)) from error
            raise

    def appraise(self) -> Iterator[Progress]:
        """Appraise the remaining records. Raises `StateError`, `StoreError`, `WorkerFailedError`."""
        state, request = self.state, self.request
        if state.meta.get("complete"):
            self._check_complete()
            return
        pool = Pool(self._order(), request.processes)
        workers_lost, new_records = self._workers_lost, 0
        timer = _CheckpointTimer()
        chunks = read_chunks(self.inventory, skip=state.meta["next"])
        with closing(pool.results(chunks)) as results:
            for result in results:
                if request.rows:
                    state.write(result.rows)
                state.store.add(result)
                count = sum(map(sum, result.counts.values()))
                self._records += count
                new_records += count
                self._workers_lost = workers_lost + pool.workers_lost
                if timer.is_due():
                    with timer:
                        self._checkpoint(next=result.number + 1)
                yield Progress(self._records, new_records, result.progress, self.inventory.size)
        self._check_complete()
        self._checkpoint(complete=True)

    def _check_complete(self) -> None:
        """Check that every source was read to its end, and that the store has every counted record.

        Raises `StateDamagedError`, `StoreError`.
        """
        store = self.state.store
        ((sources, facts, counted),) = store.query(
            "SELECT (SELECT COUNT(*) FROM sources), (SELECT coalesce(MAX(rowid), 0) FROM facts), "
            "(SELECT coalesce(SUM(affirming + warning + contraindicated + none + unreadable), 0) FROM counts)"
        )
        if (sources, facts) != (self.inventory.count, counted):
            raise StateDamagedError(str(self.state.folder))

    def _order(self) -> WorkOrder:
        request = self.request
        return WorkOrder(
            policy=request.policy,
            at=datetime.fromisoformat(self._at) if self._at else None,
            since=request.since,
            until=request.until,
            select=request.select,
            keep_evidence=request.keep_evidence,
        )

    def _checkpoint(self, **meta: Any) -> None:
        self.state.checkpoint(**meta, records=self._records, seconds=self._elapsed(), lost=self._workers_lost)

    def _elapsed(self) -> float:
        return round(self._seconds + time.monotonic() - self._started, 3)

    def run(self) -> Run:
        """Return the options and circumstances of the audit, for its summary."""
        request = self.request
        return Run(
            version=__version__,
            command=list(map(display, request.command)),
            at=self._at,
            since=_format_time(request.since),
            until=_format_time(request.until),
            select=request.selected,
            started_at=self._started_at,
            seconds=self._elapsed(),
            processes=request.processes,
            resumed=self._resumed,
            workers_lost=self._workers_lost,
        )

    def summary(
        self,
        *,
        fail_on: frozenset[str],
        max_failures: int = 0,
        max_gap: int | None = None,
        allow_no_evidence: bool = False,
        allow_undated: bool = False,
        on_finding: Callable[[CrossRecordFinding], None] | None = None,
        on_affected: Callable[[AffectedRecord], None] | None = None,
    ) -> Summary:
        """Summarize all records; see `summarize`.

        Raises:
            StoreError: the store cannot be read.
            msgspec.ValidationError: a value in the store of a resumed audit has an invalid type.
        """
        from nomyo_attest.audit.summarize import summarize  # loads the cross-record rules, which only this method needs

        summary = summarize(
            self.state.store,
            policy=self.request.policy,
            run=self.run(),
            skipped=self.inventory.skipped,
            skipped_total=self.inventory.skipped_total,
            duplicate_names=self.inventory.duplicate_names,
            duplicate_names_total=self.inventory.duplicate_names_total,
            max_gap=max_gap,
            fail_on=fail_on,
            max_failures=max_failures,
            allow_no_evidence=allow_no_evidence,
            allow_undated=allow_undated,
            on_finding=on_finding,
            on_affected=on_affected,
        )
        if self.state.resumed:  # SQLite stores values of any type in any column
            msgspec.convert(msgspec.to_builtins(summary, builtin_types=(bytes,)), Summary)
            for failure in summary.failures:
                msgspec.convert(failure | {"pcrs": None}, Row)  # `pcrs` is any JSON
        return summary

    def has_begun_outputs(self, names: Sequence[str]) -> bool:
        """Whether `begin_outputs` was called with `names` before the interruption: this audit may own these files."""
        return bool(self.state.meta.get("outputs") == list(map(display, names)))

    @property
    def is_resumable(self) -> bool:
        """Whether the audit could be resumed if it ended now."""
        return self.state.is_resumable

    @property
    def is_finished(self) -> bool:
        """Whether all outputs had been written before the interruption."""
        return bool(self.state.meta.get("finished"))

    def begin_outputs(self, names: Sequence[str]) -> None:
        """Record in the state that the files `names` will be written. Raises `StateError`, `StoreError`."""
        self.state.checkpoint(outputs=list(map(display, names)))

    def finish(self) -> None:
        """Record in the state that all outputs were written, so that the state is removed."""
        self.state.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the state. Raises `StateDamagedError` instead of an error that a damaged state caused."""
        is_damaged = self.state.resumed and is_caused_by_damage(error)
        try:
            self.state.close()
        except StoreError:
            if not is_damaged:
                raise
        if is_damaged:
            raise StateDamagedError(str(self.state.folder)) from error


class _CheckpointTimer:
    """Determine when a checkpoint is due. As a context manager, measure how long the checkpoint takes."""

    def __init__(self) -> None:
        self._ended = time.monotonic()
        self._duration = 0.0

    def is_due(self) -> bool:
        return time.monotonic() - self._ended >= max(CHECKPOINT_SECONDS, CHECKPOINT_COST_FACTOR * self._duration)

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        self._duration = self._ended - self._began


def _format_time(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def count_available_cores() -> int:
    """Return the number of cores that this process may use, considering its CPU affinity and the container's quota."""
    count = getattr(os, "process_cpu_count", None)
    if count is not None:
        cores = count() or 1
    elif hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cpu_quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def _cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the CPU quota of the container in cores (cgroup v2, then v1); None without a quota."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            text = " ".join((root / name).read_text(encoding="ascii") for name in names)
            quota, period = map(int, text.split())  # "max 100000" and "-1 100000" mean no quota
        except (OSError, ValueError):
            continue
        return quota / period if quota > 0 and period > 0 else None
    return None
