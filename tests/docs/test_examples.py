"""Every example of README.md and docs/ does what the document says."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nomyo import keys
from nomyo.router import RouterOptions, RunningRouter
from tests.docs.document_examples import examples, missing_package, wants_router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from sybil import Example

ROOT = Path(__file__).parents[2]
NEEDS = {"needs-tpm": pytest.mark.tpm, "needs-spark": pytest.mark.spark}
DOCUMENTS = [*ROOT.glob("README.md"), *sorted((ROOT / "docs").glob("**/*.md"))]


def every_example() -> Iterator[object]:
    """One parameter for each example, named by document and line. What was printed is compared where it was printed."""
    for path in DOCUMENTS:
        marks: list[pytest.MarkDecorator] = []
        for example, note in examples(path):
            if note.word != "printed":
                marks = [NEEDS[note.word]] if note.word in NEEDS else []
            yield pytest.param(example, id=f"{path.relative_to(ROOT)}:{example.line}", marks=marks)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The working folder of a document, with copies of fixtures/ and docs/examples/; written files stay in it."""
    folders: dict[str, Path] = {}

    def folder(document: str) -> Path:
        if document not in folders:
            logging.getLogger("nomyo").setLevel(logging.NOTSET)  # the examples of another document may have set it
            folders[document] = tmp_path_factory.mktemp(Path(document).stem)
            for copied in ("fixtures", "docs/examples"):
                shutil.copytree(ROOT / copied, folders[document] / copied)
        return folders[document]

    return folder


@pytest.fixture(scope="module")
def server_key() -> RSAPrivateKey:
    """The key pair of every router: to make one takes a second or more."""
    return keys.generate()


@pytest.fixture(scope="module")
def router_of(server_key: RSAPrivateKey) -> Iterator[Callable[[str], RunningRouter]]:
    """The router of a document, which serves all its examples; the soft TPM runs everywhere."""
    routers: dict[str, RunningRouter] = {}

    with ExitStack() as running:

        def router(document: str) -> RunningRouter:
            if document not in routers:
                options = RouterOptions(tpm="soft")
                routers[document] = running.enter_context(RunningRouter(options, server_key=server_key))
            return routers[document]

        yield router


@pytest.mark.parametrize("example", list(every_example()))
def test_an_example_does_what_its_document_says(
    example: Example,
    folder_of: Callable[[str], Path],
    router_of: Callable[[str], RunningRouter],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    missing = missing_package(Path(example.path))
    if missing is not None:
        assert missing not in os.environ.get("NOMYO_REQUIRE_PACKAGES", "").split(), f"{missing} is not installed"
        pytest.skip(f"{missing} is not installed")
    monkeypatch.chdir(folder_of(example.path))
    if request.node.get_closest_marker("spark"):
        request.getfixturevalue("sessions").on("local[2]")  # what an example asks for is what there is
    if wants_router(Path(example.path)):
        router = router_of(example.path)
        monkeypatch.setenv("NOMYO_BASE_URL", router.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(router.ca))
    example.evaluate()
