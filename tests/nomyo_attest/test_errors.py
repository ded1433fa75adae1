"""The errors: one tree, whole messages, nothing lost on the way to another process."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import nomyo_attest as na
from nomyo_attest import errors
from nomyo_attest.errors import RefusedResponse
from nomyo_attest.testing import Forge, ForgeError

PARENTS = {
    "NomyoAttestError": (Exception,),
    "ParseError": (na.NomyoAttestError, ValueError),
    "UnsupportedError": (na.ParseError,),
    "EvidenceError": (na.NomyoAttestError, ValueError),
    "MisplacedEvidenceError": (na.EvidenceError,),
    "PolicyError": (na.NomyoAttestError, ValueError),
    "AttestationError": (na.NomyoAttestError,),
    "LearningError": (na.NomyoAttestError, ValueError),
    "LedgerError": (na.NomyoAttestError,),
    "AttesterError": (na.NomyoAttestError,),
}
DEFINED = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}


def test_the_tree_is_the_one_that_is_drawn() -> None:
    assert {name: kind.__bases__ for name, kind in DEFINED.items()} == PARENTS
    drawn = errors.__doc__ or ""
    for name, parents in PARENTS.items():
        assert name in drawn
        if ValueError in parents:
            assert f"{name} (ValueError)" in drawn


@pytest.mark.parametrize("name", PARENTS)
def test_every_error_is_public_and_documented(name: str) -> None:
    assert getattr(na, name) is DEFINED[name]
    assert DEFINED[name].__doc__


def made() -> list[na.NomyoAttestError]:
    response = RefusedResponse("a.json", "refused", "learn from a response that passes every required rule", None)
    refused = na.appraise("nonsense", na.AppraisalPolicy.from_dict(Forge().policy()))
    return [
        na.ParseError("TPMS_CLOCK_INFO", "safe", 76, "TPMI_YES_NO, 0 or 1", "0x02"),
        na.UnsupportedError("TPMT_SIGNATURE", "sig_alg", 0, "one of TPM_ALG_RSASSA", "TPM_ALG_HMAC"),
        na.EvidenceError("_metadata.payload_id", "a non-empty string", "null"),
        na.MisplacedEvidenceError("/log", "JSON text in a string", "unwrap the records first"),
        na.PolicyError("pcrs.sha256.7[0]", "'zz' is not allowed", "write hex", source="policy.toml"),
        na.AttestationError("not affirmed", refused),
        na.LearningError("a.json: refused", "learn from a response that passes every required rule", (response,)),
        na.LedgerError("evidence.jsonl", "is a folder", "name a file"),
        na.AttesterError("no TPM"),
        ForgeError("scheme", "one of rsassa, rsapss, ecdsa", "'rsa'"),
    ]


@pytest.mark.parametrize("error", made(), ids=lambda error: type(error).__name__)
def test_one_except_catches_each_of_them(error: na.NomyoAttestError) -> None:
    with pytest.raises(na.NomyoAttestError):
        raise error


def test_a_parse_error_says_structure_field_byte_expected_and_got() -> None:
    error = na.ParseError("TPMS_CLOCK_INFO", "safe", 76, "TPMI_YES_NO, 0 or 1", "0x02")
    assert str(error) == "TPMS_CLOCK_INFO.safe at byte 76: expected TPMI_YES_NO, 0 or 1, got 0x02"
    assert error.where == "TPMS_CLOCK_INFO.safe"
    assert na.ParseError("TPMS_ATTEST", "", 9, "a", "b").where == "TPMS_ATTEST"


def test_an_evidence_error_says_place_expected_and_got() -> None:
    error = na.EvidenceError("_metadata.payload_id", "a non-empty string", "null")
    assert str(error) == "_metadata.payload_id: expected a non-empty string, got null"
    assert (error.where, error.expected, error.got) == ("_metadata.payload_id", "a non-empty string", "null")


def test_a_policy_error_says_file_place_problem_and_hint() -> None:
    error = na.PolicyError("pcrs", "no value is pinned", "pin one", source="policy.toml")
    assert str(error) == "policy.toml: pcrs: no value is pinned; pin one"
    assert str(na.PolicyError("", "not a policy", "write one")) == "policy: not a policy; write one"


@pytest.mark.parametrize(
    "error", [one for one in made() if not isinstance(one, na.AttestationError)], ids=lambda error: type(error).__name__
)
def test_an_error_survives_copying_and_the_way_to_another_process(error: na.NomyoAttestError) -> None:
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_an_attestation_error_carries_the_result() -> None:
    result = na.appraise("nonsense", na.AppraisalPolicy.from_dict(Forge().policy()))
    error = na.AttestationError("not affirmed", result)
    assert error.result is result
    assert str(error) == "not affirmed"
    assert copy.copy(error).result is result
