"""Build the document of an audit's report from a `Summary`, with its sections in the order an auditor needs them.

The renderer of each format decides which parts it shows, and how.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from nomyo_attest.audit.cross_record.model import NOT_EVALUATED
from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.summary import SourceSummary, Summary
from nomyo_attest.report.causes import (
    RELEASED_NOT_AFFIRMED,
    REMEDIATION_RELEASED,
    outside_text,
    released_text,
    verdict_counts,
)
from nomyo_attest.report.document import (
    Block,
    Bullets,
    Column,
    Detail,
    Digest,
    Document,
    Entries,
    Entry,
    Fact,
    Facts,
    Fold,
    Mark,
    Name,
    Paragraph,
    Quote,
    Row,
    Section,
    Share,
    Table,
    Text,
    Verbatim,
)
from nomyo_attest.report.formatting import (
    NAME_MAX,
    count,
    duration,
    firmware_text,
    moment,
    number,
    sentence,
    shares,
    size,
)
from nomyo_attest.report.incidents import incidents
from nomyo_attest.report.labels import pinned_aiks
from nomyo_attest.report.limits import limit_names, trust_text
from nomyo_attest.report.policy import UNSAFE_EFFECTS
from nomyo_attest.report.sections.findings import (
    cross_record_section,
    failures_section,
    rules_section,
    unreadable_section,
)
from nomyo_attest.report.sections.fleet import (
    claims_section,
    counts_by_verdict,
    pcr_meaning,
    profiles_section,
    timeline_section,
)
from nomyo_attest.report.sections.incident_list import incidents_section

__all__ = ["audit_document"]

FULL, PAGE = Detail.FULL, Detail.PAGE

_STATUS: Final = {
    0: Mark("affirming", "passed"),
    1: Mark("contraindicated", "not passed"),
    2: Mark("unreadable", "not complete: something could not be read"),
}
_EXIT_MEANINGS: Final = {
    0: "the audit found nothing that counts as a failure.",
    1: "the audit found something that counts as a failure (--fail-on).",
    2: "some input could not be read and was not appraised, so the audit is not complete.",
}
_VERDICT_MEANINGS: Final = {
    "affirming": "every rule that the policy requires holds",
    "warning": "all required rules hold; a rule that the policy makes a warning does not hold or is undecided",
    "contraindicated": "a required rule does not hold",
    "none": "no required rule fails, but a required rule is undecided, or there is no evidence",
    UNREADABLE: "a file, an archive or a line could not be read, and was not appraised",
}

_POLICY_PARTS: Final = frozenset({"format", "id", "description", "pcrs"})
"""Keys of a policy that have separate rows or tables."""

_LONG_MAX: Final = 2000
_COMMAND_MAX: Final = 20_000
_DOCUMENT_MAX: Final = 60_000


def audit_document(summary: Summary) -> Document:
    """Build the document of an audit's report."""
    policy = summary.policy
    return Document(
        title=f"{count(summary.counts.total, 'record')} in {count(summary.sources_total, 'source')}",
        subject=("policy ", Name(policy.id, 60), " (", Name(f"{policy.digest[:19]}…"), ")"),
        code=summary.status,
        status=_STATUS.get(summary.status, _STATUS[1]),
        meaning=_EXIT_MEANINGS.get(summary.status, _EXIT_MEANINGS[1]),
        reason=summary.status_reason,
        sections=(
            _result(summary),
            incidents_section(incidents(summary)),
            rules_section(summary),
            unreadable_section(summary),
            cross_record_section(summary),
            timeline_section(summary),
            profiles_section(summary),
            failures_section(summary),
            claims_section(summary),
            _sources(summary),
            _policy(summary),
            _limits(summary),
            _provenance(summary),
        ),
    )


def _result(summary: Summary) -> Section:
    total = summary.counts.total
    verdicts = Paragraph(_result_sentences(summary), PAGE if total else Detail.BRIEF)
    counts = verdict_counts(summary.counts)
    rows = [
        Row(
            (Mark(name, name), records, Share(share, records, total, name), _VERDICT_MEANINGS[name]),
            Detail.BRIEF if records else PAGE,
        )
        for (name, records), share in zip(counts, shares([records for _, records in counts]), strict=True)
    ]
    numeric = (Column("records", numeric=True), Column("share", numeric=True))
    columns = (Column("verdict"), *numeric, Column("meaning", detail=PAGE))
    table = Table("counts", "Records by verdict", columns, rows if total else ())
    return Section("result", "Result", [verdicts, table, _facts(summary), *_released(summary)])


def _result_sentences(summary: Summary) -> str:
    counts = summary.counts
    if not counts.total:
        return "No record was appraised, so nothing is affirmed."
    not_passed = counts.total - counts.affirming - counts.warning
    if counts.total == 1:
        outcome = "is affirmed" if counts.affirming else "passes with a warning that the policy allows"
        parts = [f"The record {'is not affirmed' if not_passed else outcome}."]
    else:
        parts = [f"{number(counts.affirming)} of {number(counts.total)} records are affirmed."]
        if counts.warning:
            parts.append(f"{number(counts.warning)} more pass with a warning that the policy allows.")
        if not_passed:
            parts.append(f"{number(not_passed)} {'is' if not_passed == 1 else 'are'} not affirmed.")
    if findings := sum(rule.findings for rule in summary.cross_record_rules):
        parts.append(f"The cross-record checks have {count(findings, 'finding')}.")
    if not_evaluated := sum(rule.outcome == NOT_EVALUATED for rule in summary.cross_record_rules):
        parts.append(f"{count(not_evaluated, 'cross-record check')} could not be evaluated.")
    return " ".join(parts)


def _facts(summary: Summary) -> Facts:
    policy = summary.policy
    limits = limit_names(summary)
    quoted: tuple[Text, ...] = tuple(part for limit in limits for part in ("; ", Quote(limit)))[1:]
    rows = [
        Fact("AIK trust", trust_text(summary), FULL),
        *([Fact("Not established", (*quoted, "."), FULL)] if limits else []),
        Fact("Policy", (Name(policy.id), " ", Digest(policy.digest.removeprefix("sha256:"))), PAGE),
        Fact("Inputs", (count(summary.sources_total, "source"), ", digest ", Digest(summary.inputs_digest)), PAGE),
    ]
    if summary.timeline:
        end = summary.timeline[-1].at + summary.bucket_seconds
        rows.append(Fact("Period", f"{moment(summary.timeline[0].at)} to {moment(end)}", FULL))
    if summary.outside:
        text = f"{count(summary.outside, 'record')}, not appraised: {outside_text(summary)}"
        rows.append(Fact("Outside the window", text))
    if summary.blank:
        rows.append(Fact("Without a record", count(summary.blank, "blank line")))
    if text := released_text(summary.released):
        rows.append(Fact(RELEASED_NOT_AFFIRMED, text))
    return Facts(rows)


def _released(summary: Summary) -> list[Block]:
    if not summary.released.not_affirmed:
        return []
    amount = count(summary.released.not_affirmed, "completion")
    facts = [Fact("remediation", sentence(REMEDIATION_RELEASED))]
    return [Entries("released", [Entry(Mark("contraindicated", "RELEASED"), "not affirmed", amount, facts)])]


# ---- sources


def _sources(summary: Summary) -> Section:
    """List every source with its digest and its counts, and the totals."""
    counts = summary.counts
    terms = " + ".join(f"{number(records)} {name}" for name, records in verdict_counts(counts))
    sums_text = f"{terms} = {count(counts.total, 'record')}. "
    if summary.outside:
        sums_text += f"With {number(summary.outside)} outside the window ({outside_text(summary)}), "
        sums_text += f"{count(counts.total + summary.outside, 'record')} were read. "
    if summary.blank:
        sums_text += f"{count(summary.blank, 'blank line')} {'was' if summary.blank == 1 else 'were'} skipped. "
    sums_text += (
        f"{count(summary.written, 'row')} {'was' if summary.written == 1 else 'were'} selected for the verdicts."
    )
    columns = [Column("source"), *(Column(name, numeric=True) for name in (*VERDICTS, "all", "outside", "blank"))]
    totals_label: Text = ("all", "\n", "digest of all inputs ", Digest(summary.inputs_digest))
    table = Table(
        "sources",
        "",
        columns,
        [_source(source) for source in summary.sources],
        "source",
        total=summary.sources_total,
        totals=(totals_label, *counts_by_verdict(counts), counts.total, summary.outside, summary.blank),
        detail=FULL,
    )
    sums = "the columns add up" if table.adds_up else "the columns do not add up: do not rely on the totals"
    caption = f"Sources, those with a problem or a failure first; {sums}"
    blocks: list[Block] = [Paragraph(sums_text, PAGE), replace(table, caption=caption)]
    skipped = "skipped: their extensions are not those of records"
    for title, name, names, total in (
        (skipped, "skipped", summary.skipped, summary.skipped_total),
        (
            "found under more than one name and read once",
            "duplicate_names",
            summary.duplicate_names,
            summary.duplicate_names_total,
        ),
    ):
        if total:
            listed = Bullets(name, [Name(file) for file in names], "file", total)
            blocks.append(Fold(f"{count(total, 'file')} {title}", [listed]))
    return Section("sources", "Sources", blocks, number(summary.sources_total), folded=True)


def _source(source: SourceSummary) -> Row:
    name: Text = "standard input" if source.name == "-" else Name(source.name)
    digest: Text = Digest(source.sha256) if source.sha256 else "no digest: not read to the end"
    cells: list[Text] = [name, "\n", Quote(source.kind, 20), f", {size(source.size)}", "\n", digest]
    if source.problem:
        cells += ["\n", Mark("unreadable", "not read to the end")]
    counts = source.counts
    return Row((tuple(cells), *counts_by_verdict(counts), counts.total, source.outside, source.blank))


# ---- the policy


def _policy(summary: Summary) -> Section:
    """Show the policy that was applied: its digest and its content."""
    policy, document = summary.policy, summary.policy.document
    facts = [
        Fact("Id", Name(policy.id)),
        Fact("File", Name(policy.source)),
        Fact("Digest", ("SHA-256 ", Digest(policy.digest.removeprefix("sha256:")))),
    ]
    if document.get("description"):
        facts.append(Fact("Description", Quote(str(document["description"]), _LONG_MAX)))
    facts += [Fact("Unsafe", (Name(key), f": {effect}")) for key, effect in UNSAFE_EFFECTS.items() if document.get(key)]
    references = list(_references(document))
    pcrs: Block = Paragraph("The policy names no PCR.", PAGE)
    if references:
        columns = tuple(map(Column, ("PCR", "reference value", "label", "measures")))
        caption = "PCRs that must be signed, and their allowed values"
        pcrs = Table("references", caption, columns, references, "value", detail=PAGE)
    aiks = [Row((Digest(aik.name), Quote(aik.label, NAME_MAX))) for aik in pinned_aiks(document)]
    pinned = Table("pinned", "Pinned AIKs", (Column("Name"), Column("label")), aiks, "AIK", detail=PAGE)
    other_keys = (
        pair
        for key, value in document.items()
        if key not in _POLICY_PARTS
        for pair in _flattened(key, value)
        if pair[0] != "key.pinned"
    )
    others = Table(
        "other-keys",
        "All other keys of the policy, with the defaults of those it omits",
        (Column("key"), Column("value")),
        [Row((Name(key), Name(value, _LONG_MAX))) for key, value in other_keys],
        "key",
        detail=PAGE,
    )
    raw = json.dumps(document, sort_keys=True, separators=(",", ":"))
    as_json: list[Block] = [
        Paragraph("The digest is the SHA-256 of exactly these characters, without a newline."),
        Verbatim(raw, _DOCUMENT_MAX),
    ]
    if len(raw) > _DOCUMENT_MAX:
        as_json = [Paragraph("The policy as JSON is too long for this page; `nomyo-attest policy show` prints it.")]
    blocks = [
        Facts(facts, FULL),
        pcrs,
        *([pinned] if aiks else []),
        others,
        Fold("The policy as JSON", as_json, PAGE),
    ]
    return Section("policy", "The policy applied", blocks, folded=True)


def _references(document: dict[str, Any]) -> Iterator[Row]:
    for bank, indices in document.get("pcrs", {}).items():
        for index, values in indices.items():
            name = Name(f"{bank}:{index}", 20)
            if not isinstance(values, list):
                yield Row((name, "any signed value", "", pcr_meaning(index)))
                continue
            for reference in values:
                label = Quote(str(reference.get("label") or ""))
                yield Row((name, Digest(str(reference.get("value", ""))), label, pcr_meaning(index)))


def _flattened(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if key == "firmware.versions" and isinstance(value, list):
        value = [firmware_text(str(version)) for version in value]
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flattened(f"{key}.{name}", inner)
    elif isinstance(value, list):
        yield key, ", ".join(item if isinstance(item, str) else json.dumps(item) for item in value)
    else:
        yield key, value if isinstance(value, str) else json.dumps(value)


# ---- limits and provenance


def _limits(summary: Summary) -> Section:
    """List what the verdicts do not establish."""
    title = "Not established, whatever the verdicts"
    if not summary.not_established:
        return Section("limits", title, [Paragraph("Nothing was appraised, so nothing is established.", PAGE)])
    brief = "; ".join(limit_names(summary))
    bullets = Bullets(
        "limits",
        [Quote(limit, 600) for limit in summary.not_established],
        "limit",
        brief=f"{brief} (--verbose says why)",
    )
    return Section("limits", title, [bullets], folded=True)


def _provenance(summary: Summary) -> Section:
    """Show how the audit was run, and how to run it again."""
    run = summary.run
    window = f"{run.since[:40] if run.since else 'the beginning'} to {run.until[:40] if run.until else 'the end'}"
    lost = f"{number(run.workers_lost)}: other workers repeated their work" if run.workers_lost else "0"
    facts = [
        Fact("Version", Name(f"nomyo-attest {run.version}")),
        Fact("Inputs", Digest(summary.inputs_digest)),
        Fact("", "SHA-256 over every source's SHA-256 and name, in the order read", PAGE),
        Fact("Appraised as of", Quote(run.at) if run.at else "no time: the policy has no period"),
        Fact("Window", Quote(window, 100), FULL if run.since or run.until else PAGE),
        Fact("Rows selected", Quote(", ".join(run.select)) if run.select else "all", PAGE),
        Fact("Started", Quote(run.started_at) if run.started_at else "not recorded", PAGE),
        Fact("Took", f"{duration(run.seconds)} with {count(run.processes, 'process', 'processes')}"),
        Fact("Resumed", count(run.resumed, "time") if run.resumed else "never", FULL if run.resumed else PAGE),
        Fact("Workers lost", lost, FULL if run.workers_lost else PAGE),
    ]
    note = "With the same version, inputs and policy, this command writes the same verdicts, byte for byte:"
    command = Verbatim(command_text(run.command), _COMMAND_MAX, FULL)
    return Section(
        "provenance",
        "How this report was made",
        [Facts(facts, FULL), Paragraph(note, PAGE), command],
        folded=True,
    )


def command_text(command: Sequence[str]) -> str:
    r"""Quote a command for a POSIX shell; unprintable characters are quoted as ``$'\x1b'``, which bash reads."""
    return " ".join(map(_quoted_argument, command))


def _quoted_argument(text: str) -> str:
    if text.isprintable():
        return shlex.quote(text)
    escaped = []
    for char in text:
        if char in "\\'":
            escaped.append(f"\\{char}")
        elif char.isprintable():
            escaped.append(char)
        else:
            # A file's name may contain bytes that are not UTF-8, which Python represents as lone surrogates (PEP 383).
            byte = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
            escaped += [f"\\x{octet:02x}" for octet in char.encode("utf-8", byte)]
    return f"$'{''.join(escaped)}'"
