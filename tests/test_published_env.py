"""What counts as a proof of a defect: a test that fails by its own assertion, and nothing else."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from tests.nomyo.defects.rows import ROWS
from tests.published_env import judge, report


def case(inside: str, name: str = "test_c3_an_answer") -> ET.Element:
    """A test in a JUnit report."""
    return ET.fromstring(f'<testcase name="{name}">{inside}</testcase>')


def test_a_failed_assertion_that_says_something_is_a_proof() -> None:
    failed = case('<failure message="AssertionError: it was handed over&#10;assert False"/>')
    assert judge(failed) == (True, "it was handed over")


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        ("", "passed"),
        ('<skipped message="no mlock"/>', "skipped: no mlock"),
        ('<error message="fixture router"/>', "error: fixture router"),
        ('<failure message="TypeError: unexpected keyword argument"/>', "TypeError"),
        ('<failure message="AssertionError"/>', "not by its own words"),
        ('<failure message="assert 1 == 2"/>', "not by its own words"),
        ('<failure message="AssertionError: yes"/><error message="teardown"/>', "error: teardown"),
    ],
)
def test_nothing_else_is_a_proof(inside: str, why: str) -> None:
    good, text = judge(case(inside))
    assert not good
    assert why in text


def test_a_defect_without_a_test_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    proved = [case('<failure message="AssertionError: so"/>', f"test_{row.lower()}_x") for row in ROWS]
    assert report(proved, whole=True) == 0
    assert report(proved[1:], whole=True) == 1
    assert "C1: no test" in capsys.readouterr().err
    assert report(proved[1:], whole=False) == 0


def test_one_test_that_proves_nothing_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    proved = [case('<failure message="AssertionError: so"/>', f"test_{row.lower()}_x") for row in ROWS]
    assert report([*proved, case("", "test_c3_another")], whole=True) == 1
    assert "test_c3_another: passed" in capsys.readouterr().err
