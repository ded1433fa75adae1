"""Attestation keys: their types, their templates, and keys that exist in a TPM until a context ends."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from nomyo_attest.attester._tss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_SE,
    TPM2B_ECC_PARAMETER,
    TPM2B_PUBLIC,
    TPM2B_PUBLIC_KEY_RSA,
    TPM2B_SENSITIVE_CREATE,
    TPMT_PUBLIC,
    TPMT_PUBLIC_PARMS,
    TPMT_SYM_DEF,
    TSS2_Exception,
    UnsupportedByTPMError,
)
from nomyo_attest.attester.connection import Connection
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
"""Attributes of an attestation key: generated in this TPM, bound to it, restricted to signing the TPM's statements."""

HIERARCHIES: Final = ("endorsement", "owner", "platform", "null")
"""The hierarchies of a TPM, by their names in policies."""

_FAMILIES: Final = {"rsa2048": "rsa", "rsa3072": "rsa", "rsa4096": "rsa", "p256": "ecc", "p384": "ecc", "p521": "ecc"}
_SCHEMES: Final = {"rsa": ("rsassa", "rsapss"), "ecc": ("ecdsa",)}
_HASHES: Final = ("sha1", "sha256", "sha384", "sha512")  # every build of hashlib has them, for the PCR digest
_DEFAULT_HASHES: Final = {"p384": "sha384", "p521": "sha512"}  # as strong as the curve; sha256 for all other algorithms

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
    """The type of an attestation key.

    Attributes:
        algorithm: ``"rsa"`` and the size of the modulus in bits, such as ``"rsa2048"``; or a NIST curve, such as
            ``"p256"``.
        scheme: ``"rsassa"``, ``"rsapss"`` or ``"ecdsa"``.
        hash: the hash of the scheme and therefore of the PCR digest, such as ``"sha256"``.
    """

    algorithm: str
    scheme: str
    hash: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``algorithm[-scheme][-hash]``: ``"rsa2048"``, ``"rsa3072-rsapss"``, ``"p384-ecdsa-sha384"``.

        The default scheme is RSASSA or ECDSA. The default hash is SHA-384 for P-384, SHA-512 for P-521, and otherwise
        SHA-256. Raises `AttesterError`.
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
        """Return the TPM2B_PUBLIC from which a TPM creates a signing key of this type, with nameAlg SHA-256.

        A TPM derives a primary key from the hierarchy's seed and the template (Part 3, 24.1), so the same template
        produces the same key. 16 random bytes in the `unique` field make each key unique.
        """
        name = self.algorithm if self.algorithm.startswith("rsa") else f"ecc{self.algorithm[1:]}"
        public = TPMT_PUBLIC.parse(
            f"{name}:{self.scheme}-{self.hash}:null",
            objectAttributes=int(attributes),
            nameAlg=int(HASH_ALGORITHMS["sha256"]),
        )
        random_bytes = secrets.token_bytes(16)
        if name == self.algorithm:
            public.unique.rsa = TPM2B_PUBLIC_KEY_RSA(random_bytes)
        else:
            public.unique.ecc.x = TPM2B_ECC_PARAMETER(random_bytes)
        return TPM2B_PUBLIC(publicArea=public)


def ek_template() -> TPM2B_PUBLIC:
    """Return template L-1 of the TCG EK Credential Profile, the RSA-2048 endorsement key of every PC Client TPM."""
    public = TPMT_PUBLIC.parse("rsa2048:null:aes128cfb", objectAttributes=int(_EK_ATTRIBUTES), authPolicy=_EK_POLICY)
    public.unique.rsa = TPM2B_PUBLIC_KEY_RSA(bytes(256))
    return TPM2B_PUBLIC(publicArea=public)


@dataclass(frozen=True, slots=True)
class Aik:
    """A loaded attestation key.

    Attributes:
        handle: its ESYS_TR.
        kind: its type.
        public: its public area: a TPM2B_PUBLIC, as bytes.
    """

    handle: int
    kind: KeyKind
    public: bytes


@contextmanager
def new_aik(
    connection: Connection, kind: KeyKind, *, hierarchy: str, child_of_ek: bool, attributes: int = AIK_ATTRIBUTES
) -> Iterator[Aik]:
    """Create a key and remove it when the context ends; arguments and errors as in `Attester.attest`."""
    if hierarchy not in HIERARCHIES:
        raise AttesterError(f"hierarchy: expected one of {', '.join(HIERARCHIES)}, got {hierarchy!r}")
    if child_of_ek and hierarchy != "endorsement":
        raise AttesterError(f"hierarchy: expected endorsement, the hierarchy of the endorsement key, got {hierarchy!r}")
    template = kind.template(attributes)
    _require_support(connection, kind, template)
    key = _child_of_ek(connection, template) if child_of_ek else primary_key(connection, template, hierarchy)
    with key as (handle, public):
        yield Aik(handle, kind, public)


@contextmanager
def primary_key(connection: Connection, template: TPM2B_PUBLIC, hierarchy: str) -> Iterator[tuple[int, bytes]]:
    """Create a primary key and yield its ESYS_TR and TPM2B_PUBLIC; remove it when the context ends.

    Raises `AttesterError`.
    """
    with connection.command(f"TPM2_CreatePrimary in the {hierarchy} hierarchy"):
        handle, public, *_ = connection.esapi.create_primary(None, template, getattr(ESYS_TR, hierarchy.upper()))
    with connection.flushed(handle):
        yield handle, public.marshal()


@contextmanager
def _child_of_ek(connection: Connection, template: TPM2B_PUBLIC) -> Iterator[tuple[int, bytes]]:
    esapi = connection.esapi
    with primary_key(connection, ek_template(), "endorsement") as (ek, _), _policy_session(connection) as session:
        _authorize_ek(connection, session)
        with connection.command("TPM2_Create under the endorsement key"):
            private, public, *_ = esapi.create(ek, TPM2B_SENSITIVE_CREATE(), template, session1=session)
        _authorize_ek(connection, session)  # using a policy session resets it
        with connection.command("TPM2_Load under the endorsement key"):
            handle = esapi.load(ek, private, public, session1=session)
    with connection.flushed(handle):
        yield handle, public.marshal()


@contextmanager
def _policy_session(connection: Connection) -> Iterator[int]:
    with connection.command("TPM2_StartAuthSession"):
        session = connection.esapi.start_auth_session(
            ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL), TPM2_ALG.SHA256
        )
    with connection.flushed(session):
        yield session


def _authorize_ek(connection: Connection, session: int) -> None:
    with connection.command("TPM2_PolicySecret for the endorsement hierarchy"):
        connection.esapi.policy_secret(
            ESYS_TR.ENDORSEMENT, session, nonce_tpm=b"", cp_hash_a=b"", policy_ref=b"", expiration=0
        )


def _require_support(connection: Connection, kind: KeyKind, template: TPM2B_PUBLIC) -> None:
    parameters = TPMT_PUBLIC_PARMS(type=template.publicArea.type, parameters=template.publicArea.parameters)
    try:
        with connection.command("TPM2_TestParms"):
            connection.esapi.test_parms(parameters)
    except AttesterError as error:
        # A format-one code refers to a parameter (Part 2, 6.6.2), which this TPM does not support.
        if isinstance(error.__cause__, TSS2_Exception) and error.__cause__.fmt1:
            raise UnsupportedByTPMError(f"this TPM does not support {kind} keys ({error})") from error
        raise
