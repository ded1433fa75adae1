"""Fixtures and options of all tests, and the handling of tests that need a TPM or Spark."""

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

# No deadline: a shared machine can stall for longer than an example runs. Examples are derandomized, so that a change
# never fails a test by chance. The profile `long` searches for new examples; `quick` is for all Pythons but the first.
QUICK_EXAMPLES = 20
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("nomyo", parent=_COMMON, derandomize=True)
settings.register_profile("long", parent=_COMMON, max_examples=20_000)
settings.register_profile("quick", parent=_COMMON, derandomize=True, max_examples=QUICK_EXAMPLES)
settings.load_profile("nomyo")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root folder of the project."""
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
        help="run at most N parameter sets of each test, evenly spaced",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Apply `--sample=N`, and limit the examples of every hypothesis test with the profile `quick`."""
    if config.getoption("hypothesis_profile", None) == "quick":
        for item in items:
            _limit_examples(item)
    size = config.getoption("sample")
    if size is None:
        return
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    chosen = {item for sets in tests.values() for item in sampled(sets, size)}
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


def _limit_examples(item: pytest.Item) -> None:
    """Limit the number of examples of a hypothesis test to that of the profile `quick`."""
    function = getattr(item, "obj", None)
    own = getattr(function, "_hypothesis_internal_use_settings", None)
    if own is not None and own.max_examples > QUICK_EXAMPLES:
        # `@settings` sets this attribute too. Attributes of a bound method cannot be assigned.
        target: Any = getattr(function, "__func__", function)
        target._hypothesis_internal_use_settings = settings(own, max_examples=QUICK_EXAMPLES)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Exclude the thousands of collected tests from garbage collection.

    Otherwise each full collection traverses them, which takes half a second, and many tests trigger one.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _freeze_old_objects() -> None:
    """Exclude objects of earlier files, such as routers and keys of the session, from garbage collection."""
    gc.collect()
    gc.freeze()


def sampled(sets: list[pytest.Item], size: int) -> list[pytest.Item]:
    """Return at most `size` elements, evenly spaced, including the first and the last."""
    if len(sets) <= size:
        return sets
    return [sets[round(number * (len(sets) - 1) / max(1, size - 1))] for number in range(size)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with an argument `extra_vector` for every file in the folder that NOMYO_EXTRA_VECTORS names."""
    if "extra_vector" not in metafunc.fixturenames:
        return
    folder = os.environ.get("NOMYO_EXTRA_VECTORS")
    if folder:
        files = [pytest.param(path, id=path.stem) for path in sorted(Path(folder).glob("*.json"))]
    else:
        files = [pytest.param(None, marks=pytest.mark.skip("NOMYO_EXTRA_VECTORS is not set"))]
    metafunc.parametrize("extra_vector", files)


def missing_for_tpm() -> list[str]:
    """Return the missing dependencies of tests marked `tpm`."""
    missing = []
    if importlib.util.find_spec("tpm2_pytss") is None:
        missing.append(f"tpm2-pytss ({install_command('tpm')})")
    if shutil.which("swtpm") is None:
        missing.append("the program swtpm")
    return missing


def missing_for_spark() -> list[str]:
    """Return the missing dependencies of tests marked `spark`."""
    missing = []
    if any(importlib.util.find_spec(name) is None for name in ("pyspark", "pyarrow", "pandas")):
        missing.append(f"PySpark ({install_command('spark')})")
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=f"{home}/bin" if home else None) is None:
        missing.append("Java (on Debian: apt-get install default-jre-headless)")
    return missing


NEEDS = {
    "tpm": ("a TPM", missing_for_tpm, "NOMYO_REQUIRE_TPM"),
    "spark": ("Spark", missing_for_spark, "NOMYO_REQUIRE_SPARK"),
}
"""Marker → what its tests need, a function that returns what is missing, and the variable that forbids skipping."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose dependencies are missing, before its fixtures are created."""
    for marker, (what, find_missing, _) in NEEDS.items():
        missing = find_missing() if item.get_closest_marker(marker) else []
        if missing:
            pytest.skip(f"needs {what}; missing: {', '.join(missing)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail instead of skipping if a variable such as NOMYO_REQUIRE_TPM=1 requires the test."""
    report = yield
    for marker, (_, _, variable) in NEEDS.items():
        required = os.environ.get(variable) == "1" and item.get_closest_marker(marker)
        if required and report.skipped and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"{variable}=1, but this test was skipped: {report.longrepr}"
    return report
