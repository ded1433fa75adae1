"""Write and print the results of an audit in every requested format."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from nomyo_attest.audit.formats import atomic_output, write_rows
from nomyo_attest.cli.console import json_text, print_bytes, print_json, print_output, text_style
from nomyo_attest.cli.errors import print_stderr
from nomyo_attest.report.formats import render
from nomyo_attest.report.formatting import sanitize_json, source_name

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.audit.run import Audit
    from nomyo_attest.audit.summary import Summary
    from nomyo_attest.cli.audit_options import AuditSettings, Reports


def summarize_audit(audit: Audit, reports: Reports, settings: AuditSettings, *, replace: bool) -> Summary:
    """Summarize the audit, and write the findings across records, and their records.

    Raises `StoreError`, `OutputError`.
    """
    import msgspec

    with contextlib.ExitStack() as stack:

        def writer(name: str | None) -> Callable[[msgspec.Struct], None] | None:
            if name is None or audit.is_finished:
                return None
            file = stack.enter_context(atomic_output(name, replace=replace))

            def write(line: msgspec.Struct) -> None:
                file.write(msgspec.json.encode(line) + b"\n")

            return write

        return audit.summary(
            fail_on=settings.fail_on,
            max_failures=settings.max_failures,
            allow_no_evidence=settings.allow_no_evidence,
            allow_undated=settings.allow_undated,
            max_gap=settings.max_gap,
            on_finding=writer(reports.cross_record),
            on_affected=writer(reports.affected),
        )


def write_all(audit: Audit, summary: Summary, reports: Reports, *, replace: bool) -> None:
    """Write every other file. Raises `OutputError`."""
    if audit.is_finished:
        return
    for output in reports.outputs:
        write_rows(audit.state, output, replace=replace)
    for kind, name in reports.texts.items():
        report = render(kind, summary, reports.docs_url).encode("utf-8")
        with atomic_output(name, replace=replace) as file:
            file.write(report)


def print_summary(audit: Audit, summary: Summary, reports: Reports, arguments: argparse.Namespace) -> None:
    """Print the summary on standard output; on standard error if the rows are written to standard output."""
    if arguments.github:
        from nomyo_attest.report.github import annotations

        if text := annotations(summary):
            print_output(text.removesuffix("\n"), commands=True)
    if reports.streams:
        with audit.state.open_rows() as rows:
            # Line by line, because a block could end within a sequence that must be escaped.
            print_bytes(sanitize_json(line.decode()).encode() for line in rows)
    if arguments.format == "json":
        import msgspec

        from nomyo_attest.report.incidents import incidents

        document = msgspec.to_builtins(summary)
        document["incidents"] = msgspec.to_builtins(incidents(summary))
        if reports.streams:
            print_stderr(json_text(document))
        else:
            print_json(document)
        return
    from nomyo_attest.report.text import audit_text

    style = text_style(verbose=arguments.verbose, stream=sys.stderr if reports.streams else None)
    text = audit_text(summary, style, reports.files).removesuffix("\n")
    if style.terminal:
        text = "\n".join([text, "", *style.wrap(_next_step(reports))])
    (print_stderr if reports.streams else print_output)(text)


def _next_step(reports: Reports) -> str:
    """Return a suggestion for the user; it is printed only on a terminal."""
    if "html" in reports.texts:
        return f"next: open {source_name(reports.texts['html'])} in a browser"
    return "next: add --html report.html for the whole report; nomyo-attest rules ID explains a rule"
