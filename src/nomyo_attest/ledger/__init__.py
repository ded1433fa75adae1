"""The evidence ledger: the evidence of responses, in a chain of lines whose later change is detected."""

from nomyo_attest.ledger.log import EvidenceLog, Receipt

__all__ = ["EvidenceLog", "Receipt"]
