"""The page as a whole."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.audit_reasons import causes
from nomyo_attest.report.formatting import count, number
from nomyo_attest.report.html.answer import answer
from nomyo_attest.report.html.chart import patterns
from nomyo_attest.report.html.claims import claims
from nomyo_attest.report.html.cross_record import cross_record
from nomyo_attest.report.html.failures import failures
from nomyo_attest.report.html.markup import Markup, element, join
from nomyo_attest.report.html.policy import policy
from nomyo_attest.report.html.profiles import profiles
from nomyo_attest.report.html.provenance import limits, provenance
from nomyo_attest.report.html.rules import rules
from nomyo_attest.report.html.sources import sources
from nomyo_attest.report.html.style import STYLE
from nomyo_attest.report.html.tables import listing
from nomyo_attest.report.html.timeline import timeline
from nomyo_attest.report.html.wording import code, outside

_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
"""Nothing may be loaded, run or sent: this one style sheet is all that a browser heeds, whatever else got in."""


def html_report(summary: Summary) -> str:
    """`summary` as one HTML file that needs nothing else: to be looked at, mailed, printed.

    It has no script and loads nothing. Whatever a summary holds, the file is not larger than about 3 MB; what is cut
    says so.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=CONTENT_SECURITY_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", _title(summary)),
        element("style", Markup(STYLE)),
    )
    sections = [
        answer(summary),
        timeline(summary),
        rules(summary),
        cross_record(summary),
        profiles(summary),
        failures(summary),
        claims(summary),
        sources(summary),
        policy(summary),
        limits(summary),
        provenance(summary),
    ]
    body = element(
        "body",
        element("a", "Skip to the answer", href="#answer", class_="skip"),
        patterns(),
        element("header", element("h1", "Attestation audit"), _under_title(summary)),
        element("nav", _contents(summary), aria_label="Contents"),
        element("main", *sections),
        element("footer", element("p", "One file: no script, nothing loaded. All times are UTC.")),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _title(summary: Summary) -> str:
    policy_id = summary.policy.id[:60]
    return f"Attestation audit: exit status {summary.status}, {count(summary.counts.total, 'record')}, {policy_id}"


def _under_title(summary: Summary) -> Markup:
    parts: list[str] = [count(summary.counts.total, "record"), ", policy ", code(summary.policy.id)]
    if summary.run.started_at:
        parts += [", made ", outside(summary.run.started_at, 40)]
    return element("p", join(parts))


def _contents(summary: Summary) -> Markup:
    entries = [
        ("answer", "The answer", None),
        ("timeline", "Over time", None),
        ("rules", "Rules", len(causes(summary))),
        ("cross_record", "Across records", sum(rule.findings for rule in summary.cross_record_rules)),
        ("profiles", "PCR profiles", summary.profiles_total),
        ("failures", "Not affirmed", summary.failures_total),
        ("claims", "Tiers and keys", None),
        ("sources", "Sources", summary.sources_total),
        ("policy", "Policy", None),
        ("limits", "Not established", None),
        ("provenance", "How it was made", None),
    ]
    return listing(
        join([element("a", title, href=f"#{name}"), element("small", number(count)) if count is not None else ""])
        for name, title, count in entries
    )
