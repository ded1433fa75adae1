"""Keys and their Names: load the key of a TPMT_PUBLIC, and compute its Name and hierarchy (TPM 2.0 Part 1, "Names";
Part 2, 10.5).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from nomyo_attest.crypto.hashes import HASHERS
from nomyo_attest.crypto.strength import F4
from nomyo_attest.tpm.constants import TPM_ALG_ID, TPM_ECC_CURVE, TPM_RH
from nomyo_attest.tpm.public import TPMS_ECC_PARMS, TPMS_ECC_POINT, TPMS_RSA_PARMS, TPMS_RSA_UNIQUE, TPMT_PUBLIC

CURVES: Final[dict[TPM_ECC_CURVE, ec.EllipticCurve]] = {
    TPM_ECC_CURVE.NIST_P256: ec.SECP256R1(),
    TPM_ECC_CURVE.NIST_P384: ec.SECP384R1(),
    TPM_ECC_CURVE.NIST_P521: ec.SECP521R1(),
}
"""The curves whose signatures are verified: P-256, P-384 and P-521 (NIST SP 800-186, 3.2.1)."""

VerificationKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class KeyUnusableError(Exception):
    """A public area parses, but its key cannot verify a signature; the message is the reason.

    `appraise` never raises it.
    """


def rsa_exponent(parameters: TPMS_RSA_PARMS) -> int:
    """Return the exponent of an RSA key: 0 in the structure means 65537 (Part 2, 12.2.3.5)."""
    return parameters.exponent or F4


def verification_key(public: TPMT_PUBLIC) -> VerificationKey:
    """Load the key of a public area.

    Raises:
        KeyUnusableError: the point is not on its curve, or the curve or the size is not supported.
    """
    parameters, unique = public.parameters, public.unique
    try:
        if isinstance(parameters, TPMS_RSA_PARMS) and isinstance(unique, TPMS_RSA_UNIQUE):
            modulus = int.from_bytes(unique.modulus, "big")
            return rsa.RSAPublicNumbers(rsa_exponent(parameters), modulus).public_key()
        if isinstance(parameters, TPMS_ECC_PARMS) and isinstance(unique, TPMS_ECC_POINT):
            return _ecc_key(parameters.curve_id, unique)
    except (ValueError, UnsupportedAlgorithm, OverflowError) as error:
        raise KeyUnusableError(str(error)) from None
    # Unreachable: the parser accepts RSA and ECC only.
    raise KeyUnusableError(f"the key type {public.type.name} is not supported")


def _ecc_key(curve_id: TPM_ECC_CURVE, point: TPMS_ECC_POINT) -> ec.EllipticCurvePublicKey:
    curve = CURVES.get(curve_id)
    if curve is None:
        raise KeyUnusableError(f"the curve {curve_id.name} is not one of P-256, P-384, P-521")
    size = (curve.key_size + 7) // 8
    if len(point.x) > size or len(point.y) > size:
        raise KeyUnusableError(f"a coordinate is longer than the {size} bytes of the curve")
    # An uncompressed point (SEC 1, 2.3.3); the library rejects a point that is not on the curve.
    return ec.EllipticCurvePublicKey.from_encoded_point(
        curve, b"\x04" + point.x.rjust(size, b"\0") + point.y.rjust(size, b"\0")
    )


HIERARCHY_NAMES: Final[dict[TPM_RH, str]] = {
    TPM_RH.ENDORSEMENT: "endorsement",
    TPM_RH.OWNER: "owner",
    TPM_RH.PLATFORM: "platform",
    TPM_RH.NULL: "null",
}
"""Hierarchies and their names in policies, the most common for an AIK first."""

_HANDLES: Final = tuple((handle.to_bytes(4, "big"), name) for handle, name in HIERARCHY_NAMES.items())


def key_name(public_area: bytes, name_alg: TPM_ALG_ID) -> bytes | None:
    """Compute a key's Name: nameAlg ‖ H(TPMT_PUBLIC), over the bytes as received. None if the hash is not supported."""
    hasher = HASHERS.get(name_alg)
    return name_alg.to_bytes(2, "big") + hasher(public_area).digest() if hasher else None


def primary_hierarchy(name: bytes, name_alg: TPM_ALG_ID, qualified_name: bytes) -> str | None:
    """Return the hierarchy in which a primary key with this `name` has this `qualified_name`; None if there is none.

    The Qualified Name of a primary key is nameAlg ‖ H(handle of the hierarchy ‖ Name) (Part 1, "Qualified Name"). The
    quote does not state the hierarchy, so all are tried. A child of another key matches none.
    """
    hasher = HASHERS[name_alg]
    prefix = name[:2]
    for handle, hierarchy in _HANDLES:
        if prefix + hasher(handle + name).digest() == qualified_name:
            return hierarchy
    return None
