"""The summary of an audit on a terminal of 80 columns."""

from __future__ import annotations

import re

import msgspec
import pytest

from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.summary import Counts, Gap, SourceSummary
from nomyo_attest.report.formatting import TextStyle
from nomyo_attest.report.html import html_report
from nomyo_attest.report.markdown import audit_markdown
from nomyo_attest.report.text import audit_text
from tests.nomyo_attest.report.audit_hostile import hostile
from tests.nomyo_attest.report.audit_samples import summary

STYLES = [TextStyle(), TextStyle(verbose=True), TextStyle(width=60), TextStyle(width=40), TextStyle(terminal=True)]
ESCAPE = re.compile(r"\x1b\[[\d;]*m")


@pytest.mark.parametrize("style", STYLES, ids=repr)
def test_no_line_is_wider_than_the_terminal(style: TextStyle) -> None:
    for line in audit_text(summary(), style).split("\n"):
        assert len(line) <= style.width or re.fullmatch(r" *[0-9a-f]{64}", line)


@pytest.mark.parametrize("style", STYLES, ids=repr)
def test_whatever_records_say_every_line_prints_and_none_is_a_command_to_a_ci_system(style: TextStyle) -> None:
    text = audit_text(hostile(), style)
    for line in text.split("\n"):
        assert line.isprintable()
        assert not line.lstrip().startswith("::")
        assert not re.search(r"##[a-z]*\[", line)
    assert "forged" in text


def test_color_changes_no_character_of_the_text() -> None:
    for verbose in (False, True):
        colored = audit_text(summary(), TextStyle(color=True, verbose=verbose))
        assert colored != audit_text(summary(), TextStyle(verbose=verbose))
        assert ESCAPE.sub("", colored) == audit_text(summary(), TextStyle(verbose=verbose))


def test_the_numbers_shown_add_up_to_the_input() -> None:
    whole = summary()
    text = audit_text(whole, TextStyle())
    shown = dict(re.findall(r"^  (\w+) +([\d,]+)  ", text, re.MULTILINE))
    found = {name: int(value.replace(",", "")) for name, value in shown.items()}
    assert sum(found[verdict] for verdict in VERDICTS) == whole.counts.total
    assert f"  Outside the window  {whole.outside} records, not appraised: " in text
    assert f"  Without a record    {whole.blank} blank lines\n" in text


def test_each_rule_has_its_count_the_values_compared_the_first_place_and_what_to_do() -> None:
    joined = " ".join(audit_text(summary(), TextStyle(verbose=True)).split())
    assert (
        "FAIL pcr.values 75 records expected sha256:7 c6cf0b83…3530 got sha256:7 006b7583…31aa"
        " first recorded/2026-11.jsonl.gz:7609, 2026-11-11 12:00:00Z in recorded/2026-11.jsonl.gz: lines 7609,"
        in joined
    )
    assert joined.count("remediation If the machine was updated") == 2  # of the incident, and of the rule
    assert "UNDECIDED evidence.available 146 records" in joined
    assert "WARNING clock.safe 50 records problem The clock may have gone back." in joined
    brief = audit_text(summary(), TextStyle())
    assert "\n  FAIL  pcr.values  75 records\n" in brief


def test_a_rule_that_only_follows_is_named_and_not_explained() -> None:
    sample = summary()
    more = [
        msgspec.structs.replace(sample.rules[1], rule=rule, outcome="consequence")
        for rule in ("attest.form", "key.form", "nonce.match")
    ]
    text = audit_text(summary(rules=[*sample.rules, *more]), TextStyle())
    assert "  Undecided because of these rules: attest.form, key.form, nonce.match.\n" in text
    assert "UNDECIDED  nonce.match" not in text


def test_what_shows_across_records_says_where_and_the_other_rules_that_they_hold() -> None:
    text = audit_text(summary(), TextStyle())
    assert "  FOUND  duplicate.quote  1 finding, 3 records\n" in text
    assert "   first        recorded/2026-11.jsonl.gz:6120, 2026-11-09 13:42:00Z\n" in text
    assert "  holds  reused.aik\n  holds  rollback.clock\n" in text
    verbose = audit_text(summary(), TextStyle(verbose=True))
    assert "  holds  rollback.clock\n   question     Does the clock of an AIK only go forward?\n" in verbose


def test_more_findings_than_are_shown_are_counted() -> None:
    sample = summary()
    found = [msgspec.structs.replace(sample.cross_record[0], key=str(number)) for number in range(8)]
    rules = [msgspec.structs.replace(sample.cross_record_rules[0], findings=5000, records=15000)]
    brief = audit_text(summary(cross_record=found, cross_record_rules=rules), TextStyle())
    assert "  FOUND  duplicate.quote  5,000 findings, 15,000 records\n" in brief
    verbose = audit_text(summary(cross_record=found, cross_record_rules=rules), TextStyle(verbose=True))
    assert len(re.findall(r"^ +found +3 records carry the same quote", verbose, re.MULTILINE)) == 8
    assert "and 4,992 more findings\n" in verbose


def test_profiles_show_the_pcrs_in_which_they_differ_with_the_labels_of_the_policy() -> None:
    text = audit_text(summary(), TextStyle())
    assert "  sha256:0 ≠  3f792f08…84e5  P2        accepts it: firmware 2.5\n" in text
    assert "  sha256:7 ≠  006b7583…31aa  P3        does not accept it\n" in text
    one = summary(profiles=summary().profiles[:1], profiles_total=1)
    assert "sha256:0" not in audit_text(one, TextStyle()).partition("PCR profiles")[2]


def test_verbose_has_whole_digests_and_the_places_in_each_source() -> None:
    text = audit_text(summary(), TextStyle(verbose=True))
    assert f"  sha256:0 ≠\n    {summary().profiles[0].pcrs['sha256']['0']}\n" in text
    assert summary().policy.digest.removeprefix("sha256:") in text
    assert "   in           recorded/2026-11.jsonl.gz: lines 7609, 7610," in text
    assert "no certificate" in " ".join(text.split())


def test_a_source_that_is_not_whole_and_files_passed_over_are_named() -> None:
    text = audit_text(summary(), TextStyle())
    assert (
        "  UNREADABLE  recorded/2026-11-16.jsonl.zst  line 412\n"
        "   problem      The archive is cut off at byte 1048576.\n" in text
    )
    assert "  - recorded/notes.txt\n" in text


def test_unreadable_sources_are_grouped_by_problem_and_only_real_lines_are_named() -> None:
    sources = [
        SourceSummary(name=f"{at}.json", kind="json", counts=Counts(unreadable=1), problem="is cut off")
        for at in range(5)
    ]
    failures = [{"verdict": "unreadable", "source": one.name, "line": 0, "reason": "is cut off"} for one in sources]
    sample = summary(sources=sources, sources_unreadable=5, failures=failures)
    text = audit_text(sample, TextStyle())
    assert "Could not be read: 5 sources\n  UNREADABLE  5 sources  5 records\n" in text
    assert "   source       2.json\n                and 2 more sources (--verbose lists more)\n" in text
    assert "line 0" not in text


def test_a_record_that_could_not_be_read_is_named_though_its_source_was_read_to_its_end() -> None:
    sources = [msgspec.structs.replace(one, problem="") for one in summary().sources]
    sample = summary(sources=sources, sources_unreadable=0)
    text, page = audit_text(sample, TextStyle()), audit_markdown(sample)
    named = "Could not be read: 1 source"
    assert f"{named}\n  UNREADABLE  recorded/2026-11-16.jsonl.zst  line 412\n   problem      The archive is" in text
    assert f"### {named}\n\n**UNREADABLE** `recorded/2026-11-16.jsonl.zst` line 412\n\n- problem: The archive" in page
    failures = [one for one in sample.failures if one["verdict"] != "unreadable"]
    sources[0].counts.unreadable = 0
    sample = summary(sources=sources, sources_unreadable=0, failures=failures)
    assert "ould not be read" not in audit_text(sample, TextStyle())
    assert "ould not be read" not in audit_markdown(sample)


def test_records_that_are_in_no_time_are_counted() -> None:
    text = audit_text(summary(undated=3, time_outliers=1), TextStyle())
    assert "  3 records without a time and 1 record with a time far from all others: " in text


def test_of_the_times_without_records_the_longest_are_shown() -> None:
    gaps = [Gap(begins=1_800_000_000, ends=1_800_000_000 + 60 * minutes, records=0) for minutes in (5, 90, 7, 60, 0)]
    text = audit_text(summary(gaps=gaps, unavailable=gaps[-1:]), TextStyle())
    assert re.findall(r"no records +.*Z  ([^Z]+?) +0$", text, re.MULTILINE) == ["1 h 30 min", "1 h", "7 min"]
    assert re.search(r"  no evidence  2027-01-15 08:00:00Z  2027-01-15 08:00:00Z  isolated +0\n", text)
    assert "  and 2 more times (--verbose lists more)\n" in text
    assert "  5 min " in audit_text(summary(gaps=gaps), TextStyle(verbose=True))
    seconds = [Gap(begins=1_800_000_000, ends=1_800_000_005, records=0)]
    assert "  no records   2027-01-15 08:00:00Z  2027-01-15 08:00:05Z  5 s " in audit_text(
        summary(gaps=seconds), TextStyle()
    )


def test_a_passed_audit_is_short_and_says_so() -> None:
    sample = summary()
    text = audit_text(
        summary(
            counts=Counts(affirming=12),
            rules=[],
            places=[],
            failures=[],
            cross_record=[],
            cross_record_rules=[
                msgspec.structs.replace(one, findings=0, records=0, outcome="held") for one in sample.cross_record_rules
            ],
            sources=[],
            sources_unreadable=0,
            skipped_total=0,
            gaps=[],
            unavailable=[],
            status=0,
            status_reason="",
        ),
        TextStyle(),
    )
    assert "Rules that do not hold" not in text
    assert "FOUND" not in text
    assert "100.0%" in text
    assert text.endswith("\nexit status 0: passed")


def test_nothing_to_appraise_is_said() -> None:
    nothing = summary(
        counts=Counts(), outside=0, blank=0, cross_record=[], cross_record_rules=summary().cross_record_rules[2:]
    )
    text = audit_text(nothing, TextStyle())
    assert "No record was appraised, so nothing is affirmed." in text
    assert "holds" not in text


def test_files_that_were_found_twice_are_named_in_every_report() -> None:
    found = summary(duplicate_names=["again/a.jsonl"], duplicate_names_total=3)
    for report in (audit_text(found, TextStyle(width=80)), audit_markdown(found), html_report(found)):
        assert "again/a.jsonl" in report
        assert "ound under more than one name and read once" in report
