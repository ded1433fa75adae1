"""A test that needs a TPM, or Spark, skips where there is none, and may not skip where one is required."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


TESTS = """
import pytest

@pytest.mark.{marker}
def test_with_a_tpm():
    {body}

def test_without_a_tpm():
    pytest.skip("for a reason of its own")
"""


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Run:
    shutil.copy(root / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  tpm\n  spark\n", encoding="utf-8")
    return Run(tmp_path)


class Run:
    """Run `TESTS` under this project's conftest, on a search path without swtpm or with a file of that name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, body: str, *, required: str, swtpm: bool = False, marker: str = "tpm") -> str:
        """What pytest prints."""
        (self.folder / "test_tpm.py").write_text(TESTS.format(body=body, marker=marker), encoding="utf-8")
        programs = self.folder / "bin"
        programs.mkdir()
        if swtpm:
            (programs / "swtpm").touch(mode=0o755)
            (self.folder / "tpm2_pytss.py").touch()
        environment = os.environ | {
            "PATH": str(programs),
            "JAVA_HOME": "",
            "NOMYO_REQUIRE_SPARK": required,
            "NOMYO_REQUIRE_TPM": required,
            "PYTHONPATH": str(self.folder),
        }
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", str(self.folder)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def test_without_a_tpm_the_test_skips_and_says_what_is_missing(run: Run) -> None:
    printed = run("assert False", swtpm=False, required="")
    assert "2 skipped" in printed
    assert "the program swtpm" in printed


def test_where_a_tpm_is_required_and_missing_the_test_fails(run: Run) -> None:
    printed = run("assert True", swtpm=False, required="1")
    assert "1 skipped, 1 error" in printed
    assert "NOMYO_REQUIRE_TPM=1, but this test was skipped" in printed
    assert "the program swtpm" in printed


def test_where_a_tpm_is_required_a_test_may_not_skip_by_itself(run: Run) -> None:
    printed = run("pytest.skip('no such curve')", swtpm=True, required="1")
    assert "1 failed, 1 skipped" in printed
    assert "no such curve" in printed


def test_with_a_tpm_the_test_runs(run: Run) -> None:
    assert "1 passed, 1 skipped" in run("assert True", swtpm=True, required="1")


def test_without_java_a_test_on_spark_skips_and_says_so(run: Run) -> None:
    printed = run("assert False", marker="spark", required="")
    assert "2 skipped" in printed
    assert "Java (on Debian: apt-get install default-jre-headless)" in printed


def test_where_spark_is_required_and_missing_the_test_fails(run: Run) -> None:
    printed = run("assert True", marker="spark", required="1")
    assert "1 skipped, 1 error" in printed
    assert "NOMYO_REQUIRE_SPARK=1, but this test was skipped" in printed


def test_a_test_module_that_uses_the_tpm_library_carries_the_marker(root: Path) -> None:
    library = re.compile(r"""^\s*(import|from) tpm2_pytss|importorskip\(\s*['"]tpm2_pytss""", re.MULTILINE)
    modules = {path: path.read_text(encoding="utf-8") for path in (root / "tests").rglob("*.py")}
    users = {path for path, text in modules.items() if library.search(text)}
    assert not [str(path) for path in users if "pytest.mark.tpm" not in modules[path]]


def test_hypothesis_stores_settings_where_the_profile_quick_limits_them() -> None:
    @settings(max_examples=50)
    @given(st.none())
    def test(value: None) -> None: ...

    assert vars(test)["_hypothesis_internal_use_settings"].max_examples == 50
