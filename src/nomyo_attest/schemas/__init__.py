"""The JSON Schemas this package ships: `policy`, `evidence`, `result` and `verdict` (JSON Schema 2020-12)."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Final

SCHEMAS: Final = ("policy", "evidence", "result", "verdict")


def schema_text(name: str) -> str:
    """The text of one of `SCHEMAS`. Raises `KeyError` for another name."""
    if name not in SCHEMAS:
        raise KeyError(name)
    return (files(__name__) / f"{name}.json").read_text(encoding="utf-8")


def load_schema(name: str) -> dict[str, Any]:
    """One of `SCHEMAS`, parsed. Raises `KeyError` for another name."""
    schema: dict[str, Any] = json.loads(schema_text(name))
    return schema
