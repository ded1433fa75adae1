"""The list of defects in docs/migrating.md and the tests of them are the same list."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.nomyo.defects.rows import ROWS, row_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def listed(root: Path) -> dict[str, list[str]]:
    """File of tests → the defects that the page lists below its name, in their order."""
    page = (root / "docs" / "migrating.md").read_text(encoding="utf-8")
    text = page.partition("\n## Fixed defects\n")[2]
    sections = re.split(r"^Tests: `tests/nomyo/defects/(test_\w+\.py)`$", text, flags=re.MULTILINE)[1:]
    return {
        file: re.findall(r"^- \*\*([A-Z]\d+)\. ", defects, re.MULTILINE)
        for file, defects in zip(sections[::2], sections[1::2], strict=True)
    }


@pytest.fixture(scope="module")
def tested(root: Path) -> dict[str, list[str]]:
    """File → the defects that its tests are named after."""
    return {
        path.name: [
            row_of(node.name)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        for path in sorted((root / "tests" / "nomyo" / "defects").glob("test_*.py"))
    }


def test_every_defect_is_listed_once_in_its_order(listed: dict[str, list[str]]) -> None:
    assert [row for defects in listed.values() for row in defects] == ROWS


def test_each_file_tests_the_defects_that_the_page_lists_for_it(
    listed: dict[str, list[str]], tested: dict[str, list[str]]
) -> None:
    assert {file: set(defects) for file, defects in listed.items()} == {
        file: set(defects) for file, defects in tested.items()
    }
