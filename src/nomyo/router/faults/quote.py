"""Faults of the evidence. They are made with the soft TPM, on the PCR values of the TPM it stands in for."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nomyo.router.faults.model import Fault
from nomyo_attest.testing import Forge, writer


def _forge(name: str, reason: str, tamper: Callable[[Forge], object]) -> Fault:
    def change(forge: Forge) -> Forge:
        tamper(forge)
        return forge

    return Fault(f"quote-{name}", reason, "forge", change)


def statements() -> Iterator[Fault]:
    """What is signed."""
    reason = "extraData is that of another request."
    yield _forge("nonce", reason, lambda forge: forge.tamper("extra_data", lambda data: bytes(len(data))))
    reason = "The structure does not begin with TPM_GENERATED: no TPM made it."
    yield _forge("magic", reason, lambda forge: setattr(forge, "magic", 0x00544347))
    yield _forge("type", "It is a TPM2_Certify, passed off as a quote.", _certify)
    reason = "The reported values stand under each other's PCRs."
    yield _forge("swapped-values", reason, lambda forge: forge.tamper("pcr_values", _swapped))
    reason = "Only a SHA-1 bank is quoted."
    yield _forge("sha1-bank", reason, lambda forge: setattr(forge, "selection", _of_first_bank(forge, "sha1")))
    reason = "A PCR is reported that the quote does not cover."
    yield _forge("extra-pcr", reason, _reports_more)
    reason = "A PCR is quoted that is not reported."
    yield _forge("unreported-pcr", reason, _signs_more)
    yield _forge("missing-pcr", "The last PCR is neither quoted nor reported.", _quotes_less)


def keys_and_signatures() -> Iterator[Fault]:
    """Who signed, and how it is packed."""
    reason = "The key may sign anything: its restricted bit is clear."
    yield _forge(
        "unrestricted", reason, lambda forge: setattr(forge, "attributes", forge.attributes & ~writer.RESTRICTED)
    )
    yield _forge("other-key", "Another key signed than the one that is sent.", _signed_by_another)
    reason = "quote_b64 is a TPM2B_ATTEST: nothing is wrong, one page of the service says so."
    yield _forge("sized", reason, lambda forge: setattr(forge, "sized_quote", True))
    reason = "aik_pubkey_b64 is a TPMT_PUBLIC: nothing is wrong that a reader could not tolerate."
    yield _forge("bare-key", reason, lambda forge: setattr(forge, "sized_key", False))


def blocks() -> Iterator[Fault]:
    """What is sent of it."""
    for name in ("quote_b64", "signature_b64", "aik_pubkey_b64", "pcr_values", "pcr_banks"):
        reason = f"is_available is true, and {name} is missing."
        yield Fault(f"evidence-without-{name}", reason, "evidence", _without(name))
    reason = "The router says that it has no TPM."
    yield Fault("evidence-unavailable", reason, "evidence", lambda _: {"is_available": False})
    reason = "tpm_attestation is missing."
    yield Fault("evidence-none", reason, "completion", _without_block)


def stand_in(block: Mapping[str, Any], payload_id: str) -> Forge:
    """A forge for the TPM that made `block`: the same PCRs with the same values, and a key of its own."""
    label = f"{secrets.token_hex(16)} stand-in"
    forge = Forge(key="p256", label=label, payload_id=payload_id, selection=block.get("pcr_banks", "sha256:0,7,10"))
    for bank, values in block.get("pcr_values", {}).items():
        forge.pcrs[bank].update({int(index): bytes.fromhex(value) for index, value in values.items()})
    return forge


def _certify(forge: Forge) -> None:
    name = writer.u16(writer.ALG_SHA256) + bytes(32)
    forge.attest_type = writer.ST_ATTEST_CERTIFY
    forge.tamper("attested", lambda _: writer.tpms_certify_info(name, name))


def _swapped(banks: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    changed = {}
    for bank, values in banks.items():
        first, *rest = values.values()
        changed[bank] = dict(zip(values, [*rest, first] if rest else [first[::-1]], strict=True))
    return changed


def _of_first_bank(forge: Forge, bank: str) -> str:
    return f"{bank}:{forge.selection.partition('+')[0].partition(':')[2]}"


def _reports_more(forge: Forge) -> None:
    selection, bank, index = _with_one_more(forge)
    forge.tamper("pcr_banks", lambda _: selection)
    value = forge.pcrs[bank][index].hex()
    forge.tamper("pcr_values", lambda banks: {**banks, bank: {**banks[bank], str(index): value}})


def _signs_more(forge: Forge) -> None:
    _, bank, index = _with_one_more(forge)
    forge.tamper("selections", lambda banks: [(one, [*of, index] if one == bank else of) for one, of in banks])


def _with_one_more(forge: Forge) -> tuple[str, str, int]:
    """The selection with one more PCR in its only or last bank, that bank and that PCR."""
    before, plus, last = forge.selection.rpartition("+")
    bank, _, text = last.partition(":")
    indices = {int(one) for one in text.split(",")}
    index = next(one for one in range(24) if one not in indices)
    return f"{before}{plus}{bank}:{','.join(map(str, sorted({*indices, index})))}", bank, index


def _quotes_less(forge: Forge) -> None:
    before, comma, last = forge.selection.rpartition(",")
    if comma and last.isdecimal():
        forge.selection = before
    else:  # the last bank has one PCR alone: another takes its place
        selection, _, index = _with_one_more(forge)
        forge.selection = f"{selection.rpartition(':')[0]}:{index}"


def _signed_by_another(forge: Forge) -> None:
    attests: list[bytes] = []

    def keep(attest: bytes) -> bytes:
        attests.append(attest)
        return attest

    def sign(_: bytes) -> bytes:
        other = Forge(key=forge.key, label=forge.label + " another")
        return other.tamper("signed", lambda _: attests[-1]).answer().signature

    forge.tamper("attest", keep).tamper("signature", sign)


def _without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda block: {key: value for key, value in block.items() if key != name}


def _without_block(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "_metadata": _without("tpm_attestation")(answer["_metadata"])}


def faults() -> Iterator[Fault]:
    """All of them."""
    yield from statements()
    yield from keys_and_signatures()
    yield from blocks()
