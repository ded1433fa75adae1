"""Which rules of one record are undecided only because another rule does not hold?"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "attest.form": ("evidence.available", "evidence.form"),
    "signature.form": ("evidence.available", "evidence.form"),
    "key.form": ("evidence.available", "evidence.form"),
    "evidence.available": ("evidence.form",),
    "evidence.form": ("evidence.available",),
    "attest.magic": ("attest.form",),
    "attest.type": ("attest.form",),
    "key.attributes": ("key.form",),
    "key.template": ("key.form",),
    "key.strength": ("key.form",),
    "key.hierarchy": ("attest.form", "key.form"),
    "key.trust": ("key.form",),
    "signer.name": ("attest.form", "key.form"),
    "signature.scheme": ("signature.form", "key.form"),
    "signature.hash": ("signature.form", "key.form"),
    "signature.valid": ("attest.form", "signature.form", "key.form", "key.strength"),
    "nonce.match": ("attest.form",),
    "clock.safe": ("attest.form",),
    "pcr.selection": ("attest.form", "attest.type"),
    "pcr.digest": ("attest.form", "attest.type", "signature.form", "pcr.selection"),
    "pcr.values": ("attest.form", "attest.type"),
    "firmware.version": ("attest.form", "key.form"),
    "claims.*": ("evidence.form",),
}
"""Rule → the rules that must hold before it can be evaluated. A rule without an entry needs no other."""


def consequences(undecided: Collection[str], failed: Collection[str], ignored: Collection[str]) -> frozenset[str]:
    """The undecided rules of one record that another rule of that record explains.

    Args:
        undecided, failed: ids of the rules that are undecided and that do not hold, for this one record.
        ignored: ids of the rules that the policy ignores. They explain nothing, since reports do not show them.
    """
    return frozenset(
        rule
        for rule in undecided
        if any(
            (need in undecided or need in failed) and _explains(need, rule, failed, ignored)
            for need in NEEDS.get("claims.*" if rule.startswith("claims.") else rule, ())
        )
    )


def _explains(reason: str, rule: str, failed: Collection[str], ignored: Collection[str]) -> bool:
    """Whether a reader who sees `reason` need not see `rule`.

    Without evidence, `evidence.available` and `evidence.form` are both undecided, and the first is the reason.
    """
    if (reason, rule) == ("evidence.form", "evidence.available"):
        return reason in failed
    return reason not in ignored
