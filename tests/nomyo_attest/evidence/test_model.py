"""Evidence as a value."""

from __future__ import annotations

import contextlib

import pytest

from nomyo_attest.evidence import Evidence, read_evidence
from nomyo_attest.evidence.pcrs import NO_PCRS
from nomyo_attest.testing import Forge


def test_evidence_cannot_be_changed() -> None:
    evidence = read_evidence(Forge().response())
    with pytest.raises(AttributeError):
        evidence.payload_id = "another"  # type: ignore[misc]  # that is what must not work
    with pytest.raises(TypeError):
        evidence.pcrs.values["sha256"] = {}  # type: ignore[index]  # that is what must not work
    with pytest.raises(TypeError):
        evidence.pcrs.values["sha256"][0] = bytes(32)  # type: ignore[index]  # that is what must not work


def test_evidence_of_equal_responses_is_equal_and_of_others_is_not() -> None:
    assert read_evidence(Forge().response()) == read_evidence(Forge().text())
    assert read_evidence(Forge().response()) != read_evidence(Forge(payload_id="another").response())


def test_evidence_that_is_not_there_holds_nothing() -> None:
    evidence = Evidence(available=False)
    assert (evidence.quote, evidence.signature, evidence.aik_public) == (b"", b"", b"")
    assert evidence.pcrs is NO_PCRS
    assert (evidence.payload_id, evidence.absence, dict(evidence.claims)) == (None, "", {})


def test_evidence_that_is_not_there_does_not_share_its_emptiness() -> None:
    claims = Evidence(available=False).claims
    with contextlib.suppress(TypeError):
        claims["a"] = 1  # type: ignore[index]  # somebody might
    assert not Evidence(available=False).claims


def test_evidence_does_not_show_the_response_it_was_read_from() -> None:
    response = {"choices": "what the user was told", **Forge().response()["_metadata"]}
    for given in (response, {"choices": "what the user was told", "is_available": False}):
        assert "what the user was told" not in repr(read_evidence(given))
