"""The errors: one tree, the published names and numbers, strings that programs store, nothing lost in a copy."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import nomyo
import nomyo_attest
from nomyo import errors
from nomyo_attest.testing import Forge

BASES: dict[str, tuple[type[BaseException], ...]] = {
    "NomyoError": (Exception,),
    "APIError": (errors.NomyoError,),
    "APIStatusError": (errors.APIError,),
    "InvalidRequestError": (errors.APIStatusError,),
    "AuthenticationError": (errors.APIStatusError,),
    "ForbiddenError": (errors.APIStatusError,),
    "NotFoundError": (errors.APIStatusError,),
    "RateLimitError": (errors.APIStatusError,),
    "ServerError": (errors.APIStatusError,),
    "ServiceUnavailableError": (errors.APIStatusError,),
    "APIConnectionError": (errors.NomyoError, ConnectionError),
    "APITimeoutError": (errors.APIConnectionError, TimeoutError),
    "SecurityError": (errors.NomyoError,),
    "ResponseError": (errors.SecurityError, ValueError),
    "ResponseTooLargeError": (errors.ResponseError,),
    "ResponseNotBoundError": (errors.SecurityError,),
    "ServerKeyError": (errors.SecurityError, ValueError),
    "InsecureURLError": (errors.SecurityError, ValueError),
    "AttestationError": (errors.SecurityError, nomyo_attest.AttestationError),
    "EvidenceLogError": (errors.NomyoError, nomyo_attest.LedgerError),
    "KeyStoreError": (errors.NomyoError, ValueError),
    "KeyFileNotFoundError": (errors.KeyStoreError, FileNotFoundError),
    "ArgumentError": (errors.NomyoError, ValueError),
    "ArgumentTypeError": (errors.ArgumentError, TypeError),
    "EventLoopError": (errors.NomyoError, RuntimeError),
    "ClientClosedError": (errors.NomyoError, RuntimeError),
    "InternalError": (errors.NomyoError, RuntimeError),
    "InsecureWarning": (UserWarning,),
}
ALIASES = {
    "BadRequestError": "InvalidRequestError",
    "PermissionDeniedError": "ForbiddenError",
    "InternalServerError": "ServerError",
}
STATUSES = {
    "InvalidRequestError": 400,
    "AuthenticationError": 401,
    "ForbiddenError": 403,
    "NotFoundError": 404,
    "RateLimitError": 429,
    "ServerError": 500,
    "ServiceUnavailableError": 503,
}
# What programs compare and store. Changing one breaks them.
CODES = {
    "HELD": "held",
    "UNREADABLE": "response_unreadable",
    "TOO_LARGE": "response_too_large",
    "NOT_BOUND": "response_not_bound",
    "TIER_NOT_AS_REQUESTED": "tier_not_as_requested",
    "KEY_REFUSED": "server_key_refused",
    "KEY_NOT_PINNED": "server_key_not_pinned",
    "INSECURE_URL": "insecure_url",
    "NOT_AFFIRMED": "not_affirmed",
}
CODE_OF = {
    "SecurityError": "",
    "ResponseError": "response_unreadable",
    "ResponseTooLargeError": "response_too_large",
    "ResponseNotBoundError": "response_not_bound",
    "ServerKeyError": "server_key_refused",
    "InsecureURLError": "insecure_url",
    "AttestationError": "not_affirmed",
}
STAGE_OF = {
    "ServerKeyError": "key",
    "ResponseError": "completion",
    "ResponseTooLargeError": "completion",
    "ResponseNotBoundError": "completion",
    "AttestationError": "completion",
}
DEFINED = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
}


def refused() -> nomyo_attest.AttestationResult:
    """The result of an appraisal that affirms nothing."""
    return nomyo_attest.appraise("nonsense", nomyo_attest.AppraisalPolicy.from_dict(Forge().policy()))


def made() -> list[errors.NomyoError]:
    """One of each class."""
    special: list[errors.NomyoError] = [
        errors.AttestationError("not affirmed", refused()),
        errors.EvidenceLogError("/k/evidence.jsonl", "is a folder", "name a file"),
        errors.KeyStoreError("/k/private_key.pem", "is a folder", "name a file"),
        errors.KeyFileNotFoundError("/k/private_key.pem"),
    ]
    kinds = [kind for kind in DEFINED.values() if issubclass(kind, errors.NomyoError)]
    return [*special, *(kind("what went wrong") for kind in kinds if kind not in {type(one) for one in special})]


def test_the_classes_are_these_and_stand_where_they_are_said_to() -> None:
    assert {name: kind.__bases__ for name, kind in DEFINED.items() if name == kind.__name__} == BASES


def test_the_tree_is_the_one_that_is_drawn() -> None:
    drawn = {}
    above: list[str] = []
    line = re.compile(r"^( {4}[│├└─ ]*)(\w+)(.*)$", re.MULTILINE)
    for indent, name, rest in line.findall(errors.__doc__ or ""):
        if name.endswith(("Error", "Exception")):
            depth = (len(indent) - 4) // 4
            above[depth:] = [name]
            second = re.match(r" \(([\w.]+)\)", rest)
            others = [second[1]] if second and second[1] != "BadRequestError" else []
            drawn[name] = [*above[depth - 1 : depth], *others]
    assert drawn.pop("Exception") == []
    expected = {
        name: [
            base.__name__ if base.__module__ != "nomyo_attest.errors" else f"nomyo_attest.{base.__name__}"
            for base in bases
        ]
        for name, bases in BASES.items()
        if name != "InsecureWarning"
    }
    assert drawn == expected


@pytest.mark.parametrize("name", [*BASES, *ALIASES])
def test_every_error_is_public_under_its_name_and_documented(name: str) -> None:
    assert getattr(nomyo, name) is getattr(errors, name)
    assert name in nomyo.__all__
    assert (getattr(errors, name).__doc__ or "").strip()


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_the_names_of_openais_client_are_other_names_of_the_same(alias: str, name: str) -> None:
    assert getattr(nomyo, alias) is getattr(nomyo, name)


@pytest.mark.parametrize("error", made(), ids=lambda error: type(error).__name__)
def test_one_except_catches_each_of_them(error: errors.NomyoError) -> None:
    with pytest.raises(nomyo.NomyoError):
        raise error


@pytest.mark.parametrize("name", ["APIConnectionError", "SecurityError"])
def test_as_in_the_published_client_these_are_no_api_errors(name: str) -> None:
    assert not issubclass(getattr(nomyo, name), nomyo.APIError)


@pytest.mark.parametrize(
    "name",
    ["InvalidRequestError", "AuthenticationError", "ForbiddenError", "RateLimitError", "ServerError",
     "ServiceUnavailableError"],
)  # fmt: skip
def test_as_in_the_published_client_these_are_api_errors(name: str) -> None:
    assert issubclass(getattr(nomyo, name), nomyo.APIError)


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
def test_each_status_has_its_class_and_the_class_its_status(name: str, status: int) -> None:
    kind = getattr(nomyo, name)
    assert kind("m").status_code == status
    assert kind("m", 499).status_code == 499
    assert kind("m", status_code=0).status_code == 0


def test_an_api_error_takes_message_status_and_details_in_this_order() -> None:
    error = nomyo.APIError("the message", 418, {"detail": "teapot"})
    assert (str(error), error.message, error.args) == ("the message", "the message", ("the message",))
    assert (error.status_code, error.error_details) == (418, {"detail": "teapot"})
    assert nomyo.APIError("m").status_code is None
    assert nomyo.APIError("m").error_details is None
    assert nomyo.APIStatusError("m").status_code is None
    named = nomyo.RateLimitError(message="m", status_code=429, error_details={})
    assert named.error_details == {}


@pytest.mark.parametrize("error", made(), ids=lambda error: type(error).__name__)
def test_every_error_says_which_call_it_belongs_to(error: errors.NomyoError) -> None:
    assert error.payload_id is None
    assert error.attempts == 0
    assert error.stage == STAGE_OF.get(type(error).__name__, "")
    assert error.retryable is isinstance(error, nomyo.APIConnectionError)


def test_what_an_api_error_says_besides_is_there_from_the_start() -> None:
    error = nomyo.APIError("m")
    assert (error.headers, error.body, error.retry_after) == ({}, None, None)
    error.headers = {"a": "b"}
    assert nomyo.APIError("m").headers == {}


def test_a_connection_error_says_whether_the_request_may_have_been_processed() -> None:
    assert nomyo.APIConnectionError("m").maybe_processed is False
    assert nomyo.APITimeoutError("m").maybe_processed is False


def test_a_message_that_looks_like_a_system_error_is_still_the_message() -> None:
    assert str(nomyo.APIConnectionError("m")) == "m"
    assert str(nomyo.APITimeoutError("m")) == "m"
    assert nomyo.APIConnectionError("m").errno is None


def test_the_codes_are_these() -> None:
    assert {name: value for name, value in vars(errors).items() if name.isupper() and isinstance(value, str)} == CODES


@pytest.mark.parametrize(("name", "code"), CODE_OF.items())
def test_every_security_error_has_its_code(name: str, code: str) -> None:
    (error,) = (one for one in made() if type(one).__name__ == name)
    assert isinstance(error, nomyo.SecurityError)
    assert error.code == code
    assert set(CODE_OF) == {n for n, kind in DEFINED.items() if issubclass(kind, errors.SecurityError)}


def test_a_code_can_be_told_besides_the_message() -> None:
    error = nomyo.ServerKeyError("m", errors.KEY_NOT_PINNED)
    assert (error.code, str(error)) == ("server_key_not_pinned", "m")
    assert nomyo.ServerKeyError("m").code == "server_key_refused"
    assert nomyo.SecurityError().code == ""


def test_an_answer_that_cannot_be_read_has_one_message() -> None:
    assert str(nomyo.ResponseError()) == "the response could not be decrypted and read"
    assert nomyo.ResponseError().code == "response_unreadable"


def test_a_refused_answer_is_an_error_of_both_packages_and_carries_the_result() -> None:
    result = refused()
    error = nomyo.AttestationError("not affirmed", result)
    assert isinstance(error, nomyo.SecurityError)
    assert isinstance(error, nomyo_attest.AttestationError)
    assert error.result is result
    assert str(error) == "not affirmed"
    assert error.prompt_sent is True
    assert (error.code, error.stage) == ("not_affirmed", "completion")


@pytest.mark.parametrize("path", ["/k/private_key.pem", Path("/k/private_key.pem")])
def test_a_key_store_error_says_path_problem_and_hint(path: Any) -> None:
    error = nomyo.KeyStoreError(path, "is a folder", "name a file")
    assert str(error) == "/k/private_key.pem: is a folder; name a file"
    assert (error.path, error.problem, error.hint) == ("/k/private_key.pem", "is a folder", "name a file")


def test_a_key_file_that_is_not_there_is_also_the_systems_error() -> None:
    error = nomyo.KeyFileNotFoundError(Path("/k/private_key.pem"))
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.filename) == (errno.ENOENT, "/k/private_key.pem")
    assert str(error) == "/k/private_key.pem: does not exist; check its path"


def with_everything(error: errors.NomyoError) -> errors.NomyoError:
    """The error as it leaves a call."""
    error.payload_id, error.attempts, error.stage, error.retryable = "an-id", 3, "key", True
    if isinstance(error, errors.APIError):
        error.headers, error.body, error.retry_after = {"a": "b"}, {"detail": "d"}, 1.5
    return error


@pytest.mark.parametrize("error", made(), ids=lambda error: type(error).__name__)
def test_an_error_survives_copying(error: errors.NomyoError) -> None:
    error = with_everything(error)
    again = copy.copy(error)
    assert again is not error
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize(
    "error", [one for one in made() if not isinstance(one, errors.AttestationError)], ids=lambda one: type(one).__name__
)
def test_an_error_survives_the_way_to_another_process(error: errors.NomyoError) -> None:
    error = with_everything(error)
    for again in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_the_warning_is_no_error_of_a_call_and_can_be_filtered_by_its_class() -> None:
    assert issubclass(nomyo.InsecureWarning, UserWarning)
    assert not issubclass(nomyo.InsecureWarning, nomyo.NomyoError)
