"""Strings that users store are interface: in scripts, policies and records. Changing one takes a major version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from nomyo_attest import RULES, Outcome, Requirement, Trust, Verdict
from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES
from nomyo_attest.audit.row import COLUMNS, VERDICTS
from nomyo_attest.cli import COMMANDS, errors
from nomyo_attest.report.incidents import incidents
from nomyo_attest.rules import RULE_TABLE
from nomyo_attest.schemas import SCHEMAS
from tests.nomyo_attest.cli.runner import run
from tests.nomyo_attest.report.audit_samples import summary

VERIFY_KEYS = """
counts counts.affirming counts.contraindicated counts.none counts.unreadable counts.warning format policy policy.digest
policy.id results results.file results.result results.result.aik results.result.aik.framing results.result.aik.hierarchy
results.result.aik.name results.result.aik.test_key results.result.appraised_at results.result.findings
results.result.findings.expected results.result.findings.field results.result.findings.got
results.result.findings.message results.result.findings.outcome results.result.findings.remediation
results.result.findings.requirement results.result.findings.rule results.result.format results.result.not_established
results.result.payload_id results.result.payload_id_source results.result.policy results.result.policy.digest
results.result.policy.id results.result.quote results.result.quote.framing results.result.trust results.result.verdict
"""
AUDIT_KEYS = """
affected affected.affirming affected.by_key affected.by_key.affirming affected.by_key.family affected.by_key.key
affected.by_key.records affected.records aiks aiks_pinned blank bucket_seconds cause_groups cause_groups.boots
cause_groups.boots.aik cause_groups.boots.clock_epoch cause_groups.boots.first cause_groups.boots.first.line
cause_groups.boots.first.processed_at cause_groups.boots.first.source cause_groups.boots.last
cause_groups.boots.last.line cause_groups.boots.last.processed_at cause_groups.boots.last.source
cause_groups.boots.records cause_groups.boots.reset_count cause_groups.boots_inferred cause_groups.boots_total
cause_groups.findings cause_groups.findings.expected cause_groups.findings.got cause_groups.findings.message
cause_groups.findings.outcome cause_groups.findings.requirement cause_groups.findings.rule cause_groups.first
cause_groups.first.line cause_groups.first.processed_at cause_groups.first.source cause_groups.last
cause_groups.last.line cause_groups.last.processed_at cause_groups.last.source cause_groups.machines_inferred
cause_groups.pinned_aiks cause_groups.records cause_groups.values cause_groups.without_boot cause_groups_total counts
counts.affirming counts.contraindicated counts.none counts.unreadable counts.warning cross_record cross_record.detail
cross_record.first cross_record.first.line cross_record.first.processed_at cross_record.first.source cross_record.high
cross_record.key cross_record.last cross_record.last.line cross_record.last.processed_at cross_record.last.source
cross_record.low cross_record.message cross_record.places cross_record.places.line cross_record.places.processed_at
cross_record.places.source cross_record.records cross_record.rule cross_record_rules cross_record_rules.accepted
cross_record_rules.appraised cross_record_rules.compared cross_record_rules.findings cross_record_rules.outcome
cross_record_rules.question cross_record_rules.records cross_record_rules.remark cross_record_rules.remediation
cross_record_rules.rule cross_record_rules.undated cross_record_rules.usable duplicate_names duplicate_names_total
failures failures_total format gaps gaps.begins gaps.ends gaps.records incidents incidents.affirming incidents.aik
incidents.aik_label
incidents.boots incidents.boots.aik incidents.boots.clock_epoch incidents.boots.first incidents.boots.first.line
incidents.boots.first.processed_at incidents.boots.first.source incidents.boots.last incidents.boots.last.line
incidents.boots.last.processed_at incidents.boots.last.source incidents.boots.records incidents.boots.reset_count
incidents.boots_total incidents.changes incidents.changes.after incidents.changes.before incidents.changes.labels
incidents.changes.meaning incidents.changes.what incidents.first incidents.first.line incidents.first.processed_at
incidents.first.source incidents.keys incidents.kind incidents.last incidents.last.line incidents.last.processed_at
incidents.last.source incidents.machine incidents.places incidents.places.line incidents.places.processed_at
incidents.places.source incidents.places_total incidents.problem incidents.records incidents.remediation
incidents.rules incidents.severity incidents.title incidents.values inputs_digest not_established outside
outside_by_server period_begins period_ends places
places.lines places.message places.outcome places.records places.requirement places.rule
places.source places_total policy policy.digest policy.document policy.id policy.source profiles profiles.aiks
profiles.counts profiles.counts.affirming profiles.counts.contraindicated profiles.counts.none
profiles.counts.unreadable profiles.counts.warning profiles.first profiles.first.line profiles.first.processed_at
profiles.first.source profiles.first_seen profiles.last profiles.last.line profiles.last.processed_at
profiles.last.source profiles.last_seen profiles.over_time profiles.pcrs profiles.profile profiles_total released
released.counts released.counts.affirming released.counts.contraindicated released.counts.none
released.counts.unreadable released.counts.warning released.gate_off released.gate_on released.known
released.not_affirmed released.released rules rules.first rules.first.line rules.first.processed_at rules.first.source
rules.message rules.outcome rules.records rules.requirement rules.rule run run.at run.command run.processes
run.resumed run.seconds run.select run.since run.started_at run.until run.version run.workers_lost skipped
skipped_total sources sources.blank sources.counts sources.counts.affirming sources.counts.contraindicated
sources.counts.none sources.counts.unreadable sources.counts.warning sources.kind sources.name sources.outside
sources.outside_by_server sources.problem sources.sha256 sources.size sources_total sources_unreadable status
status_reason tiers tiers_total time_outliers timeline timeline.at timeline.counts timeline.counts.affirming
timeline.counts.contraindicated timeline.counts.none timeline.counts.unreadable timeline.counts.warning
timeline.unavailable unavailable unavailable.begins unavailable.ends unavailable.records undated
usual_interval written
"""
VERDICT_COLUMNS = """
source line payload_id verdict failed undecided reason trust processed_at recorded_at gate released security_tier
available signature_valid aik_name aik_pinned quote clock reset_count restart_count firmware_version pcr_profile pcrs
findings evidence
"""
SERIES_RULE_IDS = """
duplicate.quote duplicate.payload_id reused.aik rollback.clock rollback.counters gap.records
"""
INSPECT_KEYS = """
absence aik available claims file format key nonce payload_id pcr_banks pcr_digest pcrs quote signature
"""


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Every path of keys in a JSON document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}"
            yield from paths(inner, f"{path}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, path)


def test_the_rules_are_those_that_were_reviewed(fixtures: Path) -> None:
    """A change of the table shows in this file, which `python fixtures/forge.py` writes."""
    reviewed = json.loads((fixtures / "rules.json").read_text("utf-8"))
    rows = json.loads(msgspec.json.encode(RULE_TABLE))
    assert [{key: row[key] for key in one} for one, row in zip(reviewed, rows, strict=True)] == reviewed
    assert [rule.id for rule in RULES] == [row["id"] for row in reviewed]


def test_words_of_a_result() -> None:
    assert [verdict.value for verdict in Verdict] == ["affirming", "warning", "contraindicated", "none"]
    assert [outcome.value for outcome in Outcome] == ["pass", "fail", "undecided"]
    assert [requirement.value for requirement in Requirement] == ["required", "warn", "ignore"]
    assert [trust.value for trust in Trust] == ["self_asserted", "pinned_aik", "certified_aik"]


def test_words_of_an_audit() -> None:
    assert VERDICTS == ("affirming", "warning", "contraindicated", "none", "unreadable")
    assert list(COLUMNS) == VERDICT_COLUMNS.split()
    assert [rule.id for rule in CROSS_RECORD_RULES] == SERIES_RULE_IDS.split()


def test_keys_of_audit_json(folder: Path) -> None:
    document = json.loads(msgspec.json.encode(summary()))
    document["incidents"] = json.loads(msgspec.json.encode(incidents(summary())))
    ran = run("audit", "good.json", "--policy", "policy.toml", "--format", "json").json()
    assert ran.keys() == document.keys()
    document["policy"]["document"] = document["failures"] = None
    for finding in (finding for group in document["cause_groups"] for finding in group["findings"]):
        finding["expected"] = finding["got"] = None
    for finding in (finding for group in document["cause_groups"] for finding in group["findings"]):
        finding["expected"] = finding["got"] = None
    for finding in (finding for group in document["cause_groups"] for finding in group["findings"]):
        finding["expected"] = finding["got"] = None
    for profile in document["profiles"]:
        profile["pcrs"] = None
    assert sorted(set(paths(document))) == AUDIT_KEYS.split()


def test_exit_statuses() -> None:
    assert (errors.EXIT_OK, errors.EXIT_NOT_AFFIRMED, errors.EXIT_UNUSABLE) == (0, 1, 2)
    assert (errors.EXIT_INTERRUPTED, errors.EXIT_PIPE_CLOSED) == (130, 141)


def test_commands_and_schemas() -> None:
    commands = ["verify", "audit", "ledger verify", "inspect", "rules", "policy learn", "policy check", "policy show"]
    commands += ["schema", "example fleet", "record"]
    assert list(COMMANDS) == commands
    assert SCHEMAS == ("policy", "evidence", "result", "verdict", "ledger")


def test_keys_of_verify_json(folder: Path) -> None:
    document = run("verify", "good.json", "--policy", "policy.toml", "--format", "json").json()
    for finding in document["results"][0]["result"]["findings"]:
        finding["expected"] = finding["got"] = None
    assert sorted(set(paths(document))) == VERIFY_KEYS.split()


def test_keys_of_inspect_json(folder: Path) -> None:
    document = run("inspect", "good.json", "--format", "json").json()
    assert sorted(document) == INSPECT_KEYS.split()
    assert sorted(document["quote"]) == ["bytes", "error", "fields", "framing", "hex"]
    assert sorted(document["aik"]) == ["hierarchy", "name", "obfuscated", "qualified_signer", "test_key"]
    assert sorted(document["nonce"]) == ["extra_data", "matches", "of_payload_id"]
    assert sorted(document["pcr_digest"]) == ["hash", "matches", "of_values", "signed"]
    assert sorted(document["pcrs"][0]) == ["bank", "index", "signed", "value"]


def test_keys_of_rules_and_policy_check_json(folder: Path) -> None:
    rules = run("rules", "--format", "json").json()
    assert sorted(set(paths(rules))) == sorted(
        [
            "format",
            "rules",
            *(
                f"rules.{key}"
                for key in ("id", "core", "asked", "needs", "field", "question", "explanation", "remediation")
            ),
            "across_records",
            *(f"across_records.{key}" for key in ("id", "asked", "field", "question", "explanation", "remediation")),
        ]
    )
    check = run("policy", "check", "policy.toml", "--format", "json").json()
    assert sorted(set(paths(check))) == sorted(
        ["format", "policy", "policy.id", "policy.digest", "policy.source", "remarks"]
        + [f"remarks.{key}" for key in ("weight", "where", "problem", "hint")]
    )
