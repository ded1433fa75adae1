"""The stored evidence of a response has the same outcomes as the response, and contains nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.evidence.response import PAYLOAD_ID_MAX
from nomyo_attest.ledger.line import encode_line, open_line
from nomyo_attest.ledger.redaction import CLAIMS, FIELDS, redact
from nomyo_attest.testing import FAULTS, VARIANTS, Case, Forge

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PROMPT = "Why does my landlord read my letters?"


def policy(**changes: Any) -> na.AppraisalPolicy:
    return na.AppraisalPolicy.from_dict({**Forge().policy(), **changes})


def findings(response: object, by: na.AppraisalPolicy, payload_id: str | None = None) -> dict[str, Any]:
    return na.appraise(response, by, payload_id=payload_id, now=NOW).to_dict()


def stored_of(response: dict[str, Any], by: na.AppraisalPolicy, *secrets: str) -> tuple[dict[str, Any], bool]:
    """Return the stored evidence as it is read from a line, and whether it is whole."""
    stored = redact(response, by, lambda texts: [text for text in texts if any(secret in text for secret in secrets)])
    line = encode_line(1, "sha256:", {"payload_id": None, "given": False, "evidence": stored.evidence})
    return open_line(json.loads(line))[0], stored.whole


@pytest.mark.slow
def test_every_fault_is_found_again_in_its_stored_evidence_which_is_nearly_always_whole() -> None:
    cut, tried = [], 0
    for fault in FAULTS:
        case: Case = fault.case()
        if not isinstance(case.response, dict):
            continue  # a client cannot open such an answer
        tried += 1
        by = na.AppraisalPolicy.from_dict(case.policy)
        before = na.appraise(case.response, by, **case.arguments)
        stored, whole = stored_of(case.response, by)
        after = na.appraise(stored, by, **case.arguments)
        found = (after.verdict, after.failed, after.undecided)
        assert found == (before.verdict, before.failed, before.undecided), fault.name
        if whole:
            assert after.to_dict() == before.to_dict(), fault.name
        else:
            cut.append(fault.name)
    assert tried > 250
    assert len(cut) < tried / 20, cut


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_all_valid_evidence_is_stored_whole(variant: Any) -> None:
    case = variant.case()
    by = na.AppraisalPolicy.from_dict(case.policy)
    response = json.loads(case.response) if isinstance(case.response, (str, bytes)) else case.response
    stored, whole = stored_of(response, by)
    assert whole
    assert na.appraise(stored, by, **case.arguments).to_dict() == na.appraise(response, by, **case.arguments).to_dict()


def test_only_fields_that_the_protocol_or_the_policy_names_are_stored() -> None:
    response = Forge().response()
    response["_metadata"] |= {"title": PROMPT, "cuda_device": {"available": True, "seen": PROMPT}}
    response["_metadata"]["tpm_attestation"]["note"] = PROMPT
    response["_metadata"]["memory_protection"][PROMPT] = True
    stored, whole = stored_of(response, policy())
    assert stored.keys() == {"_metadata"}
    assert PROMPT not in json.dumps(stored)
    assert "Hello." not in json.dumps(stored)
    assert whole
    named = {path.split(".")[0] for path in CLAIMS} | {"payload_id", "tpm_attestation"}
    assert stored["_metadata"].keys() <= named
    assert stored["_metadata"]["tpm_attestation"].keys() == {*FIELDS, "pcr_values"}


def test_a_claim_of_the_policy_is_stored_wherever_it_is() -> None:
    by = policy(claims={"gpu.driver": ["550"], "region": ["eu"]})
    response = Forge().response()
    response["_metadata"] |= {"gpu": {"driver": "550", "note": PROMPT}, "region": "us"}
    stored, whole = stored_of(response, by)
    assert whole
    assert stored["_metadata"]["gpu"] == {"driver": "550"}
    assert findings(stored, by) == findings(response, by)


@pytest.mark.parametrize("path", ["security_tier", "response_status", "memory_protection.platform", "region"])
def test_a_claim_that_quotes_a_secret_becomes_null_and_fails_as_before(path: str) -> None:
    by = policy(claims={path: ["expected"]})
    response = Forge().response()
    holder, _, name = path.rpartition(".")
    (response["_metadata"][holder] if holder else response["_metadata"])[name] = f"you said: {PROMPT}"
    stored, whole = stored_of(response, by, PROMPT)
    assert not whole
    assert PROMPT not in json.dumps(stored)
    assert na.appraise(stored, by).failed == na.appraise(response, by).failed == (f"claims.{path}",)


def test_words_of_the_protocol_and_of_the_policy_are_not_withheld() -> None:
    by = policy(claims={"memory_protection.platform": ["linux hardened"]})
    response = Forge().response()
    response["_metadata"]["memory_protection"]["platform"] = "linux hardened"
    response["_metadata"]["security_tier"] = "standard"
    stored, whole = stored_of(response, by, "standard", "linux hardened")
    assert whole
    assert stored["_metadata"]["security_tier"] == "standard"
    assert na.appraise(stored, by).verdict is na.Verdict.AFFIRMING


def test_well_formed_evidence_is_stored_although_it_is_among_the_secrets() -> None:
    response = Forge().response()
    block = response["_metadata"]["tpm_attestation"]
    secrets = [block["quote_b64"], block["pcr_values"]["sha256"]["0"]]
    stored, whole = stored_of(response, policy(), *secrets)
    assert whole
    assert na.appraise(stored, policy()).verdict is na.Verdict.AFFIRMING


@pytest.mark.parametrize("field", [*FIELDS, "pcr_values"])
@pytest.mark.parametrize("wrapped", [lambda text: text, lambda text: [text], lambda text: {text: {text: text}}])
def test_malformed_evidence_that_quotes_a_secret_stays_malformed_without_it(field: str, wrapped: Any) -> None:
    response = Forge().response()
    response["_metadata"]["tpm_attestation"][field] = wrapped(PROMPT)
    stored, whole = stored_of(response, policy(), PROMPT)
    assert PROMPT not in json.dumps(stored)
    assert not whole
    assert na.appraise(stored, policy()).failed == na.appraise(response, policy()).failed == ("evidence.form",)


def test_a_secret_beside_is_available_false_goes_and_the_absence_stays() -> None:
    response = Forge().response()
    response["_metadata"]["tpm_attestation"] |= {"is_available": False, "quote_b64": PROMPT}
    stored, _ = stored_of(response, policy(), PROMPT)
    assert PROMPT not in json.dumps(stored)
    assert na.appraise(stored, policy()).verdict is na.Verdict.NONE


@pytest.mark.parametrize("payload_id", [PROMPT, PROMPT * 100, {PROMPT: 1}, None, 7, "\ud800"])
def test_a_payload_id_that_is_a_secret_is_replaced_without_changing_the_outcome(payload_id: Any) -> None:
    response = Forge().response()
    own = response["_metadata"]["payload_id"]
    response["_metadata"]["payload_id"] = payload_id
    stored, _ = stored_of(response, policy(), PROMPT)
    assert PROMPT not in json.dumps(stored)
    before, after = findings(response, policy(), own), findings(stored, policy(), own)
    assert (after["verdict"], after["findings"][0]["outcome"]) == (before["verdict"], before["findings"][0]["outcome"])


@pytest.mark.parametrize("field", [*FIELDS, "pcr_values"])
@pytest.mark.parametrize("size", [9000, 20_000, 300_000])
def test_stored_evidence_has_a_limit_and_stays_malformed(field: str, size: int) -> None:
    tampered = [size * "A", {str(number): "A" for number in range(size // 10)}, {"sha256": {"0": size * "A"}}, 10**size]
    for value in tampered[: 4 if size < 10_000 else 3]:
        response = Forge().response()
        response["_metadata"]["tpm_attestation"][field] = value
        stored, _ = stored_of(response, policy())
        assert len(json.dumps(stored)) < 130_000
        assert na.appraise(stored, policy()).failed == na.appraise(response, policy()).failed == ("evidence.form",)


@pytest.mark.parametrize("value", [10**40, float("inf"), float("nan"), [PROMPT], {"a": PROMPT}, 3000 * "x", object()])
def test_a_claim_that_is_not_a_plain_value_becomes_one_that_no_policy_accepts(value: Any) -> None:
    by = policy(claims={"security_tier": ["maximum"]})
    response = Forge().response()
    response["_metadata"]["security_tier"] = value
    stored, whole = stored_of(response, by)
    assert not whole
    assert PROMPT not in json.dumps(stored)
    assert na.appraise(stored, by).failed == ("claims.security_tier",)


@pytest.mark.parametrize("beside", ["tpm_attestation", "is_available"])
def test_evidence_in_two_places_is_stored_in_two_places(beside: str) -> None:
    for holder in ("response", "metadata"):
        response = Forge().response()
        (response if holder == "response" else response["_metadata"]).setdefault(beside, PROMPT)
        stored, _ = stored_of(response, policy(), PROMPT)
        assert PROMPT not in json.dumps(stored)
        assert findings(stored, policy())["verdict"] == findings(response, policy())["verdict"]


def test_a_duplicate_key_does_not_become_a_single_one() -> None:
    text = Forge().text().replace('"payload_id"', '"payload_id": "other", "payload_id"', 1)
    from nomyo_attest.evidence.strict_json import parse_json

    stored = redact(parse_json(text), policy())
    assert not stored.whole
    assert na.appraise(stored.evidence, policy()).failed == ("evidence.form",)


@pytest.mark.parametrize("cut", ["metadata", "block", "nothing"])
def test_a_part_of_a_response_may_be_given(cut: str) -> None:
    response = Forge().response()
    own = response["_metadata"]["payload_id"]
    part = {"metadata": response["_metadata"], "block": response["_metadata"]["tpm_attestation"], "nothing": {"a": 1}}
    stored, whole = stored_of(part[cut], policy())
    assert whole
    assert findings(stored, policy(), own) == findings(part[cut], policy(), own)


def test_misplaced_evidence_is_refused_from_the_stored_evidence_as_well() -> None:
    metadata = Forge(key="p256").response()["_metadata"]
    block = metadata.pop("tpm_attestation")
    camel = {"isAvailable": True, "quoteB64": PROMPT, **block}
    for response in (
        {"choices": [], "_metadata": {**metadata, "tpmAttestation": camel}},
        {"choices": [], "metadata": {**metadata, "tpmAttestation": camel}},
        {"log": json.dumps({"_metadata": {"tpm_attestation": block}, "note": PROMPT})},
    ):
        stored, whole = stored_of(response, policy())
        before, after = na.appraise(response, policy(), now=NOW), na.appraise(stored, policy(), now=NOW)
        assert before.verdict == after.verdict == na.Verdict.CONTRAINDICATED
        assert before.failed == after.failed == ("evidence.form",)
        assert not whole
        assert PROMPT not in json.dumps(stored)


def with_field(field: str, value: Any) -> dict[str, Any]:
    """A response one field of whose evidence is `value`."""
    response: dict[str, Any] = Forge().response()
    response["_metadata"]["tpm_attestation"][field] = value
    return response


@pytest.mark.parametrize(
    "table",
    [{"sha256": {PROMPT: 64 * "a"}}, {PROMPT: {"0": 64 * "a"}}, {PROMPT: 64 * "a"}, {"sha256": PROMPT}],
    ids=["index", "bank", "bank without PCRs", "value instead of a bank"],
)
def test_no_name_or_value_in_the_pcr_table_may_be_a_secret(table: Any) -> None:
    response = with_field("pcr_values", table)
    stored, whole = stored_of(response, policy(), PROMPT)
    assert PROMPT not in json.dumps(stored)
    assert not whole
    assert na.appraise(stored, policy()).failed == na.appraise(response, policy()).failed == ("evidence.form",)


def test_one_secret_index_among_honest_ones_removes_the_table() -> None:
    table = Forge().response()["_metadata"]["tpm_attestation"]["pcr_values"]
    table["sha256"][PROMPT] = 64 * "a"
    stored, whole = stored_of(with_field("pcr_values", table), policy(), PROMPT)
    assert stored["_metadata"]["tpm_attestation"]["pcr_values"] is None
    assert not whole


@pytest.mark.parametrize(
    ("table", "is_stored"),
    [
        ({"sha256": {64 * "7": "a"}}, True),
        ({"sha256": {65 * "7": "a"}}, False),
        ({64 * "b": {"0": "a"}}, True),
        ({65 * "b": {"0": "a"}}, False),
        ({"sha256": {str(index): "a" for index in range(64)}}, True),
        ({"sha256": {str(index): "a" for index in range(65)}}, False),
        ({str(bank): {} for bank in range(64)}, True),
        ({str(bank): {} for bank in range(65)}, False),
    ],
    ids=["index of 64", "index of 65", "bank of 64", "bank of 65", "64 PCRs", "65 PCRs", "64 banks", "65 banks"],
)
def test_a_pcr_table_is_stored_up_to_its_limits_and_becomes_null_beyond(table: Any, is_stored: bool) -> None:
    stored, whole = stored_of(with_field("pcr_values", table), policy())
    assert stored["_metadata"]["tpm_attestation"]["pcr_values"] == (table if is_stored else None)
    assert whole is is_stored


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("size", "stored_size"), [(16_384, 16_384), (16_385, 16_384), (20_000, 16_384)])
def test_a_long_field_of_the_evidence_is_cut_and_the_record_says_so(field: str, size: int, stored_size: int) -> None:
    stored, whole = stored_of(with_field(field, size * "A"), policy())
    assert stored["_metadata"]["tpm_attestation"][field] == stored_size * "A"
    assert whole is (size == stored_size)


@pytest.mark.parametrize(("size", "stored_size"), [(1024, 1024), (1025, 1024)])
def test_a_long_pcr_value_is_cut_and_the_record_says_so(size: int, stored_size: int) -> None:
    stored, whole = stored_of(with_field("pcr_values", {"sha256": {"0": size * "a"}}), policy())
    assert stored["_metadata"]["tpm_attestation"]["pcr_values"] == {"sha256": {"0": stored_size * "a"}}
    assert whole is (size == stored_size)


@pytest.mark.parametrize(("size", "is_stored"), [(256, True), (257, False)])
def test_a_long_claim_becomes_null_and_the_record_says_so(size: int, is_stored: bool) -> None:
    response = Forge().response()
    response["_metadata"]["response_status"] = size * "x"
    stored, whole = stored_of(response, policy())
    assert stored["_metadata"]["response_status"] == (size * "x" if is_stored else None)
    assert whole is is_stored


def test_a_payload_id_too_long_to_be_one_is_cut_and_stays_too_long() -> None:
    response = Forge().response()
    response["_metadata"]["payload_id"] = (PAYLOAD_ID_MAX + 2) * "p"
    stored, whole = stored_of(response, policy())
    assert stored["_metadata"]["payload_id"] == (PAYLOAD_ID_MAX + 1) * "p"
    assert not whole


def test_a_field_whose_stored_beginning_is_a_secret_becomes_null() -> None:
    beginning = 16_384 * "A"
    stored, whole = stored_of(with_field("quote_b64", beginning + "B"), policy(), beginning)
    assert stored["_metadata"]["tpm_attestation"]["quote_b64"] is None
    assert not whole


@pytest.mark.parametrize("word", ["standard", "high", "maximum", "success"])
@pytest.mark.parametrize("claim", ["security_tier", "response_status"])
def test_each_word_of_the_protocol_is_stored_though_it_was_sent(word: str, claim: str) -> None:
    response = Forge().response()
    response["_metadata"][claim] = word
    stored, whole = stored_of(response, policy(), word)
    assert stored["_metadata"][claim] == word
    assert whole


def test_any_other_word_that_was_sent_is_not_stored() -> None:
    response = Forge().response()
    response["_metadata"]["security_tier"] = "Maximum"
    stored, whole = stored_of(response, policy(), "Maximum")
    assert stored["_metadata"]["security_tier"] is None
    assert not whole
