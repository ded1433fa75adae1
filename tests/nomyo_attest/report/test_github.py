"""Annotations, read back as the runner of GitHub Actions reads them."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from nomyo_attest.audit.summary import Summary
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


def annotated(kind: str, piece: str) -> Read:
    """The only annotation of the sample whose title contains `piece`."""
    (found,) = (one for one in read_back(github.annotations(summary())) if piece in one.properties["title"])
    assert found.kind == kind
    return found


def test_an_incident_is_an_error_at_its_first_line_with_what_changed_and_what_to_do() -> None:
    found = annotated("error", "One machine (inferred)")
    assert (found.properties["file"], found.properties["line"]) == ("recorded/2026-11.jsonl.gz", "7609")
    lines = found.message.split("\n")
    assert "expected c6cf0b83…3530 (Secure Boot on, db 2026-10); got 006b7583…31aa." in lines[0]
    assert lines[-1].startswith("If the machine was updated")


def test_a_softened_rule_is_a_warning() -> None:
    assert annotated("warning", "clock").properties["line"] == "187"


def test_what_was_replayed_is_shown_where_it_came_again_and_names_the_places() -> None:
    found = annotated("error", "replayed")
    assert found.properties["line"] == "6744"
    assert "recorded/2026-11.jsonl.gz:6120, 2026-11-09 13:42:00Z" in found.message


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
    assert len(read_back(github.annotations(only(github.SHOWN_MAXIMUM)))) == github.SHOWN_MAXIMUM
    found = read_back(github.annotations(only(github.SHOWN_MAXIMUM + 1)))
    assert len(found) == github.SHOWN_MAXIMUM
    assert found[-1].properties == {"title": "2 more errors"}


def test_standard_input_is_no_file() -> None:
    (found,) = read_back(github.annotations(only(1, source="-")))
    assert list(found.properties) == ["title"]


def test_nothing_to_tell_is_no_output() -> None:
    assert github.annotations(only(0)) == ""


def only(number: int, source: str = "a.jsonl") -> Summary:
    """The sample with nothing but so many groups of failing records."""
    group = summary().cause_groups[1]
    place = msgspec.structs.replace(group.first, source=source)
    groups = [msgspec.structs.replace(group, records=at + 1, first=place) for at in range(number)]
    nothing: dict[str, Any] = {"failures": [], "sources": [], "sources_unreadable": 0, "cross_record": [], "rules": []}
    return summary(cause_groups=groups, **nothing)
