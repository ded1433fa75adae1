"""Every vector is appraised exactly as its file says."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na

VECTORS = sorted((Path(__file__).parents[2] / "fixtures" / "vectors").glob("*.json"))


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def arguments(vector: dict[str, Any]) -> dict[str, Any]:
    """Further arguments of `appraise`: a nonce is in hex, a time in RFC 3339."""
    readers: dict[str, Callable[[str], Any]]
    readers = {"payload_id": str, "nonce": bytes.fromhex, "now": datetime.fromisoformat}
    return {name: readers[name](text) for name, text in vector.get("arguments", {}).items()}


@functools.cache
def policy_of(text: str) -> na.AppraisalPolicy:
    return na.AppraisalPolicy.from_dict(json.loads(text))


def appraise(vector: dict[str, Any]) -> na.AttestationResult:
    response = vector["response"] if "response" in vector else vector["response_text"]
    return na.appraise(response, policy_of(json.dumps(vector["policy"])), **arguments(vector))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_vector_is_appraised_as_its_file_says(path: Path) -> None:
    vector = load(path)
    result = appraise(vector)
    got = {
        "verdict": result.verdict.value,
        "failed": sorted(result.failed),
        "undecided": sorted(result.undecided),
    }
    expect = vector["expect"]
    assert got == {**expect, "failed": sorted(expect["failed"]), "undecided": sorted(expect["undecided"])}


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_vector_given_as_bytes_or_evidence_is_appraised_the_same(path: Path) -> None:
    vector = load(path)
    text = vector["response_text"] if "response_text" in vector else json.dumps(vector["response"])
    policy = policy_of(json.dumps(vector["policy"]))
    given = text.encode("utf-8")
    result = na.appraise(given, policy, **arguments(vector))
    assert result.to_dict() == appraise(vector).to_dict()
    try:
        evidence = na.Evidence.from_response(given)
    except na.EvidenceError:
        assert "evidence.form" in result.failed
    else:
        assert na.appraise(evidence, policy, **arguments(vector)).to_dict() == result.to_dict()


def test_there_are_vectors_of_every_sort_and_every_rule() -> None:
    vectors = [load(path) for path in VECTORS]
    verdicts = {vector["expect"]["verdict"] for vector in vectors}
    assert verdicts == {verdict.value for verdict in na.Verdict}
    rules = {(vector["rule"] or "").partition(".")[0] + "." for vector in vectors}
    assert "claims." in rules
    caught = {vector["rule"] for vector in vectors if vector["expect"]["verdict"] != "affirming"}
    assert {rule.id for rule in na.RULES} - caught == {"claims.*"}
