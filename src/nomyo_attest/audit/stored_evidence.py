"""Read and write stored evidence: lines of a ledger, and verdicts written with ``--keep-evidence``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from nomyo_attest.audit.row import COLUMNS
from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.response import BLOCK, METADATA
from nomyo_attest.evidence.strict_json import LONG, TEXT_MAX, JsonObject, describe_type, parse_long, parse_record
from nomyo_attest.evidence.times import seconds_of
from nomyo_attest.ledger.line import GATES, LEDGER_FORMAT, Recorded, is_line, is_repair, open_line, recorded_of
from nomyo_attest.ledger.redaction import CLAIMS, FIELDS

_MARKS: Final = (LEDGER_FORMAT.encode(), b'"pcr_profile"')
"""Each record with stored evidence contains one of these texts; few responses do."""

_HOLDERS: Final = (METADATA, BLOCK, "is_available")
"""Keys of a response, its metadata or its block: an object with one of them at the top level is read as such."""

_ROW_KEYS: Final = frozenset({"source", "line", "verdict", "pcr_profile", "evidence"})
"""Keys of a verdict with evidence; its other keys are those of a row."""

_COLUMNS: Final = frozenset(COLUMNS)

_COMPLETION: Final = "choices"
"""A key that every response has and stored evidence never has: no server can make its response look stored."""

_NAMED: Final = frozenset(
    {*FIELDS, "pcr_values", BLOCK, "payload_id", "is_encrypted", *(path.split(".")[0] for path in CLAIMS)}
)
"""The keys of the protocol in `_metadata` and in the block."""

_BOM: Final = b"\xef\xbb\xbf"


class StoredEvidence(msgspec.Struct, frozen=True):
    """The evidence of one record.

    Attributes:
        evidence: the evidence as parsed, for an appraisal.
        payload_id: the payload id that the client gave; None if it gave none.
        text: both as JSON text, to be stored again; None if they cannot be extracted.
        recorded: the information about the recording.
        problem: why the line cannot be appraised; None if it can.
    """

    evidence: Any
    payload_id: str | None = None
    text: msgspec.Raw | None = None
    recorded: Recorded = Recorded()
    problem: EvidenceError | None = None


class RepairError(Exception):
    """A ledger's line that replaces a torn one; it has no evidence."""

    def __init__(self, document: dict[str, Any]) -> None:
        repair = document["repair"]
        size = repair.get("bytes") if isinstance(repair, dict) else None
        left = f"{size} bytes" if type(size) is int else "an unknown part"
        super().__init__(f"the ledger's line was torn when its writer stopped; {left} of it remained")


class _Line(msgspec.Struct):
    part: msgspec.Raw = msgspec.field(name="evidence")


class _Response(msgspec.Struct):
    part: msgspec.Raw = msgspec.field(name=METADATA)


def unwrap(text: bytes) -> StoredEvidence | None:
    """Read the evidence that a record stores; returns None if the record is a response.

    Raises:
        EvidenceError: the record is malformed.
        RepairError: it is a ledger's line that replaces a torn one.
    """
    if not any(mark in text for mark in _MARKS) or len(text) > TEXT_MAX:
        return None
    try:
        document = parse_record(text)
    except EvidenceError:
        return None  # the reader of responses reports why
    if not isinstance(document, dict) or _COMPLETION in document or any(key in document for key in _HOLDERS):
        return None
    if is_repair(document):
        raise RepairError(document)
    part = _cut(text.removeprefix(_BOM), _Line)
    if is_line(document):
        return _with_recording(document, part, lambda: recorded_of(document))
    if not _ROW_KEYS <= document.keys() <= _COLUMNS or document["evidence"] is None:
        return None
    if type(document) is JsonObject and document.duplicates:
        raise EvidenceError(min(document.duplicates)[:40], "a unique key", "a duplicate key")
    evidence = document["evidence"]
    if is_line(evidence) and not any(key in evidence for key in _HOLDERS):
        return _with_recording(evidence, part and _cut(bytes(part), _Line), lambda: _recorded_in_row(document))
    return StoredEvidence(evidence, None, part if _has_no_completion(evidence) else None, _recorded_in_row(document))


def _with_recording(line: dict[str, Any], part: msgspec.Raw | None, read: Callable[[], Recorded]) -> StoredEvidence:
    """Read a ledger's line; the information about its recording is returned even if it cannot be appraised."""
    recorded = Recorded()
    try:
        recorded = read()
        return msgspec.structs.replace(_opened(line, part), recorded=recorded)
    except EvidenceError as error:
        return StoredEvidence(None, recorded=recorded, problem=error)


def _recorded_in_row(row: dict[str, Any]) -> Recorded:
    """Read the information about the recording from a verdict on a ledger's line. Raises `EvidenceError`."""
    at, gate, released = row.get("recorded_at"), row.get("gate"), row.get("released")
    if at is not None and (type(at) is not int or seconds_of(at) is None):
        raise EvidenceError("recorded_at", "whole seconds since 1970", describe_type(at))
    if gate is not None and gate not in GATES:
        raise EvidenceError("gate", "'on' or 'off'", describe_type(gate))
    if released is not None and type(released) is not bool:
        raise EvidenceError("released", "true, false or null", describe_type(released))
    return Recorded(at, gate, released)


def _has_no_completion(evidence: Any) -> bool:
    """Whether the evidence of a line, which another program may have written, is an object without a completion."""
    return isinstance(evidence, dict) and _COMPLETION not in evidence


def _opened(line: dict[str, Any], part: msgspec.Raw | None) -> StoredEvidence:
    """Read the evidence of a ledger's line, `part` being its text. Raises `EvidenceError`.

    A payload id that the client gave is stored with the evidence, as such a line: without it a re-appraisal would use
    the one in the response, and accept the evidence of another response. Evidence that looks like a line is stored as
    the evidence of a line, too, so that it is not read as one the next time.
    """
    evidence, given = open_line(line)
    if not _has_no_completion(evidence):
        part = None
    if part is not None and (given is not None or is_line(evidence)):
        beginning = msgspec.json.encode({"format": LEDGER_FORMAT, "payload_id": given, "given": given is not None})
        part = msgspec.Raw(b'%s,"evidence":%s}' % (beginning.removesuffix(b"}"), bytes(part)))
    return StoredEvidence(evidence, given, part)


def evidence_to_store(text: bytes, claims: Collection[str] = ()) -> msgspec.Raw | None:
    """Return the part of a record that an appraisal needs, unchanged and on one line.

    It is a response that has only `_metadata`, or a record that is not a whole response. A completion is never part of
    it: for a record without `_metadata`, only the protocol's keys and the `claims` of a policy are returned.

    Returns:
        The part. None if there is none, if it is ambiguous or longer than `LONG`, or if not every reader of JSON
        accepts it: with a lone surrogate, NaN or a number out of range.
    """
    document = _parsed(text) if len(text) <= LONG else parse_long(text)
    if not isinstance(document, dict) or (type(document) is JsonObject and document.duplicates):
        return None
    text = text.removeprefix(_BOM)
    beside = BLOCK in document or "is_available" in document
    if METADATA in document:
        if beside:
            return None  # ambiguous: a part could be read differently
        part = _cut(text, _Response)
        return part and msgspec.Raw(b'{"%s":%s}' % (METADATA.encode(), bytes(part)))
    if not beside or _COMPLETION in document:
        return None
    known = _NAMED.union(claims)
    if document.keys() <= known:
        return _on_one_line(text)
    try:
        parts = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return None
    return _on_one_line(msgspec.json.encode({key: part for key, part in parts.items() if key in known}))


def _cut(text: bytes, holder: type[_Line | _Response]) -> msgspec.Raw | None:
    try:
        part = bytes(msgspec.json.decode(text, type=holder).part)
    except (msgspec.MsgspecError, RecursionError):
        return None  # such as for a lone surrogate
    return _on_one_line(part)


def _on_one_line(text: bytes) -> msgspec.Raw | None:
    if len(text) > LONG:
        return None  # ten times the size of any evidence
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # in a row it would make the row unreadable
    return msgspec.Raw(text.strip(b" \t\r\n").replace(b"\r", b" ").replace(b"\n", b" "))


def _parsed(text: bytes) -> Any:
    try:
        return parse_record(text)
    except EvidenceError:
        return None
