"""Recorded responses by the million: JSON text → `Evidence`, as `read_evidence` reads it, in less time.

Most records are alike: a whole response, or its `_metadata`, in which every key that matters stands once. Those are
decoded into types, without making objects of what is not looked at. Such a decoder cannot see a key that stands twice,
so keys are counted in the bytes: in the block by their colons, each of which is known; outside it by name. A text that
is different in any way, or could spell a key with escapes, goes to `read_evidence`, which also has the words for what
is wrong.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.model import Evidence
from nomyo_attest.evidence.pcrs import PcrReport, read_report
from nomyo_attest.evidence.response import BLOCK, METADATA, check_payload_id, decode_base64, read_evidence
from nomyo_attest.evidence.text import DEPTH_MAX, LONG, TEXT_MAX

CLAIMS_READ: Final = ("processed_at", "security_tier")
"""The claims that an `Evidence` of `read_line` has at the least, where the server makes them."""

_OUTSIDE_ONCE: Final = tuple(f'"{key}"'.encode() for key in (BLOCK, "payload_id"))
_CLAIM_KEYS: Final = tuple(f'"{key}"'.encode() for key in CLAIMS_READ)
_BLOCK_KEY: Final = _OUTSIDE_ONCE[0]
_IN_BLOCK_ONLY: Final = b'"is_available"'
_METADATA_KEY: Final = f'"{METADATA}"'.encode()

_ASCII_ESCAPED: Final = re.compile(rb"\\u00[2-7]")
"""An escape of a printable ASCII character, with which a key can be spelt so that it is not found in the bytes."""

_NESTED_MAXIMUM: Final = DEPTH_MAX
"""Opening brackets in a text that `parse_json` cannot find nested too deep."""

_REPORTS_KEPT: Final = 256
"""Texts of PCR values whose report is known: a fleet reports the same ones over and over."""


class _Block(msgspec.Struct):
    is_available: bool
    pcr_banks: str
    pcr_values: msgspec.Raw
    quote_b64: str
    signature_b64: str
    aik_pubkey_b64: str


class _Metadata(msgspec.Struct):
    tpm_attestation: msgspec.Raw
    payload_id: str
    processed_at: Any = msgspec.UNSET
    security_tier: Any = msgspec.UNSET


class _Response(msgspec.Struct):
    metadata: msgspec.Raw = msgspec.field(name=METADATA)


_response = msgspec.json.Decoder(_Response)
_metadata = msgspec.json.Decoder(_Metadata)
_block = msgspec.json.Decoder(_Block)
_values = msgspec.json.Decoder(dict[str, dict[str, str]])
_reports: dict[tuple[str, bytes, str], tuple[PcrReport, int]] = {}


def read_line(text: bytes) -> Evidence:
    """The same as `read_evidence(text)`, but that the claims may be no more than those of `CLAIMS_READ`.

    Raises `EvidenceError`.
    """
    return _read_quickly(text) or read_evidence(text)


def _read_quickly(text: bytes) -> Evidence | None:
    """The evidence in a usual record; None for any other."""
    try:
        return _read_usual(text)
    except (msgspec.MsgspecError, ValueError, RecursionError, EvidenceError):
        return None


def _read_usual(text: bytes) -> Evidence | None:
    if len(text) > TEXT_MAX or (b"\\" in text and _ASCII_ESCAPED.search(text)):
        return None
    if not text.isascii():
        text.decode("utf-8")  # the decoder does not look into text that it skips
    path = ""
    raw = msgspec.Raw(text)
    holders = text.count(_METADATA_KEY)
    if holders:
        path, raw = f"{METADATA}.", _response.decode(text).metadata
    if len(bytes(raw)) > LONG:
        return None  # `read_evidence` counts what is in it first
    metadata = _metadata.decode(raw)
    inner = bytes(metadata.tpm_attestation)
    start = text.find(b"{", text.find(_BLOCK_KEY))
    end = start + len(inner)
    outside = text[:start] + text[end:]
    if (
        holders > 1
        or text[start:end] != inner
        or any(outside.count(key) != 1 for key in _OUTSIDE_ONCE)
        or any(outside.count(key) > 1 for key in _CLAIM_KEYS)
        or _IN_BLOCK_ONLY in outside
        or outside.count(b"{") + outside.count(b"[") > _NESTED_MAXIMUM
    ):
        return None
    block = _block.decode(inner)
    path = f"{path}{BLOCK}."
    report, keys_within = _report(block.pcr_banks, bytes(block.pcr_values), path)
    # Every colon in the block stands behind a key, right behind its quotation mark, but for those of the selection:
    # so there are as many keys as are known, and none is there twice.
    keys = inner.count(b'":')
    if keys != _KEYS + keys_within or inner.count(b":") != keys + block.pcr_banks.count(":") or not block.is_available:
        return None
    return Evidence(
        available=True,
        pcrs=report,
        quote=decode_base64(block.quote_b64, path, "quote_b64"),
        signature=decode_base64(block.signature_b64, path, "signature_b64"),
        aik_public=decode_base64(block.aik_pubkey_b64, path, "aik_pubkey_b64"),
        payload_id=check_payload_id(metadata.payload_id, ""),
        claims=_claims(metadata),
    )


def _claims(metadata: _Metadata) -> dict[str, Any]:
    """The claims that were made. Raises `ValueError` for one that is no plain value: a key may stand in it twice."""
    claims = {"processed_at": metadata.processed_at, "security_tier": metadata.security_tier}
    made = {name: claim for name, claim in claims.items() if claim is not msgspec.UNSET}
    if not all(claim is None or type(claim) in (bool, int, float, str) for claim in made.values()):
        raise ValueError("a claim that is no plain value")
    return made


_KEYS: Final = len(msgspec.structs.fields(_Block))


def _report(banks: str, values: bytes, path: str) -> tuple[PcrReport, int]:
    """The report, and how many keys it has: its text has more where one stands twice."""
    key = (banks, values, path)
    known = _reports.get(key)
    if known is None:
        report = read_report(banks, _values.decode(values), path)
        known = report, len(report.values) + sum(map(len, report.values.values()))
        if len(_reports) >= _REPORTS_KEPT:
            _reports.clear()
        _reports[key] = known
    return known
