"""Quotes recorded elsewhere: every file of the folder that NOMYO_EXTRA_VECTORS names, in the form its README.md tells.

What a file expects is taken at its word. What a policy must soften for it follows from what stands in the file (a
SHA-1 bank, a nonce that nobody published …), never from its name. Where only the key is known (SPKI, X.509), a
TPMT_PUBLIC with the attributes of an AIK is built around it: the quote's signer is then another Name's, so signer.name
proves nothing there and key.hierarchy is not asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import nomyo_attest as na
from nomyo_attest.crypto.keys import VerificationKey, key_name, verification_key
from nomyo_attest.crypto.signatures import verify_signature
from nomyo_attest.tpm import TPMS_ATTEST, TPMS_QUOTE_INFO, TPMT_SIGNATURE, parse_attest, parse_public
from nomyo_attest.tpm.constants import HASH_NAMES, TPM_ALG_ID

FOLDER = os.environ.get("NOMYO_EXTRA_VECTORS", "")
WITHOUT = pytest.mark.skip(reason="NOMYO_EXTRA_VECTORS names no folder of extra vectors")
PATHS: list[Any] = sorted(Path(FOLDER).glob("*.json")) if FOLDER else []
every_vector = pytest.mark.parametrize(
    "path", PATHS or [pytest.param(Path(), marks=WITHOUT, id="none")], ids=lambda p: p.stem
)

TOLD = r"\b{}[._]name\b[^=]{{0,20}}=\s*([0-9a-f]{{44,132}})\b"  # "ak.name file = 000b…", "ek_name=000b…"
STRONG = ("sha256", "sha384", "sha512")
AIK_ATTRIBUTES = 0x00050072
CURVES = {"secp256r1": 0x0003, "secp384r1": 0x0004, "secp521r1": 0x0005}


def tpm2b(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def area_around(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, scheme: bytes, name_alg: bytes) -> bytes:
    """A TPMT_PUBLIC for a key of which nothing else is known: `scheme` is that of the signature, with its hash."""
    null = b"\0\x10"
    numbers = key.public_numbers()
    head = name_alg + AIK_ATTRIBUTES.to_bytes(4, "big") + tpm2b(b"") + null + scheme
    if isinstance(numbers, rsa.RSAPublicNumbers):
        size = (numbers.n.bit_length() + 7) // 8
        exponent = (0 if numbers.e == 65537 else numbers.e).to_bytes(4, "big")
        return (
            b"\0\x01"
            + head
            + numbers.n.bit_length().to_bytes(2, "big")
            + exponent
            + tpm2b(numbers.n.to_bytes(size, "big"))
        )
    size = (numbers.curve.key_size + 7) // 8
    point = tpm2b(numbers.x.to_bytes(size, "big")) + tpm2b(numbers.y.to_bytes(size, "big"))
    return b"\0\x23" + head + CURVES[numbers.curve.name].to_bytes(2, "big") + null + point


@dataclass(frozen=True)
class Vector:
    """One file."""

    document: dict[str, Any]

    def blob(self, name: str) -> bytes | None:
        text = self.document.get(name)
        return None if text is None else bytes.fromhex(text)

    @property
    def expect(self) -> dict[str, Any]:
        expect: dict[str, Any] = self.document["expect"]
        return expect

    @property
    def notes(self) -> str:
        return str(self.document.get("notes", ""))

    @property
    def pcrs(self) -> dict[str, dict[str, str]]:
        pcrs: dict[str, dict[str, str]] = self.document.get("pcrs") or {}
        return pcrs

    @property
    def attest(self) -> bytes:
        attest = self.blob("attest_hex")
        assert attest is not None
        return attest

    @cached_property
    def parsed(self) -> TPMS_ATTEST | None:
        """The quote; None if it does not parse."""
        try:
            return parse_attest(self.attest).value
        except na.ParseError:
            return None

    @property
    def quote(self) -> TPMS_QUOTE_INFO | None:
        attested = self.parsed.attested if self.parsed else None
        return attested if isinstance(attested, TPMS_QUOTE_INFO) else None

    @property
    def signed_pcrs(self) -> list[tuple[str, tuple[int, ...]]]:
        if self.quote is None:
            return []
        return [(HASH_NAMES[one.hash], one.indices) for one in self.quote.pcr_select.pcr_selections]

    @property
    def signature(self) -> bytes | None:
        """TPMT_SIGNATURE; bare octets get the header that their kind says."""
        octets = self.blob("signature_hex")
        if octets is None or self.document["signature_kind"] == "TPMT_SIGNATURE":
            return octets
        assert self.document["signature_kind"] == "RAW_RSASSA_SHA256"
        return b"\0\x14" + b"\0\x0b" + tpm2b(octets)

    @property
    def key(self) -> VerificationKey | None:
        """The key as it stands, loaded by this library from a public area, by `cryptography` from anything else."""
        octets, kind = self.blob("public_hex"), self.document["public_kind"]
        if octets is None:
            return None
        if kind in ("TPM2B_PUBLIC", "TPMT_PUBLIC"):
            return verification_key(parse_public(octets).value)
        loaded = (
            serialization.load_der_public_key(octets)
            if kind == "SPKI-DER"
            else x509.load_der_x509_certificate(octets).public_key()
        )
        assert isinstance(loaded, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
        return loaded

    @property
    def has_public_area(self) -> bool:
        return self.document["public_kind"] in ("TPM2B_PUBLIC", "TPMT_PUBLIC")

    @property
    def public(self) -> bytes | None:
        """The public area, built where there is none."""
        if self.key is None or self.has_public_area:
            return self.blob("public_hex")
        assert isinstance(self.key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
        signer = self.parsed.qualified_signer if self.parsed else b""
        # With the signer's own hash, so that its name is at least one that such a key could have.
        return area_around(
            self.key, (self.signature or b"\0\x14\0\x0b")[:4], signer[:2] if len(signer) > 2 else b"\0\x0b"
        )


def load(path: Path) -> Vector:
    return Vector(json.loads(path.read_text(encoding="utf-8")))


def digest_of(vector: Vector, algorithm: str) -> bytes | None:
    """The PCR digest, worked out here; None if a value is not published."""
    values = b""
    for bank, indices in vector.signed_pcrs:
        for index in indices:
            text = vector.pcrs.get(bank, {}).get(str(index))
            if text is None:
                return None
            values += bytes.fromhex(text)
    return hashlib.new(algorithm, values).digest()


def hash_of(vector: Vector) -> str:
    """The hash of the signing scheme: the signature's, or where none is published the key's."""
    if vector.signature is not None:
        return HASH_NAMES[TPMT_SIGNATURE.parse(vector.signature).signature.hash]
    assert vector.public is not None
    details = parse_public(vector.public).value.parameters.scheme.details
    assert details is not None
    return HASH_NAMES[details.hash_alg]


@pytest.mark.skipif(not FOLDER, reason="NOMYO_EXTRA_VECTORS names no folder of extra vectors")
def test_the_folder_that_is_named_holds_vectors() -> None:
    assert PATHS


@every_vector
def test_the_quote_parses_in_both_framings_or_is_to_be_rejected(path: Path) -> None:
    vector = load(path)
    if vector.parsed is None:
        assert vector.expect["verdict"] == "reject"
        return
    bare, sized = parse_attest(vector.attest), parse_attest(tpm2b(vector.attest))
    assert bare.value == sized.value
    assert bare.inner == sized.inner == vector.attest
    assert (bare.framing, sized.framing) == ("TPMS_ATTEST", "TPM2B_ATTEST")
    for end in range(len(vector.attest)):
        with pytest.raises(na.ParseError):
            parse_attest(vector.attest[:end])


@every_vector
def test_the_signature_verifies_as_the_file_expects(path: Path) -> None:
    vector = load(path)
    expected = vector.expect["signature"]
    if expected is None:
        assert vector.signature is None or vector.key is None
        return
    assert vector.key is not None
    assert vector.signature is not None
    value = TPMT_SIGNATURE.parse(vector.signature)
    assert verify_signature(vector.key, value, vector.attest) is expected
    assert not verify_signature(vector.key, value, vector.attest + b"\0")


@every_vector
def test_the_pcr_digest_is_right_where_the_file_expects_it(path: Path) -> None:
    vector = load(path)
    expected = vector.expect["pcr_digest"]
    if expected is not None:
        assert vector.quote is not None
        assert (digest_of(vector, hash_of(vector)) == vector.quote.pcr_digest) is expected


@every_vector
def test_the_nonce_is_right_where_the_file_expects_it(path: Path) -> None:
    vector = load(path)
    expected = vector.expect["nonce"]
    if expected is not None:
        assert vector.parsed is not None
        assert (vector.parsed.extra_data == vector.blob("nonce_hex")) is expected


@every_vector
def test_names_that_the_notes_give_are_the_names_computed(path: Path) -> None:
    vector = load(path)
    if not vector.has_public_area or vector.public is None:
        return
    framed = parse_public(vector.public)
    name = key_name(framed.inner, framed.value.name_alg)
    assert name is not None
    told = re.search(TOLD.format("ak"), vector.notes, re.IGNORECASE)
    if told:
        assert name.hex() == told[1].lower()
    parent = re.search(TOLD.format("ek"), vector.notes, re.IGNORECASE)
    if parent:
        # Part 1, "Qualified Name": that of the EK, a primary key of the endorsement hierarchy, and the AK's under it.
        ek, hash_ = bytes.fromhex(parent[1]), HASH_NAMES[TPM_ALG_ID(int(parent[1][:4], 16))]
        above = ek[:2] + hashlib.new(hash_, bytes.fromhex("4000000b") + ek).digest()
        signer = name[:2] + hashlib.new(HASH_NAMES[framed.value.name_alg], above + name).digest()
        assert vector.parsed is not None
        assert vector.parsed.qualified_signer == signer


def evidence(vector: Vector) -> dict[str, Any]:
    """The bare block: the values published, for the PCRs that were signed."""
    assert vector.signature is not None
    assert vector.public is not None
    values = {
        bank: {
            str(index): vector.pcrs[bank][str(index)] for index in indices if str(index) in vector.pcrs.get(bank, {})
        }
        for bank, indices in vector.signed_pcrs
    }
    # What attests no PCR has none to report; something must stand there for the evidence to be whole.
    values = {bank: of_bank for bank, of_bank in values.items() if of_bank} or {"sha256": {"0": "00" * 32}}
    return {
        "is_available": True,
        "pcr_banks": "+".join(f"{bank}:{','.join(of_bank)}" for bank, of_bank in values.items()),
        "pcr_values": values,
        "quote_b64": base64.b64encode(vector.attest).decode(),
        "signature_b64": base64.b64encode(vector.signature).decode(),
        "aik_pubkey_b64": base64.b64encode(vector.public).decode(),
    }


def strict(vector: Vector) -> dict[str, Any]:
    """A policy that pins the file's own values and softens nothing but what nobody could ask: a nonce not published."""
    pinned = [bank for bank in vector.pcrs if bank in STRONG] or list(vector.pcrs)
    policy: dict[str, Any] = {
        "format": "nomyo-attest-policy/1",
        "id": "extra vector",
        "pcrs": {bank: {index: [value] for index, value in vector.pcrs[bank].items()} for bank in pinned},
    }
    if not vector.pcrs:
        policy["unsafe_accept_any_pcrs"] = True
    if not vector.blob("nonce_hex"):  # not published, or there was none
        policy["unsafe_any_nonce"] = True
    return policy


def softened(vector: Vector) -> tuple[dict[str, Any], set[str], set[str]]:
    """What a good vector needs: the policy, the rules that will warn, and the core rules that no policy can soften."""
    policy, warned, core = strict(vector), set(), set()
    assert vector.signature is not None
    assert vector.public is not None
    assert vector.parsed is not None
    signature, public = TPMT_SIGNATURE.parse(vector.signature), parse_public(vector.public).value
    used = HASH_NAMES[signature.signature.hash]
    if used not in STRONG:  # a SHA-1 signature
        policy["signature"] = {"hashes": [used]}
    if not any(bank in STRONG for bank in vector.pcrs) and vector.pcrs:  # SHA-1 banks and no other
        policy["bank"] = {"hashes": list(vector.pcrs)}
    bits = getattr(public.parameters, "key_bits", 2048)
    if 1024 <= bits < 2048:  # a key of another time
        policy["key"] = {"rsa_min_bits": bits}
    if not vector.parsed.clock_info.safe:
        warned.add("clock.safe")
    if public.object_attributes & (AIK_ATTRIBUTES | 1 << 17) & ~(1 << 6) != AIK_ATTRIBUTES & ~(1 << 6):
        warned.add("key.attributes")
    exponent = getattr(public.parameters, "exponent", 0)
    if exponent and (exponent < 65537 or exponent % 2 == 0):
        warned.add("key.strength")
    banks = [bank for bank, _ in vector.signed_pcrs]
    if len(set(banks)) != len(banks) or not all(indices for _, indices in vector.signed_pcrs) or not banks:
        core.add("pcr.selection")  # an empty selection, or a bank twice
    if public.parameters.scheme.scheme is not signature.sig_alg:  # a key without a scheme of its own
        core |= {"signature.scheme", "signature.hash"}
    policy["rules"] = dict.fromkeys(warned, "warn")
    if warned - {"clock.safe"}:
        policy["unsafe_warn_until"] = "9999-01-01"
    return policy, warned, core


def culprits(vector: Vector) -> set[str]:
    """The rules that must refuse a bad vector, from what its file expects and holds."""
    found = set()
    if vector.parsed is None:
        return {"attest.form"}
    for key, rule in (("signature", "signature.valid"), ("pcr_digest", "pcr.digest"), ("nonce", "nonce.match")):
        if vector.expect[key] is False:
            found.add(rule)
    if vector.quote is None:
        found.add("attest.type")
    if vector.signature is not None and hash_of(vector) not in STRONG:
        found.add("signature.hash")
    if vector.pcrs and not any(bank in STRONG for bank in vector.pcrs):
        found.add("pcr.bank")
    return found


def appraised(vector: Vector, policy: dict[str, Any], block: dict[str, Any] | None = None) -> na.AttestationResult:
    loaded = na.AppraisalPolicy.from_dict(policy)
    return na.appraise(block or evidence(vector), loaded, nonce=vector.blob("nonce_hex") or None)


@every_vector
def test_a_whole_appraisal_ends_as_the_file_expects(path: Path) -> None:
    vector = load(path)
    if vector.signature is None or vector.public is None:
        assert vector.expect["verdict"] not in ("accept", "reject")
        return
    if vector.expect["verdict"] == "accept":
        policy, warned, core = softened(vector)
        result = appraised(vector, policy)
        if core:
            assert (result.verdict, set(result.failed)) == (na.Verdict.CONTRAINDICATED, core | warned)
        else:
            assert result.verdict is (na.Verdict.WARNING if warned else na.Verdict.AFFIRMING)
            assert (set(result.failed), result.undecided) == (warned, ())
            assert result.require() is result
    elif vector.expect["verdict"] == "reject":
        result = appraised(vector, strict(vector))
        assert result.verdict is na.Verdict.CONTRAINDICATED
        assert culprits(vector) <= set(result.failed)
        # Nothing else is wrong with it: what a policy could soften, and the PCRs of what is no quote.
        assert set(result.failed) - culprits(vector) <= {"clock.safe", "key.attributes", "key.strength", "pcr.values"}


@every_vector
def test_one_changed_bit_in_any_byte_of_a_good_vector_is_refused(path: Path) -> None:
    vector = load(path)
    if vector.expect["verdict"] != "accept" or softened(vector)[2]:
        return
    policy, block = softened(vector)[0], evidence(vector)
    for key in ("quote_b64", "signature_b64"):
        data = base64.b64decode(block[key])
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            result = appraised(vector, policy, {**block, key: base64.b64encode(changed).decode()})
            assert result.verdict in (na.Verdict.CONTRAINDICATED, na.Verdict.NONE)
