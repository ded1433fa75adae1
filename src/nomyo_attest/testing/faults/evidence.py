"""Faults of the JSON around the blobs: whether there is evidence, whole, once, in one place and of the right types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from nomyo_attest.testing.faults.changes import (
    Tamper,
    always,
    at,
    block,
    change_key,
    drop_key,
    metadata,
    set_key,
    twice,
    with_,
)
from nomyo_attest.testing.faults.model import Fault

_FIELDS: Final = ("is_available", "pcr_banks", "pcr_values", "quote_b64", "signature_b64", "aik_pubkey_b64")
_Values = tuple[tuple[str, Any], ...]


def form(name: str, reason: str, tamper: Tamper, *, as_text: bool = False) -> Fault:
    """A fault of the JSON's form."""
    return Fault(f"evidence-{name}", "evidence.form", reason, tamper, as_text=as_text)


def absent(name: str, reason: str, tamper: Tamper) -> Fault:
    """An answer without evidence."""
    return Fault(f"absent-{name}", "evidence.available", reason, tamper, undecided=True)


def available() -> Iterator[Fault]:
    """Answers that carry no evidence: nothing is wrong with them, and nothing is shown by them."""
    reason = "The server says it has no TPM; silence is not evidence."
    yield absent("no-tpm", reason, block(always({"is_available": False})))
    reason = "The metadata carries no tpm_attestation at all."
    yield absent("no-block", reason, metadata(drop_key("tpm_attestation")))
    reason = "The response carries no _metadata, as any other service's."
    yield absent("no-metadata", reason, at("response", drop_key("_metadata")))
    reason = "is_available is false, and no quote beside it changes that."
    yield absent("with-fields", reason, block(set_key("is_available", False)))


def missing() -> Iterator[Fault]:
    """Evidence announced, and one part of it not there."""
    for key in _FIELDS:
        yield form(f"{key}-missing", f"{key} is missing although evidence is announced.", block(drop_key(key)))
    reason = "The block is an empty object."
    yield form("block-empty", reason, block(always({})))


def types() -> Iterator[Fault]:
    """Values of the wrong JSON type."""
    values: _Values = (
        ("string", "true"),
        ("one", 1),
        ("null", None),
        ("zero", 0),
        ("no-string", "false"),
        ("list", [True]),
    )
    for name, value in values:
        yield form(
            f"available-{name}", "is_available is neither true nor false.", block(set_key("is_available", value))
        )
    values = (("null", None), ("number", 7), ("list", ["7"]), ("object", {"7": "7"}), ("empty", ""))
    for key in ("pcr_banks", "quote_b64", "signature_b64", "aik_pubkey_b64"):
        for name, value in values:
            yield form(f"{key}-{name}", f"{key} is no text with something in it.", block(set_key(key, value)))
    values = (("null", None), ("list", [{"0": "00"}]), ("string", "sha256:0"), ("true", True))
    for name, value in values:
        yield form(f"pcr_values-{name}", "pcr_values is not an object.", block(set_key("pcr_values", value)))
        reason = "The values of a bank are not an object."
        yield form(f"bank-{name}", reason, at("pcr_values", set_key("sha256", value)))
        yield form(f"block-{name}", "tpm_attestation is not an object.", block(always(value)))
        yield form(f"metadata-{name}", "_metadata is not an object.", metadata(always(value)))
    values = (("null", None), ("number", 0), ("list", ["00"]), ("empty", ""))
    for name, value in values:
        tamper = at("pcr_values", change_key("sha256", set_key("7", value)))
        yield form(f"value-{name}", "A PCR value is not a text of hex digits.", tamper)
    for name, text in (("list", "[]"), ("null", "null"), ("string", '"chat.completion"'), ("number", "1")):
        yield form(f"response-{name}", "The response is not an object.", at("text", always(text)), as_text=True)


def payload_ids() -> Iterator[Fault]:
    """Payload ids that could not have been hashed, or that no client would have made."""
    values: _Values = (
        ("empty", ""),
        ("null", None),
        ("number", 7),
        ("list", ["7"]),
        ("true", True),
        ("surrogate", "id-\ud800"),
    )
    reason = "The payload id is no text that could have been hashed: nothing ties the quote to a request."
    for name, value in values:
        yield form(f"payload-id-{name}", reason, metadata(set_key("payload_id", value)))
    yield form("payload-id-oversize", "A payload id longer than any honest one.", with_(payload_id="7" * 1025))


def keys_twice() -> Iterator[Fault]:
    """Keys that stand twice: what one reader takes, another does not."""
    for key, first in (
        ("_metadata", "null"),
        ("tpm_attestation", '{"is_available": false}'),
        ("payload_id", '"another request"'),
        ("is_available", "false"),
        ("pcr_banks", '"sha256:0"'),
        ("pcr_values", "{}"),
        ("sha256", "{}"),
        ("7", '"00"'),
        ("quote_b64", '"AAAA"'),
        ("signature_b64", '"AAAA"'),
        ("aik_pubkey_b64", '"AAAA"'),
    ):
        reason = f"The key {key} stands twice: readers differ in which they take."
        yield form(f"twice-{key}", reason, twice(key, first), as_text=True)
    for name, reason, between in (
        ("escaped", "The key quote_b64 stands twice, once with an escape in it.", '"\\u0071uote_b64": "AAAA"'),
        ("behind", "The key pcr_banks stands twice, the right one first.", '"pcr_banks": "sha256:0"'),
    ):
        yield form(f"twice-{name}", reason, _before("quote_b64", between), as_text=True)


def texts() -> Iterator[Fault]:
    """Text that is no JSON, and evidence in two places."""
    for name, what, old, new in (
        ("quotes", "has quotation marks that JSON does not know", '"', "'"),
        ("control", "has a line break inside a string", "Hello.", "Hello\n."),
        ("comment", "has a comment in it", '"_metadata"', '/* here */ "_metadata"'),
        ("bare-key", "has a key without quotation marks", '"_metadata"', "_metadata"),
    ):
        yield form(f"text-{name}", f"The response {what}: it is not JSON.", _replace(old, new), as_text=True)
    for name, what, text in (("empty", "is empty", ""), ("deep", "is nested too deep", "[" * 5000)):
        yield form(f"text-{name}", f"The response {what}: it is not JSON.", at("text", always(text)), as_text=True)
    yield form("text-cut", "The response ends early.", at("text", lambda text: text[:-1]), as_text=True)
    yield form("text-more", "The response goes on behind its end.", at("text", lambda text: text + "{}"), as_text=True)
    yield form("text-twice", "The response is two texts in a row.", at("text", lambda text: text + text), as_text=True)
    yield form(
        "text-comma", "The response has a comma too many.", at("text", lambda text: text[:-1] + ",}"), as_text=True
    )
    yield form(
        "two-places",
        "There are two attestations, one in _metadata and one beside it: a reader could take either.",
        at("response", lambda all_: {**all_, "tpm_attestation": all_["_metadata"]["tpm_attestation"]}),
    )


def _replace(old: str, new: str) -> Tamper:
    return at("text", lambda text: text.replace(old, new))


def _before(key: str, between: str) -> Tamper:
    return at("text", lambda text: text.replace(f'"{key}": ', f'{between}, "{key}": ', 1))


FAULTS = (*available(), *missing(), *types(), *payload_ids(), *keys_twice(), *texts())
