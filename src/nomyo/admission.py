"""What is against an answer, and what is kept of it, before it is handed over or refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nomyo import answer, gate
from nomyo.errors import SecurityError
from nomyo.ledger import Ledger
from nomyo.server_key import ServerKey
from nomyo_attest.appraisal import AttestationResult, appraise
from nomyo_attest.policy import AppraisalPolicy


async def admit(
    opened: answer.Opened,
    payload_id: str,
    *,
    tier: str | None = None,
    policy: AppraisalPolicy | None = None,
    gated: bool = True,
    secrets: Iterable[str] = (),
    server_key: ServerKey | None = None,
    ledger: Ledger | None = None,
) -> dict[str, Any]:
    """The answer as it is handed over, if it may be; its evidence is kept first, also where it may not.

    Args:
        payload_id, tier: of the request.
        policy: what the evidence is appraised by; None for no appraisal.
        gated: whether the response is released only if the policy affirms its evidence. Otherwise the appraisal is
            recorded, and logged if it does not affirm.
        secrets: what was sent, which must not be told or kept.
        ledger: where the evidence is kept; None for nowhere.

    Raises `ResponseNotBoundError`, `AttestationError`, `EvidenceLogError`.
    """
    secrets = list(secrets) if policy is not None or ledger is not None else []
    result: dict[str, Any] | None = None
    observed: AttestationResult | None = None
    state = None if policy is None else "on" if gated else "off"
    refusal: SecurityError | None = None
    try:
        answer.check_echoes(opened, payload_id, tier)
        if policy is not None and gated:
            result = gate.admit(opened.completion, policy, payload_id, secrets=secrets)
        elif policy is not None:
            observed = appraise(opened.completion, policy, payload_id=payload_id)
    except SecurityError as error:
        refusal = error
    kept = None
    try:
        if ledger is not None:
            appraised = result if observed is None else observed.to_dict()
            kept = await ledger.keep(opened, payload_id, policy, appraised, refusal, secrets, state)
        if refusal is not None:
            raise refusal
    finally:
        del refusal  # it would hold its own traceback
    if observed is not None:
        gate.log_release(payload_id, observed)
    return answer.hand_over(opened, payload_id, server_key, result, kept)
