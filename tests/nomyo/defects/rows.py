"""The defects of nomyo 0.2.9, as `docs/migrating.md` numbers them."""

from __future__ import annotations

import re

COUNTS = {"C": 14, "K": 7, "R": 13, "P": 7, "M": 8, "E": 8}
ROWS = [f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)]


def row_of(test: str) -> str:
    """Return the row that a test is named after: `test_c3_an_answer_to_another_request_is_refused` → `C3`."""
    found = re.match(r"test_([a-z])(\d+)_", test)
    return f"{found[1].upper()}{found[2]}" if found else "?"
