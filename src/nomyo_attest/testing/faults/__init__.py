"""All faults: each makes evidence wrong in one way, and names the only rule that detects it."""

from __future__ import annotations

from nomyo_attest.testing.faults import evidence, key, pcrs, quote, signature
from nomyo_attest.testing.faults.model import RULES, Case, Fault

FAULTS: tuple[Fault, ...] = (*evidence.FAULTS, *quote.FAULTS, *signature.FAULTS, *key.FAULTS, *pcrs.FAULTS)
"""All faults. Names are unique, and for every rule there is a fault that only this rule detects."""

__all__ = ["FAULTS", "RULES", "Case", "Fault"]
