"""Run the examples of a document in order and in one process, also with xdist: they share a folder and a namespace."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute documents, and other tests by file. The groups of xdist 3.8 have no effect with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class ByDocument(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return document_of(nodeid)

    return ByDocument(config, log)


def document_of(nodeid: str) -> str:
    """Return the document of an example with an id such as `…::test_…[docs/gate.md:154]`; the file of other tests."""
    document, line, _ = nodeid.partition("[")[2].rpartition(":")
    return document if line else nodeid.partition("::")[0]
