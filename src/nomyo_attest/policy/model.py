"""The appraisal policy: the requirements that evidence must meet to be affirmed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import partial
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar

import msgspec

from nomyo_attest.errors import PolicyError
from nomyo_attest.policy.load import check_document, parse_timestamp, read_document
from nomyo_attest.policy.toml import toml_path
from nomyo_attest.rules import rule_facts
from nomyo_attest.tpm.constants import HASH_TABLE

POLICY_FORMAT: Final = "nomyo-attest-policy/1"
STRONG_HASHES: Final = tuple(row.name for row in HASH_TABLE if row.strong)
"""The hashes allowed by default: those of CNSA and BSI TR-02102 that TPMs implement. SHA-1 is not among them."""

RSA_BITS_MINIMUM: Final = 2048
"""The lowest value that a policy may have for `rsa_min_bits` (NIST SP 800-131A, 3)."""


class Trust(Enum):
    """How far an AIK is trusted; each level includes the levels before it.

    `SELF_ASSERTED`: the key came with the evidence and has no certificate.
    `PINNED_AIK`: the policy lists this key.
    `CERTIFIED_AIK` is reserved: the protocol carries no certificate of an AIK.
    """

    SELF_ASSERTED = "self_asserted"
    PINNED_AIK = "pinned_aik"
    CERTIFIED_AIK = "certified_aik"

    def reaches(self, level: Trust) -> bool:
        """Whether this level is `level` or above."""
        order = list(Trust)
        return order.index(self) >= order.index(level)


class Requirement(Enum):
    """How a rule that does not hold affects the verdict."""

    REQUIRED = "required"
    WARN = "warn"
    IGNORE = "ignore"


class ReferenceValue(msgspec.Struct, frozen=True):
    """One accepted value of a PCR, with the label that the policy's owner gave it (``""`` for none)."""

    value: bytes
    label: str = ""


class PcrReference(msgspec.Struct, frozen=True):
    """A requirement on one PCR: it must be signed and have one of `values`, or any value if `values` is empty."""

    bank: str
    index: int
    values: tuple[ReferenceValue, ...]

    @property
    def place(self) -> str:
        """Bank and index, such as ``"sha256:7"``."""
        return f"{self.bank}:{self.index}"


_ATTRIBUTES: Final = {
    "key.hierarchy": "hierarchies",
    "firmware.versions": "firmware_versions",
    "valid_from": "valid_from",
    "valid_until": "valid_until",
    "claims": "claims",
}
"""Key of a policy file → the attribute of `AppraisalPolicy`, for the keys that enable a rule."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AppraisalPolicy:
    """An Appraisal Policy for Evidence (RFC 9334, 8.5). Immutable; create one with `load` or `from_dict`.

    Attributes:
        id: the owner's name for the policy.
        description: the owner's description; may be empty.
        pcrs: the requirements on PCRs, sorted by bank and index.
        hierarchies: the hierarchies in which an AIK may be a primary key; empty for any.
        rsa_min_bits: the minimum size of an RSA key in bits, 2048 or more.
        trust: the minimum trust in the AIK.
        pinned: Names of the AIKs that the owner trusts.
        pinned_labels: Name → the label that reports show for it, for the AIKs of `pinned` that have one. Labels are
            part of the digest and do not affect a verdict.
        signature_hashes: hashes that a signature may use.
        bank_hashes: hashes of the banks that may have reference values.
        firmware_versions: allowed values of `firmwareVersion`; empty for any.
        claims: path in `_metadata` → allowed values.
        rules: rule id → requirement, for the rules that the policy lists.
        valid_from: the time from which the policy is valid; None for no bound.
        valid_until: the time until which it is valid; None for no bound.
        unsafe_warn_until: when rules with `temporary_warning` that `rules` makes warnings become required again. None
            if there are none.
        unsafe_any_nonce: accept evidence whose payload id is unknown.
        unsafe_accept_any_pcrs: accept a policy that pins no PCR value.
        source: the file it was loaded from, or ``"policy"``.
        accepted: `pcrs` in the form that the checks use: bank, index and the set of allowed values, empty for any.
        banks_relied_on: the banks that have reference values.
        weak_banks: the banks in `banks_relied_on` whose hash is not allowed.
        rsa_expectation: the requirement on RSA keys, as text for findings.
        digest: ``"sha256:"`` and the SHA-256, in hex, of `to_dict()` as JSON with sorted keys and no spaces. It
            depends on every value, but not on formatting, comments, or whether the file is TOML or JSON.
    """

    id: str
    description: str = ""
    pcrs: tuple[PcrReference, ...] = ()
    hierarchies: tuple[str, ...] = ()
    rsa_min_bits: int = RSA_BITS_MINIMUM
    trust: Trust = Trust.SELF_ASSERTED
    pinned: frozenset[bytes] = frozenset()
    pinned_labels: Mapping[bytes, str] = field(default_factory=dict)
    signature_hashes: tuple[str, ...] = STRONG_HASHES
    bank_hashes: tuple[str, ...] = STRONG_HASHES
    firmware_versions: frozenset[int] = frozenset()
    claims: Mapping[str, tuple[str | int | bool, ...]] = field(default_factory=dict)
    rules: Mapping[str, Requirement] = field(default_factory=dict)
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    unsafe_warn_until: datetime | None = None
    unsafe_any_nonce: bool = False
    unsafe_accept_any_pcrs: bool = False
    source: str = "policy"
    accepted: tuple[tuple[str, int, frozenset[bytes]], ...] = field(init=False, repr=False)
    banks_relied_on: tuple[str, ...] = field(init=False, repr=False)
    weak_banks: tuple[str, ...] = field(init=False, repr=False)
    rsa_expectation: str = field(init=False, repr=False)
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Reject a policy that is weaker than it looks, and compute the derived attributes."""
        refuse_unsafe(self)
        prepare = partial(object.__setattr__, self)
        prepare("claims", MappingProxyType(dict(self.claims)))
        prepare("rules", MappingProxyType(dict(self.rules)))
        prepare("pinned_labels", MappingProxyType(dict(self.pinned_labels)))
        accepted = ((pcr.bank, pcr.index, frozenset(reference.value for reference in pcr.values)) for pcr in self.pcrs)
        prepare("accepted", tuple(accepted))
        prepare("banks_relied_on", tuple(sorted({pcr.bank for pcr in self.pcrs if pcr.values})))
        prepare("weak_banks", tuple(bank for bank in self.banks_relied_on if bank not in self.bank_hashes))
        prepare(
            "rsa_expectation", f"RSA of {self.rsa_min_bits} bits or more, exponent odd and ≥ 65537, not of ROCA form"
        )
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        prepare("digest", "sha256:" + hashlib.sha256(canonical.encode("ascii")).hexdigest())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the policy as its document, so that it is checked again when it is unpickled."""
        return type(self).from_dict, (self.to_dict(),)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Load a policy from a file whose name ends in ``.toml`` or ``.json``.

        Raises `PolicyError` for a policy that cannot be used, and `OSError` for a file that cannot be read.
        """
        return cls._from_document(read_document(path), str(Path(path)))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Build a policy from a dict with the structure of a policy file. Raises `PolicyError`."""
        return cls._from_document(document, "policy")

    @classmethod
    def _from_document(cls, document: object, source: str) -> Self:
        try:
            return _build(cls, check_document(document), source)
        except PolicyError as error:
            error.source = source
            raise

    def to_dict(self) -> dict[str, Any]:
        """Return the policy in the structure of a policy file: sorted, with every default, digests in lower case."""
        pcrs: dict[str, dict[str, Any]] = {}
        for pcr in self.pcrs:
            values = [{"value": reference.value.hex(), "label": reference.label} for reference in pcr.values]
            pcrs.setdefault(pcr.bank, {})[str(pcr.index)] = values or "any"
        document: dict[str, Any] = {
            "format": POLICY_FORMAT,
            "id": self.id,
            "description": self.description,
            "pcrs": pcrs,
            "key": {"rsa_min_bits": self.rsa_min_bits, "trust": self.trust.value},
            "signature": {"hashes": sorted(self.signature_hashes)},
            "bank": {"hashes": sorted(self.bank_hashes)},
            "claims": {path: list(values) for path, values in sorted(self.claims.items())},
            "rules": {rule: requirement.value for rule, requirement in sorted(self.rules.items())},
            "unsafe_any_nonce": self.unsafe_any_nonce,
            "unsafe_accept_any_pcrs": self.unsafe_accept_any_pcrs,
        }
        if self.pinned:
            document["key"]["pinned"] = [
                {"name": name.hex(), "label": self.pinned_labels[name]} if name in self.pinned_labels else name.hex()
                for name in sorted(self.pinned)
            ]
        if self.hierarchies:
            document["key"]["hierarchy"] = sorted(self.hierarchies)
        if self.firmware_versions:
            document["firmware"] = {"versions": [f"0x{version:016x}" for version in sorted(self.firmware_versions)]}
        for name in ("valid_from", "valid_until", "unsafe_warn_until"):
            bound: datetime | None = getattr(self, name)
            if bound:
                document[name] = bound.isoformat()
        return document

    def enables(self, rule_id: str) -> bool:
        """Whether this policy evaluates a rule: whether it has one of the keys in `enabled_by`, if there are any."""
        if rule_id.startswith("claims.") and rule_id != "claims.*":
            return rule_id.removeprefix("claims.") in self.claims
        keys = rule_facts(rule_id).enabled_by
        return not keys or any(getattr(self, _ATTRIBUTES[key]) for key in keys)

    @property
    def depends_on_time(self) -> bool:
        """Whether an appraisal by this policy needs to know the time."""
        return bool(self.valid_from or self.valid_until or self.unsafe_warn_until)

    @property
    def warned(self) -> tuple[str, ...]:
        """The rules that are warnings until `unsafe_warn_until`, sorted."""
        if not self.unsafe_warn_until:
            return ()
        warned = (rule for rule, requirement in self.rules.items() if requirement is Requirement.WARN)
        return tuple(sorted(rule for rule in warned if rule_facts(rule).temporary_warning))

    def __repr__(self) -> str:
        return f"<AppraisalPolicy {self.id!r} {self.digest[:19]}>"


P = TypeVar("P", bound=AppraisalPolicy)


def _build(policy_class: type[P], document: dict[str, Any], source: str) -> P:
    """Build the policy from a checked document. Raises `PolicyError`."""
    key = document.get("key", {})
    signature_hashes = tuple(document.get("signature", {}).get("hashes", STRONG_HASHES))
    bank_hashes = document.get("bank", {}).get("hashes", [*STRONG_HASHES, *signature_hashes])
    pinned, labels = _parse_pinned(key.get("pinned", ()))
    # A policy that pins AIKs requires a pinned AIK by default.
    trust = key.get("trust", (Trust.PINNED_AIK if pinned else Trust.SELF_ASSERTED).value)
    return policy_class(
        id=document["id"],
        description=document.get("description", ""),
        pcrs=tuple(_parse_references(document.get("pcrs", {}))),
        hierarchies=tuple(key.get("hierarchy", ())),
        rsa_min_bits=key.get("rsa_min_bits", RSA_BITS_MINIMUM),
        trust=Trust(trust),
        pinned=pinned,
        pinned_labels=labels,
        signature_hashes=signature_hashes,
        bank_hashes=tuple(dict.fromkeys(bank_hashes)),
        firmware_versions=frozenset(int(version, 16) for version in document.get("firmware", {}).get("versions", ())),
        claims={path: tuple(sorted(values, key=json.dumps)) for path, values in document.get("claims", {}).items()},
        rules={rule: Requirement(value) for rule, value in document.get("rules", {}).items()},
        valid_from=parse_timestamp(document, "valid_from"),
        valid_until=parse_timestamp(document, "valid_until"),
        unsafe_warn_until=parse_timestamp(document, "unsafe_warn_until", dates=True),
        unsafe_any_nonce=document.get("unsafe_any_nonce", False),
        unsafe_accept_any_pcrs=document.get("unsafe_accept_any_pcrs", False),
        source=source,
    )


def _parse_pinned(entries: Sequence[str | dict[str, str]]) -> tuple[frozenset[bytes], dict[bytes, str]]:
    """Parse `key.pinned`: the Names, and Name → label for the entries with a label. Raises `PolicyError`."""
    names: list[bytes] = []
    labels: dict[bytes, str] = {}
    for at, entry in enumerate(entries):
        table = entry if isinstance(entry, dict) else {"name": entry}
        name, label = bytes.fromhex(table["name"]), table.get("label", "")
        if name in names and (label or name in labels):  # without labels, one Name in two spellings is harmless
            where, first = f"key.pinned[{at}]", names.index(name)
            raise PolicyError(where, f"duplicate Name: key.pinned[{first}] pins it too", "list each Name once")
        if label:
            labels[name] = label
            if problem := _describe_label_problem(label):
                hint = "write one line of printable characters"
                raise PolicyError(f"key.pinned[{at}].label", problem, hint)
        names.append(name)
    return frozenset(names), labels


def _describe_label_problem(label: str) -> str:
    if not label.strip():
        return "the label has only spaces"
    unprintable = next((at for at, char in enumerate(label, 1) if not char.isprintable()), 0)
    return f"character {unprintable} is {label[unprintable - 1]!a}, which does not print" if unprintable else ""


def _parse_references(pcrs: dict[str, dict[str, Any]]) -> list[PcrReference]:
    references = []
    for bank, indices in sorted(pcrs.items()):
        for index, accepted in sorted(indices.items(), key=lambda item: int(item[0])):
            listed = [] if accepted == "any" else accepted
            entries = [entry if isinstance(entry, dict) else {"value": entry} for entry in listed]
            values = [ReferenceValue(bytes.fromhex(entry["value"]), entry.get("label", "")) for entry in entries]
            where = f"pcrs.{bank}.{index}"
            if len({reference.value for reference in values}) != len(values):
                raise PolicyError(where, "duplicate value", "list each value once")
            references.append(
                PcrReference(bank, int(index), tuple(sorted(values, key=lambda reference: reference.value)))
            )
    return references


def refuse_unsafe(policy: AppraisalPolicy) -> None:
    """Reject a policy that is weaker than it looks, unless an `unsafe_…` key allows that. Raises `PolicyError`."""
    if not policy.unsafe_accept_any_pcrs and not any(pcr.values for pcr in policy.pcrs):
        problem = "no PCR value is pinned, so every machine state would be accepted"
        hint = "pin a value, or write unsafe_accept_any_pcrs = true to accept every machine state"
        raise PolicyError("pcrs", problem, hint)
    if policy.rsa_min_bits < RSA_BITS_MINIMUM:
        problem = f"{policy.rsa_min_bits} is below the minimum of {RSA_BITS_MINIMUM} bits"
        raise PolicyError("key.rsa_min_bits", problem, f"write {RSA_BITS_MINIMUM} or more")
    if policy.trust is Trust.PINNED_AIK and not policy.pinned:
        raise PolicyError(
            "key.pinned", "trust is pinned_aik, but no AIK is pinned", "list the Names of the AIKs that you trust"
        )
    if policy.valid_from and policy.valid_until and policy.valid_from >= policy.valid_until:
        raise PolicyError("valid_until", "the period ends before it begins", "write a later time")
    for rule, requirement in policy.rules.items():
        try:
            rule_facts(rule)
        except KeyError:
            raise PolicyError(toml_path("rules", rule), "unknown rule", "nomyo-attest rules lists all rules") from None
        _refuse_without_time_limit(policy, rule, requirement)
        if rule != "claims.*" and rule.startswith("claims.") and not policy.enables(rule):
            raise PolicyError(
                toml_path("rules", rule),
                "[claims] does not contain this claim",
                "add it there, or remove the rule here",
            )
        if not policy.enables(rule) and requirement is Requirement.REQUIRED and rule != "claims.*":
            hint = f"write {' or '.join(rule_facts(rule).enabled_by)}, or remove the rule here"
            problem = "the rule is required, but the policy has no value for it to compare with"
            raise PolicyError(toml_path("rules", rule), problem, hint)


def _refuse_without_time_limit(policy: AppraisalPolicy, rule: str, requirement: Requirement) -> None:
    """Reject a rule with `temporary_warning` that is softened without a time limit. Raises `PolicyError`."""
    if not rule_facts(rule).temporary_warning or (rule == "pcr.values" and policy.unsafe_accept_any_pcrs):
        return
    where, limit = toml_path("rules", rule), "unsafe_warn_until = YYYY-MM-DD above the first [table]"
    if requirement is Requirement.IGNORE:
        hint = f'remove it; to see first which evidence the rule would reject, write "warn" here and {limit}'
        raise PolicyError(where, "this rule cannot be ignored", hint)
    if requirement is Requirement.WARN and not policy.unsafe_warn_until:
        hint = (
            f"remove it; to see first which evidence the rule would reject, write {limit}; from then on it is required"
        )
        raise PolicyError(where, "this rule can be a warning only for a limited time", hint)
