"""The attestation result: facts are stored, the verdict is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from enum import Enum, IntEnum
from operator import itemgetter
from typing import Any, Final, NoReturn, Self

import msgspec

from nomyo_attest.appraisal.answer import PASS, Answer, Outcome, Value
from nomyo_attest.appraisal.case import Case
from nomyo_attest.appraisal.rules import Rule
from nomyo_attest.appraisal.unestablished import not_established
from nomyo_attest.errors import AttestationError
from nomyo_attest.policy.model import Requirement, Trust
from nomyo_attest.tpm.constants import specification_name

_outcome_of = itemgetter(0)

RESULT_FORMAT: Final = "nomyo-attest-result/1"


class Verdict(Enum):
    """The trustworthiness tier of AR4SI (draft-ietf-rats-ar4si, "Trustworthiness Tiers") that an appraisal arrives at.

    `AFFIRMING`: every required rule holds. `WARNING`: only rules that the policy softened to "warn" do not.
    `CONTRAINDICATED`: a required rule does not hold. `NONE`: one cannot be told, or there is no evidence.
    """

    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"
    NONE = "none"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule found.

    Attributes:
        rule: the rule's id, such as ``"pcr.digest"``.
        outcome: whether it holds, does not, or cannot be told.
        requirement: what the policy makes of it.
        cites: the structure field it stands on.
        expected, got: the values compared; bytes, numbers, text, or lists and dicts of them.
        message: a sentence; ``"holds"`` where it does.
        mend: what to do; empty where it holds.
    """

    rule: str
    outcome: Outcome
    requirement: Requirement
    cites: str
    expected: Value
    got: Value
    message: str
    mend: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; bytes are in hex."""
        return {
            "rule": self.rule,
            "outcome": self.outcome.value,
            "requirement": self.requirement.value,
            "cites": self.cites,
            "expected": _jsonable(self.expected),
            "got": _jsonable(self.got),
            "message": self.message,
            "mend": self.mend,
        }


class PlannedRule(msgspec.Struct, frozen=True):
    """A rule as one policy asks it: the id of its finding, and what it means for the verdict if it does not hold."""

    id: str
    rule: Rule
    requirement: Requirement


class AttestationResult:
    """What an appraisal found. It has no truth value: look at `verdict`, or call `require`.

    Attributes:
        trust: how far the AIK is trusted; a pinned key whose signature does not verify is no more than self-asserted.
        policy_id, policy_digest: the policy applied.
        payload_id: the payload id the nonce was derived from, or None.
        appraised_at: RFC 3339 time of the appraisal; None unless a time was given or the policy asked for it.
    """

    def __init__(self, case: Case, plan: Sequence[PlannedRule], answers: Sequence[Answer]) -> None:
        self._case = case
        self._plan = plan
        self._answers = answers
        self._findings: tuple[Finding, ...] | None = None

    @property
    def verdict(self) -> Verdict:
        """The verdict that the findings give."""
        outcomes = list(map(_outcome_of, self._answers))
        if outcomes.count(PASS) == len(outcomes):
            return Verdict.AFFIRMING if outcomes else Verdict.NONE
        required = self._outcomes(Requirement.REQUIRED)
        if Outcome.FAIL in required:
            return Verdict.CONTRAINDICATED
        if Outcome.UNDECIDED in required:
            return Verdict.NONE
        return Verdict.AFFIRMING if self._outcomes(Requirement.WARN) <= {PASS} else Verdict.WARNING

    def _outcomes(self, requirement: Requirement) -> set[Outcome]:
        answers = zip(self._plan, self._answers, strict=True)
        return {answer[0] for planned, answer in answers if planned.requirement is requirement}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One finding for each rule the policy asks, in the order of the table."""
        if self._findings is None:
            answers = zip(self._plan, self._answers, strict=True)
            self._findings = tuple(_finding(planned, answer) for planned, answer in answers)
        return self._findings

    @property
    def failed(self) -> tuple[str, ...]:
        """Ids of the rules that do not hold, whatever the policy makes of them."""
        return self._with(Outcome.FAIL)

    @property
    def undecided(self) -> tuple[str, ...]:
        """Ids of the rules that cannot be told, whatever the policy makes of them."""
        return self._with(Outcome.UNDECIDED)

    def _with(self, outcome: Outcome) -> tuple[str, ...]:
        return tuple(
            planned.id for planned, answer in zip(self._plan, self._answers, strict=True) if answer[0] is outcome
        )

    @property
    def trust(self) -> Trust:
        """How far the AIK is trusted."""
        pinned = self._case.name is not None and self._case.name in self._case.policy.pinned
        signed = any(
            planned.id == "signature.valid" and answer[0] is Outcome.PASS
            for planned, answer in zip(self._plan, self._answers, strict=True)
        )
        return Trust.PINNED_AIK if pinned and signed else Trust.SELF_ASSERTED

    @property
    def aik_name(self) -> str | None:
        """The AIK's Name in hex: what a policy pins. None if the AIK does not parse."""
        return self._case.name.hex() if self._case.name else None

    @property
    def hierarchy(self) -> str | None:
        """The hierarchy whose primary key the AIK says to be; None if it is none, or cannot be told."""
        return self._case.hierarchy

    @property
    def payload_id(self) -> str | None:
        return self._case.payload_id

    @property
    def policy_id(self) -> str:
        return self._case.policy.id

    @property
    def policy_digest(self) -> str:
        return self._case.policy.digest

    @property
    def appraised_at(self) -> str | None:
        return self._case.now.isoformat() if self._case.now else None

    @property
    def not_established(self) -> tuple[str, ...]:
        """What this result does not establish, whatever the verdict: one plain sentence each."""
        return not_established(self._case, self.trust)

    def require(self) -> Self:
        """Return the result itself if it affirms, or warns because the policy softened a rule. Raises
        `AttestationError`.
        """
        if self.verdict in (Verdict.AFFIRMING, Verdict.WARNING):
            return self
        reasons = [
            f"{finding.rule}: {finding.message}"
            for finding in self.findings
            if finding.outcome is not Outcome.PASS and finding.requirement is Requirement.REQUIRED
        ]
        raise AttestationError(f"the evidence is not affirmed ({self.verdict.value}): {'; '.join(reasons)}", self)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as `nomyo-attest schema result` describes it."""
        case = self._case
        return {
            "format": RESULT_FORMAT,
            "verdict": self.verdict.value,
            "trust": self.trust.value,
            "policy": {"id": self.policy_id, "digest": self.policy_digest},
            "payload_id": self.payload_id,
            "appraised_at": self.appraised_at,
            "aik": {
                "name": self.aik_name,
                "hierarchy": self.hierarchy,
                "framing": case.key.framing if case.key else None,
            },
            "quote": {"framing": case.attest.framing if case.attest else None},
            "findings": [finding.to_dict() for finding in self.findings],
            "not_established": list(self.not_established),
        }

    def __bool__(self) -> NoReturn:
        raise TypeError("an AttestationResult has no truth value: compare .verdict, or call .require()")

    def __repr__(self) -> str:
        return f"<AttestationResult {self.verdict.value}, policy {self.policy_id!r}, AIK trust {self.trust.value}>"


def _finding(planned: PlannedRule, answer: Answer) -> Finding:
    outcome, expected, got, message = answer
    return Finding(
        rule=planned.id,
        outcome=outcome,
        requirement=planned.requirement,
        cites=planned.rule.cites,
        expected=deepcopy(expected),  # a settled answer is shared by many results
        got=deepcopy(got),
        message=message or "holds",
        mend="" if outcome is PASS else planned.rule.mend,
    )


def _jsonable(value: Value) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IntEnum):
        return specification_name(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(inner) for inner in value]
    return value
