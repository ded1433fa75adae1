"""A release contains what its commit contains, and its SBOM depends on the commit and the locked packages alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from requirements.release import ReleaseError, extras, release, reproducible_sbom

EXPORTED: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "serialNumber": "urn:uuid:00000000-0000-4000-8000-000000000000",
    "metadata": {"timestamp": "2031-01-01T00:00:00.123Z", "component": {"name": "nomyo-attest"}},
    "components": [{"name": "rich", "version": "14.0.0"}],
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with one commit."""
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "README.md").write_text("A project.\n", encoding="utf-8")
    git = ["git", "-C", str(root), "-c", "user.name=tester", "-c", "user.email=tester@example.invalid"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run([*git, *command], check=True)
    return root


def test_a_checkout_with_changes_is_not_released(checkout: Path, tmp_path: Path) -> None:
    (checkout / "README.md").write_text("Another project.\n", encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"uncommitted changes, first 'M README\.md'"):
        release(checkout, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_files_of_an_earlier_release_are_not_mixed_with_new_ones(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "old.whl").touch()
    with pytest.raises(ReleaseError, match="is not an empty folder"):
        release(checkout, tmp_path / "dist")


def test_an_sbom_has_no_random_number_and_no_time_of_day() -> None:
    first = reproducible_sbom(EXPORTED, "1.2.3", "base", 1_700_000_000)
    later = {**EXPORTED, "serialNumber": "another", "metadata": {**EXPORTED["metadata"], "timestamp": "later"}}
    assert first == reproducible_sbom(later, "1.2.3", "base", 1_700_000_000)
    assert first["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert first["metadata"]["component"]["purl"] == "pkg:pypi/nomyo-attest@1.2.3"
    assert first["serialNumber"] != reproducible_sbom(EXPORTED, "1.2.4", "base", 1_700_000_000)["serialNumber"]
    assert EXPORTED["metadata"]["timestamp"] == "2031-01-01T00:00:00.123Z"


def test_every_extra_gets_a_lock_file(root: Path) -> None:
    assert {"client", "router", "tpm", "parquet", "spark", "socks"} <= set(extras(root))


def test_the_release_workflow_satisfies_the_schema_of_workflows(root: Path) -> None:
    workflow = root / ".github" / "workflows" / "release.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
