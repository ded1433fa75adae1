"""Faults of the encrypted response: metadata, plaintext, encryption, package, and evidence."""

from __future__ import annotations

import base64
import functools
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from nomyo.router.faults.model import Fault
from nomyo_attest.testing import Forge, writer

Object = dict[str, Any]

OTHER_PAYLOAD_ID: Final = "6f1c8a52-0d3e-4b7a-9c45-2e8f7d10b364"
"""A payload id that no request has."""


def echoes() -> Iterator[Fault]:
    """Responses that are not bound to the request."""

    def metadata(name: str, reason: str, change: Callable[[Object], Any]) -> Fault:
        return Fault(
            name, reason, "completion", lambda response: {**response, "_metadata": change(response["_metadata"])}
        )

    reason = "The response contains the payload id of another request."
    yield metadata("echo-payload-id", reason, lambda old: {**old, "payload_id": OTHER_PAYLOAD_ID})
    reason = "The response contains no payload id."
    yield metadata("echo-none", reason, lambda old: {key: one for key, one in old.items() if key != "payload_id"})
    reason = "The response has another security tier than was requested."
    yield metadata("echo-tier", reason, lambda old: {**old, "security_tier": _another_tier(old["security_tier"])})
    reason = "processed_at in the response differs from processed_at of the package."
    yield metadata("processed-at", reason, lambda old: {**old, "processed_at": old["processed_at"] - 86_400})
    yield metadata("metadata-null", "_metadata is null.", lambda _: None)
    yield metadata("metadata-list", "_metadata is a list.", lambda old: [old])
    yield metadata("metadata-string", "_metadata is a string.", lambda _: "success")
    yield Fault("metadata-missing", "There is no _metadata.", "completion", _without("_metadata"))
    reason = "The response to an earlier request is sent again."
    yield Fault("replay", reason, "bodies", lambda bodies: (bodies[1] or bodies[0], bodies[1]))


def texts() -> Iterator[Fault]:
    """Plaintexts that are not a JSON object, or an ambiguous one."""

    def text(name: str, reason: str, change: Callable[[bytes], bytes]) -> Fault:
        return Fault(f"text-{name}", reason, "plaintext", change)

    yield text("list", "The plaintext is a JSON list.", lambda plain: b"[" + plain + b"]")
    yield text("null", "The plaintext is null.", lambda _: b"null")
    yield text("nan", "The plaintext contains NaN.", lambda plain: plain[:-1] + b', "score": NaN}')
    yield text("infinity", "The plaintext contains an infinity.", lambda plain: plain[:-1] + b', "score": -Infinity}')
    yield text("huge-number", "The plaintext contains 1e999.", lambda plain: plain[:-1] + b', "score": 1e999}')
    yield text("not-json", "The plaintext is not JSON.", lambda _: b"Hello.")
    yield text("cut", "The plaintext ends early.", lambda plain: plain[: len(plain) // 2])
    yield text("empty", "The plaintext is empty.", lambda _: b"")
    yield text("not-utf8", "The plaintext is not UTF-8.", lambda plain: plain[:-1] + b', "x": "\xff"}')
    yield text("key-twice", "The plaintext contains a duplicate key.", lambda plain: b'{"id": "x", ' + plain[1:])
    yield text("deep", "The plaintext is nested too deep.", lambda _: b"[" * 5000 + b"]" * 5000)


def encryptions() -> Iterator[Fault]:
    """Packages that are not encrypted as the protocol requires, or to another key."""
    reason = "The response is encrypted to another key than the client's."
    yield Fault("client-key-swapped", reason, "recipient", lambda key: _another_key(key.key_size))
    reason = "The AES key has 128 bits."
    yield Fault("encryption-aes-128", reason, "encrypt", lambda _: functools.partial(badly_encrypted, key_bytes=16))
    reason = "The nonce has 8 bytes."
    yield Fault("encryption-nonce-8", reason, "encrypt", lambda _: functools.partial(badly_encrypted, nonce_bytes=8))
    reason = "The tag has 12 bytes."
    yield Fault("encryption-tag-12", reason, "encrypt", lambda _: functools.partial(badly_encrypted, tag_bytes=12))
    reason = "The tag is at the end of the ciphertext instead of in its own field."
    yield Fault(
        "encryption-tag-inside", reason, "encrypt", lambda _: functools.partial(badly_encrypted, tag_inside=True)
    )
    yield _inner("encryption-tag-flipped", "One bit of the tag differs.", "tag", _flipped)
    yield _inner("encryption-text-flipped", "One bit of the ciphertext differs.", "ciphertext", _flipped)
    yield _inner("encryption-nonce-flipped", "One bit of the nonce differs.", "nonce", _flipped)
    reason = "One bit of the encrypted AES key differs."
    yield _package("encryption-key-flipped", reason, _changed("encrypted_aes_key", _flipped))


def packages() -> Iterator[Fault]:
    """Packages whose form differs from that of the protocol."""
    yield _package("package-version", 'The version is "0.9".', _set("version", "0.9"))
    yield _package("package-algorithm", "algorithm has another value.", _set("algorithm", "hybrid-aes128-rsa2048"))
    yield _package("package-key-algorithm", "key_algorithm has another value.", _set("key_algorithm", "RSA-PKCS1-v1_5"))
    yield _package(
        "package-payload-algorithm", "payload_algorithm has another value.", _set("payload_algorithm", "AES-CBC")
    )
    for name in ("version", "algorithm", "encrypted_payload", "encrypted_aes_key"):
        yield _package(f"package-without-{name}", f"{name} is missing.", _without(name))
    for name in ("ciphertext", "nonce", "tag"):
        reason = f"encrypted_payload has no {name}."
        yield _package(f"package-without-{name}", reason, _changed("encrypted_payload", _without(name)))
    yield _package("package-payload-list", "encrypted_payload is a list.", _set("encrypted_payload", []))
    yield _package("package-list", "The package is a JSON list.", lambda package: [package])
    yield _package("package-processed-at", "The outer processed_at is a string.", _set("processed_at", "now"))
    yield _inner("package-base64", "The ciphertext's base64 is broken into lines.", "ciphertext", _broken)
    yield _body("package-not-json", "The package is not JSON.", lambda body: body.replace(b'"', b"'"))
    yield _body("package-cut", "The package is cut in the middle.", lambda body: body[: len(body) // 2])
    yield _body("package-more", "A second package follows the first.", lambda body: body + body)


def badly_encrypted(
    plaintext: bytes,
    key: rsa.RSAPublicKey,
    *,
    key_bytes: int = 32,
    nonce_bytes: int = 12,
    tag_bytes: int = 16,
    tag_inside: bool = False,
) -> bytes:
    """Encrypt like `envelope.encrypt`, but with other sizes or the tag elsewhere; the package can still be decrypted.

    Like the forge of `nomyo_attest.testing`, this shares no code with the code that it tests.
    """
    aes_key, nonce = os.urandom(key_bytes), os.urandom(nonce_bytes)
    encryptor = Cipher(algorithms.AES(aes_key), modes.GCM(nonce)).encryptor()
    ciphertext = encryptor.update(plaintext) + encryptor.finalize()
    tag = encryptor.tag[:tag_bytes]
    parts = {"ciphertext": ciphertext + tag if tag_inside else ciphertext, "nonce": nonce, "tag": tag}
    if tag_inside:
        del parts["tag"]
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    package = {
        "version": "1.0",
        "algorithm": "hybrid-aes256-rsa4096",
        "encrypted_payload": {name: base64.b64encode(part).decode() for name, part in parts.items()},
        "encrypted_aes_key": base64.b64encode(key.encrypt(aes_key, oaep)).decode(),
        "key_algorithm": "RSA-OAEP-SHA256",
        "payload_algorithm": "AES-256-GCM",
    }
    return json.dumps(package).encode()


def _body(name: str, reason: str, change: Callable[[bytes], bytes]) -> Fault:
    return Fault(name, reason, "bodies", lambda bodies: (change(bodies[0]), bodies[1]))


def _package(name: str, reason: str, change: Callable[[Object], Any]) -> Fault:
    return _body(name, reason, lambda body: json.dumps(change(json.loads(body))).encode())


def _inner(name: str, reason: str, field: str, change: Callable[[str], str]) -> Fault:
    return _package(name, reason, _changed("encrypted_payload", _changed(field, change)))


def _set(key: str, value: object) -> Callable[[Object], Object]:
    return lambda holder: {**holder, key: value}


def _changed(key: str, change: Callable[[Any], Any]) -> Callable[[Object], Object]:
    return lambda holder: {**holder, key: change(holder[key])}


def _without(key: str) -> Callable[[Object], Object]:
    return lambda holder: {other: value for other, value in holder.items() if other != key}


def _flipped(text: str) -> str:
    """Flip one bit of base64-encoded bytes."""
    octets = bytearray(base64.b64decode(text))
    octets[len(octets) // 2] ^= 1
    return base64.b64encode(octets).decode()


def _broken(text: str) -> str:
    return "\n".join(text[start : start + 64] for start in range(0, len(text), 64))


def _another_tier(tier: str) -> str:
    return "high" if tier == "standard" else "standard"


@functools.cache
def _another_key(bits: int) -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, bits).public_key()


def response_faults() -> Iterator[Fault]:
    """Every fault of this kind."""
    yield from echoes()
    yield from texts()
    yield from encryptions()
    yield from packages()


def _forge(name: str, reason: str, tamper: Callable[[Forge], object]) -> Fault:
    def change(forge: Forge) -> Forge:
        tamper(forge)
        return forge

    return Fault(f"quote-{name}", reason, "forge", change)


def statements() -> Iterator[Fault]:
    """Faults of the signed structure."""
    reason = "extraData is that of another request."
    yield _forge("nonce", reason, lambda forge: forge.tamper("extra_data", lambda data: bytes(len(data))))
    reason = "The structure does not begin with TPM_GENERATED, so no TPM generated it."
    yield _forge("magic", reason, lambda forge: setattr(forge, "magic", 0x00544347))
    yield _forge("type", "The structure is a TPM2_Certify instead of a quote.", _certify)
    reason = "The reported values are swapped between PCRs."
    yield _forge("swapped-values", reason, lambda forge: forge.tamper("pcr_values", _swapped))
    reason = "Only a SHA-1 bank is quoted."
    yield _forge("sha1-bank", reason, lambda forge: setattr(forge, "selection", _of_first_bank(forge, "sha1")))
    reason = "A PCR is reported that the quote does not cover."
    yield _forge("extra-pcr", reason, _reports_more)
    reason = "A PCR is quoted that is not reported."
    yield _forge("unreported-pcr", reason, _signs_more)
    yield _forge("missing-pcr", "The last PCR is neither quoted nor reported.", _quotes_less)


def keys_and_signatures() -> Iterator[Fault]:
    """Faults of the key, the signature and the framing."""
    reason = "The key can sign any data: its restricted bit is clear."
    yield _forge(
        "unrestricted", reason, lambda forge: setattr(forge, "attributes", forge.attributes & ~writer.RESTRICTED)
    )
    yield _forge("other-key", "The quote is signed by another key than the one that is sent.", _signed_by_another)
    reason = "Not a fault: quote_b64 is a TPM2B_ATTEST, as one page of the service describes it."
    yield _forge("sized", reason, lambda forge: setattr(forge, "sized_quote", True))
    reason = "Not a fault: aik_pubkey_b64 is a TPMT_PUBLIC, which a reader should accept."
    yield _forge("bare-key", reason, lambda forge: setattr(forge, "sized_key", False))


def blocks() -> Iterator[Fault]:
    """Faults of the `tpm_attestation` block."""
    for name in ("quote_b64", "signature_b64", "aik_pubkey_b64", "pcr_values", "pcr_banks"):
        reason = f"is_available is true, and {name} is missing."
        yield Fault(f"evidence-without-{name}", reason, "evidence", _without_field(name))
    reason = "The response says that there is no TPM."
    yield Fault("evidence-unavailable", reason, "evidence", lambda _: {"is_available": False})
    reason = "tpm_attestation is missing."
    yield Fault("evidence-none", reason, "completion", _without_block)


def stand_in(block: Mapping[str, Any], payload_id: str) -> Forge:
    """Return a forge that replaces the TPM of `block`: the same PCRs with the same values, and a new key."""
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
    """Return the selection with one more PCR in its last bank, that bank and that PCR."""
    before, plus, last = forge.selection.rpartition("+")
    bank, _, text = last.partition(":")
    indices = {int(one) for one in text.split(",")}
    index = next(one for one in range(24) if one not in indices)
    return f"{before}{plus}{bank}:{','.join(map(str, sorted({*indices, index})))}", bank, index


def _quotes_less(forge: Forge) -> None:
    before, comma, last = forge.selection.rpartition(",")
    if comma and last.isdecimal():
        forge.selection = before
    else:  # the last bank has only one PCR, which is replaced by another
        selection, _, index = _with_one_more(forge)
        forge.selection = f"{selection.rpartition(':')[0]}:{index}"


def _signed_by_another(forge: Forge) -> None:
    attests: list[bytes] = []

    def record(attest: bytes) -> bytes:
        attests.append(attest)
        return attest

    def sign(_: bytes) -> bytes:
        other = Forge(key=forge.key, label=forge.label + " another")
        return other.tamper("signed", lambda _: attests[-1]).build().signature

    forge.tamper("attest", record).tamper("signature", sign)


def _without_field(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda block: {key: value for key, value in block.items() if key != name}


def _without_block(response: dict[str, Any]) -> dict[str, Any]:
    return {**response, "_metadata": _without_field("tpm_attestation")(response["_metadata"])}


def evidence_faults() -> Iterator[Fault]:
    """Every fault of this kind."""
    yield from statements()
    yield from keys_and_signatures()
    yield from blocks()
