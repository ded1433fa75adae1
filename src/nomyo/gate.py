"""The policy gate: a completion passes if the policy affirms the evidence that came with it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from os import PathLike
from typing import Any, Final

from nomyo.config import check_path
from nomyo.errors import AttestationError, EvidenceLogError, SecurityError
from nomyo.redaction import Redaction, texts
from nomyo_attest.appraisal import AttestationResult, appraise
from nomyo_attest.errors import AttestationError as NotAffirmed
from nomyo_attest.policy import AppraisalPolicy

logger = logging.getLogger("nomyo")

NOT_LOGGED: Final = "evidence_not_logged"
"""How a log record names the refusal of a response whose evidence could not be stored."""


def load_policy(policy: AppraisalPolicy | str | PathLike[str] | None) -> AppraisalPolicy | None:
    """The policy itself, or the one in a file. Raises `ArgumentError`, `nomyo_attest.PolicyError` and `OSError`."""
    if policy is None or isinstance(policy, AppraisalPolicy):
        return policy
    return AppraisalPolicy.load(check_path("attestation_policy", policy))


def admit(
    completion: dict[str, Any], policy: AppraisalPolicy, payload_id: str, *, secrets: Iterable[str] = ()
) -> dict[str, Any]:
    """Appraise the evidence in `completion`, which must have been made for `payload_id`.

    Args:
        secrets: what must not stand in the error, besides the completion: a server might put what it was sent into
            its claims or its evidence. What the findings quote of it is taken out; their outcomes stay.

    Returns the result's JSON form if it affirms, or warns because the policy softened a rule.

    Raises `AttestationError`, which holds the result and nothing of the completion.
    """
    result = appraise(completion, policy, payload_id=payload_id)
    if not _refusal(result):
        return result.to_dict()
    told = result.retold(Redaction([*secrets, *texts(completion.get("choices"))]))
    raise AttestationError(_refusal(told), told)


def log_release(payload_id: str, result: AttestationResult) -> None:
    """Write one record about a response that is released although the policy does not affirm it: the gate is off."""
    if _refusal(result):
        fields = {**_fields(payload_id, result, ""), "gate": "off"}
        logger.warning("released, the gate is off: response to %s: %s", payload_id, _facts(result), extra=fields)


def log_refusal(payload_id: str, error: SecurityError | EvidenceLogError, policy: AppraisalPolicy | None) -> None:
    """Write one record about a response that is not released: ids, verdict and rules, nothing of the response.

    The record's attributes hold the same: `payload_id`, `refusal` (the error's code), and of a refusal by the policy
    `verdict`, `failed_rules`, `undecided_rules`, `policy_id`, `policy_digest`. Its level is WARNING if there is a
    policy and INFO if there is none.
    """
    code = error.code if isinstance(error, SecurityError) else NOT_LOGGED
    fields: dict[str, Any] = {"payload_id": payload_id, "refusal": code}
    facts = code
    if isinstance(error, AttestationError):
        fields = _fields(payload_id, error.result, code)
        facts = f"{code}: {_facts(error.result)}"
    elif policy is not None:
        fields |= {"policy_id": policy.id, "policy_digest": policy.digest}
        facts = f"{code}: policy {policy.id!r} ({policy.digest})"
    level = logging.INFO if policy is None else logging.WARNING
    logger.log(level, "refused: response to %s: %s", payload_id, facts, extra=fields)


def _facts(result: AttestationResult) -> str:
    """Verdict, rules and policy in one line."""
    policy = result.to_dict()["policy"]
    rules = "".join(
        f"; {what} {', '.join(names)}"
        for what, names in (("failed", result.failed), ("undecided", result.undecided))
        if names
    )
    return f"{result.verdict.value}{rules}; policy {policy['id']!r} ({policy['digest']})"


def _fields(payload_id: str, result: AttestationResult, code: str) -> dict[str, Any]:
    """The same as attributes of a log record."""
    policy = result.to_dict()["policy"]
    return {
        "payload_id": payload_id,
        "refusal": code,
        "verdict": result.verdict.value,
        "failed_rules": result.failed,
        "undecided_rules": result.undecided,
        "policy_id": policy["id"],
        "policy_digest": policy["digest"],
    }


def _refusal(result: AttestationResult) -> str:
    """Why a result does not let a completion pass; empty if it does."""
    try:
        result.require()
    except NotAffirmed as refusal:
        return str(refusal)
    return ""
