"""Nothing that a record, a file name or a policy says drives a terminal, or the CI system that shows the output."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import CommandResult, environment, run

FORGED: Final = "forged"
TEXTS: Final = [
    f"::error::{FORGED}",
    f"\n::add-mask::{FORGED}",
    f"##vso[task.setvariable variable=PATH]{FORGED}",
    f"x ##[error]{FORGED}",
    f"##teamcity[message text='{FORGED}']",
    f"\x1b[31m{FORGED}\x1b[0m\r\x07\x9b2J\u202e",
    f"{'long ' * 20}::warning::{FORGED}",
]
"""One of each kind of command, a control sequence, and a command that is wrapped to the beginning of a line."""

_COMMAND: Final = re.compile(r"^\s*::|##[a-z]*\[", re.IGNORECASE | re.MULTILINE)


def check(*outputs: str) -> None:
    """Fail if a line of an output is a command, or contains a character that does not print."""
    assert any(FORGED in output for output in outputs), "the text is not in the output at all"
    for output in outputs:
        assert not _COMMAND.search(output), output
        for line in output.split("\n"):
            assert line.isprintable(), ascii(line)


def hostile(text: str) -> str:
    """A response that says `text` in every place where it may say anything, and is refused by its PCR values."""
    response: dict[str, Any] = json.loads(Forge().measure(0, text.encode()).text())
    metadata = response["_metadata"]
    metadata["security_tier"] = metadata["memory_protection"]["platform"] = text
    metadata[text] = metadata["cuda_device"][text] = text
    metadata["tpm_attestation"][text] = text
    metadata["response_status"] = [text]
    return json.dumps(response)


def without_evidence(text: str) -> str:
    block = {"is_available": False, "error": text, "reason": text, text: text}
    return json.dumps({"_metadata": {"tpm_attestation": block, "security_tier": text}})


def malformed(text: str) -> str:
    response: dict[str, Any] = json.loads(Forge().text())
    response["_metadata"]["tpm_attestation"] |= {"pcr_banks": text, "pcr_values": {text: {text: text}}}
    return json.dumps(response)


def wrapped(text: str) -> str:
    return json.dumps({text: json.loads(Forge().text())})


RECORDS: Final = [hostile, without_evidence, malformed, wrapped]


def policy_saying(text: str, folder: Path) -> str:
    """A policy whose id, description and labels are `text`; the name of its file."""
    document = Forge().policy() | {"id": text[:60], "description": text, "claims": {"security_tier": [text]}}
    document["pcrs"] = {
        bank: {
            index: [{"value": value, "label": text} for value in (values if isinstance(values, list) else [values])]
            for index, values in pcrs.items()
        }
        for bank, pcrs in document["pcrs"].items()
    }
    (folder / "hostile-policy.json").write_text(json.dumps(document), encoding="utf-8")
    return "hostile-policy.json"


@pytest.fixture
def recorded(folder: Path) -> list[str]:
    """Records of every kind and with every text, in files whose names contain the text, too; the names."""
    made = []
    for text in TEXTS:
        for make, name in zip([*RECORDS, hostile], [*(f"{make.__name__}-{{}}" for make in RECORDS), "{}"], strict=True):
            path = folder / name.format(f"{text}.attest.json")
            path.write_text(make(text), encoding="utf-8")
            made.append(path.name)
        lines = "\n".join([*(make(text) for make in RECORDS), text])
        (folder / f"{text}.attest.jsonl").write_text(lines, encoding="utf-8")
    return made


def outputs(ran: CommandResult) -> tuple[str, str]:
    assert "Traceback" not in ran.err
    assert "internal error" not in ran.err
    return ran.out, ran.err


def policies(folder: Path) -> Iterator[str]:
    yield "policy.toml"
    for text in TEXTS:
        yield policy_saying(text, folder)


@pytest.mark.parametrize("options", [[], ["--verbose"], ["--format", "json"]])
def test_verify_says_nothing_that_is_a_command(recorded: list[str], options: list[str], folder: Path) -> None:
    for policy in policies(folder):
        check(*outputs(run("verify", "--policy", policy, *options, "--", *recorded)))


@pytest.mark.parametrize("options", [[], ["--format", "json"]])
def test_inspect_says_nothing_that_is_a_command(recorded: list[str], options: list[str]) -> None:
    for name in recorded:
        check(*outputs(run("inspect", *options, "--", name)))


@pytest.mark.parametrize(
    "options",
    [[], ["--verbose"], ["--format", "json"], ["--out", "-"], ["--out", "-", "--format", "json", "--keep-evidence"]],
)
def test_audit_says_nothing_that_is_a_command(recorded: list[str], options: list[str], folder: Path) -> None:
    for policy in ("policy.toml", policy_saying(TEXTS[2], folder)):
        check(*outputs(run("audit", ".", "--policy", policy, *options)))


def test_the_annotations_of_an_audit_are_its_own(recorded: list[str]) -> None:
    ran = run("audit", ".", "--policy", "policy.toml", "--github")
    own = [line for line in ran.out.split("\n") if line.startswith("::")]
    assert own
    assert all(re.fullmatch(r"::(error|warning|notice) (file=[^,:]+,line=\d+,)?title=[^,:]+::.*", one) for one in own)
    check("\n".join(line.partition("::")[2].partition("::")[2] for line in own), ran.err)
    check("\n".join(line for line in ran.out.split("\n") if line not in own))


def test_the_rows_on_standard_output_are_those_of_a_file(recorded: list[str], tmp_path_factory: Any) -> None:
    file = tmp_path_factory.mktemp("out") / "rows.jsonl"
    ran = run("audit", ".", "--policy", "policy.toml", "--out", "-")
    assert run("audit", ".", "--policy", "policy.toml", "--out", file).status == ran.status
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > len(recorded)
    assert [json.loads(line) for line in ran.out.splitlines()] == rows


@pytest.mark.parametrize("options", [[], ["--format", "json"]])
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_the_policy_commands_say_nothing_that_is_a_command(options: list[str], text: str, folder: Path) -> None:
    policy = policy_saying(f"{FORGED} {text}", folder)
    check(*(output for command in ("show", "check") for output in outputs(run("policy", command, policy, *options))))
    check(*outputs(run("policy", "show", policy_saying(text, folder))))


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_learned_policy_is_no_command_and_loads(text: str, folder: Path) -> None:
    name = f"{text}.json"
    (folder / name).write_text(Forge().text(), encoding="utf-8")
    ran = run("policy", "learn", "--allow-test-keys", "--description", text, "--", name)
    assert ran.status == 0, ran.err
    check(*outputs(ran))
    (folder / "learned.toml").write_text(ran.out, encoding="utf-8")
    assert run("policy", "check", "learned.toml").status == 0


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_complaints_are_no_commands(text: str, folder: Path) -> None:
    name = f"{text}.jsonl"
    (folder / name).write_text(json.dumps({"format": text, text: text}) + f"\n{text}", encoding="utf-8")
    for argv in (
        ["ledger", "verify", "--", name],
        ["policy", "check", "--", name],
        ["verify", "--policy", "policy.toml", "--", f"missing {name}"],
        ["verify", "--policy", f"missing {name}", "--", name],
        ["rules", "--", text],
        [text],
    ):
        check(*outputs(run(*argv)))


@pytest.mark.parametrize("options", [["-rA"], ["-v", "--tb=short"], ["-vv", "--collect-only"], ["-q", "--tb=line"]])
def test_pytest_shows_nothing_that_is_a_command(recorded: list[str], options: list[str]) -> None:
    Path("pytest.ini").write_text("[pytest]\nattestation_policy = policy.toml\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *options]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False, env=environment()
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    check(done.stdout, done.stderr)
