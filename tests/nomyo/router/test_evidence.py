"""Sources of evidence: the soft TPM anywhere, swtpm where there is one."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import nomyo_attest as na
from nomyo.router import RouterError, RouterOptions, evidence
from nomyo.router.evidence import Source, open_source
from nomyo.router.options import BOOTS
from nomyo_attest.errors import AttesterError
from nomyo_attest.installation import install_command
from nomyo_attest.report.inspection import inspection

KINDS = ["soft", pytest.param("swtpm", marks=pytest.mark.tpm)]


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest) -> Any:
    found = open_source(RouterOptions(tpm=request.param))
    yield found
    found.close()


def policy(block: Mapping[str, Any]) -> na.AppraisalPolicy:
    values = {bank: {index: [value] for index, value in of.items()} for bank, of in block["pcr_values"].items()}
    return na.AppraisalPolicy.from_dict({"format": "nomyo-attest-policy/1", "id": "learnt", "pcrs": values})


def appraise(block: Mapping[str, Any], against: na.AppraisalPolicy, payload_id: str = "x") -> na.AttestationResult:
    return na.appraise({"_metadata": {"payload_id": payload_id, "tpm_attestation": dict(block)}}, against)


def test_its_evidence_is_affirmed_and_bound_to_the_payload_id(source: Source) -> None:
    known = policy(source.attest("first"))
    assert appraise(source.attest("x"), known).verdict is na.Verdict.AFFIRMING
    assert appraise(source.attest("y"), known).failed == ("nonce.match",)


def test_other_firmware_shows_in_pcr_0_and_10_and_is_refused(source: Source) -> None:
    before = source.attest("x")
    source.boot(evidence.OTHER_FIRMWARE)
    after = source.attest("x")
    assert appraise(after, policy(before)).failed == ("pcr.values",)
    old, new = before["pcr_values"]["sha256"], after["pcr_values"]["sha256"]
    assert [index for index in old if old[index] != new[index]] == ["0", "10"]
    source.boot(evidence.OTHER_FIRMWARE)  # the same other firmware once more
    assert source.attest("x")["pcr_values"] == after["pcr_values"]
    source.boot(evidence.ORIGINAL_FIRMWARE)
    assert source.attest("x")["pcr_values"] == before["pcr_values"]


def test_many_threads_may_ask_at_once(source: Source) -> None:
    known = policy(source.attest("x"))
    ids = [f"request {number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(source.attest, ids))
    assert all(appraise(one, known, of).verdict is na.Verdict.AFFIRMING for one, of in zip(blocks, ids, strict=True))
    assert len({one["aik_pubkey_b64"] for one in blocks}) == len(ids)


def test_other_firmware_may_boot_while_others_ask(source: Source) -> None:
    before = source.attest("x")["pcr_values"]
    seen: list[Any] = []

    def ask() -> None:
        seen.extend(source.attest("x")["pcr_values"] for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    source.boot(evidence.OTHER_FIRMWARE)
    for thread in threads:
        thread.join()
    after = source.attest("x")["pcr_values"]
    assert all(one in (before, after) for one in seen)
    assert len(seen) == 80


@pytest.mark.parametrize("pcrs", ["sha256:0,7,10", "sha384:7", "sha256:10", "sha1:0"])
def test_evidence_of_the_soft_tpm_is_known_without_the_routers_word(pcrs: str) -> None:
    found = open_source(RouterOptions(tpm="soft", pcrs=pcrs))
    anything = na.AppraisalPolicy.from_dict(
        {"format": "nomyo-attest-policy/1", "id": "any", "unsafe_accept_any_pcrs": True}
    )
    for _ in range(2):
        block = found.attest("x")
        assert na.appraise(dict(block), anything, payload_id="x").test_key
        assert inspection(na.Evidence.from_response(dict(block)))[0]["aik"]["test_key"] is True
        found.boot(evidence.OTHER_FIRMWARE)


@pytest.mark.tpm
def test_evidence_of_a_swtpm_is_not_called_the_soft_tpms() -> None:
    found = open_source(RouterOptions(tpm="swtpm"))
    assert not appraise(found.attest("x"), policy(found.attest("x"))).test_key
    found.close()


@pytest.mark.tpm
def test_swtpm_and_the_soft_tpm_have_the_same_pcr_values() -> None:
    """So that a policy learnt from one holds for the other."""
    values = []
    for kind in ("soft", "swtpm"):
        found = open_source(RouterOptions(tpm=kind, pcrs="sha1:0,7,10+sha256:0,1,7,10,16,17,22,23+sha384:0,7"))
        values.append(found.attest("x")["pcr_values"])
        found.boot(evidence.OTHER_FIRMWARE)
        values.append(found.attest("x")["pcr_values"])
        found.close()
    assert values[:2] == values[2:]


@pytest.mark.tpm
@pytest.mark.parametrize("aik", ["rsa2048", "p384"])
def test_the_attestation_key_may_be_of_another_kind(aik: str) -> None:
    found = open_source(RouterOptions(tpm="swtpm", aik=aik))
    try:
        block = found.attest("x")
        assert appraise(block, policy(block)).verdict is na.Verdict.AFFIRMING
    finally:
        found.close()


@pytest.mark.tpm
def test_swtpm_is_ended_with_its_source_even_if_closed_twice() -> None:
    found = open_source(RouterOptions(tpm="swtpm"))
    assert isinstance(found, evidence.SoftwareDevice)
    process = found._software._process
    assert process is not None
    found.boot(evidence.OTHER_FIRMWARE)
    process = found._software._process
    assert process is not None
    assert process.poll() is None
    found.close()
    assert process.poll() is not None
    found.close()


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_of_no_machine_is_said_aloud(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    found = open_source(RouterOptions(tpm=kind))
    found.close()
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.getMessage().startswith("FOR TESTS ONLY: the evidence of this router comes from ")
    assert found.claim in record.getMessage()
    assert "for tests only" in found.claim


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [{"pcrs": "sha256:99"}, {"pcrs": "sha999:0"}, {"aik": "p257"}])
def test_what_no_tpm_can_quote_is_told_at_the_start(kind: str, wrong: dict[str, str]) -> None:
    with pytest.raises(RouterError, match=f"tpm '{kind}' cannot quote PCRs "):
        open_source(RouterOptions(tpm=kind, **wrong))  # type: ignore[arg-type]  # mypy takes the dict for every option


def refuses(reason: str) -> Any:
    def make(*_: object) -> None:
        raise AttesterError(reason)

    return make


def test_the_best_at_hand_is_the_first_that_opens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(evidence, "Device", refuses("this machine shows no TPM"))
    monkeypatch.setattr(evidence, "SoftwareDevice", refuses("no program 'swtpm' found"))
    assert open_source(RouterOptions()).kind == "soft"
    assert "tpm 'device' is not used: this machine shows no TPM" in caplog.text
    assert "tpm 'swtpm' is not used: no program 'swtpm' found" in caplog.text


def test_a_reason_that_two_have_in_common_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("Device", "SoftwareDevice"):
        monkeypatch.setattr(evidence, name, refuses("the extra tpm is not installed"))
    assert open_source(RouterOptions()).kind == "soft"
    assert caplog.text.count("the extra tpm is not installed") == 1
    assert "tpm 'device' is not used: the extra tpm is not installed" in caplog.text
    assert "tpm 'swtpm' is not used: for the same reason" in caplog.text


def test_the_machine_s_own_tpm_is_the_best(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Chip(evidence.NoTPM):
        kind = "device"

        def __init__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(evidence, "Device", Chip)
    assert open_source(RouterOptions()).kind == "device"
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_tpm_that_opens_and_cannot_quote_is_not_passed_over_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Broken(evidence.NoTPM):
        kind = "device"
        attest = refuses("TPM2_Quote: out of order")

        def __init__(self, *_: object) -> None:
            pass

        def close(self) -> None:
            closed.append(self)

    monkeypatch.setattr(evidence, "Device", Broken)
    with pytest.raises(RouterError, match=r"tpm 'device' cannot quote PCRs .*: TPM2_Quote: out of order"):
        open_source(RouterOptions())
    assert closed


def test_a_tpm_that_is_asked_for_by_name_and_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "Device", refuses("this machine shows no TPM at /dev/tpmrm0"))
    with pytest.raises(RouterError, match="tpm 'device': this machine shows no TPM at /dev/tpmrm0"):
        open_source(RouterOptions(tpm="device"))


def test_without_tpm2_pytss_the_best_at_hand_is_the_soft_tpm() -> None:
    """In a process of its own: there, nothing has imported it yet."""
    code = (
        "import sys; sys.modules['tpm2_pytss'] = None\n"
        "from nomyo.router import RouterOptions, RouterError\n"
        "from nomyo.router.evidence import open_source\n"
        "print(open_source(RouterOptions()).kind)\n"
        "try:\n    open_source(RouterOptions(tpm='swtpm'))\n"
        "except RouterError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kind, told = done.stdout.splitlines()
    assert kind == "soft"
    assert install_command("tpm") in told


def test_a_router_without_a_tpm_reports_that_and_boots_nothing() -> None:
    none = open_source(RouterOptions(tpm="none"))
    assert none.attest("x") == {"is_available": False}
    with pytest.raises(RouterError, match="this router has no TPM, so it cannot simulate a boot"):
        none.boot(evidence.OTHER_FIRMWARE)
    with pytest.raises(RouterError, match="this router has no TPM, so it cannot simulate a boot"):
        open_source(RouterOptions(tpm="none", boot="other-firmware"))


def test_a_router_may_start_with_other_firmware() -> None:
    original, other = (open_source(RouterOptions(tpm="soft", boot=boot)) for boot in BOOTS)
    original.boot(evidence.OTHER_FIRMWARE)
    assert other.attest("x")["pcr_values"] == original.attest("x")["pcr_values"]


def test_the_soft_tpm_does_not_remember_every_key_it_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from nomyo_attest.testing import keys

    monkeypatch.setattr(evidence, "_QUOTES_PER_CACHE", 8)
    soft = evidence.Soft("sha256:0", "p256")
    for _ in range(40):
        soft.attest("x")
    assert keys.ecc_key.cache_info().currsize <= 8
