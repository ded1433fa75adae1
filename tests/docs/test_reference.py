"""docs/reference/ documents every public name, once."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Modules that the guides import from; those that need an extra which may be missing are read, not imported.
MODULES = (
    "nomyo",
    "nomyo.dropin",
    "nomyo.router",
    "nomyo_attest",
    "nomyo_attest.attester",
    "nomyo_attest.audit.arrow",
    "nomyo_attest.audit.spark",
    "nomyo_attest.ledger",
    "nomyo_attest.policy",
    "nomyo_attest.pytest_plugin",
    "nomyo_attest.testing",
    "nomyo_attest.testing.fleet",
    "nomyo_attest.tpm",
)
READ = {"nomyo_attest.attester", "nomyo_attest.audit.spark"}


@pytest.fixture(scope="module")
def documented(root: Path) -> Counter[str]:
    """The dotted names in the directives of the reference, with their number."""
    pages = sorted((root / "docs" / "reference").glob("*.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    return Counter(re.findall(r"^\.\. (?:auto(?:class|function|exception)|py:data):: ([\w.]+)", text, re.MULTILINE))


def public_names(module: str, root: Path) -> list[str]:
    if module not in READ:
        return list(importlib.import_module(module).__all__)
    path = root / "src" / module.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_documents_every_public_name_of(module: str, documented: Counter[str], root: Path) -> None:
    elsewhere = {name.rpartition(".")[2] for name in documented if name.startswith(module.partition(".")[0])}
    missing = [name for name in public_names(module, root) if f"{module}.{name}" not in documented]
    # A name that another module exports, too, is documented there.
    assert not [name for name in missing if name not in elsewhere]


def test_the_reference_documents_no_name_twice_and_none_that_is_not_public(
    documented: Counter[str], root: Path
) -> None:
    assert not [name for name, count in documented.items() if count > 1]
    public = {f"{module}.{name}" for module in MODULES for name in public_names(module, root)}
    # The class of nomyo 0.2.9 is imported from `nomyo.SecureCompletionClient`.
    assert set(documented) - public == {"nomyo.client.SecureCompletionClient"}
