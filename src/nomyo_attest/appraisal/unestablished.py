"""What no verdict establishes: the limits of the evidence, in plain words, with every result."""

from __future__ import annotations

from typing import Final

from nomyo_attest.appraisal.case import Case
from nomyo_attest.policy.model import Trust

_SELF_ASSERTED: Final = (
    "That a TPM made the quote: the AIK came with the answer, no certificate vouches for it, and software can write "
    "such bytes."
)
_PINNED: Final = "That the AIK lives in a TPM: it is trusted because the policy pins it."
_RELAY: Final = (
    "That the machine quoted is the one that answered: nothing ties the quote to the server's encryption key or its "
    "TLS certificate, so a genuine quote of another machine can be relayed."
)
_REPLY: Final = (
    "That nobody else read or wrote the answer: whoever ends the TLS connection can exchange the key it is encrypted "
    "to."
)
_ORDER: Final = (
    "That the prompt was kept from a bad server: the evidence comes with the answer, when the prompt has been "
    "processed."
)
_MEASURED: Final = (
    "What the measured software does: a PCR value says that known code was loaded, not that it is good, nor what ran "
    "later."
)
_MEMORY: Final = (
    "That memory was hidden from the machine's operator: a TPM quote is no report of a confidential virtual machine, "
    "or of a GPU."
)
_CLAIMS: Final = "What the server claims of itself (security tier, memory protection, GPU): nothing signs these words."
_ANY_NONCE: Final = "When the quote was made, and for which request: the policy accepts any nonce (unsafe_any_nonce)."
_NO_NONCE: Final = "For which request the quote was made: no payload id is known."
_ANY_PCRS: Final = "What the machine booted: the policy pins no PCR value (unsafe_accept_any_pcrs)."
_OBFUSCATED: Final = (
    "The TPM's firmware version and reset counters: they are obfuscated outside the endorsement and platform "
    "hierarchies."
)


def not_established(case: Case, trust: Trust) -> tuple[str, ...]:
    """The limits that hold for this case."""
    limits = [_PINNED if trust is Trust.PINNED_AIK else _SELF_ASSERTED]
    limits += [_RELAY, _REPLY, _ORDER, _MEASURED, _MEMORY, _CLAIMS]
    if case.nonce is None:
        limits.append(_ANY_NONCE if case.policy.unsafe_any_nonce else _NO_NONCE)
    if not case.policy.banks_relied_on:
        limits.append(_ANY_PCRS)
    if case.attest is not None and case.hierarchy not in ("endorsement", "platform"):
        limits.append(_OBFUSCATED)
    return tuple(limits)
