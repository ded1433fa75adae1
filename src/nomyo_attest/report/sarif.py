"""Format an audit as SARIF 2.1.0 (OASIS), which code scanning services and editors show beside the files.

One result for each incident that has a place, not for each record. Section numbers are those of the standard.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from nomyo_attest.appraisal.rules import RULES, Rule
from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES, CrossRecordRule
from nomyo_attest.audit.summary import NOT_EVALUATED, Summary
from nomyo_attest.report.causes import (
    REMEDIATION_UNREADABLE,
    WHY_UNREADABLE,
    not_evaluated_text,
    place_text,
    where,
)
from nomyo_attest.report.formatting import excerpt, sanitize, sentence
from nomyo_attest.report.incidents import Incident, Kind, incidents
from nomyo_attest.report.incidents.plain import facts, other_places, place_of
from nomyo_attest.report.rules_page import rule_anchor

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
"""The ``$id`` of the SARIF schema."""

RESULTS_MAXIMUM: Final = 25_000
"""Maximum results of one run that GitHub accepts; it shows 5,000, the most severe first."""

UNREADABLE_RULE: Final = "unreadable"
"""The rule id of results about unreadable sources and records, the same word as the verdict."""

_DESCRIPTION_MAXIMUM: Final = 1000
"""Maximum characters of a description; GitHub accepts 1024."""

_ARTIFACTS_MAXIMUM: Final = 1000
_RELATED_MAXIMUM: Final = 9
_LINK: Final = re.compile(r"\](?=\()")


def sarif(summary: Summary, docs_url: str | None = None) -> dict[str, Any]:
    """Return the whole log file as JSON-compatible values; errors first, so that a limit drops the least severe.

    `docs_url` is the URL of the rules page, such as `docs/rules.md` on a repository host, to which the rules link.
    Without it the rules have their help as text only.
    """
    found = incidents(summary)
    rules = _descriptors(summary, [rule for one in found for rule in one.rules], docs_url)
    places = {rule["id"]: place for place, rule in enumerate(rules)}
    results = list(_results(found))[:RESULTS_MAXIMUM]
    for result in results:
        if result["ruleId"] in places:  # a rule of another version has no description
            result["ruleIndex"] = places[result["ruleId"]]
    run = {
        "tool": {
            "driver": {
                "name": "nomyo-attest",
                "version": sanitize(summary.run.version),
                "shortDescription": {"text": "Appraises recorded TPM 2.0 quotes by a policy."},
                "rules": rules,
            }
        },
        "invocations": [_invocation(summary)],
        "artifacts": _artifacts(summary),
        "results": results,
        "properties": _properties(summary, len(found), len(found) - len(results)),
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def sarif_text(summary: Summary, docs_url: str | None = None) -> str:
    """Return the log file as JSON text, with its final line end."""
    return json.dumps(sarif(summary, docs_url), indent=2, ensure_ascii=False) + "\n"


def _invocation(summary: Summary) -> dict[str, Any]:
    """Describe how the audit was run (3.20).

    ``executionSuccessful`` is true even if a source could not be read: GitHub accepts no results of an unsuccessful
    execution, and an unreadable source is a result itself.
    """
    invocation: dict[str, Any] = {
        "executionSuccessful": True,
        "exitCode": summary.status,
        "exitCodeDescription": excerpt(summary.status_reason, 1000),
        "arguments": [sanitize(one) for one in summary.run.command[1:]],
    }
    notifications: list[dict[str, Any]] = [
        {
            "level": "error",
            "message": _message(f"{place_text(one.name, 0)}: {excerpt(one.problem)}"),
            "locations": [_location(one.name, 0)],
        }
        for one in summary.sources
        if one.problem
    ]
    notifications += [
        {
            "level": "note" if rule.accepted else "error",
            "message": _message(f"{sanitize(rule.rule)} was not evaluated: {excerpt(not_evaluated_text(rule))}"),
            "associatedRule": {"id": sanitize(rule.rule)},
        }
        for rule in summary.cross_record_rules
        if rule.outcome == NOT_EVALUATED
    ]
    if notifications:
        invocation["toolExecutionNotifications"] = notifications
    return invocation


def _artifacts(summary: Summary) -> list[dict[str, Any]]:
    """List the sources with their digests (3.24), so that a reader can verify what was audited."""
    artifacts = []
    for one in summary.sources[:_ARTIFACTS_MAXIMUM]:
        artifact: dict[str, Any] = {"location": {"uri": source_uri(one.name)}}
        if one.size is not None:
            artifact["length"] = one.size
        if one.sha256 is not None:
            artifact["hashes"] = {"sha-256": one.sha256}
        artifacts.append(artifact)
    return artifacts


def _properties(summary: Summary, found: int, cut: int) -> dict[str, Any]:
    counts = summary.counts
    return {
        "policy": {"id": excerpt(summary.policy.id), "digest": summary.policy.digest},
        "inputsDigest": summary.inputs_digest,
        "records": {name: getattr(counts, name) for name in counts.__struct_fields__},
        "acrossRecords": {
            sanitize(one.rule): {
                "outcome": one.outcome,
                "accepted": one.accepted,
                "appraised": one.appraised,
                "usable": one.usable,
                "undated": one.undated,
                "compared": one.compared,
                "remark": sanitize(one.remark),
            }
            for one in summary.cross_record_rules
        },
        "outside": summary.outside,
        "outsideByServer": summary.outside_by_server,
        "released": summary.released.released,
        "releasedNotAffirmed": summary.released.not_affirmed,
        "sources": summary.sources_total,
        "sourcesListed": len(summary.sources),
        "incidents": found,
        "resultsNotListed": cut,
        "notEstablished": [sanitize(one) for one in summary.not_established],
    }


def source_uri(name: str) -> str:
    """Return the name of a source as a URI reference (3.4.3): relative if the name is, with every byte escaped."""
    if name == "-":
        return "stdin"
    path = PurePath(name).as_posix()
    try:
        escaped = quote(path, errors="surrogateescape")
    except UnicodeEncodeError:  # not a name that an operating system returned
        escaped = quote(path, errors="backslashreplace")
    if path.startswith("/"):
        return f"file://{escaped}"
    return f"./{escaped}" if ":" in path.partition("/")[0] else escaped


def _location(source: str, line: int, note: str = "") -> dict[str, Any]:
    """Return one place (3.28); a source of which nothing was read is shown at its first line."""
    physical = {"artifactLocation": {"uri": source_uri(source)}, "region": {"startLine": max(line, 1)}}
    return {"physicalLocation": physical} | ({"message": _message(note)} if note else {})


def _message(text: str) -> dict[str, str]:
    """Escape text so that it has no placeholder (3.11.5) and no link (3.11.6)."""
    return {"text": _LINK.sub("] ", text.replace("{", "{{").replace("}", "}}"))}


def _results(found: Iterable[Incident]) -> Iterator[dict[str, Any]]:
    """Yield a result (3.27) for each incident with a place: there, with its other places as related locations."""
    for one in found:
        place = place_of(one)
        if place is None:
            continue
        result: dict[str, Any] = {
            "ruleId": sanitize(one.rules[0]),
            "level": "warning" if one.kind is Kind.WARNING else "error",
            "message": _message(" ".join([sentence(one.title), *facts(one)])),
            "locations": [_location(place.source, place.line)],
            "partialFingerprints": {"nomyoAttestIncident/v1": _fingerprint(one)},
            "properties": {"kind": one.kind.value, "severity": one.severity.value, "records": one.records},
        }
        if others := other_places(one):
            result["relatedLocations"] = [
                _location(other.source, other.line, where(other)) for other in others[:_RELATED_MAXIMUM]
            ]
        yield result


def _fingerprint(incident: Incident) -> str:
    """Identify an incident by what stays the same from run to run: not by lines, counts and times, which change."""
    changes = [(one.what, one.after if incident.values == 1 else "") for one in incident.changes]
    changes = [] if incident.kind is Kind.ROLLBACK else changes
    identity = (incident.kind.value, incident.rules, incident.keys, changes)
    return hashlib.sha256(repr(identity).encode(errors="backslashreplace")).hexdigest()


# ---- rules


def _descriptors(summary: Summary, named: Iterable[str], docs_url: str | None) -> list[dict[str, Any]]:
    """Describe the appraisal rules and the cross-record rules, in the order of their tables; then `UNREADABLE_RULE`.

    `named` are the rule ids of results: those of claims, such as ``claims.security_tier``, get a descriptor each.
    """
    claims = sorted({one for one in named if one.startswith("claims.")})
    found = []
    for rule in RULES:
        found += [
            _appraisal(one, rule, docs_url) for one in (claims if rule.id == "claims.*" and claims else [rule.id])
        ]
    asked = {one.rule for one in summary.cross_record_rules}
    found += [_across(rule, docs_url) for rule in CROSS_RECORD_RULES if rule.id in asked]
    known = {one["id"] for one in found}
    for one in summary.cross_record_rules:
        if one.rule not in known:
            found.append(_descriptor(one.rule, one.question, "", "", one.remediation, None))
    found.append(
        _descriptor(UNREADABLE_RULE, "Can every record be read?", WHY_UNREADABLE, "", REMEDIATION_UNREADABLE, None)
    )
    return found


def _appraisal(rule_id: str, rule: Rule, docs_url: str | None) -> dict[str, Any]:
    page = f"{docs_url}#{rule_anchor(rule)}" if docs_url else None
    return _descriptor(
        sanitize(rule_id), rule.question, rule.explanation, rule.field, rule.remediation, page, core=rule.core
    )


def _across(rule: CrossRecordRule, docs_url: str | None) -> dict[str, Any]:
    page = f"{docs_url}#{rule_anchor(rule)}" if docs_url else None
    return _descriptor(rule.id, rule.question, rule.explanation, rule.field, rule.remediation, page)


def _descriptor(
    rule_id: str, question: str, explanation: str, field: str, remediation: str, page: str | None, *, core: bool = False
) -> dict[str, Any]:
    described = f"Field: {field}." if field else ""
    text = [question, explanation, described, f"Remediation: {sentence(remediation)}", f"More: {page}" if page else ""]
    markdown = [
        f"**{question}**",
        explanation,
        f"Field: `{field}`." if field else "",
        f"**Remediation:** {sentence(remediation)}",
        f"[More of `{rule_id}`]({page})" if page else "",
    ]
    descriptor: dict[str, Any] = {
        "id": rule_id,
        "shortDescription": {"text": question},
        "fullDescription": {"text": _cut(explanation or question)},
        "help": {"text": _joined(text), "markdown": _joined(markdown)},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["attestation", *(["core"] if core else [])]},
    }
    if page:
        descriptor["helpUri"] = page
    return descriptor


def _joined(paragraphs: Iterable[str]) -> str:
    """Join paragraphs, and escape what would be a placeholder (3.11.5)."""
    return "\n\n".join(one for one in paragraphs if one).replace("{", "{{").replace("}", "}}")


def _cut(text: str) -> str:
    """Return the leading sentences of `text` that fit into a description."""
    text = " ".join(text.split())
    if len(text) <= _DESCRIPTION_MAXIMUM:
        return text
    return text[: text.rindex(". ", 0, _DESCRIPTION_MAXIMUM) + 1]
