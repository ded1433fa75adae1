"""Format a policy as a table, and the remarks of `policy check` as text or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from nomyo_attest.policy.lint import Remark, Weight, validity
from nomyo_attest.policy.model import AppraisalPolicy, Trust
from nomyo_attest.policy.pcr_meanings import MEANINGS
from nomyo_attest.report.formatting import Ink, TextStyle, count, excerpt, firmware_version, sanitize, sentence

CHECK_FORMAT: Final = "nomyo-attest-policy-check/1"

UNSAFE_EFFECTS: Final = {
    "unsafe_any_nonce": "a quote made for any other request is accepted",
    "unsafe_accept_any_pcrs": "a policy without reference values may be used",
    "unsafe_warn_until": "until then, evidence that fails the rules listed below as warnings is accepted",
}
"""Unsafe key of a policy → its effect."""

_INKS: Final[dict[Weight, Ink]] = {Weight.WARNING: "warn", Weight.NOTE: "dim"}


def policy_text(policy: AppraisalPolicy, style: TextStyle) -> str:
    """Format `policy` as a table, without a final newline: reference values first, then its other requirements."""
    lines = [style.paint(f"policy {sanitize(policy.id)}", "bold")]
    if policy.description:
        lines += style.wrap(excerpt(policy.description, 2000), "  ")
    rows = [("digest", policy.digest), ("file", sanitize(policy.source))]
    if policy.valid_from or policy.valid_until:
        rows.append(("period", " ".join(_period(policy))))
    lines += ["", *style.pairs(rows), "", style.paint("PCRs", "bold"), *_pcrs(policy, style)]
    lines += ["", style.paint("Other requirements", "bold"), *style.pairs(_other_requirements(policy))]
    if policy.unsafe_any_nonce or policy.unsafe_accept_any_pcrs or policy.unsafe_warn_until:
        lines += ["", style.paint("Unsafe", "bad")]
        keys = ("unsafe_any_nonce", "unsafe_accept_any_pcrs")
        unsafe = [(key, UNSAFE_EFFECTS[key]) for key in keys if getattr(policy, key)]
        if policy.unsafe_warn_until:
            effect = f"until {policy.unsafe_warn_until.isoformat()}: {', '.join(policy.warned) or 'no rule'} only warns"
            unsafe.append(("unsafe_warn_until", effect))
        lines += style.pairs(unsafe)
    return "\n".join(lines)


def _period(policy: AppraisalPolicy) -> Iterable[str]:
    if policy.valid_from:
        yield f"from {policy.valid_from.isoformat()}"
    if policy.valid_until:
        yield f"until {policy.valid_until.isoformat()}"


def _pcrs(policy: AppraisalPolicy, style: TextStyle) -> list[str]:
    if not policy.pcrs:
        return ["  none"]
    lines: list[str] = []
    for pcr in policy.pcrs:
        lines += style.wrap(MEANINGS[pcr.index], f"  {pcr.place}  ")
        for reference in pcr.values:
            lines += style.beside("    ", reference.value.hex())
            if reference.label:
                lines += style.wrap(excerpt(reference.label), "      ")
        if not pcr.values:
            lines.append("    any signed value")
    return lines


def _other_requirements(policy: AppraisalPolicy) -> list[tuple[str, str]]:
    rows = [
        ("AIK hierarchy", " or ".join(policy.hierarchies) or "not checked"),
        (
            "AIK trust",
            policy.trust.value + ("; the AIK has no certificate" if policy.trust is Trust.SELF_ASSERTED else ""),
        ),
        ("RSA keys", f"{policy.rsa_min_bits} bits or more"),
        ("signature hashes", ", ".join(policy.signature_hashes)),
        ("bank hashes", ", ".join(policy.bank_hashes)),
    ]
    for name in sorted(policy.pinned):
        rows.append(("pinned AIK", name.hex()))
        if label := policy.pinned_labels.get(name):
            rows.append(("", excerpt(label)))
    if policy.firmware_versions:
        rows.append(("TPM firmware", " or ".join(map(firmware_version, sorted(policy.firmware_versions)))))
    for path, values in policy.claims.items():
        rows.append((f"claim {path}", " or ".join(excerpt(_json_text(value)) for value in values)))
    rows += [(f"rule {rule}", requirement.value) for rule, requirement in sorted(policy.rules.items())]
    return [*rows, *_without_label(policy)]


_LABELED: Final = frozenset({
    "format", "id", "description", "pcrs", "valid_from", "valid_until", "claims", "rules", "key.hierarchy", "key.trust",
    "key.rsa_min_bits", "key.pinned", "signature.hashes", "bank.hashes", "firmware.versions", "unsafe_warn_until",
    "unsafe_any_nonce", "unsafe_accept_any_pcrs",
})  # fmt: skip
"""The keys of a policy for which the table has a label."""


def _without_label(policy: AppraisalPolicy) -> Iterator[tuple[str, str]]:
    """Yield all keys of a policy that have no label, with their values as JSON, so that the table is complete."""
    for key, value in policy.to_dict().items():
        inner = {key: value} if key in _LABELED or not isinstance(value, dict) else value
        for name, inner_value in inner.items():
            path = key if inner is not value else f"{key}.{name}"
            if path not in _LABELED:
                yield path, excerpt(_json_text(inner_value))


def _json_text(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def check_document(policy: AppraisalPolicy, remarks: Iterable[Remark]) -> dict[str, Any]:
    """Return the remarks on `policy` as JSON-compatible values."""
    return {
        "format": CHECK_FORMAT,
        "policy": {"id": policy.id, "digest": policy.digest, "source": policy.source},
        "remarks": [
            {"weight": remark.weight.value, "where": remark.where, "problem": remark.problem, "hint": remark.hint}
            for remark in remarks
        ],
    }


def check_text(policy: AppraisalPolicy, remarks: Iterable[Remark], style: TextStyle, now: datetime) -> str:
    """Format the remarks on `policy` as of `now`, without a final newline."""
    remarks = list(remarks)
    lines = [
        f"{sanitize(policy.source)}   {validity(policy, now)}   policy {excerpt(policy.id, 40)}",
        f"  {policy.digest}",
    ]
    for remark in remarks:
        weight = remark.weight.value
        body = style.wrap(sanitize(remark.where), f"  {weight.ljust(9)}")
        lines += ["", body[0].replace(weight, style.paint(weight, _INKS[remark.weight]), 1), *body[1:]]
        lines += style.wrap(sentence(sanitize(remark.problem)), " " * 11)
        if remark.hint:
            lines += style.wrap(sentence(remark.hint), " " * 11)
    numbers = [count(sum(remark.weight is weight for remark in remarks), weight.value) for weight in Weight]
    return "\n".join([*lines, "", ", ".join(numbers)])
