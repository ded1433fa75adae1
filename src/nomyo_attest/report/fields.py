"""An inspection as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from nomyo_attest.report.decoded import spelled
from nomyo_attest.report.explain import TEST_KEY
from nomyo_attest.report.formatting import TextStyle, count, excerpt, sanitize

_BLOBS: Final = {"quote": "quote_b64", "signature": "signature_b64", "key": "aik_pubkey_b64"}
_OBFUSCATED: Final = frozenset({"firmware_version", "reset_count", "restart_count"})
_OBFUSCATION: Final = {
    True: " (obfuscated for this key)",
    False: "",
    None: " (may be obfuscated: the key's hierarchy is unknown)",
}
"""Fields that a TPM obfuscates for keys outside the endorsement and platform hierarchies, and what is said of them."""

_SAME: Final = {True: "the same", False: "NOT the same", None: "cannot be compared"}


def inspection_text(name: str, document: dict[str, Any], style: TextStyle) -> str:
    """The document that `inspection` makes as text, without a line end."""
    lines = [style.paint(sanitize(name), "bold"), ""]
    if not document["available"]:
        lines += style.wrap(f"There is no evidence: {excerpt(document['absence'] or '')}.")
        lines += _claims(document, style)
        return "\n".join(lines)
    lines += _nonce(document, style)
    lines += _pcrs(document, style)
    lines += _aik(document, style)
    for blob, key in _BLOBS.items():
        lines += ["", *_blob(key, document[blob], style, _OBFUSCATION[document["aik"]["obfuscated"]])]
    lines += _claims(document, style)
    lines += [
        "",
        *style.wrap("No verdict: this is what the evidence says, not whether it holds. For that: nomyo-attest verify"),
    ]
    return "\n".join(lines)


def _title(text: str, style: TextStyle) -> str:
    return style.paint(text, "bold")


def _nonce(document: dict[str, Any], style: TextStyle) -> list[str]:
    nonce, payload_id = document["nonce"], document["payload_id"]
    rows = [("payload id", excerpt(payload_id) if payload_id is not None else "none recorded")]
    if nonce["of_payload_id"] is not None:
        rows.append(("its nonce", f"{nonce['of_payload_id']} (SHA-256(payload id)[:16])"))
    if nonce["extra_data"] is not None:
        compared = f" ({_SAME[nonce['matches']]})" if nonce["matches"] is not None else ""
        rows.append(("extraData", (nonce["extra_data"] or "no bytes") + compared))
    return [_title("Freshness", style), *style.pairs(rows)]


def _pcrs(document: dict[str, Any], style: TextStyle) -> list[str]:
    rows = []
    for pcr in document["pcrs"]:
        signed = {True: "", False: "  NOT signed", None: "  not known to be signed"}[pcr["signed"]]
        rows.append((f"{pcr['bank']}:{pcr['index']}", f"{pcr['value'] or 'signed, but not reported'}{signed}"))
    digest = document["pcr_digest"]
    if digest is not None:
        rows.append(("pcrDigest", digest["signed"] or "no bytes"))
        of = f"{digest['hash']} of the values" if digest["hash"] else "of the values"
        if digest["matches"]:
            rows.append(("", f"= {of}, in signed order"))
        else:
            rows.append(("", f"{of}: {digest['of_values'] or 'cannot be computed'} ({_SAME[digest['matches']]})"))
    return ["", _title(f"PCRs {sanitize(document['pcr_banks'])}", style), *style.pairs(rows)]


def _aik(document: dict[str, Any], style: TextStyle) -> list[str]:
    aik = document["aik"]
    unknown = "not known: a blob does not parse"
    if aik["hierarchy"]:
        hierarchy = f"{aik['hierarchy']}: qualifiedSigner is that of a primary key there"
    elif aik["name"] and aik["qualified_signer"] is not None:
        hierarchy = (
            "none: the AIK is the child of another key, another key signed, or this is not the public area that signed"
        )
    else:
        hierarchy = unknown
    rows = [
        ("Name", aik["name"] or unknown),
        ("qualifiedSigner", aik["qualified_signer"] if aik["qualified_signer"] is not None else unknown),
        ("hierarchy", hierarchy),
    ]
    if aik["test_key"]:
        rows.append(("test key", TEST_KEY))
    return ["", _title("AIK", style), *style.pairs(rows)]


def _blob(key: str, blob: dict[str, Any], style: TextStyle, obfuscation: str) -> list[str]:
    error = blob["error"]
    if error is not None:
        rows = [
            ("does not parse", f"{error['where']} at byte {error['offset']}"),
            ("expected", sanitize(error["expected"])),
            ("got", sanitize(error["got"])),
            ("bytes", blob["hex"] or "none"),
        ]
        return [_title(f"{key}: {blob['bytes']} bytes", style), *style.pairs(rows)]
    title = f"{key}: {blob['framing']}, {blob['bytes']} bytes"
    return [_title(title, style), *style.pairs(list(_fields(blob["fields"], "", obfuscation)))]


def _fields(fields: dict[str, Any], indent: str, obfuscation: str) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if name == "structure":
            continue
        title = f"{indent}{spelled(name)}"
        if isinstance(value, dict) and "structure" in value:
            yield title, value["structure"]
            yield from _fields(value, indent + "  ", obfuscation)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for one in value:
                yield title, one["structure"]
                yield from _fields(one, indent + "  ", obfuscation)
        else:
            yield title, _value(name, value) + (obfuscation if name in _OBFUSCATED else "")


def _value(name: str, value: Any) -> str:
    if name == "object_attributes":
        return f"{value['value']}: {', '.join(value['set']) or 'none'}"
    if name == "magic":
        return f"{value} ({'TPM_GENERATED_VALUE' if value == '0xff544347' else 'not TPM_GENERATED_VALUE'})"
    if name == "clock":
        return f"{value} ms{_duration(value)}"
    if name == "exponent" and value == 0:
        return "0 (65537)"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) or "no bytes"


def _duration(milliseconds: int) -> str:
    """A time in days and hours beside its milliseconds; nothing where it is below an hour."""
    days, hours = milliseconds // 86_400_000, milliseconds // 3_600_000 % 24
    parts = [count(days, "day")] * bool(days) + [count(hours, "hour")] * bool(hours)
    return f" ({' '.join(parts)} powered)" if parts else ""


def _claims(document: dict[str, Any], style: TextStyle) -> list[str]:
    if not document["claims"]:
        return []
    rows = []
    for path, value in document["claims"].items():
        text = value["kind"] if isinstance(value, dict) else json.dumps(value, ensure_ascii=False)
        rows.append((excerpt(path, 60), excerpt(text)))
    return ["", _title("Claims of the server (_metadata), which nothing signs", style), *style.pairs(rows)]
