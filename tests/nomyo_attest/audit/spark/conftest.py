"""Fixtures of the tests with Spark."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.spark_session import Sessions


@pytest.fixture
def spark(sessions: Sessions) -> Any:
    """A session with two threads."""
    return sessions.on("local[2]")


@pytest.fixture
def table_of(spark: Any) -> Callable[..., Any]:
    """A function that creates a DataFrame of records with their sources and lines."""

    def make(bag: Any, partitions: int = 3) -> Any:
        rows = [(one.source, one.line, bytearray(one.text) if one.text is not None else None) for one in bag]
        return spark.createDataFrame(rows, "source string, line bigint, response binary").repartition(partitions)

    return make
