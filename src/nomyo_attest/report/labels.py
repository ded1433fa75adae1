"""Look up the labels that a policy gives to reference values and to pinned AIKs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nomyo_attest.report.document import Aik


def pcr_labels(policy: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return PCR, such as ``"sha256:7"`` → reference value in hex → its label, empty if it has no label.

    Args:
        policy: the document of a policy, as `AppraisalPolicy.to_dict` returns it.
    """
    return {
        f"{bank}:{index}": {reference.get("value", ""): reference.get("label") or "" for reference in values}
        for bank, indices in policy.get("pcrs", {}).items()
        for index, values in indices.items()
        if isinstance(values, list)
    }


def pinned_aiks(policy: Mapping[str, Any]) -> Iterator[Aik]:
    """Yield the AIKs that a policy pins, in the order of its document, with their labels."""
    for entry in policy.get("key", {}).get("pinned", ()):
        table = entry if isinstance(entry, dict) else {"name": entry}
        yield Aik(str(table.get("name", "")), str(table.get("label") or ""))


def aik_labels(policy: Mapping[str, Any]) -> dict[str, str]:
    """Return the Name of each pinned AIK in hex → its label, empty if it has no label."""
    return {aik.name: aik.label for aik in pinned_aiks(policy)}
