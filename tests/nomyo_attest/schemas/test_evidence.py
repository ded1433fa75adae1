"""The schema of evidence says what the reader reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nomyo_attest import Evidence, EvidenceError
from nomyo_attest.schemas import load_schema
from nomyo_attest.testing import FAULTS, VARIANTS, Forge

VALIDATOR = Draft202012Validator(load_schema("evidence"))

# What a schema cannot say: that two texts agree, that none stands twice in a list, that a text has a UTF-8 form.
BEYOND_A_SCHEMA = {
    "evidence-payload-id-surrogate",
    "evidence-banks-index-duplicate",
    "evidence-banks-bank-duplicate",
    "evidence-banks-fewer",
    "evidence-banks-more",
    "evidence-banks-other-bank",
    "evidence-banks-more-banks",
    "evidence-values-more-banks",
    "evidence-values-fewer",
}


def reads(response: Any) -> bool:
    try:
        Evidence.from_response(response)
    except EvidenceError:
        return False
    return True


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(load_schema("evidence"))


def test_every_view_of_a_response_is_valid() -> None:
    response = Forge().response()
    for view in (response, response["_metadata"], response["_metadata"]["tpm_attestation"]):
        VALIDATOR.validate(view)
    VALIDATOR.validate({"_metadata": {"tpm_attestation": {"is_available": False}}})
    VALIDATOR.validate({"id": "chatcmpl-1"})


def test_every_kind_of_right_evidence_is_valid() -> None:
    for variant in VARIANTS:
        response = variant.case().response
        if isinstance(response, dict):
            VALIDATOR.validate(response)


def test_the_shipped_evidence_is_valid(fixtures: Path) -> None:
    files = sorted((fixtures / "evidence").rglob("*.json"))
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    # A recording holds the response beside where it comes from; the reader refuses evidence that is one level down.
    responses = [document.get("response", document) for document in documents]
    assert (fixtures / "evidence" / "known-good.json") in files
    for path, response in zip(files, responses, strict=True):
        assert VALIDATOR.is_valid(response) is reads(response), path.name


def test_the_schema_refuses_what_the_reader_refuses_but_for_what_it_cannot_say() -> None:
    responses = {fault.name: fault.case().response for fault in FAULTS}
    seen = {name: response for name, response in responses.items() if isinstance(response, dict)}  # the others are text
    differing = {name for name, response in seen.items() if VALIDATOR.is_valid(response) is not reads(response)}
    assert differing == BEYOND_A_SCHEMA
    assert all(VALIDATOR.is_valid(seen[name]) for name in differing)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "_metadata",
    "tpm_attestation",
    "is_available",
    "pcr_banks",
    "pcr_values",
    "quote_b64",
    "payload_id",
    "sha256",
    "7",
]


@given(
    keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4),
    value=json_values,
    base=st.sampled_from(["response", "metadata", "block"]),
)
def test_what_the_reader_reads_the_schema_allows(keys: list[str], value: Any, base: str) -> None:
    response = Forge().response()
    holder: Any = {
        "response": response,
        "metadata": response["_metadata"],
        "block": response["_metadata"]["tpm_attestation"],
    }[base]
    place = holder
    for key in keys[:-1]:
        place = place[key] if isinstance(place.get(key), dict) else place
    place[keys[-1]] = value
    if reads(holder):
        VALIDATOR.validate(holder)
