"""A response: decrypted or refused by one error, bound to its request, released with the client's facts."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo import gate, memory
from nomyo.errors import ResponseError, ResponseNotBoundError, ResponseTooLargeError
from nomyo.gate import DecryptedResponse
from nomyo.server_key import ServerKey
from tests.nomyo.packages import KEY
from tests.nomyo.wire import package as wire

ID = "6f1c8a52-0d3e-4b7a-9c45-2e8f7d10b364"
SECRET = "0a9357b1-withheld"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def opened_from(plaintext: bytes | dict[str, Any], processed_at: int | None = None) -> DecryptedResponse:
    data = plaintext if isinstance(plaintext, bytes) else json.dumps(plaintext).encode()
    return gate.decrypt_response(wire.seal(data, KEY.public_key(), processed_at), KEY)


def with_metadata(**metadata: Any) -> DecryptedResponse:
    """A response with this in its `_metadata`."""
    return DecryptedResponse({"choices": [SECRET], "_metadata": metadata}, None)


@pytest.mark.parametrize("processed_at", [None, 1_700_000_000])
def test_a_response_is_the_json_object_in_the_package_and_the_time_outside(processed_at: int | None) -> None:
    value = {"id": "x", "choices": [{"message": {"content": "€"}}], "_metadata": {"payload_id": ID}}
    opened = opened_from(value, processed_at)
    assert opened.completion == value
    assert opened.processed_at == processed_at


def test_a_response_without_metadata_gets_an_empty_one() -> None:
    assert opened_from({"id": "x"}).completion == {"id": "x", "_metadata": {}}


UNREADABLE = {
    "nothing": b"",
    "words": SECRET.encode(),
    "a list": json.dumps([SECRET]).encode(),
    "a string": json.dumps(SECRET).encode(),
    "a number": b"5",
    "null": b"null",
    "true": b"true",
    "NaN": f'{{"a": "{SECRET}", "b": NaN}}'.encode(),
    "a key twice": f'{{"a": "{SECRET}", "a": 1}}'.encode(),
    "metadata twice": f'{{"a": "{SECRET}", "_metadata": {{}}, "_metadata": {{}}}}'.encode(),
    "invalid UTF-8": f'{{"a": "{SECRET}'.encode() + b'\xff"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "cut": f'{{"a": "{SECRET}'.encode(),
    "something behind": f'{{"a": "{SECRET}"}} x'.encode(),
    "5000 digits": b'{"a": ' + b"1" * 5000 + b"}",
    "deep": b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    **{f"_metadata {value}": f'{{"a": "{SECRET}", "_metadata": {value}}}'.encode()
       for value in ("null", "[]", '""', '"x"', "0", "1.5", "true", "[{}]")},
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_response_without_a_metadata_object_is_refused_by_the_one_error(name: str) -> None:
    with pytest.raises(ResponseError) as caught:
        opened_from(UNREADABLE[name])
    error = caught.value
    assert type(error) is ResponseError
    assert (str(error), error.code) == ("the response could not be decrypted and read", "response_unreadable")
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_response_with_too_many_objects_and_arrays_is_an_error_of_its_own() -> None:
    plaintext = b'{"choices": [' + b"[]," * 100_000 + b"0]}"
    with pytest.raises(ResponseTooLargeError) as caught:
        opened_from(plaintext)
    error = caught.value
    assert (error.found, error.limit, error.code) == (100_002, 10_000 + len(plaintext) // 24, "response_too_large")
    assert str(error) == (
        f"the response has 100002 objects and arrays; the limit for its length is {error.limit}. It was "
        "decrypted, but the completion is not released"
    )
    assert error.__context__ is None


def test_a_package_that_cannot_be_decrypted_is_refused_by_the_same_error() -> None:
    with pytest.raises(ResponseError) as caught:
        gate.decrypt_response(b"{}", KEY)
    assert str(caught.value) == "the response could not be decrypted and read"


@pytest.mark.parametrize("plaintext", [b'{"a": "text"}', b'{"a": "text", "a": 1}', b"[]"])
def test_the_plaintext_is_wiped_whether_or_not_it_could_be_read(
    plaintext: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffers: list[bytearray] = []

    class Watched(memory.SecureBuffer):
        def __init__(self, data: bytes | bytearray, lock: bool = True) -> None:
            assert isinstance(data, bytearray)
            buffers.append(data)
            super().__init__(data, lock)
            buffers.append(self.data)

    monkeypatch.setattr(gate, "SecureBuffer", Watched)
    with suppress(ResponseError):
        opened_from(plaintext)
    assert [len(one) for one in buffers] == [len(plaintext)] * 2
    assert not any(map(any, buffers))


@pytest.mark.parametrize("lock", [True, False])
def test_its_memory_is_locked_or_not_as_the_client_says(lock: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    class Watched(memory.SecureBuffer):
        def __init__(self, data: bytes | bytearray, lock: bool = True) -> None:
            asked.append(lock)
            super().__init__(data, lock)

    monkeypatch.setattr(gate, "SecureBuffer", Watched)
    gate.decrypt_response(wire.seal(b"{}", KEY.public_key()), KEY, lock_memory=lock)
    assert asked == [lock]


def test_a_decrypted_response_does_not_show_its_content() -> None:
    assert repr(with_metadata(payload_id=ID)) == "<DecryptedResponse>"


def test_a_response_that_names_this_request_and_the_tier_passes() -> None:
    gate.check_binding(with_metadata(payload_id=ID, security_tier="high"), ID, "high")
    gate.check_binding(with_metadata(payload_id=ID, security_tier="high"), ID, None)


def test_a_response_need_not_name_its_request_nor_a_tier_that_was_not_requested() -> None:
    gate.check_binding(with_metadata(), ID, None)
    gate.check_binding(with_metadata(security_tier=["anything", 5]), ID, None)


OTHERS: list[Any] = [
    None, "", 0, False, True, [], {}, [ID], {"id": ID}, ID.upper(), f" {ID}", f"{ID}\n", ID[:-1], f"{ID}0", "another",
    f"{ID}\x00", "\ud800",
]  # fmt: skip


@given(echo=JSON.filter(lambda value: value != ID) | st.sampled_from(OTHERS))
def test_a_response_to_another_request_is_refused_and_not_quoted(echo: object) -> None:
    with pytest.raises(ResponseNotBoundError) as caught:
        gate.check_binding(with_metadata(payload_id=echo, security_tier="high"), ID, "high")
    assert caught.value.code == "response_not_bound"
    assert (
        str(caught.value)
        == "the response contains the payload id of a different request; the completion is not released"
    )


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "none"), ({"security_tier": None}, "none"), ({"security_tier": "standard"}, "'standard'"),
        ({"security_tier": "maximum"}, "'maximum'"), ({"security_tier": "High"}, "an unknown tier"),
        ({"security_tier": "high "}, "an unknown tier"), ({"security_tier": ""}, "an unknown tier"),
        ({"security_tier": True}, "an unknown tier"), ({"security_tier": 0}, "an unknown tier"),
        ({"security_tier": ["high"]}, "an unknown tier"), ({"security_tier": {"high": 1}}, "an unknown tier"),
        ({"security_tier": SECRET}, "an unknown tier"), ({"Security_Tier": "high"}, "none"),
    ],
)  # fmt: skip
def test_a_response_at_another_tier_than_the_one_requested_is_refused(metadata: dict[str, Any], said: str) -> None:
    with pytest.raises(ResponseNotBoundError) as caught:
        gate.check_binding(with_metadata(payload_id=ID, **metadata), ID, "high")
    assert caught.value.code == "tier_not_as_requested"
    assert str(caught.value) == (
        f"security_tier: expected 'high', as requested, got {said}; the completion is not released"
    )


TIERS = st.sampled_from(["standard", "high", "maximum"])


@given(tier=TIERS, got=JSON | TIERS)
def test_the_tier_is_the_same_or_the_response_is_refused(tier: str, got: object) -> None:
    refused = False
    try:
        gate.check_binding(with_metadata(payload_id=ID, security_tier=got), ID, tier)
    except ResponseNotBoundError:
        refused = True
    assert refused is not (got == tier)


def test_the_request_is_checked_before_the_tier() -> None:
    with pytest.raises(ResponseNotBoundError) as caught:
        gate.check_binding(with_metadata(payload_id="another", security_tier="standard"), ID, "high")
    assert caught.value.code == "response_not_bound"


def server_key(*, pinned: bool = False) -> ServerKey:
    return ServerKey(KEY.public_key(), "sha256/abc", pinned, 0.0)


def test_a_completion_is_released_unchanged_with_the_clients_facts_in_its_metadata() -> None:
    value = {"id": "x", "choices": [{"n": 1}], "_metadata": {"response_status": "success", "security_tier": "high"}}
    handed = gate.with_client_metadata(DecryptedResponse(value, 7), ID, server_key(), None)
    assert handed is value
    metadata = handed.pop("_metadata")
    assert handed == {"id": "x", "choices": [{"n": 1}]}
    assert metadata == {
        "response_status": "success",
        "security_tier": "high",
        "payload_id": ID,
        "processed_at": 7,
        "transport_processed_at": 7,
        "is_encrypted": True,
        "encryption_algorithm": "hybrid-aes256-rsa4096",
        "verification": {
            "payload_id_echoed": False,
            "security_tier_echoed": True,
            "server_key": "sha256/abc",
            "server_key_pinned": False,
        },
    }


@pytest.mark.parametrize("inner", [5, 0, None, "text", [1]])
@pytest.mark.parametrize("outer", [7, 0, None])
def test_the_time_in_the_answer_stays_and_the_one_outside_has_a_name_of_its_own(inner: Any, outer: int | None) -> None:
    metadata = gate.with_client_metadata(
        DecryptedResponse({"_metadata": {"processed_at": inner}}, outer), ID, None, None
    )["_metadata"]
    assert metadata["processed_at"] == inner
    assert ("transport_processed_at" in metadata) is (outer is not None)
    assert metadata.get("transport_processed_at") == outer


def test_without_a_time_anywhere_it_is_none() -> None:
    metadata = gate.with_client_metadata(DecryptedResponse({"_metadata": {}}, None), ID, None, None)["_metadata"]
    assert metadata["processed_at"] is None
    assert "transport_processed_at" not in metadata


LIES: dict[str, Any] = {
    "attestation_result": {"verdict": "affirming"},
    "verification": {"payload_id_echoed": True, "server_key_pinned": True, "server_key": "sha256/theirs"},
    "transport_processed_at": 1,
    "is_encrypted": False,
    "encryption_algorithm": "none",
}


@pytest.mark.parametrize("name", LIES)
def test_what_the_server_puts_under_the_clients_keys_is_dropped(name: str) -> None:
    metadata = gate.with_client_metadata(with_metadata(**{name: LIES[name]}), ID, None, None)["_metadata"]
    assert metadata.get(name) != LIES[name]
    assert ("attestation_result" in metadata) is False


def test_the_result_of_an_appraisal_is_in_the_metadata_where_there_was_one() -> None:
    result = {"verdict": "affirming"}
    lied = with_metadata(attestation_result={"verdict": "contraindicated"})
    assert gate.with_client_metadata(lied, ID, None, result)["_metadata"]["attestation_result"] is result


@pytest.mark.parametrize(
    ("metadata", "key", "expected"),
    [
        ({}, None, {"payload_id_echoed": False, "security_tier_echoed": False}),
        ({"payload_id": ID, "security_tier": None}, None, {"payload_id_echoed": True, "security_tier_echoed": True}),
        ({}, server_key(pinned=True), {"payload_id_echoed": False, "security_tier_echoed": False,
                                       "server_key": "sha256/abc", "server_key_pinned": True}),
    ],
)  # fmt: skip
def test_the_metadata_says_what_was_checked(
    metadata: dict[str, Any], key: ServerKey | None, expected: dict[str, Any]
) -> None:
    assert gate.with_client_metadata(with_metadata(**metadata), ID, key, None)["_metadata"]["verification"] == expected


def test_the_tag_is_not_looked_for_inside_the_ciphertext() -> None:
    with pytest.raises(ResponseError):  # servers send the published form
        gate.decrypt_response(wire.seal(b"{}", KEY.public_key(), tag_inside=True), KEY)
