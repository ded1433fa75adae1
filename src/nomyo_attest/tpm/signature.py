"""TPMT_SIGNATURE: RSASSA, RSAPSS and ECDSA; the other schemes are recognized by name (TPM 2.0 Part 2, 11.3)."""

from __future__ import annotations

from typing import Annotated, Final

from nomyo_attest.tpm.codec import Structure, declared
from nomyo_attest.tpm.constants import TPM_ALG_ID
from nomyo_attest.tpm.fields import ALG_ID, HASH_ALG, Selected, Sized

RSA_KEY_BYTES_MAX: Final = 512
"""MAX_RSA_KEY_BYTES of the TSS: RSA-4096."""

ECC_KEY_BYTES_MAX: Final = 66
"""MAX_ECC_KEY_BYTES for the largest NIST curve, P-521."""

TPM2B_PUBLIC_KEY_RSA = Annotated[bytes, Sized(RSA_KEY_BYTES_MAX)]
TPM2B_ECC_PARAMETER = Annotated[bytes, Sized(ECC_KEY_BYTES_MAX)]


@declared
class TPMS_SIGNATURE_RSA(Structure, frozen=True):
    """TPMS_SIGNATURE_RSA (11.3.1), for RSASSA and RSAPSS."""

    hash: HASH_ALG
    sig: TPM2B_PUBLIC_KEY_RSA


@declared
class TPMS_SIGNATURE_ECC(Structure, frozen=True):
    """TPMS_SIGNATURE_ECC (11.3.2), for ECDSA. Both numbers may have leading zeros."""

    hash: HASH_ALG
    signature_r: TPM2B_ECC_PARAMETER
    signature_s: TPM2B_ECC_PARAMETER


_ARMS: Final[dict[TPM_ALG_ID, type[Structure] | None]] = {
    TPM_ALG_ID.RSASSA: TPMS_SIGNATURE_RSA,
    TPM_ALG_ID.RSAPSS: TPMS_SIGNATURE_RSA,
    TPM_ALG_ID.ECDSA: TPMS_SIGNATURE_ECC,
}
_OTHERS: Final = frozenset({TPM_ALG_ID.HMAC, TPM_ALG_ID.ECDAA, TPM_ALG_ID.SM2, TPM_ALG_ID.ECSCHNORR})


@declared
class TPMT_SIGNATURE(Structure, frozen=True):
    """TPMT_SIGNATURE (11.3.4): a signature with its scheme."""

    sig_alg: ALG_ID
    signature: Annotated[TPMS_SIGNATURE_RSA | TPMS_SIGNATURE_ECC, Selected("sig_alg", _ARMS, others=_OTHERS)]
