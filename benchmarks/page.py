"""Write a table of measurements into docs/performance.md, between the markers of its script."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def write_table(script: str, table: str) -> None:
    begin, end = f"<!-- made by benchmarks/{script} -->", "<!-- end -->"
    before, mark, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise SystemExit(f"{PAGE.name}: missing markers for this table: expected {begin} … {end}")
    PAGE.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")
