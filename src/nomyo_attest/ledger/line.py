"""Write and read one line of a ledger.

A ledger is JSON Lines in ASCII. A record::

    {"format": "nomyo-attest-ledger/1", "number": 2, "previous": "sha256:…",
     "recorded_at": "2026-01-01T00:00:00.000000Z", "payload_id": "…", "given": true, "refused": null,
     "gate": "on", "whole": true, "evidence": {"_metadata": {…}}, "result": {…},
     "client": {"name": "nomyo", "version": "…"}}

`gate` is ``"on"`` if a policy decided whether the completion was released, ``"off"`` if there was a policy and the gate
was off for this call; it is absent if there was no policy, and in lines of older versions. `canary`, which is absent or
true, marks the response to a constant question that the client sent to appraise the server.

The first line of a file that follows another one names it after `previous`: ``"continues": "evidence.0001.jsonl"``.
A line that a crash cut off is replaced by a repair line, which contains the remainder of that line::

    {"format": …, "number": …, "previous": …, "recorded_at": …, "repair": {"bytes": 17, "sha256": "…", "torn": "…"}}
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.response import check_payload_id
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX, JsonObject, check_containers, describe_type
from nomyo_attest.evidence.times import seconds_of

LEDGER_FORMAT: Final = "nomyo-attest-ledger/1"

LINE_MAX: Final = RECORD_BYTES_MAX
"""The maximum length of a line in bytes, including its newline: the limit of the evidence reader."""

TORN_STORED_MAX: Final = LINE_MAX // 4
"""The maximum number of bytes of a torn line in its repair line. A line that a client writes is shorter."""

NO_PREVIOUS: Final = "sha256:" + 64 * "0"
"""`previous` of the first line of a ledger."""

BEGINNING: Final = b'{"format":"' + LEDGER_FORMAT.encode() + b'","number":'
"""The first bytes of every line; they distinguish a torn line from a file that is not a ledger."""

GATES: Final = ("on", "off")
"""Values of `gate`."""

_REPAIR_KEYS: Final = frozenset({"format", "number", "previous", "continues", "recorded_at", "repair"})

_MISPLACED_KEYS: Final = ("_metadata", "tpm_attestation", "is_available")
"""Keys of evidence that a line must not have outside `evidence`, because they would make it ambiguous."""

_APPRAISAL_KEYS: Final = frozenset({"format", "payload_id", "given", "evidence"})
_RECORDING_KEYS: Final = frozenset({"recorded_at", "refused", "gate"})


class Recording(NamedTuple):
    """How a response was recorded, according to the client and its clock.

    Attributes:
        at: `recorded_at` in whole seconds since 1970, UTC; None if the line has none.
        gate: one of `GATES`; None if the line has no `gate`.
        released: whether the completion was released to the caller: `refused` is null. None if there is no `refused`.
    """

    at: int | None = None
    gate: str | None = None
    released: bool | None = None


def digest_of(line: bytes) -> str:
    """Return ``sha256:`` and the SHA-256, in hex, of a line's exact bytes without its newline."""
    return "sha256:" + hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def encode_line(number: int, previous: str, more: Mapping[str, Any]) -> bytes:
    """Encode a line, with its newline; `more` contains the keys after `format`, `number` and `previous`.

    The line is ASCII: it preserves lone surrogates, which JSON can contain and UTF-8 cannot, and no reader mistakes a
    character of a text for a newline.
    """
    document = {"format": LEDGER_FORMAT, "number": number, "previous": previous, **more}
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def is_line(document: object) -> bool:
    """Whether a JSON value is a line of a ledger: a record, or a repair."""
    return isinstance(document, dict) and document.get("format") == LEDGER_FORMAT


def is_repair(document: object) -> bool:
    """Whether a JSON value is a repair line, which replaces a torn line and contains no record.

    Other keys are not allowed, so that a server cannot hide a response from audits by making it look like a repair.
    """
    return is_line(document) and isinstance(document, dict) and "repair" in document and document.keys() <= _REPAIR_KEYS


def read_recording(document: dict[str, Any]) -> Recording:
    """Read how a record was recorded, according to its line. Raises `EvidenceError` for an invalid value."""
    _refuse_duplicates(document, _RECORDING_KEYS)
    time, gate, refused = document.get("recorded_at"), document.get("gate"), document.get("refused")
    at = seconds_of(time) if isinstance(time, str) else None
    if time is not None and at is None:
        raise EvidenceError("recorded_at", "an RFC 3339 time with an offset", describe_type(time))
    if gate is not None and gate not in GATES:
        raise EvidenceError("gate", "'on' or 'off'", describe_type(gate))
    if refused is not None and not isinstance(refused, str):
        raise EvidenceError("refused", "null or a code", describe_type(refused))
    return Recording(at, gate, refused is None if "refused" in document else None)


def open_line(document: dict[str, Any]) -> tuple[Any, str | None]:
    """Return the evidence and the payload id of a line, for ``appraise(evidence, policy, payload_id=payload_id)``.

    Returns:
        The evidence, ``{"_metadata": …}``, and the payload id that the client sent; None if it is unknown.

    Raises:
        EvidenceError: a key is missing, duplicate or of the wrong type, or the line contains no record.
    """
    _refuse_duplicates(document, _APPRAISAL_KEYS)
    for key in _MISPLACED_KEYS:
        if key in document:
            raise EvidenceError(key, "evidence only under the key 'evidence'", "this key too")
    if "evidence" not in document:
        got = "a repair line, which contains no record" if is_repair(document) else "no such key"
        raise EvidenceError("evidence", "the key to be present", got)
    given = document.get("given")
    if type(given) is not bool:
        raise EvidenceError("given", "true or false", describe_type(given))
    return document["evidence"], check_payload_id(document.get("payload_id"), "") if given else None


def _refuse_duplicates(document: dict[str, Any], keys: frozenset[str]) -> None:
    if type(document) is JsonObject and document.duplicates & keys:
        raise EvidenceError(min(document.duplicates & keys), "a unique key", "a duplicate key")


class RepairContent(msgspec.Struct):
    """The value of `repair`: the remainder of a torn line; see `nomyo_attest.ledger.log.Tail.repair_keys`."""

    bytes: int
    sha256: str
    torn: str


class Line(msgspec.Struct):
    """The keys of a line; a later version may add more."""

    format: str
    number: int
    previous: str
    recorded_at: str
    continues: str | None = None
    repair: RepairContent | None = None
    given: bool | None = None
    whole: bool | None = None
    payload_id: str | None = None
    refused: str | None = None
    gate: str | None = None
    evidence: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()


_DECODER: Final = msgspec.json.Decoder(Line)

_INCOMPLETE: Final = "a line with a missing key or a value of the wrong type"


def read_line(line: bytes) -> Line | str:
    """Parse the keys that verify the chain. Returns a description of the problem if this is not a line of a ledger."""
    if not line.startswith(BEGINNING):
        return "an empty line" if not line.strip() else "text that does not begin as a line of a ledger does"
    try:
        parsed = _DECODER.decode(line)
    except msgspec.ValidationError:
        return _INCOMPLETE
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # It may contain a lone surrogate, which is valid in JSON but rejected by msgspec's UTF-8 decoder.
        document = _read_with_surrogates(line)
        if document is None:
            return "invalid JSON"
        parsed = document
    if parsed.format != LEDGER_FORMAT or parsed.number < 1 or not line.removesuffix(b"\n").endswith(b"}"):
        return "a line of another format"
    if (parsed.repair is None) is (not parsed.evidence):
        return "a line that is neither a record nor a repair"
    if parsed.repair is not None:
        return parsed if _is_consistent(parsed.repair) else "a repair line whose size, digest and content do not match"
    if parsed.given is None or parsed.whole is None or not parsed.result:
        return _INCOMPLETE
    return parsed


def _read_with_surrogates(line: bytes) -> Line | None:
    try:
        check_containers(line)
        document = json.loads(line)
        document |= {key: msgspec.Raw(b"{}") for key in ("evidence", "result") if key in document}
        for key in ("payload_id", "refused", "gate"):
            if isinstance(document.get(key), str):
                document[key] = ""
        return msgspec.convert(document, Line)
    except (ValueError, TypeError, RecursionError, msgspec.ValidationError):
        return None


def _is_consistent(content: RepairContent) -> bool:
    try:
        torn = base64.b64decode(content.torn, validate=True)
    except ValueError:
        return False
    if len(torn) < content.bytes:
        return len(torn) == TORN_STORED_MAX
    return len(torn) == content.bytes and hashlib.sha256(torn).hexdigest() == content.sha256
