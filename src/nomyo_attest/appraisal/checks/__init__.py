"""The checks: small pure functions from a `Case` to a `CheckResult`. They do no I/O and never raise for bad evidence.

A check's docstring is its documentation. Its first line is the question it asks; the last paragraph, after "What to
do:", is the advice a user gets when it does not hold. `nomyo-attest rules`, every failure message and docs/rules.md
print it.
"""

from nomyo_attest.appraisal.checks import claims, form, freshness, key, pcrs, signature

__all__ = ["claims", "form", "freshness", "key", "pcrs", "signature"]
