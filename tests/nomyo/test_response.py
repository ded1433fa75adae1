import copy
import json
import pickle
from typing import Any

import msgspec
import pytest

from nomyo.response import ChatResponse
from nomyo_attest.evidence.strict_json import DEPTH_MAX

FIELDS: dict[str, Any] = {
    "id": "chatcmpl-1",
    "choices": [{"message": {"content": "hi", "tool_calls": [{"function": {"name": "f"}}]}}],
    "nested": [[{"a": 1}]],
    "_metadata": {"payload_id": "0a1b"},
}


def test_keys_are_attributes_in_nested_objects_and_lists_too() -> None:
    response = ChatResponse(FIELDS)

    assert response.choices[0].message.tool_calls[0].function.name == "f"
    assert response.nested[0][0].a == 1
    assert response._metadata.payload_id == "0a1b"


def test_nested_objects_are_converted_once() -> None:
    response = ChatResponse(FIELDS)

    assert response.choices is response["choices"]
    assert response.choices[0].message is response["choices"][0]["message"]


@pytest.mark.parametrize(
    "again",
    [
        ChatResponse.copy,
        copy.copy,
        copy.deepcopy,
        lambda response: pickle.loads(pickle.dumps(response)),
    ],
)
def test_a_copy_is_equal_and_of_the_same_class(again: Any) -> None:
    copied = again(ChatResponse(FIELDS))

    assert copied == FIELDS
    assert (type(copied), type(copied.choices[0])) == (ChatResponse, ChatResponse)


def test_a_shallow_copy_shares_nested_objects() -> None:
    response = ChatResponse(FIELDS)

    assert response.copy().choices is copy.copy(response).choices is response.choices


@pytest.mark.parametrize("encode", [json.dumps, msgspec.json.encode])
def test_it_is_encoded_as_the_same_json(encode: Any) -> None:
    assert json.loads(encode(ChatResponse(FIELDS))) == FIELDS


def test_an_absent_attribute_names_the_existing_keys() -> None:
    with pytest.raises(AttributeError, match="no 'text' here; it has: _metadata, choices, id, nested"):
        _ = ChatResponse(FIELDS).text


def test_attributes_are_read_only() -> None:
    response = ChatResponse(FIELDS)

    with pytest.raises(AttributeError, match="read-only"):
        response.id = "other"
    with pytest.raises(AttributeError, match="read-only"):
        del response.id
    assert response == FIELDS


def test_a_server_cannot_provide_special_methods() -> None:
    response = ChatResponse({"__deepcopy__": "x", "__html__": "x"})

    assert copy.deepcopy(response) == response
    assert not hasattr(response, "__html__")


def test_completion_of_names_offers_the_keys() -> None:
    assert {"id", "choices", "get"} <= set(dir(ChatResponse(FIELDS)))


def test_a_deeply_nested_response_is_converted() -> None:
    fields: dict[str, Any] = {"a": 1}
    for _ in range(DEPTH_MAX):
        fields = {"a": [fields]}

    assert ChatResponse(fields).a[0].a[0].a[0]["a"]
