"""The row of one record: the same columns in JSON Lines, CSV, Parquet, Arrow and Spark."""

from __future__ import annotations

from typing import Any, Final

import msgspec

UNREADABLE: Final = "unreadable"
"""The verdict of a record or source that could not be read, such as a truncated archive or a line that is too long."""

VERDICTS: Final = ("affirming", "warning", "contraindicated", "none", UNREADABLE)
"""The verdicts of rows, in the order of all outputs: those of AR4SI, then `UNREADABLE`."""

PASSING: Final = frozenset({"affirming", "warning"})
"""The verdicts for which a gate releases the completion: every required rule holds."""

VALUE_MAXIMUM: Final = 4096
"""Maximum length of an expected or found value in a summary, in characters of JSON."""


class RowFinding(msgspec.Struct, frozen=True):
    """A rule that failed or is undecided for one record.

    Attributes:
        rule: the rule's id.
        outcome: ``"fail"`` or ``"undecided"``.
        requirement: the policy's requirement for the rule: ``"required"``, ``"warn"`` or ``"ignore"``.
        expected, got: the values compared, as in the JSON form of a result.
        message: what is wrong, as a sentence.
    """

    rule: str
    outcome: str
    requirement: str
    expected: Any
    got: Any
    message: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one record.

    Attributes:
        source: the name of the file, or ``"-"`` for standard input.
        line: the line or row in that file, from 1; 1 in a file of one record. For a source that cannot be read to its
            end, the line where reading failed; 0 if nothing was read.
        payload_id: the payload id in the record; None if it has none.
        verdict: one of `VERDICTS`.
        failed, undecided: ids of the rules that failed, and of those that are undecided.
        reason: the reason for the verdict, as a sentence; None for affirming.
        trust: the trust in the AIK; None if unreadable.
        processed_at: the server's time of the response, in seconds since 1970, UTC; None if it is missing or invalid.
        recorded_at: the client's time of the response, in seconds since 1970, UTC, from a ledger's line; None for
            other records.
        gate: whether the client's gate was ``"on"`` or ``"off"``, from a ledger's line; None if not recorded.
        released: whether the completion was released, from a ledger's line; None if not recorded.
        security_tier: the tier that the server claims; None if it claims none.
        available: whether the record has evidence; None if the evidence is malformed.
        signature_valid: whether the signature verifies; None if undecided.
        aik_name: the AIK's Name in hex; None without an AIK.
        aik_pinned: whether the policy pins that Name; None without an AIK.
        quote: SHA-256, in hex, over TPMS_ATTEST, the signed structure. The signature is not included, since an ECDSA
            signature has a second valid form.
        clock, reset_count, restart_count: TPMS_CLOCK_INFO; clock in milliseconds, None above 2**63 - 1.
        firmware_version: in hex, 16 digits.
        pcr_profile: SHA-256, in hex, over the PCR values reported, without PCRs for which the policy accepts any value.
        pcrs: those PCR values: bank → index → hex. JSON text in CSV, Parquet, Arrow and Spark.
        findings: the rules that failed or are undecided.
        evidence: on request, the evidence for a re-appraisal: a response that has only `_metadata`.
    """

    source: str
    line: int
    payload_id: str | None = None
    verdict: str
    failed: list[str] = []
    undecided: list[str] = []
    reason: str | None = None
    trust: str | None = None
    processed_at: int | None = None
    recorded_at: int | None = None
    gate: str | None = None
    released: bool | None = None
    security_tier: str | None = None
    available: bool | None = None
    signature_valid: bool | None = None
    aik_name: str | None = None
    aik_pinned: bool | None = None
    quote: str | None = None
    clock: int | None = None
    reset_count: int | None = None
    restart_count: int | None = None
    firmware_version: str | None = None
    pcr_profile: str | None = None
    pcrs: msgspec.Raw | None = None
    findings: list[RowFinding] = []
    evidence: Any = None


COLUMNS: Final = tuple(field.encode_name for field in msgspec.structs.fields(Row))
"""The columns in order."""


def encode_row(row: Row) -> bytes:
    """Encode a row as one line of JSON, with its newline: compact, UTF-8, keys in the order of `COLUMNS`."""
    return msgspec.json.encode(row) + b"\n"


def truncate_value(value: Any) -> Any:
    """Return an expected or found value, or the beginning of its JSON text if it is longer than `VALUE_MAXIMUM`."""
    text = msgspec.json.encode(value).decode()
    return value if len(text) <= VALUE_MAXIMUM else f"{text[:VALUE_MAXIMUM]}… ({len(text)} characters)"
