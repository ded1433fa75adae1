"""Records of megabytes: their evidence is read without creating objects for the rest."""

from __future__ import annotations

import json
import math
import time
import tracemalloc
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.audit.record import RecordAppraiser
from nomyo_attest.audit.stored_evidence import evidence_to_store, read_stored_evidence
from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.response import read_evidence
from nomyo_attest.evidence.strict_json import FULL_PARSE_MAX, RECORD_BYTES_MAX, parse_record
from nomyo_attest.testing import Forge

RESPONSE = Forge().response()
METADATA = json.dumps(RESPONSE["_metadata"])
HEAD = f'{{"_metadata": {METADATA}, "choices": ['


def logprobs(tokens: int = 5000, lowest: float = -20.5) -> dict[str, Any]:
    """A response with the log probabilities of 20 alternatives for each token."""
    alternative = {"token": " Schl\u00fcssel", "logprob": lowest, "bytes": [32, 83, 99, 104, 108, 195, 188]}
    token = {**alternative, "top_logprobs": [alternative] * 20}
    choice = {"index": 0, "message": {"content": "x"}, "logprobs": {"content": [token] * tokens}}
    return {**RESPONSE, "choices": [choice]}


def long(before: str = "", choices: str = "", after: str = "") -> str:
    """A response of more than `FULL_PARSE_MAX` bytes."""
    return f'{{{before}"choices": ["{"x" * FULL_PARSE_MAX}"{choices}], "_metadata": {METADATA}{after}}}'


def filled(unit: str, head: str = HEAD, tail: str = "0]}") -> bytes:
    """The largest text that consists of `unit`."""
    number = (RECORD_BYTES_MAX - len(head.encode()) - len(tail)) // len(unit.encode())
    return (head + unit * number + tail).encode()


@pytest.mark.parametrize(("lowest", "ascii_only"), [(-20.5, True), (-math.inf, False)])
@pytest.mark.slow
def test_a_response_with_long_log_probabilities_is_read(lowest: float, ascii_only: bool) -> None:
    text = json.dumps(logprobs(lowest=lowest), ensure_ascii=ascii_only)
    assert text.count("{") + text.count("[") > 200_000
    assert read_evidence(text) == read_evidence(text.encode()) == read_evidence(RESPONSE)


@pytest.mark.parametrize(
    "text",
    [
        long(),
        "\ufeff" + long(),
        long(choices=', {"_metadata": 5}'),
        long(choices=', "say \\"_metadata\\""'),
        long(choices=', "\U0001f600 \u00e9"'),
        long(choices=', "\\ud800"'),
        long(choices=", NaN, 1e999, " + "7" * 5000),
        long().replace("_metadata", "_met\\u0061data"),
    ],
)
def test_a_long_response_is_read_like_a_short_one(text: str) -> None:
    assert read_evidence(text).quote == read_evidence(text.encode()).quote == read_evidence(RESPONSE).quote


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (long(before='"_metadata": {}, '), "_metadata: expected a unique key"),
        (long(before='"_met\\u0061data": {}, '), "_metadata: expected a unique key"),
        (long(before='"tpm_attestation": {}, '), "evidence beside it as well"),
        (long(after=', "is_available": false'), "evidence beside it as well"),
        (long(after=', "is_av\\u0061ilable": false'), "evidence beside it as well"),
        (long().replace('"quote_b64"', '"quote_b64": 1, "quote_b64"'), "quote_b64: expected a unique key"),
        (long(choices=", ]"), "expected JSON, got"),
        (long(choices=", 01"), "expected JSON, got"),
        (long(after="}"), "expected JSON, got"),
        (long(choices=", " + "[" * 501 + "]" * 501), "nested too deep"),
        (long()[:-1], "expected JSON, got"),
    ],
)
def test_a_long_response_is_refused_like_a_short_one(text: str, where: str) -> None:
    with pytest.raises(EvidenceError, match=where):
        read_evidence(text)
    with pytest.raises(EvidenceError, match=where):
        read_evidence(text.encode())


def test_invalid_utf_8_in_a_long_completion_is_refused() -> None:
    text = long(choices=', "\u00e9"').encode().replace(b"\xc3\xa9", b"\xc3")
    with pytest.raises(EvidenceError, match="JSON in UTF-8"):
        read_evidence(text)


FLOODS = {
    "empty arrays": ("[],",),
    "empty objects": ("{},",),
    "numbers": ("1,",),
    "decimals": ("1.5,",),
    "strings": ('"ab",',),
    "emoji": ('"\U0001f600",',),
    "as many arrays as there may be": ("[" + "1," * 13 + "1],",),
    "in the metadata": ('"ab",', f'{{"_metadata": {METADATA[:-1]}, "x": [', "0]}}"),
    "decimals in the metadata": ("1.5,", f'{{"_metadata": {METADATA[:-1]}, "x": [', "0]}}"),
    "bare": ('"ab",', '{"x": ['),
    "members": ('"abcd":1,', '{"_metadata": {"x": {', '"a":0}}}'),
    "with NaN and an emoji": ('{"a":1},' + " " * 50, HEAD + 'NaN, "\U0001f600", '),
    "in a string of a wrapper": ('\\"ab\\",', '{"log": "[\\"tpm_attestation\\",', '0]"}'),
    "quotation marks and brackets": ('"\\\\\\"[",',),
}
"""Arguments of `filled`; a text has 16 MiB."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_the_largest_record_takes_little_time_and_memory(name: str) -> None:
    """Also where its evidence is to be stored, which takes more of both."""
    appraiser = RecordAppraiser(na.AppraisalPolicy.from_dict(Forge().policy()), keep_evidence=True)
    text = filled(*FLOODS[name])
    tracemalloc.start()
    try:
        assert appraiser.appraise("a.json", 1, text) is not None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * 1024 * 1024
    began = time.process_time()
    appraiser.appraise("a.json", 1, text)
    assert time.process_time() - began < 4  # a busy machine included; benchmarks/hostile_json.py measures


def test_too_many_containers_are_refused_with_the_limit_and_the_number_found() -> None:
    text = filled(*FLOODS["empty arrays"])
    with pytest.raises(EvidenceError) as caught:
        read_evidence(text)
    limit = 10_000 + len(text) // 24
    assert caught.value.expected == f"at most {limit} objects and arrays in a text of this length"
    assert int(caught.value.got) > 5_000_000


@pytest.mark.parametrize(("what", "unit"), [("strings", '"ab",'), ("values", "1,"), ("members", '"":1,            ')])
def test_a_long_record_that_is_parsed_as_a_whole_has_its_own_bounds(what: str, unit: str) -> None:
    text = filled(unit, '{"x": {' if what == "members" else '{"x": [', '"a":0}}' if what == "members" else "0]}")
    with pytest.raises(EvidenceError, match=f"at most [0-9]+ {what} in a record of this length"):
        read_evidence(text)


def test_a_long_record_may_have_exactly_one_string_for_every_fifteen_bytes() -> None:
    number = 80_000
    text = ('["' + '","'.join(["ab"] * number) + '"]').encode()
    assert len(text.ljust(15 * number)) > FULL_PARSE_MAX
    assert len(parse_record(text.ljust(15 * number))) == number
    with pytest.raises(EvidenceError, match=f"at most {number - 1} strings .* got {number}"):
        parse_record(text.ljust(15 * number - 1))


def test_only_the_metadata_of_a_long_response_becomes_objects() -> None:
    assert parse_record(long(before='"choices": {}, ')) == {"_metadata": RESPONSE["_metadata"]}
    assert parse_record(json.dumps(RESPONSE)) == RESPONSE


def test_the_evidence_of_a_long_response_is_stored_and_read_again() -> None:
    stored = evidence_to_store(json.dumps(logprobs()).encode())
    assert stored is not None
    assert json.loads(bytes(stored)) == {"_metadata": RESPONSE["_metadata"]}
    assert read_stored_evidence(long(choices=', "pcr_profile"').encode()) is None


def test_evidence_of_more_than_a_mebibyte_is_not_stored() -> None:
    metadata = json.dumps({**RESPONSE["_metadata"], "more": "x" * FULL_PARSE_MAX})
    assert evidence_to_store(f'{{"_metadata": {metadata}}}'.encode()) is None
