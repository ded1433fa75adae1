"""Faults of the encrypted response: metadata, plaintext, encryption, package and evidence."""

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


def binding_faults() -> Iterator[Fault]:
    """Yield responses that are not bound to the request."""

    def metadata(name: str, reason: str, change: Callable[[Object], Any]) -> Fault:
        return Fault(
            name, reason, "completion", lambda response: {**response, "_metadata": change(response["_metadata"])}
        )

    reason = "The response contains the payload id of another request."
    yield metadata("echo-payload-id", reason, lambda old: {**old, "payload_id": OTHER_PAYLOAD_ID})
    reason = "The response contains no payload id."
    yield metadata("echo-missing", reason, _remove("payload_id"))
    reason = "The security tier in the response differs from the requested one."
    yield metadata("echo-tier", reason, lambda old: {**old, "security_tier": _different_tier(old["security_tier"])})
    reason = "processed_at in the response differs from processed_at of the package."
    yield metadata("processed-at", reason, lambda old: {**old, "processed_at": old["processed_at"] - 86_400})
    yield metadata("metadata-null", "_metadata is null.", lambda _: None)
    yield metadata("metadata-list", "_metadata is a list.", lambda old: [old])
    yield metadata("metadata-string", "_metadata is a string.", lambda _: "success")
    yield Fault("metadata-missing", "_metadata is missing.", "completion", _remove("_metadata"))
    reason = "The response to an earlier request is sent again."
    yield Fault("replay", reason, "bodies", lambda bodies: (bodies[1] or bodies[0], bodies[1]))


def plaintext_faults() -> Iterator[Fault]:
    """Yield plaintexts that are not a JSON object, or are ambiguous JSON."""

    def text(name: str, reason: str, change: Callable[[bytes], bytes]) -> Fault:
        return Fault(f"text-{name}", reason, "plaintext", change)

    yield text("list", "The plaintext is a JSON list.", lambda plain: b"[" + plain + b"]")
    yield text("null", "The plaintext is null.", lambda _: b"null")
    yield text("nan", "The plaintext contains NaN.", lambda plain: plain[:-1] + b', "score": NaN}')
    yield text("infinity", "The plaintext contains -Infinity.", lambda plain: plain[:-1] + b', "score": -Infinity}')
    yield text("huge-number", "The plaintext contains 1e999.", lambda plain: plain[:-1] + b', "score": 1e999}')
    yield text("not-json", "The plaintext is not JSON.", lambda _: b"Hello.")
    yield text("truncated", "The plaintext is truncated.", lambda plain: plain[: len(plain) // 2])
    yield text("empty", "The plaintext is empty.", lambda _: b"")
    yield text("not-utf8", "The plaintext is not UTF-8.", lambda plain: plain[:-1] + b', "x": "\xff"}')
    yield text("duplicate-key", "The plaintext contains a duplicate key.", lambda plain: b'{"id": "x", ' + plain[1:])
    yield text("deep", "The plaintext is nested too deeply.", lambda _: b"[" * 5000 + b"]" * 5000)


def encryption_faults() -> Iterator[Fault]:
    """Yield packages that are not encrypted as the protocol requires, or to the wrong key."""
    reason = "The response is encrypted to a key that is not the client's."
    yield Fault("client-key-swapped", reason, "recipient", lambda key: _new_public_key(key.key_size))
    reason = "The AES key is 128 bits long."
    yield Fault("encryption-aes-128", reason, "encrypt", lambda _: functools.partial(encrypt_incorrectly, key_bytes=16))
    reason = "The nonce is 8 bytes long."
    yield Fault(
        "encryption-nonce-8", reason, "encrypt", lambda _: functools.partial(encrypt_incorrectly, nonce_bytes=8)
    )
    reason = "The tag is 12 bytes long."
    yield Fault("encryption-tag-12", reason, "encrypt", lambda _: functools.partial(encrypt_incorrectly, tag_bytes=12))
    reason = "The tag is at the end of the ciphertext instead of in its own field."
    yield Fault(
        "encryption-tag-inside", reason, "encrypt", lambda _: functools.partial(encrypt_incorrectly, tag_inside=True)
    )
    yield _encrypted_payload_fault("encryption-tag-flipped", "One bit of the tag is flipped.", "tag", _flip_bit)
    yield _encrypted_payload_fault(
        "encryption-ciphertext-flipped", "One bit of the ciphertext is flipped.", "ciphertext", _flip_bit
    )
    yield _encrypted_payload_fault("encryption-nonce-flipped", "One bit of the nonce is flipped.", "nonce", _flip_bit)
    reason = "One bit of the encrypted AES key is flipped."
    yield _package_fault("encryption-key-flipped", reason, _change("encrypted_aes_key", _flip_bit))


def package_faults() -> Iterator[Fault]:
    """Yield packages whose form differs from the protocol."""
    yield _package_fault("package-version", 'The version is "0.9".', _set("version", "0.9"))
    yield _package_fault(
        "package-algorithm", "algorithm has an unexpected value.", _set("algorithm", "hybrid-aes128-rsa2048")
    )
    yield _package_fault(
        "package-key-algorithm", "key_algorithm has an unexpected value.", _set("key_algorithm", "RSA-PKCS1-v1_5")
    )
    yield _package_fault(
        "package-payload-algorithm", "payload_algorithm has an unexpected value.", _set("payload_algorithm", "AES-CBC")
    )
    for name in ("version", "algorithm", "encrypted_payload", "encrypted_aes_key"):
        yield _package_fault(f"package-without-{name}", f"{name} is missing.", _remove(name))
    for name in ("ciphertext", "nonce", "tag"):
        reason = f"encrypted_payload has no {name}."
        yield _package_fault(f"package-without-{name}", reason, _change("encrypted_payload", _remove(name)))
    yield _package_fault("package-payload-list", "encrypted_payload is a list.", _set("encrypted_payload", []))
    yield _package_fault("package-list", "The package is a JSON list.", lambda package: [package])
    yield _package_fault("package-processed-at", "The outer processed_at is a string.", _set("processed_at", "now"))
    yield _encrypted_payload_fault(
        "package-base64", "The base64 of the ciphertext contains newlines.", "ciphertext", _wrap_lines
    )
    yield _body_fault("package-not-json", "The package is not JSON.", lambda body: body.replace(b'"', b"'"))
    yield _body_fault("package-truncated", "The package is truncated.", lambda body: body[: len(body) // 2])
    yield _body_fault("package-trailing-data", "A second package follows the first.", lambda body: body + body)


def encrypt_incorrectly(
    plaintext: bytes,
    key: rsa.RSAPublicKey,
    *,
    key_bytes: int = 32,
    nonce_bytes: int = 12,
    tag_bytes: int = 16,
    tag_inside: bool = False,
) -> bytes:
    """Encrypt like `envelope.encrypt`, but with other sizes, or with the tag at the end of the ciphertext.

    The package can still be decrypted. Like the forge of `nomyo_attest.testing`, this function shares no code with the
    implementation that it tests.
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


def _body_fault(name: str, reason: str, change: Callable[[bytes], bytes]) -> Fault:
    return Fault(name, reason, "bodies", lambda bodies: (change(bodies[0]), bodies[1]))


def _package_fault(name: str, reason: str, change: Callable[[Object], Any]) -> Fault:
    return _body_fault(name, reason, lambda body: json.dumps(change(json.loads(body))).encode())


def _encrypted_payload_fault(name: str, reason: str, field: str, change: Callable[[str], str]) -> Fault:
    return _package_fault(name, reason, _change("encrypted_payload", _change(field, change)))


def _set(key: str, value: object) -> Callable[[Object], Object]:
    return lambda parent: {**parent, key: value}


def _change(key: str, change: Callable[[Any], Any]) -> Callable[[Object], Object]:
    return lambda parent: {**parent, key: change(parent[key])}


def _remove(key: str) -> Callable[[Object], Object]:
    return lambda parent: {name: value for name, value in parent.items() if name != key}


def _flip_bit(text: str) -> str:
    """Flip one bit of base64-encoded bytes."""
    octets = bytearray(base64.b64decode(text))
    octets[len(octets) // 2] ^= 1
    return base64.b64encode(octets).decode()


def _wrap_lines(text: str) -> str:
    return "\n".join(text[start : start + 64] for start in range(0, len(text), 64))


def _different_tier(tier: str) -> str:
    return "high" if tier == "standard" else "standard"


@functools.cache
def _new_public_key(bits: int) -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, bits).public_key()


def response_faults() -> Iterator[Fault]:
    """Yield every fault of the response except those of its evidence."""
    yield from binding_faults()
    yield from plaintext_faults()
    yield from encryption_faults()
    yield from package_faults()


def _quote_fault(name: str, reason: str, tamper: Callable[[Forge], object]) -> Fault:
    def change(forge: Forge) -> Forge:
        tamper(forge)
        return forge

    return Fault(f"quote-{name}", reason, "forge", change)


def attest_faults() -> Iterator[Fault]:
    """Yield faults of the signed structure, TPMS_ATTEST."""
    reason = "extraData belongs to another request."
    yield _quote_fault("nonce", reason, lambda forge: forge.tamper("extra_data", lambda data: bytes(len(data))))
    reason = "The structure does not begin with TPM_GENERATED, so no TPM generated it."
    yield _quote_fault("magic", reason, lambda forge: setattr(forge, "magic", 0x00544347))
    yield _quote_fault("type", "The structure is a TPM2_Certify instead of a quote.", _certify)
    reason = "The reported values are swapped between PCRs."
    yield _quote_fault("swapped-values", reason, lambda forge: forge.tamper("pcr_values", _rotate_values))
    reason = "Only a SHA-1 bank is quoted."
    yield _quote_fault(
        "sha1-bank", reason, lambda forge: setattr(forge, "selection", _selection_in_bank(forge, "sha1"))
    )
    reason = "A PCR is reported that the quote does not cover."
    yield _quote_fault("extra-pcr", reason, _report_one_more)
    reason = "A PCR is quoted that is not reported."
    yield _quote_fault("unreported-pcr", reason, _quote_one_more)
    yield _quote_fault("missing-pcr", "The last PCR is neither quoted nor reported.", _omit_last)


def key_and_signature_faults() -> Iterator[Fault]:
    """Yield faults and variants of the key, the signature and the framing."""
    reason = "The key can sign any data: its restricted bit is clear."
    yield _quote_fault(
        "unrestricted", reason, lambda forge: setattr(forge, "attributes", forge.attributes & ~writer.RESTRICTED)
    )
    yield _quote_fault(
        "other-key", "The quote is signed by a key other than the one in the response.", _sign_with_other_key
    )
    reason = "Not a fault: quote_b64 is a TPM2B_ATTEST, as one page of the service's documentation says."
    yield _quote_fault("sized", reason, lambda forge: setattr(forge, "sized_quote", True))
    reason = "Not a fault: aik_pubkey_b64 is a TPMT_PUBLIC, which a verifier should accept."
    yield _quote_fault("bare-key", reason, lambda forge: setattr(forge, "sized_key", False))


def block_faults() -> Iterator[Fault]:
    """Yield faults of the `tpm_attestation` block."""
    for name in ("quote_b64", "signature_b64", "aik_pubkey_b64", "pcr_values", "pcr_banks"):
        reason = f"is_available is true, and {name} is missing."
        yield Fault(f"evidence-without-{name}", reason, "evidence", _remove(name))
    reason = "The response states that no TPM is available."
    yield Fault("evidence-unavailable", reason, "evidence", lambda _: {"is_available": False})
    reason = "tpm_attestation is missing."
    yield Fault("evidence-missing", reason, "completion", _remove_block)


def replacement_forge(block: Mapping[str, Any], payload_id: str) -> Forge:
    """Return a forge that replaces the TPM that made `block`: the same PCRs with the same values, and a new key."""
    label = f"{secrets.token_hex(16)} replacement"
    forge = Forge(key="p256", label=label, payload_id=payload_id, selection=block.get("pcr_banks", "sha256:0,7,10"))
    for bank, values in block.get("pcr_values", {}).items():
        forge.pcrs[bank].update({int(index): bytes.fromhex(value) for index, value in values.items()})
    return forge


def _certify(forge: Forge) -> None:
    name = writer.u16(writer.ALG_SHA256) + bytes(32)
    forge.attest_type = writer.ST_ATTEST_CERTIFY
    forge.tamper("attested", lambda _: writer.tpms_certify_info(name, name))


def _rotate_values(banks: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    changed = {}
    for bank, values in banks.items():
        first, *rest = values.values()
        changed[bank] = dict(zip(values, [*rest, first] if rest else [first[::-1]], strict=True))
    return changed


def _selection_in_bank(forge: Forge, bank: str) -> str:
    return f"{bank}:{forge.selection.partition('+')[0].partition(':')[2]}"


def _report_one_more(forge: Forge) -> None:
    selection, bank, index = _add_pcr_to_last_bank(forge)
    forge.tamper("pcr_banks", lambda _: selection)
    value = forge.pcrs[bank][index].hex()
    forge.tamper("pcr_values", lambda banks: {**banks, bank: {**banks[bank], str(index): value}})


def _quote_one_more(forge: Forge) -> None:
    _, bank, index = _add_pcr_to_last_bank(forge)
    forge.tamper(
        "selections", lambda banks: [(name, [*indices, index] if name == bank else indices) for name, indices in banks]
    )


def _add_pcr_to_last_bank(forge: Forge) -> tuple[str, str, int]:
    """Return the forge's selection with one more PCR in its last bank, that bank and that PCR."""
    before, plus, last = forge.selection.rpartition("+")
    bank, _, text = last.partition(":")
    indices = {int(number) for number in text.split(",")}
    index = next(number for number in range(24) if number not in indices)
    return f"{before}{plus}{bank}:{','.join(map(str, sorted({*indices, index})))}", bank, index


def _omit_last(forge: Forge) -> None:
    before, comma, last = forge.selection.rpartition(",")
    if comma and last.isdecimal():
        forge.selection = before
    else:  # the last bank has only one PCR: select a different one instead
        selection, _, index = _add_pcr_to_last_bank(forge)
        forge.selection = f"{selection.rpartition(':')[0]}:{index}"


def _sign_with_other_key(forge: Forge) -> None:
    recorded: list[bytes] = []

    def record(attest: bytes) -> bytes:
        recorded.append(attest)
        return attest

    def sign(_: bytes) -> bytes:
        other = Forge(key=forge.key, label=forge.label + " other key")
        return other.tamper("signed", lambda _: recorded[-1]).build().signature

    forge.tamper("attest", record).tamper("signature", sign)


def _remove_block(response: Object) -> Object:
    return {**response, "_metadata": _remove("tpm_attestation")(response["_metadata"])}


def evidence_faults() -> Iterator[Fault]:
    """Yield every fault of the evidence."""
    yield from attest_faults()
    yield from key_and_signature_faults()
    yield from block_faults()
