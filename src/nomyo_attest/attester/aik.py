"""Attestation keys in a TPM: made, used while their context lasts, flushed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nomyo_attest.attester._tss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_SE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMT_PUBLIC_PARMS,
    TPMT_SYM_DEF,
    TSS2_Exception,
)
from nomyo_attest.attester.connection import Connection
from nomyo_attest.attester.errors import UnsupportedByTPMError
from nomyo_attest.attester.keys import AIK_ATTRIBUTES, HIERARCHIES, KeyKind, ek_template
from nomyo_attest.errors import AttesterError


@dataclass(frozen=True, slots=True)
class Aik:
    """A loaded attestation key.

    Attributes:
        handle: its ESYS_TR.
        kind: what it is.
        public: its public area, a TPM2B_PUBLIC as bytes.
    """

    handle: int
    kind: KeyKind
    public: bytes


@contextmanager
def new_aik(
    connection: Connection, kind: KeyKind, *, hierarchy: str, child_of_ek: bool, attributes: int = AIK_ATTRIBUTES
) -> Iterator[Aik]:
    """A key made now and gone when the context ends; arguments and errors as in `Attester.attest`."""
    if hierarchy not in HIERARCHIES:
        raise AttesterError(f"hierarchy: expected one of {', '.join(HIERARCHIES)}, got {hierarchy!r}")
    if child_of_ek and hierarchy != "endorsement":
        raise AttesterError(f"hierarchy: expected endorsement, where the endorsement key is, got {hierarchy!r}")
    template = kind.template(attributes)
    _require_kind(connection, kind, template)
    made = _child_of_ek(connection, template) if child_of_ek else primary(connection, template, hierarchy)
    with made as (handle, public):
        yield Aik(handle, kind, public)


@contextmanager
def primary(connection: Connection, template: TPM2B_PUBLIC, hierarchy: str) -> Iterator[tuple[int, bytes]]:
    """A primary key from a template, until the context ends: its ESYS_TR and TPM2B_PUBLIC. Raises `AttesterError`."""
    with connection.command(f"TPM2_CreatePrimary in the {hierarchy} hierarchy"):
        handle, public, *_ = connection.esapi.create_primary(None, template, getattr(ESYS_TR, hierarchy.upper()))
    with connection.flushed(handle):
        yield handle, public.marshal()


@contextmanager
def _child_of_ek(connection: Connection, template: TPM2B_PUBLIC) -> Iterator[tuple[int, bytes]]:
    esapi = connection.esapi
    with primary(connection, ek_template(), "endorsement") as (ek, _), _policy_session(connection) as session:
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


def _require_kind(connection: Connection, kind: KeyKind, template: TPM2B_PUBLIC) -> None:
    parameters = TPMT_PUBLIC_PARMS(type=template.publicArea.type, parameters=template.publicArea.parameters)
    try:
        with connection.command("TPM2_TestParms"):
            connection.esapi.test_parms(parameters)
    except AttesterError as error:
        # a "format one" code names a parameter (Part 2, 6.6.2): the TPM understood, and does not have it
        if isinstance(error.__cause__, TSS2_Exception) and error.__cause__.fmt1:
            raise UnsupportedByTPMError(f"this TPM makes no {kind} keys ({error})") from error
        raise
