"""`nomyo-attest verify`: one question about each file, answered as text, as JSON and as an exit status."""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from nomyo_attest.policy import AppraisalPolicy
from nomyo_attest.schemas import load_schema
from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import environment, run, single_error_line, start


def write(name: str, forge: Forge) -> None:
    Path(name).write_text(forge.text(), encoding="utf-8")


def with_policy(*lines: str) -> None:
    """Add lines to the learned policy."""
    text = Path("policy.toml").read_text(encoding="utf-8")
    Path("policy.toml").write_text(text + "\n" + "\n".join(lines) + "\n", encoding="utf-8")


def test_an_affirmed_file_is_one_line_and_what_it_does_not_establish(folder: Path) -> None:
    ran = run("verify", "good.json", "--policy", "policy.toml")
    assert (ran.status, ran.err) == (0, "")
    first, empty, *rest = ran.out.splitlines()
    digest = AppraisalPolicy.load("policy.toml").digest
    assert first == f"good.json   affirming   policy good ({digest[:11]}…)   AIK trust: self_asserted"
    assert empty == ""
    assert rest[0].startswith("Test evidence: good.json: signed by a publicly known test key")
    limits = rest[rest.index("") + 1 :]
    assert limits[0].startswith("Not established (--verbose says why): that a TPM made the quote; that the")


def test_a_file_whose_pcr_differs_shows_both_values_with_the_label_and_what_to_do(folder: Path) -> None:
    write("other.json", Forge().measure(7, b"db 2026-11"))
    ran = run("verify", "other.json", "--policy", "policy.toml")
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith("other.json   contraindicated   policy good (")
    expected = Forge().pcrs["sha256"][7].hex()
    got = Forge().measure(7, b"db 2026-11").pcrs["sha256"][7].hex()
    body = ran.out.split("\n\n", 1)[1]
    assert body.splitlines()[:6] == [
        "  FAIL  pcr.values",
        "   problem      PCR sha256:7 does not match the policy.",
        "   field        tpm_attestation.pcr_values",
        "   sha256:7",
        f"     expected   {expected[:8]}…{expected[-4:]}  good.json",
        f"     got        {got[:8]}…{got[-4:]}",
    ]
    assert "   remediation  If the machine was updated and you know what" in body
    assert "Not established" not in body


def test_verbose_shows_every_finding_and_digests_in_full(folder: Path) -> None:
    write("other.json", Forge().measure(7, b"db 2026-11"))
    ran = run("verify", "other.json", "--policy", "policy.toml", "--verbose")
    rules = [finding["rule"] for finding in results("other.json")[0]["findings"]]
    assert ran.status == 1
    assert all(f" {rule}" in ran.out for rule in rules)
    assert Forge().pcrs["sha256"][7].hex() in ran.out
    assert Forge().measure(7, b"db 2026-11").pcrs["sha256"][7].hex() in ran.out
    assert AppraisalPolicy.load("policy.toml").digest in ran.out
    assert "  - That a TPM made the quote: the AIK came with the response" in ran.out


def results(*files: str, status: int = 1) -> list[Any]:
    ran = run("verify", *files, "--policy", "policy.toml", "--format", "json")
    assert ran.status == status
    return [one["result"] for one in ran.json()["results"]]


def test_json_of_one_file_is_the_same_object_as_of_several(folder: Path) -> None:
    document = run("verify", "good.json", "--policy", "policy.toml", "--format", "json").json()
    assert list(document) == ["format", "policy", "results", "counts"]
    assert document["format"] == "nomyo-attest-verify/1"
    policy = AppraisalPolicy.load("policy.toml")
    assert document["policy"] == {"id": "good", "digest": policy.digest}
    assert document["counts"] == {"affirming": 1, "warning": 0, "contraindicated": 0, "none": 0, "unreadable": 0}
    (one,) = document["results"]
    assert one["file"] == "good.json"
    Draft202012Validator(load_schema("result")).validate(one["result"])


def test_the_worst_file_decides_the_exit_status_and_all_are_printed(folder: Path) -> None:
    write("other.json", Forge().measure(0, b"other firmware"))
    write("again.json", Forge(payload_id="another"))
    Path("no-tpm.json").write_text('{"_metadata": {"tpm_attestation": {"is_available": false}}}', encoding="utf-8")
    ran = run("verify", "good.json", "other.json", "no-tpm.json", "again.json", "--policy", "policy.toml")
    assert ran.status == 1
    rows = [line.split()[:2] for line in ran.out.splitlines() if "AIK trust:" in line]
    verdicts = ["affirming", "contraindicated", "none", "affirming"]
    assert rows == [
        list(row) for row in zip(["good.json", "other.json", "no-tpm.json", "again.json"], verdicts, strict=True)
    ]
    assert "\n4 files: 2 affirming, 1 contraindicated, 1 none\n" in ran.out
    assert len({line.index("policy good") for line in ran.out.splitlines() if "AIK trust:" in line}) == 1
    assert run("verify", "good.json", "again.json", "--policy", "policy.toml").status == 0


def test_an_unreadable_file_is_status_2_and_the_others_are_appraised(folder: Path) -> None:
    write("other.json", Forge().measure(0, b"other firmware"))
    argv = ["verify", "good.json", "missing.json", "other.json", "--policy", "policy.toml"]
    ran = run(*argv)
    assert ran.status == 2
    assert ran.err == "nomyo-attest: missing.json: cannot be read: No such file or directory; check the name\n"
    assert "3 files: 1 affirming, 1 contraindicated, 1 unreadable" in ran.out
    document = run(*argv, "--format", "json").json()
    assert [sorted(one) for one in document["results"]] == [["file", "result"], ["error", "file"], ["file", "result"]]
    assert document["counts"]["unreadable"] == 1


@pytest.mark.parametrize("content", [b"\x00\xff\xfe", b"{", b"[]", b"null", b'"text"', b'{"is_available": 1}'])
def test_malformed_evidence_is_a_verdict_and_status_1(folder: Path, content: bytes) -> None:
    Path("broken.json").write_bytes(content)
    ran = run("verify", "broken.json", "--policy", "policy.toml")
    assert (ran.status, ran.err) == (1, "")
    assert "broken.json   contraindicated   " in ran.out
    assert "  FAIL  evidence.form\n" in ran.out


@pytest.mark.parametrize("name", ["day.jsonl", "day.NDJSON", "day.json.gz", "day.jsonl.zst", "day.parquet"])
def test_a_file_of_many_records_is_a_usage_error_with_the_command_line_of_the_audit(folder: Path, name: str) -> None:
    Path(name).write_bytes(b"{}\n{}\n")
    ran = run("verify", "good.json", name, "--policy", "policy.toml", "--at", "2026-01-01T00:00:00Z")
    assert ran.status == 2
    command = f"nomyo-attest audit good.json {name} --policy policy.toml --at 2026-01-01T00:00:00Z"
    message = single_error_line(ran)
    assert "this command reads files of one record; " in message
    assert message.endswith(f"; run: {command}")


def test_the_command_line_of_the_audit_can_be_pasted_whatever_the_names_are(folder: Path) -> None:
    Path("a b;c.jsonl").write_bytes(b"{}\n{}\n")
    answer = single_error_line(run("verify", "a b;c.jsonl", "--policy", "my policy.toml"))
    assert answer.endswith("run: nomyo-attest audit 'a b;c.jsonl' --policy 'my policy.toml'")
    Path("-x.jsonl").write_bytes(b"{}\n{}\n")
    answer = single_error_line(run("verify", "--policy", "policy.toml", "--", "-x.jsonl"))
    assert answer.endswith("run: nomyo-attest audit --policy policy.toml -- -x.jsonl")


UNUSABLE = {
    "empty.json": (b"", "is empty"),
    "utf16.json": (Forge().text().encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    "gzip.json": (gzip.compress(b"{}"), "is compressed with gzip; unpack it first"),
    "zip.json": (b"PK\x03\x04" + bytes(60), "is a ZIP archive; unpack it first"),
    "lines.json": (b'{}\n{"a": 1}\n', "has a record on each line; use `nomyo-attest audit`, which reads JSON Lines"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_file_that_cannot_be_a_record_is_unreadable(folder: Path, name: str) -> None:
    content, problem = UNUSABLE[name]
    Path(name).write_bytes(content)
    ran = run("verify", name, "good.json", "--policy", "policy.toml")
    assert ran.status == 2
    assert f"{name}: {problem}" in ran.err
    assert "affirming" in ran.out
    for command in (["inspect", name], ["policy", "learn", "--allow-test-keys", name]):
        ran = run(*command)
        assert ran.status == 2
        assert single_error_line(ran).startswith(f"{name}: {problem}")
    answer = single_error_line(run("inspect", "-", stdin=content))
    assert answer.startswith(f"standard input: {problem}")


def test_a_byte_order_mark_of_utf_8_is_no_problem(folder: Path) -> None:
    Path("bom.json").write_bytes(b"\xef\xbb\xbf" + Path("good.json").read_bytes())
    Path("bom.toml").write_bytes(b"\xef\xbb\xbf" + Path("policy.toml").read_bytes())
    assert run("verify", "bom.json", "--policy", "bom.toml").status == 0
    assert run("inspect", "bom.json").status == 0
    assert run("policy", "learn", "--allow-test-keys", "bom.json", "-o", "learned.toml").status == 0


def test_a_policy_in_utf_16_is_a_usage_error_that_says_what_to_do(folder: Path) -> None:
    Path("utf16.toml").write_bytes(Path("policy.toml").read_text(encoding="utf-8").encode("utf-16"))
    answer = single_error_line(run("verify", "good.json", "--policy", "utf16.toml"))
    assert answer.startswith("utf16.toml: the file is UTF-16 text; save it as UTF-8")


def test_a_softened_rule_is_a_warning_and_status_0(folder: Path) -> None:
    write("cut.json", Forge(safe=0))
    assert run("verify", "cut.json", "--policy", "policy.toml").status == 1
    with_policy("[rules]", '"clock.safe" = "warn"')
    ran = run("verify", "cut.json", "--policy", "policy.toml")
    assert ran.status == 0
    assert "cut.json   warning   " in ran.out
    assert "  WARNING  clock.safe\n" in ran.out
    assert "Not established" in ran.out


def test_an_ignored_rule_is_named_all_the_same(folder: Path) -> None:
    write("cut.json", Forge(safe=0))
    with_policy("[rules]", '"clock.safe" = "ignore"')
    ran = run("verify", "cut.json", "--policy", "policy.toml")
    assert ran.status == 0
    assert "cut.json   affirming   " in ran.out
    assert "  ignored by the policy: clock.safe\n" in ran.out


def test_standard_input_is_a_file_called_minus(folder: Path) -> None:
    ran = run("verify", "-", "--policy", "policy.toml", stdin=Path("good.json").read_bytes())
    assert ran.status == 0
    assert ran.out.startswith("-   affirming   ")


def test_standard_input_cannot_be_read_twice(folder: Path) -> None:
    ran = run("verify", "-", "good.json", "-", "--policy", "policy.toml")
    assert ran.status == 2
    assert "once" in single_error_line(ran)


def test_a_payload_id_can_be_given_for_a_bare_block(folder: Path) -> None:
    block = json.loads(Path("good.json").read_text(encoding="utf-8"))["_metadata"]["tpm_attestation"]
    Path("block.json").write_text(json.dumps(block), encoding="utf-8")
    argv = ["verify", "block.json", "--policy", "policy.toml"]
    assert run(*argv).status == 1
    assert run(*argv, "--payload-id", Forge().payload_id).status == 0
    assert run(*argv, "--payload-id", "another").status == 1
    nonce = results("good.json", status=0)[0]["findings"]
    (extra_data,) = [finding["got"] for finding in nonce if finding["rule"] == "nonce.match"]
    assert run(*argv, "--nonce", extra_data).status == 0
    assert run(*argv, "--nonce", extra_data.upper()).status == 0
    assert run(*argv, "--nonce", "00" * 16).status == 1


@pytest.mark.parametrize("nonce", ["", "0", "zz", "0 0", "00" * 65, "0x00", "\u0660\u0660", "00\n"])
def test_a_nonce_that_is_no_hex_is_wrong_usage(folder: Path, nonce: str) -> None:
    ran = run("verify", "good.json", "--policy", "policy.toml", "--nonce", nonce)
    assert ran.status == 2
    assert single_error_line(ran).startswith("--nonce: ")


@pytest.mark.parametrize("payload_id", ["", "x" * 1025, "\udc80"])
def test_a_payload_id_that_cannot_be_one_is_wrong_usage(folder: Path, payload_id: str) -> None:
    ran = run("verify", "good.json", "--policy", "policy.toml", "--payload-id", payload_id)
    assert ran.status == 2
    assert single_error_line(ran).startswith("--payload-id: expected ")


def test_payload_id_and_nonce_exclude_each_other(folder: Path) -> None:
    ran = run("verify", "good.json", "--policy", "policy.toml", "--nonce", "00", "--payload-id", "x")
    assert ran.status == 2
    assert "not allowed with" in single_error_line(ran)


def test_the_time_of_the_appraisal_can_be_given(folder: Path) -> None:
    text = Path("policy.toml").read_text(encoding="utf-8")
    Path("policy.toml").write_text(f"valid_until = 2026-01-31T00:00:00Z\n{text}", encoding="utf-8")
    argv = ["verify", "good.json", "--policy", "policy.toml"]
    assert run(*argv, "--at", "2026-01-30T23:59:59Z").status == 0
    ran = run(*argv, "--at", "2026-01-31T02:00:01+02:00")
    assert ran.status == 1
    assert "good.json   none   " in ran.out
    assert "  UNDECIDED  policy.period\n" in ran.out
    assert "   expected     until 2026-01-31T00:00:00+00:00\n" in ran.out


@pytest.mark.parametrize(
    "time", ["", "now", "2026-01", "2026-01-30T00:00:00", "2026-06-31T00:00:00Z", "20260130T000000Z"]
)
def test_a_time_without_a_day_or_an_offset_is_wrong_usage(folder: Path, time: str) -> None:
    ran = run("verify", "good.json", "--policy", "policy.toml", "--at", time)
    assert ran.status == 2
    assert single_error_line(ran).startswith("--at: ")


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("missing.toml", None, "No such file"),
        ("broken.toml", b"= 1", "not a policy file"),
        ("binary.toml", b"\xff\x00", "not a policy file"),
        ("empty.toml", b"", "'format' is missing"),
        ("digits.toml", b"a = " + b"1" * 5000, "digits.toml: "),
        ("digits.json", b'{"a": ' + b"1" * 5000 + b"}", "digits.json: "),
        ("nothing.json", b'{"format": "nomyo-attest-policy/1", "id": "x"}', "no PCR value is pinned"),
        ("\x1b[31m.toml", b'"\x1b" = 1', "\\x1b[31m.toml"),
    ],
)
def test_an_unusable_policy_is_status_2_and_one_line(folder: Path, name: str, content: bytes | None, hint: str) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    ran = run("verify", "good.json", "--policy", name)
    assert ran.status == 2
    assert hint in single_error_line(ran)


def test_a_folder_is_no_policy_and_no_evidence(folder: Path) -> None:
    Path("sub").mkdir()
    assert (
        single_error_line(run("verify", "good.json", "--policy", "sub"))
        == "sub: is a folder; name the policy file in it"
    )
    ran = run("verify", "sub", "--policy", "policy.toml")
    assert ran.status == 2
    assert single_error_line(ran).endswith("run: nomyo-attest audit sub --policy policy.toml")


def test_a_file_without_permission_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:  # root, who may run this test, may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nomyo_attest._files.open", refuse, raising=False)
    ran = run("verify", "good.json", "--policy", "policy.toml")
    assert ran.status == 2
    assert "Permission denied; check its permissions" in ran.err


def test_a_name_that_no_file_can_have_is_unreadable(folder: Path) -> None:
    ran = run("verify", "a\0b", "--policy", "policy.toml")
    assert ran.status == 2
    assert "a\\x00b: cannot be read" in ran.err


def test_nothing_from_the_evidence_reaches_the_terminal_raw(folder: Path) -> None:
    evil = "\x1b[2J\r\n\x07\u202eid\u2028"
    forge = Forge(payload_id=evil, security_tier=evil)
    write("e\x1b[31m\n.json", forge)
    with_policy("[claims]", 'security_tier = ["high"]')
    for extra in ([], ["--verbose"], ["--format", "json"]):
        ran = run("verify", "e\x1b[31m\n.json", "--policy", "policy.toml", *extra)
        assert ran.status == 1
        assert all(line.isprintable() for line in ran.out.split("\n"))
        assert "claims.security_tier" in ran.out


def test_a_long_claim_is_cut_in_text_and_whole_in_json(folder: Path) -> None:
    write("long.json", Forge(security_tier="x" * 100_000))
    with_policy("[claims]", 'security_tier = ["high"]')
    assert len(run("verify", "long.json", "--policy", "policy.toml").out) < 5_000
    assert "x" * 100_000 in run("verify", "long.json", "--policy", "policy.toml", "--format", "json").out


def test_a_pipe_gets_neither_color_nor_wrapped_first_lines(folder: Path) -> None:
    done = start("verify", "good.json", "--policy", "policy.toml", env=environment(COLUMNS="40", TERM="xterm-256color"))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[0].endswith("AIK trust: self_asserted")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("more", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)]
)
def test_a_terminal_gets_color_unless_it_says_no(folder: Path, more: dict[str, str], *, colored: bool) -> None:
    out = on_a_terminal(80, "verify", "good.json", "--policy", "policy.toml", **more)
    assert ("\x1b[32maffirming\x1b[0m" in out) is colored
    assert ("\x1b" in out) is colored


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [40, 80])
def test_on_a_terminal_no_line_is_wider_than_it(folder: Path, columns: int) -> None:
    write("other.json", Forge().measure(7, b"db 2026-11"))
    for files in (["other.json"], ["good.json", "other.json"]):
        out = on_a_terminal(columns, "verify", *files, "--policy", "policy.toml")
        lines = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
        assert [line for line in lines if len(line) > columns] == []


def on_a_terminal(columns: int, *argv: str, **more: str) -> str:
    """What the command prints on a terminal of that width."""
    import fcntl
    import pty
    import struct
    import termios

    main_end, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = environment(**({"TERM": "xterm"} | more))
    done = start(*argv, capture_output=False, stdout=terminal, stdin=terminal, stderr=terminal, env=environ)
    os.close(terminal)
    printed = b""
    with os.fdopen(main_end, "rb", buffering=0) as stream:
        try:
            while chunk := stream.read(65536):
                printed += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
    assert done.returncode in {0, 1}
    return printed.decode().replace("\r\n", "\n")


def wrap(name: str, **fields: object) -> None:
    text = json.dumps({"log": json.dumps(json.loads(Path("good.json").read_text(encoding="utf-8"))), **fields})
    Path(name).write_text(text, encoding="utf-8")


def test_a_wrapped_response_is_unreadable_and_the_others_are_appraised(folder: Path) -> None:
    wrap("wrapped.json")
    ran = run("verify", "wrapped.json", "good.json", "--policy", "policy.toml")
    assert ran.status == 2
    problem = ran.err.removeprefix("nomyo-attest: ").removesuffix("\n")
    assert problem.startswith("wrapped.json: the evidence is not at the top level of the record but at /log ")
    assert "jq -c '.log | fromjson'" in problem
    assert ran.out.startswith("good.json      affirming")
    document = run("verify", "wrapped.json", "--policy", "policy.toml", "--format", "json").json()
    assert document["counts"]["unreadable"] == 1
    assert document["results"] == [{"file": "wrapped.json", "error": problem}]


def test_a_response_with_choices_is_not_searched_for_evidence(folder: Path) -> None:
    wrap("chat.json", choices=[])
    ran = run("verify", "chat.json", "--policy", "policy.toml")
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith("chat.json   none")


def test_evidence_signed_by_a_test_key_is_called_that(folder: Path) -> None:
    ran = run("verify", "good.json", "--policy", "policy.toml")
    assert ran.status == 0
    said = " ".join(ran.out.split())
    assert "Test evidence: good.json: signed by a publicly known test key" in said
    assert run("verify", "good.json", "--policy", "policy.toml", "--format", "json").json()["results"][0]["result"][
        "aik"
    ]["test_key"]
    assert "signed by a publicly known test key" in " ".join(run("inspect", "good.json").out.split())
