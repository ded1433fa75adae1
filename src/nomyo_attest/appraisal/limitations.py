"""State what a result does not establish: the limits of the evidence, one sentence each."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from nomyo_attest.appraisal.case import Case
from nomyo_attest.policy.model import AppraisalPolicy, Requirement, Trust

_LIMITS_CACHE_SIZE: Final = 256
"""Maximum number of cached lists of limits: each policy produces a few."""

_SELF_ASSERTED: Final = (
    "That a TPM made the quote: the AIK came with the response and has no certificate, and software can write such "
    "bytes."
)
_PINNED: Final = "That the AIK is in a TPM: it is trusted because the policy pins it."
_COMPLETION: Final = "That the server wrote the completion: the quote signs a payload id and PCRs, not the completion."
_RELAY: Final = (
    "That the quoted machine sent the response: nothing ties the quote to the server's encryption key or its TLS "
    "certificate, so a genuine quote of another machine can be relayed."
)
_RESPONSE: Final = (
    "That nobody else read or wrote the response: an active TLS-terminating proxy can replace the key it is encrypted "
    "to."
)
_ORDER: Final = (
    "That a compromised server did not see the prompt: the evidence comes with the response, after the prompt has "
    "been processed."
)
_MEASURED: Final = (
    "What the measured software does: a PCR value shows that known code was loaded, not that this code is sound, nor "
    "what ran later."
)
_MEMORY: Final = (
    "That memory was hidden from the machine's operator: a TPM quote is not an attestation report of a confidential "
    "virtual machine or of a GPU."
)
_CLAIMS: Final = (
    "That the server's claims about itself are true (security tier, memory protection, GPU): they are unsigned."
)
_RECORDED_ID: Final = (
    "That the quote was made for your request: the payload id was taken from the response, so a replayed "
    "older response also passes. Pass the payload id that you sent."
)
_ANY_NONCE: Final = "When the quote was made, and for which request: the policy accepts any nonce (unsafe_any_nonce)."
_NO_NONCE: Final = "For which request the quote was made: no payload id is known."
_ANY_PCRS: Final = (
    "What the machine booted: the policy requires no PCR value (unsafe_accept_any_pcrs, or pcr.values softened)."
)
_LOOSE_KEY: Final = (
    "That the AIK's attributes are those of the key that signed: its public area is tied to the quote only if it "
    "is a primary key and the policy sets key.hierarchy, or if it is pinned."
)
_OBFUSCATED: Final = (
    "The TPM's firmware version and reset counters: they are obfuscated outside the endorsement and platform "
    "hierarchies."
)
_MAYBE_OBFUSCATED: Final = (
    "The TPM's firmware version and reset counters: they may be obfuscated, since the AIK's hierarchy is unknown."
)


def not_established(case: Case, trust: Trust) -> tuple[str, ...]:
    """List the limits that apply to this case. They do not depend on the verdict."""
    return _limits(
        case.policy,
        trust,
        nonce_known=case.nonce is not None,
        recorded_id=case.payload_id is not None and case.passed_payload_id is None,
        warnings_ended=case.warnings_ended,
        key_parses=case.key is not None,
        quote_parses=case.attest is not None,
        hierarchy=case.hierarchy,
    )


@lru_cache(maxsize=_LIMITS_CACHE_SIZE)
def _limits(
    policy: AppraisalPolicy,
    trust: Trust,
    *,
    nonce_known: bool,
    recorded_id: bool,
    warnings_ended: bool | None,
    key_parses: bool,
    quote_parses: bool,
    hierarchy: str | None,
) -> tuple[str, ...]:
    limits = [_PINNED if trust is Trust.PINNED_AIK else _SELF_ASSERTED]
    limits += [_COMPLETION, _RELAY, _RESPONSE, _ORDER, _MEASURED, _MEMORY, _CLAIMS]
    if not nonce_known:
        limits.append(_ANY_NONCE if policy.unsafe_any_nonce else _NO_NONCE)
    elif recorded_id:
        limits.append(_RECORDED_ID)
    softened = policy.rules.get("pcr.values", Requirement.REQUIRED) is not Requirement.REQUIRED
    if not policy.banks_relied_on or (softened and not warnings_ended):
        limits.append(_ANY_PCRS)
    if policy.warned and policy.unsafe_warn_until and not warnings_ended:
        rules, until = ", ".join(policy.warned), policy.unsafe_warn_until.isoformat()
        limits.append(f"That {rules} holds: the policy makes this a warning until {until} (unsafe_warn_until).")
    if key_parses and hierarchy is None and trust is not Trust.PINNED_AIK:
        limits.append(_LOOSE_KEY)
    if quote_parses and hierarchy not in ("endorsement", "platform"):
        limits.append(_OBFUSCATED if hierarchy else _MAYBE_OBFUSCATED)
    return tuple(limits)
