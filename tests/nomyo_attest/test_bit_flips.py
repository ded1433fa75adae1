"""Every single-bit change of quote, signature, key and base64 text is refused, and every byte taken out or put in.

The policy names a hierarchy, so that every bit of the key counts: the quote names its signer by a digest over them all.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.testing import Forge
from tests.nomyo_attest.policy.documents import TIMED

pytestmark = pytest.mark.slow


Json = dict[str, Any]
Judge = Callable[[Json], None]

KEYS = ("rsa2048", "p256")
BLOBS = ("quote_b64", "signature_b64", "aik_pubkey_b64")
# Whole appraisals of one answer, counted by hand: TPMS_ATTEST of 129 bytes; TPMT_SIGNATURE of 6 + 256 bytes, or of
# 4 + 2 * (2 + 32); TPM2B_PUBLIC of 2 + 22 + 2 + 256, or of 2 + 20 + 2 * (2 + 32).
SIZES = {
    ("rsa2048", "quote_b64"): 129,
    ("rsa2048", "signature_b64"): 262,
    ("rsa2048", "aik_pubkey_b64"): 282,
    ("p256", "quote_b64"): 129,
    ("p256", "signature_b64"): 72,
    ("p256", "aik_pubkey_b64"): 90,
}


@pytest.fixture(scope="module", params=KEYS)
def forge(request: pytest.FixtureRequest) -> Forge:
    return Forge(key=request.param)


def policies(forge: Forge) -> list[na.AppraisalPolicy]:
    """The strict policy; and one that asks for nothing but what cannot be softened, and the hierarchy."""
    document = forge.policy()
    assert document["key"]["hierarchy"] == ["endorsement"]
    soft = [rule.id for rule in na.RULES if not rule.core and rule.id not in ("key.hierarchy", "claims.*")]
    rules = {rule: "warn" if rule in TIMED and rule != "pcr.values" else "ignore" for rule in soft}
    ignoring = {**document, "rules": rules, "unsafe_accept_any_pcrs": True, "unsafe_warn_until": "9999-01-01"}
    return [na.AppraisalPolicy.from_dict(document), na.AppraisalPolicy.from_dict(ignoring)]


def refuses(forge: Forge, *, leniently: bool = False) -> Judge:
    """Asserts that a block is refused, by policies that have affirmed the answer it was made from, and by a new one.

    leniently: ask the policy alone that asks for least. Where it refuses, the others do.
    """
    used = policies(forge)
    response = forge.response()
    for policy in used:
        assert na.appraise(response, policy).verdict is na.Verdict.AFFIRMING
    metadata = response["_metadata"]

    def judge(block: Json) -> None:
        assert block != metadata["tpm_attestation"]
        for policy in used[1:] if leniently else (*used, dataclasses.replace(used[0])):
            result = na.appraise({"_metadata": {**metadata, "tpm_attestation": block}}, policy)
            assert result.verdict in (na.Verdict.CONTRAINDICATED, na.Verdict.NONE)

    return judge


def judge_all(forge: Forge, blob: str, texts: Iterable[str], *, leniently: bool = False) -> int:
    """How many texts in the place of a blob were judged, and refused."""
    block = forge.response()["_metadata"]["tpm_attestation"]
    judge = refuses(forge, leniently=leniently)
    count = 0
    for text in texts:
        judge({**block, blob: text})
        count += 1
    return count


def text_of(forge: Forge, blob: str) -> str:
    text = forge.response()["_metadata"]["tpm_attestation"][blob]
    assert isinstance(text, str)
    return text


def encoded(blobs: Iterable[bytes]) -> Iterator[str]:
    return (base64.b64encode(blob).decode("ascii") for blob in blobs)


def flips(blob: bytes) -> Iterator[bytes]:
    for at in range(len(blob)):
        for bit in range(8):
            yield blob[:at] + bytes([blob[at] ^ 1 << bit]) + blob[at + 1 :]


def deletions(blob: bytes) -> Iterator[bytes]:
    for at in range(len(blob)):
        yield blob[:at] + blob[at + 1 :]


def insertions(blob: bytes) -> Iterator[bytes]:
    for at in range(len(blob) + 1):
        for octet in {0x00, 0x01, 0xFF, blob[at % len(blob)]}:
            yield blob[:at] + bytes([octet]) + blob[at:]


@pytest.mark.parametrize("blob", BLOBS)
def test_every_bit_of_a_blob_counts(forge: Forge, blob: str) -> None:
    data = base64.b64decode(text_of(forge, blob))
    assert judge_all(forge, blob, encoded(flips(data))) == 8 * SIZES[forge.key, blob]


@pytest.mark.parametrize("blob", BLOBS)
def test_every_bit_of_every_character_of_the_base64_text_counts(forge: Forge, blob: str) -> None:
    text = text_of(forge, blob)
    flipped = (
        text[:at] + chr(ord(text[at]) ^ 1 << bit) + text[at + 1 :] for at in range(len(text)) for bit in range(8)
    )
    assert judge_all(forge, blob, flipped, leniently=True) == 8 * len(text) == 8 * 4 * -(-SIZES[forge.key, blob] // 3)


@pytest.mark.parametrize("blob", BLOBS)
def test_every_byte_of_a_blob_counts_and_none_may_be_put_in(forge: Forge, blob: str) -> None:
    data = base64.b64decode(text_of(forge, blob))
    assert judge_all(forge, blob, encoded(deletions(data))) == SIZES[forge.key, blob]
    assert judge_all(forge, blob, encoded(insertions(data))) >= 3 * (SIZES[forge.key, blob] + 1)


@pytest.mark.parametrize("blob", BLOBS)
def test_every_character_of_the_base64_text_counts_and_none_may_be_put_in(forge: Forge, blob: str) -> None:
    text = text_of(forge, blob)
    shorter = (text[:at] + text[at + 1 :] for at in range(len(text)))
    assert judge_all(forge, blob, shorter, leniently=True) == len(text)
    longer = (
        text[:at] + more + text[at:] for at in range(len(text) + 1) for more in ("A", "=", "\n", " ", "\0", "\u00e9")
    )
    assert judge_all(forge, blob, longer, leniently=True) == 6 * (len(text) + 1)


@pytest.mark.parametrize("blob", BLOBS)
def test_no_beginning_and_no_end_of_a_blob_will_do(forge: Forge, blob: str) -> None:
    data = base64.b64decode(text_of(forge, blob))
    cut = [data[:at] for at in range(1, len(data))] + [data[at:] for at in range(1, len(data))]
    if blob == "aik_pubkey_b64":
        cut.remove(data[2:])  # TPM2B_PUBLIC without its size is the same key in its other framing
    assert judge_all(forge, blob, encoded(cut)) == 2 * (len(data) - 1) - (blob == "aik_pubkey_b64")


def test_every_bit_of_every_digit_of_the_values_counts_but_for_the_case_of_letters(forge: Forge) -> None:
    block = forge.response()["_metadata"]["tpm_attestation"]
    judge = refuses(forge)
    judged = same = 0
    for index, value in block["pcr_values"]["sha256"].items():
        for at, character in enumerate(value):
            for bit in range(8):
                other = value[:at] + chr(ord(character) ^ 1 << bit) + value[at + 1 :]
                changed = {**block, "pcr_values": {"sha256": {**block["pcr_values"]["sha256"], index: other}}}
                if other.lower() == value:
                    same += 1
                else:
                    judge(changed)
                    judged += 1
    letters = sum(character in "abcdef" for value in block["pcr_values"]["sha256"].values() for character in value)
    assert (judged, same) == (3 * 64 * 8 - letters, letters)


def test_every_bit_of_the_payload_id_counts(forge: Forge) -> None:
    response = forge.response()
    (policy, _) = policies(forge)
    assert na.appraise(response, policy).verdict is na.Verdict.AFFIRMING
    payload_id = forge.payload_id
    for at in range(len(payload_id)):
        for bit in range(8):
            other = payload_id[:at] + chr(ord(payload_id[at]) ^ 1 << bit) + payload_id[at + 1 :]
            metadata = {**response["_metadata"], "payload_id": other}
            assert na.appraise({"_metadata": metadata}, policy).failed == ("nonce.match",)
            assert "nonce.match" in na.appraise(response, policy, payload_id=other).failed
