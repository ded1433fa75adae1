"""The appraisal policy of a Verifier Owner (RFC 9334), loaded from TOML, JSON or a dict, or learned from responses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nomyo_attest.policy.model import AppraisalPolicy, PcrReference, ReferenceValue, Requirement, Trust

if TYPE_CHECKING:
    from nomyo_attest.appraisal.learning import LearnedPolicy, learn

__all__ = [
    "AppraisalPolicy",
    "LearnedPolicy",
    "PcrReference",
    "ReferenceValue",
    "Requirement",
    "Trust",
    "learn",
]


def __getattr__(name: str) -> Any:
    # Learning imports the appraisal, and the appraisal imports this package: importing it here would be a cycle.
    if name in ("LearnedPolicy", "learn"):
        return getattr(import_module("nomyo_attest.appraisal.learning"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
