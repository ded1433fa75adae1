"""The checks: small pure functions from a `Case` or `LayoutFacts` to a `CheckResult`.

They do no I/O and never raise for bad evidence. A check's docstring is its documentation: the first line is the rule's
question; the last paragraph, after "Remediation:", says what a user should do if the rule does not hold.
`nomyo-attest rules` and docs/rules.md show all of it, and findings show the remediation.
"""

from nomyo_attest.appraisal.checks import claims, form, freshness, key, pcrs, signature

__all__ = ["claims", "form", "freshness", "key", "pcrs", "signature"]
