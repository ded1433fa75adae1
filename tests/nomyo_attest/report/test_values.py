"""How the values of findings are displayed."""

from __future__ import annotations

import pytest

from nomyo_attest.appraisal import Outcome
from nomyo_attest.policy import Trust
from nomyo_attest.report.values import value_text
from nomyo_attest.tpm import TPM_ALG_ID


@pytest.mark.parametrize(
    ("rule", "value", "text"),
    [
        ("key.attributes", ["sign"], "sign"),
        ("key.attributes", [], "none"),
        ("signature.hash", ("sha256", "sha384"), "sha256 or sha384"),
        ("policy.period", ["2026", None], "from 2026"),
        ("policy.period", [None, "2027"], "until 2027"),
        ("policy.period", ["2026", "2027"], "from 2026 until 2027"),
        ("claims.tier", ["high", True, 1], '"high" or true or 1'),
        ("claims.tier", "true", '"true"'),
        ("claims.tier", "a\x1b", '"a\\u001b"'),
        ("clock.safe", True, "true"),
        ("clock.safe", False, "false"),
        ("nonce.match", b"", "no bytes"),
        ("nonce.match", b"\xab", "ab"),
        ("signature.scheme", TPM_ALG_ID.RSASSA, "TPM_ALG_RSASSA"),
        ("key.trust", Trust.PINNED_AIK, "pinned_aik"),
        ("any", Outcome.FAIL, "fail"),
        ("any", None, "nothing"),
        ("any", 7, "7"),
        ("any", (), "none"),
        ("any", {"sha256:7": [b"\x01"]}, "sha256:7 = 01"),
        ("evidence.form", "a\nb", "a\\nb"),
    ],
)
def test_every_kind_of_value_has_its_words(rule: str, value: object, text: str) -> None:
    assert value_text(rule, value) == text
