"""What a check returns: an outcome, the values it compared, and a sentence."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeAlias


class Outcome(Enum):
    """The outcome of a check: the rule holds, it does not, or it is undecided. Undecided never counts as holding."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNDECIDED = "undecided"


PASS, FAIL, UNDECIDED = Outcome.PASS, Outcome.FAIL, Outcome.UNDECIDED

Value: TypeAlias = Any
"""A fact that a finding states: None, bool, int, str, bytes, or lists and dicts of them; bytes become hex in JSON."""

CheckResult: TypeAlias = tuple[Outcome, Value, Value, str]
"""Outcome, what was expected, what was got, and for any outcome but PASS a sentence. A tuple, because a check that
holds is on the hot path.
"""
