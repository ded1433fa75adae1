"""Every named way in which evidence can be wrong, each with the one rule that must catch it."""

from __future__ import annotations

from nomyo_attest.testing.faults import evidence, key, pcrs, quote, signature
from nomyo_attest.testing.faults.model import RULES, Case, Fault

FAULTS: tuple[Fault, ...] = (*evidence.FAULTS, *quote.FAULTS, *signature.FAULTS, *key.FAULTS, *pcrs.FAULTS)
"""The table. Names are unique, and every rule has a fault that only this rule rejects."""

__all__ = ["FAULTS", "RULES", "Case", "Fault"]
