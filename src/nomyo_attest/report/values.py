"""The values that a finding states, in words: long digests cut, but not where they differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from typing import Any, Final

from nomyo_attest.report.formatting import Digests, excerpt
from nomyo_attest.tpm.constants import specification_name


def _attributes(value: Any) -> str:
    if not isinstance(value, (list, tuple)):
        return str(value)
    return ", ".join(map(str, value)) or "none"


def _claim(value: Any) -> str:
    """As JSON, so that the text "true" is not taken for the truth value."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return " or ".join(excerpt(json.dumps(one, ensure_ascii=False)) for one in values)


def _period(value: Any) -> str:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return str(value)
    start, end = value
    return " ".join([f"from {start}"] * bool(start) + [f"until {end}"] * bool(end))


_OF_RULES: Final[Mapping[str, Callable[[Any], str]]] = {
    "key.attributes": _attributes,
    "policy.period": _period,
}
"""Rules whose values say more than their type does."""

_LISTS_ALLOWED: Final = frozenset({"key.hierarchy", "signature.hash", "pcr.bank", "firmware.version"})
"""Rules whose expected list is a choice."""


def value_text(rule: str, value: Any, written: Digests | None = None) -> str:
    """One value of a finding as one line of clean text; `written` says how digests are cut, if they are."""
    if value is None:
        return "nothing"
    if rule.startswith("claims."):
        return _claim(value)
    if rule in _OF_RULES:
        return excerpt(_OF_RULES[rule](value))
    if isinstance(value, bytes):
        return (written or {}).get(value) or value.hex() or "no bytes"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, IntEnum):
        return specification_name(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (list, tuple)):
        joint = " or " if rule in _LISTS_ALLOWED else ", "
        return joint.join(value_text(rule, one, written) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{excerpt(str(key))} = {value_text(rule, one, written)}" for key, one in value.items())
    return excerpt(str(value))
