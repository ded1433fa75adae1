"""Every exception of the client at a command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nomyo import errors
from nomyo.cli.connection import command_error
from nomyo_attest.cli.errors import EXIT_UNUSABLE


def classes(root: type[errors.NomyoError] = errors.NomyoError) -> Iterator[type[errors.NomyoError]]:
    """The class and all below it that the client itself raises."""
    if root.__module__ == "nomyo.errors":
        yield root
    for below in root.__subclasses__():
        yield from classes(below)


def made(kind: type[errors.NomyoError]) -> errors.NomyoError:
    """An error of a class."""
    if issubclass(kind, (errors.KeyStoreError, errors.EvidenceLogError)):
        return kind("keys/private_key.pem", "is a symbolic link", "name the file itself")
    if issubclass(kind, errors.AttestationError):
        return kind("not affirmed", None)  # type: ignore[arg-type]  # its result is not looked at here
    return kind("something went wrong")


@pytest.mark.parametrize("kind", dict.fromkeys(classes()))
def test_an_error_keeps_its_words_and_is_status_2(kind: type[errors.NomyoError]) -> None:
    complaint = command_error(made(kind), "example.org")
    assert complaint.status == EXIT_UNUSABLE
    assert str(made(kind)).partition(";")[0].removesuffix(".") in str(complaint)


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        (errors.AuthenticationError, "check the API key"),
        (errors.ForbiddenError, "ask the operator which models and tiers this API key may use"),
        (errors.NotFoundError, "check that the base URL"),
        (errors.InvalidRequestError, "check --model"),
        (errors.ServiceUnavailableError, "ask the operator why this --tier is not available"),
        (errors.APIStatusError, "check that the base URL"),
        (errors.APITimeoutError, "increase --timeout"),
        (errors.APIConnectionError, "check the base URL and the network"),
        (errors.ResponseError, "try again"),
        (errors.ResponseNotBoundError, "do not rely on this server"),
        (errors.ServerKeyError, "do not send prompts to this server"),
    ],
)
def test_an_error_gets_the_mend_of_its_kind(kind: type[errors.NomyoError], hint: str) -> None:
    text = str(command_error(made(kind), "example.org"))
    assert text.startswith("example.org: something went wrong; ")
    assert hint in text


@pytest.mark.parametrize(("seconds", "said"), [(None, "try again later"), (12.4, "try again in 12 s")])
def test_what_may_be_tried_again_says_when(seconds: float | None, said: str) -> None:
    error = errors.ServiceUnavailableError("cooling down")
    error.retryable = True
    error.retry_after = seconds
    assert str(command_error(error, "example.org")) == f"example.org: cooling down; {said}"


def test_parameters_are_named_as_they_are_typed() -> None:
    assert str(command_error(errors.ArgumentError("timeout: expected more"))) == "--timeout: expected more"
    assert str(command_error(errors.ArgumentError("base_url: expected https"))) == "base URL: expected https"
