"""Evidence: what came from the Attester, read strictly out of a recorded response."""

from nomyo_attest.evidence.model import Evidence
from nomyo_attest.evidence.response import read_evidence
from nomyo_attest.evidence.selection import parse_selection

__all__ = ["Evidence", "parse_selection", "read_evidence"]
