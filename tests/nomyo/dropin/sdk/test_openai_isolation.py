"""Nothing but an encrypted chat completion leaves the machine, whatever a program does with OpenAI's SDK."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nomyo.dropin import BASE_URL, EncryptedTransport, http_client, openai_client
from nomyo.options import OPTION_NAMES
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.recording_proxy import RecordingProxy
from tests.nomyo.dropin.sdk.stage import API_KEY, MESSAGES, MODEL, PROMPT, REPLY, Stage

openai = sdk("openai")

OWN_KEY = "sk-9d27c1e5f08b4a36"
"""The API key that a program has for OpenAI."""

SUPPORTED = {
    f"{resource}.{method}"
    for resource in ("chat.completions", "beta.chat.completions")
    for method in ("create", "parse", "stream")
}
METHODS_MINIMUM = 80
"""The SDK has more methods than this that send a request; version 1 has the fewest."""


def methods(resource: Any, path: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the name and the function of every public method of the SDK's resources."""
    base = type(openai.OpenAI(api_key="unused").chat).__mro__[1]
    for name in dir(resource):
        if name.startswith(("_", "with_")):
            continue
        value = getattr(resource, name)
        if isinstance(value, base):
            yield from methods(value, f"{path}{name}.")
        elif path and callable(value):
            yield f"{path}{name}", value


def arguments(method: Callable[..., Any]) -> dict[str, Any]:
    """Return values for the parameters of a method that have no default, or a sentinel."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD or parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.default is parameter.empty:
            listed = name in ("messages", "input", "files", "permissions", "scopes", "metrics", "file_ids")
            found[name] = MESSAGES if listed else PROMPT
            if name in ("file", "image", "data", "audio_sample", "content"):
                found[name] = PROMPT.encode()
    return found


class Counting(EncryptedTransport):
    """Counts the requests that the SDK makes."""

    count = 0

    def handle_request(self, request: Any) -> Any:
        self.count += 1
        return super().handle_request(request)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK deprecates whole resources
def test_no_other_method_of_the_sdk_sends_anything(stage: Stage) -> None:
    transport = Counting(**stage.options())
    called, reached = 0, 0
    has_admin_key = "admin_api_key" in inspect.signature(openai.OpenAI.__init__).parameters
    with openai_client(transport, openai_options={"admin_api_key": OWN_KEY} if has_admin_key else {}) as client:
        for name, method in methods(client):
            if name in SUPPORTED:
                continue
            called, before = called + 1, transport.count
            # Some methods check their arguments first, open a WebSocket, or return an object that would send.
            with contextlib.suppress(Exception), contextlib.ExitStack() as stack:
                returned = method(**arguments(method))
                if hasattr(returned, "__enter__"):
                    stack.enter_context(returned)
            reached += transport.count > before
    assert reached > METHODS_MINIMUM, (reached, called)
    assert (stage.posts, stage.prompts) == (0, 0)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("models.list", {}),
        ("embeddings.create", {"model": MODEL, "input": PROMPT}),
        ("completions.create", {"model": MODEL, "prompt": PROMPT}),
        ("responses.create", {"model": MODEL, "input": PROMPT}),
    ],
)
def test_a_request_that_cannot_be_encrypted_says_so(stage: Stage, name: str, fields: dict[str, str]) -> None:
    with openai_client(**stage.options()) as client:
        method = dict(methods(client))[name]
        with pytest.raises(openai.NotFoundError) as caught:
            method(**fields)
    assert caught.value.code == "not_encrypted"
    assert caught.value.body["prompt_sent"] is False
    assert stage.posts == 0


def test_declared_models_are_listed(stage: Stage) -> None:
    with openai_client(models=[MODEL, "other"], **stage.options()) as client:
        assert [model.id for model in client.models.list()] == [MODEL, "other"]
        assert client.models.retrieve("other").id == "other"
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("third")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "base_url", ["https://api.openai.com/v1", "http://nomyo.invalid/v1", "https://nomyo.invalid:8443/v1"]
)
def test_another_base_url_is_refused_and_the_message_names_the_right_one(stage: Stage, base_url: str) -> None:
    with http_client(**stage.options()) as http:
        client = openai.OpenAI(api_key=OWN_KEY, base_url=base_url, http_client=http)
        with pytest.raises(openai.BadRequestError, match=BASE_URL) as caught:
            client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert caught.value.code == "wrong_base_url"
    assert stage.posts == 0


def test_no_field_of_a_body_changes_an_option(stage: Stage) -> None:
    values: dict[str, Any] = dict.fromkeys(OPTION_NAMES, False) | {
        "base_url": "https://localhost:1",
        "timeout": 0,
        "policy": None,
    }
    values |= {"metadata": {"a": "b"}, "store": True, "user": "u", "api_key": OWN_KEY, "extra_body": {"a": 1}}
    with openai_client(**stage.options(require_attestation="always")) as client:
        completion = client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_body=values)
        assert stage.payload == {"model": MODEL, "messages": MESSAGES, **values}
        stage.router.boot_other_firmware()
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_body=values)
    assert completion.model_extra["_metadata"]["attestation_result"]["verdict"] == "affirming"


def test_keys_and_proxies_of_the_environment_receive_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingProxy() as proxy:
        monkeypatch.setenv("OPENAI_API_KEY", OWN_KEY)
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "localhost")
        with openai_client(**stage.options()) as client:
            assert client.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content == REPLY
        assert proxy.received == b""

        monkeypatch.delenv("NO_PROXY")  # the connection to the router goes through the proxy, inside TLS
        with openai_client(**stage.options()) as client, pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert b"CONNECT localhost" in proxy.received

        forgotten = openai.OpenAI(api_key=OWN_KEY, base_url=BASE_URL, max_retries=0)
        with forgotten, pytest.raises(openai.APIConnectionError):
            forgotten.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert b"CONNECT nomyo.invalid" in proxy.received
        assert not proxy.knows(OWN_KEY, API_KEY, PROMPT)
