"""What a check answers."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeAlias


class Outcome(Enum):
    """The three answers of a check: it holds, it does not, it cannot be told. The third never opens a gate."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNDECIDED = "undecided"


PASS, FAIL, UNDECIDED = Outcome.PASS, Outcome.FAIL, Outcome.UNDECIDED

Value: TypeAlias = Any
"""A fact that a finding states: None, bool, int, str, bytes, or lists and dicts of them; bytes become hex in JSON."""

Answer: TypeAlias = tuple[Outcome, Value, Value, str]
"""Outcome, what was expected, what was got, and for any outcome but PASS a sentence. A tuple, because a check that
holds is on the hot path.
"""
