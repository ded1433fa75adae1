"""The reader: what it takes, and each way to be wrong."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from nomyo_attest.errors import EvidenceError, MisplacedEvidenceError
from nomyo_attest.evidence import Evidence, read_evidence
from nomyo_attest.evidence.pcrs import NO_PCRS
from nomyo_attest.evidence.response import decode_base64
from nomyo_attest.testing import Forge
from tests.nomyo_attest.evidence.tampered import FORMS, RESPONSE, TAMPERED, TAMPERED_IN_JSON, Json, made, without_tpm

PAYLOAD_ID = RESPONSE["_metadata"]["payload_id"]


def refused(given: object) -> EvidenceError:
    with pytest.raises(EvidenceError) as caught:
        read_evidence(given)
    assert caught.value.expected
    assert caught.value.got
    return caught.value


def check_reading(evidence: Evidence, *, payload_id: str | None, claims: Json) -> None:
    block = RESPONSE["_metadata"]["tpm_attestation"]
    assert evidence.available is True
    assert evidence.absence == ""
    for name, key in (("quote", "quote_b64"), ("signature", "signature_b64"), ("aik_public", "aik_pubkey_b64")):
        assert getattr(evidence, name) == base64.b64decode(block[key])
    assert evidence.pcrs.banks == "sha256:0,7,10+sha384:0"
    values = evidence.pcrs.values
    assert {bank: {str(i): values[bank][i].hex() for i in values[bank]} for bank in values} == block["pcr_values"]
    assert evidence.payload_id == payload_id
    assert evidence.claims == claims


@pytest.mark.parametrize(
    "encode", [lambda given: given, json.dumps, lambda given: json.dumps(given).encode()], ids=["dict", "text", "bytes"]
)
def test_a_response_its_metadata_and_its_block_are_read(encode: Callable[[Json], Any]) -> None:
    metadata = RESPONSE["_metadata"]
    check_reading(read_evidence(encode(made("response"))), payload_id=PAYLOAD_ID, claims=metadata)
    check_reading(read_evidence(encode(made("metadata"))), payload_id=PAYLOAD_ID, claims=metadata)
    check_reading(read_evidence(encode(made("block"))), payload_id=None, claims={})


def test_evidence_reads_itself_from_a_response() -> None:
    check_reading(Evidence.from_response(made("block")), payload_id=None, claims={})
    assert Evidence.from_response("{}").available is False


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rest", [{}, {"quote_b64": 7, "pcr_values": []}])
def test_a_server_without_a_tpm_gives_no_evidence_whatever_its_other_keys(form: str, rest: Json) -> None:
    def tamper(block: Json) -> None:
        without_tpm(block)
        block.update(rest)

    evidence = read_evidence(made(form, tamper))
    assert evidence.available is False
    assert f"{FORMS[form]}is_available: false" in evidence.absence
    assert (evidence.quote, evidence.signature, evidence.aik_public) == (b"", b"", b"")
    assert not evidence.pcrs.values


@pytest.mark.parametrize(
    ("given", "absent"),
    [
        ({}, "_metadata.tpm_attestation"),
        ({"choices": []}, "_metadata.tpm_attestation"),
        ({"_metadata": {}}, "_metadata.tpm_attestation"),
        ({"_metadata": {"payload_id": "p"}}, "_metadata.tpm_attestation"),
        ("{}", "_metadata.tpm_attestation"),
        (b"\xef\xbb\xbf{}", "_metadata.tpm_attestation"),
    ],
)
def test_a_response_without_a_block_gives_no_evidence(given: object, absent: str) -> None:
    evidence = read_evidence(given)
    assert evidence.available is False
    assert evidence.absence == f"there is no {absent}"


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (None, "null"), ([], "an array"), ("[]", "an array"), ("null", "null"), (b"7", "a number"), ("true", "true"),
        ('"{}"', "a string"), ('""', "an empty string"), (7, "a number"), (1.5, "a number"), (True, "true"),
        (bytearray(b"{}"), "a bytearray"), (("a",), "a tuple"), ({1}, "a set"), (object(), "a object"),
    ],
)  # fmt: skip
def test_a_response_that_is_not_an_object_is_refused(given: object, got: str) -> None:
    error = refused(given)
    assert (error.where, error.expected, error.got) == ("response", "a JSON object", got)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tamper", TAMPERED)
def test_the_error_for_a_tampered_block_names_the_tampered_field(form: str, tamper: str) -> None:
    change, where = TAMPERED[tamper]
    given = made(form, change)
    before = copy.deepcopy(given)
    if form == "block" and "is_available" not in given:
        error = refused(given)
        assert isinstance(error, MisplacedEvidenceError)  # nothing marks it as a block any more
        assert error.pointer == "/pcr_banks"
    else:
        error = refused(given)
        assert error.where == FORMS[form] + where
        assert len(error.got) <= 100
    assert given == before, "the reader changed what it was given"


@pytest.mark.parametrize("tamper", TAMPERED_IN_JSON)
def test_a_tampered_block_is_refused_as_text_too(tamper: str) -> None:
    change, where = TAMPERED[tamper]
    assert refused(json.dumps(made("response", change))).where == FORMS["response"] + where


PAYLOAD_IDS: dict[str, Any] = {
    "null": None, "number": 7, "zero": 0, "true": True, "float": 1.5, "array": ["p"], "object": {"id": "p"},
    "empty": "", "octets": b"p", "oversize": "p" * 1025, "a lone surrogate": "p\ud800",
}  # fmt: skip


@pytest.mark.parametrize("form", ["response", "metadata"])
@pytest.mark.parametrize("what", PAYLOAD_IDS)
def test_a_malformed_payload_id_is_refused_with_and_without_evidence(form: str, what: str) -> None:
    for response in (made("response"), made("response", without_tpm)):
        response["_metadata"]["payload_id"] = PAYLOAD_IDS[what]
        error = refused(response if form == "response" else response["_metadata"])
        assert error.where == ("_metadata.payload_id" if form == "response" else "payload_id")


@pytest.mark.parametrize("digits", [1000, 1001, 1010, 1024, 1025])
def test_a_payload_id_that_is_a_number_of_many_digits_is_refused_as_a_number(digits: int) -> None:
    text = json.dumps(made("response")).replace(json.dumps(PAYLOAD_ID), "7" * digits, 1)
    error = refused(text)
    assert (error.where, error.got) == ("_metadata.payload_id", "a number")


def test_a_number_of_many_digits_is_refused_as_base64() -> None:
    block = made("block")
    text = json.dumps(block).replace(json.dumps(block["signature_b64"]), "7" * 1004)
    assert refused(text).where == "signature_b64"


@pytest.mark.parametrize("payload_id", ["p", "p" * 1024, "\u00e9", "\U0001f512", " ", "\n", "\0", "7"])
def test_any_string_of_valid_length_is_a_payload_id(payload_id: str) -> None:
    response = made("response")
    response["_metadata"]["payload_id"] = payload_id
    for given in (response, json.dumps(response), json.dumps(response, ensure_ascii=False).encode()):
        assert read_evidence(given).payload_id == payload_id


@pytest.mark.parametrize("value", [None, [], "text", 7, True])
def test_metadata_and_block_must_be_objects(value: object) -> None:
    for given, where in (
        ({**made("response"), "_metadata": value}, "_metadata"),
        (
            {**made("response"), "_metadata": {**made("metadata"), "tpm_attestation": value}},
            "_metadata.tpm_attestation",
        ),
        ({**made("metadata"), "tpm_attestation": value}, "tpm_attestation"),
    ):
        assert refused(given).where == where


def test_evidence_in_two_places_is_refused() -> None:
    block = made("block")
    for given in (
        {**made("response"), "tpm_attestation": block},
        {**made("response"), "is_available": True},
        {**made("response"), **block},
        {**made("metadata"), "is_available": False},
        {**made("metadata"), **block},
        {"_metadata": {}, "tpm_attestation": {"is_available": False}},
    ):
        error = refused(given)
        assert error.where == "response"
        assert "only under the key" in error.expected


@pytest.mark.parametrize(
    ("text", "got"), [("A" * 99 + "\u00e9", "'\u00e9' as character 100"), ("A" * 5, "an invalid length")]
)
def test_a_text_that_is_not_base64_is_refused_with_its_first_wrong_character(text: str, got: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        decode_base64(text, "", "quote_b64")
    assert (caught.value.where, caught.value.got) == ("quote_b64", got)


def test_evidence_cannot_be_changed() -> None:
    evidence = read_evidence(Forge().response())
    with pytest.raises(AttributeError):
        evidence.payload_id = "another"  # type: ignore[misc]  # that is what must not work
    with pytest.raises(TypeError):
        evidence.pcrs.values["sha256"] = {}  # type: ignore[index]  # that is what must not work
    with pytest.raises(TypeError):
        evidence.pcrs.values["sha256"][0] = bytes(32)  # type: ignore[index]  # that is what must not work


def test_evidence_of_equal_responses_is_equal_and_of_others_is_not() -> None:
    assert read_evidence(Forge().response()) == read_evidence(Forge().text())
    assert read_evidence(Forge().response()) != read_evidence(Forge(payload_id="another").response())


def test_absent_evidence_is_empty() -> None:
    evidence = Evidence(available=False)
    assert (evidence.quote, evidence.signature, evidence.aik_public) == (b"", b"", b"")
    assert evidence.pcrs is NO_PCRS
    assert (evidence.payload_id, evidence.absence, dict(evidence.claims)) == (None, "", {})


def test_absent_evidence_does_not_share_a_mutable_default() -> None:
    claims = Evidence(available=False).claims
    with contextlib.suppress(TypeError):
        claims["a"] = 1  # type: ignore[index]  # somebody might
    assert not Evidence(available=False).claims


def test_evidence_does_not_show_the_response_it_was_read_from() -> None:
    response = {"choices": "what the user was told", **Forge().response()["_metadata"]}
    for given in (response, {"choices": "what the user was told", "is_available": False}):
        assert "what the user was told" not in repr(read_evidence(given))
