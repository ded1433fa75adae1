"""Policy file → `AppraisalPolicy`: TOML or JSON, judged by the schema, then by what a schema cannot say."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nomyo_attest.errors import PolicyError
from nomyo_attest.evidence.content import wrong_encoding
from nomyo_attest.evidence.strict_json import check_containers
from nomyo_attest.policy.model import STRONG_HASHES, AppraisalPolicy, PcrReference, ReferenceValue, Requirement, Trust
from nomyo_attest.policy.schema import first_problem
from nomyo_attest.policy.toml import toml_path

if TYPE_CHECKING:
    from os import PathLike

P = TypeVar("P", bound=AppraisalPolicy)

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest policy file read: far above a hundred thousand reference values."""

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
"""date-time of RFC 3339, 5.6; `datetime.fromisoformat` reads other forms, too, some of which name no one moment."""

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

_DEPTH_MAX: Final = 8
"""Tables inside tables: a policy has four levels."""


def load_file(kind: type[P], path: str | PathLike[str]) -> P:
    """Load the policy file at `path`. Raises `PolicyError`, and `OSError` if it cannot be read."""
    path = Path(path)
    source = str(path)
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise PolicyError("", f"the file is larger than {FILE_BYTES_MAX} bytes", "name a policy file", source=source)
    if wrong := wrong_encoding(content[:64]):
        raise PolicyError("", f"the file {wrong.partition('; ')[0]}", wrong.partition("; ")[2], source=source)
    try:
        document = _parse(content.decode("utf-8-sig"), path.suffix.lower())
    except (ValueError, RecursionError) as error:  # of the parsers, and of numbers too long to be worked out
        problem = str(error) if not isinstance(error, RecursionError) else "tables nested too deep"
        hint = "write it as docs/policy.md shows; the file's name ends in .toml or .json"
        raise PolicyError("", f"not a policy file: {problem}", hint, source=source) from None
    return from_document(kind, document, source)


class _UnreadableError(ValueError):
    pass


def _parse(text: str, suffix: str) -> Any:
    if suffix == ".toml":
        return tomllib.loads(text)
    if suffix == ".json":
        check_containers(text.encode())
        return json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_no_constant)
    raise _UnreadableError(f"its name ends in {suffix!r}" if suffix else "its name has no ending")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add() is the point
        raise _UnreadableError(f"the key {twice!r} stands twice in one object")
    return table


def _no_constant(name: str) -> Any:
    raise _UnreadableError(f"{name} is not JSON")


def from_document(kind: type[P], document: object, source: str = "policy") -> P:
    """Make a policy from a parsed document. Raises `PolicyError`."""
    try:
        plain = _plain(document, "", 0)
        problem = first_problem(plain)
        if problem:
            raise PolicyError(*problem)
        return _build(kind, plain, source)
    except PolicyError as error:
        error.source = source
        raise


def _plain(value: object, where: str, depth: int) -> Any:
    """The document in JSON's types alone: TOML's times as RFC 3339 text; anything else unknown is refused."""
    if depth > _DEPTH_MAX:
        raise PolicyError(where, "nested too deep", "a policy has no tables there")
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                shown = repr(key) if isinstance(key, int) and -24 < key < 24 else f"of type {type(key).__name__}"
                raise PolicyError(where, f"the key {shown} is no string", 'write keys as strings, PCR indices too: "7"')
        return {
            key: _plain(inner, f"{where}.{toml_path(key)}" if where else toml_path(key), depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(inner, f"{where}[{i}]", depth + 1) for i, inner in enumerate(value)]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise PolicyError(where, "there is a lone surrogate in the text", "write text that UTF-8 can encode")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise PolicyError(
            where, "the number is larger than any that could be meant", "write one of 64 bits at the most"
        )
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise PolicyError(
        where, f"a {type(value).__name__} is of the wrong type", "write text, whole numbers or true/false"
    )


def _build(kind: type[P], document: dict[str, Any], source: str) -> P:
    key = document.get("key", {})
    signature_hashes = tuple(document.get("signature", {}).get("hashes", STRONG_HASHES))
    bank_hashes = document.get("bank", {}).get("hashes", [*STRONG_HASHES, *signature_hashes])
    pinned = frozenset(bytes.fromhex(name) for name in key.get("pinned", ()))
    # Who pins AIKs means them, unless he says otherwise.
    trust = key.get("trust", (Trust.PINNED_AIK if pinned else Trust.SELF_ASSERTED).value)
    return kind(
        id=document["id"],
        description=document.get("description", ""),
        pcrs=tuple(_references(document.get("pcrs", {}))),
        hierarchies=tuple(key.get("hierarchy", ())),
        rsa_min_bits=key.get("rsa_min_bits", 2048),
        trust=Trust(trust),
        pinned=pinned,
        signature_hashes=signature_hashes,
        bank_hashes=tuple(dict.fromkeys(bank_hashes)),
        firmware_versions=frozenset(int(version, 16) for version in document.get("firmware", {}).get("versions", ())),
        claims={path: tuple(sorted(values, key=json.dumps)) for path, values in document.get("claims", {}).items()},
        rules={rule: Requirement(word) for rule, word in document.get("rules", {}).items()},
        valid_from=_timestamp(document, "valid_from"),
        valid_until=_timestamp(document, "valid_until"),
        unsafe_warn_until=_timestamp(document, "unsafe_warn_until", dates=True),
        unsafe_any_nonce=document.get("unsafe_any_nonce", False),
        unsafe_accept_any_pcrs=document.get("unsafe_accept_any_pcrs", False),
        source=source,
    )


def _references(pcrs: dict[str, dict[str, Any]]) -> list[PcrReference]:
    references = []
    for bank, of_bank in sorted(pcrs.items()):
        for index, given in sorted(of_bank.items(), key=lambda item: int(item[0])):
            entries = [] if given == "any" else [e if isinstance(e, dict) else {"value": e} for e in given]
            values = [ReferenceValue(bytes.fromhex(e["value"]), e.get("label", "")) for e in entries]
            where = f"pcrs.{bank}.{index}"
            if len({one.value for one in values}) != len(values):
                raise PolicyError(where, "a value stands twice", "list each value once")
            references.append(PcrReference(bank, int(index), tuple(sorted(values, key=lambda one: one.value))))
    return references


def _timestamp(document: dict[str, Any], name: str, *, dates: bool = False) -> datetime | None:
    """The time of a key, None if it is not there; with `dates` a date is taken for its first moment in UTC."""
    if name not in document:
        return None
    text = document[name]
    if dates and _DATE.fullmatch(text):
        text += "T00:00:00Z"
    moment = None
    if _RFC_3339.fullmatch(text):
        with suppress(ValueError):
            moment = datetime.fromisoformat(text)
    if moment is None:
        hint = "write one with an offset: 2026-11-30T00:00:00Z"
        raise PolicyError(name, f"{document[name]!r} is not an RFC 3339 time", hint)
    return moment
