"""Ways to tamper with a `tpm_attestation` block, with the field that the error must name."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from nomyo_attest.testing import Forge

Json = dict[str, Any]
Tamper = Callable[[Json], object]

FORMS: Final = {"response": "_metadata.tpm_attestation.", "metadata": "tpm_attestation.", "block": ""}
"""Input of the reader → the prefix of field names in its errors."""

BLOBS: Final = ("quote_b64", "signature_b64", "aik_pubkey_b64")
RESPONSE: Final[Json] = Forge(selection="sha256:0,7,10+sha384:0").response()


def made(form: str, tamper: Tamper = lambda block: None) -> Json:
    """Return a new response, its metadata or its block, after tampering with the block."""
    response: Json = copy.deepcopy(RESPONSE)
    metadata: Json = response["_metadata"]
    block: Json = metadata["tpm_attestation"]
    tamper(block)
    return {"response": response, "metadata": metadata, "block": block}[form]


def without_tpm(block: Json) -> None:
    """Make the block that of a server without a TPM."""
    block.clear()
    block["is_available"] = False


def put(key: str, value: Any) -> Tamper:
    return lambda block: block.update({key: value})


def changed(key: str, change: Callable[[str], Any]) -> Tamper:
    return lambda block: block.update({key: change(block[key])})


def put_bank(name: Any, value: Any) -> Tamper:
    return lambda block: block["pcr_values"].update({name: value})


def changed_value(change: Callable[[str], Any]) -> Tamper:
    def tamper(block: Json) -> None:
        values = block["pcr_values"]["sha256"]
        values["7"] = change(values["7"])

    return tamper


def renamed_index(name: Any) -> Tamper:
    def tamper(block: Json) -> None:
        values = block["pcr_values"]["sha256"]
        values[name] = values.pop("7")

    return tamper


NOT_STRINGS: Final[dict[str, Any]] = {
    "null": None, "true": True, "a number": 7, "a float": 1.5, "an array": ["QQ=="], "an object": {"a": "QQ=="},
    "octets": b"QQ==",
}  # fmt: skip
BAD_BASE64: Final[dict[str, Callable[[str], str]]] = {
    "empty": lambda text: "",
    "a blank in front": lambda text: " " + text,
    "a blank behind": lambda text: text + " ",
    "a blank inside": lambda text: text[:8] + " " + text[8:],
    "a line break behind": lambda text: text + "\n",
    "a line break inside": lambda text: text[:76] + "\n" + text[76:],
    "a stray inside": lambda text: text[:8] + "*" + text[8:],
    "a NUL inside": lambda text: text[:8] + "\0" + text[8:],
    "the URL alphabet": lambda text: base64.urlsafe_b64encode(b"\xfb\xff\xfe" * 40).decode(),
    "one character less": lambda text: text[:-1],
    "one character more": lambda text: text + "A",
    "no padding": lambda text: base64.b64encode(b"12").decode().rstrip("="),
    "too much padding": lambda text: base64.b64encode(b"12").decode() + "=",
    "padding in the middle": lambda text: base64.b64encode(b"1").decode() + base64.b64encode(b"2").decode(),
    "padding alone": lambda text: "====",
    "unused bits set, one byte": lambda text: "QR==",
    "unused bits set, two bytes": lambda text: "QUJ=",
    "not ASCII": lambda text: "\u0410" + text[1:],
    "full-width letters": lambda text: "\uff21" + text[1:],
    "a lone surrogate": lambda text: "\ud800" + text[1:],
    "hexadecimal with colons": lambda text: "ff:54:43:47",
    "oversize": lambda text: base64.b64encode(bytes(6147)).decode(),
    "a data URL": lambda text: "data:;base64," + text,
}
BAD_HEX: Final[dict[str, Callable[[str], Any]]] = {
    "empty": lambda text: "",
    "a digit less": lambda text: text[:-1],
    "a byte less": lambda text: text[:-2],
    "a byte more": lambda text: text + "00",
    "a digit more": lambda text: text + "0",
    "the size of SHA-1": lambda text: text[:40],
    "the size of SHA-384": lambda text: text + text[:32],
    "0x in front": lambda text: "0x" + text[2:],
    "0x in front of all": lambda text: "0x" + text,
    "a blank inside": lambda text: text[:10] + " " + text[11:],
    "blanks between bytes": lambda text: " ".join(text[i : i + 2] for i in range(0, 64, 2)),
    "blanks between bytes, 64 characters": lambda text: " ".join(text[i : i + 2] for i in range(0, 42, 2)) + " 0",
    "a blank in front": lambda text: " " + text[1:],
    "a line break behind": lambda text: text[:-1] + "\n",
    "a line break behind it all": lambda text: text + "\n",
    "no digit": lambda text: text[:-1] + "g",
    "a sign": lambda text: "+" + text[1:],
    "an underscore": lambda text: text[:10] + "_" + text[11:],
    "full-width digits": lambda text: text[:-1] + "\uff11",
    "arabic digits": lambda text: "\u0660" * 64,
    "a NUL": lambda text: text[:-1] + "\0",
    "a lone surrogate": lambda text: text[:-1] + "\ud800",
    "base64": lambda text: base64.b64encode(bytes.fromhex(text)).decode(),
    "null": lambda text: None,
    "a number": lambda text: 0,
    "a huge number": lambda text: 10**63,
    "false": lambda text: False,
    "an array": lambda text: [text],
    "an object": lambda text: {"value": text},
    "octets": lambda text: bytes(32),
}
BAD_INDICES: Final[list[Any]] = [
    "24", "25", "31", "99", "-1", "-0", "00", "07", "007", "+7", " 7", "7 ", "7\n", "\t7", "7.0", "7e0", "0x7", "1_0",
    "", "sha256", "\u0667", "\uff17", "\u00b2", "\u2477", "7\u0301", "0,7", "true", 7, 7.0, True, None, ("7",), b"7",
]  # fmt: skip
BAD_BANKS: Final[list[Any]] = [
    "SHA256", "Sha256", "sha-256", "sha2-256", "sha_256", "SHA-256", "sha224", "sha512_256", "md5", "sha256 ",
    " sha256", "sha256\n", "0x000b", "11", "", "sha256:0", "sha3", "sm3", "\uff53ha256", "sha\u0662\u0665\u0666", 256,
    0x000B, True, None, ("sha256",), b"sha256",
]  # fmt: skip
BAD_SELECTIONS: Final = [
    "", "sha256", "sha256:", "sha256:0,7,10,", "sha256:0,7,10+", "sha256:0,7,10+sha384:0+sha384:0", "all", "x" * 5000,
    "sha256:0,7,7,10+sha384:0", "SHA256:0,7,10+sha384:0", "sha256:0,7,24+sha384:0", "sha256: 0,7,10+sha384:0", "\ud800",
    "sha256:0,7,10 + sha384:0", "sha256:0,7,010+sha384:0", "sha256:0,7,10,sha384:0", "sha256:0,7,10;sha384:0",
    "sha256:0,7,10+sha384:0\n",
]  # fmt: skip
OTHER_SELECTIONS: Final = [
    "sha256:0,7,10", "sha384:0", "sha256:0,7+sha384:0", "sha256:0,7,10,11+sha384:0", "sha256:0,7,11+sha384:0",
    "sha256:0+sha384:0,7,10", "sha256:0,7,10+sha384:0+sha512:0", "sha384:0,7,10+sha256:0", "sha1:0,7,10+sha384:0",
    "sha3_256:0,7,10+sha384:0",
]  # fmt: skip


def rows() -> Iterator[tuple[str, Tamper, str]]:
    """Yield a description, the tamper, and the field of the block that the error must name."""
    value: Any
    for value in (None, 1, 0, 1.0, "true", "false", "", [True], {}):
        yield f"is_available {value!r}", put("is_available", value), "is_available"
    for key in ("is_available", "pcr_banks", "pcr_values", *BLOBS):
        yield f"{key} missing", lambda block, key=key: block.pop(key), key  # type: ignore[misc]  # a default binds the loop's
    for key in (*BLOBS, "pcr_banks"):
        for what, value in NOT_STRINGS.items():
            yield f"{key} {what}", put(key, value), key
    for key in BLOBS:
        for what, change in BAD_BASE64.items():
            yield f"{key} {what}", changed(key, change), key
    for text in BAD_SELECTIONS:
        yield f"pcr_banks {text[:40]!r}", put("pcr_banks", text), "pcr_banks"
    for text in OTHER_SELECTIONS:
        yield f"pcr_banks says {text}", put("pcr_banks", text), "pcr_values"
    for value in (None, [], "sha256", 1, True, {}, [["sha256", {}]]):
        yield f"pcr_values {value!r}", put("pcr_values", value), "pcr_values"
    for name in BAD_BANKS:
        yield f"bank {name!r}", put_bank(name, {"0": "00" * 32}), "pcr_values"
    for value in (None, ["00"], "00" * 32, 0, False):
        yield f"a bank's values {value!r}", put_bank("sha256", value), "pcr_values.sha256"
    yield "a bank's values {}", put_bank("sha256", {}), "pcr_values"
    yield "a bank too many", put_bank("sha1", {"0": "00" * 20}), "pcr_values"
    yield "an empty bank too many", put_bank("sha1", {}), "pcr_values.sha1"
    yield "a bank missing", lambda block: block["pcr_values"].pop("sha384"), "pcr_values"
    yield "an index missing", lambda block: block["pcr_values"]["sha256"].pop("7"), "pcr_values"
    yield "an index too many", lambda block: block["pcr_values"]["sha256"].update({"8": "00" * 32}), "pcr_values"
    for name in BAD_INDICES:
        yield f"index {name!r}", renamed_index(name), "pcr_values.sha256"
    for what, change in BAD_HEX.items():
        yield f"value {what}", changed_value(change), "pcr_values.sha256.7"


TAMPERED: Final = {name: (tamper, where) for name, tamper, where in rows()}


def in_json(tamper: Tamper) -> bool:
    """Return whether JSON can represent the tampered block."""
    given = made("block", tamper)
    try:
        return bool(json.loads(json.dumps(given)) == given)
    except TypeError:
        return False


TAMPERED_IN_JSON: Final = [name for name, (tamper, _) in TAMPERED.items() if in_json(tamper)]
