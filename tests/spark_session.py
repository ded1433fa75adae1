"""Spark sessions for tests: one at a time in one JVM, on this machine alone, stopped in the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

# A test is over before code compiled for long runs would pay.
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
    # Many small stages: planning them anew after each costs more than it saves.
    "spark.sql.adaptive.enabled": "false",
}


class Sessions:
    """The session there is; another master takes its place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._master = ""
        self._session: Any = None

    def on(self, master: str, **more: str) -> Any:
        """The session on `master`; `more` are settings, with `__` for a dot."""
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
        """Stop what runs, if something does."""
        if self._session is not None:
            self._session.stop()
        self._session, self._master = None, ""


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[Sessions]:
    """Sessions that write into `folder` only; in the end, what runs is stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_HOME", str(home(folder / "home")))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYSPARK_DRIVER_PYTHON", sys.executable)
        sessions = Sessions(folder)
        yield sessions
        sessions.stop()
        end_of_jvm()


def home(folder: Path) -> Path:
    """PySpark's own folder under another name: executors of `local-cluster` write into SPARK_HOME/work."""
    import pyspark

    folder.mkdir()
    for entry in Path(next(iter(pyspark.__path__))).iterdir():
        if entry.name != "work":
            (folder / entry.name).symlink_to(entry)
    return folder


def end_of_jvm() -> None:
    """End the JVM behind PySpark: it would only end with this process, and its socket with the collector."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        with suppress(TimeoutError):
            gateway.proc.wait(20)
        SparkContext._gateway = SparkContext._jvm = None
