"""What all tests share: where the fixtures are, and what becomes of tests that need a TPM, or Spark."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from nomyo_attest.installation import install_command

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.spark_session import Sessions

ROOT = Path(__file__).parent.parent

# No deadline: a shared machine stalls for longer than any example runs. The same examples each time: who changes one
# thing is not to be told of another by chance. New ones are looked for with the profile `long`, on a patient evening;
# `quick` is for the second Python and those after it.
QUICK_EXAMPLES = 20
_USUAL = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("nomyo", parent=_USUAL, derandomize=True)
settings.register_profile("long", parent=_USUAL, max_examples=20_000)
settings.register_profile("quick", parent=_USUAL, derandomize=True, max_examples=QUICK_EXAMPLES)
settings.load_profile("nomyo")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder `fixtures/`."""
    return ROOT / "fixtures"


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    """Spark sessions, one at a time; for tests marked `spark`."""
    from tests.spark_session import one_at_a_time

    with one_at_a_time(tmp_path_factory.mktemp("spark")) as running:
        yield running


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--sample`, for the Pythons after the first and for `tox -e quick`."""
    parser.addoption(
        "--sample",
        type=int,
        metavar="N",
        help="run at most N parameter sets of each test: the first, the last, and between",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Apply `--sample=N`, and limit the examples of every hypothesis test with the profile `quick`."""
    if config.getoption("hypothesis_profile", None) == "quick":
        for item in items:
            _fewer_examples(item)
    size = config.getoption("sample")
    if size is None:
        return
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    chosen = {item for sets in tests.values() for item in sampled(sets, size)}
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


def _fewer_examples(item: pytest.Item) -> None:
    """Lower the number of examples that a hypothesis test asks for to that of the profile `quick`."""
    function = getattr(item, "obj", None)
    own = getattr(function, "_hypothesis_internal_use_settings", None)
    if own is not None and own.max_examples > QUICK_EXAMPLES:
        # As `@settings` does, whose attribute this is; a bound method passes no assignment on.
        target: Any = getattr(function, "__func__", function)
        target._hypothesis_internal_use_settings = settings(own, max_examples=QUICK_EXAMPLES)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Keep the garbage collector away from the thousands of collected tests, which stay until the end.

    Otherwise each full collection visits them all, half a second each time, and many tests collect.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _old_objects_are_frozen() -> None:
    """Keep the garbage collector away from what earlier files left, such as routers and keys of the whole session."""
    gc.collect()
    gc.freeze()


def sampled(sets: list[pytest.Item], size: int) -> list[pytest.Item]:
    """At most `size` elements, evenly spaced, the first and the last among them."""
    if len(sets) <= size:
        return sets
    return [sets[round(number * (len(sets) - 1) / max(1, size - 1))] for number in range(size)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with an argument `extra_vector`, a `Path`, for every file in the folder NOMYO_EXTRA_VECTORS names."""
    if "extra_vector" not in metafunc.fixturenames:
        return
    folder = os.environ.get("NOMYO_EXTRA_VECTORS")
    if folder:
        files = [pytest.param(path, id=path.stem) for path in sorted(Path(folder).glob("*.json"))]
    else:
        files = [pytest.param(None, marks=pytest.mark.skip("NOMYO_EXTRA_VECTORS names no folder of extra vectors"))]
    metafunc.parametrize("extra_vector", files)


def missing_for_tpm() -> list[str]:
    """What a test marked `tpm` needs and this machine lacks."""
    lacks = []
    if importlib.util.find_spec("tpm2_pytss") is None:
        lacks.append(f"tpm2-pytss ({install_command('tpm')})")
    if shutil.which("swtpm") is None:
        lacks.append("the program swtpm")
    return lacks


def missing_for_spark() -> list[str]:
    """What a test marked `spark` needs and this machine lacks."""
    lacks = []
    if any(importlib.util.find_spec(name) is None for name in ("pyspark", "pyarrow", "pandas")):
        lacks.append(f"PySpark ({install_command('spark')})")
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=f"{home}/bin" if home else None) is None:
        lacks.append("Java (on Debian: apt-get install default-jre-headless)")
    return lacks


NEEDS = {
    "tpm": ("a TPM", missing_for_tpm, "NOMYO_REQUIRE_TPM"),
    "spark": ("Spark", missing_for_spark, "NOMYO_REQUIRE_SPARK"),
}
"""Marker → what its tests need, what of it is missing, and the variable that forbids them to skip."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs what is not there, before its fixtures are made."""
    for marker, (what, missing, _) in NEEDS.items():
        lacks = missing() if item.get_closest_marker(marker) else []
        if lacks:
            pytest.skip(f"needs {what}; missing: {', '.join(lacks)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With NOMYO_REQUIRE_TPM=1 a test that needs a TPM may not skip, for whatever reason; so for the others."""
    report = yield
    for marker, (_, _, variable) in NEEDS.items():
        required = os.environ.get(variable) == "1" and item.get_closest_marker(marker)
        if required and report.skipped and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"{variable}=1, yet this test skipped: {report.longrepr}"
    return report
