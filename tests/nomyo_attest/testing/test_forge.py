"""The forge's responses, and its PCRs, which are those of a machine that booted."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.testing import STAGES, Forge, ForgeError, keys
from nomyo_attest.testing.forge import booted, extend, selected_pcrs


def test_a_pcr_is_extended_with_the_digest_of_the_event() -> None:
    value = bytes(32)
    assert extend("sha256", value, b"event") == hashlib.sha256(value + hashlib.sha256(b"event").digest()).digest()


@pytest.mark.parametrize(("bank", "size"), [("sha1", 20), ("sha256", 32), ("sha384", 48), ("sha512", 64)])
def test_every_bank_has_24_pcrs_of_its_size(bank: str, size: int) -> None:
    values = booted()[bank]
    assert sorted(values) == list(range(24))
    assert {len(value) for value in values.values()} == {size}
    assert values[16] == bytes(size)
    assert values[17] == b"\xff" * size


def test_the_pcrs_that_are_quoted_all_differ() -> None:
    values = [bank[index] for bank in booted().values() for index in (0, 1, 2, 3, 4, 5, 6, 7, 10)]
    assert len(set(values)) == len(values)


def test_a_selection_is_read_in_its_order() -> None:
    assert selected_pcrs("sha384:7,0+sha256:10") == [("sha384", [7, 0]), ("sha256", [10])]


@pytest.mark.parametrize("text", ["", "sha256", "sha256:", "sha256:24", "sha256:x", "md5:0", "sha256:0,", "sha256:-1"])
def test_a_selection_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ForgeError, match="selection: expected banks"):
        selected_pcrs(text)


STAGE_OF_BYTES = [stage for stage, what in STAGES.items() if what.startswith("bytes")]


def appraise(forge: Forge) -> na.AttestationResult:
    return na.appraise(forge.response(), na.AppraisalPolicy.from_dict(forge.policy()))


def test_the_default_forge_is_affirmed_by_its_own_policy() -> None:
    result = appraise(Forge())
    assert result.verdict is na.Verdict.AFFIRMING
    assert result.hierarchy == "endorsement"


def test_the_example_of_the_documentation_holds() -> None:
    forge = Forge(key="p256", selection="sha256:0,7+sha384:0")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    assert na.appraise(forge.response(), policy).verdict is na.Verdict.AFFIRMING
    forge.tamper("pcr_digest", lambda digest: bytes(len(digest)))
    assert na.appraise(forge.response(), policy).failed == ("pcr.digest",)


def test_two_forges_make_the_same_answer_byte_for_byte() -> None:
    worlds: tuple[dict[str, Any], ...] = (
        {},
        {"key": "p256"},
        {"scheme": "rsapss"},
        {"key": "p521", "short_number": "s"},
    )
    for fields in worlds:
        assert Forge(**fields).build() == Forge(**fields).build()


def test_an_answer_does_not_change_the_forge() -> None:
    forge = Forge()
    first = forge.build()
    assert forge.build() == first


def test_the_answer_has_the_services_response_form() -> None:
    forge = Forge()
    metadata = forge.response()["_metadata"]
    assert metadata["payload_id"] == forge.payload_id
    assert set(metadata["tpm_attestation"]) == {
        "is_available",
        "pcr_banks",
        "pcr_values",
        "quote_b64",
        "signature_b64",
        "aik_pubkey_b64",
    }
    assert metadata["tpm_attestation"]["pcr_values"]["sha256"]["7"] == forge.pcrs["sha256"][7].hex()
    assert json.loads(forge.text()) == forge.response()


def test_extra_data_is_of_the_payload_id() -> None:
    forge = Forge(payload_id="one request")
    assert hashlib.sha256(b"one request").digest()[:16] in forge.build().attest


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_can_be_tampered(stage: str) -> None:
    seen: list[Any] = []

    def look(made: Any) -> Any:
        seen.append(copy.deepcopy(made))
        return made

    forge = Forge(sized_quote=True).tamper(stage, look)
    assert forge.build() == Forge(sized_quote=True).build()
    assert len(seen) == 1


@pytest.mark.parametrize("stage", STAGE_OF_BYTES)
def test_what_a_stage_is_changed_into_reaches_the_answer(stage: str) -> None:
    tampered = Forge().tamper(stage, lambda made: made[:-1] + bytes([made[-1] ^ 1]))
    assert tampered.build().text != Forge().build().text


def test_changes_of_one_stage_follow_each_other() -> None:
    forge = Forge().tamper("extra_data", lambda _: b"1").tamper("extra_data", lambda nonce: nonce + b"2")
    assert b"\x00\x0212" in forge.build().attest


def test_a_tampered_quote_is_signed_as_it_is() -> None:
    forge = Forge().tamper("attest", lambda quote: quote + b"\0")
    answer = forge.build()
    assert answer.signature[6:] == keys.rsa_key("aik").sign_rsassa("sha256", answer.attest)


def test_a_tampered_public_area_has_its_own_name() -> None:
    forge = Forge().tamper("public", lambda public: public[:-1] + bytes([public[-1] ^ 1]))
    answer = forge.build()
    assert answer.name[2:] == hashlib.sha256(answer.public).digest()
    assert answer.name != Forge().build().name
    expected = hashlib.sha256(bytes.fromhex("4000000b") + answer.name).digest()
    assert answer.qualified_signer == b"\x00\x0b" + expected


def test_framings_put_a_size_in_front() -> None:
    block = Forge(sized_quote=True, sized_key=False).response()["_metadata"]["tpm_attestation"]
    quote, key = (base64.b64decode(block[name]) for name in ("quote_b64", "aik_pubkey_b64"))
    assert int.from_bytes(quote[:2], "big") == len(quote) - 2
    assert key[:2] == b"\x00\x01"


def test_a_machine_that_boots_otherwise_is_not_what_the_policy_knows() -> None:
    policy = na.AppraisalPolicy.from_dict(Forge().policy())
    other = Forge().measure(0, b"other firmware")
    assert na.appraise(other.response(), policy).failed == ("pcr.values",)
    assert appraise(other).verdict is na.Verdict.AFFIRMING


def test_a_replaced_forge_begins_without_the_changes() -> None:
    tampered = Forge().tamper("pcr_digest", lambda _: b"")
    assert appraise(replace(tampered)).verdict is na.Verdict.AFFIRMING
    assert appraise(tampered).failed == ("pcr.digest",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scheme", "ecdsa"),
        ("scheme", "oaep"),
        ("declared_scheme", "ecdsa"),
        ("hash_alg", "md5"),
        ("declared_hash", "md5"),
        ("name_alg", "sm3_256"),
        ("short_number", "q"),
        ("hierarchy", "lockout"),
        ("selection", "sha256"),
        ("key", "rsa"),
    ],
)
def test_a_forge_that_could_make_nothing_is_refused_by_the_field(field: str, value: str) -> None:
    forge = Forge()
    setattr(forge, field, value)
    with pytest.raises(ForgeError, match=rf"forge: {field}: expected .*, got '{value}'") as caught:
        forge.build()
    assert caught.value.field == field
    assert isinstance(caught.value, na.NomyoAttestError)


def test_keys_that_cannot_be_are_refused() -> None:
    for forge in (Forge(key="rsa"), Forge(key="p999"), Forge(key="rsa100"), Forge(key="rsa3072", roca=True)):
        with pytest.raises(ForgeError):
            forge.build()


def test_the_error_of_an_unknown_key_lists_rsa_and_the_curves() -> None:
    with pytest.raises(ForgeError, match="such as rsa2048, or one of p192, p224, p256, p384, p521, got 'rsa'"):
        Forge(key="rsa").build()


def test_a_stage_that_is_none_is_refused() -> None:
    with pytest.raises(ForgeError, match=r"stage: expected one of public, .*, got 'quote'"):
        Forge().tamper("quote", lambda made: made)


def test_a_pcr_that_is_none_is_refused() -> None:
    with pytest.raises(ForgeError, match="index: expected a PCR from 0 to 23, got 24"):
        Forge().measure(24, b"event")
