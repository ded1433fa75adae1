"""Format an audit as SARIF 2.1.0 (OASIS), which code scanning services and editors show beside the files.

It has one result for each incident that has a place, not for each record. Section numbers are those of the standard.
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
from nomyo_attest.audit.cross_record.model import NOT_EVALUATED
from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES, CrossRecordRule
from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.causes import (
    REMEDIATION_UNREADABLE,
    WHY_UNREADABLE,
    not_evaluated_text,
    place_and_time,
    place_text,
)
from nomyo_attest.report.formatting import excerpt, sanitize, sentence
from nomyo_attest.report.incidents import Incident, Kind, incidents
from nomyo_attest.report.incidents.plain import fact_sentences, other_places, place_of
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
    """Return the whole log file as JSON-compatible values; errors first, so that a limit omits the least severe.

    The rules link to `docs_url`, the URL of the rules page, such as that of `docs/rules.md` on a repository host.
    Without it, the rules have their help as text only.
    """
    all_incidents = incidents(summary)
    rules = _descriptors(summary, [rule for incident in all_incidents for rule in incident.rules], docs_url)
    indices = {rule["id"]: index for index, rule in enumerate(rules)}
    results = list(_results(all_incidents))[:RESULTS_MAXIMUM]
    for result in results:
        if result["ruleId"] in indices:  # a rule of a different version has no descriptor
            result["ruleIndex"] = indices[result["ruleId"]]
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
        "properties": _properties(summary, len(all_incidents), len(all_incidents) - len(results)),
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def sarif_text(summary: Summary, docs_url: str | None = None) -> str:
    """Return the log file as JSON text, with a final newline."""
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
        "arguments": [sanitize(argument) for argument in summary.run.command[1:]],
    }
    notifications: list[dict[str, Any]] = [
        {
            "level": "error",
            "message": _message(f"{place_text(source.name, 0)}: {excerpt(source.problem)}"),
            "locations": [_location(source.name, 0)],
        }
        for source in summary.sources
        if source.problem
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
    for source in summary.sources[:_ARTIFACTS_MAXIMUM]:
        artifact: dict[str, Any] = {"location": {"uri": source_uri(source.name)}}
        if source.size is not None:
            artifact["length"] = source.size
        if source.sha256 is not None:
            artifact["hashes"] = {"sha-256": source.sha256}
        artifacts.append(artifact)
    return artifacts


def _properties(summary: Summary, incidents_total: int, cut: int) -> dict[str, Any]:
    counts = summary.counts
    return {
        "policy": {"id": excerpt(summary.policy.id), "digest": summary.policy.digest},
        "inputsDigest": summary.inputs_digest,
        "records": {name: getattr(counts, name) for name in counts.__struct_fields__},
        "acrossRecords": {
            sanitize(rule.rule): {
                "outcome": rule.outcome,
                "accepted": rule.accepted,
                "appraised": rule.appraised,
                "usable": rule.usable,
                "undated": rule.undated,
                "compared": rule.compared,
                "remark": sanitize(rule.remark),
            }
            for rule in summary.cross_record_rules
        },
        "outside": summary.outside,
        "outsideByServer": summary.outside_by_server,
        "released": summary.released.released,
        "releasedNotAffirmed": summary.released.not_affirmed,
        "sources": summary.sources_total,
        "sourcesListed": len(summary.sources),
        "incidents": incidents_total,
        "resultsNotListed": cut,
        "notEstablished": [sanitize(limit) for limit in summary.not_established],
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
    """Return a location (3.28). A source of which nothing was read has its first line."""
    physical = {"artifactLocation": {"uri": source_uri(source)}, "region": {"startLine": max(line, 1)}}
    return {"physicalLocation": physical} | ({"message": _message(note)} if note else {})


def _message(text: str) -> dict[str, str]:
    """Escape text so that it has no placeholder (3.11.5) and no link (3.11.6)."""
    return {"text": _LINK.sub("] ", text.replace("{", "{{").replace("}", "}}"))}


def _results(all_incidents: Iterable[Incident]) -> Iterator[dict[str, Any]]:
    """Yield a result (3.27) for each incident with a place: there, with its other places as related locations."""
    for incident in all_incidents:
        place = place_of(incident)
        if place is None:
            continue
        result: dict[str, Any] = {
            "ruleId": sanitize(incident.rules[0]),
            "level": "warning" if incident.kind is Kind.WARNING else "error",
            "message": _message(" ".join([sentence(incident.title), *fact_sentences(incident)])),
            "locations": [_location(place.source, place.line)],
            "partialFingerprints": {"nomyoAttestIncident/v1": _fingerprint(incident)},
            "properties": {
                "kind": incident.kind.value,
                "severity": incident.severity.value,
                "records": incident.records,
            },
        }
        if others := other_places(incident):
            result["relatedLocations"] = [
                _location(other.source, other.line, place_and_time(other)) for other in others[:_RELATED_MAXIMUM]
            ]
        yield result


def _fingerprint(incident: Incident) -> str:
    """Identify an incident by the properties that stay the same from run to run: not by lines, counts or times."""
    changes = [(change.what, change.after if incident.values == 1 else "") for change in incident.changes]
    changes = [] if incident.kind is Kind.ROLLBACK else changes
    identity = (incident.kind.value, incident.rules, incident.keys, changes)
    return hashlib.sha256(repr(identity).encode(errors="backslashreplace")).hexdigest()


# ---- rules


def _descriptors(summary: Summary, rule_ids: Iterable[str], docs_url: str | None) -> list[dict[str, Any]]:
    """Describe the appraisal rules and the cross-record rules, in the order of their tables; then `UNREADABLE_RULE`.

    `rule_ids` are those of the results. Each claim among them, such as ``claims.security_tier``, gets a descriptor.
    """
    claims = sorted({rule_id for rule_id in rule_ids if rule_id.startswith("claims.")})
    descriptors = []
    for rule in RULES:
        descriptors += [
            _appraisal(rule_id, rule, docs_url)
            for rule_id in (claims if rule.id == "claims.*" and claims else [rule.id])
        ]
    evaluated = {check.rule: check for check in summary.cross_record_rules}
    for cross_record_rule in CROSS_RECORD_RULES:
        if evaluated.pop(cross_record_rule.id, None):
            descriptors.append(_cross_record(cross_record_rule, docs_url))
    for check in evaluated.values():  # of a different version
        descriptors.append(_descriptor(check.rule, check.question, "", "", check.remediation, None))
    descriptors.append(
        _descriptor(UNREADABLE_RULE, "Can every record be read?", WHY_UNREADABLE, "", REMEDIATION_UNREADABLE, None)
    )
    return descriptors


def _appraisal(rule_id: str, rule: Rule, docs_url: str | None) -> dict[str, Any]:
    page = f"{docs_url}#{rule_anchor(rule)}" if docs_url else None
    return _descriptor(
        sanitize(rule_id), rule.question, rule.explanation, rule.field, rule.remediation, page, core=rule.core
    )


def _cross_record(rule: CrossRecordRule, docs_url: str | None) -> dict[str, Any]:
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
        f"[More about `{rule_id}`]({page})" if page else "",
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
    """Join paragraphs, and escape text that would be a placeholder (3.11.5)."""
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph).replace("{", "{{").replace("}", "}}")


def _cut(text: str) -> str:
    """Return the leading sentences of `text` that fit into a description."""
    text = " ".join(text.split())
    if len(text) <= _DESCRIPTION_MAXIMUM:
        return text
    return text[: text.rindex(". ", 0, _DESCRIPTION_MAXIMUM) + 1]
