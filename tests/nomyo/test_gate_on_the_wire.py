"""The gate over the wire: evidence made for the very request, right or wrong in one way, through the whole client."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import pytest
import trustme
from jsonschema import Draft202012Validator

import nomyo_attest as na
from nomyo import AttestationError, SecureChatCompletion, SecurityError
from nomyo_attest.schemas import load_schema
from nomyo_attest.testing import FAULTS, VARIANTS, Fault, Forge, Variant
from tests.nomyo.client_calls import PATIENCE, PROMPT, Wire, content, error_facts, only
from tests.nomyo.wire.plain_router import PlainRouter

T = TypeVar("T")
RESULT = Draft202012Validator(load_schema("result"))
OTHER_ID = "00000000-0000-4000-8000-000000000000"


def policy_of(document: dict[str, Any] | None = None) -> na.AppraisalPolicy:
    return na.AppraisalPolicy.from_dict(Forge().policy() if document is None else document)


def quoted(router: PlainRouter, forge: Forge | None = None) -> Forge:
    """Have the router send the evidence of a soft TPM, made for each request."""
    tpm = Forge() if forge is None else forge

    def attest(payload_id: str) -> dict[str, Any]:
        tpm.payload_id = payload_id
        block = tpm.response()["_metadata"]["tpm_attestation"]
        assert isinstance(block, dict)
        return block

    router.attest = attest
    return tpm


class Kept(Wire):
    """Calls over one event loop and one connection: there are many."""

    def __init__(self, router: PlainRouter, donor: SecureChatCompletion, runner: asyncio.Runner) -> None:
        super().__init__(router, donor)
        self._runner = runner
        self.http = httpx.AsyncClient(verify=ssl.create_default_context(cafile=router.ca))

    def client(self, **options: Any) -> SecureChatCompletion:
        return super().client(http_client=self.http, **options)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asyncio.wait_for(work, PATIENCE))


@pytest.fixture(scope="module")
def kept(authority: trustme.CA, donor: SecureChatCompletion) -> Iterator[Wire]:
    with PlainRouter(authority=authority) as router, asyncio.Runner() as runner:
        kept = Kept(router, donor, runner)
        yield kept
        runner.run(kept.http.aclose())


@pytest.fixture
def wire(kept: Wire) -> Wire:
    kept.router.reset_faults()
    kept.router.attest = None
    kept.router.requests.clear()
    return kept


def test_affirmed_evidence_lets_the_completion_through_with_the_result(wire: Wire) -> None:
    quoted(wire.router)
    answer = wire.ask({"attestation_policy": policy_of()}, require_attestation=True, security_tier="maximum")
    result = answer["_metadata"]["attestation_result"]
    assert content(answer) == PROMPT
    RESULT.validate(json.loads(json.dumps(result)))
    assert (result["verdict"], result["payload_id_source"]) == ("affirming", "given")
    assert result["payload_id"] == answer["_metadata"]["payload_id"] == only(wire.posts).payload_id
    assert result["policy"] == {"id": "forge", "digest": policy_of().digest}
    assert answer["_metadata"]["tpm_attestation"]["is_available"] is True


OF_ARGUMENTS = {fault.name for fault in FAULTS if fault.arguments}
"""Faults of what an appraisal is asked for, such as a time: here the client asks."""

NOT_BOUND = {fault.name for fault in FAULTS if fault.name.startswith("evidence-payload-id-")} | {"nonce-claimed-id"}
"""Faults of the payload id in the answer: refused before there is an appraisal."""

HARMLESS = {"nonce-unknown"}
"""A payload id that is missing in an answer is a fault of a recording: here it is known all along."""

OF_ONE_REQUEST = {"signature-rsa-unreduced", "signature-rsa-stripped"}
"""Faults of numbers that not every payload id gives."""

UNREADABLE = {fault.name for fault in FAULTS if fault.as_text or fault.name.startswith("evidence-metadata-")}
"""Faults of the answer as JSON, or of `_metadata` being no object: refused before there is an appraisal."""

APPRAISED = [f for f in FAULTS if f.name not in OF_ARGUMENTS | NOT_BOUND | HARMLESS | OF_ONE_REQUEST | UNREADABLE]


OF_EACH_RULE = list(
    {id(f): f for rows in (APPRAISED, APPRAISED[::-1]) for f in {f.rule: f for f in rows}.values()}.values()
)
"""The first and the last fault of each rule. The client knows no fault, only the result of `appraise`, which
`testing/test_faults.py` compares for every fault."""

LET_THROUGH = [variant for variant in VARIANTS if not variant.arguments and not variant.as_text][::3]
"""Those in text form hold a name twice, where it does no harm to the evidence: the client takes no such answer."""


def answering(wire: Wire, made_by: Fault | Variant) -> Wire:
    """Have the router answer as a soft TPM's machine does, with this fault or variant, for each request."""

    def made(payload: dict[str, Any], payload_id: str) -> Any:
        forge = made_by.base()
        forge.payload_id = payload_id
        made_by.tamper(forge)
        return forge.build()

    wire.router.complete = made
    wire.router.encode = lambda answer: (
        answer.text.encode() if made_by.as_text else json.dumps(answer.response).encode()
    )
    return wire


@pytest.mark.parametrize("variant", LET_THROUGH, ids=lambda variant: variant.name)
def test_every_kind_of_right_evidence_is_let_through(wire: Wire, variant: Variant) -> None:
    answer = answering(wire, variant).ask({"attestation_policy": policy_of(variant.case().policy)})
    result = answer["_metadata"]["attestation_result"]
    assert result["verdict"] in ("affirming", "warning")
    RESULT.validate(json.loads(json.dumps(result)))
    assert content(answer) == "Hello."


@pytest.mark.parametrize("fault", OF_EACH_RULE, ids=lambda fault: fault.name)
def test_evidence_that_is_wrong_in_one_way_keeps_the_completion_back(wire: Wire, fault: Fault) -> None:
    options = {"attestation_policy": policy_of(fault.case().policy), "max_retries": 2}
    error = answering(wire, fault).refused(AttestationError, options)
    assert error_facts(error) == ("not_affirmed", 1, "completion", False)
    assert error.payload_id == error.result.payload_id == only(wire.posts).payload_id
    assert error.prompt_sent is True
    assert fault.rule in (*error.result.failed, *error.result.undecided)
    assert error.result.verdict.value == fault.expect()["verdict"]
    assert fault.rule in str(error)
    assert "Hello." not in str(error)


@pytest.mark.parametrize("name", sorted(UNREADABLE | NOT_BOUND))
def test_an_answer_that_is_ambiguous_or_to_another_request_is_not_even_appraised(wire: Wire, name: str) -> None:
    fault = only(each for each in FAULTS if each.name == name)
    options = {"attestation_policy": policy_of(fault.case().policy), "max_retries": 2}
    with pytest.raises(SecurityError) as caught:
        answering(wire, fault).ask(options)
    code = "response_unreadable" if name in UNREADABLE else "response_not_bound"
    assert error_facts(caught.value) == (code, 1, "completion", False)
    assert len(wire.posts) == 1


def test_most_faults_of_evidence_are_appraised_here() -> None:
    assert len(APPRAISED) > 450
