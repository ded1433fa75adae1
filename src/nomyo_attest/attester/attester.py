"""The Attester: quote a TPM's PCRs for a request, and build a response with the evidence."""

from __future__ import annotations

import base64
import hashlib
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, Self, TypedDict

from nomyo_attest.attester import pcrs as tpm_pcrs
from nomyo_attest.attester._tss import ESAPI, TPMS_ATTEST
from nomyo_attest.attester.connection import Connection
from nomyo_attest.attester.keys import AIK_ATTRIBUTES, Aik, KeyKind, new_aik
from nomyo_attest.attester.pcrs import (
    PcrValues,
    Selection,
    parse_quote_selection,
    pcr_digest,
    selection_structure,
    selection_text,
)
from nomyo_attest.errors import AttesterError, EvidenceError
from nomyo_attest.evidence.response import check_payload_id

NONCE_BYTES: Final = 16
"""Size of the quote's extraData: the first half of a SHA-256 digest."""


class TpmAttestation(TypedDict):
    """The `tpm_attestation` block of a response whose server has a TPM.

    Attributes:
        is_available: True.
        pcr_banks: the selection as text, ``"sha256:0,7,10"``.
        pcr_values: bank → index → value in lower-case hex.
        quote_b64: base64 of the TPMS_ATTEST.
        signature_b64: base64 of the TPMT_SIGNATURE.
        aik_pubkey_b64: base64 of the TPM2B_PUBLIC.
    """

    is_available: bool
    pcr_banks: str
    pcr_values: dict[str, dict[str, str]]
    quote_b64: str
    signature_b64: str
    aik_pubkey_b64: str


def qualifying_data(payload_id: str) -> bytes:
    """Compute the extraData of a quote for this request: SHA-256(payload_id as UTF-8)[:16]. Raises `AttesterError`."""
    try:
        check_payload_id(payload_id, "")
    except EvidenceError as error:
        raise AttesterError(f"payload id: expected {error.expected}, got {error.got}") from error
    return hashlib.sha256(payload_id.encode()).digest()[:NONCE_BYTES]


def evidence_block(
    selection: Selection, values: PcrValues, quoted: bytes, signature: bytes, public: bytes
) -> TpmAttestation:
    """Build the block from a selection, its values, a TPMS_ATTEST, a TPMT_SIGNATURE and a TPM2B_PUBLIC, unchecked."""
    return {
        "is_available": True,
        "pcr_banks": selection_text(selection),
        "pcr_values": {
            bank: {str(index): value.hex() for index, value in sorted(of_bank.items())}
            for bank, of_bank in values.items()
        },
        "quote_b64": base64.b64encode(quoted).decode(),
        "signature_b64": base64.b64encode(signature).decode(),
        "aik_pubkey_b64": base64.b64encode(public).decode(),
    }


def response(
    block: Mapping[str, Any],
    payload_id: str,
    *,
    model: str = "none",
    content: str = "",
    security_tier: str = "standard",
    claims: Mapping[str, Any] | None = None,
    created: int | None = None,
) -> dict[str, Any]:
    """Build a chat completion with `block` as its `_metadata.tpm_attestation`, as a client receives it after
    decryption.

    Args:
        block: the block that `Attester.attest` returned for this payload id.
        payload_id: the payload id of the request.
        model: the name of the model.
        content: the text of the completion.
        security_tier: ``"standard"``, ``"high"`` or ``"maximum"``; an unsigned claim of the server.
        claims: unsigned claims for `_metadata` that replace the defaults: no memory protection, no GPU.
        created: Unix time in seconds; None for the current time.
    """
    created = int(time.time()) if created is None else created
    metadata: dict[str, Any] = {
        "payload_id": payload_id,
        "processed_at": created,
        "is_encrypted": True,
        "response_status": "success",
        "security_tier": security_tier,
        "memory_protection": {
            "platform": sys.platform,
            "memory_locking": False,
            "secure_zeroing": False,
            "core_dump_prevention": False,
        },
        "cuda_device": {"available": False},
        **(claims or {}),
        "tpm_attestation": dict(block),
    }
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        "_metadata": metadata,
    }


class Attester:
    """Create quotes with one TPM. Use it as a context manager, or call `open` and `close`. Not thread-safe. ::

        with Attester.open("device:/dev/tpmrm0") as attester:
            block = attester.attest(payload_id="6f1c…", pcrs="sha256:0,7,10", key="p256")

    Attributes:
        connection: the connection to the TPM; `connection.tcti` is its TCTI string.
        kind: ``"device"``, ``"swtpm"`` (started by `open`) or ``"tcti"`` (any other TPM).
        esapi: the TSS Enhanced System API, for commands that this class does not provide.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection: Final = connection
        self.kind: Final = connection.kind
        self.esapi: Final[ESAPI] = connection.esapi

    @classmethod
    def open(cls, where: str | None = None) -> Self:
        """Connect to a TPM.

        Args:
            where: ``"device:/dev/tpmrm0"``; ``"swtpm"`` for a fresh software TPM that lives as long as the Attester;
                any other TCTI string, such as ``"swtpm:path=/run/tpm/socket"``. None means this machine's TPM device,
                never a software TPM, whose evidence says nothing about the machine.

        Raises:
            AttesterError: the TPM does not exist or cannot be accessed; `SoftwareTPMError` if swtpm cannot be started.
        """
        return cls(Connection.open(where))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, and stop the software TPM if `open` started one. Closing it again does nothing."""
        self.connection.close()

    def attest(
        self,
        *,
        payload_id: str,
        pcrs: str = "sha256:0,7,10",
        key: str = "rsa2048",
        hierarchy: str = "endorsement",
        child_of_ek: bool = False,
    ) -> TpmAttestation:
        """Quote PCRs for one request, with a new AIK that is removed from the TPM afterwards.

        Args:
            payload_id: the payload id of the request; the quote's extraData is SHA-256(payload_id as UTF-8)[:16].
            pcrs: banks and indices; see `parse_quote_selection`.
            key: the type of the AIK; see `KeyKind.parse`. A hardware TPM takes seconds to create an RSA key, and less
                for P-256.
            hierarchy: the hierarchy in which the AIK is a primary key: ``"endorsement"``, ``"owner"``, ``"platform"``
                or ``"null"``.
            child_of_ek: create the AIK as a child of the endorsement key instead, like a certified AIK; requires
                ``"endorsement"``.

        Returns:
            The `tpm_attestation` block of a response.

        Raises:
            AttesterError: an argument is invalid, a TPM command failed, or PCRs kept changing; `UnsupportedByTPMError`
                for a bank, PCR or type of key that this TPM does not have.
        """
        data = qualifying_data(payload_id)
        selection = parse_quote_selection(pcrs)
        tpm_pcrs.require_pcrs(self.connection, selection)
        with self.aik(KeyKind.parse(key), hierarchy=hierarchy, child_of_ek=child_of_ek) as aik:
            values, quoted, signature = self.read_and_quote(aik, selection, data)
        return evidence_block(selection, values, quoted, signature, aik.public)

    def aik(
        self,
        kind: KeyKind,
        *,
        hierarchy: str = "endorsement",
        child_of_ek: bool = False,
        attributes: int = AIK_ATTRIBUTES,
    ) -> AbstractContextManager[Aik]:
        """Create a signing key that stays in the TPM until the context ends. Arguments and errors as in `attest`.

        `attributes` is a TPMA_OBJECT (Part 2, 8.3).
        """
        return new_aik(self.connection, kind, hierarchy=hierarchy, child_of_ek=child_of_ek, attributes=attributes)

    @property
    def banks(self) -> Selection:
        """The allocated PCR banks and their indices. Raises `AttesterError`."""
        return tpm_pcrs.banks(self.connection)

    def read_pcrs(self, selection: Selection) -> PcrValues:
        """Read the selected PCRs, none of which changed while they were read. Raises `AttesterError`."""
        return tpm_pcrs.read_pcrs(self.connection, selection)

    def quote(self, aik: Aik, selection: Selection, data: bytes) -> tuple[bytes, bytes]:
        """Run TPM2_Quote with `data`, at most 64 bytes, as extraData; return TPMS_ATTEST and TPMT_SIGNATURE.

        Raises `AttesterError`.
        """
        with self.connection.command("TPM2_Quote"):
            quoted, signature = self.esapi.quote(aik.handle, selection_structure(selection), data)
        return bytes(quoted), signature.marshal()

    def read_and_quote(self, aik: Aik, selection: Selection, data: bytes) -> tuple[PcrValues, bytes, bytes]:
        """Return PCR values with a TPMS_ATTEST and TPMT_SIGNATURE over them; retry if a PCR changed in between.

        Raises `AttesterError`, also if PCRs changed in each of eight attempts.
        """
        for _ in range(tpm_pcrs.ATTEMPTS):
            values = self.read_pcrs(selection)
            quoted, signature = self.quote(aik, selection, data)
            attest, _ = TPMS_ATTEST.unmarshal(quoted)
            if bytes(attest.attested.quote.pcrDigest) == pcr_digest(selection, values, aik.kind.hash):
                return values, quoted, signature
        raise AttesterError(
            f"PCRs {selection_text(selection)} changed before they were quoted, in {tpm_pcrs.ATTEMPTS} attempts; "
            "try again when this machine has finished booting"
        )

    def extend(self, pcr: int, digests: Mapping[str, bytes]) -> None:
        """Extend one PCR in each bank of `digests` (TPM2_PCR_Extend); other banks do not change.

        For tests and demonstrations: on a device, this changes the machine's evidence until the next reboot. Raises
        `AttesterError`.
        """
        tpm_pcrs.extend(self.connection, pcr, digests)

    def measure(self, pcr: int, event: bytes) -> None:
        """Extend a PCR in each SHA-1 and SHA-2 bank with the bank's hash of `event`, as firmware does.

        For tests and demonstrations, like `extend`. Raises `AttesterError`.
        """
        tpm_pcrs.measure(self.connection, pcr, event)
