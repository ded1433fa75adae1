"""The sample summary with everything that comes from records and files replaced by text that attacks a report."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from nomyo_attest.audit.summary import Summary
from tests.nomyo_attest.report.audit_samples import summary

NASTY: Final = (
    "\n::error::forged\r\n  ::add-mask::x ##[group]y\x1b[31m \x00\x07\u202e|`a`||<script>alert(1)</script>"
    "<img src=x onerror=y> @everyone #1 [link](https://evil.test/) ![i](//evil.test) https://evil.test www.evil.test"
    " {0} {} ]]> &amp; %0A \ud800 \ufffe 50%,a:b;c=d"
)
"""Newlines, workflow commands, escape sequences, markup, and characters that XML does not allow."""

_OURS: Final = frozenset(
    {
        "format",
        "rule",
        "requirement",
        "outcome",
        "verdict",
        "kind",
        "question",
        "remediation",
        "digest",
        "sha256",
        "inputs_digest",
        "profile",
        "pcrs",
        "document",
        "version",
        "started_at",
        "at",
        "since",
        "until",
        "processed_at",
    }
)
"""Fields that this project writes or has validated; other fields of a summary can contain any text."""


def hostile(text: str = NASTY, **changes: Any) -> Summary:
    """Return the sample summary with `text` appended to every free text."""
    plain = _tampered(msgspec.to_builtins(summary(**changes)), "", text)
    return msgspec.convert(plain, Summary)


def _tampered(value: Any, name: str, text: str) -> Any:
    if name in _OURS:
        return value
    if isinstance(value, str):
        return value and value + text
    if isinstance(value, dict):
        return {key: _tampered(one, key, text) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tampered(one, name, text) for one in value]
    return value
