"""`appraise`: its arguments, and that nothing it did before, elsewhere or afterwards changes what it says."""

from __future__ import annotations

import copy
import gc
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.appraisal import verifier
from nomyo_attest.testing import Forge
from nomyo_attest.testing.faults import FAULTS, Fault
from tests.nomyo_attest.policy.documents import TIMED

Json = dict[str, Any]

NOT_AFFIRMED = (na.Verdict.CONTRAINDICATED, na.Verdict.NONE)
POLICY = na.AppraisalPolicy.from_dict(Forge().policy())
RESPONSE: Json = Forge().response()
METADATA: Json = RESPONSE["_metadata"]
BLOCK: Json = METADATA["tpm_attestation"]


@pytest.mark.parametrize("response", [RESPONSE, METADATA, json.dumps(RESPONSE), json.dumps(METADATA).encode()], ids=str)
def test_a_response_and_its_metadata_are_affirmed_as_dict_text_and_bytes(response: object) -> None:
    assert na.appraise(response, POLICY).verdict is na.Verdict.AFFIRMING


def test_evidence_that_was_read_before_is_affirmed_like_what_it_was_read_from() -> None:
    evidence = na.Evidence.from_response(RESPONSE)
    assert na.appraise(evidence, POLICY).to_dict() == na.appraise(RESPONSE, POLICY).to_dict()


def test_a_bare_block_needs_its_payload_id_from_the_caller() -> None:
    result = na.appraise(BLOCK, POLICY)
    assert (result.verdict, result.undecided) == (na.Verdict.NONE, ("nonce.match",))
    assert na.appraise(BLOCK, POLICY, payload_id=Forge().payload_id).verdict is na.Verdict.AFFIRMING


@pytest.mark.parametrize("policy", [None, {}, "policy.toml", Forge().policy(), na.AppraisalPolicy, object()])
def test_a_policy_must_be_one(policy: Any) -> None:
    with pytest.raises(TypeError, match="policy must be an AppraisalPolicy"):
        na.appraise(RESPONSE, policy)


class Odd(tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None


WRONG_ARGUMENTS: dict[str, tuple[Json, type[Exception]]] = {
    "payload_id and nonce": ({"payload_id": "p", "nonce": b"n"}, ValueError),
    "empty payload_id": ({"payload_id": ""}, ValueError),
    "long payload_id": ({"payload_id": "p" * 1025}, ValueError),
    "payload_id with a lone surrogate": ({"payload_id": "\ud800"}, ValueError),
    "payload_id as bytes": ({"payload_id": b"p"}, TypeError),
    "payload_id as a number": ({"payload_id": 7}, TypeError),
    "nonce as text": ({"nonce": "00"}, TypeError),
    "nonce as a bytearray": ({"nonce": bytearray(16)}, TypeError),
    "nonce as a number": ({"nonce": 7}, TypeError),
    "long nonce": ({"nonce": bytes(65)}, ValueError),
    "now without an offset": ({"now": datetime(2026, 1, 1)}, ValueError),  # noqa: DTZ001 - that is what must not work
    "now without a known offset": ({"now": datetime(2026, 1, 1, tzinfo=Odd())}, ValueError),
    "now as text": ({"now": "2026-01-01T00:00:00Z"}, TypeError),
    "now as a date": ({"now": date(2026, 1, 1)}, TypeError),
    "now as a number": ({"now": 1767225600}, TypeError),
}


@pytest.mark.parametrize("what", WRONG_ARGUMENTS)
def test_a_wrong_argument_is_told_to_the_caller_whatever_the_evidence(what: str) -> None:
    arguments, error = WRONG_ARGUMENTS[what]
    for policy in (POLICY, na.AppraisalPolicy.from_dict({**Forge().policy(), "valid_from": "2026-01-01T00:00:00Z"})):
        for response in (RESPONSE, {}, "nonsense"):
            with pytest.raises(error):
                na.appraise(response, policy, **arguments)


def test_arguments_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        na.appraise(RESPONSE, POLICY, "payload id")  # type: ignore[call-arg]  # that is what must not work


def test_the_time_of_the_appraisal_is_said_only_where_it_mattered() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    assert na.appraise(RESPONSE, POLICY).appraised_at is None
    assert na.appraise(RESPONSE, POLICY, now=moment).appraised_at == "2026-01-31T12:00:00+02:00"
    timed = na.AppraisalPolicy.from_dict({**Forge().policy(), "valid_from": "2026-01-01T00:00:00Z"})
    before = datetime.now(UTC)
    appraised_at = na.appraise(RESPONSE, timed).appraised_at
    assert appraised_at is not None
    assert before <= datetime.fromisoformat(appraised_at) <= datetime.now(UTC)


def act(fault: Fault) -> tuple[Any, Json, Json]:
    """The response, the policy and the arguments of a fault."""
    case = fault.case()
    return case.response, case.policy, dict(case.arguments)


ACTS = {fault.name: act(fault) for fault in FAULTS}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_fault_is_affirmed_whatever_may_be_softened_around_it(fault: Fault) -> None:
    response, document, arguments = ACTS[fault.name]
    others = {
        rule.id: "ignore" if rule.id not in TIMED or rule.id == "pcr.values" else "warn"
        for rule in na.RULES
        if not rule.core and rule.id != "claims.*" and rule.id != fault.rule
    }
    if not fault.rule.startswith("claims."):
        others["claims.*"] = "ignore"
    rules = {**others, **document.get("rules", {})}
    soft = {"unsafe_accept_any_pcrs": True, "unsafe_warn_until": "9999-01-01"}
    for policy in (document, {**document, "rules": rules, **soft}):
        result = na.appraise(response, na.AppraisalPolicy.from_dict(policy), **arguments)
        assert result.verdict in NOT_AFFIRMED
        assert fault.rule in (*result.failed, *result.undecided)
        json.dumps(result.to_dict(), allow_nan=False)
        with pytest.raises(na.AttestationError, match=fault.rule):
            result.require()


@pytest.mark.slow
def test_what_was_appraised_before_changes_nothing() -> None:
    # Each response alone, under a policy of its own; then all under one policy, good ones in between, twice over.
    alone = {}
    for name, (response, document, arguments) in ACTS.items():
        alone[name] = na.appraise(response, na.AppraisalPolicy.from_dict(document), **arguments).to_dict()
    policies: dict[str, na.AppraisalPolicy] = {}
    for _ in range(2):
        for name, (response, document, arguments) in ACTS.items():
            policy = policies.setdefault(json.dumps(document, sort_keys=True), na.AppraisalPolicy.from_dict(document))
            na.appraise(RESPONSE, policy)
            result = na.appraise(response, policy, **arguments).to_dict()
            if "valid_from" in document or "valid_until" in document:
                continue  # the clock goes on in between
            assert result == alone[name], name


FORGES: dict[str, Json] = {
    "usual": {},
    "another request": {"payload_id": "another request"},
    "p256": {"key": "p256"},
    "p384": {"key": "p384", "hash_alg": "sha384"},
    "rsapss": {"scheme": "rsapss"},
    "another key": {"label": "another"},
    "owner": {"hierarchy": "owner"},
    "two banks": {"selection": "sha256:0,7,10+sha384:0"},
    "fewer PCRs": {"selection": "sha256:0,7"},
}


def test_parts_of_two_good_answers_make_no_third() -> None:
    parts = ("quote_b64", "signature_b64", "aik_pubkey_b64", "payload_id")
    made = {name: Forge(**fields) for name, fields in FORGES.items()}
    policies = {name: na.AppraisalPolicy.from_dict(forge.policy()) for name, forge in made.items()}
    responses = {name: forge.response()["_metadata"] for name, forge in made.items()}
    tried = 0
    for (one, first), (other, second) in itertools.permutations(responses.items(), 2):
        for taken in itertools.chain.from_iterable(itertools.combinations(parts, n) for n in (1, 2, 3)):
            spliced = copy.deepcopy(first)
            for part in taken:
                holder, source = (
                    (spliced, second)
                    if part == "payload_id"
                    else (spliced["tpm_attestation"], second["tpm_attestation"])
                )
                holder[part] = source[part]
            if spliced in (first, second):
                continue
            tried += 1
            for name in (one, other):
                result = na.appraise(spliced, policies[name])
                assert result.verdict in NOT_AFFIRMED, (one, other, taken)
    assert tried > 500


def test_policies_are_never_mixed_up() -> None:
    strict = [
        na.AppraisalPolicy.from_dict({**Forge().policy(), "id": "same", "key": {"hierarchy": ["owner"]}})
        for _ in range(3)
    ]
    lax = [na.AppraisalPolicy.from_dict({**Forge().policy(), "id": "same"}) for _ in range(3)]
    for _ in range(3):
        for one, other in zip(strict, lax, strict=True):
            assert na.appraise(RESPONSE, one).failed == ("key.hierarchy",)
            assert na.appraise(RESPONSE, other).verdict is na.Verdict.AFFIRMING


def test_more_policies_than_are_remembered_are_each_applied_as_they_are() -> None:
    document = Forge().policy()
    for number in range(300):
        changed = {**document, "key": {"hierarchy": ["owner" if number % 3 else "endorsement"]}}
        policy = na.AppraisalPolicy.from_dict(changed)
        verdict = na.appraise(RESPONSE, policy).verdict
        assert verdict is (na.Verdict.CONTRAINDICATED if number % 3 else na.Verdict.AFFIRMING)
        del policy
        if number % 50 == 0:
            gc.collect()


def test_more_layouts_than_are_stored_are_each_judged_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "_LAYOUTS_CACHE_SIZE", 5)
    document = {**Forge().policy(), "pcrs": {"sha256": {"0": [Forge().pcrs["sha256"][0].hex()]}}}
    policy = na.AppraisalPolicy.from_dict(document)
    stored = []
    for number in (*range(1, 24), *range(1, 24)):
        forge = Forge(key="p256", selection=f"sha256:0,{number}", safe=0 if number % 7 == 0 else 1)
        expected = ("clock.safe",) if number % 7 == 0 else ()
        assert na.appraise(forge.response(), policy).failed == expected
        stored.append(len(verifier._plan(policy)._layouts))
    assert max(stored) == 5


def test_the_numbers_of_plans_and_layouts_that_are_stored_are_bounded() -> None:
    assert verifier._LAYOUTS_CACHE_SIZE == 1024
    for number in range(100):
        na.appraise({}, na.AppraisalPolicy.from_dict({**Forge().policy(), "id": f"policy {number}"}))
    assert verifier._plan.cache_info().currsize == 64


def test_what_happens_to_the_response_afterwards_does_not_reach_the_result() -> None:
    claims = {"claims": {"security_tier": ["high"], "memory_protection.platform": ["linux"]}}
    policy = na.AppraisalPolicy.from_dict({**Forge().policy(), **claims})
    for read in (False, True):
        for forge in (Forge(), Forge(safe=0).measure(7, b"another")):
            response = forge.response()
            given_ = na.Evidence.from_response(response) if read else response
            before = na.appraise(copy.deepcopy(response), policy).to_dict()
            result = na.appraise(given_, policy)
            metadata = response["_metadata"]
            block = metadata["tpm_attestation"]
            block["pcr_values"]["sha256"].clear()
            block["pcr_banks"] = "sha256:1"
            block.update(quote_b64="", signature_b64="", aik_pubkey_b64="", is_available=False)
            metadata.update(security_tier="standard", payload_id="another")
            metadata["memory_protection"].clear()
            response.clear()
            assert result.to_dict() == before


def test_appraising_does_not_change_what_is_appraised() -> None:
    for response in (copy.deepcopy(RESPONSE), copy.deepcopy(METADATA), copy.deepcopy(BLOCK)):
        before = copy.deepcopy(response)
        na.appraise(response, POLICY, payload_id=Forge().payload_id)
        assert response == before


def test_threads_say_what_one_thread_says() -> None:
    names = list(ACTS)[::5]
    policies = {name: na.AppraisalPolicy.from_dict(ACTS[name][1]) for name in names}

    def verdict(name: str) -> tuple[na.Verdict, tuple[str, ...], tuple[str, ...]]:
        response, _, arguments = ACTS[name]
        result = na.appraise(response, policies[name], **arguments)
        assert na.appraise(RESPONSE, POLICY).verdict is na.Verdict.AFFIRMING
        return result.verdict, result.failed, result.undecided

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(verdict, names * 5))
    assert together == [verdict(name) for name in names] * 5


some_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PLACES = [(name,) for name in BLOCK] + [
    ("pcr_values", "sha256"),
    *[("pcr_values", "sha256", i) for i in ("0", "7", "10")],
]


@given(st.sampled_from(PLACES), some_json)
def test_no_other_value_in_any_place_of_the_block_is_affirmed(place: tuple[str, ...], value: Any) -> None:
    response = copy.deepcopy(RESPONSE)
    holder = response["_metadata"]["tpm_attestation"]
    for key in place[:-1]:
        holder = holder[key]
    unchanged = json.dumps(holder[place[-1]]) == json.dumps(value)
    holder[place[-1]] = value
    for given_ in (response, json.dumps(response)):
        result = na.appraise(given_, POLICY)
        assert unchanged or result.verdict in NOT_AFFIRMED
        json.dumps(result.to_dict(), allow_nan=False)


@given(st.text())
def test_no_other_payload_id_is_affirmed(payload_id: str) -> None:
    response = copy.deepcopy(RESPONSE)
    response["_metadata"]["payload_id"] = payload_id
    assert na.appraise(response, POLICY).verdict in NOT_AFFIRMED
