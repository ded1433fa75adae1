"""The public face: these names, imported when they are used, documented, and working as promised."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest

import nomyo_attest as na
from nomyo_attest.testing import Forge

# What users may import. Taking a name away breaks them.
NAMES = {
    "RULES", "AppraisalPolicy", "AttestationError", "AttestationResult", "AttesterError", "Evidence", "EvidenceError",
    "EvidenceLog", "Finding", "LearningError", "LedgerError", "MisplacedEvidenceError", "NomyoAttestError", "Outcome",
    "ParseError", "PolicyError", "Requirement", "Rule", "Trust", "UnsupportedError", "Verdict", "__version__",
    "appraise",
}  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert set(na.__all__) == NAMES
    assert len(na.__all__) == len(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(na, name) is not None
    assert name in dir(na)


def test_each_name_is_listed_once() -> None:
    for name in NAMES:
        getattr(na, name)
    assert len(dir(na)) == len(set(dir(na)))


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'verify'"):
        _ = na.verify
    assert not hasattr(na, "appraise_all")


def test_everything_can_be_imported_by_star() -> None:
    space: dict[str, object] = {}
    exec("from nomyo_attest import *", space)
    assert NAMES - {"__version__"} <= space.keys()


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_is_imported_before_it_is_used() -> None:
    heavy = ["cryptography", "msgspec", "jsonschema", "json", "nomyo_attest.appraisal", "nomyo_attest.policy"]
    assert run(f"import nomyo_attest, sys; print([one for one in {heavy} if one in sys.modules])") == "[]"


def test_errors_are_imported_without_the_verifier() -> None:
    code = "import nomyo_attest as na, sys; na.EvidenceError; print('cryptography' in sys.modules)"
    assert run(code) == "False"


def test_appraising_needs_no_terminal_network_schema_or_tpm_library() -> None:
    heavy = ["httpx", "rich", "jsonschema", "tpm2_pytss", "nomyo", "socket"]
    code = f"import nomyo_attest as na, sys; na.appraise; na.Verdict; print([x for x in {heavy} if x in sys.modules])"
    assert run(code) == "[]"


PUBLIC = [getattr(na, name) for name in sorted(NAMES - {"RULES", "__version__"})]


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__name__)
def test_every_public_thing_is_documented_and_so_is_what_it_offers(thing: type) -> None:
    assert (thing.__doc__ or "").strip()
    if inspect.isclass(thing) and not issubclass(thing, (Enum, Exception)):
        for name, member in vars(thing).items():
            documented = isinstance(member, (property, classmethod)) or inspect.isfunction(member)
            if documented and not name.startswith("_"):
                text = inspect.getdoc(member) or ""
                assert text or f"{name}" in (thing.__doc__ or ""), f"{thing.__name__}.{name}"


def test_what_raises_says_so() -> None:
    for thing, error in (
        (na.AppraisalPolicy.load, "PolicyError"),
        (na.AppraisalPolicy.from_dict, "PolicyError"),
        (na.Evidence.from_response, "EvidenceError"),
        (na.AttestationResult.require, "AttestationError"),
        (na.appraise, "TypeError"),
    ):
        assert error in (inspect.getdoc(thing) or "")


ISSUE = """
import nomyo_attest as na
policy = na.AppraisalPolicy.load("policy.toml")        # or .from_dict({...}); raises na.PolicyError
result = na.appraise(response, policy)                  # dict, str, bytes or na.Evidence; payload_id=…, nonce=…, now=…
result.verdict is na.Verdict.AFFIRMING                  # WARNING, CONTRAINDICATED, NONE
for f in result.findings: f.rule, f.outcome, f.expected, f.got, f.message    # outcome: na.Outcome.PASS, FAIL, UNDECIDED
result.trust                                            # na.Trust.SELF_ASSERTED …
result.require()                                        # returns itself, or raises na.AttestationError, .result on it
result.to_dict()                                        # the JSON form; schema shipped
"""


def test_the_lines_that_users_were_promised_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forge = Forge()
    values = forge.policy()["pcrs"]["sha256"]
    pcrs = "\n".join(f'{index} = ["{value}"]' for index, (value,) in values.items())
    text = f'format = "nomyo-attest-policy/1"\nid = "promised"\n[pcrs.sha256]\n{pcrs}\n'
    (tmp_path / "policy.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    answer = forge.response()
    for response in (answer, json.dumps(answer), json.dumps(answer).encode(), na.Evidence.from_response(answer)):
        space: dict[str, object] = {"response": response}
        exec(ISSUE, space)
        result = space["result"]
        assert isinstance(result, na.AttestationResult)
        assert result.verdict is na.Verdict.AFFIRMING
        assert result.trust is na.Trust.SELF_ASSERTED
        assert result.require() is result
        assert json.dumps(result.to_dict())
    with pytest.raises(na.AttestationError) as caught:
        exec(ISSUE, {"response": Forge(safe=0).response()})
    assert caught.value.result.verdict is na.Verdict.CONTRAINDICATED
    assert {na.Verdict.WARNING, na.Verdict.CONTRAINDICATED, na.Verdict.NONE} < set(na.Verdict)
    assert {na.Outcome.PASS, na.Outcome.FAIL, na.Outcome.UNDECIDED} == set(na.Outcome)


def test_the_arguments_are_the_promised_ones() -> None:
    parameters = inspect.signature(na.appraise).parameters
    assert list(parameters) == ["response", "policy", "payload_id", "nonce", "now"]
    for name in ("payload_id", "nonce", "now"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default is None
