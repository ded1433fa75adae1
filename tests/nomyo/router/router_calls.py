"""Asking a router, and appraising what it answers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import nomyo_attest as na
from nomyo.router import RunningRouter
from tests.nomyo.wire.simple_client import Client, ClientResponse, read


def client_of(router: RunningRouter) -> Client:
    """A client made by hand for any router."""
    port = urlsplit(router.url).port
    assert port is not None
    return Client(port, str(router.ca))


def detail(answer: ClientResponse) -> Any:
    """What an error says."""
    return json.loads(answer.body)["detail"]


def block(answer: ClientResponse) -> dict[str, Any]:
    """The `tpm_attestation` of an answer."""
    found: dict[str, Any] = read(answer)["_metadata"]["tpm_attestation"]
    return found


def policy_of(answer: ClientResponse) -> na.AppraisalPolicy:
    """A policy that knows the PCR values of this answer."""
    values = block(answer)["pcr_values"]
    return na.AppraisalPolicy.from_dict(
        {
            "format": "nomyo-attest-policy/1",
            "id": "learnt",
            "pcrs": {bank: {index: [value] for index, value in of.items()} for bank, of in values.items()},
        }
    )


def appraise(answer: ClientResponse, policy: na.AppraisalPolicy) -> na.AttestationResult:
    """Appraise the evidence of an answer."""
    return na.appraise(read(answer), policy, payload_id=answer.payload_id)
