"""Learn a policy from trusted responses: appraise them, write the policy, and test it on each response."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from nomyo_attest.appraisal.finding import Finding
from nomyo_attest.appraisal.outcome import Outcome
from nomyo_attest.appraisal.result import AttestationResult, Verdict
from nomyo_attest.appraisal.verifier import appraise
from nomyo_attest.errors import EvidenceError, LearningError, MisplacedEvidenceError, RefusedResponse, without_traceback
from nomyo_attest.evidence.response import Evidence
from nomyo_attest.policy.model import POLICY_FORMAT, STRONG_HASHES, AppraisalPolicy, Requirement
from nomyo_attest.policy.pcr_meanings import MEANINGS, never_extended, reset_by
from nomyo_attest.policy.toml import toml_comment, toml_string
from nomyo_attest.tpm.framing import parse_attest

COMMENT_WIDTH: Final = 80
"""Maximum columns of a comment line in the policy."""

LABEL_NAMES_MAXIMUM: Final = 3
"""Maximum names in one label; further names are only counted."""

Pcr = tuple[str, int]
"""Bank and PCR index."""


class LearnedPolicy(msgspec.Struct, frozen=True):
    """A policy that affirms the responses it was learned from.

    Attributes:
        text: the policy in TOML, with comments for its owner.
        policy: the policy, as loaded from `text`.
        notices: remarks for the policy's owner that are not in the text, one sentence each.
    """

    text: str
    policy: AppraisalPolicy
    notices: tuple[str, ...]


class _Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """One response that was accepted.

    Attributes:
        name: the name of the response, used as the label of its values.
        evidence: the evidence as read; its PCR values are signed.
        payload_id: the payload id that the caller passed; None if it passed none.
        hierarchy: the hierarchy in which the AIK is a primary key; None if it is not a primary key.
        clock_safe: TPMS_CLOCK_INFO.safe.
        firmware_version: TPMS_ATTEST.firmwareVersion.
        test_key: whether the soft TPM, whose private keys anyone can derive, made the evidence.
    """

    name: str
    evidence: Evidence
    payload_id: str | None
    hierarchy: str | None
    clock_safe: bool
    firmware_version: int
    test_key: bool = False


def learn(
    responses: Iterable[object],
    *,
    names: Sequence[str] | None = None,
    payload_id: str | None = None,
    payload_ids: Sequence[str | None] | None = None,
    nonce: bytes | None = None,
    policy_id: str = "learned",
    description: str | None = None,
    allow_test_keys: bool = False,
) -> LearnedPolicy:
    """Learn a policy that affirms all of `responses`: it accepts every value found in each PCR that all of them sign.

    Every response is appraised first. Apart from `pcr.values` and `clock.safe`, it must pass every rule that is
    required by default. The learned policy is tested on every response before it is returned.

    Args:
        responses: responses of machines that you trust, each in a form that `nomyo_attest.appraise` accepts.
        names: a name for each response, used as the label of its values. By default ``"response 1"`` and so on.
        payload_id: the payload id of the request, for a single response that does not record it.
        payload_ids: for each response, the payload id of its request, or None to use the one in the response.
        nonce: the quoted extraData, instead of a payload id; also for a single response.
        policy_id: the policy's id, one line of 1 to 200 characters.
        description: the policy's description; by default ``"Learned from …"``.
        allow_test_keys: also learn from the soft TPM of `nomyo_attest.testing`, whose private keys anyone can derive.
            For tests only.

    Raises:
        LearningError: a response was refused, or there is no PCR that all responses sign.
        PolicyError: the id is not a valid policy id.
        TypeError, ValueError: for invalid arguments.
    """
    if isinstance(responses, (str, bytes, Mapping)):
        raise TypeError("responses must be an iterable of responses; pass [response] for a single response")
    responses = list(responses)
    names = [f"response {number}" for number in range(1, len(responses) + 1)] if names is None else list(names)
    if not responses:
        raise ValueError("responses is empty; learn needs at least one response")
    if len(names) != len(responses):
        raise ValueError(f"names has {len(names)} entries for {len(responses)} responses")
    if len(responses) > 1 and (payload_id is not None or nonce is not None):
        raise ValueError(f"payload_id and nonce apply to a single response, but {len(responses)} were passed")
    if payload_ids is None:
        payload_ids = [payload_id] * len(responses)
    elif payload_id is not None or nonce is not None:
        raise ValueError("pass either payload_ids, or payload_id or nonce")
    elif len(payload_ids) != len(responses):
        raise ValueError(f"payload_ids has {len(payload_ids)} entries for {len(responses)} responses")
    accepted: list[_Accepted] = []
    refused: list[RefusedResponse] = []
    for name, response, passed_id in zip(names, responses, payload_ids, strict=True):
        outcome = _appraise_one(response, name, passed_id, nonce, allow_test_keys=allow_test_keys)
        if isinstance(outcome, _Accepted):
            accepted.append(outcome)
        else:
            refused.append(outcome)
    if refused:
        first = refused[0]
        more = f" ({len(refused) - 1} more refused)" if len(refused) > 1 else ""
        raise LearningError(f"{first.name}: {first.problem}{more}", first.hint, tuple(refused))
    if description is None:
        description = f"Learned from {_names_text(names)}"
    text, notices = _write(accepted, policy_id=policy_id, description=description)
    policy = AppraisalPolicy.from_dict(tomllib.loads(text))
    _check_affirms(policy, accepted, nonce)
    return LearnedPolicy(text, policy, notices)


_PROBE: Final = {
    "format": POLICY_FORMAT,
    "id": "learn",
    "unsafe_accept_any_pcrs": True,
    "rules": {"clock.safe": "warn"},
}
"""The policy that a response must satisfy to be learned from: any PCR values, and every other default rule."""


def _appraise_one(
    response: object, name: str, payload_id: str | None, nonce: bytes | None, *, allow_test_keys: bool
) -> _Accepted | RefusedResponse:
    """Appraise one response; return it if it can be learned from, otherwise why it was refused."""
    try:
        if isinstance(response, EvidenceError):
            raise response
        evidence = response if isinstance(response, Evidence) else Evidence.from_response(response)
    except MisplacedEvidenceError as error:
        problem = str(error).removesuffix(f"; {error.hint}")
        return RefusedResponse(name, problem, error.hint, without_traceback(error))
    except EvidenceError as error:
        return RefusedResponse(
            name, f"refused: evidence.form does not hold: {error}", _PASSING_HINT, without_traceback(error)
        )
    result = appraise(evidence, AppraisalPolicy.from_dict(_PROBE), payload_id=payload_id, nonce=nonce)
    if result.verdict not in (Verdict.AFFIRMING, Verdict.WARNING):
        finding = _deciding_finding(result)
        outcome = "does not hold" if finding.outcome is Outcome.FAIL else "is undecided"
        hint = _PASSING_HINT
        if finding.rule == "nonce.match" and finding.outcome is Outcome.UNDECIDED:
            hint = "pass the payload id of the request (payload_id), or the quoted nonce (nonce)"
        return RefusedResponse(name, f"refused: {finding.rule} {outcome}: {finding.message}", hint, None)
    if result.test_key and not allow_test_keys:
        problem = (
            "refused: the soft TPM of nomyo_attest.testing made this evidence, and anyone can derive its private keys"
        )
        hint = "learn from a response of a machine that you trust; for a trial only, allow_test_keys accepts these keys"
        return RefusedResponse(name, problem, hint, None)
    return _Accepted(
        name=name,
        test_key=result.test_key,
        evidence=evidence,
        payload_id=payload_id,
        hierarchy=result.hierarchy,
        clock_safe="clock.safe" not in result.failed,
        firmware_version=parse_attest(evidence.quote).value.firmware_version,
    )


_PASSING_HINT: Final = "learn from a response that passes every required rule"


def _deciding_finding(result: AttestationResult) -> Finding:
    """Return why a result does not affirm: the first required rule that fails, or else the first that is undecided.

    A rule comes after the rules that it needs, so the first finding is not a consequence of another.
    """
    unsatisfied = [
        finding
        for finding in result.findings
        if finding.outcome is not Outcome.PASS and finding.requirement is Requirement.REQUIRED
    ]
    return min(unsatisfied, key=lambda finding: finding.outcome is not Outcome.FAIL)


def _check_affirms(policy: AppraisalPolicy, accepted: Sequence[_Accepted], nonce: bytes | None) -> None:
    """Check that the policy affirms the responses it was learned from. Raises `LearningError`."""
    expected = {Verdict.AFFIRMING} if "clock.safe" not in policy.rules else {Verdict.AFFIRMING, Verdict.WARNING}
    for response in accepted:
        result = appraise(response.evidence, policy, payload_id=response.payload_id, nonce=nonce)
        if result.verdict not in expected:
            rules = ", ".join((*result.failed, *result.undecided))
            raise LearningError(
                f"{response.name}: the learned policy does not affirm this response ({rules})",
                "no policy was written; learn from responses of machines of one kind",
            )


def _write(accepted: Sequence[_Accepted], *, policy_id: str, description: str) -> tuple[str, tuple[str, ...]]:
    """Write the policy in TOML; return it with the notices for its owner.

    Raises `LearningError` if there is no PCR that every response signs.
    """
    notices: list[str] = []
    pcrs = _pcrs_to_pin(accepted, notices)
    values = {pcr: _labels_by_value(pcr, accepted) for pcr in pcrs}
    notices += _weak_value_notices(values)
    lines = [
        *_comment(
            f"Learned by nomyo-attest policy learn from {_names_text([response.name for response in accepted])}."
        ),
        *_comment("Review it before you use it: it accepts everything that those machines had booted."),
        *_test_key_lines(accepted),
        f"format = {toml_string(POLICY_FORMAT)}",
        f"id = {toml_string(policy_id)}",
        f"description = {toml_string(description)}",
        "",
        *_comment("Reference values. Each PCR listed here must be signed and have one of its values."),
        *_comment('"any" instead of a list accepts every value of a signed PCR.'),
    ]
    for bank in dict.fromkeys(bank for bank, _ in pcrs):
        lines.append(f"[pcrs.{bank}]")
        for index in (index for other_bank, index in pcrs if other_bank == bank):
            lines += [*_comment(f"PCR {index}: {MEANINGS[index]}."), f"{index} = ["]
            lines += [
                f"    {{ value = {toml_string(value.hex())}, label = {toml_string(label)} }},"
                for value, label in values[bank, index].items()
            ]
            lines.append("]")
        lines.append("")
    lines += [
        *_bank_lines(pcrs),
        *_key_lines(accepted, notices),
        *_clock_lines(accepted, notices),
        *_optional_lines(accepted),
    ]
    return "\n".join(lines).rstrip("\n") + "\n", tuple(notices)


def _test_key_lines(accepted: Sequence[_Accepted]) -> list[str]:
    names = [response.name for response in accepted if response.test_key]
    if not names:
        return []
    return _comment(
        f"FOR TESTS ONLY: the soft TPM of nomyo_attest.testing made {_names_text(names)} (--allow-test-keys). "
        "Anyone can derive its private keys and forge evidence that this policy affirms."
    )


def _pcrs_to_pin(accepted: Sequence[_Accepted], notices: list[str]) -> list[Pcr]:
    """Return the PCRs that every response signs, without the SHA-1 bank if there is another bank."""
    signed = [
        {(bank, index) for bank, values in response.evidence.pcrs.values.items() for index in values}
        for response in accepted
    ]
    common = set.intersection(*signed)
    if not common:
        raise LearningError("there is no PCR that every response signs", "learn from responses of machines of one kind")
    for response, pcrs in zip(accepted, signed, strict=True):
        omitted = sorted(pcrs - common)
        if omitted:
            notices.append(
                f"{response.name}: not every response signs {_selection_text(omitted)}, so the policy does not name it"
            )
    if any(bank != "sha1" for bank, _ in common):
        weak = sorted(pcr for pcr in common if pcr[0] == "sha1")
        if weak:
            notices.append(
                f"{_selection_text(weak)}: not pinned, because SHA-1 values can be forged and a stronger bank is quoted"
            )
            common = common.difference(weak)
    return sorted(common)


def _labels_by_value(pcr: Pcr, accepted: Sequence[_Accepted]) -> dict[bytes, str]:
    """Return each value of a PCR with the names of the responses that have it."""
    bank, index = pcr
    names_by_value: dict[bytes, list[str]] = {}
    for response in accepted:
        names_by_value.setdefault(response.evidence.pcrs.values[bank][index], []).append(response.name)
    return {value: _names_text(names) for value, names in names_by_value.items()}


def _names_text(names: list[str]) -> str:
    """Return the first `LABEL_NAMES_MAXIMUM` names, and how many more there are."""
    if len(names) <= LABEL_NAMES_MAXIMUM:
        return ", ".join(names)
    return f"{', '.join(names[:LABEL_NAMES_MAXIMUM])} and {len(names) - LABEL_NAMES_MAXIMUM} more"


def _selection_text(pcrs: Sequence[Pcr]) -> str:
    """Return PCRs as a selection text, such as ``sha256:0,7``."""
    banks: dict[str, list[str]] = {}
    for bank, index in pcrs:
        banks.setdefault(bank, []).append(str(index))
    return "+".join(f"{bank}:{','.join(indices)}" for bank, indices in banks.items())


def _weak_value_notices(values: dict[Pcr, dict[bytes, str]]) -> list[str]:
    notices = []
    initial = [pcr for pcr, labels in values.items() if any(map(never_extended, labels))]
    if initial:
        notices.append(f"{_selection_text(initial)}: the initial value of a PCR says nothing about the machine")
    for reason in dict.fromkeys(reset_by(index) for _, index in values):
        if reason:
            pcrs = [pcr for pcr in values if reset_by(pcr[1]) == reason]
            notices.append(f"{_selection_text(pcrs)}: the value proves little, because {reason}")
    return notices


def _bank_lines(pcrs: Sequence[Pcr]) -> list[str]:
    banks = list(dict.fromkeys(bank for bank, _ in pcrs))
    if all(bank in STRONG_HASHES for bank in banks):
        return []
    reason = "SHA-1 is weak: its values can be forged. The responses quote no other bank."
    hashes = ", ".join(toml_string(bank) for bank in dict.fromkeys([*STRONG_HASHES, *banks]))
    return ["[bank]", *(_comment(reason) if "sha1" in banks else []), f"hashes = [{hashes}]", ""]


def _key_lines(accepted: Sequence[_Accepted], notices: list[str]) -> list[str]:
    hierarchies = list(dict.fromkeys(response.hierarchy for response in accepted))
    if None in hierarchies:
        notices.append(
            "key.hierarchy: not set, because an AIK is not a primary key; its attributes are not tied to the quote"
        )
        return []
    values = ", ".join(toml_string(str(hierarchy)) for hierarchy in hierarchies)
    reason = "The AIK must be a primary key of this hierarchy, which ties its public area to the quote."
    return ["[key]", *_comment(reason), f"hierarchy = [{values}]", ""]


def _clock_lines(accepted: Sequence[_Accepted], notices: list[str]) -> list[str]:
    unsafe = [response.name for response in accepted if not response.clock_safe]
    if not unsafe:
        return []
    notices.append(f'clock.safe: set to "warn", because it does not hold in {_names_text(unsafe)}')
    reason = (
        f"The clock's `safe` flag was clear in {_names_text(unsafe)}, as it is for some time after a power cut. "
        "Remove this line if you order quotes by their clock."
    )
    return ["[rules]", *_comment(reason), '"clock.safe" = "warn"', ""]


def _optional_lines(accepted: Sequence[_Accepted]) -> list[str]:
    """Return optional requirements, as comments that the policy's owner can enable."""
    lines = [
        *_comment("Optional requirements. Remove the # before a table and its lines to enable it."),
        "#",
        *_comment("The AIK is self-asserted. An AIK that is created for each response cannot be pinned."),
    ]
    if all(response.hierarchy in ("endorsement", "platform") for response in accepted):
        found = dict.fromkeys(response.firmware_version for response in accepted)
        versions = ", ".join(toml_string(f"0x{version:016x}") for version in found)
        lines += ["#", *_comment("The firmware version of the TPM:"), "# [firmware]", f"# versions = [{versions}]"]
    claimed = dict.fromkeys(_claimed_tier(response.evidence) for response in accepted)
    tiers = [tier for tier in claimed if tier is not None]
    if tiers:
        lines += ["#", *_comment("The server's unsigned claims about itself:"), "# [claims]"]
        lines.append(f"# security_tier = [{', '.join(toml_string(tier) for tier in tiers)}]")
    return lines


def _comment(text: str) -> list[str]:
    """Wrap `text` into comment lines of a policy file. Line breaks in `text` cannot end the comment."""
    return textwrap.wrap(
        toml_comment(text),
        COMMENT_WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _claimed_tier(evidence: Evidence) -> str | None:
    """Return the security tier that the server claims; None if it is not a tier of the protocol."""
    tier = evidence.claims.get("security_tier")
    return tier if tier in ("standard", "high", "maximum") else None
