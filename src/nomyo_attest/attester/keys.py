"""What keys an Attester can make to sign with: kinds, and the templates a TPM creates them from."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final, Self

from nomyo_attest.attester._tss import TPM2B_ECC_PARAMETER, TPM2B_PUBLIC, TPM2B_PUBLIC_KEY_RSA, TPMT_PUBLIC
from nomyo_attest.errors import AttesterError
from nomyo_attest.tpm.constants import HASH_ALGORITHMS, TPMA_OBJECT

AIK_ATTRIBUTES: Final = (
    TPMA_OBJECT.FIXED_TPM
    | TPMA_OBJECT.FIXED_PARENT
    | TPMA_OBJECT.SENSITIVE_DATA_ORIGIN
    | TPMA_OBJECT.USER_WITH_AUTH
    | TPMA_OBJECT.NO_DA  # an empty authorization value has no dictionary to attack; a TPM in lockout can still quote
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.SIGN_ENCRYPT
)
"""Attributes of an attestation key: made in this TPM, bound to it, able to sign only what the TPM itself states."""

HIERARCHIES: Final = ("endorsement", "owner", "platform", "null")
"""The hierarchies of a TPM, by the names policies use."""

_FAMILIES: Final = {"rsa2048": "rsa", "rsa3072": "rsa", "rsa4096": "rsa", "p256": "ecc", "p384": "ecc", "p521": "ecc"}
_SCHEMES: Final = {"rsa": ("rsassa", "rsapss"), "ecc": ("ecdsa",)}
_HASHES: Final = ("sha1", "sha256", "sha384", "sha512")  # hashlib has them on every machine; the PCR digest needs one
_DEFAULT_HASHES: Final = {"p384": "sha384", "p521": "sha512"}  # as strong as the curve; sha256 for all others

_EK_ATTRIBUTES: Final = (
    TPMA_OBJECT.FIXED_TPM
    | TPMA_OBJECT.FIXED_PARENT
    | TPMA_OBJECT.SENSITIVE_DATA_ORIGIN
    | TPMA_OBJECT.ADMIN_WITH_POLICY
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.DECRYPT
)
# PolicyA of the TCG EK Credential Profile: TPM2_PolicySecret(TPM_RH_ENDORSEMENT).
_EK_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")


@dataclass(frozen=True, slots=True)
class KeyKind:
    """The kind of an attestation key.

    Attributes:
        algorithm: ``"rsa"`` with the size in bits of its modulus, or ``"p"`` with that of its NIST curve, as in
            ``"rsa2048"``, ``"p256"``.
        scheme: ``"rsassa"``, ``"rsapss"`` or ``"ecdsa"``.
        hash: hash of the scheme, and so of the PCR digest: ``"sha256"``.
    """

    algorithm: str
    scheme: str
    hash: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``algorithm[-scheme][-hash]``: ``"rsa2048"``, ``"rsa3072-rsapss"``, ``"p384-ecdsa-sha384"``.

        Left out, the scheme is RSASSA or ECDSA, and the hash SHA-256, or SHA-384 for P-384 and SHA-512 for P-521.
        Raises `AttesterError`.
        """
        algorithm, *rest = text.split("-")
        if algorithm not in _FAMILIES:
            raise AttesterError(f"key {text!r}: expected one of {', '.join(_FAMILIES)}, got {algorithm!r}")
        schemes = _SCHEMES[_FAMILIES[algorithm]]
        scheme = rest.pop(0) if rest and rest[0] in schemes else schemes[0]
        hash_ = rest.pop(0) if rest and rest[0] in _HASHES else _DEFAULT_HASHES.get(algorithm, "sha256")
        if rest:
            raise AttesterError(
                f"key {text!r}: expected {algorithm}[-{'|'.join(schemes)}][-{'|'.join(_HASHES)}], got {rest[0]!r}"
            )
        return cls(algorithm, scheme, hash_)

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.scheme}-{self.hash}"

    def template(self, attributes: int = AIK_ATTRIBUTES) -> TPM2B_PUBLIC:
        """The TPM2B_PUBLIC from which a TPM creates a signing key of this kind, its nameAlg SHA-256.

        A primary key is derived from the hierarchy's seed and its template (Part 3, 24.1): the same template gives the
        same key again. So its `unique` field is filled with 16 random bytes, which make every key a new one.
        """
        name = self.algorithm if self.algorithm.startswith("rsa") else f"ecc{self.algorithm[1:]}"
        public = TPMT_PUBLIC.parse(
            f"{name}:{self.scheme}-{self.hash}:null",
            objectAttributes=int(attributes),
            nameAlg=int(HASH_ALGORITHMS["sha256"]),
        )
        fresh = secrets.token_bytes(16)
        if name == self.algorithm:
            public.unique.rsa = TPM2B_PUBLIC_KEY_RSA(fresh)
        else:
            public.unique.ecc.x = TPM2B_ECC_PARAMETER(fresh)
        return TPM2B_PUBLIC(publicArea=public)


def ek_template() -> TPM2B_PUBLIC:
    """Template L-1 of the TCG EK Credential Profile, the RSA-2048 endorsement key of every PC Client TPM."""
    public = TPMT_PUBLIC.parse("rsa2048:null:aes128cfb", objectAttributes=int(_EK_ATTRIBUTES), authPolicy=_EK_POLICY)
    public.unique.rsa = TPM2B_PUBLIC_KEY_RSA(bytes(256))
    return TPM2B_PUBLIC(publicArea=public)
