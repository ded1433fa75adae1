"""The formats in which an audit writes its report: one row each.

The command `nomyo-attest audit` has an option for every row, ``--html FILE`` and so on.
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
        name: of the option, with underscores for hyphens.
        about: the help of the option.
        module, function: what renders a `Summary`; imported when the format is asked for.
        linked: whether the function takes the address of the page of rules, too.
    """

    name: str
    about: str
    module: str
    function: str
    linked: bool = False


FORMATS: Final = {
    one.name: one
    for one in (
        ReportFormat("html", "the report as one HTML file", "html", "html_report"),
        ReportFormat(
            "markdown", "the summary in Markdown, for a comment or a job's page", "markdown", "audit_markdown"
        ),
        ReportFormat("junit", "JUnit XML, for CI", "junit", "junit_xml"),
        ReportFormat("sarif", "SARIF 2.1.0, for code scanning", "sarif", "sarif_text", linked=True),
    )
}


def render(name: str, summary: Summary, docs_url: str | None = None) -> str:
    """Format `summary`.

    Args:
        name: of a format.
        summary: what the audit found.
        docs_url: the address of the page of rules, for formats with links; None if it was not given.
    """
    row = FORMATS[name]
    function: Callable[..., str] = getattr(import_module(f"nomyo_attest.report.{row.module}"), row.function)
    return function(summary, docs_url) if row.linked else function(summary)
