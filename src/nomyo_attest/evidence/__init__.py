"""Read the Attester's evidence strictly from a recorded response."""

from nomyo_attest.evidence.pcrs import parse_selection
from nomyo_attest.evidence.response import Evidence, read_evidence

__all__ = ["Evidence", "parse_selection", "read_evidence"]
