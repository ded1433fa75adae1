"""Numbers and names of TPM 2.0 Part 2 ("Structures", revision 1.59) that attestation evidence uses."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from functools import lru_cache
from typing import Final, NamedTuple

TPM_GENERATED_VALUE: Final = 0xFF544347
"""TPM_GENERATED (Part 2, 6.2): ``ff`` and "TCG", the first bytes of every structure that a TPM generates and signs."""

PCR_COUNT: Final = 24
"""PCRs of a TPM for PC Client platforms (PC Client Platform TPM Profile, "PCR requirements"): indices 0 to 23."""


class TPM_ALG_ID(IntEnum):
    """TPM_ALG_ID (Part 2, 6.3): algorithms, two bytes on the wire."""

    RSA = 0x0001
    TDES = 0x0003
    SHA1 = 0x0004
    HMAC = 0x0005
    AES = 0x0006
    MGF1 = 0x0007
    KEYEDHASH = 0x0008
    XOR = 0x000A
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    SM3_256 = 0x0012
    SM4 = 0x0013
    RSASSA = 0x0014
    RSAES = 0x0015
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECDH = 0x0019
    ECDAA = 0x001A
    SM2 = 0x001B
    ECSCHNORR = 0x001C
    ECMQV = 0x001D
    KDF1_SP800_56A = 0x0020
    KDF2 = 0x0021
    KDF1_SP800_108 = 0x0022
    ECC = 0x0023
    SYMCIPHER = 0x0025
    CAMELLIA = 0x0026
    SHA3_256 = 0x0027
    SHA3_384 = 0x0028
    SHA3_512 = 0x0029
    CMAC = 0x003F
    CTR = 0x0040
    OFB = 0x0041
    CBC = 0x0042
    CFB = 0x0043
    ECB = 0x0044


class TPM_ECC_CURVE(IntEnum):
    """TPM_ECC_CURVE (Part 2, 6.4), two bytes on the wire."""

    NIST_P192 = 0x0001
    NIST_P224 = 0x0002
    NIST_P256 = 0x0003
    NIST_P384 = 0x0004
    NIST_P521 = 0x0005
    BN_P256 = 0x0010
    BN_P638 = 0x0011
    SM2_P256 = 0x0020
    BP_P256_R1 = 0x0030
    BP_P384_R1 = 0x0031
    BP_P512_R1 = 0x0032
    CURVE_25519 = 0x0040
    CURVE_448 = 0x0041


class TPM_ST(IntEnum):
    """TPM_ST (Part 2, 6.9): the structure tags that TPMI_ST_ATTEST (10.12.10) allows, two bytes on the wire."""

    ATTEST_NV = 0x8014
    ATTEST_COMMAND_AUDIT = 0x8015
    ATTEST_SESSION_AUDIT = 0x8016
    ATTEST_CERTIFY = 0x8017
    ATTEST_QUOTE = 0x8018
    ATTEST_TIME = 0x8019
    ATTEST_CREATION = 0x801A
    ATTEST_NV_DIGEST = 0x801C


class TPM_RH(IntEnum):
    """TPM_RH (Part 2, 7.4): handles of the four hierarchies, four bytes on the wire."""

    OWNER = 0x40000001
    NULL = 0x40000007
    ENDORSEMENT = 0x4000000B
    PLATFORM = 0x4000000C


class TPMA_OBJECT(IntFlag):
    """TPMA_OBJECT (Part 2, 8.3.2): attributes of an object, four bytes on the wire.

    `FIRMWARE_LIMITED` and `SVN_LIMITED` were reserved before revision 1.83 of the specification.
    """

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    FIRMWARE_LIMITED = 1 << 8
    SVN_LIMITED = 1 << 9
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN_ENCRYPT = 1 << 18
    X509_SIGN = 1 << 19


TPMA_OBJECT_DEFINED: Final[int] = sum(TPMA_OBJECT)
"""Every bit of TPMA_OBJECT that has a meaning; all others are reserved and "shall be zero"."""


def specification_name(member: IntEnum) -> str:
    """Return a constant's name in Part 2: ``"TPM_ALG_RSASSA"`` or ``"TPM_ECC_NIST_P256"``."""
    prefix = {"TPM_ALG_ID": "TPM_ALG", "TPM_ECC_CURVE": "TPM_ECC"}.get(type(member).__name__, type(member).__name__)
    return f"{prefix}_{member.name}"


_ATTRIBUTES_CACHE_SIZE: Final = 256
"""Attribute values whose names are cached: the keys of a fleet share a few."""


def attribute_names(value: int) -> list[str]:
    """Return the names that Part 2 gives to the set bits of a TPMA_OBJECT; a reserved bit is ``"reserved bit 31"``."""
    return list(_attribute_names(value))


@lru_cache(maxsize=_ATTRIBUTES_CACHE_SIZE)
def _attribute_names(value: int) -> tuple[str, ...]:
    return tuple(_bit_name(bit) for bit in range(32) if value >> bit & 1)


def _bit_name(bit: int) -> str:
    if not TPMA_OBJECT_DEFINED >> bit & 1:
        return f"reserved bit {bit}"
    first, *rest = (TPMA_OBJECT(1 << bit).name or "").split("_")
    spelled = first.lower() + "".join(word if word in {"TPM", "DA"} else word.title() for word in rest)
    return {"signEncrypt": "sign", "x509Sign": "x509sign"}.get(spelled, spelled)


class HashAlgorithm(NamedTuple):
    """One row of `HASH_TABLE`.

    Attributes:
        algorithm: the algorithm's number.
        name: its name in policies, `pcr_banks`, `pcr_values` and `hashlib`.
        size: the size of a digest, in bytes (TCG Algorithm Registry, hash algorithms).
        strong: whether policies allow it by default, for signatures and for banks of reference values.
        computed: whether this library computes it; if not, rules that depend on its digests are undecided.
    """

    algorithm: TPM_ALG_ID
    name: str
    size: int
    strong: bool = False
    computed: bool = True


# SM3-256 is not computed, because not every build of Python includes it.
HASH_TABLE: Final = (
    HashAlgorithm(TPM_ALG_ID.SHA1, "sha1", 20),
    HashAlgorithm(TPM_ALG_ID.SHA256, "sha256", 32, strong=True),
    HashAlgorithm(TPM_ALG_ID.SHA384, "sha384", 48, strong=True),
    HashAlgorithm(TPM_ALG_ID.SHA512, "sha512", 64, strong=True),
    HashAlgorithm(TPM_ALG_ID.SM3_256, "sm3_256", 32, computed=False),
    HashAlgorithm(TPM_ALG_ID.SHA3_256, "sha3_256", 32),
    HashAlgorithm(TPM_ALG_ID.SHA3_384, "sha3_384", 48),
    HashAlgorithm(TPM_ALG_ID.SHA3_512, "sha3_512", 64),
)
"""Every supported hash algorithm, and therefore every supported PCR bank. Parsers, policies, schemas and signatures
read all properties of a hash from its row.
"""

HASH_NAMES: Final = {row.algorithm: row.name for row in HASH_TABLE}
HASH_ALGORITHMS: Final = {row.name: row.algorithm for row in HASH_TABLE}
HASH_SIZES: Final = {row.algorithm: row.size for row in HASH_TABLE}
"""Digest sizes in bytes."""


def hash_name(algorithm: TPM_ALG_ID) -> str:
    """Return a hash's name in policies, ``"sha256"``; for other algorithms the name in Part 2, ``"TPM_ALG_NULL"``."""
    return HASH_NAMES.get(algorithm, f"TPM_ALG_{algorithm.name}")
