"""Build the document of an audit's report from a `Summary`, with its sections in the order an auditor needs them.

The renderer of each format decides which parts it shows, and how.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.summary import SourceSummary, Summary
from nomyo_attest.report.causes import (
    outside_text,
    verdict_counts,
)
from nomyo_attest.report.document import (
    Block,
    Bullets,
    Column,
    Detail,
    Digest,
    Document,
    Fact,
    Facts,
    Fold,
    Mark,
    Name,
    Paragraph,
    Quote,
    Row,
    Section,
    Table,
    Text,
    Verbatim,
)
from nomyo_attest.report.formatting import (
    NAME_MAX,
    count,
    duration,
    firmware_text,
    number,
    size,
)
from nomyo_attest.report.incidents import incidents
from nomyo_attest.report.labels import pinned_aiks
from nomyo_attest.report.limits import limit_names
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
from nomyo_attest.report.sections.result import result_section

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
_POLICY_PARTS: Final = frozenset({"format", "id", "description", "pcrs"})
"""Keys of a policy that have separate rows or tables."""

_LONG_MAX: Final = 2000
_COMMAND_MAX: Final = 20_000
_DOCUMENT_MAX: Final = 60_000


def audit_document(summary: Summary) -> Document:
    """Build the document of an audit's report."""
    policy = summary.policy
    listed = incidents(summary)
    return Document(
        title=f"{count(summary.counts.total, 'record')} in {count(summary.sources_total, 'source')}",
        subject=("policy ", Name(policy.id, 60), " (", Name(f"{policy.digest[:19]}…"), ")"),
        code=summary.status,
        status=_STATUS.get(summary.status, _STATUS[1]),
        meaning=_EXIT_MEANINGS.get(summary.status, _EXIT_MEANINGS[1]),
        reason=summary.status_reason,
        sections=(
            result_section(summary, listed),
            incidents_section(listed),
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
