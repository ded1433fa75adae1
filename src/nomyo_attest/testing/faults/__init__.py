"""Every named way in which evidence can be wrong, each with the one rule that must catch it."""

from __future__ import annotations

from nomyo_attest.testing.faults import (
    claims,
    encodings,
    evidence,
    freshness,
    key,
    pcrs,
    quote,
    references,
    signature,
    strength,
    verification,
)
from nomyo_attest.testing.faults.model import RULES, Case, Fault

FAULTS: tuple[Fault, ...] = (
    *evidence.FAULTS,
    *encodings.FAULTS,
    *quote.FAULTS,
    *freshness.FAULTS,
    *signature.FAULTS,
    *verification.FAULTS,
    *key.FAULTS,
    *strength.FAULTS,
    *pcrs.FAULTS,
    *references.FAULTS,
    *claims.FAULTS,
)
"""The table. Names are unique, and every rule has a fault that it alone refuses."""

__all__ = ["FAULTS", "RULES", "Case", "Fault"]
