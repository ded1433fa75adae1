"""A recorded response, its `_metadata` or the bare `tpm_attestation` block → `Evidence`.

Strict about what it reads, indifferent to what it does not: the completion around the evidence is never looked at.
"""

from __future__ import annotations

import binascii
from typing import Any, Final

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.model import Evidence
from nomyo_attest.evidence.selection import INDICES, parse_selection
from nomyo_attest.evidence.text import JsonObject, parse_json
from nomyo_attest.tpm.constants import HASH_ALGORITHMS, HASH_SIZES

BLOB_CHARACTERS_MAX: Final = 8192
"""Base64 characters of the largest blob: three times what a quote over every bank or an RSA-4096 key needs."""

PAYLOAD_ID_MAX: Final = 1024
"""Characters of the longest payload id; honest ones are UUIDs of 36."""

PCR_BANKS_MAX: Final = 1024
"""Characters of the longest selection text: eight banks of 24 indices take fewer than 650."""

_HEX_DIGITS: Final = {bank: 2 * HASH_SIZES[algorithm] for bank, algorithm in HASH_ALGORITHMS.items()}

METADATA: Final = "_metadata"
BLOCK: Final = "tpm_attestation"
_MARKS: Final = (METADATA, BLOCK, "is_available")


def read_evidence(response: object) -> Evidence:
    """Read evidence out of `response`: a dict, or JSON as str or bytes; the whole response, its `_metadata`, or the bare block.

    Raises `EvidenceError`, which names the place, what is expected there and what was got.
    """
    if isinstance(response, (str, bytes)):
        response = parse_json(response)
    if not isinstance(response, dict):
        raise EvidenceError("response", "a JSON object", _kind(response))
    if METADATA in response:
        _refuse_ambiguous(response, METADATA)
        return _read_metadata(_dict(_only(response, METADATA, ""), METADATA), f"{METADATA}.")
    if BLOCK in response:
        _refuse_ambiguous(response, BLOCK)
        return _read_metadata(response, "")
    if "is_available" in response:
        return _read_block(response, "", None, {})
    return Evidence(available=False, absence=f"there is no {METADATA}.{BLOCK}")


def _refuse_ambiguous(response: dict[Any, Any], mark: str) -> None:
    """Evidence in two places at once could be read in two ways."""
    others = [other for other in _MARKS if other != mark and other in response]
    if others:
        raise EvidenceError("response", f"evidence in one place, {mark}", f"also {others[0]} beside it")


def _read_metadata(metadata: dict[Any, Any], path: str) -> Evidence:
    payload_id = None
    if "payload_id" in metadata:
        payload_id = check_payload_id(_only(metadata, "payload_id", path), f"{path}payload_id")
    if BLOCK not in metadata:
        return Evidence(
            available=False, payload_id=payload_id, claims=metadata, absence=f"there is no {path}{BLOCK}"
        )
    block = _dict(_only(metadata, BLOCK, path), f"{path}{BLOCK}")
    return _read_block(block, f"{path}{BLOCK}.", payload_id, metadata)


def check_payload_id(payload_id: object, where: str) -> str:
    """`payload_id` itself, if it is a non-empty string that has a UTF-8 form and is not oversize. Raises `EvidenceError`."""
    if type(payload_id) is not str:
        raise EvidenceError(where, "a non-empty string", _kind(payload_id))
    if not 0 < len(payload_id) <= PAYLOAD_ID_MAX:
        raise EvidenceError(where, f"a string of 1 to {PAYLOAD_ID_MAX} characters", f"{len(payload_id)} characters")
    if not payload_id.isascii():
        try:
            payload_id.encode("utf-8")
        except UnicodeEncodeError:
            raise EvidenceError(where, "a string that UTF-8 can encode", "a lone surrogate in it") from None
    return payload_id


def _read_block(block: dict[Any, Any], path: str, payload_id: str | None, claims: dict[str, Any]) -> Evidence:
    available = _only(block, "is_available", path)
    if available is False:
        return Evidence(
            available=False, payload_id=payload_id, claims=claims, absence=f"the server says {path}is_available: false"
        )
    if available is not True:
        raise EvidenceError(f"{path}is_available", "true or false", _kind(available))
    banks = _only(block, "pcr_banks", path)
    if type(banks) is not str or len(banks) > PCR_BANKS_MAX:
        raise EvidenceError(f"{path}pcr_banks", "a selection text such as sha256:0,7,10", _kind(banks))
    values = _read_values(_dict(_only(block, "pcr_values", path), f"{path}pcr_values"), f"{path}pcr_values")
    selection = parse_selection(banks, f"{path}pcr_banks")
    if selection.keys() != values.keys() or any(set(selection[bank]) != values[bank].keys() for bank in values):
        reported = "+".join(f"{bank}:{','.join(map(str, sorted(of_bank)))}" for bank, of_bank in values.items())
        raise EvidenceError(f"{path}pcr_values", f"values for exactly pcr_banks, {banks}", reported or "none")
    return Evidence(
        available=True,
        quote=_base64(block, "quote_b64", path),
        signature=_base64(block, "signature_b64", path),
        aik_public=_base64(block, "aik_pubkey_b64", path),
        pcr_banks=banks,
        pcr_values=values,
        payload_id=payload_id,
        claims=claims,
    )


def _read_values(given: dict[Any, Any], where: str) -> dict[str, dict[int, bytes]]:
    _refuse_duplicates(given, where)
    values: dict[str, dict[int, bytes]] = {}
    for bank, of_bank in given.items():
        digits = _HEX_DIGITS.get(bank) if type(bank) is str else None
        if digits is None:
            raise EvidenceError(where, "a bank: one of " + ", ".join(HASH_ALGORITHMS), repr(bank)[:24])
        _refuse_duplicates(_dict(of_bank, f"{where}.{bank}"), f"{where}.{bank}")
        read = values[bank] = {}
        for key, text in of_bank.items():
            index = INDICES.get(key) if type(key) is str else None
            if index is None:
                raise EvidenceError(f"{where}.{bank}", 'a PCR index from "0" to "23"', repr(key)[:24])
            if type(text) is not str:
                raise EvidenceError(f"{where}.{bank}.{key}", f"{digits} hexadecimal digits", _kind(text))
            try:
                # Not bytes.fromhex: that one skips blanks.
                read[index] = binascii.unhexlify(text)
            except ValueError:
                raise EvidenceError(f"{where}.{bank}.{key}", f"{digits} hexadecimal digits", "something else") from None
            if len(text) != digits:
                raise EvidenceError(f"{where}.{bank}.{key}", f"{digits} hexadecimal digits", f"{len(text)}")
    return values


def _base64(block: dict[Any, Any], key: str, path: str) -> bytes:
    """Decode canonical base64 (RFC 4648, 4): the one text that encodes the bytes, no other that decodes to them."""
    text = _only(block, key, path)
    if type(text) is not str or not text:
        raise EvidenceError(f"{path}{key}", "a non-empty base64 string", _kind(text))
    if len(text) > BLOB_CHARACTERS_MAX:
        raise EvidenceError(f"{path}{key}", f"at most {BLOB_CHARACTERS_MAX} characters", f"{len(text)}")
    try:
        encoded = text.encode("ascii")
        decoded = binascii.a2b_base64(encoded)
    except ValueError:
        raise EvidenceError(f"{path}{key}", "base64", "something else") from None
    # Decoders skip strays and ignore the unused bits of the last character; encoding again tolerates neither.
    if binascii.b2a_base64(decoded, newline=False) != encoded:
        raise EvidenceError(f"{path}{key}", "canonical base64", "strays, padding or unused bits in it")
    return decoded


def _only(holder: dict[Any, Any], key: str, path: str) -> Any:
    """The value of a key that must stand exactly once."""
    if type(holder) is JsonObject and key in holder.duplicates:
        raise EvidenceError(f"{path}{key}", "the key once", "it twice or more")
    try:
        return holder[key]
    except KeyError:
        raise EvidenceError(f"{path}{key}", "the key", "nothing: it is missing") from None


def _refuse_duplicates(holder: dict[Any, Any], where: str) -> None:
    if type(holder) is JsonObject:
        raise EvidenceError(where, "each key once", f"{min(holder.duplicates)[:20]!r} twice or more")


def _dict(value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise EvidenceError(where, "a JSON object", _kind(value))
    return value


def _kind(value: object) -> str:
    """What a value is, in JSON's words, without showing it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {str: "a string", int: "a number", float: "a number", list: "an array", dict: "an object"}
    name = names.get(type(value), f"a {type(value).__name__}")
    return "an empty string" if value == "" else name
