"""The rules: every question an appraisal asks, in order.

A rule that a policy does not mention is required. A core rule cannot be softened. A rule that is asked only where the
policy gives it something to compare with yields no finding elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

from nomyo_attest.appraisal.answer import Answer
from nomyo_attest.appraisal.checks import claims, form, freshness, key, pcrs, signature
from nomyo_attest.policy.model import AppraisalPolicy, Requirement


class Rule:
    """One row of the table.

    Attributes:
        id: the name users store: in policies, results, reports.
        check: its function, to an `Answer`; that of `claims.*` takes a path too.
        field: the structure field or the key in the response that the rule examines.
        core: whether no policy may soften it.
        settled: whether its check takes a `LayoutFacts` and runs once for each layout; if not, it takes a `Case`.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the name users know it by
        check: Callable[..., Answer],
        field: str,
        *,
        core: bool = False,
        settled: bool = False,
    ) -> None:
        self.id = id
        self.check = check
        self.field = field
        self.core = core
        self.settled = settled

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its id: a rule is the row of the table."""
        return find_rule, (self.id,)

    @cached_property
    def _paragraphs(self) -> list[str]:
        return [" ".join(part.split()) for part in inspect.cleandoc(self.check.__doc__ or "").split("\n\n")]

    @property
    def question(self) -> str:
        """What the rule asks."""
        return self._paragraphs[0]

    @property
    def explanation(self) -> str:
        """Why it asks, in a few sentences."""
        return "\n\n".join(self._paragraphs[1:-1])

    @property
    def remediation(self) -> str:
        """What to do when it does not hold."""
        return self._paragraphs[-1].removeprefix("What to do: ")


# fmt: off
RULES: Final = (
    Rule("evidence.available", form.evidence_available, "tpm_attestation.is_available", settled=True, core=True),
    Rule("evidence.form", form.evidence_form, "tpm_attestation", settled=True, core=True),
    Rule("attest.form", form.attest_form, "TPMS_ATTEST", settled=True, core=True),
    Rule("signature.form", form.signature_form, "TPMT_SIGNATURE", settled=True, core=True),
    Rule("key.form", form.key_form, "TPMT_PUBLIC", settled=True, core=True),
    Rule("attest.magic", form.attest_magic, "TPMS_ATTEST.magic", settled=True, core=True),
    Rule("attest.type", form.attest_type, "TPMS_ATTEST.type", settled=True, core=True),
    Rule("key.attributes", key.key_attributes, "TPMT_PUBLIC.objectAttributes", settled=True),
    Rule("key.template", key.key_template, "TPMT_PUBLIC", core=True),
    Rule("key.strength", key.key_strength, "TPMT_PUBLIC.unique"),
    Rule("key.hierarchy", key.key_hierarchy, "TPMS_ATTEST.qualifiedSigner"),
    Rule("key.trust", key.key_trust, "TPMT_PUBLIC"),
    Rule("signer.name", key.signer_name, "TPMS_ATTEST.qualifiedSigner"),
    Rule("signature.scheme", signature.signature_scheme, "TPMT_SIGNATURE.sigAlg", settled=True, core=True),
    Rule("signature.hash", signature.signature_hash, "TPMT_SIGNATURE.signature.hash", settled=True, core=True),
    Rule("signature.valid", signature.signature_valid, "TPMT_SIGNATURE.signature", core=True),
    Rule("nonce.match", freshness.nonce_match, "TPMS_ATTEST.extraData", core=True),
    Rule("clock.safe", freshness.clock_safe, "TPMS_CLOCK_INFO.safe", settled=True),
    Rule("pcr.selection", pcrs.pcr_selection, "TPMS_QUOTE_INFO.pcrSelect", settled=True, core=True),
    Rule("pcr.digest", pcrs.pcr_digest, "TPMS_QUOTE_INFO.pcrDigest", core=True),
    Rule("pcr.bank", pcrs.pcr_bank, "TPMS_PCR_SELECTION.hash", settled=True),
    Rule("pcr.values", pcrs.pcr_values, "tpm_attestation.pcr_values", settled=True),
    Rule("firmware.version", claims.firmware_version, "TPMS_ATTEST.firmwareVersion"),
    Rule("policy.period", freshness.policy_period, "valid_from, valid_until"),
    Rule("claims.*", claims.claim, "_metadata"),
)
# fmt: on


def find_rule(rule_id: str) -> Rule:
    """The rule of this id; ``claims.security_tier`` and its like are `claims.*`. Raises `KeyError` for another."""
    wanted = "claims.*" if rule_id.startswith("claims.") else rule_id
    for rule in RULES:
        if rule.id == wanted:
            return rule
    raise KeyError(rule_id)


def requirement_of(rule_id: str, policy: AppraisalPolicy) -> Requirement:
    """What `policy` requires of a rule: required unless it says otherwise; one claim's own word goes before
    ``claims.*``.
    """
    if find_rule(rule_id).core:
        return Requirement.REQUIRED
    fallback = (
        policy.rules.get("claims.*", Requirement.REQUIRED) if rule_id.startswith("claims.") else Requirement.REQUIRED
    )
    return policy.rules.get(rule_id, fallback)
