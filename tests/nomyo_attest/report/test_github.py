"""Annotations, read back as the runner of GitHub Actions reads them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from nomyo_attest.audit.summary import RulePlace, Summary
from nomyo_attest.report import github
from tests.nomyo_attest.report.audit_hostile import NASTY, hostile
from tests.nomyo_attest.report.audit_samples import summary


class Read(NamedTuple):
    kind: str
    properties: dict[str, str]
    message: str


def read_back(text: str) -> list[Read]:
    """Each line as the runner reads it: a command from ``::`` to the next ``::``, what stands behind is its message."""
    found = []
    assert text.endswith("\n") or not text
    for line in text.split("\n")[:-1]:
        assert line.startswith("::")
        assert line.isprintable()
        command, separator, message = line[2:].partition("::")
        assert separator
        kind, _, properties = command.partition(" ")
        pairs = dict(one.split("=", 1) for one in properties.split(","))
        decoded = {key: _decoded(value.replace("%3A", ":").replace("%2C", ",")) for key, value in pairs.items()}
        found.append(Read(kind, decoded, _decoded(message)))
    return found


def _decoded(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def places(number: int, rule: str = "pcr.values") -> list[RulePlace]:
    return [
        RulePlace(
            source=f"{one:03}.jsonl",
            rule=rule,
            requirement="required",
            outcome="fail",
            records=2,
            lines=[3, 4],
            message="not so",
        )
        for one in range(number)
    ]


def test_a_failure_is_an_error_at_its_first_line_with_values_and_what_to_do() -> None:
    (found,) = (one for one in read_back(github.annotations(summary())) if one.properties["title"] == "pcr.values")
    assert found.kind == "error"
    assert found.properties == {"file": "recorded/2026-11.jsonl.gz", "line": "7609", "title": "pcr.values"}
    first, second, third = found.message.split("\n")
    assert first.startswith("75 records, lines 7609, 7610")
    assert second == "Expected sha256:7 c6cf0b83…3530; got sha256:7 006b7583…31aa."
    assert third.startswith("If the machine was updated")


def test_a_softened_rule_is_a_warning() -> None:
    (found,) = (one for one in read_back(github.annotations(summary())) if one.kind == "warning")
    assert found.properties["title"] == "clock.safe"


def test_what_shows_across_records_stands_where_it_came_again_and_names_the_places() -> None:
    (found,) = (one for one in read_back(github.annotations(summary())) if one.properties["title"] == "duplicate.quote")
    assert found.kind == "error"
    assert found.properties["line"] == "6744"
    assert "recorded/2026-11.jsonl.gz:6120, 2026-11-09 13:42:00Z; recorded/2026-11.jsonl.gz:6121" in found.message


def test_whatever_names_and_records_say_there_are_no_more_commands_than_findings() -> None:
    plain, tampered = github.annotations(summary()), github.annotations(hostile())
    found = read_back(tampered)
    assert len(found) == len(read_back(plain))
    assert "##[" not in tampered
    assert {tuple(one.properties) for one in found} == {("file", "line", "title")}
    assert found[0].properties["file"].endswith(r"\ud800 \ufffe 50%,a:b;c=d")
    assert "\r" not in found[0].message
    assert NASTY not in tampered


def test_ten_are_shown_and_the_eleventh_is_not_lost_without_a_word() -> None:
    only = {"failures": [], "sources": [], "cross_record": [], "places_total": 10}
    ten = read_back(github.annotations(summary(places=places(github.SHOWN), **only)))
    assert [one.properties["file"] for one in ten] == [f"{one:03}.jsonl" for one in range(github.SHOWN)]
    eleven = read_back(github.annotations(summary(places=places(github.SHOWN + 1), **(only | {"places_total": 11}))))
    assert len(eleven) == github.SHOWN
    assert eleven[-1].properties == {"title": "2 more errors"}


def test_places_that_the_summary_does_not_list_are_counted_too() -> None:
    found = read_back(
        github.annotations(summary(places=places(3), places_total=30_003, failures=[], sources=[], cross_record=[]))
    )
    assert found[-1].message.startswith("30,000 more errors, ")


def test_of_many_the_first_of_each_rule_are_shown() -> None:
    sample = summary()
    rules = [msgspec.structs.replace(sample.rules[0], rule=rule) for rule in ("pcr.values", "nonce.match")]
    many = [*places(50), *places(50, "nonce.match")]
    found = read_back(github.annotations(summary(places=many, places_total=100, rules=rules)))
    assert {one.properties["title"] for one in found[:5]} == {
        "unreadable",
        "duplicate.quote",
        "duplicate.payload_id",
        "pcr.values",
        "nonce.match",
    }


def test_standard_input_is_no_file() -> None:
    place = msgspec.structs.replace(places(1)[0], source="-")
    (found,) = read_back(
        github.annotations(summary(places=[place], places_total=1, failures=[], sources=[], cross_record=[]))
    )
    assert found.properties == {"title": "pcr.values"}


def test_nothing_to_tell_is_no_output() -> None:
    nothing: Summary = summary(places=[], places_total=0, failures=[], sources=[], cross_record=[])
    assert github.annotations(nothing) == ""
