"""Layout checks: an answer that is reused is the one that a verifier without any memory gives."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.appraisal import verifier
from nomyo_attest.evidence import pcrs
from nomyo_attest.rules import RULE_TABLE
from nomyo_attest.testing import Forge
from nomyo_attest.testing.faults import FAULTS
from nomyo_attest.tpm.framing import BlobReader, parse_attest, parse_public, parse_signature

Json = dict[str, Any]

READERS: tuple[BlobReader[Any], ...] = (parse_attest, parse_public, parse_signature)
FORGES = (
    Forge(),
    Forge(key="p256"),
    Forge(label="another"),
    Forge(scheme="rsapss"),
    Forge(selection="sha256:0,7,10+sha384:0"),
    Forge(key="p256", selection="sha256:0,7"),
    Forge(hierarchy="owner"),
    Forge(safe=0).measure(7, b"another state"),
)
RESPONSES = [forge.response()["_metadata"] for forge in FORGES]
RESPONSES += [one for one in (fault.case().response for fault in FAULTS[::7]) if isinstance(one, dict)]
BLOCKS = [one for one in RESPONSES if isinstance(one.get("tpm_attestation"), dict)]
POLICIES = [
    Forge().policy(),
    {**Forge().policy(), "pcrs": {"sha256": {"0": "any", "7": [Forge().pcrs["sha256"][7].hex()], "23": "any"}}},
    {**Forge(selection="sha384:0").policy(), "signature": {"hashes": ["sha384"]}},
]


@contextmanager
def nothing_remembered() -> Iterator[None]:
    """Layouts and answers that were learned before are out of reach inside, and come back afterwards."""
    learned = [reader._layouts for reader in READERS]
    plan, layout, report = verifier._plan, pcrs._layout, pcrs._report
    for reader in READERS:
        reader._layouts = {}
    verifier._plan, pcrs._layout = verifier._Plan, pcrs._layout.__wrapped__  # type: ignore[assignment]  # no cache
    pcrs._report = pcrs._report.__wrapped__  # type: ignore[assignment]  # no cache
    try:
        yield
    finally:
        verifier._plan, pcrs._layout, pcrs._report = plan, layout, report
        for reader, layouts in zip(READERS, learned, strict=True):
            reader._layouts = layouts


def overwritten(response: Json, blob: str, edits: list[tuple[int, int]]) -> Json:
    """The response with some bytes of a blob replaced by others."""
    block = response["tpm_attestation"]
    octets = bytearray(base64.b64decode(block[blob]))
    for at, octet in edits:
        octets[at % len(octets)] = octet
    return {**response, "tpm_attestation": {**block, blob: base64.b64encode(octets).decode()}}


def with_part(response: Json, key: str, other: Json) -> Json:
    """The response with one key of its block from another one."""
    block, source = response["tpm_attestation"], other["tpm_attestation"]
    return {**response, "tpm_attestation": {**block, key: copy.deepcopy(source.get(key))}}


def with_value(response: Json, index: str, value: str, *, keep_order: bool) -> Json:
    """The response with the value of one PCR replaced, in its place or as the last one."""
    block = copy.deepcopy(response["tpm_attestation"])
    for of_bank in block["pcr_values"].values() if isinstance(block.get("pcr_values"), dict) else ():
        if isinstance(of_bank, dict) and index in of_bank:
            if not keep_order:
                del of_bank[index]
            of_bank[index] = value
    return {**response, "tpm_attestation": block}


def with_pcrs(response: Json, selection: str) -> Json:
    """The response with the values of other PCRs reported than were signed, under a text that says the same."""
    reported = Forge(selection=selection).response()["_metadata"]
    return with_part(with_part(response, "pcr_banks", reported), "pcr_values", reported)


WHOLE = BLOCKS[: len(FORGES)]
BLOBS = ("quote_b64", "signature_b64", "aik_pubkey_b64")
edits = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3)
values = st.sampled_from(["00" * 32, "ff" * 32, "0g" * 32, "", Forge().pcrs["sha256"][7].hex()])
selections = st.sampled_from(["sha256:0,7,10", "sha256:10,7,0", "sha256:0,7", "sha256:7", "sha384:0"])


@st.composite
def sequences(draw: st.DrawFn) -> list[Json]:
    """Some responses, all of them near one or two that are well-formed: with other bytes, parts, values or PCRs."""
    bases = draw(st.lists(st.sampled_from(WHOLE), min_size=1, max_size=2))
    base = st.sampled_from(bases)
    near = st.one_of(
        base,
        st.sampled_from(RESPONSES),
        st.builds(overwritten, base, st.sampled_from(BLOBS), edits),
        st.builds(with_part, base, st.sampled_from([*BLOBS, "pcr_banks", "pcr_values"]), st.sampled_from(BLOCKS)),
        st.builds(with_pcrs, base, selections),
        st.builds(with_value, base, st.sampled_from(["0", "7", "10"]), values, keep_order=st.booleans()),
    )
    return [*bases, *draw(st.lists(near, min_size=1, max_size=8))]


@pytest.mark.slow
@given(st.sampled_from(POLICIES), sequences())
def test_a_verifier_that_has_seen_other_evidence_judges_as_a_new_one_does(document: Json, sequence: list[Json]) -> None:
    policy = na.AppraisalPolicy.from_dict(document)
    for response in [*sequence, *sequence]:
        result = na.appraise(response, policy).to_dict()
        with nothing_remembered():
            assert result == na.appraise(response, policy).to_dict()


def test_responses_that_differ_in_a_pcr_value_share_the_answers_of_layout_checks() -> None:
    policy = na.AppraisalPolicy.from_dict(
        {**Forge().policy(), "pcrs": {"sha256": {"10": "any"}}, "unsafe_accept_any_pcrs": True}
    )
    forges = [Forge().measure(10, bytes([number])) for number in range(5)]
    cases = [verifier.appraise_evidence(na.Evidence.from_response(forge.response()), policy)[0] for forge in forges]
    assert len({case.layout for case in cases}) == 1
    assert len({case.report.values["sha256"][10] for case in cases}) == 5


def test_the_rules_that_compare_values_are_no_layout_checks() -> None:
    differing = {"key.strength", "key.hierarchy", "key.trust", "signature.valid", "nonce.match", "pcr.digest"}
    assert not any(row.layout_only for row in RULE_TABLE if row.id in {*differing, "pcr.values", "claims.*"})


def test_a_report_without_a_value_that_its_layout_names_raises_nothing() -> None:
    forge = Forge()
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    evidence = na.Evidence.from_response(forge.response())
    values = {bank: dict(of_bank) for bank, of_bank in evidence.pcrs.values.items()}
    del values["sha256"][7]
    report = pcrs.PcrReport(evidence.pcrs.layout, values)
    result = na.appraise(msgspec.structs.replace(evidence, pcrs=report), policy)
    assert result.verdict is na.Verdict.CONTRAINDICATED
    assert result.failed == ("pcr.values",)
    assert result.undecided == ("pcr.digest",)
