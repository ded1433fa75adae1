"""The Attester (extra `tpm`): quotes from a hardware or software TPM, in the form of the service's responses. ::

    from nomyo_attest.attester import Attester, response

    with Attester.open("swtpm") as attester:
        block = attester.attest(payload_id="6f1c2c1e-…", pcrs="sha256:0,7,10")
    recorded = response(block, "6f1c2c1e-…")

Importing this package without tpm2-pytss raises `MissingExtraError`, an `AttesterError` and `ImportError` that says
what to install.
"""

from nomyo_attest.attester._tss import MissingExtraError, SoftwareTPMError, UnsupportedByTPMError
from nomyo_attest.attester.attester import Attester, TpmAttestation, evidence_block, qualifying_data, response
from nomyo_attest.attester.connection import SoftwareTPM, software_tpm_version
from nomyo_attest.attester.keys import AIK_ATTRIBUTES, HIERARCHIES, Aik, KeyKind
from nomyo_attest.attester.pcrs import parse_quote_selection
from nomyo_attest.errors import AttesterError

__all__ = [
    "AIK_ATTRIBUTES",
    "HIERARCHIES",
    "Aik",
    "Attester",
    "AttesterError",
    "KeyKind",
    "MissingExtraError",
    "SoftwareTPM",
    "SoftwareTPMError",
    "TpmAttestation",
    "UnsupportedByTPMError",
    "evidence_block",
    "parse_quote_selection",
    "qualifying_data",
    "response",
    "software_tpm_version",
]
