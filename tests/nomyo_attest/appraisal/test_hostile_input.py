"""Whatever is handed to `appraise` as a response, it answers, and does not affirm."""

from __future__ import annotations

import collections
import copy
import decimal
import json
import types
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.evidence.pcrs import NO_PCRS
from nomyo_attest.testing import Forge

Json = dict[str, Any]

POLICY = na.AppraisalPolicy.from_dict({**Forge().policy(), "claims": {"security_tier": ["high"]}})
RESPONSE: Json = Forge().response()
BLOCK: Json = RESPONSE["_metadata"]["tpm_attestation"]
ENDLESS = 10**5000


class Table:
    """Like the tables of numerical libraries: comparing gives another table, and no table has a truth value."""

    __hash__ = None  # type: ignore[assignment]  # as theirs

    def __eq__(self, other: object) -> Any:
        return Table()

    def __bool__(self) -> bool:
        raise ValueError("the truth value of a table is ambiguous")


class Uncomparable:
    """Raises on every occasion."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        raise RuntimeError("no name")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth value")


def endless_list() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


def endless_dict() -> Json:
    inner: Json = {}
    inner["_metadata"] = inner["tpm_attestation"] = inner["pcr_values"] = inner
    return inner


def deep(levels: int) -> Any:
    inner: Any = "x"
    for _ in range(levels):
        inner = (inner,)
    return inner


VALUES: dict[str, Any] = {
    "null": None,
    "an object of no class": object(),
    "a class": dict,
    "a function": len,
    "a module": types,
    "a set": {1, 2},
    "a generator": (one for one in "ab"),
    "bytes": b"\xff",
    "a bytearray": bytearray(b"{}"),
    "a view": memoryview(b"{}"),
    "a decimal": decimal.Decimal("NaN"),
    "a complex number": 1j,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "a huge number": ENDLESS,
    "a lone surrogate": "\ud800",
    "a long text": "x" * 100_000,
    "NUL": "\0",
    "a list that holds itself": endless_list(),
    "a dict that holds itself": endless_dict(),
    "a read-only mapping": types.MappingProxyType({"a": 1}),
    "a chain of dicts": collections.ChainMap({"a": 1}),
    "an ordered dict": collections.OrderedDict(a=1),
    "a table": Table(),
    "something that compares with nothing": Uncomparable(),
    "an error": ValueError("x"),
    "an evidence error": na.EvidenceError("a", "b", "c"),
    "a result": na.appraise({}, POLICY),
    "a policy": POLICY,
}


def check_refused(response: Any) -> None:
    result = na.appraise(response, POLICY)
    assert result.verdict in (na.Verdict.CONTRAINDICATED, na.Verdict.NONE)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["verdict"] == result.verdict.value
    with pytest.raises(na.AttestationError):
        result.require()


def with_block(block: Any) -> Json:
    return {**RESPONSE, "_metadata": {**RESPONSE["_metadata"], "tpm_attestation": block}}


def places(value: Any) -> Iterator[Json]:
    """Responses with `value` in each place that is read."""
    yield {**RESPONSE, "_metadata": value}
    yield {"tpm_attestation": value}
    yield {"is_available": value}
    yield {**RESPONSE, "_metadata": {**RESPONSE["_metadata"], "payload_id": value}}
    yield with_block(value)
    for key in BLOCK:
        yield with_block({**BLOCK, key: value})
    yield with_block({**BLOCK, "pcr_values": {"sha256": value}})
    yield with_block({**BLOCK, "pcr_values": {"sha256": {**BLOCK["pcr_values"]["sha256"], "7": value}}})


@pytest.mark.parametrize("what", VALUES)
def test_any_object_is_answered_and_not_affirmed(what: str) -> None:
    check_refused(VALUES[what])


@pytest.mark.parametrize("what", VALUES)
def test_any_object_in_any_place_that_is_read_is_answered_and_not_affirmed(what: str) -> None:
    for response in places(VALUES[what]):
        check_refused(response)


@pytest.mark.parametrize("what", VALUES)
def test_any_object_may_stand_where_nobody_reads(what: str) -> None:
    for response in (
        {**RESPONSE, "choices": VALUES[what]},
        {"_metadata": {**RESPONSE["_metadata"], "more": VALUES[what]}},
    ):
        assert na.appraise(response, POLICY).verdict is na.Verdict.AFFIRMING


@pytest.mark.parametrize("what", VALUES)
def test_any_object_as_a_claim_is_answered_and_not_affirmed(what: str) -> None:
    check_refused({"_metadata": {**RESPONSE["_metadata"], "security_tier": VALUES[what]}})


KEYS: dict[str, Any] = {
    "null": None,
    "true": True,
    "a number": 0,
    "a float": 7.0,
    "a huge number": ENDLESS,
    "a tuple": ("sha256",),
    "a deep tuple": deep(100_000),
    "bytes": b"sha256",
    "a lone surrogate": "\ud800",
    "a long text": "x" * 100_000,
    "an object of no class": object(),
    "something that compares with nothing": Uncomparable(),
}


@pytest.mark.parametrize("what", KEYS)
def test_any_key_among_the_pcr_values_is_answered_and_not_affirmed(what: str) -> None:
    key = KEYS[what]
    tables: list[Any] = [{key: {}}, {"sha256": {key: "00" * 32}}, {**BLOCK["pcr_values"], key: {"0": "00" * 32}}]
    for values in tables:
        check_refused(with_block({**BLOCK, "pcr_values": values}))


@pytest.mark.parametrize("what", KEYS)
def test_any_key_may_stand_where_nobody_reads(what: str) -> None:
    key = KEYS[what]
    response = {
        **RESPONSE,
        "_metadata": {**RESPONSE["_metadata"], key: 1, "tpm_attestation": {**BLOCK, key: 1}},
        key: 1,
    }
    assert na.appraise(response, POLICY).verdict is na.Verdict.AFFIRMING


class Liar(dict[str, Any]):
    """A dict that says another thing each time it is asked."""

    def __init__(self, *tables: Json) -> None:
        super().__init__(tables[0])
        self.tables = tables
        self.asked = 0

    def __getitem__(self, key: str) -> Any:
        self.asked += 1
        return self.tables[self.asked % len(self.tables)][key]


def test_a_dict_that_changes_its_mind_is_not_affirmed_as_what_it_is_not() -> None:
    other = Forge(payload_id="another", label="another").measure(7, b"x").response()["_metadata"]
    for tables in tables_of(RESPONSE["_metadata"]["tpm_attestation"], other["tpm_attestation"]):
        metadata = {**RESPONSE["_metadata"], "tpm_attestation": Liar(*tables)}
        result = na.appraise({"_metadata": metadata}, POLICY)
        assert result.verdict in (na.Verdict.CONTRAINDICATED, na.Verdict.NONE)


def tables_of(one: Json, other: Json) -> Iterator[tuple[Json, ...]]:
    yield one, other
    yield other, one
    yield one, one, other
    yield other, other, one
    yield one, other, other


class Raising(dict[str, Any]):
    """A dict that cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no access")

    def __contains__(self, key: object) -> bool:
        raise RuntimeError("no access")

    def items(self) -> Any:
        raise RuntimeError("no access")


@pytest.mark.parametrize("depth", range(5))
def test_a_dict_that_cannot_be_read_is_answered_and_not_affirmed(depth: int) -> None:
    path = ["_metadata", "tpm_attestation", "pcr_values", "sha256"][:depth]
    response: Any = copy.deepcopy(RESPONSE)
    if not path:
        check_refused(Raising(response))
        return
    holder = response
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = Raising(holder[path[-1]])
    check_refused(response)


EVIDENCE = na.Evidence.from_response(RESPONSE)
FIELDS: list[Json] = [
    {"quote": b""},
    {"signature": b""},
    {"aik_public": b""},
    {"pcrs": NO_PCRS},
    {"payload_id": None},
    {"payload_id": "another"},
    {"claims": {}},
    {"claims": {"security_tier": ENDLESS}},
    {"available": False},
]


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: next(iter(fields)))
def test_evidence_put_together_by_hand_is_judged_like_any_other(fields: Json) -> None:
    whole = {name: getattr(EVIDENCE, name) for name in EVIDENCE.__struct_fields__}
    assert na.appraise(na.Evidence(**whole), POLICY).verdict is na.Verdict.AFFIRMING
    check_refused(na.Evidence(**{**whole, **fields}))


@pytest.mark.parametrize("signed", [[], [("sha256", [])]], ids=str)
def test_a_quote_over_an_empty_selection_is_refused_where_no_value_is_reported_either(signed: Any) -> None:
    forge = Forge().tamper("selections", lambda _: signed)
    whole = na.Evidence.from_response(forge.response())
    fields = {name: getattr(whole, name) for name in whole.__struct_fields__}
    policy = na.AppraisalPolicy.from_dict({**Forge().policy(), "pcrs": {}, "unsafe_accept_any_pcrs": True})
    result = na.appraise(na.Evidence(**{**fields, "pcrs": NO_PCRS}), policy)
    assert result.verdict is na.Verdict.CONTRAINDICATED
    assert result.failed == ("pcr.selection",)


@pytest.mark.parametrize("value", [None, "text", 7, bytearray(b"x"), [1]], ids=lambda value: type(value).__name__)
def test_evidence_whose_blobs_are_no_bytes_is_told_to_whoever_made_it(value: Any) -> None:
    whole = {name: getattr(EVIDENCE, name) for name in EVIDENCE.__struct_fields__}
    for name in ("quote", "signature", "aik_public"):
        with pytest.raises(TypeError, match="must be bytes"):
            na.appraise(na.Evidence(**{**whole, name: value}), POLICY)


any_object = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(sorted(KEYS)).map(lambda what: KEYS[what]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from([*BLOCK, "_metadata", "tpm_attestation", "payload_id", "sha256", "0"]), inner)
    ),
    max_leaves=12,
)


@given(any_object)
def test_whatever_there_is_is_answered_and_not_affirmed(response: Any) -> None:
    check_refused(response)


@given(st.sampled_from([*BLOCK]), any_object)
def test_whatever_stands_in_the_block_is_answered_and_not_affirmed(key: str, value: Any) -> None:
    if type(value) is not type(BLOCK[key]) or value != BLOCK[key]:
        check_refused(with_block({**BLOCK, key: value}))


@given(st.text() | st.binary())
def test_whatever_text_there_is_is_answered_and_not_affirmed(response: str | bytes) -> None:
    check_refused(response)
