"""The lock files of the GitHub Action satisfy pyproject.toml, and the check notices where they do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from requirements.lock import FOLDER, LOCKS, problems


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    """A copy of pyproject.toml and the lock files."""
    shutil.copy(root / "pyproject.toml", tmp_path)
    (tmp_path / FOLDER).mkdir()
    for name in LOCKS:
        shutil.copy(root / FOLDER / name, tmp_path / FOLDER)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_lock_files_satisfy_pyproject() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"rich>=13"', '"rich>=14"'),
        ('requires = ["hatchling>=1.27"]', 'requires = ["hatchling>=1.28"]'),
        ('requires-python = ">=3.11"', 'requires-python = ">=3.12"'),
    ],
)
def test_a_changed_requirement_needs_new_lock_files(project: Path, old: str, new: str) -> None:
    edit(project / "pyproject.toml", old, new)
    made = "made from other requirements than pyproject.toml contains"
    assert problems(project) == [f"requirements/{name}: {made}" for name in LOCKS]


def test_an_extra_concerns_only_the_lock_files_that_contain_it(project: Path) -> None:
    edit(project / "pyproject.toml", '\nparquet = ["pyarrow>=16"]', '\nparquet = ["pyarrow>=17"]')
    (found,) = problems(project)
    assert found.startswith("requirements/action-parquet.txt: made from other")


def test_a_requirement_that_is_missing_or_locked_to_another_version_is_found(project: Path) -> None:
    lock = project / FOLDER / "action.txt"
    edit(lock, "\nrich==", "\nrich-click==")
    edit(lock, "\nhatchling==1.", "\nhatchling==0.")
    found = problems(project)
    assert "requirements/action.txt: 'rich>=13' is not locked" in found
    assert any(line.startswith("requirements/action.txt: 'hatchling>=1.27' is locked to 0.") for line in found)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("evil==1", "without a SHA-256 hash: 'evil==1'"),
        ("evil>=1 --hash=sha256:" + "0" * 64, "not pinned to one version: 'evil>=1'"),
        ("evil==1.* --hash=sha256:" + "0" * 64, "not pinned to one version: 'evil==1.*'"),
        ("evil @ https://evil.invalid/e.whl --hash=sha256:" + "0" * 64, "not pinned to one version: 'evil @ https"),
        ("--index-url https://evil.invalid/", "not a requirement: '--index-url https://evil.invalid/'"),
    ],
)
def test_a_line_that_is_not_a_pin_with_a_hash_is_found(project: Path, line: str, problem: str) -> None:
    with (project / FOLDER / "action.txt").open("a", encoding="utf-8") as lock:
        lock.write(line + "\n")
    (found,) = problems(project)
    assert found.startswith(f"requirements/action.txt: {problem}")


def test_a_missing_lock_file_is_found(project: Path) -> None:
    (project / FOLDER / "action.txt").unlink()
    assert problems(project)[0] == "requirements/action.txt: made from other requirements than pyproject.toml contains"
