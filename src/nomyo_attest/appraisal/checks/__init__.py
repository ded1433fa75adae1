"""The checks: small pure functions from a `Case` to a `CheckResult`. They do no I/O and never raise for bad evidence.

A check's docstring is its documentation. The first line is the rule's question; the last paragraph, after
"Remediation:", is the advice for a user if the rule does not hold. `nomyo-attest rules`, every failure message and
docs/rules.md print it.
"""

from nomyo_attest.appraisal.checks import claims, form, freshness, key, pcrs, signature

__all__ = ["claims", "form", "freshness", "key", "pcrs", "signature"]
