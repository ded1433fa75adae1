"""Appraising one record, and telling why it is not affirmed: as a test's failure, and for tests of one's own."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from nomyo_attest.pytest_plugin.settings import NO_POLICY, Settings

if TYPE_CHECKING:
    from nomyo_attest.appraisal import AttestationResult
    from nomyo_attest.policy import AppraisalPolicy


class RefusedError(Exception):
    """A record is not affirmed. `brief` is the reason in a line, the message all of it."""

    def __init__(self, brief: str, text: str) -> None:
        from nomyo_attest.report.formatting import escape_commands

        self.brief = escape_commands(brief)
        super().__init__(escape_commands(text))


def appraise_record(text: bytes, policy: AppraisalPolicy, at: datetime | None, place: str) -> AttestationResult:
    """The result for one record of any form that is kept. Raises `RefusedError`."""
    from nomyo_attest.appraisal import appraise
    from nomyo_attest.appraisal.verifier import try_to_read
    from nomyo_attest.audit.stored_evidence import RepairError, unwrap
    from nomyo_attest.errors import EvidenceError, MisplacedEvidenceError

    try:
        stored = unwrap(text)
    except (EvidenceError, RepairError) as error:
        raise RefusedError("no evidence can be read", f"{place}: {_clean(str(error))}") from None
    given, payload_id = (text, None) if stored is None else (stored.evidence, stored.payload_id)
    evidence = try_to_read(given)
    if isinstance(evidence, MisplacedEvidenceError):
        raise RefusedError("the evidence is not at the top level", f"{place}: {_clean(str(evidence))}")
    return appraise(given if isinstance(evidence, EvidenceError) else evidence, policy, payload_id=payload_id, now=at)


def told(place: str, result: AttestationResult, policy: AppraisalPolicy, *, verbose: bool = False) -> tuple[str, str]:
    """Why a result is not affirming: in a line, and with all that is expected and got; digests in full if `verbose`."""
    from nomyo_attest.report.formatting import TextStyle, escape_commands, excerpt
    from nomyo_attest.report.reasons import reasons
    from nomyo_attest.report.verdict import body_text, head_text

    found = reasons(result)
    because = [f"{one.rule}: {excerpt(one.message)}" for one in (*found.failed, *found.open, *found.softened)]
    style = TextStyle(verbose=verbose)
    body = body_text(result, policy, style)
    brief = _clean(f"{result.verdict.value}: {'; '.join(because)}")
    return brief, escape_commands(head_text(place, result, style) + (f"\n\n{body}" if body else ""))


def _clean(text: str) -> str:
    from nomyo_attest.report.formatting import sanitize

    return sanitize(text)


class Appraise:
    """What the fixture `appraise` gives: call it for a result, or `require` an affirming one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(
        self,
        response: object,
        *,
        policy: AppraisalPolicy | None = None,
        payload_id: str | None = None,
        nonce: bytes | None = None,
        now: datetime | None = None,
    ) -> AttestationResult:
        """Appraise `response`, as `nomyo_attest.appraise` does; by the policy and time configured unless given."""
        from nomyo_attest.appraisal import appraise

        now = now if now is not None else self._settings.at
        return appraise(response, self._policy(policy), payload_id=payload_id, nonce=nonce, now=now)

    def require(
        self,
        response: object,
        *,
        policy: AppraisalPolicy | None = None,
        payload_id: str | None = None,
        nonce: bytes | None = None,
        now: datetime | None = None,
    ) -> AttestationResult:
        """The result of the same, if it affirms or warns; if not, the test fails with the findings."""
        __tracebackhide__ = True
        policy = self._policy(policy)
        result = self(response, policy=policy, payload_id=payload_id, nonce=nonce, now=now)
        if result.verdict.value not in ("affirming", "warning"):
            pytest.fail(told("response", result, policy)[1], pytrace=False)
        return result

    def _policy(self, given: AppraisalPolicy | None) -> AppraisalPolicy:
        policy = given if given is not None else self._settings.policy
        if policy is None:
            pytest.fail(NO_POLICY, pytrace=False)
        return policy
