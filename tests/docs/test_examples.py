"""Every example of README.md and docs/ does what the document says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.document_examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sybil import Example

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("README.md"), *sorted((ROOT / "docs").glob("**/*.md"))]


def every_example() -> Iterator[object]:
    """One parameter an example, named by document and line."""
    for path in DOCUMENTS:
        for example, note in examples(path):
            marks = [pytest.mark.tpm] if note.word == "needs-tpm" else []
            yield pytest.param(example, id=f"{path.relative_to(ROOT)}:{example.line}", marks=marks)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The working folder of a document, which keeps what its examples write: a copy of fixtures/ to begin with."""
    folders: dict[str, Path] = {}

    def folder(document: str) -> Path:
        if document not in folders:
            folders[document] = tmp_path_factory.mktemp(Path(document).stem)
            shutil.copytree(ROOT / "fixtures", folders[document] / "fixtures")
        return folders[document]

    return folder


@pytest.mark.parametrize("example", list(every_example()))
def test_an_example_does_what_its_document_says(
    example: Example, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder_of(example.path))
    example.evaluate()
