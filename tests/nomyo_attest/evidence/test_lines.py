from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence import Evidence, lines
from nomyo_attest.evidence.lines import CLAIMS_READ, read_line
from nomyo_attest.evidence.response import read_evidence
from nomyo_attest.testing import FAULTS, VARIANTS, Forge

USUAL = Forge(key="p256").response()
TEXT = json.dumps(USUAL)
BLOCK = USUAL["_metadata"]["tpm_attestation"]


def same(text: str | bytes) -> bool:
    """Whether both readers say the same of `text`; returns whether there was evidence in it."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    expected, got = read(read_evidence, data), read(read_line, data)
    if isinstance(expected, str) or isinstance(got, str):
        assert got == expected
        return False
    for name in ("available", "quote", "signature", "aik_public", "payload_id", "absence"):
        assert getattr(got, name) == getattr(expected, name), name
    assert got.pcrs.banks == expected.pcrs.banks
    assert got.pcrs.values == expected.pcrs.values
    for claim in CLAIMS_READ:
        assert (claim in got.claims) == (claim in expected.claims), claim
        assert repr(got.claims.get(claim)) == repr(expected.claims.get(claim)), claim  # of one type, too
    return expected.available


def read(reader: Callable[[bytes], Evidence], data: bytes) -> Evidence | str:
    try:
        return reader(data)
    except EvidenceError as error:
        return str(error)


def quick(text: str) -> bool:
    """Whether a text is read without the help of `read_evidence`."""
    return lines._read_quickly(text.encode()) is not None


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_kind_of_good_evidence_is_read_as_the_strict_reader_reads_it(variant: Any) -> None:
    same(json.dumps(variant.case().response))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_read_as_the_strict_reader_reads_it(fault: Any) -> None:
    response = fault.case().response
    same(response if isinstance(response, (str, bytes)) else json.dumps(response))


@pytest.mark.parametrize("separators", [None, (",", ":"), (", ", ":")])
@pytest.mark.parametrize("holder", [USUAL, USUAL["_metadata"]])
def test_the_usual_records_take_the_quick_way(holder: Any, separators: tuple[str, str] | None) -> None:
    text = json.dumps(holder, separators=separators)
    assert quick(text)
    assert same(text)


def test_a_completion_of_any_language_takes_the_quick_way() -> None:
    for said in ("déjà vu", '\U0001f600 \\ " \n', "naïve \u202e"):
        response = {**USUAL, "choices": [{"message": {"content": said}}]}
        assert quick(json.dumps(response)) or "\\u00" in json.dumps(response)
        assert quick(json.dumps(response, ensure_ascii=False))
        assert same(json.dumps(response))
        assert same(json.dumps(response, ensure_ascii=False))


TWICE = [
    *(TEXT.replace(f'"{key}": ', f'"{key}": {json.dumps(BLOCK[key])}, "{key}": ', 1) for key in BLOCK),
    *(TEXT.replace(f'"{key}": ', f'"{key}" : {json.dumps(BLOCK[key])}, "{key}": ', 1) for key in BLOCK),
    *(TEXT.replace(f'"{key}": ', f'"{key}"\t: "x", "other" : 1, "{key}" :', 1) for key in BLOCK),
    TEXT.replace('"sha256": {', '"sha256": {}, "sha256": {', 1),
    TEXT.replace('"7": ', '"7": "00", "7": ', 1),
    TEXT.replace('"7": ', '"7" : "00", "7": ', 1),
    TEXT.replace('"payload_id": ', '"payload_id": "other", "payload_id": ', 1),
    TEXT.replace('"payload_id": ', '"payload\\u005fid": "other", "payload_id": ', 1),
    TEXT.replace('"tpm_attestation": ', '"tpm_attestation": {}, "tpm_attestation": ', 1),
    TEXT.replace('"tpm_attestation": ', f'"tpm_attestation": {json.dumps(BLOCK)}, "tpm_attestation": ', 1),
    TEXT.replace('"_metadata": ', f'"_metadata": {json.dumps(USUAL["_metadata"])}, "_metadata": ', 1),
    TEXT.replace('"_metadata": ', '"\\u005fmetadata": {}, "_metadata": ', 1),
    TEXT.replace('"quote_b64"', '"quote\\u005Fb64": "AAAA", "quote_b64"', 1),
    TEXT.replace('"is_encrypted"', '"is_available": false, "is_encrypted"', 1),
    TEXT.replace('"model"', '"is_available": true, "model"', 1),
    TEXT.replace('"model"', f'"tpm_attestation": {json.dumps(BLOCK)}, "model"', 1),
    TEXT.replace('"model"', f'"copy": {json.dumps(USUAL["_metadata"])}, "model"', 1),
    TEXT.replace('"model"', f'"copy": {json.dumps(BLOCK)}, "model"', 1),
    TEXT.replace('"security_tier": ', '"security_tier": "maximum", "security_tier": ', 1),
    TEXT.replace('"processed_at": ', '"processed_at": 5, "processed_at": ', 1),
    TEXT.replace('"security_tier": "high"', '"security_tier": {"a": 1, "a": 2}', 1),
]


@pytest.mark.parametrize("text", TWICE, ids=range(len(TWICE)))
def test_what_stands_twice_is_never_read_the_quick_way(text: str) -> None:
    assert text != TEXT
    json.loads(text)
    assert not quick(text)
    same(text)


@pytest.mark.parametrize("key", BLOCK)
@pytest.mark.parametrize("value", ["null", "1", "[]", "{}", '""', "false", "true", '"sha256:0"'])
def test_a_value_of_another_kind_is_read_as_the_strict_reader_reads_it(key: str, value: str) -> None:
    same(TEXT.replace(f'"{key}": {json.dumps(BLOCK[key])}', f'"{key}": {value}', 1))


def test_bytes_that_are_no_utf_8_are_refused_wherever_they_stand() -> None:
    assert not same(TEXT.encode().replace(b"Hello", b"\xff\xfe", 1))
    assert not same(TEXT.encode().replace(b"Hello", b"\xed\xa0\x80", 1))


@pytest.mark.parametrize(
    "odd",
    [
        "NaN",
        "1e400",
        "-0",
        "18446744073709551616",
        "-9223372036854775809",
        "1e2",
        "-0.0",
        "0.1",
        "1E400",
        "1" * 5000,
        "[" * 600 + "]" * 600,
        '"\\ud800"',
        "01",
        "\x01",
    ],
)
def test_oddities_beside_the_evidence_are_read_as_the_strict_reader_reads_them(odd: str) -> None:
    same(TEXT.replace('"model": ', f'"odd": {odd}, "model": ', 1))
    same(TEXT.replace('"processed_at": 1767225600', f'"processed_at": {odd}', 1))
    same(TEXT.replace('"security_tier": "high"', f'"security_tier": {odd}', 1))


def test_blanks_a_mark_before_and_a_tail_behind_are_read_as_the_strict_reader_reads_them() -> None:
    for text in (
        "\ufeff" + TEXT,
        " " + TEXT + "\n",
        TEXT + "x",
        TEXT + TEXT,
        "",
        "{}",
        "[]",
        json.dumps(USUAL, indent=1),
    ):
        same(text)


@given(st.integers(0, len(TEXT) - 1), st.binary(min_size=0, max_size=3), st.integers(0, 3))
def test_no_change_anywhere_makes_the_two_readers_differ(place: int, put: bytes, cut: int) -> None:
    data = TEXT.encode()
    same(data[:place] + put + data[place + cut :])


PIECES = st.sampled_from(
    [
        '"',
        ":",
        ",",
        "{",
        "}",
        " ",
        "\\",
        "\\u005f",
        '"payload_id"',
        '"quote_b64": "AA=="',
        '"is_available": true',
        "null",
    ]
)


@given(st.lists(st.tuples(st.integers(0, len(TEXT)), PIECES), min_size=1, max_size=3))
def test_no_pieces_of_json_put_in_anywhere_make_the_two_readers_differ(puts: list[tuple[int, str]]) -> None:
    text = TEXT
    for place, piece in puts:
        text = text[:place] + piece + text[place:]
    same(text)
