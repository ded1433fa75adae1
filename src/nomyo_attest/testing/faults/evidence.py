"""Faults of the JSON around the blobs: presence, types, duplicate keys, encodings, and the server's claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from nomyo_attest.testing.faults.model import (
    Fault,
    Policy,
    Tamper,
    always,
    at,
    block,
    change_key,
    drop_key,
    duplicate_key,
    forge_with,
    metadata,
    set_fields,
    set_key,
)

_FIELDS: Final = ("is_available", "pcr_banks", "pcr_values", "quote_b64", "signature_b64", "aik_pubkey_b64")
_Values = tuple[tuple[str, Any], ...]


def form(name: str, reason: str, tamper: Tamper, *, as_text: bool = False) -> Fault:
    """A fault of the JSON's form."""
    return Fault(f"evidence-{name}", "evidence.form", reason, tamper, as_text=as_text)


def absent(name: str, reason: str, tamper: Tamper) -> Fault:
    """A response without evidence."""
    return Fault(f"absent-{name}", "evidence.available", reason, tamper, undecided=True)


def available() -> Iterator[Fault]:
    """Responses without evidence: they are not wrong, but they prove nothing."""
    reason = "The server says that it has no TPM: the absence of evidence proves nothing."
    yield absent("no-tpm", reason, block(always({"is_available": False})))
    reason = "The metadata has no tpm_attestation."
    yield absent("no-block", reason, metadata(drop_key("tpm_attestation")))
    reason = "The response has no _metadata, like those of other services."
    yield absent("no-metadata", reason, at("response", drop_key("_metadata")))
    reason = "is_available is false, although the block contains a quote."
    yield absent("with-fields", reason, block(set_key("is_available", False)))


def missing() -> Iterator[Fault]:
    """Evidence that is announced but lacks a field."""
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
        ("string-false", "false"),
        ("list", [True]),
    )
    for name, value in values:
        yield form(
            f"available-{name}", "is_available is neither true nor false.", block(set_key("is_available", value))
        )
    values = (("null", None), ("number", 7), ("list", ["7"]), ("object", {"7": "7"}), ("empty", ""))
    for key in ("pcr_banks", "quote_b64", "signature_b64", "aik_pubkey_b64"):
        for name, value in values:
            yield form(f"{key}-{name}", f"{key} is not a non-empty string.", block(set_key(key, value)))
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
        yield form(f"value-{name}", "A PCR value is not a string of hexadecimal digits.", tamper)
    for name, text in (("list", "[]"), ("null", "null"), ("string", '"chat.completion"'), ("number", "1")):
        yield form(f"response-{name}", "The response is not an object.", at("text", always(text)), as_text=True)


def payload_ids() -> Iterator[Fault]:
    """Payload ids that cannot be hashed, or that no client generates."""
    values: _Values = (
        ("empty", ""),
        ("null", None),
        ("number", 7),
        ("list", ["7"]),
        ("true", True),
        ("surrogate", "id-\ud800"),
    )
    reason = "The payload id is not a string that can be hashed, so nothing ties the quote to a request."
    for name, value in values:
        yield form(f"payload-id-{name}", reason, metadata(set_key("payload_id", value)))
    yield form("payload-id-oversize", "The payload id is longer than the limit.", set_fields(payload_id="7" * 1025))


def duplicate_keys() -> Iterator[Fault]:
    """Duplicate keys: parsers differ in which value they use."""
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
        reason = f"Duplicate key {key}: parsers differ in which value they use."
        yield form(f"duplicate-{key}", reason, duplicate_key(key, first), as_text=True)
    for name, reason, member in (
        ("escaped", "Duplicate key quote_b64, written once with an escape sequence.", '"\\u0071uote_b64": "AAAA"'),
        ("second-wrong", "Duplicate key pcr_banks, whose second value is wrong.", '"pcr_banks": "sha256:0"'),
    ):
        yield form(f"duplicate-{name}", reason, _insert_before("quote_b64", member), as_text=True)


def texts() -> Iterator[Fault]:
    """Text that is not JSON, and evidence in two places."""
    for name, what, old, new in (
        ("quotes", "has single quotation marks", '"', "'"),
        ("control", "has a newline inside a string", "Hello.", "Hello\n."),
        ("comment", "contains a comment", '"_metadata"', '/* here */ "_metadata"'),
        ("bare-key", "has a key without quotation marks", '"_metadata"', "_metadata"),
    ):
        yield form(f"text-{name}", f"The response {what}: it is not JSON.", _replace(old, new), as_text=True)
    for name, what, text in (("empty", "is empty", ""), ("deep", "is nested too deeply", "[" * 5000)):
        yield form(f"text-{name}", f"The response {what}: it is not JSON.", at("text", always(text)), as_text=True)
    yield form("text-cut", "The response is truncated.", at("text", lambda text: text[:-1]), as_text=True)
    yield form("text-trailing", "Text follows the response.", at("text", lambda text: text + "{}"), as_text=True)
    yield form(
        "text-repeated", "The response consists of two JSON texts.", at("text", lambda text: text + text), as_text=True
    )
    yield form(
        "text-comma", "The response has a trailing comma.", at("text", lambda text: text[:-1] + ",}"), as_text=True
    )
    yield form(
        "two-places",
        "The response has two attestations, one in _metadata and one beside it: parsers differ in which one they use.",
        at("response", lambda all_: {**all_, "tpm_attestation": all_["_metadata"]["tpm_attestation"]}),
    )


def _replace(old: str, new: str) -> Tamper:
    return at("text", lambda text: text.replace(old, new))


def _insert_before(key: str, member: str) -> Tamper:
    return at("text", lambda text: text.replace(f'"{key}": ', f'{member}, "{key}": ', 1))


_BLOBS: Final = {"quote": "quote_b64", "signature": "signature_b64", "key": "aik_pubkey_b64"}
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def hex_digits() -> Iterator[Fault]:
    """Values of PCR 7 that are not exactly its hexadecimal digits."""
    changes: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        ("odd", "has an odd number of digits", lambda text: text[:-1]),
        ("short", "lacks a byte", lambda text: text[:-2]),
        ("long", "has an additional byte", lambda text: text + "00"),
        ("sha1-length", "has the length of a SHA-1 value", lambda text: text[:40]),
        ("space-before", "begins with a space", lambda text: " " + text),
        ("newline-after", "ends with a newline", lambda text: text + "\n"),
        ("space", "contains a space, which bytes.fromhex skips", lambda text: text[:32] + " " + text[32:]),
        ("spaces-right-length", "contains spaces and has the right length", lambda text: text[:30] + "  " + text[32:]),
        ("colons", "is separated by colons", lambda text: ":".join(text[i : i + 2] for i in range(0, 64, 2))),
        ("prefix", "begins with 0x", lambda text: "0x" + text),
        ("prefix-right-length", "begins with 0x and has the right length", lambda text: "0x" + text[2:]),
        ("arabic", "has an Arabic digit, which int() accepts", lambda text: "\u0667" + text[1:]),
        ("full-width", "has a full-width digit, which int() accepts", lambda text: text[:-1] + "\uff11"),
        ("letter", "has a letter beyond f", lambda text: "g" + text[1:]),
        ("underscore", "contains an underscore, which int() accepts", lambda text: text[:2] + "_" + text[3:]),
        ("sign", "begins with a sign, which int() accepts", lambda text: "+" + text[1:]),
        ("nul", "ends with a NUL", lambda text: text[:-1] + "\0"),
        ("base64", "is base64", always("zKw7XFG+bxJgVmaif+N2mdngGl1Gr6d82829uFhcyGU=")),
    )
    for name, what, change in changes:
        tamper = at("pcr_values", change_key("sha256", change_key("7", change)))
        yield form(f"hex-{name}", f"The value of PCR 7 {what}.", tamper)


def base64_text() -> Iterator[Fault]:
    """Base64 that some decoders map to the right bytes, but that no encoder produces (RFC 4648, section 3)."""
    changes: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        ("trailing-bits", "has bits set after its last byte", _trailing_bits),
        ("no-padding", "lacks its padding", lambda text: text.rstrip("=")),
        ("extra-padding", "has too much padding", lambda text: text + "="),
        ("space", "contains a space", lambda text: text[:8] + " " + text[8:]),
        ("newlines", "is broken into lines", lambda text: text[:76] + "\n" + text[76:]),
        ("final-newline", "ends with a newline", lambda text: text + "\n"),
        ("url-alphabet", "is in the URL-safe alphabet", lambda text: text.replace("+", "-").replace("/", "_")),
        ("stray", "contains a character that is not in the base64 alphabet", lambda text: text[:8] + "!" + text[8:]),
        ("non-ascii", "contains a full-width letter", lambda text: "\uff21" + text[1:]),
        ("two-texts", "consists of two base64 texts", lambda text: "AA==" + text),
        ("oversize", "is larger than the limit", lambda text: text[:4] * 2049),
        ("invalid-length", "has a length that base64 cannot have", _invalid_length),
    )
    # Every blob of this forge ends with padding and contains + or /.
    padded = forge_with(sized_quote=True, auth_policy=b"\xfb\xff" * 16)
    for blob, key in _BLOBS.items():
        for name, what, change in changes:
            yield Fault(
                f"base64-{blob}-{name}",
                "evidence.form",
                f"The base64 of the {blob} {what}.",
                block(change_key(key, change)),
                base=padded,
            )


def indices() -> Iterator[Fault]:
    """Keys of a bank that are not PCR indices in canonical form."""
    for name, index in (
        ("leading-zero", "07"),
        ("too-high", "24"),
        ("negative", "-7"),
        ("plus", "+7"),
        ("space-before", " 7"),
        ("space-after", "7 "),
        ("arabic", "\u0667"),
        ("full-width", "\uff17"),
        ("superscript", "\u2077"),
        ("fraction", "7.0"),
        ("hex", "0x7"),
        ("word", "seven"),
        ("empty", ""),
    ):
        reason = f"invalid PCR index {index!a} as the key of a value."
        yield form(f"index-{name}", reason, _renamed_index(index))


def selections() -> Iterator[Fault]:
    """Invalid selection texts, and values that do not match the selection."""
    for name, text, what in (
        ("index-leading-zero", "sha256:00,7,10", "spells an index with a leading zero"),
        ("index-too-high", "sha256:0,7,10,24", "names a PCR above 23"),
        ("index-arabic", "sha256:0,\u0667,10", "has an Arabic digit"),
        ("index-duplicate", "sha256:0,7,7,10", "names a PCR twice"),
        ("index-range", "sha256:0-10", "contains a range"),
        ("no-indices", "sha256:", "names a bank without PCRs"),
        ("bank-only", "sha256", "names a bank without PCRs"),
        ("space", "sha256: 0,7,10", "contains a space"),
        ("comma", "sha256:0,7,10,", "ends with a comma"),
        ("plus", "sha256:0,7,10+", "ends with a plus"),
        ("bank-duplicate", "sha256:0,7+sha256:10", "names a bank twice"),
        ("bank-upper-case", "SHA256:0,7,10", "writes a bank in upper case"),
        ("bank-unknown", "sha224:0,7,10", "names a bank of a hash that TPMs do not have"),
        ("bank-number", "0x000b:0,7,10", "names a bank by number"),
        ("fewer", "sha256:0,7", "omits a PCR that has a value"),
        ("more", "sha256:0,4,7,10", "names a PCR that has no value"),
        ("other-bank", "sha384:0,7,10", "names a different bank from that of the values"),
        ("more-banks", "sha256:0,7,10+sha384:0", "names a bank without values"),
        ("oversize", "sha256:" + ",".join(["0,7,10"] * 200), "is longer than the limit"),
    ):
        yield form(f"banks-{name}", f"The selection text {what}.", at("pcr_banks", always(text)))
    for name, reason, tamper in (
        ("none", "pcr_values is empty.", always({})),
        ("empty-bank", "A bank has no values.", set_key("sha256", {})),
        ("more-banks", "pcr_values contains a bank that is not selected.", set_key("sha1", {"0": "00" * 20})),
        ("fewer", "A selected PCR has no value.", change_key("sha256", drop_key("10"))),
        ("bank-unknown", "The bank has the name of an unknown hash.", _renamed_bank("sha224")),
        ("bank-upper-case", "The name of a bank is in upper case.", _renamed_bank("SHA256")),
    ):
        yield form(f"values-{name}", reason, at("pcr_values", tamper))


def _trailing_bits(text: str) -> str:
    body = text.rstrip("=")
    return body[:-1] + _BASE64[_BASE64.index(body[-1]) | 1] + "=" * (len(text) - len(body))


def _invalid_length(text: str) -> str:
    body = text.rstrip("=")
    return body + "A" * ((1 - len(body)) % 4 or 4)


def _renamed_index(index: str) -> Tamper:
    def rename(banks: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        return {"sha256": {index if key == "7" else key: value for key, value in banks["sha256"].items()}}

    return at("pcr_values", rename)


def _renamed_bank(name: str) -> Callable[[dict[str, object]], dict[str, object]]:
    return lambda banks: {name: banks["sha256"]}


def tier() -> Iterator[Fault]:
    """Values of security_tier other than "high", which the policy requires."""

    def claim(name: str, reason: str, tamper: Tamper, **options: Any) -> Fault:
        policy = _claims("security_tier", "high")
        return Fault(f"claims-tier-{name}", "claims.security_tier", reason, tamper, policy=policy, **options)

    values: _Values = (
        ("lower", "standard"),
        ("upper-case", "HIGH"),
        ("space", "high "),
        ("list", ["high"]),
        ("null", None),
    )
    for name, value in values:
        reason = f"The server claims the tier {value!r}, but the policy requires 'high'."
        yield claim(name, reason, metadata(set_key("security_tier", value)))
    reason = "The server claims two tiers: parsers differ in which one they use."
    yield claim("duplicate", reason, duplicate_key("security_tier", '"standard"'), as_text=True)
    yield claim("missing", "The server claims no tier.", metadata(drop_key("security_tier")), undecided=True)


def locking() -> Iterator[Fault]:
    """Values of memory_locking other than true, which the policy requires."""
    path = "memory_protection.memory_locking"

    def claim(name: str, reason: str, tamper: Tamper, **options: Any) -> Fault:
        return Fault(f"claims-locking-{name}", f"claims.{path}", reason, tamper, policy=_claims(path, True), **options)

    values: _Values = (("false", False), ("one", 1), ("string", "true"), ("float", 1.0), ("list", [True]))
    for name, value in values:
        reason = f"The server claims memory_locking {value!r}, but the policy requires true."
        yield claim(name, reason, metadata(change_key("memory_protection", set_key("memory_locking", value))))
    reason = "Duplicate key memory_protection, which contains the claim."
    yield claim("duplicate-parent", reason, duplicate_key("memory_protection", "{}"), as_text=True)
    reason = "The server does not claim memory_locking."
    tamper = metadata(change_key("memory_protection", drop_key("memory_locking")))
    yield claim("missing", reason, tamper, undecided=True)
    reason = "memory_protection, which should contain the claim, is not an object."
    yield claim(
        "parent-not-an-object", reason, metadata(set_key("memory_protection", "memory_locking")), undecided=True
    )


def _claims(path: str, value: Any) -> Callable[[Policy], None]:
    return lambda policy: policy.update(claims={path: [value]})


FAULTS = (
    *available(),
    *missing(),
    *types(),
    *payload_ids(),
    *duplicate_keys(),
    *texts(),
    *hex_digits(),
    *base64_text(),
    *indices(),
    *selections(),
    *tier(),
    *locking(),
)
