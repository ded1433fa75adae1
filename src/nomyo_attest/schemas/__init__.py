"""The JSON Schemas of this package: `policy`, `evidence`, `result`, `verdict` and `ledger` (JSON Schema 2020-12).

The files omit rule ids, PCR banks and hashes; loading a schema fills them in from the table of rules and the table of
hashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

from nomyo_attest.rules import RULE_TABLE
from nomyo_attest.tpm.constants import HASH_TABLE

SCHEMAS: Final = ("policy", "evidence", "result", "verdict", "ledger")


def schema_text(name: str) -> str:
    """Return one of `SCHEMAS` as JSON text with a final newline. Raises `KeyError` for an unknown name."""
    return json.dumps(load_schema(name), indent=1) + "\n"


def load_schema(name: str) -> dict[str, Any]:
    """Load one of `SCHEMAS`, parsed and filled in. Raises `KeyError` for an unknown name."""
    if name not in SCHEMAS:
        raise KeyError(name)
    schema: dict[str, Any] = json.loads((files(__name__) / f"{name}.json").read_text(encoding="utf-8"))
    if name in _FILL_IN:
        _FILL_IN[name](schema)
    if "$defs" in schema:
        schema["$defs"] = _for_each_size(schema["$defs"])
    return schema


def _for_each_size(definitions: dict[str, Any]) -> dict[str, Any]:
    """Expand each definition whose name contains ``<digits>`` into one per digest size, in hex digits."""
    filled: dict[str, Any] = {}
    for name, definition in definitions.items():
        text = json.dumps({name: definition})
        for digits in dict.fromkeys(2 * row.size for row in HASH_TABLE) if "<digits>" in name else (0,):
            filled |= json.loads(text.replace("<digits>", str(digits)))
    return filled


def _fill_in_policy(schema: dict[str, Any]) -> None:
    """Fill in the rules that a policy may soften, the banks and the hashes."""
    rules = schema["properties"]["rules"]
    words = rules["patternProperties"][next(iter(rules["patternProperties"]))]
    rules["properties"] = {row.id: words for row in RULE_TABLE if not row.core and row.id != "claims.*"}
    schema["properties"]["pcrs"]["properties"] = _banks()
    for section in ("signature", "bank"):
        schema["properties"][section]["properties"]["hashes"]["items"]["enum"] = [row.name for row in HASH_TABLE]


def _fill_in_evidence(schema: dict[str, Any]) -> None:
    """Fill in the banks that a report may contain."""
    block = schema["$defs"]["tpm_attestation"]["then"]["properties"]
    block["pcr_values"]["properties"] = _banks()
    banks = "|".join(row.name for row in HASH_TABLE)
    block["pcr_banks"]["pattern"] = block["pcr_banks"]["pattern"].replace("<bank>", banks)


def _banks() -> dict[str, Any]:
    """Return, for each bank, a reference to the definition of its values, which depends on the digest size."""
    return {row.name: {"$ref": f"#/$defs/bank{2 * row.size}"} for row in HASH_TABLE}


def _fill_in_result(schema: dict[str, Any]) -> None:
    """Fill in the rule ids that a finding may have."""
    schema["$defs"]["rule"]["anyOf"][0]["enum"] = [row.id for row in RULE_TABLE if row.id != "claims.*"]


_FILL_IN: Final[dict[str, Callable[[dict[str, Any]], None]]] = {
    "policy": _fill_in_policy,
    "evidence": _fill_in_evidence,
    "result": _fill_in_result,
}
