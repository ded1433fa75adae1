"""Numbers, times and values in words."""

from __future__ import annotations

from typing import Any

import pytest

from nomyo_attest.audit.summary import Place
from nomyo_attest.report.audit_reasons import Cause
from nomyo_attest.report.audit_words import Compared, lines_text, place_text, unreadable
from tests.nomyo_attest.report.audit_samples import summary


def test_lines_say_how_many_more_there_are() -> None:
    assert lines_text([7], 1) == "line 7"
    assert lines_text([7, 9], 2000) == "lines 7, 9 and 1,998 more"
    assert lines_text([], 3) == "3 records"


def test_a_place_without_a_line_is_the_source() -> None:
    assert place_text("-", 3) == "standard input:3"
    assert place_text("a.jsonl", 0) == "a.jsonl"


def first_of(row: dict[str, Any]) -> Cause:
    """The cause whose first record is `row`."""
    rule = row["findings"][0]["rule"]
    return Cause("", rule, "required", "fail", 1, Place(row["source"], row["line"]))


@pytest.mark.parametrize(
    ("got", "told"),
    [
        ({"sha256:7": None}, "not signed"),
        ({"sha256:7": "ab" * 32}, "sha256:7 abababab…abab"),
        ([1, "x"], "1, x"),
        ("ab" * 200, "abababab…abab"),
        ("x" * 1000, "(1000 characters)"),
    ],
)
def test_values_are_one_short_line_whatever_their_type(got: object, told: str) -> None:
    row = next(one for one in summary().failures if one["failed"] == ["pcr.values"])
    row["findings"] = [row["findings"][0] | {"expected": {"sha256:7": ["cd" * 32, "ef" * 32]}, "got": got}]
    expected, found = Compared(summary(failures=[row])).of(first_of(row))
    assert told in found
    assert len(found) < 450
    assert "cdcdcdcd…cdcd" in expected


def test_a_claim_that_looks_like_a_digest_is_shown_as_the_text_that_it_is() -> None:
    row = dict(summary().failures[0])
    row["findings"] = [row["findings"][0] | {"rule": "claims.x", "expected": ["ab" * 32], "got": "cd" * 32}]
    _, got = Compared(summary(failures=[row])).of(first_of(row))
    assert got == f'"{"cd" * 32}"'


def test_the_values_shown_are_those_of_the_first_record_of_the_cause() -> None:
    failing = next(one for one in summary().failures if one["failed"] == ["pcr.values"])
    other = dict(failing) | {
        "line": failing["line"] - 1,
        "findings": [failing["findings"][0] | {"got": {"sha256:7": "ab"}}],
    }
    compared = Compared(summary(failures=[other, failing]))
    assert compared.of(first_of(failing))[1] == "sha256:7 006b7583…31aa"
    assert compared.of(first_of(other))[1] == "sha256:7 ab"


def test_values_of_another_record_are_not_shown_where_the_first_record_is_not_listed() -> None:
    failing = next(one for one in summary().failures if one["failed"] == ["pcr.values"])
    compared = Compared(summary(failures=[failing]))
    assert compared.of(first_of(failing | {"line": failing["line"] - 1})) == ("", "")


def test_a_source_that_could_not_be_read_is_told_also_where_other_failures_fill_the_list() -> None:
    sample = summary()
    (listed,) = unreadable(sample)
    assert (listed.source, listed.records, listed.lines) == ("recorded/2026-11-16.jsonl.zst", 1, (412,))
    others = [row for row in sample.failures if row["verdict"] != "unreadable"]
    (unlisted,) = unreadable(summary(failures=others))
    assert unlisted == listed._replace(lines=())


def test_a_record_that_could_not_be_read_is_told_also_where_its_source_is_not_listed() -> None:
    (found,) = unreadable(summary(sources=[]))
    assert (found.records, found.lines) == (1, (412,))
    assert found.problem == "the archive is cut off at byte 1048576: the records behind are lost"
