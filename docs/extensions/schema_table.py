"""A Sphinx directive that renders one of the package's JSON Schemas as a table: key, type, description.

``{schema-table} result`` renders the schema `result`; ``{schema-table} evidence #/$defs/metadata`` a part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nomyo_attest.schemas import load_schema

HEAD = ("key", "type", "meaning")
WIDTHS = (30, 25, 45)
OPTIONAL = "optional"


class SchemaTable(SphinxDirective):
    """Render a schema as a table."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        schema = load_schema(self.arguments[0])
        part = resolve_pointer(schema, self.arguments[1]) if len(self.arguments) > 1 else schema
        return [table(list(rows(schema, part)))]


def rows(schema: dict[str, Any], part: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield key, type and meaning of every property, depth first."""
    properties = dict(part.get("properties", {}))
    for name, definition in part.get("then", {}).get("properties", {}).items():
        properties.setdefault(name, definition)
    required = {*part.get("required", ()), *part.get("then", {}).get("required", ())}
    for name, definition in properties.items():
        key = f"{prefix}{name}"
        full = resolve(schema, definition)
        kind = type_of(schema, full)
        if name not in required:
            kind = f"{kind}, {OPTIONAL}"
        yield key, kind, meaning(full)
        if "object" in types(full) and len(full.get("properties", {})) <= 12:
            yield from rows(schema, full, f"{key}.")
        items = resolve(schema, full.get("items", {}))
        if "object" in types(items) and "properties" in items:
            yield from rows(schema, items, f"{key}[].")


def resolve_pointer(schema: dict[str, Any], pointer: str) -> dict[str, Any]:
    """Return the part of a schema that a local pointer names."""
    part = schema
    for name in pointer.removeprefix("#/").split("/"):
        part = part[name]
    return part


def resolve(schema: dict[str, Any], definition: dict[str, Any]) -> dict[str, Any]:
    """Merge a definition with the target of its `$ref`."""
    return {**resolve_pointer(schema, definition["$ref"]), **definition} if "$ref" in definition else definition


def types(definition: dict[str, Any]) -> list[str]:
    """Return the types that a definition allows."""
    found = definition.get("type", [])
    return [found] if isinstance(found, str) else list(found)


def type_of(schema: dict[str, Any], definition: dict[str, Any]) -> str:
    """Describe the values that a definition allows."""
    if "const" in definition:
        return json.dumps(definition["const"])
    if "enum" in definition:
        return " | ".join(json.dumps(value) for value in definition["enum"])
    if "items" in definition:
        return f"array of {type_of(schema, resolve(schema, definition['items']))}"
    return " or ".join(types(definition)) or ("string" if "anyOf" in definition else "any")


def meaning(definition: dict[str, Any]) -> str:
    """Return the description."""
    return str(definition.get("description", ""))


def table(found: list[tuple[str, str, str]]) -> nodes.table:
    """Build a table with three columns; keys and types are literals."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in WIDTHS), cols=len(WIDTHS))
    group += nodes.thead("", row(*(nodes.paragraph("", text) for text in HEAD)))
    body = nodes.tbody()
    for key, kind, text in found:
        optional = kind.endswith(f", {OPTIONAL}")
        types_cell = nodes.paragraph("", "", nodes.literal("", kind.removesuffix(f", {OPTIONAL}")))
        if optional:
            types_cell += nodes.Text(f", {OPTIONAL}")
        body += row(nodes.paragraph("", "", nodes.literal("", key)), types_cell, nodes.paragraph("", text))
    group += body
    return nodes.table("", group, classes=["schema"])


def row(*cells: nodes.Node) -> nodes.row:
    """Build a row of a table."""
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("schema-table", SchemaTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
