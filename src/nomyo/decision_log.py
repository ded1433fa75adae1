"""Log the decisions of the gate: ids, verdicts and rules, and no part of a response."""

from __future__ import annotations

import logging
from typing import Any, Final

from nomyo.errors import AttestationError, EvidenceLogError, SecurityError
from nomyo_attest.appraisal import AttestationResult
from nomyo_attest.policy import AppraisalPolicy

logger = logging.getLogger("nomyo")

EVIDENCE_NOT_LOGGED: Final = "evidence_not_logged"
"""Code in log records about a completion that is not released because its evidence could not be stored."""


def log_release(payload_id: str, result: AttestationResult) -> None:
    """Log that a completion is released although the policy does not affirm the evidence, because the gate is off."""
    fields = {**_log_fields(payload_id, result, ""), "gate": "off"}
    logger.warning("released, the gate is off: response to %s: %s", payload_id, _summary(result), extra=fields)


def log_refusal(payload_id: str, error: SecurityError | EvidenceLogError, policy: AppraisalPolicy | None) -> None:
    """Log that a completion is not released: ids, verdict and rules, and no part of the response.

    The record's attributes are `payload_id` and `refusal` (the error's code, or `EVIDENCE_NOT_LOGGED`); with a policy,
    also `policy_id` and `policy_digest`; and for an `AttestationError`, also `verdict`, `failed_rules` and
    `undecided_rules`. Its level is WARNING if there is a policy and INFO if there is none.
    """
    details = code = error.code if isinstance(error, SecurityError) else EVIDENCE_NOT_LOGGED
    fields: dict[str, Any] = {"payload_id": payload_id, "refusal": code}
    if isinstance(error, AttestationError):
        fields = _log_fields(payload_id, error.result, code)
        details = f"{code}: {_summary(error.result)}"
    elif policy is not None:
        fields |= {"policy_id": policy.id, "policy_digest": policy.digest}
        details = f"{code}: policy {policy.id!r} ({policy.digest})"
    level = logging.INFO if policy is None else logging.WARNING
    logger.log(level, "refused: response to %s: %s", payload_id, details, extra=fields)


def _summary(result: AttestationResult) -> str:
    """Format the verdict, the failed and undecided rules, and the policy in one line."""
    outcomes = (("failed", result.failed), ("undecided", result.undecided))
    rules = "".join(f"; {outcome} {', '.join(names)}" for outcome, names in outcomes if names)
    return f"{result.verdict.value}{rules}; policy {result.policy_id!r} ({result.policy_digest})"


def _log_fields(payload_id: str, result: AttestationResult, code: str) -> dict[str, Any]:
    """Return the attributes of a log record about a result."""
    return {
        "payload_id": payload_id,
        "refusal": code,
        "verdict": result.verdict.value,
        "failed_rules": result.failed,
        "undecided_rules": result.undecided,
        "policy_id": result.policy_id,
        "policy_digest": result.policy_digest,
    }
