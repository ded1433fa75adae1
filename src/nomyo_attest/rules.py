"""The table of rules: one row for each rule of an appraisal, in the order of evaluation.

A row states everything about a rule except its code, which is a function of `appraisal/checks/`. Policies, JSON
Schemas, reports and documentation read this table. It imports none of them, so that a policy can be loaded without
importing the Verifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class ValueStyle(Enum):
    """How reports display the expected and actual values of a finding.

    `PLAIN`: by their types. `CHOICE`: a list names alternatives. `FLAGS`: a list names bits that are set. `PERIOD`: a
    pair of times, each of which may be missing. `FIRMWARE`: versions in hexadecimal; a list names alternatives. `JSON`:
    as JSON, which distinguishes the text ``"true"`` from the boolean.
    """

    PLAIN = "plain"
    CHOICE = "choice"
    FLAGS = "flags"
    PERIOD = "period"
    FIRMWARE = "firmware"
    JSON = "json"


@dataclass(frozen=True)
class RuleFacts:
    """One row of the table.

    Attributes:
        id: the name that policies, results and reports use.
        check_name: module and name of its function in `appraisal/checks/`.
        field: the structure field or the key in the response that the rule examines.
        failure: what is wrong if the rule does not hold: a main clause without a period, as in the title of an
            incident.
        core: whether the rule is required by every policy; a policy may soften the others.
        layout_only: whether its check depends only on the policy and the layout of the evidence. Such a check is
            evaluated once for each layout, every other check for each response.
        needs: ids of the rules that must hold before this one can be evaluated. `evidence.available` and
            `evidence.form` name each other: both depend on reading the response, and each can explain the other.
        enabled_by: the policy's keys that enable the rule, because they contain the values it compares with. A policy
            without these keys does not evaluate the rule. Empty for a rule that every policy evaluates.
        temporary_warning: whether a policy may make it a warning only until `unsafe_warn_until`, and never ignore it.
        unique_values: whether its values differ from record to record, so that audits do not group records by them.
        style: how its values are displayed.
    """

    id: str
    check_name: str
    field: str
    failure: str
    core: bool = False
    layout_only: bool = False
    needs: tuple[str, ...] = ()
    enabled_by: tuple[str, ...] = ()
    temporary_warning: bool = False
    unique_values: bool = False
    style: ValueStyle = ValueStyle.PLAIN


_EVIDENCE: Final = ("evidence.available", "evidence.form")
_QUOTE: Final = ("attest.form", "attest.type")

# Evidence proves nothing useful if one of the rules with `temporary_warning` does not hold: they decide which state the
# machine booted and which key may sign for it. The other rules that are not core matter less: `clock.safe` fails after
# every power cut, `signer.name` repeats a part of `key.hierarchy`, `policy.period` reminds the policy's owner, and
# claims are unsigned.
# fmt: off
RULE_TABLE: Final = (
    RuleFacts("evidence.available", "form.evidence_available", "tpm_attestation.is_available",
              "The response has no evidence",
              core=True, layout_only=True, needs=("evidence.form",), unique_values=True),
    RuleFacts("evidence.form", "form.evidence_form", "tpm_attestation",
              "The evidence is malformed",
              core=True, layout_only=True, needs=("evidence.available",), unique_values=True),
    RuleFacts("attest.form", "form.attest_form", "TPMS_ATTEST",
              "The quote does not parse",
              core=True, layout_only=True, needs=_EVIDENCE, unique_values=True),
    RuleFacts("signature.form", "form.signature_form", "TPMT_SIGNATURE",
              "The signature does not parse",
              core=True, layout_only=True, needs=_EVIDENCE, unique_values=True),
    RuleFacts("key.form", "form.key_form", "TPMT_PUBLIC",
              "The AIK does not parse",
              core=True, layout_only=True, needs=_EVIDENCE, unique_values=True),
    RuleFacts("attest.magic", "form.attest_magic", "TPMS_ATTEST.magic",
              "A TPM did not generate the signed structure",
              core=True, layout_only=True, needs=("attest.form",)),
    RuleFacts("attest.type", "form.attest_type", "TPMS_ATTEST.type",
              "The TPM signed something other than a quote",
              core=True, layout_only=True, needs=("attest.form",)),
    RuleFacts("key.attributes", "key.key_attributes", "TPMT_PUBLIC.objectAttributes",
              "The AIK is not a restricted signing key that stays in its TPM",
              layout_only=True, needs=("key.form",), temporary_warning=True, style=ValueStyle.FLAGS),
    RuleFacts("key.template", "key.key_template", "TPMT_PUBLIC",
              "The AIK is not a key that a TPM creates and signs with",
              core=True, needs=("key.form",), unique_values=True),
    RuleFacts("key.strength", "key.key_strength", "TPMT_PUBLIC.unique",
              "The AIK is too weak",
              needs=("key.form",), temporary_warning=True),
    RuleFacts("key.hierarchy", "key.key_hierarchy", "TPMS_ATTEST.qualifiedSigner",
              "The AIK belongs to a hierarchy that the policy does not allow",
              needs=("attest.form", "key.form"), enabled_by=("key.hierarchy",), temporary_warning=True,
              style=ValueStyle.CHOICE),
    RuleFacts("key.trust", "key.key_trust", "TPMT_PUBLIC",
              "The AIK is not trusted as the policy requires",
              needs=("key.form",), temporary_warning=True),
    RuleFacts("signer.name", "key.signer_name", "TPMS_ATTEST.qualifiedSigner",
              "The signer's name in the quote is not a name of the AIK",
              needs=("attest.form", "key.form"), unique_values=True),
    RuleFacts("signature.scheme", "signature.signature_scheme", "TPMT_SIGNATURE.sigAlg",
              "The signature's scheme is not that of the AIK",
              core=True, layout_only=True, needs=("signature.form", "key.form")),
    RuleFacts("signature.hash", "signature.signature_hash", "TPMT_SIGNATURE.signature.hash",
              "The signature's hash is not allowed",
              core=True, layout_only=True, needs=("signature.form", "key.form"), style=ValueStyle.CHOICE),
    RuleFacts("signature.valid", "signature.signature_valid", "TPMT_SIGNATURE.signature",
              "The signature does not verify",
              core=True, needs=("attest.form", "signature.form", "key.form", "key.strength"), unique_values=True),
    RuleFacts("nonce.match", "freshness.nonce_match", "TPMS_ATTEST.extraData",
              "The quote was made for another request",
              core=True, needs=("attest.form",), unique_values=True),
    RuleFacts("clock.safe", "freshness.clock_safe", "TPMS_CLOCK_INFO.safe",
              "The TPM reports that its clock may have gone back",
              layout_only=True, needs=("attest.form",)),
    RuleFacts("pcr.selection", "pcrs.pcr_selection", "TPMS_QUOTE_INFO.pcrSelect",
              "The reported PCRs are not those that the TPM signed",
              core=True, layout_only=True, needs=_QUOTE),
    RuleFacts("pcr.digest", "pcrs.pcr_digest", "TPMS_QUOTE_INFO.pcrDigest",
              "The reported PCR values are not those that the TPM signed",
              core=True, needs=(*_QUOTE, "signature.form", "pcr.selection"), unique_values=True),
    RuleFacts("pcr.bank", "pcrs.pcr_bank", "TPMS_PCR_SELECTION.hash",
              "The policy relies on a PCR bank with a weak hash",
              layout_only=True, temporary_warning=True, style=ValueStyle.CHOICE),
    RuleFacts("pcr.values", "pcrs.pcr_values", "tpm_attestation.pcr_values",
              "A PCR has a value that the policy does not list",
              needs=_QUOTE, temporary_warning=True),
    RuleFacts("firmware.version", "claims.firmware_version", "TPMS_ATTEST.firmwareVersion",
              "The TPM runs firmware that the policy does not list",
              needs=("attest.form", "key.form"), enabled_by=("firmware.versions",), temporary_warning=True,
              style=ValueStyle.FIRMWARE),
    RuleFacts("policy.period", "freshness.policy_period", "valid_from, valid_until",
              "The policy was not in force",
              enabled_by=("valid_from", "valid_until"), style=ValueStyle.PERIOD, unique_values=True),
    RuleFacts("claims.*", "claims.claim", "_metadata",
              "A claim has a value that the policy does not accept",
              needs=("evidence.form",), enabled_by=("claims",), style=ValueStyle.JSON),
)
# fmt: on

_ROWS: Final = {row.id: row for row in RULE_TABLE}


def rule_facts(rule_id: str) -> RuleFacts:
    """Find the row of a rule; every claim, such as ``claims.security_tier``, has the row ``claims.*``.

    Raises `KeyError` for an unknown rule.
    """
    return _ROWS["claims.*" if rule_id.startswith("claims.") else rule_id]
