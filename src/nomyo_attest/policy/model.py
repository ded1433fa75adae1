"""The appraisal policy as this library holds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import cached_property
from os import PathLike
from typing import Any, Final, Self

import msgspec

POLICY_FORMAT: Final = "nomyo-attest-policy/1"
STRONG_HASHES: Final = ("sha256", "sha384", "sha512")
"""The hashes allowed where a policy does not say: those of CNSA and BSI TR-02102 that TPMs have; SHA-1 is not among
them.
"""


class Trust(Enum):
    """How far an AIK is trusted; each level includes the ones before it.

    `SELF_ASSERTED`: the key came with the evidence and nothing vouches for it.
    `PINNED_AIK`: the policy names this very key.
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
    """What it means for the verdict when a rule does not hold."""

    REQUIRED = "required"
    WARN = "warn"
    IGNORE = "ignore"


class ReferenceValue(msgspec.Struct, frozen=True):
    """One value a PCR may have, with the label its owner gave it (``""`` for none)."""

    value: bytes
    label: str = ""


class PcrReference(msgspec.Struct, frozen=True):
    """What a policy says of one PCR: it must be signed, and its value be one of `values`; any if there are none."""

    bank: str
    index: int
    values: tuple[ReferenceValue, ...]

    @property
    def place(self) -> str:
        """``"sha256:7"``."""
        return f"{self.bank}:{self.index}"


class AppraisalPolicy:
    """An Appraisal Policy for Evidence (RFC 9334, 8.5). Load one with `load` or `from_dict`; it does not change
    afterwards.

    Attributes:
        id: the owner's name for the policy.
        description: the owner's words; may be empty.
        pcrs: one entry for each PCR the policy names, by bank and index.
        accepted: the same, as the checks want it: bank, index and the set of values allowed, empty for any.
        banks_relied_on: the banks that reference values stand in; weak_banks: those of them whose hash is not allowed.
        hierarchies: names of the hierarchies an AIK may be a primary key of; empty if the policy does not ask.
        rsa_min_bits: size in bits of the smallest RSA key allowed.
        trust: the trust the AIK must reach.
        pinned: Names of the AIKs the owner trusts.
        signature_hashes: hashes a signature may use.
        bank_hashes: hashes of the banks reference values may stand in.
        firmware_versions: values of `firmwareVersion` allowed; empty if the policy does not ask.
        claims: path in `_metadata` → values allowed.
        rules: rule id → requirement, for the rules the policy names.
        valid_from, valid_until: the period in which the policy may be used; None for no bound.
        unsafe_any_nonce: accept evidence whose payload id is lost.
        unsafe_accept_any_pcrs: accept a policy that pins no PCR value.
        source: the file it was loaded from, or ``"policy"``.
    """

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - the key's name in a policy file
        description: str = "",
        pcrs: tuple[PcrReference, ...] = (),
        hierarchies: tuple[str, ...] = (),
        rsa_min_bits: int = 2048,
        trust: Trust = Trust.SELF_ASSERTED,
        pinned: frozenset[bytes] = frozenset(),
        signature_hashes: tuple[str, ...] = STRONG_HASHES,
        bank_hashes: tuple[str, ...] = STRONG_HASHES,
        firmware_versions: frozenset[int] = frozenset(),
        claims: Mapping[str, tuple[str | int | bool, ...]] | None = None,
        rules: Mapping[str, Requirement] | None = None,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        unsafe_any_nonce: bool = False,
        unsafe_accept_any_pcrs: bool = False,
        source: str = "policy",
    ) -> None:
        self.id = id
        self.description = description
        self.pcrs = pcrs
        self.accepted = tuple((pcr.bank, pcr.index, frozenset(one.value for one in pcr.values)) for pcr in pcrs)
        self.banks_relied_on = tuple(sorted({pcr.bank for pcr in pcrs if pcr.values}))
        self.weak_banks = tuple(bank for bank in self.banks_relied_on if bank not in bank_hashes)
        self.hierarchies = hierarchies
        self.rsa_min_bits = rsa_min_bits
        self.trust = trust
        self.pinned = pinned
        self.signature_hashes = signature_hashes
        self.bank_hashes = bank_hashes
        self.firmware_versions = firmware_versions
        self.claims = dict(claims or {})
        self.rules = dict(rules or {})
        self.valid_from = valid_from
        self.valid_until = valid_until
        self.unsafe_any_nonce = unsafe_any_nonce
        self.unsafe_accept_any_pcrs = unsafe_accept_any_pcrs
        self.source = source

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Load a policy from a file whose name ends in ``.toml`` or ``.json``.

        Raises `PolicyError` for a policy that cannot be used, and `OSError` for a file that cannot be read.
        """
        from nomyo_attest.policy.load import load_file  # the loader builds on this model

        return load_file(cls, path)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Make a policy from a dict of the same shape as a policy file. Raises `PolicyError`."""
        from nomyo_attest.policy.load import from_document  # the loader builds on this model

        return from_document(cls, document)

    def to_dict(self) -> dict[str, Any]:
        """The policy in full, in the shape of a policy file: every default written out, digests in lower case, all
        sorted.
        """
        pcrs: dict[str, dict[str, Any]] = {}
        for pcr in self.pcrs:
            values = [{"value": one.value.hex(), "label": one.label} for one in pcr.values]
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
            document["key"]["pinned"] = sorted(name.hex() for name in self.pinned)
        if self.hierarchies:
            document["key"]["hierarchy"] = sorted(self.hierarchies)
        if self.firmware_versions:
            document["firmware"] = {"versions": [f"0x{version:016x}" for version in sorted(self.firmware_versions)]}
        for name, bound in (("valid_from", self.valid_from), ("valid_until", self.valid_until)):
            if bound:
                document[name] = bound.isoformat()
        return document

    @cached_property
    def digest(self) -> str:
        """``"sha256:"`` and the SHA-256, in hex, of `to_dict()` as JSON with sorted keys and no blanks.

        Layout, comments and the choice between TOML and JSON do not enter it; everything that is said does.
        """
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return "sha256:" + hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def __repr__(self) -> str:
        return f"<AppraisalPolicy {self.id!r} {self.digest[:19]}>"
