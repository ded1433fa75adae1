"""Fixtures: a folder with a trusted response and its policy, and a reproducible terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def _plain_terminal() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder with good.json and a policy.toml learned from it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.json").write_text(Forge().text(), encoding="utf-8")
    ran = run("policy", "learn", "--allow-test-keys", "good.json", "-o", "policy.toml")
    assert (ran.status, ran.err) == (0, "")
    return tmp_path
