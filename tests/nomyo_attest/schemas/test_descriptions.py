"""The descriptions of the JSON Schemas, which the reference shows as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nomyo_attest.schemas import SCHEMAS, load_schema


def properties(part: object, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each property in a schema with its place, without those that `if`, `then` and `else` only restrict."""
    if not isinstance(part, dict):
        return
    for name, definition in part.get("properties", {}).items():
        yield f"{where}/{name}", definition
    for key, inner in part.items():
        if key == "properties" or key in ("$defs", "patternProperties"):
            for name, definition in inner.items():
                yield from properties(definition, f"{where}/{name}")
        elif key == "items":
            yield from properties(inner, f"{where}[]")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_property_has_a_description(name: str) -> None:
    schema = load_schema(name)
    found = dict(properties(schema, ""))
    assert found
    definitions = schema.get("$defs", {})
    described = {
        where: definitions[definition["$ref"].rpartition("/")[2]] if "$ref" in definition else definition
        for where, definition in found.items()
    }
    assert [where for where, definition in described.items() if not definition.get("description")] == []
