"""What a ledger keeps is appraised again, by hand or by an audit, with the result that was kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.appraisal import appraise
from nomyo_attest.audit.record import AppraisedRecord, RecordAppraiser
from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.strict_json import parse_json
from nomyo_attest.ledger.line import encode_line, is_repair, open_line
from nomyo_attest.ledger.redaction import redact
from nomyo_attest.testing import FAULTS, Forge

FAULTS_KEPT = [fault for fault in FAULTS if not fault.as_text]


def line_of(response: dict[str, Any], by: na.AppraisalPolicy, **arguments: Any) -> bytes:
    """A line as `EvidenceLog.append` makes it."""
    kept = redact(response, by)
    payload_id = arguments.get("payload_id")
    result = appraise(kept.evidence, by, **arguments).to_dict()
    more = {"payload_id": payload_id, "given": payload_id is not None, "evidence": kept.evidence, "result": result}
    return encode_line(1, "sha256:", more)


@pytest.mark.slow
def test_every_fault_has_the_stored_result_when_it_is_appraised_again() -> None:
    tried = 0
    for fault in FAULTS_KEPT:
        case = fault.case()
        if not isinstance(case.response, dict) or "nonce" in case.arguments:
            continue
        by = na.AppraisalPolicy.from_dict(case.policy)
        line = line_of(case.response, by, **case.arguments)
        document = json.loads(line)
        evidence, payload_id = open_line(document)
        now = case.arguments.get("now")
        again = appraise(evidence, by, payload_id=payload_id, now=now)
        assert again.to_dict() == document["result"], fault.name
        audited = RecordAppraiser(by, at=now).appraise("ledger.jsonl", 1, line)
        assert isinstance(audited, AppraisedRecord)
        assert audited.row.verdict == document["result"]["verdict"], fault.name
        assert (tuple(audited.row.failed), tuple(audited.row.undecided)) == (again.failed, again.undecided), fault.name
        tried += 1
    assert tried > 250


def test_a_payload_id_that_was_sent_counts_and_one_in_the_answer_does_not() -> None:
    by = na.AppraisalPolicy.from_dict(Forge().policy())
    response = Forge().response()
    own = response["_metadata"].pop("payload_id")
    for payload_id, verdict in ((own, "affirming"), ("another", "contraindicated")):
        line = line_of(response, by, payload_id=payload_id)
        audited = RecordAppraiser(by).appraise("ledger.jsonl", 1, line)
        assert isinstance(audited, AppraisedRecord)
        assert audited.row.verdict == verdict
        assert audited.row.payload_id == payload_id


def line(**changes: Any) -> dict[str, Any]:
    """A line as JSON holds it, changed; `...` takes a key away."""
    whole = {
        "format": "nomyo-attest-ledger/1",
        "number": 1,
        "payload_id": "an-id",
        "given": True,
        "evidence": {"_metadata": {}},
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ...}


def test_a_line_gives_evidence_and_the_payload_id_that_was_sent() -> None:
    assert open_line(line()) == ({"_metadata": {}}, "an-id")
    assert open_line(line(given=False)) == ({"_metadata": {}}, None)
    assert open_line(line(given=False, payload_id=None)) == ({"_metadata": {}}, None)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"evidence": ...}, "evidence"),
        ({"given": ...}, "given"),
        ({"given": 1}, "given"),
        ({"given": "true"}, "given"),
        ({"payload_id": ...}, "payload_id"),
        ({"payload_id": None}, "payload_id"),
        ({"payload_id": ""}, "payload_id"),
        ({"payload_id": 7}, "payload_id"),
        ({"payload_id": "\ud800"}, "payload_id"),
        ({"payload_id": 2000 * "x"}, "payload_id"),
        ({"_metadata": {}}, "_metadata"),
        ({"tpm_attestation": {}}, "tpm_attestation"),
        ({"is_available": True}, "is_available"),
        ({"repair": {}, "evidence": ..., "given": ..., "payload_id": ...}, "evidence"),
    ],
)
def test_a_line_that_is_not_as_it_must_be_is_malformed_evidence(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        open_line(line(**changes))
    assert caught.value.where == where


@pytest.mark.parametrize("key", ["format", "payload_id", "given", "evidence"])
def test_a_duplicate_key_is_ambiguous(key: str) -> None:
    text = json.dumps(line())
    doubled = parse_json(text.replace(f'"{key}"', f'"{key}": null, "{key}"', 1))
    with pytest.raises(EvidenceError, match="duplicate"):
        open_line(doubled)


def test_a_repair_is_one_only_if_it_holds_nothing_else() -> None:
    note = line(evidence=..., given=..., payload_id=..., repair={"bytes": 1})
    assert is_repair(note)
    for more in ("_metadata", "evidence", "choices", "given"):
        assert not is_repair({**note, more: {}})
    assert not is_repair({**note, "format": "other"})
    assert not is_repair(["repair"])
