"""Read the evidence in a recorded response, in its `_metadata` or in the bare `tpm_attestation` block.

Only the fields of the evidence are read, strictly. The completion is never examined.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

import msgspec

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.misplaced import find_in_container_log, find_misplaced, find_respelled
from nomyo_attest.evidence.pcrs import NO_PCRS, PcrReport, read_report
from nomyo_attest.evidence.strict_json import JsonObject, describe_type, parse_record, require_object

BLOB_CHARACTERS_MAX: Final = 8192
"""Maximum base64 characters of a blob: three times the length of a quote of all banks or of an RSA-4096 key."""

PAYLOAD_ID_MAX: Final = 1024
"""Maximum characters of a payload id; clients generate UUIDs of 36 characters."""

METADATA: Final = "_metadata"
BLOCK: Final = "tpm_attestation"

_FIELDS: Final = ("is_available", "pcr_banks", "pcr_values", "quote_b64", "signature_b64", "aik_pubkey_b64")
"""The fields of the block that are read."""

_BASE64: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of one response, decoded but not yet parsed or appraised. Create it with `from_response`.

    Attributes:
        available: whether there is evidence; if not, the blobs are empty and `absence` gives the reason.
        quote: TPMS_ATTEST or TPM2B_ATTEST, as received.
        signature: TPMT_SIGNATURE, as received.
        aik_public: TPM2B_PUBLIC or TPMT_PUBLIC of the key that signed, as received.
        pcrs: the reported PCR values and their selection text.
        payload_id: the `payload_id` in the response's `_metadata`; None if there is none.
        claims: the response's `_metadata`: unsigned statements of the server. Empty for a bare block.
        absence: why there is no evidence; empty if there is.
        declared_absent: whether the server states that it has no evidence (`is_available` is false).
    """

    available: bool
    quote: bytes = b""
    signature: bytes = b""
    aik_public: bytes = b""
    pcrs: PcrReport = NO_PCRS
    payload_id: str | None = None
    claims: Mapping[str, Any] = {}
    absence: str = ""
    declared_absent: bool = False

    def __repr__(self) -> str:
        """Omit the claims, which are the whole record if the block is at its top level."""
        state = self.pcrs.banks if self.available else self.absence
        return f"<Evidence {state}, payload id {self.payload_id!r}>"

    @classmethod
    def from_response(cls, response: object) -> Self:
        """Read the evidence in a whole response, its `_metadata` or the bare `tpm_attestation` block.

        Args:
            response: a dict, or JSON text as str or bytes.

        Returns:
            The evidence. `available` is False for a response without evidence.

        Raises:
            EvidenceError: for malformed evidence. It names the field, the expected value and the value found.
            MisplacedEvidenceError: for a record with evidence below its top level; a subclass of `EvidenceError`.
        """
        evidence = read_evidence(response)
        assert isinstance(evidence, cls)
        return evidence


def read_evidence(response: object) -> Evidence:
    """Read evidence as `Evidence.from_response` does."""
    if isinstance(response, (str, bytes)):
        misplaced = find_in_container_log(response)
        if misplaced is not None:
            raise misplaced
        response = parse_record(response)
    if not isinstance(response, dict):
        raise find_misplaced(response) or EvidenceError("response", "a JSON object", describe_type(response))
    if METADATA in response:
        _refuse_duplicates(response, (METADATA,), "")
        if BLOCK in response or "is_available" in response:
            raise _ambiguous(METADATA)
        return _read_metadata(require_object(response[METADATA], METADATA), "_metadata.")
    if BLOCK in response:
        return _read_metadata(response, "")
    if "is_available" in response:
        return _read_block(response, "", None, {})
    misplaced = find_misplaced(response)
    if misplaced is not None:
        raise misplaced
    return Evidence(available=False, absence=f"there is no {METADATA}.{BLOCK}")


def _ambiguous(key: str) -> EvidenceError:
    """Build the error for a response with evidence in two places, which two readers could interpret differently."""
    return EvidenceError("response", f"evidence only under the key {key}", "evidence beside it as well")


def _refuse_duplicates(table: dict[Any, Any], keys: Iterable[str], path: str) -> None:
    """Raise `EvidenceError` if one of `keys` is duplicated, because two readers could use different values."""
    if type(table) is JsonObject:
        for key in keys:
            if key in table.duplicates:
                raise EvidenceError(f"{path}{key}", "a unique key", "a duplicate key")


def _read_metadata(metadata: dict[Any, Any], path: str) -> Evidence:
    _refuse_duplicates(metadata, ("payload_id", BLOCK), path)
    if BLOCK in metadata and "is_available" in metadata:
        raise _ambiguous(BLOCK)
    payload_id = None
    if "payload_id" in metadata:
        payload_id = check_payload_id(metadata["payload_id"], path)
    if BLOCK not in metadata:
        misplaced = find_respelled(metadata)
        if misplaced is not None:
            raise misplaced
        absence = f"there is no {path}{BLOCK}"
        return Evidence(available=False, payload_id=payload_id, claims=metadata, absence=absence)
    block = require_object(metadata[BLOCK], f"{path}{BLOCK}")
    return _read_block(block, f"{path}{BLOCK}.", payload_id, metadata)


def _read_block(block: dict[Any, Any], path: str, payload_id: str | None, claims: dict[str, Any]) -> Evidence:
    _refuse_duplicates(block, _FIELDS, path)
    available = block.get("is_available")
    if available is False:
        absence = f"the server says {path}is_available: false"
        return Evidence(available=False, payload_id=payload_id, claims=claims, absence=absence, declared_absent=True)
    for key in _FIELDS:
        if key not in block:
            raise EvidenceError(path + key, "the key to be present", "no such key")
    if available is not True:
        raise EvidenceError(f"{path}is_available", "true or false", describe_type(available))
    return Evidence(
        available=True,
        pcrs=read_report(block["pcr_banks"], block["pcr_values"], path),
        quote=decode_base64(block["quote_b64"], path, "quote_b64"),
        signature=decode_base64(block["signature_b64"], path, "signature_b64"),
        aik_public=decode_base64(block["aik_pubkey_b64"], path, "aik_pubkey_b64"),
        payload_id=payload_id,
        claims=claims,
    )


def check_payload_id(payload_id: object, path: str) -> str:
    """Return `payload_id` if it is a string of 1 to `PAYLOAD_ID_MAX` characters that UTF-8 can encode.

    Raises:
        EvidenceError: for any other value; the error names the field `payload_id` under `path`.
    """
    if type(payload_id) is not str:
        raise EvidenceError(f"{path}payload_id", "a non-empty string", describe_type(payload_id))
    if not 0 < len(payload_id) <= PAYLOAD_ID_MAX:
        raise EvidenceError(
            f"{path}payload_id", f"a string of 1 to {PAYLOAD_ID_MAX} characters", f"{len(payload_id)} characters"
        )
    if not payload_id.isascii() and any("\ud800" <= character <= "\udfff" for character in payload_id):
        raise EvidenceError(f"{path}payload_id", "a string that UTF-8 can encode", "a lone surrogate")
    return payload_id


def decode_base64(text: object, path: str, key: str) -> bytes:
    """Decode canonical base64 (RFC 4648, section 4); any other encoding of the same bytes is rejected.

    Raises:
        EvidenceError: the text is not canonical base64; the error names the field `key` under `path`.
    """
    if type(text) is not str or not 0 < len(text) <= BLOB_CHARACTERS_MAX:
        got = f"{len(text)} characters" if type(text) is str and text else describe_type(text)
        raise EvidenceError(f"{path}{key}", f"base64 of 1 to {BLOB_CHARACTERS_MAX} characters", got)
    encoded = b""
    try:
        encoded = text.encode("ascii")
        decoded = binascii.a2b_base64(encoded)
    except ValueError:  # the exception contains the text: drop it before raising EvidenceError
        decoded = b""
    if not decoded:
        strays = ((number, character) for number, character in enumerate(text, 1) if character not in _BASE64)
        number, stray = next(strays, (0, ""))
        got = f"{stray!r} as character {number}" if number else "an invalid length"
        raise EvidenceError(f"{path}{key}", "base64", got)
    # Decoders skip other characters and ignore unused bits of the last character; encoding again detects both.
    if binascii.b2a_base64(decoded, newline=False) != encoded:
        raise EvidenceError(
            f"{path}{key}", "canonical base64", "stray characters, wrong padding or unused bits that are set"
        )
    return decoded
