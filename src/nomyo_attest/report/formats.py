"""The formats of an audit's report.

The command `nomyo-attest audit` has an option for each format, such as ``--html FILE``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from nomyo_attest.audit.summary import Summary


class ReportFormat(NamedTuple):
    """One format.

    Attributes:
        name: the name of the option, with underscores for hyphens.
        about: the help text of the option.
        module, function: the function that renders a `Summary`; imported when it is used.
        linked: whether the function has a second argument, the URL of the rules page.
    """

    name: str
    about: str
    module: str
    function: str
    linked: bool = False


FORMATS: Final = {
    report_format.name: report_format
    for report_format in (
        ReportFormat("html", "the report as one HTML file", "html", "html_report"),
        ReportFormat(
            "markdown", "the summary in Markdown, for a comment or a job's page", "markdown", "audit_markdown"
        ),
        ReportFormat("junit", "JUnit XML, for CI", "junit", "junit_xml"),
        ReportFormat("sarif", "SARIF 2.1.0, for code scanning", "sarif", "sarif_text", linked=True),
    )
}


def render(name: str, summary: Summary, docs_url: str | None = None) -> str:
    """Render `summary` in one format.

    Args:
        name: the name of a format in `FORMATS`.
        summary: what the audit found.
        docs_url: the URL of the rules page, for formats with links; None to omit the links.
    """
    row = FORMATS[name]
    function: Callable[..., str] = getattr(import_module(f"nomyo_attest.report.{row.module}"), row.function)
    return function(summary, docs_url) if row.linked else function(summary)
