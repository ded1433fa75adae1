"""What evidence says, decoded as far as it can be, and judged by nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from nomyo_attest.appraisal.case import SignedSelection
from nomyo_attest.appraisal.soft_tpm import made_by_soft_tpm, says_soft
from nomyo_attest.crypto.hashes import HASHERS, payload_nonce
from nomyo_attest.crypto.keys import key_name, primary_hierarchy
from nomyo_attest.errors import ParseError
from nomyo_attest.evidence.response import Evidence
from nomyo_attest.report.decoded import decoded
from nomyo_attest.tpm.attest import TPMS_ATTEST, TPMS_QUOTE_INFO
from nomyo_attest.tpm.codec import Structure
from nomyo_attest.tpm.constants import HASH_NAMES
from nomyo_attest.tpm.framing import Framed, parse_attest, parse_public
from nomyo_attest.tpm.public import TPMT_PUBLIC
from nomyo_attest.tpm.signature import TPMT_SIGNATURE

FORMAT: Final = "nomyo-attest-inspect/1"

_CLAIMS_MAXIMUM: Final = 64
_CLAIM_DEPTH: Final = 4
_CLAIM_CHARACTERS: Final = 300
"""How much is shown of what the server says of itself: far more than the protocol has."""

T = TypeVar("T")


def inspection(evidence: Evidence) -> tuple[dict[str, Any], list[ParseError]]:
    """Everything that `evidence` says, in JSON's types, and why its blobs do not parse, where they do not.

    Nothing is appraised: ``matches`` and ``hierarchy`` are arithmetic on the values beside them. ``obfuscated`` says
    whether a TPM obfuscates firmwareVersion, resetCount and restartCount for this key, None if that is unknown (Part 1,
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
        "quote": _blob(evidence.quote, quote_error, *_told(quote)),
        "signature": _blob(evidence.signature, signature_error, signature, "TPMT_SIGNATURE" if signature else None),
        "key": _blob(evidence.aik_public, key_error, *_told(key)),
    }
    return document, [error for error in (quote_error, signature_error, key_error) if error is not None]


def _parsed(parse: Callable[[bytes], T], data: bytes) -> tuple[T | None, ParseError | None]:
    try:
        return parse(data), None
    except ParseError as error:
        return None, error


def _told(framed: Framed[Any] | None) -> tuple[Structure | None, str | None]:
    return (framed.value, framed.framing) if framed is not None else (None, None)


def _blob(data: bytes, error: ParseError | None, value: Structure | None, framing: str | None) -> dict[str, Any]:
    """One blob: its fields, or where it goes wrong and its bytes."""
    told = ("where", "offset", "expected", "got")
    return {
        "bytes": len(data),
        "framing": framing,
        "fields": decoded(value) if value is not None else None,
        "error": {name: getattr(error, name) for name in told} if error is not None else None,
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
    """Every PCR that is reported or signed; whether it is signed is None where that is not known."""
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
    computed = selection.digest_of(evidence.pcrs, algorithm) if algorithm and algorithm in HASHERS else None
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
    return says_soft(evidence.claims) or made_by_soft_tpm(key.value if key else None, evidence.pcrs, clock)


def _claims(evidence: Evidence) -> dict[str, Any]:
    """The server's words, by the paths that a policy's ``[claims]`` uses; text cut at 300 characters."""
    found: dict[str, Any] = {}

    def walk(holder: dict[Any, Any], path: str, depth: int) -> None:
        for key, value in holder.items():
            if len(found) == _CLAIMS_MAXIMUM:
                return
            where = f"{path}{str(key)[:_CLAIM_CHARACTERS]}"
            if where in ("payload_id", "tpm_attestation"):
                continue
            if isinstance(value, dict) and value and depth < _CLAIM_DEPTH:
                walk(value, f"{where}.", depth + 1)
            elif value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 1 << 64):
                found[where] = value
            elif isinstance(value, str):
                found[where] = value[:_CLAIM_CHARACTERS]
            else:
                kinds = {int: "a large number", float: "a number", list: "an array", dict: "an object"}
                found[where] = {"kind": kinds.get(type(value), f"a {type(value).__name__}")}

    walk(dict(evidence.claims), "", 1)
    return found
