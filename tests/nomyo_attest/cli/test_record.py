"""`nomyo-attest record`: a quote of a TPM in a response-shaped file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nomyo_attest.cli.evidence import HIERARCHIES
from nomyo_attest.installation import install_command
from tests.nomyo_attest.cli.runner import run, single_error_line

PAYLOAD_ID = "6f1c8a52-0d3e-4b7a-9c45-2e8f7d10b364"


@pytest.mark.tpm
def test_a_recording_is_evidence_that_can_be_learned_from_and_verified(folder: Path) -> None:
    argv = ["record", "--tcti", "swtpm", "--payload-id", PAYLOAD_ID, "--key", "p256", "--pcrs", "sha256:0,7+sha384:0"]
    assert run(*argv, "-o", "recorded.json") == (0, "", "")
    document = run("inspect", "recorded.json", "--format", "json").json()
    assert document["payload_id"] == PAYLOAD_ID
    assert document["pcr_banks"] == "sha256:0,7+sha384:0"
    assert document["aik"]["hierarchy"] == "endorsement"
    assert run("policy", "learn", "--allow-test-keys", "recorded.json", "-o", "recorded.toml").status == 0
    assert run("verify", "recorded.json", "--policy", "recorded.toml", "--payload-id", PAYLOAD_ID).status == 0


@pytest.mark.tpm
def test_a_recording_goes_to_standard_output_and_from_there_to_verify(folder: Path) -> None:
    ran = run("record", "--tcti", "swtpm", "--payload-id", "x", "--key", "p256", "--hierarchy", "owner")
    assert (ran.status, ran.err) == (0, "")
    document = run("inspect", "-", "--format", "json", stdin=ran.out.encode()).json()
    assert document["aik"]["hierarchy"] == "owner"


@pytest.mark.tpm
@pytest.mark.parametrize(
    "more", [["--key", "rsa512"], ["--pcrs", "sha256"], ["--pcrs", "sha256:24"], ["--tcti", "swtpm:path=/nowhere"]]
)
def test_what_the_attester_refuses_is_one_line_and_status_2(folder: Path, more: list[str]) -> None:
    ran = run("record", "--tcti", "swtpm", "--payload-id", "x", *more, "-o", "recorded.json")
    assert ran.status == 2
    single_error_line(ran)
    assert not Path("recorded.json").exists()


@pytest.mark.tpm
def test_the_hierarchies_are_those_of_the_attester() -> None:
    from nomyo_attest import attester

    assert attester.HIERARCHIES == HIERARCHIES


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("nomyo_attest.attester")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tpm2_pytss", None)
    ran = run("record", "--payload-id", "x")
    assert ran.status == 2
    assert install_command("tpm") in single_error_line(ran)


def test_an_existing_file_is_refused_before_the_tpm_is_asked(folder: Path) -> None:
    ran = run("record", "--tcti", "no such tcti", "--payload-id", "x", "-o", "good.json")
    assert ran.status == 2
    assert single_error_line(ran) == "good.json: already exists; choose another name, or add --force to overwrite it"


def test_a_payload_id_that_cannot_be_one_is_wrong_usage() -> None:
    ran = run("record", "--payload-id", "")
    assert ran.status == 2
    assert single_error_line(ran).startswith("--payload-id: ")
