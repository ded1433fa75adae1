"""The policy that was applied: its digest, and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.formatting import number
from nomyo_attest.report.html.markup import Markup, element, escape, fit, join
from nomyo_attest.report.html.profiles import meaning
from nomyo_attest.report.html.tables import columns, fold, pairs, row, section, table
from nomyo_attest.report.html.wording import code, digits, outside

_SIZE: Final = 100_000
_TEXT_MAX: Final = 2000
_DOCUMENT_MAX: Final = 100_000

_APART: Final = frozenset({"format", "id", "description", "pcrs"})
"""Keys of a policy that are told in their own places."""

_UNSAFE: Final = {
    "unsafe_any_nonce": "a quote made for any other request is accepted",
    "unsafe_accept_any_pcrs": "a policy without reference values may be used",
    "unsafe_warn_until": "until then, evidence that fails the rules named below as warnings is accepted",
}


def policy(summary: Summary) -> Markup:
    """The section."""
    applied, document = summary.policy, summary.policy.document
    head: list[tuple[str, str]] = [("Id", code(applied.id)), ("File", code(applied.source))]
    head.append(("Digest", join(["SHA-256 ", digits(applied.digest.removeprefix("sha256:"))])))
    if document.get("description"):
        head.append(("Description", outside(str(document["description"]), _TEXT_MAX)))
    head += [("Unsafe", join([code(key), f": {told}"])) for key, told in _UNSAFE.items() if document.get(key)]
    return section(
        "policy", "The policy applied", pairs(head), _references(document), _asked(document), _whole(document)
    )


def _references(document: dict[str, Any]) -> Markup:
    of = columns("PCR", "reference value", "label")
    rows = list(_reference_rows(document))
    if not rows:
        return element("p", "The policy names no PCR.")
    shown = fit(rows, _SIZE)
    cut = "" if len(shown) == len(rows) else f" The first {number(len(shown))} of {number(len(rows))} are shown."
    return table("references", f"PCRs that must be signed, and the values they may have.{cut}", of, shown)


def _reference_rows(document: dict[str, Any]) -> Iterator[Markup]:
    of = columns("PCR", "reference value", "label")
    for bank, indices in document.get("pcrs", {}).items():
        for index, values in indices.items():
            name = join([code(f"{bank}:{index}", 20), element("br"), element("small", meaning(index))])
            if not isinstance(values, list):
                yield row(of, [name, "any value, but signed", ""])
                continue
            for one in values:
                yield row(of, [name, digits(str(one.get("value", ""))), outside(str(one.get("label") or ""))])


def _asked(document: dict[str, Any]) -> Markup:
    """Everything else that the policy says, as key and values."""
    of = columns("key", "value")
    flat = (pair for key, value in document.items() if key not in _APART for pair in _flat(key, value))
    rows = fit((row(of, [code(key), code(text, _TEXT_MAX)]) for key, text in flat), _SIZE)
    return table("asked", "What else the policy says, defaults written out", of, rows)


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}", inner)
    elif isinstance(value, list):
        yield key, ", ".join(one if isinstance(one, str) else json.dumps(one) for one in value)
    else:
        yield key, value if isinstance(value, str) else json.dumps(value)


def _whole(document: dict[str, Any]) -> Markup:
    raw = json.dumps(document, sort_keys=True, separators=(",", ":"))
    text = escape(raw[:_DOCUMENT_MAX])  # never shorter than what it stands for
    if len(raw) > _DOCUMENT_MAX or len(text) > _DOCUMENT_MAX:
        return element("p", "The policy as JSON is too long for this page; nomyo-attest policy show prints it.")
    told = element("p", "The digest is the SHA-256 of exactly these characters, without a line end.")
    return fold("The policy as JSON", told, element("pre", element("code", text), tabindex=0))
