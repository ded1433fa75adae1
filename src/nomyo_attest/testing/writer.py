"""Write TPM 2.0 structures as bytes, independently of the parser that this project verifies with.

The forge must not share code with `nomyo_attest.tpm`: a field forgotten in both would cancel itself out. So this module
declares the layouts (TPM 2.0 Library, Part 2 "Structures") and the numbers independently, and does not validate its
input. Sizes and counts follow from the content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

TPM_GENERATED_VALUE = 0xFF544347  # Part 2, 6.2: "the first four octets of a structure created by a TPM", ff "TCG"

# Part 2, 6.9, TPM_ST
ST_ATTEST_NV = 0x8014
ST_ATTEST_COMMAND_AUDIT = 0x8015
ST_ATTEST_SESSION_AUDIT = 0x8016
ST_ATTEST_CERTIFY = 0x8017
ST_ATTEST_QUOTE = 0x8018
ST_ATTEST_TIME = 0x8019
ST_ATTEST_CREATION = 0x801A
ST_ATTEST_NV_DIGEST = 0x801C

# Part 2, 6.3, TPM_ALG_ID
ALG_RSA = 0x0001
ALG_SHA1 = 0x0004
ALG_HMAC = 0x0005
ALG_AES = 0x0006
ALG_KEYEDHASH = 0x0008
ALG_SHA256 = 0x000B
ALG_SHA384 = 0x000C
ALG_SHA512 = 0x000D
ALG_NULL = 0x0010
ALG_SM3_256 = 0x0012
ALG_RSASSA = 0x0014
ALG_RSAES = 0x0015
ALG_RSAPSS = 0x0016
ALG_ECDSA = 0x0018
ALG_ECDAA = 0x001A
ALG_SM2 = 0x001B
ALG_ECSCHNORR = 0x001C
ALG_ECC = 0x0023
ALG_KDF1_SP800_108 = 0x0022
ALG_SYMCIPHER = 0x0025
ALG_CFB = 0x0043

HASHES = {"sha1": ALG_SHA1, "sha256": ALG_SHA256, "sha384": ALG_SHA384, "sha512": ALG_SHA512}
SCHEMES = {"rsassa": ALG_RSASSA, "rsapss": ALG_RSAPSS, "ecdsa": ALG_ECDSA}

# Part 2, 6.4, TPM_ECC_CURVE
CURVES = {
    "p192": 0x0001,
    "p224": 0x0002,
    "p256": 0x0003,
    "p384": 0x0004,
    "p521": 0x0005,
    "bn256": 0x0010,
    "sm2": 0x0020,
}

# Part 2, 7.4, TPM_RH: the handles in the qualified names of primary keys
HIERARCHIES = {"owner": 0x40000001, "null": 0x40000007, "endorsement": 0x4000000B, "platform": 0x4000000C}

# Part 2, 8.3, TPMA_OBJECT
FIXED_TPM = 1 << 1
ST_CLEAR = 1 << 2
FIXED_PARENT = 1 << 4
SENSITIVE_DATA_ORIGIN = 1 << 5
USER_WITH_AUTH = 1 << 6
ADMIN_WITH_POLICY = 1 << 7
FIRMWARE_LIMITED = 1 << 8  # this and the next since revision 1.83
SVN_LIMITED = 1 << 9
NO_DA = 1 << 10
ENCRYPTED_DUPLICATION = 1 << 11
RESTRICTED = 1 << 16
DECRYPT = 1 << 17
SIGN_ENCRYPT = 1 << 18
X509_SIGN = 1 << 19
AIK_ATTRIBUTES = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | RESTRICTED | SIGN_ENCRYPT


def u8(value: int) -> bytes:
    """An unsigned integer in one byte, big-endian."""
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    """An unsigned integer in two bytes, big-endian."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """An unsigned integer in four bytes, big-endian."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """An unsigned integer in eight bytes, big-endian."""
    return value.to_bytes(8, "big")


def tpm2b(content: bytes) -> bytes:
    """Any TPM2B_*: a size in two bytes, and that many bytes."""
    return u16(len(content)) + content


def tpms_pcr_selection(hash_id: int, indices: Iterable[int]) -> bytes:
    """TPMS_PCR_SELECTION (Part 2, 10.6.2): PCR 8m + n is bit n of byte m; at least three bytes."""
    bitmap = sum({1 << index for index in indices})
    size = max(3, (bitmap.bit_length() + 7) // 8)
    return u16(hash_id) + u8(size) + bitmap.to_bytes(size, "little")


def tpml_pcr_selection(selections: Sequence[bytes]) -> bytes:
    """TPML_PCR_SELECTION (Part 2, 10.9.7)."""
    return u32(len(selections)) + b"".join(selections)


def tpms_clock_info(clock: int, reset_count: int, restart_count: int, safe: int) -> bytes:
    """TPMS_CLOCK_INFO (Part 2, 10.11.1); `clock` in milliseconds, `safe` a YES_NO of any value."""
    return u64(clock) + u32(reset_count) + u32(restart_count) + u8(safe)


def tpms_attest(
    *,
    magic: int = TPM_GENERATED_VALUE,
    type_: int,
    qualified_signer: bytes,
    extra_data: bytes,
    clock_info: bytes,
    firmware_version: int,
    attested: bytes,
) -> bytes:
    """TPMS_ATTEST (Part 2, 10.12.12); `clock_info` and `attested` are already serialized."""
    return b"".join(
        (
            u32(magic),
            u16(type_),
            tpm2b(qualified_signer),
            tpm2b(extra_data),
            clock_info,
            u64(firmware_version),
            attested,
        )
    )


def tpms_quote_info(pcr_select: bytes, pcr_digest: bytes) -> bytes:
    """TPMS_QUOTE_INFO (Part 2, 10.12.4)."""
    return pcr_select + tpm2b(pcr_digest)


def tpms_certify_info(name: bytes, qualified_name: bytes) -> bytes:
    """TPMS_CERTIFY_INFO (Part 2, 10.12.3)."""
    return tpm2b(name) + tpm2b(qualified_name)


def tpms_creation_info(object_name: bytes, creation_hash: bytes) -> bytes:
    """TPMS_CREATION_INFO (Part 2, 10.12.7)."""
    return tpm2b(object_name) + tpm2b(creation_hash)


def tpms_time_attest_info(time: int, clock_info: bytes, firmware_version: int) -> bytes:
    """TPMS_TIME_ATTEST_INFO (Part 2, 10.12.2); `time` in milliseconds."""
    return u64(time) + clock_info + u64(firmware_version)


def tpms_command_audit_info(audit_counter: int, digest_id: int, audit_digest: bytes, command_digest: bytes) -> bytes:
    """TPMS_COMMAND_AUDIT_INFO (Part 2, 10.12.5)."""
    return u64(audit_counter) + u16(digest_id) + tpm2b(audit_digest) + tpm2b(command_digest)


def tpms_session_audit_info(exclusive: int, session_digest: bytes) -> bytes:
    """TPMS_SESSION_AUDIT_INFO (Part 2, 10.12.6)."""
    return u8(exclusive) + tpm2b(session_digest)


def tpms_nv_certify_info(index_name: bytes, offset: int, contents: bytes) -> bytes:
    """TPMS_NV_CERTIFY_INFO (Part 2, 10.12.8)."""
    return tpm2b(index_name) + u16(offset) + tpm2b(contents)


def tpms_nv_digest_certify_info(index_name: bytes, digest: bytes) -> bytes:
    """TPMS_NV_DIGEST_CERTIFY_INFO (Part 2, 10.12.9)."""
    return tpm2b(index_name) + tpm2b(digest)


def tpmt_signature_rsa(scheme_id: int, hash_id: int, signature: bytes) -> bytes:
    """TPMT_SIGNATURE (Part 2, 11.3.4) with TPMS_SIGNATURE_RSASSA or _RSAPSS."""
    return u16(scheme_id) + u16(hash_id) + tpm2b(signature)


def tpmt_signature_ecc(scheme_id: int, hash_id: int, r: bytes, s: bytes) -> bytes:
    """TPMT_SIGNATURE (Part 2, 11.3.4) with TPMS_SIGNATURE_ECDSA or another of two ECC parameters."""
    return u16(scheme_id) + u16(hash_id) + tpm2b(r) + tpm2b(s)


def tpmt_scheme(scheme_id: int, hash_id: int | None) -> bytes:
    """TPMT_RSA_SCHEME, TPMT_ECC_SCHEME, TPMT_KDF_SCHEME: the hash is absent if the scheme is TPM_ALG_NULL."""
    return u16(scheme_id) if hash_id is None else u16(scheme_id) + u16(hash_id)


def tpms_rsa_parms(*, symmetric: bytes, scheme: bytes, key_bits: int, exponent: int) -> bytes:
    """TPMS_RSA_PARMS (Part 2, 12.2.3.5); exponent 0 means 65537."""
    return symmetric + scheme + u16(key_bits) + u32(exponent)


def tpms_ecc_parms(*, symmetric: bytes, scheme: bytes, curve_id: int, kdf: bytes) -> bytes:
    """TPMS_ECC_PARMS (Part 2, 12.2.3.6)."""
    return symmetric + scheme + u16(curve_id) + kdf


def tpms_ecc_point(x: bytes, y: bytes) -> bytes:
    """TPMS_ECC_POINT (Part 2, 11.2.5.2)."""
    return tpm2b(x) + tpm2b(y)


def tpmt_public(
    *, type_: int, name_alg: int, object_attributes: int, auth_policy: bytes, parameters: bytes, unique: bytes
) -> bytes:
    """TPMT_PUBLIC (Part 2, 12.2.4); `parameters` and `unique` are already serialized."""
    return u16(type_) + u16(name_alg) + u32(object_attributes) + tpm2b(auth_policy) + parameters + unique
