"""The Verifier: evidence and a policy in, an attestation result out."""

from nomyo_attest.appraisal.finding import Finding
from nomyo_attest.appraisal.outcome import Outcome
from nomyo_attest.appraisal.result import AttestationResult, Verdict
from nomyo_attest.appraisal.rules import RULES, Rule
from nomyo_attest.appraisal.verifier import appraise

__all__ = ["RULES", "AttestationResult", "Finding", "Outcome", "Rule", "Verdict", "appraise"]
