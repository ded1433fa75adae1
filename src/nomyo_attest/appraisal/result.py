"""The attestation result, whose verdict is computed from stored facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy, deepcopy
from enum import Enum
from operator import itemgetter
from typing import Any, Final, NoReturn, Self

import msgspec

from nomyo_attest.appraisal.case import Case
from nomyo_attest.appraisal.finding import Finding, PlannedRule, finding_of
from nomyo_attest.appraisal.limitations import not_established
from nomyo_attest.appraisal.outcome import PASS, CheckResult, Outcome, Value
from nomyo_attest.appraisal.remediation import SIGNED_VALUE_RULES
from nomyo_attest.appraisal.rules import consequences
from nomyo_attest.errors import AttestationError
from nomyo_attest.policy.model import Requirement, Trust

_outcome_of = itemgetter(0)

RESULT_FORMAT: Final = "nomyo-attest-result/1"


class Verdict(Enum):
    """The trustworthiness tier of AR4SI (draft-ietf-rats-ar4si, "Trustworthiness Tiers") that an appraisal results in.

    `AFFIRMING`: every required rule holds. `WARNING`: only rules that the policy softened to "warn" do not hold.
    `CONTRAINDICATED`: a required rule does not hold. `NONE`: a required rule is undecided, or there is no evidence.
    """

    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"
    NONE = "none"


class ResultFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a result, without its findings; see `AttestationResult`."""

    trust: Trust
    policy_id: str
    policy_digest: str
    warn_until: str | None
    warn_ended: bool | None
    payload_id: str | None
    payload_id_source: str | None
    appraised_at: str | None
    aik_name: str | None
    aik_label: str | None
    hierarchy: str | None
    test_key: bool
    key_framing: str | None
    quote_framing: str | None
    not_established: tuple[str, ...]


class AttestationResult:
    """The result of an appraisal. It has no truth value: compare `verdict`, or call `require`.

    Attributes:
        verdict: the verdict, computed from the findings.
        findings: one for each rule that the policy evaluates, in the order of the table.
        trust: how far the AIK is trusted; a pinned key is only self-asserted if its signature does not verify.
        policy_id: the id of the policy.
        policy_digest: the digest of the policy.
        warn_until: when the policy's time-limited warnings end (`unsafe_warn_until`); None if it has none.
        warn_ended: whether these warnings had ended at the time of the appraisal; None if the policy has none.
        payload_id: the payload id that the nonce was derived from, or None.
        payload_id_source: ``"given"`` by the caller, ``"recorded"`` in the response, or None.
        appraised_at: RFC 3339 time of the appraisal; None unless the caller passed a time or the policy depends on it.
        aik_name: the AIK's Name in hex, as a policy pins it; None if the AIK does not parse.
        aik_label: the label of this Name in the policy; None without a label. `trust` states whether the key signed.
        hierarchy: the hierarchy in which the AIK is a primary key; None if it is unknown.
        test_key: whether the soft TPM of `nomyo_attest.testing` made the evidence. Anyone can derive its private keys,
            so the evidence says nothing about a machine, whatever the verdict.
        not_established: the limits of the result: one sentence for each fact that it does not establish.
    """

    def __init__(self, case: Case, plan: Sequence[PlannedRule], check_results: Sequence[CheckResult]) -> None:
        self._case: Case | None = case
        self._plan = plan
        self._check_results = check_results
        self._facts: ResultFacts | None = None
        self._findings: tuple[Finding, ...] | None = None
        self._remediations: list[str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only the facts, without the evidence and the parsed structures."""
        state = {"_case": None, "_facts": self.facts, "_findings": None}
        return self.__dict__ | state | {"_check_results": [tuple(deepcopy(result)) for result in self._check_results]}

    @property
    def facts(self) -> ResultFacts:
        """Everything but the findings."""
        if self._facts is None:
            assert self._case is not None  # either the case or the facts are present
            self._facts = _facts(self._case, self.outcome_of("signature.valid"))
        return self._facts

    @property
    def verdict(self) -> Verdict:
        """The verdict, computed from the findings."""
        outcomes = list(map(_outcome_of, self._check_results))
        if outcomes.count(PASS) == len(outcomes):
            return Verdict.AFFIRMING if outcomes else Verdict.NONE
        required = self._outcomes(Requirement.REQUIRED)
        if Outcome.FAIL in required:
            return Verdict.CONTRAINDICATED
        if Outcome.UNDECIDED in required:
            return Verdict.NONE
        return Verdict.AFFIRMING if self._outcomes(Requirement.WARN) <= {PASS} else Verdict.WARNING

    @property
    def _pairs(self) -> Iterator[tuple[PlannedRule, CheckResult]]:
        """Each rule that the policy evaluates, with the result of its check."""
        return zip(self._plan, self._check_results, strict=True)

    def _outcomes(self, requirement: Requirement) -> set[Outcome]:
        return {result[0] for planned, result in self._pairs if planned.requirement is requirement}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One finding for each rule that the policy evaluates, in the order of the table."""
        if self._findings is None:
            values_signed = all(
                result[0] is PASS for planned, result in self._pairs if planned.id in SIGNED_VALUE_RULES
            )
            findings = (finding_of(planned, result, values_signed=values_signed) for planned, result in self._pairs)
            if self._remediations is not None:
                pairs = zip(findings, self._remediations, strict=True)
                findings = (msgspec.structs.replace(finding, remediation=remediation) for finding, remediation in pairs)
            self._findings = tuple(findings)
        return self._findings

    @property
    def failed(self) -> tuple[str, ...]:
        """Ids of the rules that do not hold, whether the policy requires them or not."""
        return self._rules_with(Outcome.FAIL)

    @property
    def undecided(self) -> tuple[str, ...]:
        """Ids of the rules that are undecided, whether the policy requires them or not."""
        return self._rules_with(Outcome.UNDECIDED)

    def _rules_with(self, outcome: Outcome) -> tuple[str, ...]:
        if outcome not in map(_outcome_of, self._check_results):
            return ()
        return tuple(planned.id for planned, result in self._pairs if result[0] is outcome)

    def outcome_of(self, rule_id: str) -> Outcome | None:
        """Return the outcome of one rule; None if the policy does not evaluate it."""
        for planned, result in self._pairs:
            if planned.id == rule_id:
                return result[0]
        return None

    @property
    def trust(self) -> Trust:
        return self.facts.trust

    @property
    def policy_id(self) -> str:
        return self.facts.policy_id

    @property
    def policy_digest(self) -> str:
        return self.facts.policy_digest

    @property
    def warn_until(self) -> str | None:
        return self.facts.warn_until

    @property
    def warn_ended(self) -> bool | None:
        return self.facts.warn_ended

    @property
    def payload_id(self) -> str | None:
        return self.facts.payload_id

    @property
    def payload_id_source(self) -> str | None:
        return self.facts.payload_id_source

    @property
    def appraised_at(self) -> str | None:
        return self.facts.appraised_at

    @property
    def aik_name(self) -> str | None:
        return self.facts.aik_name

    @property
    def aik_label(self) -> str | None:
        return self.facts.aik_label

    @property
    def hierarchy(self) -> str | None:
        return self.facts.hierarchy

    @property
    def test_key(self) -> bool:
        return self.facts.test_key

    @property
    def not_established(self) -> tuple[str, ...]:
        return self.facts.not_established

    def require(self) -> Self:
        """Return the result itself if its verdict is `AFFIRMING` or `WARNING`. Raises `AttestationError` otherwise."""
        if self.verdict in (Verdict.AFFIRMING, Verdict.WARNING):
            return self
        ignored = [planned.id for planned in self._plan if planned.requirement is Requirement.IGNORE]
        explained = consequences(self.undecided, self.failed, ignored)
        unsatisfied = [
            finding
            for finding in self.findings
            if finding.outcome is not Outcome.PASS and finding.requirement is Requirement.REQUIRED
        ]
        reasons = [f"{finding.rule}: {finding.message}" for finding in unsatisfied if finding.rule not in explained]
        omitted = len(unsatisfied) - len(reasons)
        if omitted:
            reasons.append(f"undecided because of this: {omitted} other rule{'s' if omitted > 1 else ''}")
        raise AttestationError(f"the evidence is not affirmed ({self.verdict.value}): {'; '.join(reasons)}", self)

    def redacted(self, change: Callable[[list[list[Value]]], list[list[Value]]]) -> Self:
        """Return a copy of the result whose findings contain redacted values and messages.

        For callers that must not disclose the contents of the evidence. Outcomes, verdict and remediations do not
        change.

        Args:
            change: receives a list with ``[expected, got, message]`` for each finding, and returns a list of the same
                length.
        """
        redacted = copy(self)  # uses `__getstate__`, which drops the case
        # Remediations depend on the original values.
        redacted._remediations = [finding.remediation for finding in self.findings]
        replacements = change([list(result[1:]) for result in redacted._check_results])
        redacted._check_results = [
            (result[0], expected, got, message)
            for result, (expected, got, message) in zip(redacted._check_results, replacements, strict=True)
        ]
        return redacted

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as `nomyo-attest schema result` describes it."""
        facts = self.facts
        policy: dict[str, Any] = {"id": facts.policy_id, "digest": facts.policy_digest}
        if facts.warn_until is not None:
            policy |= {"warn_until": facts.warn_until, "warn_ended": facts.warn_ended}
        label = {"label": facts.aik_label} if facts.aik_label is not None else {}
        return {
            "format": RESULT_FORMAT,
            "verdict": self.verdict.value,
            "trust": facts.trust.value,
            "policy": policy,
            "payload_id": facts.payload_id,
            "payload_id_source": facts.payload_id_source,
            "appraised_at": facts.appraised_at,
            "aik": {
                "name": facts.aik_name,
                **label,
                "hierarchy": facts.hierarchy,
                "framing": facts.key_framing,
                "test_key": facts.test_key,
            },
            "quote": {"framing": facts.quote_framing},
            "findings": [finding.to_dict() for finding in self.findings],
            "not_established": list(facts.not_established),
        }

    def __bool__(self) -> NoReturn:
        raise TypeError("an AttestationResult has no truth value: compare .verdict, or call .require()")

    def __repr__(self) -> str:
        return f"<AttestationResult {self.verdict.value}, policy {self.policy_id!r}, AIK trust {self.trust.value}>"


def trust_of(case: Case, signature_outcome: Outcome | None) -> Trust:
    """Return how far the AIK is trusted: as pinned only if ``signature.valid``, whose outcome is passed, holds."""
    pinned = signature_outcome is PASS and case.name is not None and case.name in case.policy.pinned
    return Trust.PINNED_AIK if pinned else Trust.SELF_ASSERTED


def _facts(case: Case, signature_outcome: Outcome | None) -> ResultFacts:
    trust = trust_of(case, signature_outcome)
    source = None if case.payload_id is None else "recorded" if case.passed_payload_id is None else "given"
    return ResultFacts(
        trust=trust,
        policy_id=case.policy.id,
        policy_digest=case.policy.digest,
        warn_until=case.policy.unsafe_warn_until.isoformat() if case.policy.unsafe_warn_until else None,
        warn_ended=case.warnings_ended,
        payload_id=case.payload_id,
        payload_id_source=source,
        appraised_at=case.now.isoformat() if case.now else None,
        aik_name=case.name.hex() if case.name else None,
        aik_label=case.policy.pinned_labels.get(case.name) if case.name else None,
        hierarchy=case.hierarchy,
        test_key=case.test_key,
        key_framing=case.key.framing if case.key else None,
        quote_framing=case.attest.framing if case.attest else None,
        not_established=not_established(case, trust),
    )
