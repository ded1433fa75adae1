"""Select the parts of a response that a ledger stores: the fields of `_metadata` that the protocol or the policy names.

These are `CLAIMS`, the claims in the policy, the payload id, and the `FIELDS` and `pcr_values` of the evidence; never
the completion. Any other field may contain words of a prompt, so it is omitted. Appraising the stored evidence gives
the same outcomes as appraising the response: a text that must not be stored becomes null, which no policy accepts, and
malformed evidence stays malformed. `Redacted.whole` is false if a value was changed; only then can the wording of
findings differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import msgspec

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.misplaced import find_misplaced, find_respelled
from nomyo_attest.evidence.response import BLOCK, METADATA, PAYLOAD_ID_MAX, check_payload_id, read_evidence
from nomyo_attest.evidence.strict_json import JsonObject
from nomyo_attest.policy import AppraisalPolicy

CLAIMS: Final = (
    "processed_at",
    "response_status",
    "security_tier",
    "memory_protection.platform",
    "memory_protection.memory_locking",
    "memory_protection.secure_zeroing",
    "memory_protection.core_dump_prevention",
    "cuda_device.available",
    "cuda_device.device_hash",
)
"""The claims of the protocol: unsigned statements of a server about itself and its response."""

FIELDS: Final = ("is_available", "pcr_banks", "quote_b64", "signature_b64", "aik_pubkey_b64")
"""Fields of `tpm_attestation` other than `pcr_values`, which is an object."""

CLAIM_MAX: Final = 256
"""The maximum length of a claim that is stored, in characters. Genuine claims are words and digests."""

FIELD_MAX: Final = 16384
"""The maximum number of characters stored of a field of the evidence, more than twice that of a well-formed field."""

TABLE_MAX: Final = 64
"""The maximum number of entries of `pcr_values` and of each bank, and of characters in their names.

TPMs have at most eight banks of 24 PCRs.
"""

DIGEST_MAX: Final = 1024
"""The maximum number of characters stored of a PCR value. The longest well-formed one (SHA-512) has 128."""

_NESTING_MAX: Final = 20
"""The maximum depth of the search for duplicate keys; a policy's claims are never nested this deep."""

MISPLACED: Final = {"tpmAttestation": {"isAvailable": None}}
"""Stored instead of misplaced evidence; an appraisal rejects both for the same reason."""

REPLACEMENT_ID: Final = "…"
"""Stored instead of a payload id that must not be stored. Clients send ASCII, so it never matches a request."""

PLAIN_WORDS: Final = frozenset({"standard", "high", "maximum", "success"})
"""Words of the protocol, which are always stored, even if a prompt contains them."""

Withhold = Callable[[list[str]], Collection[str]]
"""Returns the texts, of those passed to it, that must not be stored."""


class Redacted(msgspec.Struct, frozen=True):
    """The stored part of one response.

    Attributes:
        evidence: in the structure of the response, such as ``{"_metadata": {"tpm_attestation": {…}, …}}``.
        whole: whether each field that the protocol or the policy names is unchanged.
    """

    evidence: dict[str, Any]
    whole: bool


def redact(
    response: dict[str, Any], policy: AppraisalPolicy | None = None, withhold: Withhold | None = None
) -> Redacted:
    """Select what to store of a response.

    Args:
        response: a whole response, its `_metadata`, or the bare `tpm_attestation` block.
        policy: its claims are stored too, and the values that it accepts are never withheld.
        withhold: returns the texts that must not be stored. It is not called with the texts of well-formed evidence:
            base64, hexadecimal digits and the names of PCRs.
    """
    redaction = _Redaction(policy, frozenset())
    redacted = redaction.of(response)
    if withhold is not None:
        texts = set(_texts(redacted.evidence, _is_evidence(redacted.evidence))) - redaction.never_withheld
        secret = frozenset(withhold(sorted(texts)))
        if secret:
            return _Redaction(policy, secret).of(response)
    return redacted


class _Redaction:
    """One pass over a response, in which the texts in `secret` are withheld."""

    def __init__(self, policy: AppraisalPolicy | None, secret: frozenset[str]) -> None:
        claims = {} if policy is None else policy.claims
        self.paths = (*CLAIMS, *(path for path in claims if path not in CLAIMS))
        self.never_withheld = PLAIN_WORDS | {
            value for values in claims.values() for value in values if isinstance(value, str)
        }
        self._secret = secret
        self._whole = True

    def of(self, response: dict[str, Any]) -> Redacted:
        evidence = self._redact_response(response)
        return Redacted(evidence, self._whole)

    def _redact_response(self, response: dict[str, Any]) -> dict[str, Any]:
        stored: dict[str, Any] = {}
        if _is_ambiguous(response, _NESTING_MAX):
            stored = {METADATA: self._mark_changed(None)}
        elif METADATA in response:
            stored = {METADATA: self._redact_metadata(response[METADATA])}
            # Evidence outside the metadata makes the response ambiguous; its content does not matter.
            stored |= {key: self._mark_changed(None) for key in (BLOCK, "is_available") if key in response}
        elif BLOCK in response:
            stored = self._redact_metadata(response)
        elif "is_available" in response:
            stored = self._redact_block(response)
        elif find_misplaced(response) is not None:
            stored = self._mark_changed(dict(MISPLACED))
        return stored

    def _mark_changed(self, value: Any) -> Any:
        self._whole = False
        return value

    def _redact_metadata(self, metadata: Any) -> Any:
        if not isinstance(metadata, dict):
            return self._redact_scalar(metadata, CLAIM_MAX)
        stored: dict[str, Any] = {}
        if "payload_id" in metadata:
            stored["payload_id"] = self._redact_payload_id(metadata["payload_id"])
        if BLOCK in metadata:
            stored[BLOCK] = self._redact_block(metadata[BLOCK])
        elif find_respelled(metadata) is not None:
            stored |= self._mark_changed(MISPLACED)
        if "is_available" in metadata:
            stored["is_available"] = self._redact_scalar(metadata["is_available"], CLAIM_MAX)
        for path in self.paths:
            self._redact_claim(metadata, stored, path.split("."))
        return stored

    def _redact_payload_id(self, payload_id: Any) -> Any:
        """Replace a payload id that must not be stored with `REPLACEMENT_ID`."""
        try:
            check_payload_id(payload_id, "")
        except EvidenceError:
            return self._redact_scalar(payload_id, PAYLOAD_ID_MAX + 1, cut=True)
        return self._mark_changed(REPLACEMENT_ID) if payload_id in self._secret else payload_id

    def _redact_claim(self, source: Any, stored: dict[str, Any], path: list[str]) -> None:
        for key in path[:-1]:
            if type(source) is not dict or key not in source:
                return
            source = source[key]
            if type(source) is not dict or type(stored.setdefault(key, {})) is not dict:
                stored.setdefault(key, None)
                return
            stored = stored[key]
        name = path[-1]
        if type(source) is dict and name in source and name not in stored:
            stored[name] = self._redact_scalar(source[name], CLAIM_MAX)

    def _redact_block(self, block: Any) -> Any:
        if not isinstance(block, dict):
            return self._redact_scalar(block, CLAIM_MAX)
        stored = {name: self._redact_scalar(block[name], FIELD_MAX, cut=True) for name in FIELDS if name in block}
        if "pcr_values" in block:
            stored["pcr_values"] = self._redact_table(block["pcr_values"])
        return stored

    def _redact_table(self, table: Any) -> Any:
        """Redact `pcr_values`. Returns null if it has too many entries, or a name that must not be stored."""
        if not isinstance(table, dict):
            return self._redact_scalar(table, DIGEST_MAX)
        stored: dict[str, Any] = {}
        for bank, values in table.items():
            if isinstance(values, dict):
                if len(values) > TABLE_MAX or not all(map(self._is_storable_name, values)):
                    return self._mark_changed(None)
                stored[bank] = {
                    index: self._redact_scalar(value, DIGEST_MAX, cut=True) for index, value in values.items()
                }
            else:
                stored[bank] = self._redact_scalar(values, DIGEST_MAX)
        if len(table) > TABLE_MAX or not all(map(self._is_storable_name, table)):
            return self._mark_changed(None)
        return stored

    def _is_storable_name(self, name: object) -> bool:
        return type(name) is str and len(name) <= TABLE_MAX and name not in self._secret

    def _redact_scalar(self, value: Any, maximum: int, *, cut: bool = False) -> Any:
        """Redact one value: keep a short text, a number or a boolean; otherwise return an empty value of the same type.

        A longer text is cut to `maximum` characters if `cut`, and becomes null otherwise.
        """
        if value is None or type(value) is bool:
            return value
        if type(value) is str:
            if value in self._secret:
                return self._mark_changed(None)
            if len(value) > maximum and value not in self.never_withheld:
                return self._cut(value[:maximum]) if cut else self._mark_changed(None)
            return value
        if type(value) is int and value.bit_length() <= 64:
            return value
        if type(value) is float and math.isfinite(value):
            return value
        if isinstance(value, (int, float)):
            return self._mark_changed(0.0)
        if isinstance(value, (list, tuple)):
            return [] if not value else self._mark_changed([])
        if isinstance(value, dict):
            return {} if not value else self._mark_changed({})
        return self._mark_changed(None)

    def _cut(self, beginning: str) -> str | None:
        self._whole = False
        return None if beginning in self._secret else beginning


def _is_ambiguous(value: Any, depth: int) -> bool:
    """Whether an object has a duplicate key, which the stored copy could not preserve."""
    if type(value) is JsonObject:
        return True
    return isinstance(value, dict) and depth > 0 and any(_is_ambiguous(inner, depth - 1) for inner in value.values())


def _is_evidence(stored: dict[str, Any]) -> bool:
    """Whether `stored` contains well-formed evidence."""
    try:
        return read_evidence(stored).available
    except EvidenceError:
        return False


def _texts(value: Any, well_formed: bool, is_fixed_name: bool = True) -> Iterator[str]:
    """Yield every text of a redacted response, including the names of PCRs, except those of well-formed evidence."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if well_formed and key in ("pcr_values", *FIELDS):
                continue
            if not is_fixed_name:
                yield key
            yield from _texts(inner, well_formed, is_fixed_name and key != "pcr_values")
