"""The policy gate: a completion passes if the policy affirms the evidence that came with it."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any

from nomyo.config import check_path
from nomyo.errors import AttestationError
from nomyo.redact import Redaction, texts
from nomyo_attest.appraisal import AttestationResult, appraise
from nomyo_attest.errors import AttestationError as NotAffirmed
from nomyo_attest.policy import AppraisalPolicy


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


def _refusal(result: AttestationResult) -> str:
    """Why a result does not let a completion pass; empty if it does."""
    try:
        result.require()
    except NotAffirmed as refusal:
        return str(refusal)
    return ""
