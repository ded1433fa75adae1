"""nomyo_attest: strict appraisal of TPM 2.0 quotes recorded from a chat service.

::

    import nomyo_attest as na

    policy = na.AppraisalPolicy.load("policy.toml")
    result = na.appraise(response, policy)
    result.require()

Modules are imported when they are first used, so that `nomyo-attest --version` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nomyo_attest._version import __version__

if TYPE_CHECKING:
    from nomyo_attest.appraisal import RULES, AttestationResult, Finding, Outcome, Rule, Verdict, appraise
    from nomyo_attest.errors import (
        AttestationError,
        AttesterError,
        EvidenceError,
        LearningError,
        LedgerError,
        MisplacedEvidenceError,
        NomyoAttestError,
        ParseError,
        PolicyError,
        UnsupportedError,
    )
    from nomyo_attest.evidence import Evidence
    from nomyo_attest.ledger import EvidenceLog
    from nomyo_attest.policy import AppraisalPolicy, Requirement, Trust

_EXPORTS = {
    "nomyo_attest.appraisal": ("RULES", "AttestationResult", "Finding", "Outcome", "Rule", "Verdict", "appraise"),
    "nomyo_attest.errors": (
        "AttestationError",
        "AttesterError",
        "EvidenceError",
        "LearningError",
        "LedgerError",
        "MisplacedEvidenceError",
        "NomyoAttestError",
        "ParseError",
        "PolicyError",
        "UnsupportedError",
    ),
    "nomyo_attest.evidence": ("Evidence",),
    "nomyo_attest.ledger": ("EvidenceLog",),
    "nomyo_attest.policy": ("AppraisalPolicy", "Requirement", "Trust"),
}

__all__ = [
    "RULES",
    "AppraisalPolicy",
    "AttestationError",
    "AttestationResult",
    "AttesterError",
    "Evidence",
    "EvidenceError",
    "EvidenceLog",
    "Finding",
    "LearningError",
    "LedgerError",
    "MisplacedEvidenceError",
    "NomyoAttestError",
    "Outcome",
    "ParseError",
    "PolicyError",
    "Requirement",
    "Rule",
    "Trust",
    "UnsupportedError",
    "Verdict",
    "__version__",
    "appraise",
]


def __getattr__(name: str) -> Any:
    for module, names in _EXPORTS.items():
        if name in names:
            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
