from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nomyo_attest.audit.cross_record.model import Affected, AffectedKey, CrossRecordFinding
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import Counts
from nomyo_attest.report.document import Paragraph
from nomyo_attest.report.formatting import TextStyle
from nomyo_attest.report.html import html_report
from nomyo_attest.report.incidents import Kind, incidents
from nomyo_attest.report.markdown import audit_markdown
from nomyo_attest.report.sections import audit_document
from nomyo_attest.report.text import audit_text
from tests.nomyo_attest.report.audit_samples import summary

AFFIRMED = summary().counts.affirming
AIK = "000b" + "1f" * 32


def sentence(**changes: Any) -> str:
    """The sentence about affirmed records and incidents; empty without one."""
    section = audit_document(summary(**changes)).sections[0]
    texts = [str(block.text) for block in section.blocks if isinstance(block, Paragraph)]
    return next((text for text in texts if "incident" in text), "")


def test_every_report_states_how_many_affirmed_records_are_in_no_incident_and_where_the_others_are() -> None:
    place = next(number for number, one in enumerate(incidents(summary()), 1) if one.kind is Kind.REPLAY)
    expected = f"{AFFIRMED - 3:,} are in no incident. 3 are in incident {place}: see there"
    assert expected in sentence()
    for report in (audit_text(summary(), TextStyle(width=200)), audit_markdown(summary()), html_report(summary())):
        assert expected in report


@pytest.mark.parametrize(
    ("affirmed", "affected", "expected"),
    [
        (1, 0, "The affirmed record is in no incident."),
        (1, 1, "The affirmed record is in incident 2"),
        (7, 0, "All 7 affirmed records are in no incident."),
        (7, 7, "All 7 affirmed records are in incident 2"),
        (7, 6, "Of 7 affirmed records, 1 is in no incident. 6 are in incident 2"),
        (7, 1, "Of 7 affirmed records, 6 are in no incident. 1 is in incident 2"),
        (0, 0, ""),
    ],
)
def test_the_sentence_fits_the_numbers(affirmed: int, affected: int, expected: str) -> None:
    counted = summary().affected
    assert counted is not None
    counted.affirming = affected
    said = sentence(counts=Counts(affirming=affirmed, contraindicated=75), affected=counted)
    assert said.startswith(expected)
    assert bool(said) is bool(expected)


def test_a_summary_that_did_not_count_the_records_has_no_sentence() -> None:
    assert sentence(affected=None) == ""


def test_checks_that_were_not_evaluated_limit_the_sentence() -> None:
    rules = [msgspec.structs.replace(rule, outcome="not_evaluated") for rule in summary().cross_record_rules]
    assert "as far as the cross-record checks could be evaluated" in sentence(cross_record_rules=rules)


def test_findings_that_are_not_listed_are_named() -> None:
    rules = [msgspec.structs.replace(rule, findings=9000) for rule in summary().cross_record_rules]
    assert "or in findings that are not listed" in sentence(cross_record_rules=rules)


def test_a_rollback_has_the_number_of_records_of_both_findings_together() -> None:
    place = Place("a.jsonl", 1, 9)
    found = [
        CrossRecordFinding(rule=rule, key=AIK, records=number, first=place, last=place, places=[place], message="back",
                           detail=detail, high=9, low=1)
        for rule, detail, number in (("rollback.clock", "clock", 23), ("rollback.counters", "reset_count", 30))
    ]  # fmt: skip
    counted = [AffectedKey(family=family, key=AIK, records=31, affirming=8) for family in ("rollback", "reused")]
    counted[1].records = 99
    changed = summary(cross_record=found, affected=Affected(records=31, affirming=8, by_key=counted))
    (rollback,) = (one for one in incidents(changed) if one.kind is Kind.ROLLBACK)
    assert (rollback.records, rollback.affirming) == (31, 8)
    assert "31, 8 of them affirmed" in audit_text(changed, TextStyle())
    assert "31, 8 of them affirmed" in audit_markdown(changed)
