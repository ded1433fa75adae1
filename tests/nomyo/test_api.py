"""The public face: what the service's API reference and the published client promise, name for name.

Taking one of these away, moving a parameter or changing a default breaks programs that people have.
"""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import nomyo
from nomyo import SecureChatCompletion
from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.client_calls import Wire, only
from tests.nomyo.defects.conftest import write_keys
from tests.nomyo.wire.plain_router import PlainRouter

PUBLISHED = {
    "APIConnectionError", "APIError", "AuthenticationError", "ForbiddenError", "InvalidRequestError", "RateLimitError",
    "SecureBuffer", "SecureChatCompletion", "SecurityError", "ServerError", "ServiceUnavailableError",
    "disable_secure_memory", "enable_secure_memory", "get_memory_protection_info", "secure_bytearray", "secure_bytes",
}  # fmt: skip
ADDED = {
    "APIStatusError", "APITimeoutError", "ArgumentError", "ArgumentTypeError", "AttestationError", "BadRequestError",
    "BlockingChatCompletion", "ChatResponse", "ClientClosedError", "EventLoopError", "EvidenceLogError",
    "InsecureURLError", "InsecureWarning", "InternalError", "InternalServerError", "KeyFileNotFoundError",
    "KeyStoreError", "NomyoError", "NotFoundError",
    "PermissionDeniedError", "ResponseError", "ResponseNotBoundError", "ResponseTooLargeError", "ServerKeyError",
    "__version__",
}  # fmt: skip
EXCEPTIONS = {name for name in PUBLISHED if name.endswith("Error")}
REQUIRED = inspect.Parameter.empty


def test_the_public_names_are_these() -> None:
    assert set(nomyo.__all__) == PUBLISHED | ADDED
    assert len(nomyo.__all__) == len(PUBLISHED | ADDED)
    assert nomyo.__all__ == sorted(nomyo.__all__)


@pytest.mark.parametrize("name", sorted(PUBLISHED | ADDED))
def test_every_public_name_is_there_listed_and_documented(name: str) -> None:
    thing = getattr(nomyo, name)
    assert name in dir(nomyo)
    if name != "__version__":
        assert (thing.__doc__ or "").strip()


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'nomyo' has no attribute 'SecureChat'"):
        _ = nomyo.SecureChat
    assert not hasattr(nomyo, "json")
    assert len(dir(nomyo)) == len(set(dir(nomyo)))


def test_everything_can_be_imported_by_star() -> None:
    for module, names in (("nomyo", PUBLISHED | ADDED), ("nomyo.SecureCompletionClient", EXCEPTIONS)):
        space: dict[str, object] = {}
        exec(f"from {module} import *", space)
        assert names - {"__version__"} <= space.keys()


def parameters_of(function: Any) -> list[tuple[str, Any]]:
    """Positional parameters and their defaults, without self."""
    return [
        (name, each.default)
        for name, each in inspect.signature(function).parameters.items()
        if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name != "self"
    ]


def keywords_of(function: Any) -> dict[str, Any]:
    """Parameters that are given by name only, and their defaults."""
    found = inspect.signature(function).parameters.items()
    return {name: each.default for name, each in found if each.kind is inspect.Parameter.KEYWORD_ONLY}


def test_the_constructor_of_chat_completions_is_that_of_the_api_reference() -> None:
    assert parameters_of(SecureChatCompletion) == [
        ("base_url", "https://api.nomyo.ai"),
        ("allow_http", False),
        ("api_key", None),
        ("secure_memory", True),
        ("max_retries", 2),
    ]
    assert keywords_of(SecureChatCompletion) == {
        "attestation_policy": None,
        "require_attestation": None,
        "key_dir": None,
        "key_password": None,
        "server_key_pins": (),
        "min_server_key_bits": 4096,
        "timeout": 900.0,
        "http_client": None,
        "unsafe_remote_http": False,
        "evidence_log": None,
        "evidence_log_failure": "raise",
        "rate_limit": None,
        "refusal_hold": 0.0,
        "preflight": None,
        "response_type": dict,
    }


def test_the_constructor_of_the_layer_underneath_is_that_of_the_published_client() -> None:
    assert parameters_of(SecureCompletionClient) == [
        ("router_url", "https://api.nomyo.ai"),
        ("allow_http", False),
        ("secure_memory", True),  # in the API reference, max_retries is here: see tests/nomyo/test_client.py
        ("max_retries", 2),
    ]
    assert keywords_of(SecureCompletionClient) == {
        "key_dir": None,
        "key_password": None,
        "server_key_pins": (),
        "min_server_key_bits": 4096,
        "timeout": 900.0,
        "http_client": None,
        "unsafe_remote_http": False,
        "evidence_log": None,
        "evidence_log_failure": "raise",
        "rate_limit": None,
    }


METHODS: dict[str, tuple[bool, list[tuple[str, Any]]]] = {
    "generate_keys": (False, [("save_to_file", False), ("key_dir", "client_keys"), ("password", None)]),
    "load_keys": (False, [("private_key_path", REQUIRED), ("public_key_path", None), ("password", None)]),
    "fetch_server_public_key": (True, []),
    "encrypt_payload": (True, [("payload", REQUIRED)]),
    "decrypt_response": (True, [("encrypted_response", REQUIRED), ("payload_id", REQUIRED)]),
    "send_secure_request": (
        True,
        [("payload", REQUIRED), ("payload_id", REQUIRED), ("api_key", None), ("security_tier", None)],
    ),
    "aclose": (True, []),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_methods_of_the_layer_underneath_are_those_of_the_api_reference(name: str) -> None:
    method = getattr(SecureCompletionClient, name)
    is_async, parameters = METHODS[name]
    assert inspect.iscoroutinefunction(method) is is_async
    assert parameters_of(method) == parameters
    assert keywords_of(method) == {}


@pytest.mark.parametrize("name", ["create", "acreate"])
def test_a_completion_is_created_as_in_the_api_reference(name: str) -> None:
    method = getattr(SecureChatCompletion, name)
    assert inspect.iscoroutinefunction(method)
    parameters = inspect.signature(method).parameters
    assert list(parameters) == ["self", "model", "messages", "kwargs"]
    assert parameters_of(method) == [("model", REQUIRED), ("messages", REQUIRED)]
    assert parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.parametrize("kind", [SecureChatCompletion, SecureCompletionClient])
def test_both_clients_can_be_used_in_a_context_and_closed(kind: type) -> None:
    for name in ("__aenter__", "__aexit__", "aclose"):
        assert inspect.iscoroutinefunction(getattr(kind, name))


@pytest.mark.parametrize("kind", [SecureChatCompletion, SecureCompletionClient])
def test_every_public_method_is_documented_and_says_what_it_raises(kind: type) -> None:
    for name, member in vars(kind).items():
        if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        text = inspect.getdoc(member) or ""
        assert text, name
        if name in METHODS and name != "aclose":
            assert "Error" in text, name
    assert "Args:" in (kind.__doc__ or "")
    documented = f"{kind.__doc__}{SecureChatCompletion.__doc__}"  # the options that both have, in one place
    for name, parameter in inspect.signature(kind).parameters.items():
        text = documented if parameter.kind is inspect.Parameter.KEYWORD_ONLY else kind.__doc__ or ""
        assert f"{name}:" in text


MEMORY: dict[str, list[tuple[str, Any]]] = {
    "get_memory_protection_info": [],
    "disable_secure_memory": [],
    "enable_secure_memory": [],
    "secure_bytearray": [("data", REQUIRED), ("lock", True)],
    "secure_bytes": [("data", REQUIRED), ("lock", True)],
    "SecureBuffer": [("data", REQUIRED), ("lock", True)],
}


@pytest.mark.parametrize("name", MEMORY)
def test_the_memory_helpers_are_those_of_the_published_client(name: str) -> None:
    assert parameters_of(getattr(nomyo, name)) == MEMORY[name]


def test_the_import_path_of_the_published_client_is_a_module_with_the_class_and_the_exceptions() -> None:
    module = importlib.import_module("nomyo.SecureCompletionClient")
    assert isinstance(module, ModuleType)
    assert nomyo.SecureCompletionClient is module
    assert module.SecureCompletionClient is SecureCompletionClient
    for name in EXCEPTIONS:
        assert getattr(module, name) is getattr(nomyo, name)
    assert set(module.__all__) == EXCEPTIONS | {"SecureCompletionClient"}


@pytest.mark.parametrize(
    "line",
    [
        "import nomyo; nomyo.SecureCompletionClient.SecureCompletionClient",
        "import nomyo.SecureCompletionClient; nomyo.SecureCompletionClient.SecureCompletionClient",
        "from nomyo import SecureCompletionClient; SecureCompletionClient.SecureCompletionClient",
        "from nomyo.SecureCompletionClient import SecureCompletionClient, SecurityError, APIError",
        "from nomyo import SecureChatCompletion, SecureBuffer, secure_bytearray, APIError, __version__",
        "import nomyo; nomyo.SecureChatCompletion; nomyo.SecureCompletionClient.SecureCompletionClient",
        "import nomyo.chat, nomyo.client, nomyo.errors; nomyo.errors.APIError; nomyo.SecureCompletionClient.APIError",
    ],
)
def test_an_import_works_first_thing_in_a_program(line: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_attributes_that_users_reach_are_there() -> None:
    chat = SecureChatCompletion("https://localhost:1", api_key="bearer-1")
    assert isinstance(chat.client, SecureCompletionClient)
    assert chat.api_key == "bearer-1"
    low = SecureCompletionClient("https://localhost:1", max_retries=1)
    assert (low.router_url, low.allow_http, low.max_retries, low.key_size) == ("https://localhost:1", False, 1, 4096)
    assert (low.private_key, low.public_key_pem) == (None, None)


def test_the_keys_of_an_answer_are_those_of_the_api_reference(wire: Wire) -> None:
    wire.router.attest = lambda payload_id: {
        "is_available": True, "pcr_banks": "sha256:0,7,10", "pcr_values": {"sha256": {"0": "00"}}, "quote_b64": "AA==",
        "signature_b64": "AA==", "aik_pubkey_b64": "AA==",
    }  # fmt: skip
    answer = wire.ask(security_tier="maximum")
    assert set(answer) == {"id", "object", "created", "model", "choices", "usage", "_metadata"}
    types = {
        "payload_id": str, "processed_at": int, "is_encrypted": bool, "response_status": str, "security_tier": str,
        "memory_protection": dict, "cuda_device": dict, "tpm_attestation": dict, "encryption_algorithm": str,
        "verification": dict, "transport_processed_at": int,
    }  # fmt: skip
    assert {name: type(value) for name, value in answer["_metadata"].items()} == types
    assert answer["_metadata"]["tpm_attestation"] == wire.router.attest(only(wire.posts).payload_id)
    assert {name: type(value) for name, value in answer["_metadata"]["verification"].items()} == {
        "payload_id_echoed": bool, "security_tier_echoed": bool, "server_key": str, "server_key_pinned": bool,
    }  # fmt: skip


PROGRAM = """
import asyncio, sys
import nomyo
from nomyo import (
    APIConnectionError, APIError, AuthenticationError, ForbiddenError, InvalidRequestError, RateLimitError,
    SecureChatCompletion, SecurityError, ServerError, ServiceUnavailableError, disable_secure_memory,
    enable_secure_memory, get_memory_protection_info, secure_bytearray,
)
from nomyo.SecureCompletionClient import SecureCompletionClient

url, keys = sys.argv[1:]

async def main():
    client = SecureChatCompletion(base_url=url, allow_http=False, api_key="right", secure_memory=True, max_retries=1)
    response = await client.create(
        model="m",
        messages=[{"role": "user", "content": "eins"}],
        temperature=0.7, max_tokens=100, stop=["x"], stream=False, security_tier="high",
    )
    print(response["choices"][0]["message"]["content"], response["_metadata"]["security_tier"])
    response = await SecureChatCompletion(url, False, "right").acreate("m", [{"role": "user", "content": "zwei"}])
    print(response["choices"][0]["message"]["content"], response["_metadata"]["is_encrypted"])
    for key, kind in (("wrong", AuthenticationError), (None, AuthenticationError)):
        try:
            await client.create("m", [{"role": "user", "content": "drei"}], api_key=key or "none")
        except kind as error:
            print(isinstance(error, APIError), error.status_code, error.message, error.error_details)
    try:
        await client.create("m", [], security_tier="ultra")
    except ValueError as error:
        print(error)
    try:
        await SecureChatCompletion("https://localhost:1", max_retries=0).create("m", [{"role": "user", "content": "x"}])
    except (APIConnectionError, SecurityError) as error:
        print("no connection", isinstance(error, APIError))
    low = SecureCompletionClient(router_url=url, allow_http=False, max_retries=2)
    low.load_keys(f"{keys}/private_key.pem", f"{keys}/public_key.pem")
    print((await low.fetch_server_public_key()).splitlines()[0])
    print(type(await low.encrypt_payload({"model": "m", "messages": []})).__name__)
    payload = {"model": "m", "messages": [{"role": "user", "content": "vier"}]}
    response = await low.send_secure_request(payload, "an-id", "right", "standard")
    print(response["choices"][0]["message"]["content"], response["_metadata"]["payload_id"])
    try:
        await low.decrypt_response(b"{}", "an-id")
    except (SecurityError, ValueError) as error:
        print("refused")

asyncio.run(main())
disable_secure_memory()
enable_secure_memory()
print(sorted(get_memory_protection_info())[:2])
with secure_bytearray(b"secret") as buffer:
    print(bytes(buffer.data))
"""


def test_a_program_for_the_published_client_runs_unchanged(tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys")
    with PlainRouter(api_key="right") as router:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, router.url, str(keys)],
            env={**os.environ, "SSL_CERT_FILE": router.ca},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "eins high",
        "zwei True",
        "True 401 Invalid API key {'detail': 'Invalid API key'}",
        "True 401 Invalid API key {'detail': 'Invalid API key'}",
        "Invalid security_tier: 'ultra'. Must be one of: standard, high, maximum",
        "no connection False",
        "-----BEGIN PUBLIC KEY-----",
        "bytes",
        "vier an-id",
        "refused",
        "['enabled', 'has_memory_locking']",
        "b'secret'",
    ]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("nomyo.nomyo", {"SecureChatCompletion"}),
        ("nomyo.SecureMemory", {"SecureBuffer", "secure_bytearray", "get_memory_protection_info"}),
    ],
)
def test_the_modules_of_the_published_client_have_its_names(path: str, names: set[str]) -> None:
    module = importlib.import_module(path)
    assert names <= set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is getattr(nomyo, name)
