"""TPM 2.0 structures of attestation evidence, parsed strictly: no policy, no I/O, no cryptography.

Class names are those of TPM 2.0 Part 2 letter for letter; fields are its names in snake_case.
"""

from nomyo_attest.tpm.attest import (
    TPMS_ATTEST,
    TPMS_CERTIFY_INFO,
    TPMS_CLOCK_INFO,
    TPMS_CREATION_INFO,
    TPMS_QUOTE_INFO,
    TPMU_ATTEST,
)
from nomyo_attest.tpm.constants import TPM_ALG_ID, TPM_ECC_CURVE, TPM_GENERATED_VALUE, TPM_RH, TPM_ST, TPMA_OBJECT
from nomyo_attest.tpm.framing import Framed, parse_attest, parse_public, parse_signature
from nomyo_attest.tpm.pcr import TPML_PCR_SELECTION, TPMS_PCR_SELECTION
from nomyo_attest.tpm.public import TPMS_ECC_PARMS, TPMS_ECC_POINT, TPMS_RSA_PARMS, TPMS_RSA_UNIQUE, TPMT_PUBLIC
from nomyo_attest.tpm.signature import TPMS_SIGNATURE_ECC, TPMS_SIGNATURE_RSA, TPMT_SIGNATURE

__all__ = [
    "TPMA_OBJECT",
    "TPML_PCR_SELECTION",
    "TPMS_ATTEST",
    "TPMS_CERTIFY_INFO",
    "TPMS_CLOCK_INFO",
    "TPMS_CREATION_INFO",
    "TPMS_ECC_PARMS",
    "TPMS_ECC_POINT",
    "TPMS_PCR_SELECTION",
    "TPMS_QUOTE_INFO",
    "TPMS_RSA_PARMS",
    "TPMS_RSA_UNIQUE",
    "TPMS_SIGNATURE_ECC",
    "TPMS_SIGNATURE_RSA",
    "TPMT_PUBLIC",
    "TPMT_SIGNATURE",
    "TPMU_ATTEST",
    "TPM_ALG_ID",
    "TPM_ECC_CURVE",
    "TPM_GENERATED_VALUE",
    "TPM_RH",
    "TPM_ST",
    "Framed",
    "parse_attest",
    "parse_public",
    "parse_signature",
]
