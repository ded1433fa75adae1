"""Faults of spelling: hex, base64, PCR indices and selections that some reader would take for the right ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from nomyo_attest.testing.faults.changes import Tamper, always, at, block, change_key, drop_key, set_key, world
from nomyo_attest.testing.faults.evidence import form
from nomyo_attest.testing.faults.model import Fault

_BLOBS: Final = {"quote": "quote_b64", "signature": "signature_b64", "key": "aik_pubkey_b64"}
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def hex_digits() -> Iterator[Fault]:
    """Values of PCR 7 that are not just its hex digits."""
    changes: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        ("odd", "has an odd number of digits", lambda text: text[:-1]),
        ("short", "is a byte short", lambda text: text[:-2]),
        ("long", "is a byte long", lambda text: text + "00"),
        ("of-sha1", "has the length of another bank's", lambda text: text[:40]),
        ("blank-before", "begins with a blank", lambda text: " " + text),
        ("blank-after", "ends with a line break", lambda text: text + "\n"),
        ("blanks", "is broken up by blanks, which bytes.fromhex skips", lambda text: text[:32] + " " + text[32:]),
        ("blanks-in-length", "has blanks in it, in the right length", lambda text: text[:30] + "  " + text[32:]),
        ("colons", "is broken up by colons", lambda text: ":".join(text[i : i + 2] for i in range(0, 64, 2))),
        ("prefix", "begins with 0x", lambda text: "0x" + text),
        ("prefix-in-length", "begins with 0x, in the right length", lambda text: "0x" + text[2:]),
        ("arabic", "has an Arabic digit, which int() takes", lambda text: "\u0667" + text[1:]),
        ("full-width", "has a full-width digit, which int() takes", lambda text: text[:-1] + "\uff11"),
        ("letter", "has a letter beyond f", lambda text: "g" + text[1:]),
        ("underscore", "has an underscore in it, which int() takes", lambda text: text[:2] + "_" + text[3:]),
        ("sign", "begins with a sign, which int() takes", lambda text: "+" + text[1:]),
        ("nul", "ends with a NUL", lambda text: text[:-1] + "\0"),
        ("base64", "is base64", always("zKw7XFG+bxJgVmaif+N2mdngGl1Gr6d82829uFhcyGU=")),
    )
    for name, what, change in changes:
        tamper = at("pcr_values", change_key("sha256", change_key("7", change)))
        yield form(f"hex-{name}", f"The value of PCR 7 {what}.", tamper)


def base64_text() -> Iterator[Fault]:
    """Base64 that some decoder takes for the right bytes, in a spelling that no encoder writes (RFC 4648, 3)."""
    changes: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        ("trailing-bits", "has bits set behind its last byte", _trailing_bits),
        ("no-padding", "lacks its padding", lambda text: text.rstrip("=")),
        ("more-padding", "has too much padding", lambda text: text + "="),
        ("blank", "has a blank in it", lambda text: text[:8] + " " + text[8:]),
        ("line-break", "is broken into lines", lambda text: text[:76] + "\n" + text[76:]),
        ("final-line-break", "ends with a line break", lambda text: text + "\n"),
        ("url-alphabet", "is in the alphabet of URLs", lambda text: text.replace("+", "-").replace("/", "_")),
        ("stray", "has a character in it that is none of base64's", lambda text: text[:8] + "!" + text[8:]),
        ("non-ascii", "has a full-width letter in it", lambda text: "\uff21" + text[1:]),
        ("two-texts", "is two texts in a row", lambda text: "AA==" + text),
        ("oversize", "is larger than any honest blob", lambda text: text[:4] * 2049),
        ("one-more", "is one character longer than base64 can be", _one_more),
    )
    # In this world every blob ends with padding, and has + or / in it.
    padded = world(sized_quote=True, auth_policy=b"\xfb\xff" * 16)
    for blob, key in _BLOBS.items():
        for name, what, change in changes:
            yield Fault(
                f"base64-{blob}-{name}",
                "evidence.form",
                f"The base64 of the {blob} {what}.",
                block(change_key(key, change)),
                world=padded,
            )


def indices() -> Iterator[Fault]:
    """Keys of a bank that are no PCR index, or one spelt otherwise."""
    for name, index in (
        ("leading-zero", "07"),
        ("too-high", "24"),
        ("negative", "-7"),
        ("plus", "+7"),
        ("blank", " 7"),
        ("blank-after", "7 "),
        ("arabic", "\u0667"),
        ("full-width", "\uff17"),
        ("superscript", "\u2077"),
        ("fraction", "7.0"),
        ("hex", "0x7"),
        ("word", "seven"),
        ("empty", ""),
    ):
        reason = f"A value stands under {index!a}, which is not how a PCR is called."
        yield form(f"index-{name}", reason, _renamed_index(index))


def selections() -> Iterator[Fault]:
    """Selection texts that are none, and values that are not those of the selection."""
    for name, text, what in (
        ("index-leading-zero", "sha256:00,7,10", "spells an index with a leading zero"),
        ("index-too-high", "sha256:0,7,10,24", "goes past PCR 23"),
        ("index-arabic", "sha256:0,\u0667,10", "has an Arabic digit"),
        ("index-twice", "sha256:0,7,7,10", "names a PCR twice"),
        ("index-range", "sha256:0-10", "has a range"),
        ("index-none", "sha256:", "names a bank without PCRs"),
        ("bank-only", "sha256", "names a bank without PCRs"),
        ("blank", "sha256: 0,7,10", "has a blank in it"),
        ("comma", "sha256:0,7,10,", "ends with a comma"),
        ("plus", "sha256:0,7,10+", "ends with a plus"),
        ("bank-twice", "sha256:0,7+sha256:10", "names a bank twice"),
        ("bank-upper-case", "SHA256:0,7,10", "writes a bank in capitals"),
        ("bank-unknown", "sha224:0,7,10", "has a bank of a hash that TPMs do not have"),
        ("bank-number", "0x000b:0,7,10", "has a number for a bank"),
        ("fewer", "sha256:0,7", "names fewer PCRs than there are values"),
        ("more", "sha256:0,4,7,10", "names more PCRs than there are values"),
        ("other-bank", "sha384:0,7,10", "names another bank than the values'"),
        ("more-banks", "sha256:0,7,10+sha384:0", "names a bank without values"),
        ("oversize", "sha256:" + ",".join(["0,7,10"] * 200), "is longer than any honest one"),
    ):
        yield form(f"banks-{name}", f"The selection text {what}.", at("pcr_banks", always(text)))
    for name, reason, tamper in (
        ("none", "There are no values at all.", always({})),
        ("empty-bank", "A bank has no values.", set_key("sha256", {})),
        ("more-banks", "There are values of a bank that is not selected.", set_key("sha1", {"0": "00" * 20})),
        ("fewer", "A selected PCR has no value.", change_key("sha256", drop_key("10"))),
        ("bank-unknown", "Values stand under the name of no hash.", _renamed_bank("sha224")),
        ("bank-upper-case", "A bank is written in capitals.", _renamed_bank("SHA256")),
    ):
        yield form(f"values-{name}", reason, at("pcr_values", tamper))


def _trailing_bits(text: str) -> str:
    body = text.rstrip("=")
    return body[:-1] + _BASE64[_BASE64.index(body[-1]) | 1] + "=" * (len(text) - len(body))


def _one_more(text: str) -> str:
    body = text.rstrip("=")
    return body + "A" * ((1 - len(body)) % 4 or 4)


def _renamed_index(index: str) -> Tamper:
    def rename(banks: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        return {"sha256": {index if key == "7" else key: value for key, value in banks["sha256"].items()}}

    return at("pcr_values", rename)


def _renamed_bank(name: str) -> Callable[[dict[str, object]], dict[str, object]]:
    return lambda banks: {name: banks["sha256"]}


FAULTS = (*hex_digits(), *base64_text(), *indices(), *selections())
