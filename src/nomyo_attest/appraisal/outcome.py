"""The result of a check: an outcome, the values it compared, and a message."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeAlias


class Outcome(Enum):
    """The outcome of a check: the rule passes, fails or is undecided. An undecided rule never counts as passed."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    UNDECIDED = "undecided"


PASS, FAIL, UNDECIDED = Outcome.PASS, Outcome.FAIL, Outcome.UNDECIDED

Value: TypeAlias = Any
"""A fact that a finding states: None, bool, int, str, bytes, or lists and dicts of them; bytes become hex in JSON."""

CheckResult: TypeAlias = tuple[Outcome, Value, Value, str]
"""The outcome, the expected value, the actual value, and a message, which is empty for PASS.

A plain tuple, because each response produces one for every rule.
"""
