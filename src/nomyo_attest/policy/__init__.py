"""The appraisal policy: what the Verifier's owner says, loaded from TOML, JSON or a dict."""

from nomyo_attest.policy.model import AppraisalPolicy, PcrReference, ReferenceValue, Requirement, Trust

__all__ = ["AppraisalPolicy", "PcrReference", "ReferenceValue", "Requirement", "Trust"]
