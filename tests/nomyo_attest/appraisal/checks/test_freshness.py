"""Was the quote made for this answer, by a clock to rely on, under a policy that still counts?"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.testing import Forge
from tests.nomyo_attest.appraisal.checks.rule_findings import FAIL, PASS, UNDECIDED, ask, outcome, policy_for

ANY: dict[str, Any] = {"unsafe_any_nonce": True}
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


def nonce_of(payload_id: str) -> bytes:
    return hashlib.sha256(payload_id.encode("utf-8")).digest()[:16]


def forge_of(payload_id: str = "p", nonce: bytes | None = None) -> Forge:
    return Forge(key="p256", payload_id=payload_id, nonce=nonce)


def without_id(forge: Forge) -> Forge:
    return forge.tamper("_metadata", lambda metadata: {key: metadata[key] for key in metadata if key != "payload_id"})


@given(texts)
def test_a_quote_counts_for_its_own_payload_id(payload_id: str) -> None:
    assert outcome("nonce.match", forge_of(payload_id)) is PASS
    assert outcome("nonce.match", without_id(forge_of(payload_id)), payload_id=payload_id) is PASS
    assert outcome("nonce.match", forge_of(payload_id), payload_id=payload_id) is PASS


@given(texts, texts)
def test_a_quote_counts_for_no_other_payload_id(payload_id: str, other: str) -> None:
    forge = forge_of(payload_id)
    if other != payload_id:
        forge.tamper("_metadata", lambda metadata: {**metadata, "payload_id": other})
        assert outcome("nonce.match", forge) is FAIL
        assert outcome("nonce.match", without_id(forge_of(payload_id)), payload_id=other) is FAIL


@given(st.binary(max_size=64))
def test_extra_data_other_than_the_nonce_of_the_payload_id_does_not_count(extra_data: bytes) -> None:
    forge = forge_of("p", extra_data)
    assert outcome("nonce.match", forge) is (PASS if extra_data == nonce_of("p") else FAIL)
    assert outcome("nonce.match", forge, ANY) is FAIL, "any nonce is for a lost payload id only"


@given(st.binary(max_size=64), st.binary(min_size=1, max_size=64))
def test_a_nonce_that_is_given_must_be_there_exactly(extra_data: bytes, nonce: bytes) -> None:
    for given_ in (nonce, extra_data, extra_data[:-1], extra_data + b"\0", extra_data[1:]):
        if 0 < len(given_) <= 64:
            expected = PASS if given_ == extra_data else FAIL
            assert outcome("nonce.match", without_id(forge_of("p", extra_data)), nonce=given_) is expected


def test_a_nonce_that_is_given_goes_before_the_payload_id_recorded() -> None:
    forge = forge_of("p", b"given")
    finding = ask("nonce.match", forge, nonce=b"given")
    assert (finding.outcome, finding.got) == (PASS, b"given")
    result = na.appraise(forge.response(), policy_for(forge), nonce=b"given")
    assert result.payload_id is None
    assert outcome("nonce.match", forge_of("p"), nonce=b"given") is FAIL


def test_a_payload_id_that_is_given_must_be_the_one_recorded() -> None:
    # Whoever recorded the answer and whoever asks name two requests; the quote is right for one of them.
    mismatched = forge_of("asked").tamper("_metadata", lambda metadata: {**metadata, "payload_id": "recorded"})
    finding = ask("nonce.match", mismatched, payload_id="asked")
    assert finding.outcome is FAIL
    assert (finding.expected, finding.got) == ("asked", "recorded")
    assert outcome("nonce.match", forge_of("recorded"), payload_id="asked") is FAIL
    result = na.appraise(forge_of("asked").response(), policy_for(forge_of()), payload_id="asked")
    assert result.payload_id == "asked"


def test_a_payload_id_is_not_trimmed_or_folded() -> None:
    for other in ("P", " p", "p ", "p\n", "\uff50", "p\u0000", "p\u200b"):
        assert outcome("nonce.match", forge_of("p"), payload_id=other) is FAIL
    # One letter in two ways to write it: two payload ids.
    assert outcome("nonce.match", without_id(forge_of("\u00e9")), payload_id="e\u0301") is FAIL


def test_without_a_payload_id_nothing_can_be_told_unless_the_policy_takes_any_nonce() -> None:
    assert outcome("nonce.match", without_id(forge_of("p"))) is UNDECIDED
    finding = ask("nonce.match", without_id(forge_of("p")), ANY)
    assert finding.outcome is PASS
    assert "unsafe_any_nonce" in finding.expected
    result = na.appraise(without_id(forge_of("p")).response(), policy_for(forge_of(), **ANY))
    assert result.verdict is na.Verdict.AFFIRMING
    assert any("unsafe_any_nonce" in limit for limit in result.not_established)


def test_any_nonce_does_not_mean_a_wrong_one() -> None:
    forge = without_id(forge_of("p"))
    assert outcome("nonce.match", forge, ANY, payload_id="another") is FAIL
    assert outcome("nonce.match", forge, ANY, nonce=b"another") is FAIL
    with pytest.raises(ValueError, match="nonce must be 1 to 64 bytes, not 0"):
        na.appraise(forge.response(), policy_for(forge, **ANY), nonce=b"")


def test_the_clock_is_safe_where_the_tpm_says_so() -> None:
    assert outcome("clock.safe", Forge(safe=1)) is PASS
    assert outcome("clock.safe", Forge(safe=0)) is FAIL
    for word, verdict in (("warn", na.Verdict.WARNING), ("ignore", na.Verdict.AFFIRMING), ("required", None)):
        result = na.appraise(Forge(safe=0).response(), policy_for(Forge(), rules={"clock.safe": word}))
        assert result.verdict is (verdict or na.Verdict.CONTRAINDICATED)
        assert result.failed == ("clock.safe",)


FROM, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
PERIOD = {"valid_from": FROM.isoformat(), "valid_until": UNTIL.isoformat()}
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (FROM - TICK, UNDECIDED),
        (FROM, PASS),
        (FROM + TICK, PASS),
        (UNTIL - TICK, PASS),
        (UNTIL, PASS),
        (UNTIL + TICK, UNDECIDED),
        (datetime(1, 1, 1, tzinfo=UTC), UNDECIDED),
        (datetime(9999, 12, 31, tzinfo=UTC), UNDECIDED),
    ],
    ids=str,
)
def test_a_policy_counts_in_its_period_to_the_last_moment_in_every_time_zone(
    now: datetime, expected: na.Outcome
) -> None:
    assert outcome("policy.period", Forge(), PERIOD, now=now) is expected
    if now.year == FROM.year:
        for hours in (-12, 5, 14):
            elsewhere = now.astimezone(timezone(timedelta(hours=hours)))
            assert outcome("policy.period", Forge(), PERIOD, now=elsewhere) is expected


def test_a_period_may_be_open_at_either_end() -> None:
    begin, end = {"valid_from": PERIOD["valid_from"]}, {"valid_until": PERIOD["valid_until"]}
    assert outcome("policy.period", Forge(), begin, now=UNTIL + TICK) is PASS
    assert outcome("policy.period", Forge(), begin, now=FROM - TICK) is UNDECIDED
    assert outcome("policy.period", Forge(), end, now=FROM - TICK) is PASS
    assert outcome("policy.period", Forge(), end, now=UNTIL + TICK) is UNDECIDED


def test_the_clock_counts_where_no_time_is_given() -> None:
    assert outcome("policy.period", Forge(), {"valid_from": "2000-01-01T00:00:00Z"}) is PASS
    assert outcome("policy.period", Forge(), {"valid_until": "2000-01-01T00:00:00Z"}) is UNDECIDED


def test_outside_its_period_good_evidence_is_neither_affirmed_nor_contraindicated() -> None:
    result = na.appraise(Forge().response(), policy_for(Forge(), **PERIOD), now=UNTIL + TICK)
    assert (result.verdict, result.undecided) == (na.Verdict.NONE, ("policy.period",))
    softened = policy_for(Forge(), **PERIOD, rules={"policy.period": "warn"})
    assert na.appraise(Forge().response(), softened, now=UNTIL + TICK).verdict is na.Verdict.WARNING
