"""The sample summary under a policy that pins an AIK with a label."""

from __future__ import annotations

from typing import Final

import msgspec

from nomyo_attest.audit.cross_record.model import FOUND, CrossRecordFinding
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import Summary
from tests.nomyo_attest.report.audit_samples import summary

NAME: Final = "000b" + "ab" * 32
LABEL: Final = "router-eu-1"


def labeled(label: str = LABEL, trust: str = "pinned_aik") -> Summary:
    """The sample: a pinned AIK's clock went back, and the first failing record is of that AIK."""
    whole = summary()
    at = Place("recorded/2026-11.jsonl.gz", 8, 1_790_000_000)
    found = CrossRecordFinding(
        rule="rollback.clock", key=NAME, records=1, first=at, last=at, places=[at], message="the clock goes back"
    )
    rules = [
        msgspec.structs.replace(one, outcome=FOUND, findings=1, records=1) if one.rule == "rollback.clock" else one
        for one in whole.cross_record_rules
    ]
    document = whole.policy.document | {"key": {"pinned": [{"name": NAME, "label": label}]}}
    first = whole.failures[0] | {"aik_name": NAME, "aik_pinned": True, "trust": trust}
    return msgspec.structs.replace(
        whole,
        policy=msgspec.structs.replace(whole.policy, document=document),
        cross_record=[found, *whole.cross_record],
        cross_record_rules=rules,
        failures=[first, *whole.failures[1:]],
    )
