from __future__ import annotations

from typing import Any

import pytest

from nomyo_attest.audit.status import FAIL_ON, FAIL_ON_DEFAULT, status_of
from nomyo_attest.audit.summary import Counts, Released

GOOD = Counts(affirming=90, warning=10)
BAD = Counts(affirming=4, none=9)
RELEASED = Released(known=13, released=6, not_affirmed=2, gate_off=2, counts=Counts(none=2))


def status(counts: Counts, **given: Any) -> tuple[int, str]:
    return status_of(counts, **{"sources_unreadable": 0, "cross_record": 0, "evidence": True, **given})


def test_what_may_be_named_and_what_counts_by_default() -> None:
    assert FAIL_ON == ("warning", "contraindicated", "none", "unreadable", "cross-record", "released", "outside")
    assert sorted(FAIL_ON_DEFAULT) == ["contraindicated", "cross-record", "none", "unreadable"]


@pytest.mark.parametrize(
    ("counts", "given", "expected"),
    [
        (GOOD, {}, (0, "none of 100 records failed")),
        (GOOD, {"fail_on": {"warning"}}, (1, "10 records failed: 10 warning")),
        (Counts(affirming=1, none=1), {}, (1, "1 record failed: 1 none")),
        (
            Counts(affirming=1, contraindicated=2000, none=1, unreadable=3),
            {},
            (1, "2,004 records failed: 2,000 contraindicated, 1 none, 3 unreadable"),
        ),
        (Counts(affirming=1, none=1), {"fail_on": {"contraindicated"}}, (0, "none of 2 records failed")),
        (Counts(none=2), {"max_failures": 2}, (0, "2 records failed, no more than the 2 tolerated")),
        (Counts(none=2), {"max_failures": 1}, (1, "2 records failed, more than the 1 tolerated: 2 none")),
        (GOOD, {"cross_record": 1}, (1, "1 finding across records")),
        (GOOD, {"cross_record": 2, "max_failures": 100}, (1, "2 findings across records")),
        (GOOD, {"cross_record": 2, "fail_on": {"none"}}, (0, "none of 100 records failed")),
        (Counts(none=1), {"cross_record": 2}, (1, "1 record failed: 1 none; 2 findings across records")),
        (GOOD, {"sources_unreadable": 1}, (2, "1 source could not be read, or not to the end")),
        (GOOD, {"sources_unreadable": 2, "max_failures": 9}, (2, "2 sources could not be read, or not to the end")),
        (GOOD, {"sources_unreadable": 1, "fail_on": {"none"}}, (0, "none of 100 records failed")),
        (GOOD, {"outside_by_server": 3}, (0, "none of 100 records failed")),
        (
            GOOD,
            {"outside_by_server": 3, "fail_on": {"outside"}, "max_failures": 9},
            (1, "3 records outside the window by the server's own time"),
        ),
        (BAD, {"released": RELEASED, "fail_on": {"released"}}, (1, "2 records failed: 2 none though released")),
        (BAD, {"released": RELEASED, "fail_on": {"none", "released"}}, (1, "9 records failed: 9 none")),
        (BAD, {"released": RELEASED, "fail_on": {"cross-record"}}, (0, "none of 13 records failed")),
        (BAD, {"released": Released(known=3, released=1), "fail_on": {"released"}}, (0, "none of 13 records failed")),
        (
            GOOD,
            {"fail_on": {"released"}},
            (1, "no record says whether its completion was released: only lines of an evidence ledger do"),
        ),
        (Counts(), {}, (1, "no record was appraised")),
        (Counts(), {"fail_on": {"cross-record"}}, (1, "no record was appraised")),
        (
            Counts(unreadable=3),
            {"fail_on": {"contraindicated"}, "sources_unreadable": 3},
            (1, "no record was appraised"),
        ),
        (Counts(unreadable=3), {"max_failures": 3}, (1, "no record was appraised")),
        (Counts(unreadable=3), {}, (1, "3 records failed: 3 unreadable")),
        (Counts(unreadable=3, none=1), {"fail_on": {"contraindicated"}}, (0, "none of 4 records failed")),
        (Counts(unreadable=3), {"fail_on": set(), "sources_unreadable": 3}, (0, "nothing counts as a failure")),
        (
            Counts(none=5),
            {"fail_on": set(), "cross_record": 3, "sources_unreadable": 1},
            (0, "nothing counts as a failure"),
        ),
    ],
)
def test_the_status_and_its_reason(counts: Counts, given: dict[str, Any], expected: tuple[int, str]) -> None:
    assert status(counts, **given) == expected


@pytest.mark.parametrize("fail_on", [set(), {"contraindicated"}, {"warning"}, set(FAIL_ON) - {"none", "released"}])
@pytest.mark.parametrize("counts", [Counts(none=5), Counts(none=5, unreadable=1)])
def test_an_audit_in_which_no_record_has_evidence_fails_whatever_counts_as_a_failure(
    counts: Counts, fail_on: set[str]
) -> None:
    limits = {"fail_on": fail_on, "max_failures": 10}
    number, reason = status(counts, evidence=False, **limits)
    assert number == 1
    assert "no record has evidence" in reason
    assert status(counts, evidence=False, allow_no_evidence=True, **limits)[0] == 0
    assert status(counts, evidence=True, **limits)[0] == 0


@pytest.mark.parametrize("counts", [Counts(), Counts(unreadable=3)])
def test_an_audit_that_appraised_nothing_fails_even_if_nothing_counts_as_a_failure(counts: Counts) -> None:
    assert status(counts, evidence=False, fail_on=set()) == (1, "no record was appraised")
    assert status(counts, evidence=False, fail_on={"contraindicated"}) == (1, "no record was appraised")
    assert status(counts, evidence=False, fail_on={"contraindicated"}, allow_no_evidence=True)[0] == 1
    assert status(counts, evidence=False, fail_on=set(), allow_no_evidence=True)[0] == 0
