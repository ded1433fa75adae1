"""Decode evidence as far as possible, as plain data and as text, without appraising it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, Final, TypeVar

from nomyo_attest.appraisal.case import SignedSelection, recomputed_digest
from nomyo_attest.appraisal.soft_tpm import claims_soft_tpm, made_by_soft_tpm
from nomyo_attest.crypto.hashes import HASHERS, payload_nonce
from nomyo_attest.crypto.keys import key_name, primary_hierarchy
from nomyo_attest.errors import ParseError
from nomyo_attest.evidence.response import Evidence
from nomyo_attest.report.explain import TEST_KEY
from nomyo_attest.report.formatting import TextStyle, duration, excerpt, firmware_text, sanitize
from nomyo_attest.tpm.attest import TPMS_ATTEST, TPMS_QUOTE_INFO
from nomyo_attest.tpm.codec import Structure
from nomyo_attest.tpm.constants import HASH_NAMES, attribute_names, specification_name
from nomyo_attest.tpm.framing import Framed, parse_attest, parse_public
from nomyo_attest.tpm.pcr import TPMS_PCR_SELECTION
from nomyo_attest.tpm.public import TPMT_PUBLIC
from nomyo_attest.tpm.signature import TPMT_SIGNATURE

FORMAT: Final = "nomyo-attest-inspect/1"

_CLAIMS_MAXIMUM: Final = 64
_CLAIM_DEPTH: Final = 4
_CLAIM_CHARACTERS: Final = 300
"""Limits on the claims that are shown. Responses have far fewer and shorter claims."""

T = TypeVar("T")


def inspection(evidence: Evidence) -> tuple[dict[str, Any], list[ParseError]]:
    """Return the content of `evidence` as JSON-compatible values, and the errors of blobs that do not parse.

    Nothing is appraised: ``matches`` and ``hierarchy`` are computed from the values beside them. ``obfuscated`` states
    whether a TPM obfuscates firmwareVersion, resetCount and restartCount for this key; None if that is unknown (Part 1,
    "Clock", "firmwareVersion").
    """
    document: dict[str, Any] = {
        "format": FORMAT,
        "available": evidence.available,
        "absence": evidence.absence or None,
        "payload_id": evidence.payload_id,
        "claims": _claims(evidence),
    }
    if not evidence.available:
        return document, []
    quote, quote_error = _parsed(parse_attest, evidence.quote)
    signature, signature_error = _parsed(TPMT_SIGNATURE.parse, evidence.signature)
    key, key_error = _parsed(parse_public, evidence.aik_public)
    document |= {
        "nonce": _nonce(evidence, quote),
        "pcr_banks": evidence.pcrs.banks,
        "pcrs": _pcrs(evidence, quote),
        "pcr_digest": _pcr_digest(evidence, quote, signature),
        "aik": _aik(key, quote) | {"test_key": _test_key(evidence, key, quote)},
        "quote": _blob(evidence.quote, quote_error, *_value_and_framing(quote)),
        "signature": _blob(evidence.signature, signature_error, signature, "TPMT_SIGNATURE" if signature else None),
        "key": _blob(evidence.aik_public, key_error, *_value_and_framing(key)),
    }
    return document, [error for error in (quote_error, signature_error, key_error) if error is not None]


def _parsed(parse: Callable[[bytes], T], data: bytes) -> tuple[T | None, ParseError | None]:
    try:
        return parse(data), None
    except ParseError as error:
        return None, error


def _value_and_framing(framed: Framed[Any] | None) -> tuple[Structure | None, str | None]:
    return (framed.value, framed.framing) if framed is not None else (None, None)


def _blob(data: bytes, error: ParseError | None, value: Structure | None, framing: str | None) -> dict[str, Any]:
    """Describe a blob: its fields or, if it does not parse, the error and the bytes."""
    names = ("where", "offset", "expected", "got")
    return {
        "bytes": len(data),
        "framing": framing,
        "fields": decoded(value) if value is not None else None,
        "error": {name: getattr(error, name) for name in names} if error is not None else None,
        "hex": data.hex() if error is not None else None,
    }


def _nonce(evidence: Evidence, quote: Framed[TPMS_ATTEST] | None) -> dict[str, Any]:
    expected = payload_nonce(evidence.payload_id) if evidence.payload_id is not None else None
    got = quote.value.extra_data if quote else None
    return {
        "of_payload_id": expected.hex() if expected is not None else None,
        "extra_data": got.hex() if got is not None else None,
        "matches": got == expected if expected is not None and got is not None else None,
    }


def _selection(quote: Framed[TPMS_ATTEST] | None) -> SignedSelection | None:
    if quote is None or not isinstance(quote.value.attested, TPMS_QUOTE_INFO):
        return None
    return SignedSelection(quote.value.attested.pcr_select)


def _pcrs(evidence: Evidence, quote: Framed[TPMS_ATTEST] | None) -> list[dict[str, Any]]:
    """List every PCR that is reported or signed; `signed` is None if that is unknown."""
    selection = _selection(quote)
    banks = selection.banks if selection is not None else ()
    signed = [(bank, index) for bank, indices, _ in banks for index in indices]
    reported = [(bank, index) for bank, of_bank in evidence.pcrs.values.items() for index in sorted(of_bank)]
    rows = []
    for bank, index in dict.fromkeys([*reported, *signed]):
        of_bank = evidence.pcrs.values.get(bank)
        value = of_bank.get(index) if of_bank is not None else None
        row = {"bank": bank, "index": index, "value": value.hex() if value is not None else None}
        rows.append({**row, "signed": (bank, index) in signed if selection is not None else None})
    return rows


def _pcr_digest(
    evidence: Evidence, quote: Framed[TPMS_ATTEST] | None, signature: TPMT_SIGNATURE | None
) -> dict[str, Any] | None:
    selection = _selection(quote)
    if selection is None or quote is None or not isinstance(quote.value.attested, TPMS_QUOTE_INFO):
        return None
    digest = quote.value.attested.pcr_digest
    algorithm = signature.signature.hash if signature else None
    computed = recomputed_digest(selection, evidence.pcrs, algorithm) if algorithm and algorithm in HASHERS else None
    return {
        "hash": HASH_NAMES[algorithm] if algorithm is not None else None,
        "signed": digest.hex(),
        "of_values": computed.hex() if computed is not None else None,
        "matches": computed == digest if computed is not None else None,
    }


def _aik(key: Framed[TPMT_PUBLIC] | None, quote: Framed[TPMS_ATTEST] | None) -> dict[str, Any]:
    name = key_name(key.inner, key.value.name_alg) if key else None
    signer = quote.value.qualified_signer if quote else None
    hierarchy = None
    if key is not None and name is not None and signer is not None:
        hierarchy = primary_hierarchy(name, key.value.name_alg, signer)
    return {
        "name": name.hex() if name else None,
        "qualified_signer": signer.hex() if signer is not None else None,
        "hierarchy": hierarchy,
        "obfuscated": None if hierarchy is None else hierarchy not in ("endorsement", "platform"),
    }


def _test_key(evidence: Evidence, key: Framed[TPMT_PUBLIC] | None, quote: Framed[TPMS_ATTEST] | None) -> bool:
    clock = quote.value.clock_info if quote else None
    return claims_soft_tpm(evidence.claims) or made_by_soft_tpm(key.value if key else None, evidence.pcrs, clock)


def _claims(evidence: Evidence) -> dict[str, Any]:
    """Return path → claim of the server, with paths as in a policy's ``[claims]``. Long text is cut."""
    claims: dict[str, Any] = {}

    def walk(holder: dict[Any, Any], path: str, depth: int) -> None:
        for key, value in holder.items():
            if len(claims) == _CLAIMS_MAXIMUM:
                return
            claim_path = f"{path}{str(key)[:_CLAIM_CHARACTERS]}"
            if claim_path in ("payload_id", "tpm_attestation"):
                continue
            if isinstance(value, dict) and value and depth < _CLAIM_DEPTH:
                walk(value, f"{claim_path}.", depth + 1)
            elif value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 1 << 64):
                claims[claim_path] = value
            elif isinstance(value, str):
                claims[claim_path] = value[:_CLAIM_CHARACTERS]
            else:
                kinds = {int: "a large number", float: "a number", list: "an array", dict: "an object"}
                claims[claim_path] = {"kind": kinds.get(type(value), f"a {type(value).__name__}")}

    walk(dict(evidence.claims), "", 1)
    return claims


# ---- fields

_IN_HEX: Final = {"magic": 8, "firmware_version": 16}
"""Fields that are shown in hexadecimal, with their number of digits; other numbers are decimal."""

_IRREGULAR_NAMES: Final = {"curve_id": "curveID"}
"""Field names of Part 2 that a mechanical conversion to camelCase gets wrong."""


def decoded(structure: Structure) -> dict[str, Any]:
    """Return the fields of `structure` as JSON-compatible values: bytes in hex, constants by their specification names.

    The key ``"structure"`` holds the structure's name. A TPMS_PCR_SELECTION also has the indices its bitmap selects.
    """
    fields: dict[str, Any] = {"structure": type(structure).__name__}
    for name in structure.__struct_fields__:
        fields[name] = _plain(name, getattr(structure, name))
    if isinstance(structure, TPMS_PCR_SELECTION):
        fields["indices"] = list(structure.indices)
    return fields


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Structure):
        return decoded(value)
    if isinstance(value, IntEnum):
        return specification_name(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(name, item) for item in value]
    if name == "object_attributes":
        return {"value": f"0x{value:08x}", "set": attribute_names(value)}
    if _IN_HEX.get(name):
        return f"0x{value:0{_IN_HEX[name]}x}"
    return value


def field_name(field: str) -> str:
    """Return a field's name as Part 2 spells it: ``"extra_data"`` → ``"extraData"``."""
    first, *rest = field.split("_")
    return _IRREGULAR_NAMES.get(field) or first + "".join(word.title() for word in rest)


# ---- text

_BLOBS: Final = {"quote": "quote_b64", "signature": "signature_b64", "key": "aik_pubkey_b64"}
_OBFUSCATED: Final = frozenset({"firmware_version", "reset_count", "restart_count"})
_OBFUSCATION: Final = {
    True: " (obfuscated for this key)",
    False: "",
    None: " (may be obfuscated: the key's hierarchy is unknown)",
}
"""Notes on the fields that a TPM obfuscates for keys outside the endorsement and platform hierarchies."""

_COMPARISONS: Final = {True: "the same", False: "NOT the same", None: "cannot be compared"}


def inspection_text(name: str, document: dict[str, Any], style: TextStyle) -> str:
    """Format the document that `inspection` returns, without a final newline."""
    lines = [style.paint(sanitize(name), "bold"), ""]
    if not document["available"]:
        lines += style.wrap(f"No evidence: {excerpt(document['absence'] or '')}.")
        lines += _claim_rows(document, style)
        return "\n".join(lines)
    lines += _freshness(document, style)
    lines += _pcr_rows(document, style)
    lines += _aik_rows(document, style)
    for blob, key in _BLOBS.items():
        lines += ["", *_blob_rows(key, document[blob], style, _OBFUSCATION[document["aik"]["obfuscated"]])]
    lines += _claim_rows(document, style)
    lines += [
        "",
        *style.wrap("No verdict: the evidence is shown, not appraised. To appraise it: nomyo-attest verify"),
    ]
    return "\n".join(lines)


def _title(text: str, style: TextStyle) -> str:
    return style.paint(text, "bold")


def _freshness(document: dict[str, Any], style: TextStyle) -> list[str]:
    nonce, payload_id = document["nonce"], document["payload_id"]
    rows = [("payload id", excerpt(payload_id) if payload_id is not None else "none recorded")]
    if nonce["of_payload_id"] is not None:
        rows.append(("its nonce", f"{nonce['of_payload_id']} (SHA-256(payload id)[:16])"))
    if nonce["extra_data"] is not None:
        compared = f" ({_COMPARISONS[nonce['matches']]})" if nonce["matches"] is not None else ""
        rows.append(("extraData", (nonce["extra_data"] or "no bytes") + compared))
    return [_title("Freshness", style), *style.pairs(rows)]


def _pcr_rows(document: dict[str, Any], style: TextStyle) -> list[str]:
    rows = []
    for pcr in document["pcrs"]:
        signed = {True: "", False: "  NOT signed", None: "  not known to be signed"}[pcr["signed"]]
        rows.append((f"{pcr['bank']}:{pcr['index']}", f"{pcr['value'] or 'signed, but not reported'}{signed}"))
    digest = document["pcr_digest"]
    if digest is not None:
        rows.append(("pcrDigest", digest["signed"] or "no bytes"))
        of_values = f"{digest['hash']} of the values" if digest["hash"] else "of the values"
        if digest["matches"]:
            rows.append(("", f"= {of_values}, in signed order"))
        else:
            rows.append(
                ("", f"{of_values}: {digest['of_values'] or 'cannot be computed'} ({_COMPARISONS[digest['matches']]})")
            )
    return ["", _title(f"PCRs {sanitize(document['pcr_banks'])}", style), *style.pairs(rows)]


def _aik_rows(document: dict[str, Any], style: TextStyle) -> list[str]:
    aik = document["aik"]
    unknown = "unknown: a blob does not parse"
    if aik["hierarchy"]:
        hierarchy = f"{aik['hierarchy']}: qualifiedSigner is that of a primary key in it"
    elif aik["name"] and aik["qualified_signer"] is not None:
        hierarchy = "none: the AIK is not a primary key, or the quote was signed by a different key"
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


def _blob_rows(key: str, blob: dict[str, Any], style: TextStyle, obfuscation: str) -> list[str]:
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
        title = f"{indent}{field_name(name)}"
        if isinstance(value, dict) and "structure" in value:
            yield title, value["structure"]
            yield from _fields(value, indent + "  ", obfuscation)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                yield title, item["structure"]
                yield from _fields(item, indent + "  ", obfuscation)
        else:
            text = _value(name, value)
            if name == "firmware_version" and obfuscation != _OBFUSCATION[True]:
                text = firmware_text(text)
            yield title, text + (obfuscation if name in _OBFUSCATED else "")


def _value(name: str, value: Any) -> str:
    if name == "object_attributes":
        return f"{value['value']}: {', '.join(value['set']) or 'none'}"
    if name == "magic":
        return f"{value} ({'TPM_GENERATED_VALUE' if value == '0xff544347' else 'not TPM_GENERATED_VALUE'})"
    if name == "clock":
        return f"{value} ms ({duration(value / 1000)} powered)"
    if name == "exponent" and value == 0:
        return "0 (65537)"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) or "no bytes"


def _claim_rows(document: dict[str, Any], style: TextStyle) -> list[str]:
    if not document["claims"]:
        return []
    rows = []
    for path, value in document["claims"].items():
        text = value["kind"] if isinstance(value, dict) else json.dumps(value, ensure_ascii=False)
        rows.append((excerpt(path, 60), excerpt(text)))
    return ["", _title("Unsigned claims of the server (_metadata)", style), *style.pairs(rows)]
