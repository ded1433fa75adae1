"""The evidence ledger: what answers showed of their servers, in a chain of lines that cannot be changed unnoticed."""

from nomyo_attest.ledger.log import EvidenceLog, Receipt

__all__ = ["EvidenceLog", "Receipt"]
