"""Spark sessions for tests: one at a time, in one JVM on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

# Tests are too short for the optimizing compiler to pay off.
JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

SHARED = {
    "spark.driver.extraJavaOptions": JVM,
    "spark.executor.extraJavaOptions": JVM,
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.driver.memory": "512m",
    "spark.sql.shuffle.partitions": "2",
    # For many small stages, adaptive planning costs more than it saves.
    "spark.sql.adaptive.enabled": "false",
}


class Sessions:
    """The current session; a different master replaces it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._master = ""
        self._session: Any = None

    def on(self, master: str, **more: str) -> Any:
        """Return the session on `master`; `more` are settings, with `__` for a dot."""
        from pyspark.sql import SparkSession

        if master != self._master:
            self.stop()
            builder = SparkSession.builder.master(master)
            places = {"spark.local.dir": self._folder / "local", "spark.sql.warehouse.dir": self._folder / "warehouse"}
            named = {name.replace("__", "."): value for name, value in more.items()}
            for name, value in (SHARED | named | {name: str(path) for name, path in places.items()}).items():
                builder = builder.config(name, value)
            self._session, self._master = builder.getOrCreate(), master
        return self._session

    def stop(self) -> None:
        """Stop the session, if any."""
        if self._session is not None:
            self._session.stop()
        self._session, self._master = None, ""


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[Sessions]:
    """Provide sessions that write only into `folder`, and stop the last one at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_HOME", str(copy_home(folder / "home")))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYSPARK_DRIVER_PYTHON", sys.executable)
        sessions = Sessions(folder)
        yield sessions
        sessions.stop()
        end_jvm()


def copy_home(folder: Path) -> Path:
    """Link PySpark's folder into a new one: executors of `local-cluster` write into SPARK_HOME/work."""
    import pyspark

    folder.mkdir()
    for entry in Path(next(iter(pyspark.__path__))).iterdir():
        if entry.name != "work":
            (folder / entry.name).symlink_to(entry)
    return folder


def end_jvm() -> None:
    """End PySpark's JVM, which would otherwise run until this process ends."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        with suppress(TimeoutError):
            gateway.proc.wait(20)
        SparkContext._gateway = SparkContext._jvm = None
