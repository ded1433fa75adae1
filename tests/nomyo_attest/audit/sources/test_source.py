"""What a name says of a source."""

from __future__ import annotations

import pytest

from nomyo_attest.audit.sources.source import display, kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.json", ("json", "")),
        ("a.attest.json", ("json", "")),
        ("a.JSON.GZ", ("json", "gz")),
        ("a.json.zst", ("json", "zst")),
        ("a.jsonl", ("jsonl", "")),
        ("a.NdJson", ("jsonl", "")),
        ("a.jsonl.gz", ("jsonl", "gz")),
        ("folder.json/a.ndjson.zst", ("jsonl", "zst")),
        ("a.Parquet", ("parquet", "")),
        ("a.parquet.gz", None),
        ("a.json.gz.zst", None),
        ("a.json.bak", None),
        ("a.gz", None),
        ("json", None),
        ("", None),
    ],
)
def test_format_and_compression_are_recognized_by_the_extension_in_any_case(
    name: str, kind: tuple[str, str] | None
) -> None:
    assert kind_of(name) == kind


def test_a_name_that_is_not_utf_8_is_written_with_backslashes() -> None:
    assert display("r\udcffé.json") == r"r\xffé.json"
    assert display("\ud800.json").isascii()
    assert display("ré.json") == "ré.json"
