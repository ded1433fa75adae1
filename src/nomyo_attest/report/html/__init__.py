"""The audit as one HTML file that needs nothing else: no network, no script, no second file."""

from nomyo_attest.report.html.page import html_report

__all__ = ["html_report"]
