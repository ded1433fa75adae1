"""A small valid policy, and a hypothesis strategy for all policies."""

from __future__ import annotations

import copy
from typing import Any, Final

from hypothesis import strategies as st

from nomyo_attest.rules import RULE_TABLE

Json = dict[str, Any]

ZEROS: Final = "00" * 32
SMALL: Final[Json] = {"format": "nomyo-attest-policy/1", "id": "small", "pcrs": {"sha256": {"0": [ZEROS]}}}
SIZES: Final = {
    "sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64, "sm3_256": 32, "sha3_256": 32, "sha3_384": 48, "sha3_512": 64,
}  # fmt: skip
SOFT: Final = tuple(row.id for row in RULE_TABLE if not row.core and row.id != "claims.*")
TIMED: Final = tuple(row.id for row in RULE_TABLE if row.temporary_warning)
CORE: Final = tuple(row.id for row in RULE_TABLE if row.core)


def small(**changes: Any) -> Json:
    """Return the small policy with changed keys; None removes a key."""
    document = copy.deepcopy(SMALL)
    document.update(changes)
    return {key: value for key, value in document.items() if value is not None}


def hex_of(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).flatmap(
        lambda value: st.sampled_from([value.hex(), value.hex().upper()])
    )


def references(size: int) -> st.SearchStrategy[Any]:
    """Generate the reference values of a PCR."""
    bare = hex_of(size)
    labelled = st.fixed_dictionaries({"value": bare}, optional={"label": st.text(max_size=8)})
    values = st.lists(
        bare | labelled,
        min_size=1,
        max_size=4,
        unique_by=lambda one: (one["value"] if isinstance(one, dict) else one).lower(),
    )
    return st.just("any") | values


indices = st.integers(0, 23).map(str)
banks = st.fixed_dictionaries(
    {},
    optional={bank: st.dictionaries(indices, references(size), min_size=1, max_size=4) for bank, size in SIZES.items()},
)
name_hex = st.one_of(*(hex_of(size).map(lambda digest, alg=alg: alg + digest) for alg, size in (  # type: ignore[misc]
    ("000b", 32), ("000c", 48), ("000d", 64), ("0004", 20),
)))  # fmt: skip
aik_labels = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=60)
hashes = st.lists(st.sampled_from(sorted(SIZES)), min_size=1, unique=True)
words = st.sampled_from(["required", "warn", "ignore"])
paths = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,5}", fullmatch=True), min_size=1, max_size=3).map(".".join)
claim_values = st.lists(
    st.text(max_size=8) | st.booleans() | st.integers(-(2**63), 2**63 - 1),
    min_size=1,
    max_size=4,
    unique_by=lambda value: (type(value), value),
)
keys = st.fixed_dictionaries(
    {},
    optional={
        "hierarchy": st.lists(st.sampled_from(["endorsement", "owner", "platform", "null"]), min_size=1, unique=True),
        "rsa_min_bits": st.integers(2048, 16384),
        "trust": st.sampled_from(["self_asserted", "pinned_aik"]),
        "pinned": st.lists(
            name_hex | st.fixed_dictionaries({"name": name_hex}, optional={"label": aik_labels}),
            min_size=1,
            max_size=3,
            unique_by=lambda one: (one["name"] if isinstance(one, dict) else one).lower(),
        ),
    },
)
offsets = st.sampled_from(["Z", "+00:00", "+02:00", "-11:30"])
times = st.builds(
    lambda year, month, day, hour, offset: f"{year:04}-{month:02}-{day:02}T{hour:02}:30:00{offset}",
    st.integers(2000, 2099), st.integers(1, 12), st.integers(1, 28), st.integers(0, 23), offsets,
)  # fmt: skip


ASKED_BY: Final = {"key.hierarchy": ("key", "hierarchy"), "firmware.version": ("firmware", "versions")}


def asked(rule: str, document: Json) -> bool:
    """Return whether a policy has a value for a rule to compare with."""
    if rule == "policy.period":
        return "valid_from" in document
    if rule in ASKED_BY:
        table, key = ASKED_BY[rule]
        return key in document.get(table, {})
    return True


def pruned(document: Json) -> Json:
    """Remove invalid rules: for a claim that is not listed, required without a value to compare with, ignored although
    only a warning is allowed, or a temporary warning without an end.
    """
    free = ("pcr.values",) if document.get("unsafe_accept_any_pcrs") else ()
    rules = {
        rule: word
        for rule, word in document.get("rules", {}).items()
        if (not rule.startswith("claims.") or rule == "claims.*" or rule[7:] in document.get("claims", {}))
        and (word != "required" or asked(rule, document))
        and (
            rule not in TIMED
            or rule in free
            or word == "required"
            or (word == "warn" and "unsafe_warn_until" in document)
        )
    }
    return {**document, "rules": rules}


def usable(document: Json) -> bool:
    """Return whether a document that the schema accepts is a valid policy."""
    pinned = any(given != "any" for bank in document.get("pcrs", {}).values() for given in bank.values())
    key = document.get("key", {})
    if key.get("trust") == "pinned_aik" and "pinned" not in key:
        return False
    return bool(document.get("unsafe_accept_any_pcrs")) or pinned


one_line = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20)
softened = st.sampled_from(SOFT) | paths.map(lambda path: f"claims.{path}") | st.just("claims.*")
some_policies = (
    st.fixed_dictionaries(
        {"format": st.just("nomyo-attest-policy/1"), "id": one_line},
        optional={
            "description": st.text(st.characters(codec="utf-8"), max_size=20),
            "pcrs": banks,
            "key": keys,
            "signature": st.fixed_dictionaries({}, optional={"hashes": hashes}),
            "bank": st.fixed_dictionaries({}, optional={"hashes": hashes}),
            "firmware": st.fixed_dictionaries(
                {}, optional={"versions": st.lists(st.integers(0, 2**64 - 1).map(hex), min_size=1, unique=True)}
            ),
            "claims": st.dictionaries(paths, claim_values, max_size=3),
            "rules": st.dictionaries(softened, words),
            "unsafe_any_nonce": st.booleans(),
            "unsafe_accept_any_pcrs": st.booleans(),
            "valid_from": times,
            "unsafe_warn_until": times,
        },
    )
    .map(pruned)
    .filter(usable)
)
