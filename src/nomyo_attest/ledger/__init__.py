"""The evidence ledger: a hash chain of lines, each with the evidence of one response."""

from nomyo_attest.ledger.log import EvidenceLog, Receipt

__all__ = ["EvidenceLog", "Receipt"]
