"""What is against an answer, and what is kept of it, before it is handed over or refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nomyo import answer, gate
from nomyo.errors import SecurityError
from nomyo.ledger import Ledger
from nomyo.server_key import ServerKey
from nomyo_attest.policy import AppraisalPolicy


async def admit(
    opened: answer.Opened,
    payload_id: str,
    *,
    tier: str | None = None,
    policy: AppraisalPolicy | None = None,
    secrets: Iterable[str] = (),
    server_key: ServerKey | None = None,
    ledger: Ledger | None = None,
) -> dict[str, Any]:
    """The answer as it is handed over, if it may be; its evidence is kept first, also where it may not.

    Args:
        payload_id, tier: of the request.
        policy: what the evidence must satisfy; None for no gate.
        secrets: what was sent, which must not be told or kept.
        ledger: where the evidence is kept; None for nowhere.

    Raises `ResponseNotBoundError`, `AttestationError`, `EvidenceLogError`.
    """
    secrets = list(secrets) if policy is not None or ledger is not None else []
    result: dict[str, Any] | None = None
    refusal: SecurityError | None = None
    try:
        answer.check_echoes(opened, payload_id, tier)
        if policy is not None:
            result = gate.admit(opened.completion, policy, payload_id, secrets=secrets)
    except SecurityError as error:
        refusal = error
    kept = None
    try:
        if ledger is not None:
            kept = await ledger.keep(opened, payload_id, policy, result, refusal, secrets)
        if refusal is not None:
            raise refusal
    finally:
        del refusal  # it would hold its own traceback
    return answer.hand_over(opened, payload_id, server_key, result, kept)
