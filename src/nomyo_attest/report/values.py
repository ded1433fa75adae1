"""The values that a finding states, in words: long digests cut, but not where they differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from typing import Any, Final

from nomyo_attest.report.formatting import Digests, excerpt
from nomyo_attest.rules import ValueStyle, rule_facts
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


_STYLES: Final[Mapping[ValueStyle, Callable[[Any], str]]] = {
    ValueStyle.FLAGS: _attributes,
    ValueStyle.PERIOD: _period,
}
"""How values are written that say more than their type does."""


def _style(rule: str) -> ValueStyle:
    try:
        return rule_facts(rule).style
    except KeyError:  # of a store that another version made
        return ValueStyle.PLAIN


def value_text(rule: str, value: Any, written: Digests | None = None) -> str:
    """One value of a finding as one line of clean text; `written` says how digests are cut, if they are."""
    if value is None:
        return "nothing"
    style = _style(rule)
    if style is ValueStyle.JSON:
        return _claim(value)
    if style in _STYLES:
        return excerpt(_STYLES[style](value))
    if isinstance(value, bytes):
        return (written or {}).get(value) or value.hex() or "no bytes"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, IntEnum):
        return specification_name(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (list, tuple)):
        joint = " or " if style is ValueStyle.CHOICE else ", "
        return joint.join(value_text(rule, one, written) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{excerpt(str(key))} = {value_text(rule, one, written)}" for key, one in value.items())
    return excerpt(str(value))
