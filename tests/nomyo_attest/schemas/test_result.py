"""The schema of a result describes every result, and nothing looser."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import nomyo_attest as na
from nomyo_attest.schemas import load_schema
from nomyo_attest.testing import VARIANTS, Forge
from tests.nomyo_attest.report.appraised_faults import all_appraised_faults

SCHEMA = load_schema("result")
VALIDATOR = Draft202012Validator(SCHEMA)


def good() -> Any:
    policy = na.AppraisalPolicy.from_dict(Forge().policy())
    return json.loads(json.dumps(na.appraise(Forge().response(), policy).to_dict(), allow_nan=False))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.slow
def test_the_result_of_every_fault_is_valid() -> None:
    for fault, result, _ in all_appraised_faults():
        document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert list(VALIDATOR.iter_errors(document)) == [], fault.name


def test_the_result_of_every_kind_of_right_evidence_is_valid() -> None:
    for variant in VARIANTS:
        case = variant.case()
        result = na.appraise(case.response, na.AppraisalPolicy.from_dict(case.policy), **case.arguments)
        VALIDATOR.validate(result.to_dict())


def test_the_result_of_anything_else_is_valid() -> None:
    policy = na.AppraisalPolicy.from_dict(
        Forge().policy() | {"claims": {"a-b.c_d": [1]}, "valid_from": "2026-01-01T00:00:00Z"}
    )
    for response in (
        None,
        "",
        b"\xff",
        {},
        [],
        7,
        object(),
        {"_metadata": {"payload_id": "\u2028", "a-b": {"c_d": [1]}}},
    ):
        VALIDATOR.validate(na.appraise(response, policy).to_dict())


def test_the_rules_of_the_schema_are_those_of_the_table() -> None:
    ids = SCHEMA["$defs"]["rule"]["anyOf"][0]["enum"]
    assert [*ids, "claims.*"] == [rule.id for rule in na.RULES]


def test_the_rules_that_a_policy_may_soften_are_the_ones_that_are_not_core() -> None:
    rules = load_schema("policy")["properties"]["rules"]["properties"]
    assert sorted(rules) == sorted(rule.id for rule in na.RULES if not rule.core and rule.id != "claims.*")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (na.Verdict, ("properties", "verdict")),
        (na.Trust, ("properties", "trust")),
        (na.Outcome, ("$defs", "finding", "properties", "outcome")),
        (na.Requirement, ("$defs", "finding", "properties", "requirement")),
    ],
)
def test_the_words_of_the_schema_are_those_of_the_library(words: Any, path: tuple[str, ...]) -> None:
    place: Any = SCHEMA
    for key in path:
        place = place[key]
    assert place["enum"] == [word.value for word in words]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every object in a document, by its path."""
    if isinstance(value, dict):
        return [path, *(found for key, inner in value.items() for found in paths(inner, (*path, key)))]
    if isinstance(value, list):
        return [found for i, inner in enumerate(value[:1]) for found in paths(inner, (*path, i))]
    return []


@pytest.mark.parametrize("path", paths(good()), ids=str)
def test_no_object_may_have_a_key_more_or_one_less(path: tuple[Any, ...]) -> None:
    def at(document: Any) -> Any:
        for key in path:
            document = document[key]
        return document

    assert VALIDATOR.is_valid(good())
    document = good()
    at(document)["more"] = 1
    assert not VALIDATOR.is_valid(document)
    for key in at(good()):
        document = copy.deepcopy(good())
        del at(document)[key]
        assert not VALIDATOR.is_valid(document), key


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("verdict", "Affirming"),
        ("trust", "verified"),
        ("format", "nomyo-attest-result/2"),
        ("payload_id", ""),
        ("findings", []),
    ],
)
def test_other_words_are_refused(key: str, value: object) -> None:
    assert not VALIDATOR.is_valid(good() | {key: value})
