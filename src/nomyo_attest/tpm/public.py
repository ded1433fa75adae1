"""TPMT_PUBLIC for RSA and ECC: the public area of a key; the other types are recognized by name (TPM 2.0 Part 2,
11.1, 11.2, 12.2).
"""

from __future__ import annotations

from typing import Annotated, Final

from nomyo_attest.tpm.attest import TPM2B_DIGEST
from nomyo_attest.tpm.codec import Structure, declared
from nomyo_attest.tpm.constants import TPM_ALG_ID
from nomyo_attest.tpm.fields import (
    ALG_ID,
    ECC_CURVE,
    HASH_ALG,
    OBJECT_ATTRIBUTES,
    UINT16,
    UINT32,
    Nested,
    Selected,
)
from nomyo_attest.tpm.signature import TPM2B_ECC_PARAMETER, TPM2B_PUBLIC_KEY_RSA


@declared
class TPMS_SYM_DETAILS(Structure, frozen=True):
    """Key size in bits and mode of a block cipher: TPMU_SYM_KEY_BITS (11.1.3) and TPMU_SYM_MODE (11.1.4)."""

    key_bits: UINT16
    mode: ALG_ID


_BLOCK_CIPHERS = (TPM_ALG_ID.AES, TPM_ALG_ID.SM4, TPM_ALG_ID.CAMELLIA, TPM_ALG_ID.TDES)


@declared
class TPMT_SYM_DEF_OBJECT(Structure, frozen=True):
    """TPMT_SYM_DEF_OBJECT (11.1.7): the cipher of a parent key; TPM_ALG_NULL for every other key."""

    algorithm: ALG_ID
    details: Annotated[
        TPMS_SYM_DETAILS | None,
        Selected("algorithm", {TPM_ALG_ID.NULL: None, **dict.fromkeys(_BLOCK_CIPHERS, TPMS_SYM_DETAILS)}),
    ]


@declared
class TPMS_SCHEME_HASH(Structure, frozen=True):
    """TPMS_SCHEME_HASH (11.1.20): the hash of a scheme."""

    hash_alg: HASH_ALG


@declared
class TPMS_SCHEME_ECDAA(Structure, frozen=True):
    """TPMS_SCHEME_ECDAA (11.2.1.3): the hash and the counter of a scheme."""

    hash_alg: HASH_ALG
    count: UINT16


@declared
class TPMT_RSA_SCHEME(Structure, frozen=True):
    """TPMT_RSA_SCHEME (11.2.4.2)."""

    scheme: ALG_ID
    details: Annotated[
        TPMS_SCHEME_HASH | None,
        Selected(
            "scheme",
            {
                TPM_ALG_ID.NULL: None,
                TPM_ALG_ID.RSASSA: TPMS_SCHEME_HASH,
                TPM_ALG_ID.RSAPSS: TPMS_SCHEME_HASH,
                TPM_ALG_ID.OAEP: TPMS_SCHEME_HASH,
                TPM_ALG_ID.RSAES: None,
            },
        ),
    ]


@declared
class TPMT_ECC_SCHEME(Structure, frozen=True):
    """TPMT_ECC_SCHEME (11.2.5.6)."""

    scheme: ALG_ID
    details: Annotated[
        TPMS_SCHEME_HASH | TPMS_SCHEME_ECDAA | None,
        Selected(
            "scheme",
            {
                TPM_ALG_ID.NULL: None,
                TPM_ALG_ID.ECDSA: TPMS_SCHEME_HASH,
                TPM_ALG_ID.SM2: TPMS_SCHEME_HASH,
                TPM_ALG_ID.ECSCHNORR: TPMS_SCHEME_HASH,
                TPM_ALG_ID.ECDH: TPMS_SCHEME_HASH,
                TPM_ALG_ID.ECMQV: TPMS_SCHEME_HASH,
                TPM_ALG_ID.ECDAA: TPMS_SCHEME_ECDAA,
            },
        ),
    ]


@declared
class TPMT_KDF_SCHEME(Structure, frozen=True):
    """TPMT_KDF_SCHEME (11.2.3.3)."""

    scheme: ALG_ID
    details: Annotated[
        TPMS_SCHEME_HASH | None,
        Selected(
            "scheme",
            {
                TPM_ALG_ID.NULL: None,
                TPM_ALG_ID.MGF1: TPMS_SCHEME_HASH,
                TPM_ALG_ID.KDF1_SP800_56A: TPMS_SCHEME_HASH,
                TPM_ALG_ID.KDF2: TPMS_SCHEME_HASH,
                TPM_ALG_ID.KDF1_SP800_108: TPMS_SCHEME_HASH,
            },
        ),
    ]


@declared
class TPMS_RSA_PARMS(Structure, frozen=True):
    """TPMS_RSA_PARMS (12.2.3.5)."""

    symmetric: Annotated[TPMT_SYM_DEF_OBJECT, Nested(TPMT_SYM_DEF_OBJECT)]
    scheme: Annotated[TPMT_RSA_SCHEME, Nested(TPMT_RSA_SCHEME)]
    key_bits: UINT16
    exponent: UINT32
    """As on the wire: 0 means 65537."""


@declared
class TPMS_ECC_PARMS(Structure, frozen=True):
    """TPMS_ECC_PARMS (12.2.3.6)."""

    symmetric: Annotated[TPMT_SYM_DEF_OBJECT, Nested(TPMT_SYM_DEF_OBJECT)]
    scheme: Annotated[TPMT_ECC_SCHEME, Nested(TPMT_ECC_SCHEME)]
    curve_id: ECC_CURVE
    kdf: Annotated[TPMT_KDF_SCHEME, Nested(TPMT_KDF_SCHEME)]


@declared
class TPMS_RSA_UNIQUE(Structure, frozen=True):
    """The `unique` field of an RSA key (12.2.3.2): its modulus, big-endian."""

    modulus: TPM2B_PUBLIC_KEY_RSA


@declared
class TPMS_ECC_POINT(Structure, frozen=True):
    """TPMS_ECC_POINT (11.2.5.2), the `unique` field of an ECC key."""

    x: TPM2B_ECC_PARAMETER
    y: TPM2B_ECC_PARAMETER


_PARAMETERS: Final[dict[TPM_ALG_ID, type[Structure] | None]] = {
    TPM_ALG_ID.RSA: TPMS_RSA_PARMS,
    TPM_ALG_ID.ECC: TPMS_ECC_PARMS,
}
_UNIQUE: Final[dict[TPM_ALG_ID, type[Structure] | None]] = {
    TPM_ALG_ID.RSA: TPMS_RSA_UNIQUE,
    TPM_ALG_ID.ECC: TPMS_ECC_POINT,
}
_OTHERS: Final = frozenset({TPM_ALG_ID.KEYEDHASH, TPM_ALG_ID.SYMCIPHER})


@declared
class TPMT_PUBLIC(Structure, frozen=True):
    """TPMT_PUBLIC (12.2.4): a key's public area; the digest over these bytes is the key's Name."""

    type: ALG_ID
    name_alg: HASH_ALG
    object_attributes: OBJECT_ATTRIBUTES
    auth_policy: TPM2B_DIGEST
    parameters: Annotated[TPMS_RSA_PARMS | TPMS_ECC_PARMS, Selected("type", _PARAMETERS, others=_OTHERS)]
    unique: Annotated[TPMS_RSA_UNIQUE | TPMS_ECC_POINT, Selected("type", _UNIQUE)]
