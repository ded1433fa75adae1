"""`nomyo-attest inspect`: every decoded field, and no verdict."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import run, single_error_line


def write(name: str, forge: Forge) -> None:
    Path(name).write_text(forge.text(), encoding="utf-8")


def test_inspect_shows_the_values_and_gives_no_verdict(folder: Path) -> None:
    answer = Forge().build()
    ran = run("inspect", "good.json")
    assert (ran.status, ran.err) == (0, "")
    for value in (answer.name, answer.qualified_signer, *(Forge().pcrs["sha256"][i] for i in (0, 7, 10))):
        assert value.hex() in ran.out
    assert Forge().payload_id in ran.out
    assert "hierarchy        endorsement: " in ran.out
    assert "quote_b64: TPMS_ATTEST, " in ran.out
    assert "aik_pubkey_b64: TPM2B_PUBLIC, " in ran.out
    assert "No verdict: " in ran.out
    assert "affirming" not in ran.out


def test_text_and_json_hold_the_same_fields(folder: Path) -> None:
    document = run("inspect", "good.json", "--format", "json").json()
    assert document["format"] == "nomyo-attest-inspect/1"
    assert document["file"] == "good.json"
    assert document["quote"]["framing"] == "TPMS_ATTEST"
    fields = document["quote"]["fields"]
    assert fields["magic"] == "0xff544347"
    assert fields["type"] == "TPM_ST_ATTEST_QUOTE"
    assert fields["clock_info"]["reset_count"] == 17
    assert fields["firmware_version"] == "0x2024012500120000"
    assert fields["attested"]["pcr_select"]["pcr_selections"][0]["indices"] == [0, 7, 10]
    assert document["key"]["fields"]["object_attributes"]["set"][0] == "fixedTPM"
    assert document["signature"]["fields"]["sig_alg"] == "TPM_ALG_RSASSA"
    assert document["aik"]["name"] == Forge().build().name.hex()
    assert document["aik"]["hierarchy"] == "endorsement"
    assert document["nonce"]["matches"] is True
    assert document["pcr_digest"]["matches"] is True
    assert all(pcr["signed"] for pcr in document["pcrs"])
    assert document["claims"]["memory_protection.memory_locking"] is True


@pytest.mark.parametrize(
    ("hierarchy", "shown"),
    [
        ("endorsement", "3.7.0.5 (0x0003000700000005)"),
        ("owner", "0x0003000700000005 (obfuscated for this key)"),
        (None, "3.7.0.5 (0x0003000700000005) (may be obfuscated: the key's hierarchy is unknown)"),
    ],
)
def test_the_firmware_version_is_shown_in_both_forms_unless_it_is_obfuscated(
    folder: Path, hierarchy: str | None, shown: str
) -> None:
    write("firmware.json", Forge(firmware_version=0x0003000700000005, hierarchy=hierarchy))
    text = " ".join(run("inspect", "firmware.json").out.split())
    assert f"firmwareVersion {shown}" in text
    assert "clock 86400000 ms (1 day powered)" in text


@pytest.mark.parametrize(
    "forge", [Forge(key="p256"), Forge(key="p384", sized_quote=True, sized_key=False, hierarchy=None)]
)
def test_both_framings_and_curves_are_shown(folder: Path, forge: Forge) -> None:
    write("ecc.json", forge)
    assert run("inspect", "ecc.json").status == 0
    document = run("inspect", "ecc.json", "--format", "json").json()
    assert document["quote"]["framing"] == ("TPM2B_ATTEST" if forge.sized_quote else "TPMS_ATTEST")
    assert document["key"]["framing"] == ("TPM2B_PUBLIC" if forge.sized_key else "TPMT_PUBLIC")
    assert document["aik"]["hierarchy"] == forge.hierarchy
    assert document["key"]["fields"]["unique"]["structure"] == "TPMS_ECC_POINT"


@pytest.mark.parametrize(
    ("stage", "blob", "where"),
    [
        ("quote_blob", "quote", "TPMS_QUOTE_INFO.pcr_digest"),
        ("signature", "signature", "TPMS_SIGNATURE_RSA.sig"),
        ("key_blob", "key", "TPMS_RSA_UNIQUE.modulus"),
    ],
)
def test_a_broken_blob_is_shown_with_its_fault_and_the_others_decoded(
    folder: Path, stage: str, blob: str, where: str
) -> None:
    write("cut.json", Forge(sized_key=False).tamper(stage, lambda data: data[:-1]))
    ran = run("inspect", "cut.json")
    assert (ran.status, ran.err) == (1, "")
    assert f"  does not parse  {where} at byte " in ran.out
    ran = run("inspect", "cut.json", "--format", "json")
    assert ran.status == 1
    document = ran.json()
    assert document[blob]["error"]["where"] == where
    assert document[blob]["fields"] is None
    others = {"quote", "signature", "key"} - {blob}
    assert all(document[other]["error"] is None and document[other]["fields"] for other in others)
    key = {"quote": "quote_b64", "signature": "signature_b64", "key": "aik_pubkey_b64"}[blob]
    block = json.loads(Path("cut.json").read_text(encoding="utf-8"))["_metadata"]["tpm_attestation"]
    assert document[blob]["hex"] == base64.b64decode(block[key]).hex()


def test_all_three_blobs_may_be_broken(folder: Path) -> None:
    forge = Forge()
    for stage in ("quote_blob", "signature", "key_blob"):
        forge.tamper(stage, lambda _: b"\x00")
    write("dust.json", forge)
    ran = run("inspect", "dust.json")
    assert ran.status == 1
    assert ran.out.count("\n  does not parse  ") == 3


def test_a_signature_of_a_scheme_that_is_only_known_by_name_is_no_malformed_evidence(folder: Path) -> None:
    write("hmac.json", Forge().tamper("signature", lambda data: b"\x00\x05" + data[2:]))
    ran = run("inspect", "hmac.json")
    assert ran.status == 0
    assert "TPM_ALG_HMAC, recognized but not supported" in ran.out


def test_another_structure_than_a_quote_is_decoded_too(folder: Path) -> None:
    certify = b"\x00\x04\x00\x0b\xaa\xbb" + b"\x00\x04\x00\x0b\xcc\xdd"
    write("certify.json", Forge(attest_type=0x8017).tamper("attested", lambda _: certify))
    ran = run("inspect", "certify.json")
    assert ran.status == 0
    assert "TPMS_CERTIFY_INFO" in ran.out
    assert "not known to be signed" in ran.out
    assert run("inspect", "certify.json", "--format", "json").json()["pcr_digest"] is None


def test_values_that_were_not_signed_are_marked(folder: Path) -> None:
    write("more.json", Forge().tamper("selections", lambda _: [("sha256", [0, 7, 11])]))
    ran = run("inspect", "more.json")
    assert ran.status == 0
    assert any(line.startswith("  sha256:10") and line.endswith("NOT signed") for line in unwrapped(ran.out))
    assert any(line.startswith("  sha256:11") and "signed, but not reported" in line for line in unwrapped(ran.out))


def unwrapped(text: str) -> list[str]:
    """Lines, with those that go on below joined."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and line.startswith(" " * 11):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return lines


def test_a_nonce_of_another_request_is_not_called_the_same(folder: Path) -> None:
    write("replay.json", Forge(nonce=bytes(16)))
    ran = run("inspect", "replay.json")
    assert ran.status == 0
    assert "(NOT the same)" in ran.out


def test_no_evidence_is_said_and_is_no_error(folder: Path) -> None:
    Path("no-tpm.json").write_text('{"_metadata": {"tpm_attestation": {"is_available": false}}}', encoding="utf-8")
    ran = run("inspect", "no-tpm.json")
    assert ran.status == 0
    assert "No evidence: the server says" in ran.out
    document = run("inspect", "no-tpm.json", "--format", "json").json()
    assert document["available"] is False


def test_malformed_evidence_is_one_line_and_status_1(folder: Path) -> None:
    Path("cut.json").write_bytes(b"{")
    ran = run("inspect", "cut.json")
    assert ran.status == 1
    complaint = single_error_line(ran)
    assert complaint.startswith("cut.json: response: expected JSON, got ")
    assert complaint.endswith("; compare it with nomyo-attest schema evidence")


def test_an_unreadable_file_is_status_2(folder: Path) -> None:
    ran = run("inspect", "missing.json")
    assert ran.status == 2
    assert "missing.json" in single_error_line(ran)


def test_standard_input_is_read(folder: Path) -> None:
    ran = run("inspect", "-", stdin=Path("good.json").read_bytes())
    assert ran.status == 0
    assert ran.out.startswith("-\n")


def test_nothing_from_the_evidence_reaches_the_terminal_raw(folder: Path) -> None:
    evil = "\x1b[2J\n\u202e"

    def claim(metadata: dict[str, object]) -> dict[str, object]:
        return {**metadata, evil: evil, "deep": {evil: {evil: [evil]}}, "number": 1e400, "long": "x" * 10_000}

    write("evil.json", Forge(payload_id=evil).tamper("_metadata", claim))
    for form in ("text", "json"):
        ran = run("inspect", "evil.json", "--format", form)
        assert ran.status == 0
        assert all(line.isprintable() for line in ran.out.split("\n"))
        assert len(ran.out) < 30_000


def test_a_flood_of_claims_is_cut(folder: Path) -> None:
    flood = {f"claim{i}": i for i in range(20_000)}
    write("flood.json", Forge().tamper("_metadata", lambda metadata: {**flood, **metadata}))
    assert len(run("inspect", "flood.json", "--format", "json").json()["claims"]) == 64
    assert len(run("inspect", "flood.json").out.splitlines()) < 200


def test_a_wrapped_response_is_unreadable(folder: Path) -> None:
    Path("wrapped.json").write_text(json.dumps({"log": Forge().text()}), encoding="utf-8")
    ran = run("inspect", "wrapped.json")
    assert (ran.status, ran.out) == (2, "")
    assert "at /log (JSON text in a string)" in single_error_line(ran)
