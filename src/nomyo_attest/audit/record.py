"""Appraise one record by a policy, and build its row."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from nomyo_attest.appraisal.case import Case
from nomyo_attest.appraisal.finding import Finding
from nomyo_attest.appraisal.limitations import not_established
from nomyo_attest.appraisal.outcome import FAIL, UNDECIDED, Outcome
from nomyo_attest.appraisal.result import AttestationResult, Verdict, trust_of
from nomyo_attest.appraisal.rules import consequences
from nomyo_attest.appraisal.verifier import appraise_evidence
from nomyo_attest.audit.row import UNREADABLE, Row, RowFinding
from nomyo_attest.audit.stored_evidence import RepairError, StoredEvidence, evidence_to_store, read_stored_evidence
from nomyo_attest.errors import EvidenceError, MisplacedEvidenceError, without_traceback
from nomyo_attest.evidence.pcrs import PcrLayout, PcrReport
from nomyo_attest.evidence.response import Evidence, read_evidence
from nomyo_attest.evidence.times import seconds_of
from nomyo_attest.ledger.line import Recording
from nomyo_attest.policy.model import AppraisalPolicy, Requirement

CLOCK_MAX: Final = 2**63 - 1
"""Maximum clock in milliseconds: the largest 64-bit integer in databases, 292 million years."""

TIER_MAX: Final = 100
"""Maximum characters of a security tier in a row; the server chooses the text."""

FINDING_TEXT_MAX: Final = 2000
"""Maximum characters of a text in the expected or found value of a finding.

The server chooses the text of a claim, which may be megabytes long, and every report would repeat it. All other fields
that rules report are shorter than this.
"""

_PROFILES_STORED: Final = 1024
_AS_BOOL: Final[dict[Outcome | None, bool]] = {Outcome.PASS: True, Outcome.FAIL: False}


class AppraisedRecord(NamedTuple):
    """A row, and sentences that state what its verdict does not establish."""

    row: Row
    not_established: tuple[str, ...] = ()


class OutsideWindow(Enum):
    """The result for a record whose time, by the client's or the server's clock, is outside the window."""

    BY_CLIENT = "recorded_at"
    BY_SERVER = "processed_at"


class RecordAppraiser:
    """Appraise records one after another; results that depend on the policy alone are computed once.

    Args:
        policy: the policy.
        at: the time of all appraisals, for a policy with a validity period.
        since, until: the window, in seconds since 1970: a record whose time is before `since`, or at `until` or later,
            is not appraised. The time of a ledger's line is `recorded_at`. The time of any other record is
            `processed_at`, an unsigned claim by the server. A record without a time is appraised.
        keep_evidence: include the evidence in each row, so that the record can be re-appraised.
    """

    def __init__(
        self,
        policy: AppraisalPolicy,
        *,
        at: datetime | None = None,
        since: int | None = None,
        until: int | None = None,
        keep_evidence: bool = False,
    ) -> None:
        self.policy = policy
        self._at = at
        self._since, self._until = since, until
        self._keep_evidence = keep_evidence
        self._claim_names = frozenset(path.split(".")[0] for path in policy.claims)
        self._unrestricted_pcrs = {(bank, index) for bank, index, values in policy.accepted if not values}
        self._profiles: dict[tuple[object, ...], tuple[str, msgspec.Raw]] = {}
        self._compared_pcrs: dict[PcrLayout, list[tuple[str, int]]] = {}

    def appraise(self, source: str, line: int, text: bytes) -> AppraisedRecord | OutsideWindow:
        """Return the row of the record `text`, or `OutsideWindow`. No content of a record causes an exception."""
        try:
            return self._appraise(source, line, text)
        except RepairError as error:
            return AppraisedRecord(unreadable_row(source, line, str(error)))
        except Exception as error:  # noqa: BLE001 - one record must not end an audit of a million
            return AppraisedRecord(
                unreadable_row(source, line, f"internal error: {describe_location(error)}; please report it")
            )

    def _appraise(self, source: str, line: int, text: bytes) -> AppraisedRecord | OutsideWindow:
        stored: StoredEvidence | None = None
        try:
            stored = read_stored_evidence(text)
            if stored is not None and stored.problem is not None:
                raise stored.problem
            evidence: Evidence | EvidenceError = read_evidence(text if stored is None else stored.evidence)
        except MisplacedEvidenceError as error:  # misplaced evidence is not read, so the record is not appraised
            recorded = Recording() if stored is None else stored.recorded
            without_verdict = unreadable_row(source, line, str(error))
            return AppraisedRecord(msgspec.structs.replace(without_verdict, **recorded_columns(recorded)))
        except EvidenceError as error:
            evidence = without_traceback(error)
        time, tier = _time_and_tier(evidence)
        recorded = Recording() if stored is None else stored.recorded
        if self._is_outside(time if recorded.at is None else recorded.at):
            return OutsideWindow.BY_SERVER if recorded.at is None else OutsideWindow.BY_CLIENT
        case, result = appraise_evidence(evidence, self.policy, stored.payload_id if stored else None, None, self._at)
        signature = result.outcome_of("signature.valid")
        trust = trust_of(case, signature)
        row: dict[str, Any] = {
            "source": source,
            "line": line,
            "payload_id": case.payload_id,
            "trust": trust.value,
            "processed_at": time,
            "security_tier": tier,
        }
        self._add_verdict(row, result)
        self._add_evidence(row, evidence, case)
        if case.attest is not None:
            row["signature_valid"] = _AS_BOOL.get(signature)
        if stored is not None:
            row |= recorded_columns(recorded)
        if self._keep_evidence:
            row["evidence"] = evidence_to_store(text, self._claim_names) if stored is None else stored.text
        return AppraisedRecord(Row(**row), not_established(case, trust))

    def _is_outside(self, time: int | None) -> bool:
        if time is None:
            return False
        return (self._since is not None and time < self._since) or (self._until is not None and time >= self._until)

    def _add_verdict(self, row: dict[str, Any], result: AttestationResult) -> None:
        verdict = result.verdict
        row["verdict"] = verdict.value
        failed, undecided = result.failed, result.undecided
        if failed or undecided or verdict is not Verdict.AFFIRMING:
            findings = [finding for finding in result.findings if finding.outcome in (FAIL, UNDECIDED)]
            row["failed"], row["undecided"] = list(failed), list(undecided)
            row["findings"] = [_row_finding(finding) for finding in findings]
            row["reason"] = None if verdict is Verdict.AFFIRMING else _verdict_reason(verdict, findings)

    def _add_evidence(self, row: dict[str, Any], evidence: Evidence | EvidenceError, case: Case) -> None:
        if isinstance(evidence, Evidence):
            row["available"] = evidence.available
            if evidence.available:
                row["pcr_profile"], row["pcrs"] = self._pcr_profile(evidence.pcrs)
        if case.name is not None:
            row["aik_name"] = case.name.hex()
            row["aik_pinned"] = case.name in self.policy.pinned
        if case.attest is not None:
            statement = case.attest.value
            clock = statement.clock_info
            row["quote"] = hashlib.sha256(case.attest.inner).hexdigest()
            row["clock"] = clock.clock if clock.clock <= CLOCK_MAX else None
            row["reset_count"], row["restart_count"] = clock.reset_count, clock.restart_count
            row["firmware_version"] = f"{statement.firmware_version:016x}"

    def _pcr_profile(self, report: PcrReport) -> tuple[str, msgspec.Raw]:
        compared = self._compared_pcrs.get(report.layout)
        if compared is None:
            pcrs = [(bank, index) for bank, values in sorted(report.values.items()) for index in sorted(values)]
            compared = [pcr for pcr in pcrs if pcr not in self._unrestricted_pcrs]
            _add_to_cache(self._compared_pcrs, report.layout, compared)
        key = (report.layout, *[report.values[bank][index] for bank, index in compared])
        profile = self._profiles.get(key)
        if profile is None:
            hex_values: dict[str, dict[str, str]] = {bank: {} for bank in sorted(report.values)}
            for bank, index in compared:
                hex_values[bank][str(index)] = report.values[bank][index].hex()
            text = msgspec.json.encode(hex_values)
            profile = hashlib.sha256(text).hexdigest(), msgspec.Raw(text)
            _add_to_cache(self._profiles, key, profile)
        return profile


def _add_to_cache(cache: dict[Any, Any], key: object, value: object) -> None:
    """Add an entry to a cache, which is cleared when it has `_PROFILES_STORED` entries."""
    if len(cache) >= _PROFILES_STORED:
        cache.clear()
    cache[key] = value


def consequences_of(findings: Sequence[Finding | RowFinding]) -> frozenset[str]:
    """Return the rules of one record that are undecided because of another of its findings; see `consequences`."""
    return consequences(
        undecided={finding.rule for finding in findings if finding.outcome in (UNDECIDED, UNDECIDED.value)},
        failed={finding.rule for finding in findings if finding.outcome in (FAIL, FAIL.value)},
        ignored={
            finding.rule
            for finding in findings
            if finding.requirement in (Requirement.IGNORE, Requirement.IGNORE.value)
        },
    )


def recorded_columns(recorded: Recording) -> dict[str, Any]:
    """Return the columns of a row that describe the recording, from a ledger's line."""
    return {"recorded_at": recorded.at, "gate": recorded.gate, "released": recorded.released}


def unreadable_row(source: str, line: int, problem: str) -> Row:
    """Return the row of a record, or of a source, that could not be read."""
    return Row(source=source, line=line, verdict=UNREADABLE, reason=problem)


def _time_and_tier(evidence: Evidence | EvidenceError) -> tuple[int | None, str | None]:
    """Return `processed_at` and the security tier that the server claims; None for each that is missing or invalid."""
    if isinstance(evidence, EvidenceError):
        return None, None
    time, tier = evidence.claims.get("processed_at"), evidence.claims.get("security_tier")
    return seconds_of(time), _encodable(tier[:TIER_MAX]) if type(tier) is str else None


def _verdict_reason(verdict: Verdict, findings: list[Finding]) -> str:
    """Return the message of the first finding that causes the verdict."""
    outcome = FAIL if verdict is Verdict.CONTRAINDICATED else UNDECIDED
    consequent = consequences_of(findings)
    for finding in sorted(findings, key=lambda finding: finding.rule in consequent):  # consequences last
        if verdict is Verdict.WARNING and finding.requirement is Requirement.WARN:
            return _encodable(finding.message)
        if finding.requirement is Requirement.REQUIRED and finding.outcome is outcome:
            return _encodable(finding.message)
    raise AssertionError(verdict)  # unreachable: a verdict is derived from the findings


def _row_finding(finding: Finding) -> RowFinding:
    plain = finding.to_dict()
    return RowFinding(
        rule=_encodable(finding.rule),
        outcome=plain["outcome"],
        requirement=plain["requirement"],
        expected=_encodable_value(plain["expected"]),
        got=_encodable_value(plain["got"]),
        message=_encodable(finding.message),
    )


def _encodable(text: str) -> str:
    """Return text that UTF-8 can encode, with lone surrogates replaced by escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _encodable_value(value: Any) -> Any:
    if isinstance(value, str):
        is_short = len(value) <= FINDING_TEXT_MAX
        return _encodable(value if is_short else f"{value[:FINDING_TEXT_MAX]}… ({len(value):,} characters in all)")
    if isinstance(value, list):
        return [_encodable_value(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(str(key)): _encodable_value(item) for key, item in value.items()}
    return value


def describe_location(error: BaseException) -> str:
    """Return the type of an exception and the line that raised it, without its text, which may quote a record."""
    location, traceback = "", error.__traceback__
    while traceback is not None:
        location = f"{os.path.basename(traceback.tb_frame.f_code.co_filename)}, line {traceback.tb_lineno}"  # noqa: PTH119 - a name, not a path to be opened
        traceback = traceback.tb_next
    return f"{type(error).__name__} at {location}"
