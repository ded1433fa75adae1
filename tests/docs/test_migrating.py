"""The list of defects in docs/migrating.md and the tests of them are the same list."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.nomyo.defects.rows import ROWS, row_of


@pytest.fixture(scope="module")
def listed(root: Path) -> dict[str, list[str]]:
    """Row → the tests that the page names for it."""
    page = (root / "docs" / "migrating.md").read_text(encoding="utf-8")
    text = page.partition("\n## Defects that are gone\n")[2]
    rows = re.findall(r"^\| ([A-Z]\d+) \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    assert len(dict(rows)) == len(rows), "a row is there twice"
    return {row: re.findall(r"`(test_\w+)`", tests) for row, tests in rows}


@pytest.fixture(scope="module")
def written(root: Path) -> dict[str, str]:
    """Every test of a defect → its file."""
    found = {}
    for path in sorted((root / "tests" / "nomyo" / "defects").glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert node.name not in found, f"{node.name} is there twice"
                found[node.name] = path.name
    return found


def test_every_defect_is_listed_in_its_order_and_has_a_test(listed: dict[str, list[str]]) -> None:
    assert list(listed) == ROWS
    assert not [row for row, tests in listed.items() if not tests]


def test_every_test_is_listed_with_the_defect_that_it_is_named_after(
    listed: dict[str, list[str]], written: dict[str, str]
) -> None:
    assert {test for tests in listed.values() for test in tests} == set(written)
    assert not [test for row, tests in listed.items() for test in tests if row_of(test) != row]


def test_the_file_of_each_group_is_the_one_that_the_page_names(root: Path, written: dict[str, str]) -> None:
    page = (root / "docs" / "migrating.md").read_text(encoding="utf-8")
    sections = re.split(r"^`tests/nomyo/defects/(test_\w+\.py)`$", page, flags=re.MULTILINE)[1:]
    told = {
        test: file
        for file, text in zip(sections[::2], sections[1::2], strict=True)
        for test in re.findall(r"`(test_[a-z]\d+_\w+)`", text)
    }
    assert told == written
