from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import nomyo_attest as na
from nomyo_attest.audit import record
from nomyo_attest.audit.record import AppraisedRecord, OutsideWindow, RecordAppraiser
from nomyo_attest.audit.row import Row, encode_row
from nomyo_attest.ledger.line import NO_PREVIOUS, encode_line
from nomyo_attest.testing import FAULTS, VARIANTS, Forge


def text_of(response: Any) -> bytes:
    if isinstance(response, bytes):
        return response
    return (response if isinstance(response, str) else json.dumps(response)).encode("utf-8", "surrogatepass")


def row_of(text: bytes, policy: na.AppraisalPolicy, **options: Any) -> Row:
    appraised = RecordAppraiser(policy, **options).appraise("a.jsonl", 7, text)
    assert isinstance(appraised, AppraisedRecord)
    return appraised.row


def agrees(row: Row, result: na.AttestationResult) -> None:
    assert row.verdict == result.verdict.value
    assert row.failed == list(result.failed)
    assert row.undecided == list(result.undecided)
    assert row.payload_id == result.payload_id
    assert row.aik_name == result.aik_name
    assert row.trust == result.trust.value
    kept = [finding for finding in result.to_dict()["findings"] if finding["outcome"] != "pass"]
    plain = msgspec.to_builtins(row.findings)
    for finding in kept:
        del finding["field"], finding["remediation"]
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(kept).encode().decode("utf-8", "backslashreplace"))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_row_of_good_evidence_has_the_result_of_appraise(variant: Any) -> None:
    case = variant.case()
    policy = na.AppraisalPolicy.from_dict(case.policy)
    text = text_of(case.response)
    now = datetime(2026, 1, 15, tzinfo=UTC)
    agrees(row_of(text, policy, at=now), na.appraise(text, policy, now=now))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_row_of_every_fault_has_the_result_of_appraise(fault: Any) -> None:
    case = fault.case()
    policy = na.AppraisalPolicy.from_dict(case.policy)
    text = text_of(case.response)
    now = datetime(2026, 6, 1, tzinfo=UTC)
    agrees(row_of(text, policy, at=now), na.appraise(text, policy, now=now))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b'{"_metadata": 1}', b"{}", b"[" * 5000])
def test_a_line_that_is_not_a_record_has_the_verdict_of_appraise(text: bytes) -> None:
    policy = na.AppraisalPolicy.from_dict(Forge().policy())
    row = row_of(text, policy)
    agrees(row, na.appraise(text, policy))
    assert row.reason


def test_a_row_has_the_fields_of_the_quote() -> None:
    forge = Forge(key="p256", clock=5, reset_count=6, restart_count=7)
    row = row_of(text_of(forge.response()), na.AppraisalPolicy.from_dict(forge.policy()))
    answer = forge.build()
    assert row.quote == hashlib.sha256(answer.attest).hexdigest()
    assert row.aik_name == answer.name.hex()
    assert (row.clock, row.reset_count, row.restart_count) == (5, 6, 7)
    assert (row.signature_valid, row.available, row.aik_pinned) == (True, True, False)
    assert (row.processed_at, row.security_tier) == (1767225600, "high")
    assert json.loads(bytes(row.pcrs or b"")) == answer.response["_metadata"]["tpm_attestation"]["pcr_values"]
    assert row.pcr_profile == hashlib.sha256(bytes(row.pcrs or b"")).hexdigest()


def test_a_quote_is_the_same_quote_whatever_its_framing_and_its_signature() -> None:
    forge = Forge(key="p256")
    bare = row_of(text_of(forge.response()), na.AppraisalPolicy.from_dict(forge.policy()))
    forge.sized_quote = True
    forge.tamper("signature", lambda signature: signature[:-1] + bytes([signature[-1] ^ 1]))
    sized = row_of(text_of(forge.response()), na.AppraisalPolicy.from_dict(forge.policy()))
    assert sized.quote == bare.quote
    assert sized.signature_valid is False


def test_a_profile_omits_pcrs_of_which_the_policy_accepts_any_value() -> None:
    forge = Forge(key="p256")
    document = forge.policy()
    document["pcrs"]["sha256"]["10"] = "any"
    policy = na.AppraisalPolicy.from_dict(document)
    before = row_of(text_of(forge.response()), policy)
    forge.measure(10, b"a file was opened")
    assert row_of(text_of(forge.response()), policy).pcr_profile == before.pcr_profile
    forge.measure(0, b"other firmware")
    assert row_of(text_of(forge.response()), policy).pcr_profile != before.pcr_profile
    assert "10" not in json.loads(bytes(before.pcrs or b""))["sha256"]


@pytest.mark.parametrize(
    ("window", "inside"),
    [
        ({}, True),
        ({"since": 1767225600}, True),
        ({"since": 1767225601}, False),
        ({"until": 1767225600}, False),
        ({"until": 1767225601}, True),
    ],
)
def test_a_window_of_time_has_its_beginning_and_not_its_end(window: dict[str, Any], inside: bool) -> None:
    forge = Forge(key="p256")
    appraiser = RecordAppraiser(na.AppraisalPolicy.from_dict(forge.policy()), **window)
    appraised = appraiser.appraise("a", 1, text_of(forge.response()))
    assert (appraised is not OutsideWindow.BY_SERVER) is inside


@pytest.mark.parametrize(
    "time",
    [
        1767225600.9,
        "2026-01-01T00:00:00Z",
        "2026-01-01t01:00:00.123456789+01:00",
        "20251231T230000-0100",
        "2026-01-01 00:00Z",
    ],
)
def test_a_time_of_another_form_is_the_same_time(time: object) -> None:
    forge = Forge(key="p256").tamper("_metadata", lambda metadata: {**metadata, "processed_at": time})
    row = row_of(text_of(forge.response()), na.AppraisalPolicy.from_dict(forge.policy()))
    assert row.processed_at == 1767225600


@pytest.mark.parametrize(
    "time",
    [
        *("yesterday", None, True, 2**53, -(2**60), [1], 1e300, "1767225600"),
        *("2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00Z" + 50 * " "),
    ],
)
def test_a_record_without_a_time_is_inside_every_window(time: object) -> None:
    forge = Forge(key="p256").tamper("_metadata", lambda metadata: {**metadata, "processed_at": time})
    row = row_of(text_of(forge.response()), na.AppraisalPolicy.from_dict(forge.policy()), since=2**50)
    assert row.processed_at is None
    assert row.verdict == "affirming"


def test_the_evidence_of_a_row_is_appraised_with_the_same_result() -> None:
    for fault in FAULTS:
        case = fault.case()
        policy = na.AppraisalPolicy.from_dict(case.policy)
        first = row_of(text_of(case.response), policy, keep_evidence=True)
        if first.evidence is None:
            continue
        line = encode_row(first)
        assert line.count(b"\n") == 1
        again = row_of(line.rstrip(b"\n"), policy, keep_evidence=True)
        assert encode_row(again) == line, fault.name


def test_nearly_every_fault_can_be_stored() -> None:
    lost = []
    for fault in FAULTS:
        case = fault.case()
        row = row_of(text_of(case.response), na.AppraisalPolicy.from_dict(case.policy), keep_evidence=True)
        if row.evidence is None:
            lost.append(fault.name)
    assert len(lost) < len(FAULTS) // 20, lost


def test_the_evidence_of_a_row_has_no_completion() -> None:
    forge = Forge(key="p256")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    response = forge.response()
    shapes = [response, {**response["_metadata"], "choices": response["choices"]}, {**response, "is_available": True}]
    for shape in shapes:
        assert b"Hello." not in encode_row(row_of(text_of(shape), policy, keep_evidence=True))


def test_a_lone_surrogate_in_a_claim_does_not_keep_a_row_from_being_written() -> None:
    forge = Forge(key="p256")
    forge.tamper("_metadata", lambda metadata: {**metadata, "security_tier": "\ud800high"})
    policy = na.AppraisalPolicy.from_dict({**forge.policy(), "claims": {"security_tier": ["high"]}})
    row = row_of(text_of(forge.response()), policy, keep_evidence=True)
    assert row.verdict == "contraindicated"
    assert json.loads(encode_row(row))["security_tier"] == "\\ud800high"


def test_a_row_quotes_the_beginning_of_a_long_claim() -> None:
    forge = Forge(key="p256")
    forge.tamper("_metadata", lambda metadata: {**metadata, "security_tier": "x" * 15_000_000})
    policy = na.AppraisalPolicy.from_dict({**forge.policy(), "claims": {"security_tier": ["high"]}})
    row = row_of(text_of(forge.response()), policy)
    assert row.verdict == "contraindicated"
    (finding,) = row.findings
    assert finding.got == "x" * 2000 + "… (15,000,000 characters in all)"
    assert len(encode_row(row)) < 5000


def ledger_line(metadata: Any, *, payload_id: str, given: bool) -> bytes:
    more = {"payload_id": payload_id, "given": given, "evidence": {"_metadata": metadata}, "result": None}
    return encode_line(1, NO_PREVIOUS, more).rstrip(b"\n")


def test_a_ledgers_line_is_appraised_with_the_payload_id_that_was_sent() -> None:
    forge = Forge(key="p256", payload_id="mine")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    metadata = forge.response()["_metadata"]
    assert row_of(ledger_line(metadata, payload_id="mine", given=True), policy).verdict == "affirming"
    assert row_of(ledger_line(metadata, payload_id="other", given=False), policy).verdict == "affirming"
    row = row_of(ledger_line(metadata, payload_id="other", given=True), policy)
    assert (row.verdict, row.failed, row.payload_id) == ("contraindicated", ["nonce.match"], "other")


def test_a_ledgers_torn_line_is_unreadable_and_says_why() -> None:
    line = encode_line(2, NO_PREVIOUS, {"recorded_at": "…", "repair": {"bytes": 17, "sha256": "…", "torn": "…"}})
    row = row_of(line, na.AppraisalPolicy.from_dict(Forge().policy()))
    assert row.verdict == "unreadable"
    assert row.reason is not None
    assert "17 bytes of it remained" in row.reason


def test_a_fault_of_ours_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("prompt")

    monkeypatch.setattr("nomyo_attest.audit.record.appraise_evidence", broken)
    forge = Forge(key="p256")
    row = row_of(text_of(forge.response()), na.AppraisalPolicy.from_dict(forge.policy()))
    assert row.verdict == "unreadable"
    assert row.reason is not None
    assert "RuntimeError at test_record.py" in row.reason
    assert "prompt" not in row.reason


def test_a_clock_that_no_database_holds_is_left_out() -> None:
    forge = Forge(key="p256", clock=2**64 - 1)
    row = row_of(text_of(forge.response()), na.AppraisalPolicy.from_dict(forge.policy()))
    assert row.clock is None
    assert row.verdict == "affirming"


def again(row: Row, policy: na.AppraisalPolicy) -> Row:
    """What an audit says of a row that kept its evidence."""
    return row_of(encode_row(row).rstrip(b"\n"), policy, keep_evidence=True)


@pytest.mark.parametrize("sent", ["mine", "other"])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_payload_id_that_was_sent_is_stored_with_the_evidence(sent: str, recorded: bool) -> None:
    forge = Forge(key="p256", payload_id="mine")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    metadata = forge.response()["_metadata"]
    if not recorded:
        del metadata["payload_id"]
    first = row_of(ledger_line(metadata, payload_id=sent, given=True), policy, keep_evidence=True)
    assert first.verdict == ("affirming" if sent == "mine" else "contraindicated")
    second = again(first, policy)
    assert encode_row(second) == encode_row(first)
    assert encode_row(again(second, policy)) == encode_row(first)
    if sent == "other":  # read by itself it is not better either
        assert na.appraise(bytes(first.evidence), policy).verdict.value != "affirming"


@pytest.mark.parametrize("odd", ["NaN", "-Infinity", "1e999", "9" * 5000, '"\\ud800"', "[" * 480 + "]" * 480])
@pytest.mark.parametrize("shape", ["whole", "metadata"])
def test_evidence_that_few_readers_accept_is_not_stored_so_that_every_row_can_be_read(odd: str, shape: str) -> None:
    forge = Forge(key="p256")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    metadata = {**forge.response()["_metadata"], "cuda_device": "?"}
    text = json.dumps({"_metadata": metadata} if shape == "whole" else metadata).replace('"?"', odd).encode()
    for mark in (b"", b"\xef\xbb\xbf"):
        row = row_of(mark + text, policy, keep_evidence=True)
        assert row.verdict == "affirming"
        msgspec.json.decode(encode_row(row))
        assert (row.evidence is not None) == odd.startswith("[")
        if row.evidence is not None:
            assert encode_row(again(row, policy)) == encode_row(row)


def test_a_byte_order_mark_is_not_stored() -> None:
    forge = Forge(key="p256")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    metadata = forge.response()["_metadata"]
    for shape in ({"_metadata": metadata}, metadata, metadata["tpm_attestation"]):
        marked = row_of(b"\xef\xbb\xbf" + text_of(shape), policy, keep_evidence=True)
        assert encode_row(marked) == encode_row(row_of(text_of(shape), policy, keep_evidence=True))


def test_a_response_made_to_look_like_a_ledger_or_a_verdict_is_a_response() -> None:
    forge = Forge(key="p256")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    response = forge.response()
    evidence = {"_metadata": response.pop("_metadata")}
    line = json.loads(ledger_line(evidence["_metadata"], payload_id="x", given=False))
    row = json.loads(encode_row(row_of(text_of(evidence), policy, keep_evidence=True)))
    assert row_of(text_of(line), policy).verdict == row_of(text_of(row), policy).verdict == "affirming"
    for dress in (line, row, {**line, **row}):
        dressed = text_of({**response, **dress})
        agrees(row_of(dressed, policy), na.appraise(dressed, policy))
        assert row_of(dressed, policy).verdict == "none"
    enriched = row_of(text_of({**row, "message": "?"}), policy)
    assert enriched.verdict == "unreadable"
    assert enriched.reason is not None
    assert "at /evidence (an object)" in enriched.reason


@pytest.mark.parametrize("given", [True, False])
def test_a_ledger_line_inside_a_ledger_line_is_not_opened(given: bool) -> None:
    forge = Forge(key="p256", payload_id="mine")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    line = json.loads(ledger_line(forge.response()["_metadata"], payload_id="mine", given=given))
    for _ in range(2):
        line = {**line, "evidence": line}
        assert row_of(text_of(line), policy).verdict == "unreadable"
    line = {**line, "evidence": line}  # now it is deeper than the search goes
    first = row_of(text_of(line), policy, keep_evidence=True)
    assert first.verdict == "none"
    second = again(first, policy)
    assert encode_row(again(second, policy)) == encode_row(second) == encode_row(first)


def test_white_space_around_a_record_is_not_stored() -> None:
    forge = Forge(key="p256")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    for shape in (forge.response()["_metadata"], forge.response()["_metadata"]["tpm_attestation"]):
        row = row_of(b" \t" + text_of(shape) + b" \r", policy, keep_evidence=True)
        assert encode_row(row) == encode_row(row_of(text_of(shape), policy, keep_evidence=True))


def test_a_key_beside_evidence_is_stored_only_if_the_protocol_or_the_policy_names_it() -> None:
    forge = Forge(key="p256")
    policy = na.AppraisalPolicy.from_dict({**forge.policy(), "claims": {"site.name": ["here"]}})
    metadata = {**forge.response()["_metadata"], "site": {"name": "here"}}
    alone = row_of(text_of(metadata), policy, keep_evidence=True)
    assert alone.verdict == "affirming"
    for shape in ({"message": {"content": "secret"}, **metadata}, {**metadata, "output_text": "secret"}):
        row = row_of(text_of(shape), policy, keep_evidence=True)
        assert json.loads(encode_row(row)) == json.loads(encode_row(alone))
        assert encode_row(again(row, policy)) == encode_row(row)
    block = {**metadata["tpm_attestation"], "text": "secret"}
    assert b"secret" not in encode_row(row_of(text_of(block), policy, keep_evidence=True))


@pytest.mark.parametrize("as_text", [False, True])
def test_a_completion_in_a_line_of_another_program_is_not_stored(as_text: bool) -> None:
    forge = Forge(key="p256", payload_id="mine")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    line = json.loads(ledger_line({}, payload_id="mine", given=True))
    line["evidence"] = json.dumps(forge.response()) if as_text else forge.response()
    row = row_of(text_of(line), policy, keep_evidence=True)
    assert row.verdict == "affirming"
    assert b"Hello." not in encode_row(row)


def test_more_profiles_than_are_stored_are_each_written_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert record._PROFILES_STORED == 1024
    monkeypatch.setattr(record, "_PROFILES_STORED", 5)
    appraiser = RecordAppraiser(na.AppraisalPolicy.from_dict(Forge().policy()))
    for number in (*range(12), *range(12)):
        evidence = na.Evidence.from_response(
            Forge().measure(23, bytes([number])).measure(7, bytes([number])).response()
        )
        digest, text = appraiser._pcr_profile(evidence.pcrs)
        values = {bank: {str(i): one.hex() for i, one in of.items()} for bank, of in evidence.pcrs.values.items()}
        assert (json.loads(bytes(text)), digest) == (values, hashlib.sha256(bytes(text)).hexdigest())
        assert len(appraiser._profiles) <= 5
    for size in range(1, 12):
        evidence = na.Evidence.from_response(Forge(selection=f"sha256:{','.join(map(str, range(size)))}").response())
        appraiser._pcr_profile(evidence.pcrs)
        assert len(appraiser._compared_pcrs) <= 5
    assert len(appraiser._compared_pcrs) > 1
