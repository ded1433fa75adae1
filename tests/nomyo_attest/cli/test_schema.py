"""`nomyo-attest schema`."""

from __future__ import annotations

import pytest

from nomyo_attest.schemas import SCHEMAS, load_schema
from tests.nomyo_attest.cli.runner import run


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_printed_as_it_is_shipped(name: str) -> None:
    ran = run("schema", name)
    assert (ran.status, ran.err) == (0, "")
    assert ran.json() == load_schema(name)
