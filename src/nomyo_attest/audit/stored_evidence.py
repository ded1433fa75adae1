"""Read and write stored evidence: lines of a ledger, and verdicts written with ``--keep-evidence``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from nomyo_attest.audit.row import COLUMNS
from nomyo_attest.errors import EvidenceError, MisplacedEvidenceError, without_traceback
from nomyo_attest.evidence.response import BLOCK, METADATA, Evidence, read_evidence
from nomyo_attest.evidence.strict_json import (
    FULL_PARSE_MAX,
    RECORD_BYTES_MAX,
    JsonObject,
    describe_type,
    parse_long_response,
    parse_record,
)
from nomyo_attest.evidence.times import seconds_of
from nomyo_attest.ledger.line import GATES, LEDGER_FORMAT, Recording, is_line, is_repair, open_line, read_recording
from nomyo_attest.ledger.redaction import CLAIMS, FIELDS

_MARKERS: Final = (LEDGER_FORMAT.encode(), b'"pcr_profile"')
"""Every record with stored evidence contains one of these texts; few responses do."""

_RESPONSE_KEYS: Final = (METADATA, BLOCK, "is_available")
"""Keys that identify a response, its metadata or its block: an object with one of them is not stored evidence."""

_REQUIRED_ROW_KEYS: Final = frozenset({"source", "line", "verdict", "pcr_profile", "evidence"})
"""Keys that a verdict with evidence must have; its other keys are those of a row."""

_COLUMNS: Final = frozenset(COLUMNS)

_COMPLETION_KEY: Final = "choices"
"""A key that every response has and stored evidence never has, so that a response cannot pose as stored evidence."""

_PROTOCOL_KEYS: Final = frozenset(
    {*FIELDS, "pcr_values", BLOCK, "payload_id", "is_encrypted", *(path.split(".")[0] for path in CLAIMS)}
)
"""Keys of the protocol in `_metadata` and in the block."""

_BOM: Final = b"\xef\xbb\xbf"


class StoredEvidence(msgspec.Struct, frozen=True):
    """The evidence of one record.

    Attributes:
        evidence: the parsed evidence, for an appraisal.
        payload_id: the payload id that the client passed to its appraisal; None if it passed none.
        text: evidence and payload id as JSON text, to be stored again; None if they cannot be extracted.
        recorded: how and when a ledger recorded the response.
        problem: why the record cannot be appraised; None if it can.
    """

    evidence: Any
    payload_id: str | None = None
    text: msgspec.Raw | None = None
    recorded: Recording = Recording()
    problem: EvidenceError | None = None


class RepairError(Exception):
    """The record is a ledger's line that replaces a torn line, and has no evidence."""

    def __init__(self, document: dict[str, Any]) -> None:
        repair = document["repair"]
        size = repair.get("bytes") if isinstance(repair, dict) else None
        rest = f"{size} bytes" if type(size) is int else "an unknown part"
        super().__init__(f"the ledger's line was torn when its writer stopped; {rest} of it remained")


def read_one_record(text: bytes) -> tuple[Evidence | EvidenceError, str | None]:
    """Read one record as an audit does: a response, a line of a ledger, or a verdict with its evidence.

    Returns:
        The evidence, or the error if it is malformed, and the payload id that the client passed to its appraisal, which
        an appraisal must use; None for a response, and for a line whose client passed none.

    Raises:
        MisplacedEvidenceError: the evidence is not at the top level of the record.
        RepairError: the record is a ledger's line that replaces a torn line.
    """
    payload_id: str | None = None
    try:
        stored = read_stored_evidence(text)
        if stored is None:
            return read_evidence(text), None
        if stored.problem is not None:
            raise stored.problem
        payload_id = stored.payload_id
        return read_evidence(stored.evidence), payload_id
    except MisplacedEvidenceError:
        raise
    except EvidenceError as error:
        return without_traceback(error), payload_id


class _LinePart(msgspec.Struct):
    part: msgspec.Raw = msgspec.field(name="evidence")


class _ResponsePart(msgspec.Struct):
    part: msgspec.Raw = msgspec.field(name=METADATA)


def read_stored_evidence(text: bytes) -> StoredEvidence | None:
    """Read the evidence that a record stores; returns None if the record is a response.

    Raises:
        EvidenceError: the record is malformed.
        RepairError: it is a ledger's line that replaces a torn line.
    """
    if not any(mark in text for mark in _MARKERS) or len(text) > RECORD_BYTES_MAX:
        return None
    try:
        document = parse_record(text)
    except EvidenceError:
        return None  # `read_evidence` reports the error
    if not isinstance(document, dict) or _COMPLETION_KEY in document or any(key in document for key in _RESPONSE_KEYS):
        return None
    if is_repair(document):
        raise RepairError(document)
    part = _extract(text.removeprefix(_BOM), _LinePart)
    if is_line(document):
        return _with_recording(document, part, lambda: read_recording(document))
    if not _REQUIRED_ROW_KEYS <= document.keys() <= _COLUMNS or document["evidence"] is None:
        return None
    if type(document) is JsonObject and document.duplicates:
        raise EvidenceError(min(document.duplicates)[:40], "a unique key", "a duplicate key")
    evidence = document["evidence"]
    if is_line(evidence) and not any(key in evidence for key in _RESPONSE_KEYS):
        return _with_recording(evidence, part and _extract(bytes(part), _LinePart), lambda: _recorded_in_row(document))
    return StoredEvidence(
        evidence, None, part if _is_without_completion(evidence) else None, _recorded_in_row(document)
    )


def _with_recording(line: dict[str, Any], part: msgspec.Raw | None, read: Callable[[], Recording]) -> StoredEvidence:
    """Read a ledger's line. `recorded` is set even if the line cannot be appraised."""
    recorded = Recording()
    try:
        recorded = read()
        return msgspec.structs.replace(_read_line(line, part), recorded=recorded)
    except EvidenceError as error:
        return StoredEvidence(None, recorded=recorded, problem=error)


def _recorded_in_row(row: dict[str, Any]) -> Recording:
    """Read the columns about the recording from a verdict on a ledger's line. Raises `EvidenceError`."""
    at, gate, released = row.get("recorded_at"), row.get("gate"), row.get("released")
    if at is not None and (type(at) is not int or seconds_of(at) is None):
        raise EvidenceError("recorded_at", "whole seconds since 1970", describe_type(at))
    if gate is not None and gate not in GATES:
        raise EvidenceError("gate", "'on' or 'off'", describe_type(gate))
    if released is not None and type(released) is not bool:
        raise EvidenceError("released", "true, false or null", describe_type(released))
    return Recording(at, gate, released)


def _is_without_completion(evidence: Any) -> bool:
    """Whether the evidence of a line is an object without a completion, even if another program wrote the line."""
    return isinstance(evidence, dict) and _COMPLETION_KEY not in evidence


def _read_line(line: dict[str, Any], part: msgspec.Raw | None) -> StoredEvidence:
    """Read the evidence of a ledger's line; `part` is its JSON text. Raises `EvidenceError`.

    If the client passed a payload id, the evidence is stored as a line with that id. Without it, a re-appraisal would
    use the id in the response, and accept the evidence of a different response. Evidence that looks like a line is also
    stored as the evidence of a line, so that it is not mistaken for a line the next time.
    """
    evidence, payload_id = open_line(line)
    if not _is_without_completion(evidence):
        part = None
    if part is not None and (payload_id is not None or is_line(evidence)):
        fields = {"format": LEDGER_FORMAT, "payload_id": payload_id, "given": payload_id is not None}
        part = msgspec.Raw(b'%s,"evidence":%s}' % (msgspec.json.encode(fields).removesuffix(b"}"), bytes(part)))
    return StoredEvidence(evidence, payload_id, part)


def evidence_to_store(text: bytes, claims: Collection[str] = ()) -> msgspec.Raw | None:
    """Return the part of a record that an appraisal needs, unchanged and on one line.

    The part is a response that has only `_metadata`, or a record that is not a whole response. It never contains a
    completion: of a record without `_metadata`, only the protocol's keys and the `claims` of a policy are returned.

    Returns:
        The part. None if the record has no such part, if the part is ambiguous or longer than `FULL_PARSE_MAX`, or if
        some JSON readers reject it: it contains a lone surrogate, NaN or a number out of range.
    """
    document = _parse(text) if len(text) <= FULL_PARSE_MAX else parse_long_response(text)
    if not isinstance(document, dict) or (type(document) is JsonObject and document.duplicates):
        return None
    text = text.removeprefix(_BOM)
    has_block = BLOCK in document or "is_available" in document
    if METADATA in document:
        if has_block:
            return None  # ambiguous: a re-appraisal could read different evidence
        part = _extract(text, _ResponsePart)
        return part and msgspec.Raw(b'{"%s":%s}' % (METADATA.encode(), bytes(part)))
    if not has_block or _COMPLETION_KEY in document:
        return None
    stored_keys = _PROTOCOL_KEYS.union(claims)
    if document.keys() <= stored_keys:
        return _on_one_line(text)
    try:
        parts = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return None
    return _on_one_line(msgspec.json.encode({key: part for key, part in parts.items() if key in stored_keys}))


def _extract(text: bytes, holder: type[_LinePart | _ResponsePart]) -> msgspec.Raw | None:
    try:
        part = bytes(msgspec.json.decode(text, type=holder).part)
    except (msgspec.MsgspecError, RecursionError):
        return None  # for example because of a lone surrogate
    return _on_one_line(part)


def _on_one_line(text: bytes) -> msgspec.Raw | None:
    if len(text) > FULL_PARSE_MAX:
        return None  # longer than any evidence
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # readers of rows could not decode it
    return msgspec.Raw(text.strip(b" \t\r\n").replace(b"\r", b" ").replace(b"\n", b" "))


def _parse(text: bytes) -> Any:
    try:
        return parse_record(text)
    except EvidenceError:
        return None
