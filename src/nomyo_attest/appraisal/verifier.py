"""Appraise evidence with a policy: `appraise` returns the attestation result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from nomyo_attest.appraisal.case import NO_EVIDENCE, Case, LayoutFacts
from nomyo_attest.appraisal.finding import PlannedRule
from nomyo_attest.appraisal.outcome import CheckResult
from nomyo_attest.appraisal.result import AttestationResult
from nomyo_attest.appraisal.rules import RULES, requirement_of
from nomyo_attest.errors import EvidenceError, without_traceback
from nomyo_attest.evidence.response import Evidence, check_payload_id, read_evidence
from nomyo_attest.policy.model import AppraisalPolicy, Requirement

NONCE_MAX = 64
"""Maximum bytes of a nonce: the size of TPM2B_DATA minus an algorithm identifier (Part 2, 10.4.3)."""

_LAYOUTS_CACHE_SIZE = 1024
"""Cached layouts for each policy: far more than a fleet has at a time. A full cache is cleared."""


class _Plan:
    """The rules that one policy evaluates, in order; prepared once for each policy."""

    def __init__(self, policy: AppraisalPolicy) -> None:
        entries: list[tuple[PlannedRule, Callable[..., CheckResult]]] = []
        for rule in RULES:
            if rule.id == "claims.*":
                for path in policy.claims:
                    planned = PlannedRule(f"claims.{path}", rule, requirement_of(f"claims.{path}", policy))
                    entries.append((planned, partial(rule.check, path=path)))
            elif policy.enables(rule.id):
                entries.append((PlannedRule(rule.id, rule, requirement_of(rule.id, policy)), rule.check))
        self.rules = tuple(planned for planned, _ in entries)
        until = policy.unsafe_warn_until
        self._until = until
        self._rules_after_warnings = tuple(
            PlannedRule(planned.id, planned.rule, Requirement.REQUIRED, warned_until=until.isoformat())
            if until and planned.id in policy.warned
            else planned
            for planned in self.rules
        )
        checks = [(number, planned.rule, check) for number, (planned, check) in enumerate(entries)]
        self._layout_checks = [(number, check) for number, rule, check in checks if rule.layout_only]
        self._response_checks = [(number, check) for number, rule, check in checks if not rule.layout_only]
        self._layouts: dict[tuple[object, ...], tuple[LayoutFacts, list[Any]]] = {}

    def rules_at(self, now: datetime | None) -> tuple[PlannedRule, ...]:
        """Return the rules and their requirements at time `now`; without a time, time-limited warnings do not apply."""
        warnings_ended = self._until and (now is None or now >= self._until)
        return self._rules_after_warnings if warnings_ended else self.rules

    def check_results(self, case: Case) -> list[CheckResult]:
        """Return the results of all checks for `case`, in order."""
        key = case.layout_key
        cached = self._layouts.get(key) if key is not None else None
        if cached is None:
            cached = self._check_layout(case)
            if key is not None:
                if len(self._layouts) >= _LAYOUTS_CACHE_SIZE:
                    self._layouts.clear()
                self._layouts[key] = cached
        case.layout, layout_results = cached
        results: list[CheckResult] = layout_results.copy()
        for number, check in self._response_checks:
            results[number] = check(case)
        return results

    def _check_layout(self, case: Case) -> tuple[LayoutFacts, list[Any]]:
        facts = case.layout_facts()
        results: list[Any] = [None] * len(self.rules)  # the positions of response checks stay None
        for number, check in self._layout_checks:
            results[number] = check(facts)
        return facts, results


_plan = lru_cache(maxsize=64)(_Plan)


def appraise(
    response: object,
    policy: AppraisalPolicy,
    *,
    payload_id: str | None = None,
    nonce: bytes | None = None,
    now: datetime | None = None,
) -> AttestationResult:
    """Appraise the evidence in `response` with `policy`. Bad evidence never raises; it is reported as findings.

    Args:
        response: a whole response, its `_metadata` or the bare `tpm_attestation` block, as dict, str or bytes; or an
            `Evidence`, or the `EvidenceError` that reading one raised.
        policy: the appraisal policy.
        payload_id: the payload id of the request; by default the one in the response's `_metadata`.
        nonce: the expected extraData, 1 to 64 bytes, instead of a payload id.
        now: the time of the appraisal, with an offset from UTC; by default the current time, but only if the policy
            depends on the time.

    Raises:
        TypeError, ValueError: an argument is invalid.
    """
    if not isinstance(policy, AppraisalPolicy):
        raise TypeError(f"policy must be an AppraisalPolicy, not {type(policy).__name__}")
    if payload_id is not None or nonce is not None or now is not None:
        _check_arguments(payload_id, nonce, now)
    if now is None and policy.depends_on_time:
        now = datetime.now(UTC)
    if isinstance(response, Evidence):
        if not all(type(blob) is bytes for blob in (response.quote, response.signature, response.aik_public)):
            raise TypeError("the blobs of an Evidence must be bytes; use Evidence.from_response")
        return appraise_evidence(response, policy, payload_id, nonce, now)[1]
    evidence = response if isinstance(response, EvidenceError) else read_evidence_or_error(response)
    return appraise_evidence(evidence, policy, payload_id, nonce, now)[1]


def read_evidence_or_error(response: object) -> Evidence | EvidenceError:
    """Read the evidence in `response`; return the error if it cannot be read. Never raises."""
    try:
        return read_evidence(response)
    except EvidenceError as error:
        return without_traceback(error)
    except Exception as error:  # noqa: BLE001 - an object that imitates JSON data may raise anything
        return EvidenceError("response", "plain JSON data", f"an object that raises {type(error).__name__}")


def appraise_evidence(
    evidence: Evidence | EvidenceError,
    policy: AppraisalPolicy,
    payload_id: str | None = None,
    nonce: bytes | None = None,
    now: datetime | None = None,
) -> tuple[Case, AttestationResult]:
    """Appraise evidence that has been read, with arguments that have been checked.

    Returns:
        The case, whose facts an audit stores, and the result.
    """
    case = Case(evidence, policy, payload_id, nonce, now)
    plan = _plan(policy)
    check_results = plan.check_results(case)
    case.evidence = NO_EVIDENCE  # the result must not keep the response in memory
    return case, AttestationResult(case, plan.rules_at(now), check_results)


def _check_arguments(payload_id: str | None, nonce: bytes | None, now: datetime | None) -> None:
    if payload_id is not None and nonce is not None:
        raise ValueError("pass payload_id or nonce, not both: the nonce is derived from the payload id")
    if payload_id is not None:
        if type(payload_id) is not str:
            raise TypeError(f"payload_id must be a str, not {type(payload_id).__name__}")
        check_payload_id(payload_id, "")
    if nonce is not None:
        if not isinstance(nonce, bytes):
            raise TypeError(f"nonce must be bytes, not {type(nonce).__name__}")
        if not 0 < len(nonce) <= NONCE_MAX:
            raise ValueError(f"nonce must be 1 to {NONCE_MAX} bytes, not {len(nonce)}")
    if now is not None:
        if not isinstance(now, datetime):
            raise TypeError(f"now must be a datetime, not {type(now).__name__}")
        if now.utcoffset() is None:
            raise ValueError("now must have an offset: datetime.now(UTC)")
