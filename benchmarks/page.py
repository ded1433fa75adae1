"""Putting a measured table into docs/performance.md, between the marks of the script that made it."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def put(script: str, made: str) -> None:
    begin, end = f"<!-- made by benchmarks/{script} -->", "<!-- end -->"
    before, mark, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise SystemExit(f"{PAGE.name} has no place for this table: {begin} … {end}")
    PAGE.write_text(f"{before}{begin}\n\n{made}\n\n{end}{after}", encoding="utf-8")
