"""One line of a ledger: what it says, its digest, and how it is read again.

A ledger is JSON Lines in ASCII. A record::

    {"format": "nomyo-attest-ledger/1", "number": 2, "previous": "sha256:…",
     "recorded_at": "2026-01-01T00:00:00.000000Z", "payload_id": "…", "given": true, "refused": null,
     "gate": "on", "whole": true, "evidence": {"_metadata": {…}}, "result": {…},
     "client": {"name": "nomyo", "version": "…"}}

`gate` is ``"on"`` if a policy decided whether the completion was released, ``"off"`` if there was a policy and the gate
was off for this call; it is absent if there was no policy, and in lines of older versions.

The first line of a file that follows another one names it: ``"continues": "evidence.0001.jsonl"``, behind `previous`.
A line that was torn by a crash is replaced by one that holds what was left of it::

    {"format": …, "number": …, "previous": …, "recorded_at": …, "repair": {"bytes": 17, "sha256": "…", "torn": "…"}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.response import check_payload_id
from nomyo_attest.evidence.strict_json import TEXT_MAX, JsonObject, describe_type
from nomyo_attest.evidence.times import seconds_of

LEDGER_FORMAT: Final = "nomyo-attest-ledger/1"

LINE_MAX: Final = TEXT_MAX
"""Bytes of the longest line, its newline included: what a reader of evidence takes."""

NO_PREVIOUS: Final = "sha256:" + 64 * "0"
"""`previous` of the first line of all."""

BEGINNING: Final = b'{"format":"' + LEDGER_FORMAT.encode() + b'","number":'
"""How every line begins, to the byte: by it a line that was torn is told from a file that is no ledger."""

GATES: Final = ("on", "off")
"""Values of `gate`."""

_REPAIR_KEYS: Final = frozenset({"format", "number", "previous", "continues", "recorded_at", "repair"})

_ELSEWHERE: Final = ("_metadata", "tpm_attestation", "is_available")
"""Keys under which evidence would stand outside `evidence`: then there are two, and either could be meant."""

_READ: Final = frozenset({"format", "payload_id", "given", "evidence"})
_RECORDING: Final = frozenset({"recorded_at", "refused", "gate"})


class Recorded(NamedTuple):
    """What a line says about the recording of a response, in the words of the client and by its clock.

    Attributes:
        at: `recorded_at` in whole seconds since 1970, UTC; None if the line has none.
        gate: one of `GATES`; None if the line does not say.
        released: whether the caller got the completion: `refused` is null. None if the line has no `refused`.
    """

    at: int | None = None
    gate: str | None = None
    released: bool | None = None


def digest_of(line: bytes) -> str:
    """``sha256:`` and the SHA-256, in hex, over a line's exact bytes without its newline."""
    return "sha256:" + hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def encode_line(number: int, previous: str, more: Mapping[str, Any]) -> bytes:
    """A line with its newline. `more` is what stands in it behind `format`, `number` and `previous`.

    ASCII: lone surrogates, which JSON can say and UTF-8 cannot, stay what they are, and no reader sees a line end in a
    text.
    """
    document = {"format": LEDGER_FORMAT, "number": number, "previous": previous, **more}
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def is_line(document: object) -> bool:
    """Whether a JSON value is a line of a ledger, a record or a repair."""
    return isinstance(document, dict) and document.get("format") == LEDGER_FORMAT


def is_repair(document: object) -> bool:
    """Whether a JSON value is the line of a ledger that notes a repair: it is no record, and holds no evidence.

    Nothing else may stand in it, so that no response is passed over because its server made it look like one: what a
    client hands over has `_metadata`.
    """
    return is_line(document) and isinstance(document, dict) and "repair" in document and document.keys() <= _REPAIR_KEYS


def recorded_of(document: dict[str, Any]) -> Recorded:
    """What a record's line says about its recording. Raises `EvidenceError` for a value that no writer makes."""
    _refuse_twice(document, _RECORDING)
    time, gate, refused = document.get("recorded_at"), document.get("gate"), document.get("refused")
    at = seconds_of(time) if isinstance(time, str) else None
    if time is not None and at is None:
        raise EvidenceError("recorded_at", "an RFC 3339 time with an offset", describe_type(time))
    if gate is not None and gate not in GATES:
        raise EvidenceError("gate", "'on' or 'off'", describe_type(gate))
    if refused is not None and not isinstance(refused, str):
        raise EvidenceError("refused", "null or a code", describe_type(refused))
    return Recorded(at, gate, refused is None if "refused" in document else None)


def open_line(document: dict[str, Any]) -> tuple[Any, str | None]:
    """What a record's line holds for an appraisal: ``appraise(evidence, policy, payload_id=payload_id)``.

    Returns the evidence, ``{"_metadata": …}``, and the payload id that the client had sent, None where the line says
    that it was not given.

    Raises `EvidenceError` for a line that is not as it must be, or that notes a repair.
    """
    _refuse_twice(document, _READ)
    for key in _ELSEWHERE:
        if key in document:
            raise EvidenceError(key, "evidence in one place, evidence", "more of it beside that")
    if "evidence" not in document:
        got = "a repair, which is no record" if is_repair(document) else "nothing: it is missing"
        raise EvidenceError("evidence", "this key", got)
    given = document.get("given")
    if type(given) is not bool:
        raise EvidenceError("given", "true or false", describe_type(given))
    return document["evidence"], check_payload_id(document.get("payload_id"), "") if given else None


def _refuse_twice(document: dict[str, Any], keys: frozenset[str]) -> None:
    if type(document) is JsonObject and document.duplicates & keys:
        raise EvidenceError(min(document.duplicates & keys), "the key once", "it twice or more")
