"""An executor that is killed in mid-run costs time, and no record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from nomyo_attest.audit.arrow import batch_to_rows
from tests.nomyo_attest.audit.mixed_bag import POLICY, lines, mixed_records

if TYPE_CHECKING:
    from tests.spark_session import Sessions

pytestmark = pytest.mark.spark

PARTITIONS = 6
HELD = 3
"""The partition whose first attempt is held back halfway."""

ROWS_AT_ONCE = 5
PATIENCE = 180.0
"""Seconds."""


@pytest.fixture
def cluster(sessions: Sessions, tmp_path: Path) -> Any:
    """Two executors, each a process with one core and without pandas, which they do not need."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "pandas.py").write_text("raise ImportError('there is no pandas')")
    return sessions.on(
        "local-cluster[2,1,1024]",
        spark__executor__memory="512m",
        spark__executorEnv__PYTHONPATH=str(tmp_path / "without"),
        spark__sql__execution__arrow__maxRecordsPerBatch=str(ROWS_AT_ONCE),
    )


def test_every_record_appears_once_after_an_executor_was_killed(cluster: Any, tmp_path: Path) -> None:
    from nomyo_attest.audit import spark as audit

    rows = [(one.source, one.line, one.text and bytearray(one.text)) for one in mixed_records()]
    records = cluster.createDataFrame(rows, "source string, line bigint, response binary").repartition(PARTITIONS)
    verdicts = audit.appraise(records, POLICY)

    undisturbed = tmp_path / "undisturbed"
    verdicts.write.parquet(str(undisturbed))

    killer = Killer(tmp_path)
    killer.start()
    disturbed = tmp_path / "disturbed"
    verdicts.mapInArrow(held_halfway(tmp_path), audit.SCHEMA).write.parquet(str(disturbed))
    killer.join(PATIENCE)

    assert killer.killed is not None, "nobody was killed"
    assert len({path.read_text() for path in tmp_path.glob(f"attempt-{HELD}-*")}) == 2, "one process did it all"
    expected = lines([one.row() for one in mixed_records()])
    assert read(undisturbed) == expected
    assert read(disturbed) == expected


def held_halfway(folder: Path) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Between verdicts and file: one partition goes on only when somebody was killed, and has then been half written.

    Nested, so that it travels by value: executors know nothing of tests.
    """
    held, rows_at_once, patience = HELD, ROWS_AT_ONCE, PATIENCE

    def hold(batches: Iterator[Any]) -> Iterator[Any]:
        import psutil
        from pyspark import TaskContext

        with suppress(ImportError):
            import_module("pandas")
            raise AssertionError("there is pandas")
        task = TaskContext.get()
        executor = str(psutil.Process(os.getppid()).ppid())  # between it and us is a daemon that forks
        (folder / f"attempt-{task.partitionId()}-{task.taskAttemptId()}").write_text(executor)
        for number, batch in enumerate(batches):
            assert batch.num_rows <= rows_at_once
            yield batch
            if number == 1 and task.partitionId() == held and not (folder / "killed").exists():
                (folder / "halfway.new").write_text(executor)
                (folder / "halfway.new").rename(folder / "halfway")
                until = time.monotonic() + patience
                while not (folder / "killed").exists() and time.monotonic() < until:
                    time.sleep(0.05)

    return hold


class Killer(Thread):
    """Kills the executor that says it is halfway, as the kernel would: no notice, no clean-up."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self.killed: int | None = None

    def run(self) -> None:
        import psutil

        halfway = self._folder / "halfway"
        until = time.monotonic() + PATIENCE
        while not halfway.exists() and time.monotonic() < until:
            time.sleep(0.05)
        executor = psutil.Process(int(halfway.read_text()))
        assert any("CoarseGrainedExecutorBackend" in part for part in executor.cmdline())
        executor.kill()
        executor.wait(PATIENCE)
        self.killed = executor.pid
        (self._folder / "killed").touch()


def read(folder: Path) -> list[bytes]:
    import pyarrow.parquet as pq

    return lines(list(batch_to_rows(pq.read_table(folder))))
