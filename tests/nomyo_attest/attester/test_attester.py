"""Quotes from a software TPM: every kind of key, nothing left behind, and errors that say what is wrong."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na

if importlib.util.find_spec("tpm2_pytss") is not None:  # without it, the marker below skips these tests
    import tpm2_pytss as tss

    from nomyo_attest.attester import (
        Attester,
        KeyKind,
        SoftwareTPM,
        SoftwareTPMError,
        UnsupportedByTPMError,
        connection,
        parse_quote_selection,
        response,
    )

pytestmark = pytest.mark.tpm

KEYS = (
    "rsa2048", "rsa2048-rsapss", "rsa2048-sha384", "rsa3072", "rsa3072-rsapss-sha384", "p256", "p256-sha384", "p384",
    "p384-sha256", "p521",
)  # fmt: skip


@pytest.fixture(scope="module")
def attester() -> Iterator[Attester]:
    with Attester.open("swtpm") as attester:
        for pcr in (0, 7, 10):
            attester.measure(pcr, b"something")
        yield attester


def policy_for(block: Mapping[str, Any], *hierarchies: str) -> na.AppraisalPolicy:
    """A policy that knows the values of this block."""
    document: dict[str, Any] = {
        "format": "nomyo-attest-policy/1",
        "id": "test",
        "pcrs": {
            bank: {index: [value] for index, value in of_bank.items()} for bank, of_bank in block["pcr_values"].items()
        },
    }
    if hierarchies:
        document["key"] = {"hierarchy": list(hierarchies)}
    return na.AppraisalPolicy.from_dict(document)


def left_in(attester: Attester) -> list[int]:
    """Handles of transient objects and sessions in the TPM (Part 2, 7.2: 0x80, 0x02 and 0x03 in the first byte)."""
    handles: list[int] = []
    for first in (0x80000000, 0x02000000, 0x03000000):
        _, capability = attester.esapi.get_capability(tss.TPM2_CAP.HANDLES, first, 16)
        handles += capability.data.handles
    return handles


def extra_data(block: Mapping[str, Any]) -> bytes:
    attest, _ = tss.TPMS_ATTEST.unmarshal(base64.b64decode(block["quote_b64"]))
    return bytes(attest.extraData)


def process_of(attester: Attester) -> subprocess.Popen[bytes]:
    software = attester.connection._software
    assert software is not None
    assert software._process is not None
    return software._process


@pytest.mark.parametrize("key", KEYS)
def test_each_kind_of_key_makes_evidence_that_is_affirmed(attester: Attester, key: str) -> None:
    block = attester.attest(payload_id="request-1", key=key)
    result = na.appraise(response(block, "request-1"), policy_for(block, "endorsement"))
    assert result.verdict is na.Verdict.AFFIRMING, (result.failed, result.undecided)


@pytest.mark.parametrize("key", ["rsa2048", "p256"])
@pytest.mark.parametrize("hierarchy", ["endorsement", "owner", "platform", "null"])
def test_a_primary_key_is_of_the_hierarchy_it_was_made_in(attester: Attester, hierarchy: str, key: str) -> None:
    block = attester.attest(payload_id="request-1", key=key, hierarchy=hierarchy)
    result = na.appraise(response(block, "request-1"), policy_for(block, hierarchy))
    assert result.verdict is na.Verdict.AFFIRMING
    assert result.hierarchy == hierarchy


@pytest.mark.parametrize("key", ["rsa2048", "p256"])
def test_a_child_of_the_endorsement_key_is_affirmed_and_primary_of_no_hierarchy(attester: Attester, key: str) -> None:
    block = attester.attest(payload_id="request-1", key=key, child_of_ek=True)
    result = na.appraise(response(block, "request-1"), policy_for(block))
    assert result.verdict is na.Verdict.AFFIRMING
    assert result.hierarchy is None


@pytest.mark.parametrize(
    "pcrs", ["sha256:7", "sha384:0,7", "sha384:0+sha256:0,1,2", "sha1:0+sha256:0+sha384:0+sha512:0"]
)
def test_each_bank_that_is_asked_for_is_quoted(attester: Attester, pcrs: str) -> None:
    block = attester.attest(payload_id="request-1", key="p256", pcrs=pcrs)
    assert block["pcr_banks"] == pcrs
    result = na.appraise(response(block, "request-1"), policy_for(block, "endorsement"))
    assert result.failed == (
        ("pcr.bank",) if "sha1" in pcrs else ()
    )  # SHA-1 reference values are refused, nothing else is


def test_indices_are_reported_in_the_order_in_which_they_are_signed(attester: Attester) -> None:
    assert attester.attest(payload_id="request-1", key="p256", pcrs="sha256:10,0,7")["pcr_banks"] == "sha256:0,7,10"


def test_more_pcrs_than_one_command_reads_are_quoted(attester: Attester) -> None:
    every = "sha256:" + ",".join(map(str, range(24)))
    block = attester.attest(payload_id="request-1", key="p256", pcrs=f"{every}+{every.replace('256', '384')}")
    assert [len(of_bank) for of_bank in block["pcr_values"].values()] == [24, 24]
    assert na.appraise(response(block, "request-1"), policy_for(block)).verdict is na.Verdict.AFFIRMING


def test_a_measured_pcr_has_the_value_that_its_event_gives(attester: Attester) -> None:
    block = attester.attest(payload_id="request-1", key="p256", pcrs="sha1:7+sha256:7+sha384:7+sha512:7")
    for bank, values in block["pcr_values"].items():
        size = hashlib.new(bank).digest_size
        expected = hashlib.new(bank, bytes(size) + hashlib.new(bank, b"something").digest())
        assert values["7"] == expected.hexdigest()


@pytest.mark.parametrize("child_of_ek", [False, True])
def test_every_quote_has_a_key_of_its_own(attester: Attester, child_of_ek: bool) -> None:
    keys = {
        attester.attest(payload_id="request-1", key=key, child_of_ek=child_of_ek)["aik_pubkey_b64"]
        for key in ("p256", "p256", "rsa2048", "rsa2048")
    }
    assert len(keys) == 4


def test_a_quote_is_bound_to_its_payload_id(attester: Attester) -> None:
    for payload_id in ("request-1", "6b2f7a0e-5a0e-4c54-9d4e-1d8f0f1a2b3c", "Anfrage für Zoë", "x" * 1024):
        block = attester.attest(payload_id=payload_id, key="p256")
        assert extra_data(block) == hashlib.sha256(payload_id.encode("utf-8")).digest()[:16]
        policy = policy_for(block, "endorsement")
        assert na.appraise(response(block, payload_id), policy).verdict is na.Verdict.AFFIRMING


def test_the_quote_of_one_request_does_not_pass_for_another(attester: Attester) -> None:
    block = attester.attest(payload_id="request-1", key="p256")
    assert na.appraise(response(block, "request-2"), policy_for(block, "endorsement")).failed == ("nonce.match",)


@pytest.mark.parametrize("payload_id", ["", "\ud800", "x" * 1025])
def test_a_payload_id_that_no_reader_accepts_is_refused(attester: Attester, payload_id: str) -> None:
    with pytest.raises(na.AttesterError, match="payload id: expected a string"):
        attester.attest(payload_id=payload_id)


@pytest.mark.parametrize("arguments", [{"key": "rsa2048"}, {"key": "p256"}, {"key": "p256", "child_of_ek": True}])
def test_no_key_and_no_session_stays_in_the_tpm(attester: Attester, arguments: dict[str, Any]) -> None:
    attester.attest(payload_id="request-1", **arguments)
    assert left_in(attester) == []


@pytest.mark.parametrize("child_of_ek", [False, True])
def test_no_key_stays_in_the_tpm_when_its_use_fails(attester: Attester, child_of_ek: bool) -> None:
    counts: list[int] = []

    def fail() -> None:
        with attester.aik(KeyKind.parse("p256"), child_of_ek=child_of_ek):
            counts.append(len(left_in(attester)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert counts == [1]
    assert left_in(attester) == []


def test_nothing_stays_in_the_tpm_when_the_child_of_the_endorsement_key_cannot_be_made(attester: Attester) -> None:
    kind = KeyKind.parse("p256")
    # An object with fixedTPM must have fixedParent too (Part 1, "Attribute settings").
    with (
        pytest.raises(na.AttesterError, match="TPM2_Create under the endorsement key: "),
        attester.aik(kind, child_of_ek=True, attributes=0x00040072 & ~0x10),
    ):
        pass
    assert left_in(attester) == []


def test_values_are_read_again_when_a_pcr_changes_before_the_quote(
    attester: Attester, monkeypatch: pytest.MonkeyPatch
) -> None:
    quote, calls = attester.esapi.quote, []

    def quote_late(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) < 3:
            attester.measure(10, b"meanwhile")
        return quote(*arguments)

    monkeypatch.setattr(attester.esapi, "quote", quote_late)
    block = attester.attest(payload_id="request-1", key="p256")
    assert len(calls) == 3
    assert na.appraise(response(block, "request-1"), policy_for(block)).verdict is na.Verdict.AFFIRMING


def test_a_pcr_that_changes_before_every_quote_ends_in_an_error(
    attester: Attester, monkeypatch: pytest.MonkeyPatch
) -> None:
    quote = attester.esapi.quote

    def quote_late(*arguments: Any) -> Any:
        attester.measure(10, b"meanwhile")
        return quote(*arguments)

    monkeypatch.setattr(attester.esapi, "quote", quote_late)
    with pytest.raises(na.AttesterError, match="sha256:0,7,10 changed before they were quoted, in 8 attempts"):
        attester.attest(payload_id="request-1", key="p256")
    assert left_in(attester) == []


def test_values_of_two_moments_are_not_mixed(attester: Attester, monkeypatch: pytest.MonkeyPatch) -> None:
    read, calls = attester.esapi.pcr_read, []

    def read_slowly(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            attester.measure(0, b"meanwhile")
        return read(*arguments)

    monkeypatch.setattr(attester.esapi, "pcr_read", read_slowly)
    selection = parse_quote_selection("sha256:" + ",".join(map(str, range(12))))
    values = attester.read_pcrs(selection)
    assert len(calls) == 4  # two commands, begun again
    monkeypatch.undo()
    assert values == attester.read_pcrs(selection)


def test_pcrs_that_change_at_every_reading_end_in_an_error(attester: Attester, monkeypatch: pytest.MonkeyPatch) -> None:
    read = attester.esapi.pcr_read

    def read_slowly(*arguments: Any) -> Any:
        attester.measure(0, b"meanwhile")
        return read(*arguments)

    monkeypatch.setattr(attester.esapi, "pcr_read", read_slowly)
    with pytest.raises(na.AttesterError, match="changed while they were read, in 8 attempts"):
        attester.read_pcrs(parse_quote_selection("sha256:" + ",".join(map(str, range(12)))))


def test_a_bank_that_the_tpm_does_not_keep_is_named(attester: Attester) -> None:
    with pytest.raises(UnsupportedByTPMError, match="this TPM has no sha3_256 bank; its banks are sha1, sha256"):
        attester.attest(payload_id="request-1", pcrs="sha256:0+sha3_256:0")


def test_a_bank_that_is_switched_off_is_named() -> None:
    with SoftwareTPM() as swtpm:
        with Attester.open(swtpm.tcti) as attester:
            allocation = [(bank, () if bank == "sha384" else range(24)) for bank, _ in attester.banks]
            selection = tss.TPML_PCR_SELECTION([_selection(bank, indices) for bank, indices in allocation])
            attester.esapi.pcr_allocate(selection)
            attester.esapi.shutdown(tss.TPM2_SU.CLEAR)
        swtpm.power_cycle()
        with Attester.open(swtpm.tcti) as attester:
            with pytest.raises(
                UnsupportedByTPMError, match="this TPM has no sha384 bank; its banks are sha1, sha256, sha512"
            ):
                attester.attest(payload_id="request-1", pcrs="sha384:0")
            with pytest.raises(UnsupportedByTPMError, match="this TPM has no PCRs sha384:0"):
                attester.read_pcrs(parse_quote_selection("sha384:0"))


def _selection(bank: str, indices: Any) -> Any:
    one = tss.TPMS_PCR_SELECTION(hash=getattr(tss.TPM2_ALG, bank.upper()), pcrs=list(indices))
    one.sizeofSelect = 3
    return one


def test_a_key_that_the_tpm_does_not_make_is_named(attester: Attester) -> None:
    with (
        pytest.raises(UnsupportedByTPMError, match="this TPM does not support p256-ecdsa-sm3_256 keys"),
        attester.aik(KeyKind("p256", "ecdsa", "sm3_256")),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pcrs": "sha256:24"}, "expected a PCR index from 0 to 23 in bank sha256, got '24'"),
        ({"key": "rsa1024"}, "expected one of rsa2048, rsa3072"),
        ({"hierarchy": "lockout"}, "expected one of endorsement, owner, platform, null, got 'lockout'"),
        (
            {"hierarchy": "owner", "child_of_ek": True},
            "expected endorsement, .* got 'owner'",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(attester: Attester, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(na.AttesterError, match=message):
        attester.attest(payload_id="request-1", **arguments)


@pytest.mark.parametrize(
    ("pcr", "digests", "message"),
    [
        (24, {"sha256": bytes(32)}, "PCR index: expected 0 to 23, got 24"),
        (-1, {"sha256": bytes(32)}, "PCR index: expected 0 to 23, got -1"),
        (16, {"sha256": bytes(20)}, "extending PCR 16: expected 32 bytes, got 20 bytes for sha256"),
        (16, {"md5": bytes(16)}, "extending PCR 16: expected one of the banks sha1, sha256, .* got .md5."),
        (17, {"sha256": bytes(32)}, "TPM2_PCR_Extend of PCR 17: .*locality"),
    ],
)
def test_an_extend_that_cannot_be_is_refused(
    attester: Attester, pcr: int, digests: dict[str, bytes], message: str
) -> None:
    with pytest.raises(na.AttesterError, match=message):
        attester.extend(pcr, digests)


def test_the_kind_says_whose_tpm_it_is(attester: Attester) -> None:
    assert attester.kind == "swtpm"
    with SoftwareTPM() as swtpm, Attester.open(swtpm.tcti) as other:
        assert other.kind == "tcti"


@pytest.mark.parametrize(
    "where", ["device:/dev/there-is-no-tpm", "swtpm:path=/there/is/no/socket", "no-such-tcti:", ""]
)
def test_a_missing_tpm_is_an_error_that_says_where(where: str) -> None:
    with pytest.raises(na.AttesterError, match=where.removeprefix("device:") or "TCTI ''"):
        Attester.open(where)


def test_a_machine_without_a_tpm_is_not_given_a_software_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DEVICES", ("/dev/there-is-no-tpm", "/dev/nor-here"))
    with pytest.raises(na.AttesterError, match="/dev/there-is-no-tpm does not exist"):
        Attester.open()


def test_a_device_that_may_not_be_used_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(na.AttesterError, match=r"no permission to use /dev/null; .* group tss"):
        Attester.open("device:/dev/null")


def test_a_device_that_is_no_tpm_is_an_error() -> None:
    with pytest.raises(na.AttesterError, match="'device:/dev/null'"):
        Attester.open("device:/dev/null")


def test_a_tpm_that_has_power_but_was_not_started_is_started(tmp_path: Path) -> None:
    socket = tmp_path / "tpm"
    channels = ["--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"]
    state = ["--tpmstate", f"dir={tmp_path}", "--flags", "not-need-init"]
    with subprocess.Popen(["swtpm", "socket", "--tpm2", *state, *channels]) as process:
        try:
            until = time.monotonic() + 60
            while not all(connection._accepts_connections(Path(path)) for path in (f"{socket}.ctrl", socket)):
                assert time.monotonic() < until
                time.sleep(0.005)
            with Attester.open(f"swtpm:path={socket}") as attester:
                assert attester.attest(payload_id="request-1", key="p256")["is_available"] is True
        finally:
            process.terminate()


def test_a_software_tpm_that_dies_is_an_error_that_says_how() -> None:
    with Attester.open("swtpm") as attester:
        process_of(attester).kill()
        with pytest.raises(SoftwareTPMError, match="swtpm exited with status -9"):
            attester.attest(payload_id="request-1")


def test_the_software_tpm_of_an_attester_ends_with_it() -> None:
    processes: list[Any] = []

    def fail() -> None:
        with Attester.open("swtpm") as attester:
            processes.append(process_of(attester))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert processes[0].poll() is not None


def test_an_attester_may_be_closed_twice() -> None:
    attester = Attester.open("swtpm")
    attester.close()
    attester.close()


def test_the_software_tpm_ends_when_it_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[SoftwareTPM] = []
    start = SoftwareTPM.start

    def start_and_tell(self: SoftwareTPM) -> None:
        start(self)
        started.append(self)

    def refuse(self: connection.Connection) -> None:
        raise na.AttesterError("unreachable")

    monkeypatch.setattr(SoftwareTPM, "start", start_and_tell)
    monkeypatch.setattr(connection.Connection, "_start_up", refuse)
    with pytest.raises(na.AttesterError, match="unreachable"):
        Attester.open("swtpm")
    assert started[0].exit_status() is not None


def test_a_block_is_plain_json(attester: Attester) -> None:
    recorded = response(attester.attest(payload_id="request-1", key="p256"), "request-1")
    assert json.loads(json.dumps(recorded)) == recorded
