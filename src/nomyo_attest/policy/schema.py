"""The policy's JSON Schema, and its complaints in words with a mend."""

from __future__ import annotations

import difflib
from functools import cache
from typing import TYPE_CHECKING, Any

from nomyo_attest.schemas import load_schema

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

Problem = tuple[str, str, str]
"""Where, what is wrong, and what to write instead."""


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # 50 ms to import; only loading a policy needs it

    return Draft202012Validator(load_schema("policy"))


def first_problem(document: object) -> Problem | None:
    """The complaint about the earliest place in `document` that the schema refuses; None if there is none."""
    errors = sorted(_validator().iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path])
    return _in_words(errors[0]) if errors else None


def _in_words(error: ValidationError) -> Problem:
    where = _place(list(error.absolute_path))
    given: Any = error.instance
    rule: Any = error.validator_value
    schema: Any = error.schema  # a dict: the shipped schema has no `true` or `false` in place of one
    mend = schema.get("$comment", "see docs/policy.md")
    match error.validator:
        case "additionalProperties" | "unevaluatedProperties":
            known = [*schema.get("properties", {})]
            patterns = schema.get("patternProperties", {})
            unknown = sorted(key for key in given if key not in known and not _fits(key, patterns))
            close = difflib.get_close_matches(unknown[0], known, 1)
            problem = f"unknown key {_short(unknown[0])}"
            if close and where != "rules":  # there it may be a core rule, and no other was meant
                return where, problem, f"did you mean {close[0]!r}?"
            return where, problem, mend if patterns else f"known here: {', '.join(known)}"
        case "required":
            missing = next(key for key in rule if key not in given)
            return where, f"the key {missing!r} is missing", mend
        case "const":
            return where, f"{_short(given)} is not allowed", f"write {rule!r}"
        case "enum":
            comment = f" ({schema['$comment']})" if "$comment" in schema else ""
            return where, f"{_short(given)} is not allowed", f"write one of {', '.join(map(repr, rule))}{comment}"
        case "type":
            wanted = " or ".join([rule] if isinstance(rule, str) else rule)
            return where, f"{_short(given)} is of the wrong type, {wanted} is wanted", mend
        case "minItems" | "minLength" | "minProperties":
            return where, "it is empty", mend
        case "uniqueItems":
            return where, "something stands twice in it", "list each once"
        case _:
            return where, f"{_short(given)} is not allowed", mend


def _fits(key: str, patterns: dict[str, Any]) -> bool:
    import re

    return any(re.search(pattern, key) for pattern in patterns)


def _place(path: list[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
