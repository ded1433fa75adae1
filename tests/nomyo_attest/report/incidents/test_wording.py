from __future__ import annotations

import re

import pytest

from nomyo_attest.appraisal.rules import RULES
from nomyo_attest.audit.place import Place
from nomyo_attest.report.incidents.wording import boot_phrase, failure, period_phrase
from tests.nomyo_attest.report.audit_samples import START

DAY = 86_400


@pytest.mark.parametrize(("days", "text"), [
    ((0, 0.5), " on 2 November 2026"), ((0, 8), " between 2 and 10 November 2026"),
    ((0, 30), " between 2 November and 2 December 2026"), ((0, 90), " between 2 November 2026 and 31 January 2027"),
    ((0, None), " on 2 November 2026"), ((None, None), ""),
])  # fmt: skip
def test_a_period_has_the_days_in_utc(days: tuple[float | None, float | None], text: str) -> None:
    first, last = (Place("a", 1, None if day is None else START + int(day * DAY)) for day in days)
    assert period_phrase(first, last) == text


def test_a_time_outside_the_calendar_is_shown_as_seconds() -> None:
    assert period_phrase(Place("a", 1, 2**53), Place("a", 2, 2**53)) == f" on {2**53} s"


@pytest.mark.parametrize(("got", "pieces"), [
    ({"sha256:0": "aa"}, ("firmware", "PCR 0")), ({"sha256:7": "aa"}, ("Secure Boot", "PCR 7")),
    ({"sha256:10": "aa", "sha256:4": "bb"}, ("PCRs 4 and 10",)), ({"sha256:7": None}, ("did not quote", "PCR 7")),
    ({"sha256:²": "aa"}, ("PCR",)), (None, ("policy does not list",)),
])  # fmt: skip
def test_what_was_booted_names_the_pcrs(got: object, pieces: tuple[str, ...]) -> None:
    assert all(piece in boot_phrase(got) for piece in pieces)


def test_every_rule_states_its_failure_in_a_different_clause() -> None:
    assert len({failure(rule.id) for rule in RULES}) == len(RULES)
    assert all(re.fullmatch(r"[A-Z].+[^.]", rule.failure) for rule in RULES)


def test_the_name_of_a_claim_is_shown_only_if_it_is_plain() -> None:
    assert "security_tier" in failure("claims.security_tier")
    assert "\x1b" not in failure("claims.\x1b[31m")


def test_an_unknown_rule_is_named_by_its_id_if_it_is_plain() -> None:
    assert "quote.age" in failure("quote.age")
    assert "\x1b" not in failure("quote.\x1b[31m")
