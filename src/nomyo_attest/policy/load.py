"""Read a policy file and check it against the JSON Schema; describe the first violation, with a hint."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nomyo_attest.errors import PolicyError
from nomyo_attest.evidence.content import wrong_encoding
from nomyo_attest.evidence.strict_json import check_containers
from nomyo_attest.policy.toml import toml_path
from nomyo_attest.rules import RULE_TABLE
from nomyo_attest.schemas import load_schema

if TYPE_CHECKING:
    from os import PathLike

    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

Problem = tuple[str, str, str]
"""The place in the policy, the problem, and a hint."""

_SHOWN_LENGTH_MAX: Final = 40
"""The maximum length of a value that an error shows in full, in characters."""

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The maximum size of a policy file: enough for more than 100,000 reference values."""

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
"""date-time of RFC 3339, 5.6; `datetime.fromisoformat` also reads other forms, some of which are ambiguous."""

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

_ALL_RULES: Final = "nomyo-attest rules lists all rules"

_DEPTH_MAX: Final = 8
"""The maximum depth of nested tables; a policy has four levels."""


def read_document(path: str | PathLike[str]) -> Any:
    """Parse the TOML or JSON file at `path`. Raises `PolicyError`, and `OSError` if it cannot be read."""
    path = Path(path)
    source = str(path)
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        problem = f"the file is larger than {FILE_BYTES_MAX} bytes, the limit for policies"
        raise PolicyError("", problem, "name a policy file", source=source)
    if wrong := wrong_encoding(content[:64]):
        raise PolicyError("", f"the file {wrong.partition('; ')[0]}", wrong.partition("; ")[2], source=source)
    try:
        return _parse(content.decode("utf-8-sig"), path.suffix.lower())
    except (ValueError, RecursionError) as error:  # from the parsers, and for numbers with too many digits to convert
        problem = str(error) if not isinstance(error, RecursionError) else "tables are nested too deep"
        hint = "correct the file, which must be TOML (.toml) or JSON (.json); docs/policy.md shows an example"
        raise PolicyError("", f"not a policy file: {problem}", hint, source=source) from None


class _UnreadableError(ValueError):
    pass


def _parse(text: str, suffix: str) -> Any:
    if suffix == ".toml":
        import tomllib  # worker processes do not need it

        return tomllib.loads(text)
    if suffix == ".json":
        check_containers(text.encode())
        return json.loads(text, object_pairs_hook=_refuse_duplicate_keys, parse_constant=_refuse_constant)
    raise _UnreadableError(f"unsupported file extension {suffix!r}" if suffix else "the file has no extension")


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        repeated = (key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # None
        duplicate = next(repeated)
        raise _UnreadableError(f"duplicate key {duplicate!r} in one object")
    return table


def _refuse_constant(name: str) -> Any:
    raise _UnreadableError(f"{name} is not JSON")


def check_document(document: object) -> dict[str, Any]:
    """Convert a document to JSON types and check it against the JSON Schema of policies. Raises `PolicyError`."""
    converted: dict[str, Any] = _to_json_types(document, "", 0)
    errors = sorted(_validator().iter_errors(converted), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        raise PolicyError(*_describe_violation(errors[0], converted))
    return converted


def _to_json_types(value: object, where: str, depth: int) -> Any:
    """Convert a document to JSON types: TOML dates and times become ISO 8601 text; other types are rejected."""
    if depth > _DEPTH_MAX:
        raise PolicyError(where, "tables are nested too deep", "remove this table; a policy has at most four levels")
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                shown = repr(key) if isinstance(key, int) and -24 < key < 24 else f"of type {type(key).__name__}"
                raise PolicyError(
                    where, f"the key {shown} is not a string", 'write every key as a string, including PCR indices: "7"'
                )
        return {
            key: _to_json_types(inner, f"{where}.{toml_path(key)}" if where else toml_path(key), depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_to_json_types(inner, f"{where}[{i}]", depth + 1) for i, inner in enumerate(value)]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise PolicyError(where, "the text contains a lone surrogate", "write text that UTF-8 can encode")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise PolicyError(where, "the number does not fit into 64 bits", "write a number from -2**63 to 2**64 - 1")
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise PolicyError(where, f"wrong type: {type(value).__name__}", "write text, whole numbers or true/false")


def parse_timestamp(document: dict[str, Any], name: str, *, dates: bool = False) -> datetime | None:
    """Return the time under a key; None if the key is missing. With `dates`, a date means midnight UTC.

    Raises `PolicyError`.
    """
    if name not in document:
        return None
    text = document[name]
    if dates and _DATE.fullmatch(text):
        text += "T00:00:00Z"
    moment = None
    if _RFC_3339.fullmatch(text):
        with suppress(ValueError):
            moment = datetime.fromisoformat(text)
    if moment is None:
        day = text if _DATE.fullmatch(text) else "2026-11-30"
        hint = f"write an RFC 3339 time with an offset: {day}T00:00:00Z"
        raise PolicyError(name, f"invalid time {document[name]!r}", hint)
    return moment


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # takes 50 ms to import, and only loading a policy needs it

    return Draft202012Validator(load_schema("policy"))


def _describe_violation(error: ValidationError, document: Any) -> Problem:
    path = list(error.absolute_path)
    where = toml_path(*path)
    value: Any = error.instance
    constraint: Any = error.validator_value
    schema: Any = error.schema  # a dict: our schema has no boolean subschemas
    hint = schema.get("$comment", "see docs/policy.md")
    match error.validator:
        case "additionalProperties" | "unevaluatedProperties":
            return _unknown_key_problem(path, value, schema, hint)
        case "required":
            missing = next(key for key in constraint if key not in value)
            return where, f"the key {missing!r} is missing", _missing_key_hint(missing, document) if not path else hint
        case "const":
            if constraint == "any":
                return where, *_non_list_problem(value)
            return where, *_value_problem(value, f"write {constraint!r}")
        case "enum":
            comment = f" ({schema['$comment']})" if "$comment" in schema else ""
            return where, *_value_problem(value, f"write one of {', '.join(map(repr, constraint))}{comment}")
        case "type":
            expected = " or ".join([constraint] if isinstance(constraint, str) else constraint)
            if path[:1] == ["claims"] and len(path) == 2 and path[1] in _top_level_keys():
                hint = f"{_top_level_hint(path[1])}; for a claim, {hint}"
            elif path[:1] == ["claims"] and isinstance(value, Mapping) and value:
                hint = _quote_hint(path[-1], value)
            return where, f"wrong type: expected {expected}, got {_shorten(value)}", hint
        case "minItems" | "minLength" | "minProperties":
            return where, "must not be empty", hint
        case "uniqueItems":
            return where, "duplicate entry", "list each entry once"
        case "pattern":
            return where, f"{_shorten(value)} is not allowed{_first_wrong_character(value, constraint)}", hint
        case _:
            return where, *_value_problem(value, hint)


def _value_problem(value: object, hint: str) -> tuple[str, str]:
    return f"{_shorten(value)} is not allowed", hint


def _non_list_problem(value: str) -> tuple[str, str]:
    """Describe a string other than "any" instead of a PCR's list of values."""
    example = value[:4] if re.fullmatch("[0-9a-fA-F]{8,}", value) else "9f"
    hint = f'list the values: ["{example}…"]'
    if value.strip().lower() == "any":
        hint += '; "any", in lower case and without a list, accepts every value'
    return f"{_shorten(value)} is not allowed instead of a list", hint


def _unknown_key_problem(
    path: list[str | int], value: Mapping[str, Any], schema: Mapping[str, Any], hint: str
) -> Problem:
    where = toml_path(*path)
    known = [*schema.get("properties", {})]
    patterns = schema.get("patternProperties", {})
    unknown = min(key for key in value if key not in known and not _matches_any(key, patterns))
    problem = f"unknown key {_shorten(unknown)}"
    if path and unknown in _top_level_keys():
        return where, problem, _top_level_hint(unknown)
    if path == ["rules"]:
        if isinstance(value[unknown], Mapping):
            return where, problem, _quote_hint(unknown, value[unknown])
        return where, problem, _rule_hint(unknown, known)
    close = difflib.get_close_matches(unknown, known, 1)
    if close:
        return where, problem, f"did you mean {close[0]!r}?"
    return where, problem, hint if patterns else f"expected one of {', '.join(known)}"


def _rule_hint(unknown: str, softenable: list[str]) -> str:
    """Return the hint for a key of `rules` that is not a rule, or is one that cannot be softened."""
    core = [row.id for row in RULE_TABLE if row.core]
    if unknown in core:
        return f"core rules cannot be softened; {_ALL_RULES}"
    close = difflib.get_close_matches(unknown, [*softenable, *core], 1)
    if not close:
        return _ALL_RULES
    note = ", which is a core rule and cannot be softened" if close[0] in core else ""
    return f"did you mean {close[0]!r}{note}? {_ALL_RULES}"


@cache
def _top_level_keys() -> frozenset[str]:
    return frozenset(load_schema("policy")["properties"])


def _top_level_hint(key: object) -> str:
    """Return the hint for a top-level key that was written below the header of a table."""
    return f"write {key!r} above the first [table]: below one, it is a key of that table"


def _quote_hint(key: object, table: Mapping[str, Any]) -> str:
    """Return the hint for a dotted key without quotes, which TOML reads as nested tables."""
    path = str(key)
    value: Any = table
    while isinstance(value, Mapping) and len(value) == 1:
        inner, value = next(iter(value.items()))
        path += f".{inner}"
    dotted = path if not isinstance(value, Mapping) else f"{path}.…"
    return f'write a key with dots in quotes: "{_truncate(dotted)}" = …'


def _missing_key_hint(missing: str, document: Any) -> str:
    """Return the hint for a top-level key that is missing or was written below the header of a table."""
    for where in _tables_with(missing, document, ()):
        return f"write {missing!r} above the first [table]: below [{where}] it is a key of that table"
    return "write format and id above the first [table]; a policy also needs pcrs"


def _tables_with(key: str, table: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(table, Mapping):
        for name, inner in table.items():
            if isinstance(inner, Mapping):
                if key in inner:
                    yield toml_path(*path, name)
                yield from _tables_with(key, inner, (*path, name))


def _first_wrong_character(value: str, pattern: str) -> str:
    """Describe the first character that the pattern rejects, or a wrong length."""
    digits = re.search(r"\[0-9a-fA-F\]\{(?:1,)?(\d+)\}", pattern)
    allowed = r"[0-9a-fA-F]" if digits else r"[^\x00-\x1f\x7f]" if r"\x1f" in pattern else ""
    start = 2 if value[:2] == "0x" and pattern.startswith("^0x") else 0
    for at, character in enumerate(value[start:], start + 1):
        if allowed and not re.fullmatch(allowed, character, re.ASCII):
            return f": character {at} is {character!r}"
    if digits and "|" not in pattern and not pattern.startswith("^0x"):
        return f": {len(value)} characters"
    return ""


def _matches_any(key: str, patterns: Mapping[str, Any]) -> bool:
    return any(re.search(pattern, key) for pattern in patterns)


def _truncate(text: str) -> str:
    return text if len(text) <= _SHOWN_LENGTH_MAX else text[: _SHOWN_LENGTH_MAX - 1] + "…"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_LENGTH_MAX else text[: _SHOWN_LENGTH_MAX - 3] + "…"
