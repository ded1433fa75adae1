"""docs/architecture.md lists every dependency and layer of pyproject.toml, and places that exist."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_dependency_has_a_row_that_says_why(page: str, pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    wanted = {(name_of(line), "") for line in project["dependencies"]}
    extras = project["optional-dependencies"]
    wanted |= {(name_of(line), extra) for extra, lines in extras.items() for line in lines}
    wanted -= {(project["name"], extra) for extra in extras}  # an extra that includes another one
    found = re.findall(r"^\| `([\w.-]+)`(?: \(extra `(\w+)`\))? \| \w", page, re.MULTILINE)
    assert sorted(found) == sorted(wanted)


def name_of(requirement: str) -> str:
    """The name that a requirement begins with."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("package", "title"), [("nomyo_attest", "Layers of the Verifier"), ("nomyo", "Layers of the client")]
)
def test_the_page_shows_the_layers_in_order(page: str, pyproject: dict[str, Any], package: str, title: str) -> None:
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == [package])
    picture = page.partition(f"\n## {title}\n")[2].partition("```text\n")[2].partition("```")[0].splitlines()
    assert len(picture) == len(layers)
    for drawn, layer in zip(picture, layers, strict=True):
        for module in re.findall(r"\w+", layer):
            if not module.startswith("_"):
                assert re.search(rf"\b{module}\b", drawn), f"{module} is missing in: {drawn}"


def places(page: str) -> list[tuple[str, list[str]]]:
    """Each path of the table `Where to find it`, with the names that the row lists after it."""
    table = page.partition("\n## Where to find it\n")[2].partition("\n## ")[0]
    found: list[tuple[str, list[str]]] = []
    for row in re.findall(r"^\| .*\? \| (.*) \|$", table, re.MULTILINE):
        for quoted in re.findall(r"`([^`]+)`", row):
            if "/" in quoted:
                found.append((quoted, []))
            else:
                found[-1][1].append(quoted)
    return found


def test_every_place_in_the_table_exists(page: str, root: Path) -> None:
    found = places(page)
    assert len(found) > 20
    for path, names in found:
        place = root / "src" / path
        assert place.exists(), path
        if names:
            module = ast.parse(place.read_text(encoding="utf-8"))
            assert set(names) <= set(defined(module)), path


def defined(module: ast.Module) -> list[str]:
    """The names of a module's constants, functions and classes."""
    names = []
    for node in module.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names
