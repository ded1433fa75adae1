"""What a rule expected and what it got, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from nomyo_attest.appraisal import Finding
from nomyo_attest.report.formatting import sentence
from nomyo_attest.report.html.markup import Markup, element, join
from nomyo_attest.report.html.tables import pairs
from nomyo_attest.report.html.wording import code, digits, outside
from nomyo_attest.report.values import value_text

_VALUE_MAX: Final = 400
_REFERENCES_MAXIMUM: Final = 4
_PLACES_MAXIMUM: Final = 6

Labels = Mapping[str, Mapping[str, str]]
"""PCR, such as ``"sha256:7"`` → reference value in hex → its label."""


def labels_of(document: Mapping[str, Any]) -> Labels:
    """The labels of a policy's reference values."""
    return {
        f"{bank}:{index}": {one.get("value", ""): one.get("label") or "" for one in values}
        for bank, indices in document.get("pcrs", {}).items()
        for index, values in indices.items()
        if isinstance(values, list)
    }


def compared(finding: Finding, labels: Labels) -> Markup:
    """The two values of a finding; empty if it has none."""
    if finding.rule == "pcr.values" and isinstance(finding.expected, dict) and isinstance(finding.got, dict):
        return pairs(_pcrs(finding.expected, finding.got, labels))
    rows: list[tuple[str, str]] = []
    if finding.expected is not None:
        rows.append(("expected", _value(finding.rule, finding.expected, finding.got)))
    if finding.got is not None:
        rows.append(("got", _value(finding.rule, finding.got, finding.expected)))
    return pairs(rows) if rows else Markup()


def _value(rule: str, value: Any, other: Any) -> Markup:
    if _is_hex(value) and not rule.startswith("claims."):
        return digits(value, other if _is_hex(other) and len(other) == len(value) else None, _VALUE_MAX)
    return code(value_text(rule, value), _VALUE_MAX)


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and 16 <= len(value) <= _VALUE_MAX and not set(value) - set("0123456789abcdef")


def _pcrs(expected: dict[str, Any], got: dict[str, Any], labels: Labels) -> Iterable[tuple[str, str]]:
    """Reference values and value of each PCR below each other."""
    for place, references in list(expected.items())[:_PLACES_MAXIMUM]:
        known = [one for one in references if isinstance(one, str)] if isinstance(references, list) else []
        value = got.get(place)
        value = value if isinstance(value, str) else None
        for at, reference in enumerate(known[:_REFERENCES_MAXIMUM]):
            label = labels.get(place, {}).get(reference, "")
            named = join([" ", code(label, 80)]) if label else ""
            name = join([code(place, 20), " or" if at else " expected"])
            yield name, join([digits(reference, value), named])
        if len(known) > _REFERENCES_MAXIMUM:
            yield "", f"or one of {len(known) - _REFERENCES_MAXIMUM} more"
        if not known:
            yield join([code(place, 20), " expected"]), "any value, but signed"
        near = min(known, key=lambda one: _differing(one, value), default=None) if value else None
        yield join([code(place, 20), " got"]), "not signed" if value is None else digits(value, near)
    if len(expected) > _PLACES_MAXIMUM:
        yield "", f"and {len(expected) - _PLACES_MAXIMUM} more PCRs"


def _differing(one: str, other: str | None) -> int:
    return sum(a != b for a, b in zip(one, other or "", strict=False))


def told(finding: Finding, labels: Labels, tag: str, kind: str) -> Markup:
    """A finding in a table's cell: tag, rule, sentence, values."""
    head = element("span", tag, class_=f"v v-{kind}")
    return element(
        "div",
        head,
        " ",
        code(finding.rule),
        element("p", outside(sentence(finding.message), _VALUE_MAX)),
        compared(finding, labels),
    )
