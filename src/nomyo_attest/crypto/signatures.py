"""Verify a TPMT_SIGNATURE over the signed bytes."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from nomyo_attest.crypto.keys import VerificationKey
from nomyo_attest.tpm.constants import HASH_TABLE, TPM_ALG_ID
from nomyo_attest.tpm.signature import TPMS_SIGNATURE_ECC, TPMS_SIGNATURE_RSA, TPMT_SIGNATURE

# SHA-1 is included for policies that allow it: the rule `signature.hash` decides.
_HASHES: Final[dict[TPM_ALG_ID, hashes.HashAlgorithm]] = {
    row.algorithm: getattr(hashes, row.name.upper())() for row in HASH_TABLE if row.computed
}
_ECDSA: Final = {algorithm: ec.ECDSA(hash_) for algorithm, hash_ in _HASHES.items()}
_PKCS1V15: Final = padding.PKCS1v15()


class UnverifiableError(Exception):
    """The cryptographic library does not support the signature. `appraise` never raises it."""


def can_verify(signature: TPMT_SIGNATURE) -> bool:
    """Whether this library can compute the hash of a signature."""
    return signature.signature.hash in _HASHES


def verify_signature(key: VerificationKey, signature: TPMT_SIGNATURE, signed: bytes) -> bool:
    """Whether `signature`, with the scheme and hash that it states, verifies over the bytes `signed`, as received.

    RSASSA is PKCS#1 v1.5 (RFC 8017, 8.2), RSAPSS is PSS (8.1), ECDSA is FIPS 186-5, 6. An RSA signature does not
    verify with an ECC key, or the reverse. The rules `signature.scheme` and `signature.hash` compare the scheme and the
    hash with those of the key.

    Raises:
        UnverifiableError: `cryptography` does not support the hash.
    """
    value = signature.signature
    try:
        if isinstance(value, TPMS_SIGNATURE_RSA):
            return isinstance(key, rsa.RSAPublicKey) and _verify_rsa(key, signature.sig_alg, value, signed)
        return isinstance(key, ec.EllipticCurvePublicKey) and _verify_ecdsa(key, value, signed)
    except (InvalidSignature, ValueError):
        return False
    except UnsupportedAlgorithm as error:
        raise UnverifiableError(str(error)) from None


def _verify_rsa(key: rsa.RSAPublicKey, scheme: TPM_ALG_ID, value: TPMS_SIGNATURE_RSA, signed: bytes) -> bool:
    hash_ = _HASHES[value.hash]
    if len(value.sig) * 8 != key.key_size:  # RFC 8017, 8.1.2 and 8.2.2, step 1; the library omits it for PSS
        return False
    if scheme is TPM_ALG_ID.RSASSA:
        key.verify(value.sig, signed, _PKCS1V15, hash_)
        return True
    # A TPM's salt is as long as the digest or as the key allows, depending on the manufacturer (Part 1, B.7). No other
    # length is accepted. Both are passed in bytes, because the library's MAX_LENGTH verifies a salt of any length.
    try:
        key.verify(value.sig, signed, padding.PSS(padding.MGF1(hash_), hash_.digest_size), hash_)
    except InvalidSignature:
        largest = padding.calculate_max_pss_salt_length(key, hash_)
        key.verify(value.sig, signed, padding.PSS(padding.MGF1(hash_), largest), hash_)
    return True


def _verify_ecdsa(key: ec.EllipticCurvePublicKey, value: TPMS_SIGNATURE_ECC, signed: bytes) -> bool:
    r = int.from_bytes(value.signature_r, "big")
    s = int.from_bytes(value.signature_s, "big")
    key.verify(encode_dss_signature(r, s), signed, _ECDSA[value.hash])
    return True
