"""How far the verdicts of an audit reach, in a sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nomyo_attest.report.limits import trust_text
from tests.nomyo_attest.report.audit_samples import summary


@pytest.mark.parametrize(
    ("key", "rules", "aiks", "pinned", "text"),
    [
        ({"trust": "self_asserted"}, {}, 5, 0, "self_asserted: each AIK arrived with its response, "),
        ({"trust": "self_asserted"}, {}, 5, 2, "self_asserted except for pinned AIKs: the policy pins 2 of 5 AIKs; "),
        ({"trust": "pinned_aik"}, {}, 5, 2, "pinned_aik: "),
        ({"trust": "pinned_aik"}, {"key.trust": "warn"}, 5, 2, "self_asserted except for pinned AIKs: "),
        ({"trust": "pinned_aik"}, {"key.trust": "warn"}, 5, 0, "self_asserted: "),
        ({}, {}, 0, 0, "no AIK: "),
    ],
)
def test_the_trust_in_the_aiks_is_that_which_every_affirming_record_reaches(
    key: dict[str, Any], rules: dict[str, str], aiks: int, pinned: int, text: str
) -> None:
    whole = summary(aiks=aiks, aiks_pinned=pinned)
    document = whole.policy.document | {"key": key, "rules": rules}
    policy = msgspec.structs.replace(whole.policy, document=document)
    assert trust_text(msgspec.structs.replace(whole, policy=policy)).startswith(text)
