"""docs/architecture.md has every dependency and every layer that pyproject.toml has, in its order."""

from __future__ import annotations

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
def test_the_picture_of_the_layers_has_each_in_its_place(
    page: str, pyproject: dict[str, Any], package: str, title: str
) -> None:
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == [package])
    picture = page.partition(f"\n## {title}\n")[2].partition("```text\n")[2].partition("```")[0].splitlines()
    assert len(picture) == len(layers)
    for drawn, layer in zip(picture, layers, strict=True):
        for module in re.findall(r"\w+", layer):
            if not module.startswith("_"):
                assert re.search(rf"\b{module}\b", drawn), f"{module} is missing in: {drawn}"
