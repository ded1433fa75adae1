"""What a ledger keeps of an answer: what the protocol names in `_metadata`, and what the policy asks for; no more.

A name that neither knows may hold words about a prompt, so it is left out. What is kept gives an appraisal the answers
that the whole would have given: a text that must not be kept becomes null, which no policy accepts, and evidence that
is malformed stays so. Only the findings' wording changes then, and `Keepsake.whole` says that something was changed.
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
"""What the protocol lets a server say of itself and of its answer; nothing signs it."""

FIELDS: Final = ("is_available", "pcr_banks", "quote_b64", "signature_b64", "aik_pubkey_b64")
"""Fields of `tpm_attestation` that are no object; `pcr_values` is one."""

CLAIM_MAX: Final = 256
"""Characters of the longest claim that is kept; honest ones are words and digests."""

FIELD_MAX: Final = 16384
"""Characters that are kept of a field of the evidence: none that is well-formed has half as many."""

TABLE_MAX: Final = 64
"""Entries of `pcr_values`, or of a bank in it, and characters of their names; eight banks have 24 at the most."""

DIGEST_MAX: Final = 1024
"""Characters of the longest PCR value that is kept, though it cannot be one; the longest of all has 128."""

_DEPTH_MAX: Final = 20
"""Levels of nesting in which a key that stands twice is looked for: no claim of a policy is as deep."""

MISPLACED: Final = {"tpmAttestation": {"isAvailable": None}}
"""Stands for evidence that is not where it is read: an appraisal refuses both for the same reason."""

OTHER_ID: Final = "…"
"""Stands for a payload id that must not be kept; none that is sent is outside ASCII."""

PLAIN_WORDS: Final = frozenset({"standard", "high", "maximum", "success"})
"""Words of the protocol: nobody's secret, though somebody may have sent one."""

Withhold = Callable[[list[str]], Collection[str]]
"""Texts → those of them that must not be kept."""


class Keepsake(msgspec.Struct, frozen=True):
    """What is kept of one answer.

    Attributes:
        evidence: in the shape of the answer, such as ``{"_metadata": {"tpm_attestation": {…}, …}}``.
        whole: whether all that the protocol or the policy names is as it came.
    """

    evidence: dict[str, Any]
    whole: bool


def keep(response: dict[str, Any], policy: AppraisalPolicy | None = None, withhold: Withhold | None = None) -> Keepsake:
    """What to keep of `response`: a whole one, its `_metadata`, or the bare `tpm_attestation` block.

    Args:
        policy: whose claims are kept besides those of the protocol, and whose own words are never withheld.
        withhold: says which texts must not be kept. It is not asked about well-formed evidence: base64, hexadecimal
            digits and the names of PCRs.
    """
    keeping = _Keeping(policy, frozenset())
    kept = keeping.of(response)
    if withhold is not None:
        secret = frozenset(withhold(sorted(set(_texts(kept.evidence, _is_evidence(kept.evidence))) - keeping.plain)))
        if secret:
            return _Keeping(policy, secret).of(response)
    return kept


class _Keeping:
    """One pass over an answer, in which the texts in `secret` are withheld."""

    def __init__(self, policy: AppraisalPolicy | None, secret: frozenset[str]) -> None:
        asked = {} if policy is None else policy.claims
        self.paths = (*CLAIMS, *(path for path in asked if path not in CLAIMS))
        self.plain = PLAIN_WORDS | {value for values in asked.values() for value in values if isinstance(value, str)}
        self._secret = secret
        self._whole = True

    def of(self, response: dict[str, Any]) -> Keepsake:
        evidence = self._shape(response)
        return Keepsake(evidence, self._whole)

    def _shape(self, response: dict[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        if _is_ambiguous(response, _DEPTH_MAX):
            kept = {METADATA: self._changed(None)}
        elif METADATA in response:
            kept = {METADATA: self._metadata(response[METADATA])}
            # Evidence beside the metadata makes it ambiguous; that it is there is all that matters.
            kept |= {key: self._changed(None) for key in (BLOCK, "is_available") if key in response}
        elif BLOCK in response:
            kept = self._metadata(response)
        elif "is_available" in response:
            kept = self._block(response)
        elif find_misplaced(response) is not None:
            kept = self._changed(dict(MISPLACED))
        return kept

    def _changed(self, value: Any) -> Any:
        self._whole = False
        return value

    def _metadata(self, metadata: Any) -> Any:
        if not isinstance(metadata, dict):
            return self._scalar(metadata, CLAIM_MAX)
        kept: dict[str, Any] = {}
        if "payload_id" in metadata:
            kept["payload_id"] = self._payload_id(metadata["payload_id"])
        if BLOCK in metadata:
            kept[BLOCK] = self._block(metadata[BLOCK])
        elif find_respelled(metadata) is not None:
            kept |= self._changed(MISPLACED)
        if "is_available" in metadata:
            kept["is_available"] = self._scalar(metadata["is_available"], CLAIM_MAX)
        for path in self.paths:
            self._claim(metadata, kept, path.split("."))
        return kept

    def _payload_id(self, given: Any) -> Any:
        """In the place of a payload id that must not be kept, one that no request has: it stays another's."""
        try:
            check_payload_id(given, "")
        except EvidenceError:
            return self._scalar(given, PAYLOAD_ID_MAX + 1, cut=True)
        return self._changed(OTHER_ID) if given in self._secret else given

    def _claim(self, holder: Any, kept: dict[str, Any], path: list[str]) -> None:
        for key in path[:-1]:
            if type(holder) is not dict or key not in holder:
                return
            holder = holder[key]
            if type(holder) is not dict or type(kept.setdefault(key, {})) is not dict:
                kept.setdefault(key, None)
                return
            kept = kept[key]
        name = path[-1]
        if type(holder) is dict and name in holder and name not in kept:
            kept[name] = self._scalar(holder[name], CLAIM_MAX)

    def _block(self, block: Any) -> Any:
        if not isinstance(block, dict):
            return self._scalar(block, CLAIM_MAX)
        kept = {name: self._scalar(block[name], FIELD_MAX, cut=True) for name in FIELDS if name in block}
        if "pcr_values" in block:
            kept["pcr_values"] = self._table(block["pcr_values"])
        return kept

    def _table(self, table: Any) -> Any:
        """`pcr_values`, or null in its place where it is larger than any, or holds what must not be kept."""
        if not isinstance(table, dict):
            return self._scalar(table, DIGEST_MAX)
        kept: dict[str, Any] = {}
        for bank, of_bank in table.items():
            if isinstance(of_bank, dict):
                if len(of_bank) > TABLE_MAX or not all(map(self._may_be_named, of_bank)):
                    return self._changed(None)
                kept[bank] = {index: self._scalar(value, DIGEST_MAX, cut=True) for index, value in of_bank.items()}
            else:
                kept[bank] = self._scalar(of_bank, DIGEST_MAX)
        if len(table) > TABLE_MAX or not all(map(self._may_be_named, table)):
            return self._changed(None)
        return kept

    def _may_be_named(self, name: object) -> bool:
        return type(name) is str and len(name) <= TABLE_MAX and name not in self._secret

    def _scalar(self, value: Any, most: int, *, cut: bool = False) -> Any:
        """A text of at most `most` characters, a number or a boolean; of anything else what is of the same kind.

        A longer text becomes its beginning if `cut`, and null otherwise.
        """
        if value is None or type(value) is bool:
            return value
        if type(value) is str:
            if value in self._secret:
                return self._changed(None)
            if len(value) > most and value not in self.plain:
                return self._secretless(value[:most]) if cut else self._changed(None)
            return value
        if type(value) is int and value.bit_length() <= 64:
            return value
        if type(value) is float and math.isfinite(value):
            return value
        if isinstance(value, (int, float)):
            return self._changed(0.0)
        if isinstance(value, (list, tuple)):
            return [] if not value else self._changed([])
        if isinstance(value, dict):
            return {} if not value else self._changed({})
        return self._changed(None)

    def _secretless(self, beginning: str) -> str | None:
        self._whole = False
        return None if beginning in self._secret else beginning


def _is_ambiguous(value: Any, depth: int) -> bool:
    """Whether a key stood twice in an object: what is written here could not say so."""
    if type(value) is JsonObject:
        return True
    return isinstance(value, dict) and depth > 0 and any(_is_ambiguous(inner, depth - 1) for inner in value.values())


def _is_evidence(kept: dict[str, Any]) -> bool:
    """Whether there is evidence in it that is well-formed."""
    try:
        return read_evidence(kept).available
    except EvidenceError:
        return False


def _texts(value: Any, well_formed: bool, named_by_us: bool = True) -> Iterator[str]:
    """Every text in what is to be kept, names of PCRs included; none of well-formed evidence."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if well_formed and key in ("pcr_values", *FIELDS):
                continue
            if not named_by_us:
                yield key
            yield from _texts(inner, well_formed, named_by_us and key != "pcr_values")
