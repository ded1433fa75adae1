"""One audit from its beginning to its end, or from where another was interrupted."""

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
from nomyo_attest.audit.state import State, StateDamagedError, is_by_damage
from nomyo_attest.audit.store import StoreError
from nomyo_attest.audit.summary import CrossRecordFinding, Run, Summary
from nomyo_attest.audit.worker import WorkOrder
from nomyo_attest.policy.model import AppraisalPolicy

CHECKPOINT_SECONDS: Final = 2.0
"""Seconds of work that a killed audit loses at the most, unless checkpoints are slow."""

CHECKPOINT_COSTS: Final = 30
"""A checkpoint is made when the last one's time has passed this many times: no more than 3 % of all time."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit is asked for.

    Attributes:
        names: files, folders, ``"-"``; see `take_inventory`, also for `column` and `follow_links`.
        policy: the policy.
        at: the time of all appraisals; by default that of the audit's start, if the policy has a period or
            `unsafe_warn_until`.
        since, until, select, keep_evidence: see `WorkOrder`.
        processes: how many processes appraise.
        rows: whether the rows are wanted.
        command: what was typed, to be reported.
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
        """What decides about rows and facts: an interrupted audit is gone on with by one that has the same."""
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
        """The verdicts selected, in the order of `VERDICTS`."""
        return [verdict for verdict in VERDICTS if verdict in self.select]


class Progress(NamedTuple):
    """How far an audit is: records, those of this run, bytes on disk, and how many there are (0 if nobody knows)."""

    records: int
    fresh: int
    read: int
    size: int


class Audit:
    """An audit; a context manager that leaves its state for another to go on with, unless it is `finish`ed.

    Attributes:
        request: what is asked for.
        inventory: what is read.
        state: what is kept meanwhile.
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
        """List the inputs, and open the state, which may be an interrupted audit's.

        Args:
            request: what is asked for.
            folder: where the state is stored; by default in a temporary folder, and then it cannot be resumed.
            resume, force, or_temporary: see `State.open`.

        Raises:
            InventoryError, StateError, StoreError.
        """
        inventory = take_inventory(request.names, column=request.column, follow_links=request.follow_links)
        identity = request.identity(inventory)
        if folder is None:
            state = State.temporary(identity)
        else:
            again = inventory.resumable
            state = State.open(folder, identity, resume=resume, force=force, again=again, or_temporary=or_temporary)
        try:
            return cls(request, inventory, state)
        except BaseException as error:
            state.close()
            if state.resumed and is_by_damage(error):
                raise StateDamagedError(str(state.folder)) from error
            raise

    def appraise(self) -> Iterator[Progress]:
        """Appraise all records that are left. Raises `StateError`, `StoreError`, `WorkerFailedError`."""
        state, request = self.state, self.request
        if state.meta.get("complete"):
            self._check_whole()
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
        self._check_whole()
        self._checkpoint(complete=True)

    def _check_whole(self) -> None:
        """See that every source was read to its end and every record that was counted is there, should the state not be
        what this audit, or the one it goes on with, has left. Raises `StateDamagedError`, `StoreError`.
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
        """How it was run."""
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
        """What all records come to; see `summarize`.

        Raises:
            StoreError: the store cannot be read.
            msgspec.ValidationError: a value in the store of a resumed audit has another type than an audit stores.
        """
        from nomyo_attest.audit.summarize import summarize  # the rules across records are not needed before

        summary = summarize(
            self.state.store,
            policy=self.request.policy,
            run=self.run(),
            passed_over=self.inventory.passed_over,
            passed_over_total=self.inventory.passed_over_total,
            repeated=self.inventory.repeated,
            repeated_total=self.inventory.repeated_total,
            max_gap=max_gap,
            fail_on=fail_on,
            max_failures=max_failures,
            allow_no_evidence=allow_no_evidence,
            allow_undated=allow_undated,
            on_finding=on_finding,
        )
        if self.state.resumed:  # SQLite keeps values of any type in any column
            msgspec.convert(msgspec.to_builtins(summary), Summary)
            for failure in summary.failures:
                msgspec.convert(failure | {"pcrs": None}, Row)  # `pcrs` is any JSON
        return summary

    def was_placing(self, names: Sequence[str]) -> bool:
        """Whether an interrupted audit had begun to write the files `names`: what is there is its own then."""
        return bool(self.state.meta.get("placing") == list(map(display, names)))

    @property
    def stays(self) -> bool:
        """Whether another audit can go on with this one, should it end now."""
        return self.state.stays

    @property
    def finished(self) -> bool:
        """Whether an interrupted audit had written everything."""
        return bool(self.state.meta.get("finished"))

    def place(self, names: Sequence[str]) -> None:
        """Say that the files `names` are going to be written. Raises `StateError`, `StoreError`."""
        self.state.checkpoint(placing=list(map(display, names)))

    def finish(self) -> None:
        """All is written: nothing is left to go on with."""
        self.state.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the state. Raises `StateDamagedError` instead of an error that damage of a resumed state explains."""
        damaged = self.state.resumed and is_by_damage(error)
        try:
            self.state.close()
        except StoreError:
            if not damaged:
                raise
        if damaged:
            raise StateDamagedError(str(self.state.folder)) from error


class _Clock:
    """When a checkpoint is due; its `with` block is one."""

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
    """Cores that this process may use: as the system allows, and as the quota of its container does."""
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
    """Cores' worth of time that Linux gives this container (cgroup v2, then v1); None for all there is."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            text = " ".join((root / name).read_text(encoding="ascii") for name in names)
            quota, period = map(int, text.split())  # "max 100000" is no limit, and so is "-1 100000"
        except (OSError, ValueError):
            continue
        return quota / period if quota > 0 and period > 0 else None
    return None
