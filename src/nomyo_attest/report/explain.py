"""Explain an attestation result: which findings are the reason for the verdict, with which values, and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any, Final

import msgspec

from nomyo_attest.appraisal import AttestationResult, Finding, Outcome, Verdict
from nomyo_attest.appraisal.rules import consequences
from nomyo_attest.policy.model import AppraisalPolicy, Requirement
from nomyo_attest.report.formatting import Digests, Ink, TextStyle, count, digests, excerpt, sanitize, sentence
from nomyo_attest.rules import ValueStyle, rule_facts
from nomyo_attest.tpm.constants import specification_name

VERDICT_INKS: Final[dict[Verdict, Ink]] = {
    Verdict.AFFIRMING: "good",
    Verdict.WARNING: "warn",
    Verdict.CONTRAINDICATED: "bad",
    Verdict.NONE: "bad",
}

TAGS: Final[Mapping[tuple[Outcome, Requirement], tuple[str, Ink]]] = {
    (Outcome.FAIL, Requirement.REQUIRED): ("FAIL", "bad"),
    (Outcome.UNDECIDED, Requirement.REQUIRED): ("UNDECIDED", "bad"),
    (Outcome.FAIL, Requirement.WARN): ("WARNING", "warn"),
    (Outcome.UNDECIDED, Requirement.WARN): ("WARNING", "warn"),
    (Outcome.FAIL, Requirement.IGNORE): ("ignored", "dim"),
    (Outcome.UNDECIDED, Requirement.IGNORE): ("ignored", "dim"),
}
"""The word before a rule that does not hold or is undecided, and its color."""

TEST_KEY: Final = (
    "signed by a test key known to everybody (the soft TPM of nomyo_attest.testing made it); it is evidence of no "
    "machine"
)
"""How reports describe evidence for which `AttestationResult.test_key` is set."""

_VERDICT_WIDTH: Final = max(len(verdict.value) for verdict in Verdict)
_POLICY_ID_MAX: Final = 40
_INDENT: Final = 4
_NAMES_MAX: Final = 3
_LABEL: Final = 12
"""Columns before a finding's rows, and of the names of those. With them a SHA-256 digest just fits into 80."""

_RULE_WIDTH: Final = 18
"""Columns of the longest rule id but those of claims."""

Labels = Mapping[str, Mapping[bytes, str]]
"""PCR, such as ``"sha256:7"`` → reference value → its label."""


# ---- reasons


class Reasons(msgspec.Struct, frozen=True):
    """The findings that do not hold, sorted by what they mean for a reader; each group in the order of the table.

    Attributes:
        failed: required, and do not hold.
        undecided: required, and undecided for a reason of their own.
        softened: do not hold, or are undecided, and the policy makes that a warning.
        consequences: undecided because another rule does not hold or is undecided.
        ignored: do not hold, or are undecided, and the policy ignores that.
    """

    failed: tuple[Finding, ...]
    undecided: tuple[Finding, ...]
    softened: tuple[Finding, ...]
    consequences: tuple[Finding, ...]
    ignored: tuple[Finding, ...]


def reasons(result: AttestationResult) -> Reasons:
    """Sort the findings of `result`."""
    return sort_findings(result.findings)


def sort_findings(findings: Iterable[Finding]) -> Reasons:
    """Sort findings of any origin: of a result, or of the row that an audit made of one."""
    findings = [finding for finding in findings if finding.outcome is not Outcome.PASS]
    following = consequences(
        undecided={finding.rule for finding in findings if finding.outcome is Outcome.UNDECIDED},
        failed={finding.rule for finding in findings if finding.outcome is Outcome.FAIL},
        ignored={finding.rule for finding in findings if finding.requirement is Requirement.IGNORE},
    )

    def of(requirement: Requirement, *outcomes: Outcome, follows: bool = False) -> tuple[Finding, ...]:
        return tuple(
            one
            for one in findings
            if one.requirement is requirement and one.outcome in outcomes and (one.rule in following) is follows
        )

    fail, undecided = Outcome.FAIL, Outcome.UNDECIDED
    return Reasons(
        failed=of(Requirement.REQUIRED, fail),
        undecided=of(Requirement.REQUIRED, undecided),
        softened=of(Requirement.WARN, fail, undecided),
        consequences=of(Requirement.REQUIRED, undecided, follows=True) + of(Requirement.WARN, undecided, follows=True),
        ignored=of(Requirement.IGNORE, fail, undecided) + of(Requirement.IGNORE, undecided, follows=True),
    )


# ---- values


def _attributes(value: Any) -> str:
    if not isinstance(value, (list, tuple)):
        return str(value)
    return ", ".join(map(str, value)) or "none"


def _claim(value: Any) -> str:
    """As JSON, so that the text "true" is not taken for the truth value."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return " or ".join(excerpt(json.dumps(one, ensure_ascii=False)) for one in values)


def _period(value: Any) -> str:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return str(value)
    start, end = value
    return " ".join([f"from {start}"] * bool(start) + [f"until {end}"] * bool(end))


_STYLES: Final[Mapping[ValueStyle, Callable[[Any], str]]] = {
    ValueStyle.FLAGS: _attributes,
    ValueStyle.PERIOD: _period,
}
"""How values are formatted that say more than their type does."""


def _style(rule: str) -> ValueStyle:
    try:
        return rule_facts(rule).style
    except KeyError:  # of a store that another version made
        return ValueStyle.PLAIN


def value_text(rule: str, value: Any, written: Digests | None = None) -> str:
    """One value of a finding as one line of sanitized text; `written` has the digests as they are cut."""
    if value is None:
        return "nothing"
    style = _style(rule)
    if style is ValueStyle.JSON:
        return _claim(value)
    if style in _STYLES:
        return excerpt(_STYLES[style](value))
    if isinstance(value, bytes):
        return (written or {}).get(value) or value.hex() or "no bytes"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, IntEnum):
        return specification_name(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (list, tuple)):
        joint = " or " if style is ValueStyle.CHOICE else ", "
        return joint.join(value_text(rule, one, written) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{excerpt(str(key))} = {value_text(rule, one, written)}" for key, one in value.items())
    return excerpt(str(value))


# ---- text


def head_text(name: str, result: AttestationResult, style: TextStyle, *, name_width: int = 0) -> str:
    """The first line: file, verdict, policy, trust. With `name_width` it is a row of a table."""
    verdict = result.verdict.value
    name, shown = sanitize(name).ljust(name_width), verdict.ljust(_VERDICT_WIDTH if name_width else 0)
    policy = f"policy {excerpt(result.policy_id, _POLICY_ID_MAX)} ({result.policy_digest[:11]}…)"
    trust = f"AIK trust: {result.trust.value}" if result.aik_name else "AIK trust: no AIK"
    first = f"{name}   {shown}   "
    line = f"{first}{policy}   {trust}"
    if style.terminal and len(line) > style.width:
        hang = " " * (len(first) if len(first) + len(policy) <= style.width else _INDENT)
        first = first if len(hang) == len(first) else f"{first.rstrip()}\n{hang}"
        line = f"{first}{policy}\n{hang}{trust}"
    at = len(name) + 3
    return f"{line[:at]}{style.paint(verdict, VERDICT_INKS[result.verdict])}{line[at + len(verdict) :]}"


def body_text(result: AttestationResult, policy: AppraisalPolicy, style: TextStyle) -> str:
    """What does not hold, failures first, and what to do; empty if all holds. With `style.verbose` every finding.

    `policy` is the one that `result` was made with: it knows the labels of the reference values.
    """
    labels = {pcr.place: {one.value: one.label for one in pcr.values} for pcr in policy.pcrs}
    if not style.verbose:
        return "\n\n".join(_reasons(result, labels, style))
    parts = ["\n".join(style.pairs(_facts(result)))]
    waiting = {finding.rule for finding in reasons(result).consequences}
    holding: list[str] = []
    for finding in result.findings:
        if finding.outcome is Outcome.PASS:
            holding += _holding(finding, labels, style)
        else:
            parts.append(_finding(finding, labels, style, waits=finding.rule in waiting))
    return "\n\n".join([*parts, *(["\n".join(holding)] if holding else [])])


def _reasons(result: AttestationResult, labels: Labels, style: TextStyle) -> list[str]:
    found = reasons(result)
    parts = [
        _finding(one, labels, style)
        for one in (*found.failed, *(() if found.failed else found.undecided), *found.softened)
    ]
    brief = []
    if found.failed and found.undecided:
        named = [f"{one.rule} ({excerpt(one.message)})" for one in found.undecided]
        brief += style.wrap("; ".join(named), "  not decided either: ", " " * _INDENT)
    if found.consequences:
        named = [one.rule for one in found.consequences]
        lines = style.wrap(", ".join(named), "  not decided because of this: ", " " * _INDENT)
        if len(lines) > 2:
            lines = style.wrap(
                f"not decided because of this: {count(len(named), 'other rule')} (--verbose names them)", "  "
            )
        brief += lines
    if found.ignored:
        named = [one.rule for one in found.ignored]
        brief += style.wrap(", ".join(named), "  ignored, as the policy says: ", " " * _INDENT)
    return [*parts, "\n".join(brief)] if brief else parts


def _facts(result: AttestationResult) -> list[tuple[str, str]]:
    """What the first line has no room for."""
    facts = [
        ("policy", excerpt(result.policy_id)),
        ("", result.policy_digest),
        ("payload id", excerpt(result.payload_id) if result.payload_id is not None else "none is known"),
        ("appraised", result.appraised_at or "at no given time: the policy has no period"),
        ("AIK", result.aik_name or "not known"),
    ]
    if result.aik_name:
        primary = f"a primary key of the {result.hierarchy} hierarchy"
        facts.append(("", primary if result.hierarchy else "not known to be a primary key of any hierarchy"))
    return facts


def _holding(finding: Finding, labels: Labels, style: TextStyle) -> list[str]:
    """A rule that holds, with what it holds for; PCR values with the labels of the references they match."""
    if finding.rule == "pcr.values" and isinstance(finding.got, dict):
        lines = [f"  holds  {finding.rule}"]
        for place, value in finding.got.items():
            lines += _row(place, value_text(finding.rule, value), style)
            label = sanitize(labels.get(place, {}).get(value, ""))
            if label:
                lines += _row("", label, style)
        return lines
    return style.beside(f"  holds  {finding.rule.ljust(_RULE_WIDTH)}  ", value_text(finding.rule, finding.got))


def _finding(finding: Finding, labels: Labels, style: TextStyle, *, waits: bool = False) -> str:
    """A rule that does not hold or is undecided. One that `waits` for another has no remediation of its own."""
    tag, ink = TAGS[finding.outcome, finding.requirement]
    lines = [f"  {style.paint(tag, ink)}  {style.paint(sanitize(finding.rule), 'bold')}"]
    lines += _row("problem", sentence(excerpt(finding.message)), style)
    if waits:
        return "\n".join(lines)
    lines += _row("field", finding.field, style)
    if finding.rule == "pcr.values" and isinstance(finding.expected, dict) and isinstance(finding.got, dict):
        lines += _pcr_rows(finding.expected, finding.got, labels, style)
    else:
        written = digests((v for v in (finding.expected, finding.got) if isinstance(v, bytes)), whole=style.verbose)
        if finding.expected is not None:
            lines += _row("expected", value_text(finding.rule, finding.expected, written), style)
        if finding.got is not None:
            lines += _row("got", value_text(finding.rule, finding.got, written), style)
    lines += _row("what to do", sentence(finding.remediation), style)
    return "\n".join(lines)


def _row(name: str, text: str, style: TextStyle) -> list[str]:
    return style.wrap(text, f"{' ' * _INDENT}{name.ljust(_LABEL)}")


def _pcr_rows(expected: Mapping[str, Any], got: Mapping[str, Any], labels: Labels, style: TextStyle) -> list[str]:
    """Reference values and value of each PCR below each other, the references with their labels."""
    lines = []
    for place, references in expected.items():
        known = references if isinstance(references, (list, tuple)) else ()
        value = got.get(place)
        written = digests([*known, *([] if value is None else [value])], whole=style.verbose)
        lines += _row(place, "", style)
        name = "  expected"
        for reference in known:
            label = sanitize(labels.get(place, {}).get(reference, ""))
            lines += _row(name, f"{written[reference]}  {label}" if not style.verbose else written[reference], style)
            if style.verbose and label:
                lines += _row("", label, style)
            name = "  or"
        if not known:
            lines += _row(name, "any value, but signed", style)
        lines += _row("  got", "not signed" if value is None else written[value], style)
    return lines


def summary_text(counts: Mapping[str, int]) -> str:
    """How many files came to which verdict, on one line; empty for a single file."""
    total = sum(counts.values())
    if total < 2:
        return ""
    return f"{count(total, 'file')}: " + ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def test_keys_text(names: Sequence[str], style: TextStyle) -> str:
    """Which of these files the soft TPM made; empty if none."""
    if not names:
        return ""
    shown = ", ".join(excerpt(name) for name in names[:_NAMES_MAX])
    more = f" and {count(len(names) - _NAMES_MAX, 'more file')}" if len(names) > _NAMES_MAX else ""
    return "\n".join(style.wrap(f"Test evidence: {shown}{more}: {TEST_KEY}."))


def limits_text(results: Sequence[AttestationResult], style: TextStyle) -> str:
    """What these results do not establish; empty if there are none. Without `style.verbose` only of those that pass."""
    if not style.verbose:
        results = [one for one in results if one.verdict in (Verdict.AFFIRMING, Verdict.WARNING)]
    limits = list(dict.fromkeys(limit for one in results for limit in one.not_established))
    if not limits:
        return ""
    if style.verbose:
        lines = ["Not established, whatever the verdict:"]
        for limit in limits:
            lines += style.wrap(limit, "  - ")
        return "\n".join(lines)
    brief = "; ".join(f"{limit[:1].lower()}{limit[1:].partition(':')[0]}" for limit in limits)
    return "\n".join(style.wrap(f"Not established (--verbose says why): {brief}."))
