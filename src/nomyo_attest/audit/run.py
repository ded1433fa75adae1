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
from nomyo_attest.audit.pool import Pool
from nomyo_attest.audit.row import VERDICTS, Row
from nomyo_attest.audit.sources import Inventory, read_chunks, take_inventory
from nomyo_attest.audit.sources.source import display
from nomyo_attest.audit.state import State, StateDamagedError, is_caused_by_damage
from nomyo_attest.audit.store import StoreError
from nomyo_attest.audit.summary import CrossRecordFinding, Run, Summary
from nomyo_attest.audit.worker import WorkOrder
from nomyo_attest.policy.model import AppraisalPolicy

CHECKPOINT_SECONDS: Final = 2.0
"""Minimum seconds between checkpoints: about as much work is lost if the audit is killed."""

CHECKPOINT_COSTS: Final = 30
"""The next checkpoint waits this many times the duration of the last one, so that they take at most 3 % of the time."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options of an audit.

    Attributes:
        names: files, folders, ``"-"``; see `take_inventory`, also for `column` and `follow_links`.
        policy: the policy.
        at: the time of all appraisals; by default the start of the audit, if the policy depends on the time.
        since, until, select, keep_evidence: see `WorkOrder`.
        processes: how many worker processes; 1 for none.
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
    """Progress: all records, those of this run, bytes read from disk, and bytes of all sources (0 if unknown)."""

    records: int
    fresh: int
    read: int
    size: int


class Audit:
    """An audit; a context manager. Its state stays, to be resumed, unless `finish` was called.

    Attributes:
        request: its options.
        inventory: the files to read.
        state: the stored state, until the audit is finished.
    """

    def __init__(self, request: Request, inventory: Inventory, state: State) -> None:
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
        self._lost: int = meta.get("lost", 0)
        self._resumed: int = meta.get("resumed", 0) + state.resumed
        self._begun = time.monotonic()
        self._started_at = started_at
        state.checkpoint(at=at, started_at=started_at, resumed=self._resumed)

    @classmethod
    def begin(
        cls,
        request: Request,
        folder: Path | None = None,
        *,
        resume: bool = False,
        force: bool = False,
        or_temporary: bool = False,
    ) -> Self:
        """List the inputs, and open the state, which may be that of an interrupted audit.

        Args:
            request: the options.
            folder: the folder of the state; by default a temporary one, with which the audit cannot be resumed.
            resume, force, or_temporary: see `State.open`.

        Raises:
            InventoryError, StateError, StoreError.
        """
        inventory = take_inventory(request.names, column=request.column, follow_links=request.follow_links)
        identity = request.identity(inventory)
        if folder is None:
            state = State.temporary(identity)
        else:
            again = inventory.is_rereadable
            state = State.open(folder, identity, resume=resume, force=force, again=again, or_temporary=or_temporary)
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
        lost, fresh = self._lost, 0
        checkpoint = _Clock()
        chunks = read_chunks(self.inventory, skip=state.meta["next"])
        with closing(pool.results(chunks)) as results:
            for result in results:
                if request.rows:
                    state.write(result.rows)
                state.store.add(result)
                count = sum(map(sum, result.counts.values()))
                self._records += count
                fresh += count
                self._lost = lost + pool.lost
                if checkpoint.is_due():
                    with checkpoint:
                        self._checkpoint(next=result.number + 1)
                yield Progress(self._records, fresh, result.progress, self.inventory.size)
        self._check_complete()
        self._checkpoint(complete=True)

    def _check_complete(self) -> None:
        """Check that every source was read to its end and that the store has every record that was counted.

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
        self.state.checkpoint(**meta, records=self._records, seconds=self._elapsed(), lost=self._lost)

    def _elapsed(self) -> float:
        return round(self._seconds + time.monotonic() - self._begun, 3)

    def run(self) -> Run:
        """Return how the audit was run."""
        request = self.request
        return Run(
            version=__version__,
            command=list(map(display, request.command)),
            at=self._at,
            since=_moment(request.since),
            until=_moment(request.until),
            select=request.selected,
            started_at=self._started_at,
            seconds=self._elapsed(),
            processes=request.processes,
            resumed=self._resumed,
            workers_lost=self._lost,
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
    ) -> Summary:
        """Summarize all records; see `summarize`.

        Raises:
            StoreError: the store cannot be read.
            msgspec.ValidationError: a value in the store of a resumed audit has another type than an audit stores.
        """
        from nomyo_attest.audit.summarize import summarize  # the cross-record rules are not needed earlier

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
        )
        if self.state.resumed:  # SQLite stores values of any type in any column
            msgspec.convert(msgspec.to_builtins(summary, builtin_types=(bytes,)), Summary)
            for failure in summary.failures:
                msgspec.convert(failure | {"pcrs": None}, Row)  # `pcrs` is any JSON
        return summary

    def has_begun_outputs(self, names: Sequence[str]) -> bool:
        """Whether the audit had called `begin_outputs` for `names` before it was interrupted: it may own the files."""
        return bool(self.state.meta.get("outputs") == list(map(display, names)))

    @property
    def stays(self) -> bool:
        """Whether the audit can be resumed if it ends now."""
        return self.state.stays

    @property
    def finished(self) -> bool:
        """Whether the audit had written all outputs before it was interrupted."""
        return bool(self.state.meta.get("finished"))

    def begin_outputs(self, names: Sequence[str]) -> None:
        """Record that the files `names` will be written. Raises `StateError`, `StoreError`."""
        self.state.checkpoint(outputs=list(map(display, names)))

    def finish(self) -> None:
        """Record that all outputs are written, so that there is nothing to resume."""
        self.state.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the state. Raises `StateDamagedError` instead of an error that a damaged state has caused."""
        damaged = self.state.resumed and is_caused_by_damage(error)
        try:
            self.state.close()
        except StoreError:
            if not damaged:
                raise
        if damaged:
            raise StateDamagedError(str(self.state.folder)) from error


class _Clock:
    """Determines when a checkpoint is due; the checkpoint is its context."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._cost = 0.0

    def is_due(self) -> bool:
        return time.monotonic() - self._last >= max(CHECKPOINT_SECONDS, CHECKPOINT_COSTS * self._cost)

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._last = time.monotonic()
        self._cost = self._last - self._began


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def allowed_processes() -> int:
    """Return how many cores the system and the quota of the container allow this process to use."""
    count = getattr(os, "process_cpu_count", None)
    if count is not None:
        cores = count() or 1
    elif hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the CPU quota of the container in cores (cgroup v2, then v1); None if there is none."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            text = " ".join((root / name).read_text(encoding="ascii") for name in names)
            quota, period = map(int, text.split())  # without a limit: "max 100000" or "-1 100000"
        except (OSError, ValueError):
            continue
        return quota / period if quota > 0 and period > 0 else None
    return None
