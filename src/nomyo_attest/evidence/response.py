"""A recorded response, its `_metadata` or the bare `tpm_attestation` block → `Evidence`.

Strict about what it reads, indifferent to what it does not: the completion around the evidence is never looked at.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.misplaced import find_in_container_log, find_misplaced, find_respelled
from nomyo_attest.evidence.model import Evidence
from nomyo_attest.evidence.pcrs import read_report
from nomyo_attest.evidence.text import JsonObject, kind_of, parse_record, the_object

BLOB_CHARACTERS_MAX: Final = 8192
"""Base64 characters of the largest blob: three times what a quote over every bank or an RSA-4096 key needs."""

PAYLOAD_ID_MAX: Final = 1024
"""Characters of the longest payload id; honest ones are UUIDs of 36."""

_BASE64: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")

METADATA: Final = "_metadata"
BLOCK: Final = "tpm_attestation"


_READ_IN_BLOCK: Final = ("is_available", "pcr_banks", "pcr_values", "quote_b64", "signature_b64", "aik_pubkey_b64")


def read_evidence(response: object) -> Evidence:
    """Read evidence out of `response`: a dict, or JSON as str or bytes; the whole response, its `_metadata`, or the
    bare block.

    Raises `EvidenceError`, which names the place, what is expected there and what was got; `MisplacedEvidenceError`
    for a record with evidence that is not at the top level.
    """
    if isinstance(response, (str, bytes)):
        in_log = find_in_container_log(response)
        if in_log is not None:
            raise in_log
        response = parse_record(response)
    if not isinstance(response, dict):
        raise find_misplaced(response) or EvidenceError("response", "a JSON object", kind_of(response))
    if METADATA in response:
        _refuse_twice(response, (METADATA,), "")
        if BLOCK in response or "is_available" in response:
            raise _ambiguous(METADATA)
        return _read_metadata(the_object(response[METADATA], "", METADATA), "_metadata.")
    if BLOCK in response:
        return _read_metadata(response, "")
    if "is_available" in response:
        return _read_block(response, "", None, {})
    misplaced = find_misplaced(response)
    if misplaced is not None:
        raise misplaced
    return Evidence(available=False, absence=f"there is no {METADATA}.{BLOCK}")


def _ambiguous(mark: str) -> EvidenceError:
    """Evidence in two places at once could be read in two ways."""
    return EvidenceError("response", f"evidence in one place, {mark}", "more of it beside that")


def _refuse_twice(holder: dict[Any, Any], keys: Iterable[str], path: str) -> None:
    """A key that stood twice in the JSON text could be read in two ways."""
    if type(holder) is JsonObject:
        for key in keys:
            if key in holder.duplicates:
                raise EvidenceError(f"{path}{key}", "the key once", "it twice or more")


def _read_metadata(metadata: dict[Any, Any], path: str) -> Evidence:
    _refuse_twice(metadata, ("payload_id", BLOCK), path)
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
    return _read_block(the_object(metadata[BLOCK], path, BLOCK), f"{path}{BLOCK}.", payload_id, metadata)


def check_payload_id(payload_id: object, path: str) -> str:
    """`payload_id` itself, if it is a non-empty string that has a UTF-8 form and is not oversize. Raises
    `EvidenceError`.
    """
    if type(payload_id) is not str:
        raise EvidenceError(f"{path}payload_id", "a non-empty string", kind_of(payload_id))
    if not 0 < len(payload_id) <= PAYLOAD_ID_MAX:
        raise EvidenceError(
            f"{path}payload_id", f"a string of 1 to {PAYLOAD_ID_MAX} characters", f"{len(payload_id)} characters"
        )
    if not payload_id.isascii() and any("\ud800" <= character <= "\udfff" for character in payload_id):
        raise EvidenceError(f"{path}payload_id", "a string that UTF-8 can encode", "a lone surrogate in it")
    return payload_id


def _read_block(block: dict[Any, Any], path: str, payload_id: str | None, claims: dict[str, Any]) -> Evidence:
    _refuse_twice(block, _READ_IN_BLOCK, path)
    available = block.get("is_available")
    if available is False:
        absence = f"the server says {path}is_available: false"
        return Evidence(available=False, payload_id=payload_id, claims=claims, absence=absence, denied=True)
    for key in _READ_IN_BLOCK:
        if key not in block:
            raise EvidenceError(path + key, "this key", "nothing: it is missing")
    if available is not True:
        raise EvidenceError(f"{path}is_available", "true or false", kind_of(available))
    return Evidence(
        available=True,
        pcrs=read_report(block["pcr_banks"], block["pcr_values"], path),
        quote=decode_base64(block["quote_b64"], path, "quote_b64"),
        signature=decode_base64(block["signature_b64"], path, "signature_b64"),
        aik_public=decode_base64(block["aik_pubkey_b64"], path, "aik_pubkey_b64"),
        payload_id=payload_id,
        claims=claims,
    )


def decode_base64(text: object, path: str, key: str) -> bytes:
    """Decode canonical base64 (RFC 4648, 4): the one text that encodes the bytes, no other that decodes to them."""
    if type(text) is not str or not 0 < len(text) <= BLOB_CHARACTERS_MAX:
        got = f"{len(text)} characters" if type(text) is str and text else kind_of(text)
        raise EvidenceError(f"{path}{key}", f"base64 of 1 to {BLOB_CHARACTERS_MAX} characters", got)
    encoded = decoded = b""
    with suppress(ValueError):  # what it carries is not to travel on
        encoded = text.encode("ascii")
        decoded = binascii.a2b_base64(encoded)
    if not decoded:
        strays = ((at, one) for at, one in enumerate(text, 1) if one not in _BASE64)
        at, stray = next(strays, (0, ""))
        raise EvidenceError(f"{path}{key}", "base64", f"{stray!r} as character {at}" if at else "a wrong length")
    # Decoders skip strays and ignore the unused bits of the last character; encoding again tolerates neither.
    if binascii.b2a_base64(decoded, newline=False) != encoded:
        raise EvidenceError(f"{path}{key}", "canonical base64", "strays, padding or unused bits in it")
    return decoded
