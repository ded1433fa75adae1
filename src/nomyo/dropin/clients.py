"""Create clients of OpenAI's SDK, httpx and httpx2 that send encrypted requests, and find the error behind theirs.

The functions create objects of the libraries' own classes: `OpenAI.with_options()` calls the constructor of its class,
so a subclass with another constructor would break it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from nomyo.dropin.transport import BASE_URL, EXTENSION, EncryptedTransport
from nomyo.errors import ArgumentError, ArgumentTypeError, NomyoError
from nomyo.traceback_scrubbing import guarded

if TYPE_CHECKING:
    import httpx
    import openai

LIBRARIES: Final = ("httpx", "httpx2")
"""HTTP libraries that the transport works with."""

_HTTPX2_SINCE: Final = 3
"""First major version of OpenAI's SDK that uses httpx2."""

_RESERVED: Final = ("api_key", "base_url", "http_client")
"""Options of OpenAI's SDK that the functions set."""

_CAUSES_MAX: Final = 100


@guarded
def openai_client(
    transport: EncryptedTransport | None = None, *, openai_options: Mapping[str, Any] = {}, **options: Any
) -> openai.OpenAI:
    """Create an `openai.OpenAI` whose requests are encrypted and whose responses pass the gate. ::

        client = openai_client(api_key="…", attestation_policy="policy.toml")
        client.chat.completions.create(model="…", messages=[…])

    Args:
        transport: the transport to use; None to create one from `options`.
        openai_options: more options of `openai.OpenAI`, except ``api_key``, ``base_url`` and ``http_client``. By
            default ``max_retries`` is 0, since the transport retries by itself.
        options: those of `EncryptedTransport`, thus of `SecureChatCompletion`.

    Raises the errors of `EncryptedTransport`; `ImportError` if the package ``openai`` is not installed.
    """
    _check_openai_options(openai_options)
    transport = _transport(transport, options)
    http = _http_client(transport, "Client", None)
    return _import("openai").OpenAI(**_openai_arguments(transport, http, openai_options))


@guarded
def async_openai_client(
    transport: EncryptedTransport | None = None, *, openai_options: Mapping[str, Any] = {}, **options: Any
) -> openai.AsyncOpenAI:
    """Create an `openai.AsyncOpenAI`, as `openai_client` does."""
    _check_openai_options(openai_options)
    transport = _transport(transport, options)
    http = _http_client(transport, "AsyncClient", None)
    arguments = _openai_arguments(transport, http, openai_options)
    return _import("openai").AsyncOpenAI(**arguments)


@guarded
def http_client(
    transport: EncryptedTransport | None = None, *, library: str | None = None, **options: Any
) -> httpx.Client:
    """Create an HTTP client over the transport, for a framework that accepts one. Its base URL must be `BASE_URL`.

    Args:
        transport: the transport to use; None to create one from `options`.
        library: ``"httpx"`` or ``"httpx2"``; None for httpx2 if version 3 or later of the package ``openai`` is
            installed, else httpx.
        options: those of `EncryptedTransport`.

    Returns:
        An `httpx.Client` or `httpx2.Client`. It follows no redirects and ignores proxies in the environment.

    Raises the errors of `EncryptedTransport`; `ImportError` if the library is not installed.
    """
    client: httpx.Client = _http_client(_transport(transport, options), "Client", library)
    return client


@guarded
def async_http_client(
    transport: EncryptedTransport | None = None, *, library: str | None = None, **options: Any
) -> httpx.AsyncClient:
    """Create an asynchronous HTTP client, as `http_client` does."""
    client: httpx.AsyncClient = _http_client(_transport(transport, options), "AsyncClient", library)
    return client


@guarded
def http_clients(
    transport: EncryptedTransport | None = None, *, library: str | None = None, **options: Any
) -> tuple[httpx.Client, httpx.AsyncClient]:
    """Create a blocking and an asynchronous HTTP client over one transport, as `http_client` does."""
    transport = _transport(transport, options)
    return _http_client(transport, "Client", library), _http_client(transport, "AsyncClient", library)


def refusal(error: BaseException) -> NomyoError | None:
    """Return the exception of nomyo behind an exception of an SDK or a framework; None if there is none.

    It is searched for in ``response.extensions["nomyo"]`` of the exception, and of its causes and contexts.
    """
    for each in _causes(error):
        if isinstance(each, NomyoError):
            return each
        extensions = getattr(getattr(each, "response", None), "extensions", None)
        found = extensions.get(EXTENSION) if isinstance(extensions, dict) else None
        if isinstance(found, NomyoError):
            return found
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that caused it, each once."""
    pending, seen = [error], set[int]()
    while pending and len(seen) < _CAUSES_MAX:
        each = pending.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        members = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        pending += [other for other in (each.__cause__, each.__context__, *members) if other is not None]


def _transport(transport: EncryptedTransport | None, options: Mapping[str, Any]) -> EncryptedTransport:
    if transport is None:
        return EncryptedTransport(**options)
    if options:
        raise ArgumentTypeError(f"{min(options)}: the transport has its own options; pass either transport or options")
    return transport


def _http_client(transport: EncryptedTransport, kind: str, library: str | None) -> Any:
    timeout = transport.client.client.timeout
    client = getattr(_library(library), kind)(
        transport=transport, timeout=timeout, trust_env=False, follow_redirects=False
    )
    transport.count_http_client()
    return client


def _openai_arguments(transport: EncryptedTransport, http: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"max_retries": 0, "timeout": transport.client.client.timeout}
    return {**defaults, **options, "api_key": "unused", "base_url": BASE_URL, "http_client": http}


def _check_openai_options(options: Mapping[str, Any]) -> None:
    for name in _RESERVED:
        if name in options:
            raise ArgumentError(f"openai_options: {name} is set by nomyo; pass {name} to this function, if it is yours")


def _library(name: str | None) -> ModuleType:
    if name is None:
        name = "httpx2" if _openai_major() >= _HTTPX2_SINCE else "httpx"
    if name not in LIBRARIES:
        raise ArgumentError(f"library: expected one of {', '.join(LIBRARIES)}, got {str(name)[:40]!r}")
    return _import(name)


def _openai_major() -> int:
    try:
        return int(metadata.version("openai").partition(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return 0


def _import(name: str) -> ModuleType:
    return importlib.import_module(name)
