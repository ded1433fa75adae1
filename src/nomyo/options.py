"""What the options of a client stand for: the policy in a file, the evidence log at a path."""

from __future__ import annotations

from os import PathLike
from typing import Final

from nomyo.config import check_path
from nomyo.errors import ArgumentError
from nomyo_attest.ledger import EvidenceLog
from nomyo_attest.policy import AppraisalPolicy

LOG_FAILURES: Final = ("raise", "warn")
"""What happens to a completion whose evidence could not be stored: it is withheld, or released all the same."""


def load_policy(policy: AppraisalPolicy | str | PathLike[str] | None) -> AppraisalPolicy | None:
    """The policy itself, or the one in a file. Raises `ArgumentError`, `nomyo_attest.PolicyError` and `OSError`."""
    if policy is None or isinstance(policy, AppraisalPolicy):
        return policy
    return AppraisalPolicy.load(check_path("attestation_policy", policy))


def load_log(log: object) -> EvidenceLog:
    """The evidence log itself, or the one at a path. Raises `ArgumentError`."""
    if isinstance(log, EvidenceLog):
        return log
    if isinstance(log, (str, PathLike)) and not str(log):
        raise ArgumentError("evidence_log: expected a path, got an empty one")
    return EvidenceLog(check_path("evidence_log", log))


def must_store(failure: object) -> bool:
    """Whether `evidence_log_failure` withholds a completion whose evidence could not be stored.

    Raises `ArgumentError`.
    """
    if failure not in LOG_FAILURES:
        shown = repr(failure[:40]) if isinstance(failure, str) else type(failure).__name__
        raise ArgumentError(f"evidence_log_failure: expected one of {', '.join(LOG_FAILURES)}, got {shown}")
    return failure == "raise"
