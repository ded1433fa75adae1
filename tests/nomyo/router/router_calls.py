"""Call a router, and appraise its responses."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import nomyo_attest as na
from nomyo.router import RunningRouter
from tests.nomyo.wire.simple_client import Client, ClientResponse, read


def client_of(router: RunningRouter) -> Client:
    """Return a simple client for a router."""
    port = urlsplit(router.url).port
    assert port is not None
    return Client(port, str(router.ca))


def detail(response: ClientResponse) -> Any:
    """Return the detail of an error response."""
    return json.loads(response.body)["detail"]


def block(response: ClientResponse) -> dict[str, Any]:
    """Return the `tpm_attestation` of a response."""
    found: dict[str, Any] = read(response)["_metadata"]["tpm_attestation"]
    return found


def policy_of(response: ClientResponse) -> na.AppraisalPolicy:
    """Return a policy with the PCR values of a response."""
    values = block(response)["pcr_values"]
    return na.AppraisalPolicy.from_dict(
        {
            "format": "nomyo-attest-policy/1",
            "id": "learned",
            "pcrs": {bank: {index: [value] for index, value in of.items()} for bank, of in values.items()},
        }
    )


def appraise(response: ClientResponse, policy: na.AppraisalPolicy) -> na.AttestationResult:
    """Appraise the evidence of a response."""
    return na.appraise(read(response), policy, payload_id=response.payload_id)
