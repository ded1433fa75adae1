"""The site builds from the dependency group `docs` alone, without the network."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("group", "extras"), [("base", None), ("extras", ["client", "router", "parquet", "socks"])])
def test_a_group_lists_the_same_dependencies_as_the_package(
    pyproject: dict[str, Any], group: str, extras: list[str] | None
) -> None:
    project = pyproject["project"]
    wanted = (
        project["dependencies"]
        if extras is None
        else [line for extra in extras for line in project["optional-dependencies"][extra] if "[" not in line]
    )
    assert sorted(pyproject["dependency-groups"][group]) == sorted(wanted)


def test_the_group_docs_includes_what_autodoc_imports(pyproject: dict[str, Any]) -> None:
    included = {line["include-group"] for line in pyproject["dependency-groups"]["docs"] if isinstance(line, dict)}
    assert included == {"base", "extras"}


def test_the_configuration_names_no_inventory_on_the_network(root: Path) -> None:
    text = (root / "docs" / "conf.py").read_text(encoding="utf-8")
    mapping = text.partition("intersphinx_mapping = {")[2].partition("\n}")[0]
    inventories = re.findall(r', "([^"]+)"\),$', mapping, re.MULTILINE)
    assert len(inventories) == mapping.count("https://") > 0
    assert all((root / "docs" / name).is_file() for name in inventories)


def test_the_diagrams_are_those_that_the_script_draws(root: Path) -> None:
    images = root / "docs" / "images"
    spec = importlib.util.spec_from_file_location("diagrams", images / "diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    drawn = {name: draw().svg() for name, draw in script.DIAGRAMS.items()}
    assert drawn == {path.name: path.read_text(encoding="utf-8") for path in images.glob("*.svg")}
