"""Strict about what is read, indifferent to what is not: what stands around the evidence never matters."""

from __future__ import annotations

import base64
import collections
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence import Evidence, read_evidence
from nomyo_attest.evidence.strict_json import DEPTH_MAX
from tests.nomyo_attest.evidence.tampered import BLOBS, FORMS, RESPONSE, TAMPERED, Json, made
from tests.nomyo_attest.evidence.test_strict_json import reachable

READ = (*BLOBS, "is_available", "pcr_banks", "pcr_values")
keys = st.one_of(
    st.text(max_size=6), st.sampled_from(["_metadata", "tpm_attestation", "payload_id", "sha256", "0", *READ])
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["sha256:0", "QQ==", "00" * 32, 10**400, "\ud800"]),
)
some_json = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6))
like_evidence = st.dictionaries(
    st.sampled_from(["_metadata", "choices", "tpm_attestation", "is_available"]),
    st.dictionaries(
        st.sampled_from(["tpm_attestation", "payload_id", *READ]),
        some_json | st.dictionaries(st.sampled_from(READ), some_json) | st.just(True),
    )
    | some_json,
)


@given(some_json)
def test_the_completion_may_contain_anything(anything: Any) -> None:
    expected = read_evidence(RESPONSE)
    for name in ("choices", "usage", "id", "model", "created", "tpm"):
        response = {**RESPONSE, name: anything}
        assert read_evidence(response) == expected
        assert read_evidence(json.dumps(response)) == expected


@given(some_json)
def test_the_metadata_may_contain_other_keys_with_any_value(anything: Any) -> None:
    metadata = {**RESPONSE["_metadata"], "security_tier": anything, "more": anything}
    read = read_evidence({"_metadata": metadata})
    expected = read_evidence(RESPONSE)
    assert (read.quote, read.pcrs.values, read.payload_id) == (
        expected.quote,
        expected.pcrs.values,
        expected.payload_id,
    )


@given(some_json)
def test_the_block_may_contain_other_keys(anything: Any) -> None:
    block = {**RESPONSE["_metadata"]["tpm_attestation"], "event_log": anything}
    assert read_evidence(block).quote == read_evidence(RESPONSE).quote


@given(st.one_of(some_json, like_evidence))
def test_any_json_is_evidence_or_an_evidence_error(anything: Any) -> None:
    before = copy.deepcopy(anything)
    for given_ in (anything, json.dumps(anything), json.dumps(anything).encode()):
        try:
            outcome: object = read_evidence(given_)
        except EvidenceError as error:
            outcome = error.where
        assert isinstance(outcome, (Evidence, str))
    assert repr(anything) == repr(before)


@given(st.one_of(st.text(), st.binary()))
def test_any_text_or_bytes_are_evidence_or_an_evidence_error(anything: str | bytes) -> None:
    try:
        outcome: object = read_evidence(anything)
    except EvidenceError as error:
        outcome = error.where
    assert isinstance(outcome, (Evidence, str))


@given(st.integers(0), st.sampled_from(["set", "insert", "remove"]), st.characters())
def test_text_with_a_changed_character_is_refused_or_read_like_json(at: int, how: str, character: str) -> None:
    text = json.dumps(RESPONSE["_metadata"]["tpm_attestation"])
    at %= len(text)
    changed = text[:at] + ("" if how == "remove" else character) + text[at + (how != "insert") :]
    try:
        read = read_evidence(changed)
    except EvidenceError:
        return
    block = json.loads(changed)
    assert read.available is block.get("is_available", False)
    if read.available:
        blobs = [base64.b64decode(block[key], validate=True) for key in BLOBS]
        assert [read.quote, read.signature, read.aik_public] == blobs
        values = read.pcrs.values
        assert {bank: {str(i): values[bank][i].hex() for i in values[bank]} for bank in values} == {
            bank: {index: value.lower() for index, value in of_bank.items()}
            for bank, of_bank in block["pcr_values"].items()
        }


def doubled(text: str, key: str, *, first: str, spelled: str | None = None) -> str:
    """JSON text with a key a second time: `first`, a JSON value, stands under it before the true one."""
    name = json.dumps(key)
    assert f"{name}: " in text
    return text.replace(f"{name}: ", f'"{spelled or key}": {first}, {name}: ', 1)


TWICE = {
    **{key: key for key in READ},
    "sha256": "pcr_values",
    "0": "pcr_values",
    "10": "pcr_values",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", TWICE)
@pytest.mark.parametrize("first", ["null", "true", "{}", '""', "false"])
def test_a_duplicate_key_in_the_block_is_refused(form: str, key: str, first: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        read_evidence(doubled(json.dumps(made(form)), key, first=first))
    assert caught.value.where.startswith(FORMS[form] + TWICE[key])
    assert "duplicate key" in caught.value.got


@pytest.mark.parametrize("key", [*READ, "sha256", "0"])
def test_a_duplicate_key_with_equal_values_is_refused(key: str) -> None:
    block = made("block")
    value = {**block, **block["pcr_values"], **block["pcr_values"]["sha256"]}[key]
    with pytest.raises(EvidenceError, match="duplicate key"):
        read_evidence(doubled(json.dumps(block), key, first=json.dumps(value)))


@pytest.mark.parametrize("key", READ)
def test_a_duplicate_key_with_an_escape_is_refused(key: str) -> None:
    spelled = f"\\u{ord(key[0]):04x}{key[1:]}"
    with pytest.raises(EvidenceError, match="duplicate key"):
        read_evidence(doubled(json.dumps(made("response")), key, first="true", spelled=spelled))


@pytest.mark.parametrize(
    ("form", "key", "where"),
    [
        ("response", "_metadata", "_metadata"),
        ("response", "payload_id", "_metadata.payload_id"),
        ("response", "tpm_attestation", "_metadata.tpm_attestation"),
        ("metadata", "payload_id", "payload_id"),
        ("metadata", "tpm_attestation", "tpm_attestation"),
    ],
)
def test_a_duplicate_key_around_the_block_is_refused(form: str, key: str, where: str) -> None:
    for first in ("null", "{}", json.dumps(made("block")), '"p"'):
        with pytest.raises(EvidenceError, match="duplicate key") as caught:
            read_evidence(doubled(json.dumps(made(form)), key, first=first))
        assert caught.value.where == where


@pytest.mark.parametrize(
    "key", ["id", "choices", "content", "index", "usage", "security_tier", "platform", "device_hash"]
)
def test_a_duplicate_key_that_is_not_read_is_accepted(key: str) -> None:
    read = read_evidence(doubled(json.dumps(RESPONSE), key, first="null"))
    assert read.quote == read_evidence(RESPONSE).quote


def test_a_duplicate_claim_is_marked_for_the_rule_that_reads_it() -> None:
    read = read_evidence(doubled(json.dumps(RESPONSE), "security_tier", first='"maximum"'))
    assert getattr(read.claims, "duplicates", None) == {"security_tier"}


def test_invalid_and_very_long_numbers_are_accepted_outside_the_evidence() -> None:
    text = json.dumps(RESPONSE)
    for number in ("NaN", "-Infinity", "1e999", "7" * 100_000, "-" + "7" * 5000):
        assert read_evidence(text.replace('"created": ', f'"more": {number}, "created": ', 1)).available


@pytest.mark.parametrize("length", [0, 2 * 1024 * 1024], ids=["short", "long"])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_values_beside_the_evidence_may_be_nested_up_to_the_limit_and_no_deeper(opening: str, length: int) -> None:
    closing = {"[": "]", "{": "}"}[opening[0]]
    text = json.dumps({**RESPONSE, "padding": "x" * length})

    def nested(levels: int) -> str:
        return text.replace('"created": ', f'"more": {opening * levels}1{closing * levels}, "created": ', 1)

    for levels in (100, DEPTH_MAX - 1):  # the response itself is one level
        assert read_evidence(nested(levels)).available
    for levels in (DEPTH_MAX, 600, 3000):
        for given_ in (nested(levels), nested(levels).encode()):
            with pytest.raises(EvidenceError, match="nested too deep"):
                read_evidence(given_)


SECRET = "what the user was told"


@pytest.mark.parametrize("tamper", TAMPERED)
def test_no_error_contains_the_completion(tamper: str) -> None:
    response = made("response", TAMPERED[tamper][0])
    response["choices"][0]["message"]["content"] = SECRET
    response["_metadata"]["cuda_device"] = SECRET
    with pytest.raises(EvidenceError) as caught:
        read_evidence(response)
    assert SECRET not in reachable(caught.value)


def test_an_error_shows_the_type_of_a_value_and_not_the_value() -> None:
    for key in (*BLOBS, "is_available", "pcr_banks"):
        with pytest.raises(EvidenceError) as caught:
            read_evidence({**made("block"), key: [SECRET]})
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", READ)
def test_default_values_of_a_dict_are_not_read(key: str) -> None:
    whole: Json = made("block")
    block = collections.defaultdict(lambda: whole[key], {name: whole[name] for name in whole if name != key})
    with pytest.raises(EvidenceError, match="no such key"):
        read_evidence({"_metadata": {"tpm_attestation": block}})
    assert key not in block
