"""From responses that are trusted to a policy: what must hold of each, and of the policy before it is relied on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nomyo_attest.cli.errors import NOT_AFFIRMED, UNUSABLE, CommandError

if TYPE_CHECKING:
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.policy.learn import Lesson, Recording

_PROBE: Final = {
    "format": "nomyo-attest-policy/1",
    "id": "policy learn",
    "unsafe_accept_any_pcrs": True,
    "rules": {"clock.safe": "warn"},
}
"""What evidence must be like to be learned from: any PCR values, and everything else that is always asked."""


def recording_from(
    content: bytes | Mapping[str, Any],
    *,
    file: str,
    name: str,
    payload_id: str | None = None,
    nonce: bytes | None = None,
    allow_test_keys: bool = False,
) -> Recording:
    """One response to learn from. Raises `CommandError` if it is not sound.

    Args:
        content: the response.
        file: what complaints call it.
        name: what the policy's labels call it.
        payload_id, nonce: what the quote is bound to, instead of the payload id that the response records.
        allow_test_keys: learn from the soft TPM, too, whose private keys everybody can make again.
    """
    from nomyo_attest.appraisal import Outcome, Verdict, appraise
    from nomyo_attest.errors import EvidenceError, MisplacedEvidenceError
    from nomyo_attest.evidence import Evidence
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.policy.learn import Recording
    from nomyo_attest.report.reasons import reasons
    from nomyo_attest.tpm import parse_attest

    evidence: Evidence
    try:
        evidence = Evidence.from_response(content)
    except MisplacedEvidenceError as error:
        raise CommandError(f"{file}: {error}") from None
    except EvidenceError as error:
        raise CommandError(f"{file}: refused by evidence.form: {error}", status=NOT_AFFIRMED) from None
    result = appraise(evidence, AppraisalPolicy.from_dict(_PROBE), payload_id=payload_id, nonce=nonce)
    if result.verdict not in (Verdict.AFFIRMING, Verdict.WARNING):
        found = reasons(result)
        finding = (*found.failed, *found.open, *found.waiting)[0]
        what = "does not hold" if finding.outcome is Outcome.FAIL else "cannot be told"
        problem = f"{finding.rule} {what}: {finding.message}"
        hint = "learn from evidence that is sound"
        if finding.rule == "nonce.match" and finding.outcome is Outcome.UNDECIDED:
            hint = "give the payload id of the request (--payload-id), or the nonce that was quoted (--nonce)"
        raise CommandError(f"{file}: refused: {problem}; {hint}", status=NOT_AFFIRMED)
    if result.test_key and not allow_test_keys:
        problem = "the soft TPM of nomyo_attest.testing made this evidence, and everybody can make its keys again"
        hint = "learn from a response of the machine that you trust; only for a trial, give --allow-test-keys"
        raise CommandError(f"{file}: refused: {problem}; {hint}", status=NOT_AFFIRMED)
    return Recording(
        name=name,
        test_key=result.test_key,
        evidence=evidence,
        hierarchy=result.hierarchy,
        clock_safe="clock.safe" not in result.failed,
        firmware_version=parse_attest(evidence.quote).value.firmware_version,
    )


def policy_from(
    recordings: Sequence[Recording],
    *,
    policy_id: str,
    description: str,
    payload_id: str | None = None,
    nonce: bytes | None = None,
) -> tuple[Lesson, AppraisalPolicy]:
    """The policy learned from `recordings`, as text and as loaded from it; it affirms each. Raises `CommandError`.

    `payload_id` and `nonce` are those of `recording_from`, if they were given there.
    """
    from nomyo_attest.errors import PolicyError
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.policy.learn import learn

    try:
        lesson = learn(recordings, policy_id=policy_id, description=description)
        policy = AppraisalPolicy.from_dict(tomllib.loads(lesson.text))
    except PolicyError as error:
        # The id is the user's own; anything else is what the files lack.
        status = UNUSABLE if error.where == "id" else NOT_AFFIRMED
        raise CommandError(f"{error.where}: {error.problem}; {error.hint}", status=status) from None
    _check_affirms(policy, recordings, payload_id, nonce)
    return lesson, policy


def _check_affirms(
    policy: AppraisalPolicy, recordings: Sequence[Recording], payload_id: str | None, nonce: bytes | None
) -> None:
    """Try the learned policy on what it was learned from, before anyone relies on it. Raises `CommandError`."""
    from nomyo_attest.appraisal import Verdict, appraise

    expected = {Verdict.AFFIRMING} if "clock.safe" not in policy.rules else {Verdict.AFFIRMING, Verdict.WARNING}
    for one in recordings:
        result = appraise(one.evidence, policy, payload_id=payload_id, nonce=nonce)
        if result.verdict not in expected:
            rules = ", ".join((*result.failed, *result.undecided))
            raise CommandError(
                f"{one.name}: the policy learned from it would not affirm it ({rules}); nothing was written",
                status=NOT_AFFIRMED,
            )
