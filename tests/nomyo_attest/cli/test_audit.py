"""`nomyo-attest audit`: many records in, a summary, verdicts and reports out."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nomyo_attest import AppraisalPolicy, appraise
from nomyo_attest._version import __version__
from nomyo_attest.audit import run as audit_run
from nomyo_attest.audit import store
from nomyo_attest.audit.run import Audit
from nomyo_attest.audit.state import StateError
from nomyo_attest.audit.store import STORE_SCHEMA
from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import CommandResult, environment, run, single_error_line, start

START = Forge().processed_at
OUTPUTS = ["--out", "--html", "--junit", "--sarif", "--markdown", "--cross-record", "--affected"]


def answer(number: int) -> Forge:
    """One of many answers, all of one key."""
    return Forge(payload_id=f"id-{number}", processed_at=START + number)


@pytest.fixture
def recorded(folder: Path) -> Path:
    """Five answers in `recorded/`, one of them with another PCR value; one line is no JSON."""
    recorded = folder / "recorded"
    recorded.mkdir()
    lines = [compact(answer(number)) for number in range(3)]
    (recorded / "a.jsonl").write_text("\n".join([*lines, "", "{"]) + "\n", encoding="utf-8")
    (recorded / "b.json.gz").write_bytes(gzip.compress(answer(3).measure(7, b"db 2026-11").text().encode(), mtime=0))
    return recorded


def compact(forge: Forge) -> str:
    return json.dumps(json.loads(forge.text()))


def audit(*argv: object, stdin: bytes = b"") -> CommandResult:
    return run("audit", *argv, "--policy", "policy.toml", stdin=stdin)


def summary(*argv: object, status: int = 1) -> dict[str, Any]:
    ran = audit(*argv, "--format", "json")
    assert (ran.status, ran.err) == (status, "")
    document: dict[str, Any] = ran.json()
    return document


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def names() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"good.json", "policy.toml", "recorded"}


@pytest.mark.usefixtures("recorded")
class TestWhatIsFound:
    def test_each_record_has_the_verdict_of_verify(self) -> None:
        assert audit("recorded", "--out", "v.jsonl").status == 1
        policy = AppraisalPolicy.load("policy.toml")
        texts = {("recorded/a.jsonl", line): text for line, text in enumerate(lines_of("recorded/a.jsonl"), 1) if text}
        texts["recorded/b.json.gz", 1] = gzip.decompress(Path("recorded/b.json.gz").read_bytes())
        found = rows("v.jsonl")
        assert {(row["source"], row["line"]) for row in found} == set(texts)
        for row in found:
            result = appraise(texts[row["source"], row["line"]], policy)
            assert (row["verdict"], row["failed"]) == (result.verdict.value, list(result.failed))
        assert [row["verdict"] for row in found] == ["affirming"] * 3 + ["contraindicated"] * 2
        assert names() == {"v.jsonl"}

    def test_the_totals_add_up_to_the_input(self) -> None:
        document = summary("recorded")
        assert sum(document["counts"].values()) == 5
        assert (document["outside"], document["blank"], document["sources_total"]) == (0, 1, 2)
        assert document["status"] == 1
        assert document["run"]["version"] == __version__
        typed = "nomyo-attest audit recorded --format json --policy policy.toml"
        assert document["run"]["command"] == typed.split()

    def test_the_summary_is_text_and_ends_with_the_status_and_its_reason(self) -> None:
        ran = audit("recorded")
        assert (ran.status, ran.err) == (1, "")
        assert ran.out.startswith("5 records in 2 sources\n")
        assert "\n\nexit status 1: not passed; " in ran.out

    def test_rows_of_chosen_verdicts_are_written_and_all_are_counted(self) -> None:
        document = summary("recorded", "--out", "v.jsonl", "--select", "affirming,none")
        assert Counter(row["verdict"] for row in rows("v.jsonl")) == {"affirming": 3}
        assert (document["written"], document["counts"]["contraindicated"]) == (3, 2)
        assert document["run"]["select"] == ["affirming", "none"]

    def test_records_outside_the_time_are_counted_and_nothing_else(self) -> None:
        document = summary("recorded", "--since", moment(START + 1), "--until", moment(START + 3), "--out", "v.jsonl")
        # The line that is no JSON says no time, so it is inside.
        assert [row["payload_id"] for row in rows("v.jsonl")] == ["id-1", "id-2", None]
        assert (document["outside"], sum(document["counts"].values())) == (2, 3)
        assert document["run"]["since"] == moment(START + 1)

    def test_evidence_that_was_kept_is_appraised_again_to_the_same_verdicts(self) -> None:
        audit("recorded", "--out", "v.jsonl", "--keep-evidence")
        audit("v.jsonl", "--out", "again.jsonl")
        first, second = rows("v.jsonl"), rows("again.jsonl")
        told = ("payload_id", "verdict", "failed", "quote", "aik_name")
        assert [[row[key] for key in told] for row in first[:3]] == [[row[key] for key in told] for row in second[:3]]
        assert len(first) == len(second)

    def test_standard_input_is_a_source(self) -> None:
        ran = audit("-", "--out", "v.jsonl", "--format", "json", stdin=Path("recorded/a.jsonl").read_bytes())
        assert (ran.status, ran.err) == (1, "")
        assert [(row["source"], row["line"]) for row in rows("v.jsonl")] == [("-", 1), ("-", 2), ("-", 3), ("-", 5)]
        assert names() == {"v.jsonl"}

    def test_a_source_that_cannot_be_read_is_told_and_is_status_2(self) -> None:
        Path("recorded/c.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 1000)[:-9])
        document = summary("recorded", "--out", "v.jsonl", status=2)
        assert document["sources_unreadable"] == 1
        assert rows("v.jsonl")[-1]["verdict"] == "unreadable"
        assert summary("recorded", "--fail-on", "contraindicated", status=1)["sources_unreadable"] == 1

    def test_the_same_again_is_the_same_bytes(self) -> None:
        outs = [
            word
            for name in ("v.jsonl", "v.csv", "s.jsonl")
            for word in (("--cross-record" if name[0] == "s" else "--out"), name)
        ]
        audit("recorded", *outs)
        before = [Path(name).read_bytes() for name in ("v.jsonl", "v.csv", "s.jsonl")]
        audit("recorded", *outs, "--force", "--processes", "2")
        assert [Path(name).read_bytes() for name in ("v.jsonl", "v.csv", "s.jsonl")] == before


def lines_of(name: str) -> list[bytes]:
    return Path(name).read_bytes().splitlines()


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@pytest.mark.usefixtures("recorded")
class TestStatus:
    @pytest.mark.parametrize(
        ("argv", "status"),
        [
            ([], 1),
            (["--fail-on", "nothing"], 0),
            (["--fail-on", "warning,none"], 0),
            (["--fail-on", "contraindicated"], 1),
            (["--fail-on", "contraindicated", "--max-failures", "1"], 1),
            (["--fail-on", "contraindicated", "--max-failures", "2"], 0),
            (["--fail-on", "cross-record"], 1),  # all of one AIK, which is not pinned
        ],
    )
    def test_it_is_what_fail_on_and_max_failures_say(self, argv: list[str], status: int) -> None:
        assert audit("recorded", *argv).status == status

    def test_all_well_is_0(self) -> None:
        assert audit("good.json").status == 0


@pytest.mark.usefixtures("recorded")
class TestWhatIsWritten:
    def test_every_report_that_is_asked_for(self) -> None:
        kinds = {"html": "<!doctype html>", "markdown": "#", "junit": "<?xml", "sarif": "{"}
        argv = [word for kind in kinds for word in (f"--{kind}", f"report.{kind}")]
        assert audit("recorded", *argv).status == 1
        for kind, start_of in kinds.items():
            assert Path(f"report.{kind}").read_text(encoding="utf-8").lower().startswith(start_of), kind
        assert json.loads(Path("report.sarif").read_bytes())["version"] == "2.1.0"
        assert names() == {f"report.{kind}" for kind in kinds}

    def test_all_findings_across_records(self) -> None:
        document = summary("recorded", "--cross-record", "cross-record.jsonl")
        assert rows("cross-record.jsonl") == document["cross_record"]
        assert {finding["rule"] for finding in document["cross_record"]} == {"reused.aik"}

    def test_all_records_of_all_findings(self) -> None:
        document = summary("recorded", "--affected", "affected.jsonl")
        written = rows("affected.jsonl")
        assert len(written) == sum(rule["records"] for rule in document["cross_record_rules"]) > 0
        places = [(place["source"], place["line"]) for one in document["cross_record"] for place in one["places"]]
        assert [(one["source"], one["line"]) for one in written] == places
        assert written[0].keys() == {"rule", "key", "source", "line", "processed_at", "verdict"}
        verdicts = [one["verdict"] for one in {(row["source"], row["line"]): row for row in written}.values()]
        assert verdicts.count("affirming") == document["affected"]["affirming"]

    def test_annotations_stand_before_the_summary(self) -> None:
        lines = audit("recorded", "--github").out.splitlines()
        assert lines[0].startswith("::error ")
        assert any(line.startswith("5 records in 2 sources") for line in lines)

    def test_rows_go_to_standard_output_and_the_summary_beside_them(self) -> None:
        audit("recorded", "--out", "v.jsonl")
        ran = audit("recorded", "--out", "-")
        assert ran.out == Path("v.jsonl").read_text(encoding="utf-8")
        assert ran.err.startswith("5 records in 2 sources\n")
        ran = audit("recorded", "--out", "-", "--out", "v.csv", "--format", "json")
        assert ran.out == Path("v.jsonl").read_text(encoding="utf-8")
        assert json.loads(ran.err)["written"] == 5
        assert names() == {"v.jsonl", "v.csv"}

    @pytest.mark.parametrize("option", [*OUTPUTS, "--state"])
    def test_an_empty_name_is_refused(self, option: str) -> None:
        ran = audit("recorded", option, "")
        assert (ran.status, single_error_line(ran)) == (2, f"{option}: expected a name, got an empty string")

    @pytest.mark.parametrize(
        "option", ["--out", "--html", "--junit", "--sarif", "--markdown", "--cross-record", "--affected"]
    )
    def test_nothing_is_overwritten_unless_asked_for(self, option: str) -> None:
        Path("x.jsonl").write_bytes(b"mine")
        ran = audit("recorded", option, "x.jsonl")
        assert (ran.status, single_error_line(ran)) == (
            2,
            "x.jsonl: already exists; choose another name, or add --force to overwrite it",
        )
        assert names() == {"x.jsonl"}
        assert audit("recorded", option, "x.jsonl", "--force").status == 1
        assert Path("x.jsonl").read_bytes() != b"mine"

    def test_what_was_recorded_may_say_what_it_likes(self) -> None:
        evil = "\x1b[31m::error::%0A</script>\u202e"
        text = Forge(payload_id=evil).text().replace('"high"', json.dumps(evil))
        Path(f"recorded/{evil.replace('/', '')}.json").write_text(text, encoding="utf-8")
        for argv in ([], ["--github"], ["--verbose"]):
            out = audit("recorded", *argv).out
            assert "\x1b" not in out
            assert "\u202e" not in out


@pytest.mark.skipif(sys.platform != "linux", reason="only there can a file have any bytes as its name")
@pytest.mark.usefixtures("recorded")
def test_names_that_are_no_utf_8_are_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = os.fsdecode(b"\xff")
    (folder / bad).mkdir()
    monkeypatch.chdir(folder / bad)
    reports = ("--html", f"{bad}.html", "--sarif", f"{bad}.sarif", "--cross-record", f"{bad}.s")
    argv = ("audit", "../recorded", "--policy", "../policy.toml", "--out", f"{bad}.jsonl", *reports)
    ran = run(*argv)
    assert (ran.status, ran.err) == (1, "")
    assert names() == {f"{bad}{ending}" for ending in (".jsonl", ".html", ".sarif", ".s")}
    assert run(*argv, "--force", "--format", "json").json()["run"]["command"][-3] == "--force"
    assert single_error_line(run(*argv, "--column", bad)) == (
        "--column: expected a name in UTF-8, as the columns of Parquet files have, got other bytes"
    )


@pytest.mark.usefixtures("recorded")
class TestUsage:
    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            (["--out", "v.txt"], "v.txt: unsupported file extension; use .jsonl"),
            (["--out", "no/v.jsonl"], "no/v.jsonl: its folder does not exist"),
            (["--out", "v.jsonl", "--html", "v.jsonl"], "v.jsonl: two outputs have this name"),
            (
                ["--html", "./policy.toml", "--force"],
                "./policy.toml: this output is the policy file; choose another name",
            ),
            (["--out", "v.jsonl", "--state", "v.jsonl"], "v.jsonl: this output is in the folder of the audit's state"),
            (
                ["--state", "s", "--html", "s/store.sqlite"],
                "s/store.sqlite: this output is in the folder of the audit's state",
            ),
            (["--junit", "-"], "-: only --out writes to standard output; name a file"),
            (["--html", "recorded", "--force"], "recorded: this output is a source"),
            (["--html", ".", "--force"], ".: is a folder; name a file in it"),
            (
                ["--out", "recorded/v.jsonl"],
                "recorded/v.jsonl: this output is in recorded, where it would be read as records",
            ),
            (
                ["--out", "recorded/a.jsonl", "--force"],
                "recorded/a.jsonl: this output is in recorded, where it would be read",
            ),
            (
                ["--select", "good"],
                "--select: invalid value 'good' (choose from affirming, warning, contraindicated, ",
            ),
            (["--fail-on", "all"], "--fail-on: invalid value 'all' (choose from warning, "),
            (["--fail-on", ""], "--fail-on: invalid value ''"),
            (
                ["--fail-on", "contraindicated,series"],
                "--fail-on: invalid value 'series'; did you mean cross-record? (choose from warning, ",
            ),
            (
                ["--fail-on", "nothing,cross-record"],
                "--fail-on: invalid value 'nothing' (choose from warning, contraindicated, none, unreadable, ",
            ),
            (["--max-failures", "-1"], "--max-failures: expected 0 or more, got -1"),
            (["--max-failures", "٩"], "audit: argument --max-failures: invalid number '٩': expected a whole number of"),
            (["--processes", "1_0"], "audit: argument --processes: invalid number '1_0': expected a whole number of"),
            (
                ["--docs-url", "javascript:alert(1)"],
                "audit: argument --docs-url: invalid address 'javascript:",
            ),
            (["--processes", "0"], "--processes: expected 1 or more, got 0"),
            (["--since", "yesterday"], "--since: invalid time 'yesterday'; write a date, such as 2026-11-30"),
            (["--until", "2026-01-01T08:00:00"], "--until: invalid time '2026-01-01T08:00:00'"),
            (["--until", "2026-02-30"], "--until: invalid time '2026-02-30'"),
            (["--since", "0001-01-01T00:00:00+14:00"], "--since: expected a time in the years 1 to 9999 of UTC"),
            (["--until", "9999-12-31T23:59:59.5Z"], "--until: expected a time in the years 1 to 9999 of UTC"),
            (
                ["--since", "2026-01-02T00:00:00Z", "--until", "2026-01-01T00:00:00Z"],
                "--until: expected a time after --since",
            ),
            (["--max-gap", "0s"], "--max-gap: invalid duration '0s'"),
            (["--resume"], "--resume: an audit without --out or --state has no stored state"),
            (["--github", "--format", "json"], "--github and --format json both write to standard output"),
            (["--github", "--out", "-"], "--github and --out - both write to standard output"),
            (["--out", "v" * 300 + ".csv"], "v" * 300 + ".csv: cannot be written: File name too long; name another"),
            (["--state", "no/state"], "no/state: its parent folder does not exist"),
        ],
    )
    def test_what_cannot_be_done_is_one_line_before_any_work(self, argv: list[str], said: str) -> None:
        ran = audit("recorded", *argv)
        assert ran.status == 2
        assert single_error_line(ran).startswith(said)
        assert names() == set()

    @pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which not even root can make files")
    @pytest.mark.parametrize(
        "option", ["--out", "--html", "--markdown", "--junit", "--sarif", "--cross-record", "--affected"]
    )
    def test_a_folder_that_cannot_be_written_to_is_found_before_any_work(
        self, option: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Audit, "begin", lambda *_, **__: pytest.fail("the audit began"))
        name = f"/proc/{os.getpid()}/v.csv"
        for force in ([], ["--force"]):
            complaint = single_error_line(audit("recorded", option, name, *force))
            assert re.fullmatch(f"{name}: cannot be written: [A-Z][a-z ]+; name another", complaint)
        assert names() == set()

    def test_an_output_that_is_a_source_is_refused(self) -> None:
        ran = audit("recorded/a.jsonl", "--out", "./recorded/../recorded/a.jsonl", "--force")
        assert ran.status == 2
        assert single_error_line(ran).endswith("a.jsonl: this output is a source; choose another name")

    def test_standard_input_is_read_once_and_never_again(self) -> None:
        assert "can be read only once" in single_error_line(audit("-", "-"))
        assert "cannot be read again" in single_error_line(audit("-", "--out", "v.jsonl", "--resume"))

    def test_a_policy_that_cannot_be_used_is_one_line(self) -> None:
        Path("policy.toml").write_text("id = 1", encoding="utf-8")
        ran = audit("recorded", "--out", "v.jsonl")
        assert ran.status == 2
        single_error_line(ran)
        assert names() == set()

    def test_nothing_to_resume_is_said(self) -> None:
        ran = audit("recorded", "--out", "v.jsonl", "--resume")
        assert ran.status == 1
        assert ran.err == "nomyo-attest: notice: found no audit to resume; starting from the beginning\n"
        ran = audit("recorded", "--out", "v.jsonl", "--resume")
        assert ran.status == 2
        message = single_error_line(ran)
        assert "nothing to resume" in message
        assert message.endswith("v.jsonl: already exists; choose another name, or add --force to overwrite it")
        assert names() == {"v.jsonl"}


@pytest.mark.slow
@pytest.mark.slow
def test_thousands_of_small_files_are_records_each_and_the_processes_do_not_matter(folder: Path) -> None:
    recorded = folder / "recorded"
    recorded.mkdir()
    texts = [answer(number).text() for number in range(5)]
    for number in range(2500):
        (recorded / f"{number:04}.json").write_text(texts[number % 5], encoding="utf-8")
    found = []
    for processes in (1, 3):
        name = f"{processes}.jsonl"
        assert audit("recorded", "--out", name, "--processes", processes, "--fail-on", "none").status == 0
        found.append(Path(name).read_bytes())
    assert found[0] == found[1]
    assert [row["source"] for row in rows("1.jsonl")] == [f"recorded/{number:04}.json" for number in range(2500)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pipe that breaks")
@pytest.mark.usefixtures("recorded")
def test_a_reader_that_goes_away_finds_its_files_all_the_same() -> None:
    read, write = os.pipe()
    os.close(read)
    done = start("audit", "recorded", "--policy", "policy.toml", "--out", "v.jsonl", "--out", "-",
                 capture_output=False, stdout=write, stderr=-1)  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    assert names() == {"v.jsonl"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.usefixtures("recorded")
def test_a_full_disk_is_one_line_and_no_success() -> None:
    with Path("/dev/full").open("w") as full:
        done = start("audit", "recorded", "--policy", "policy.toml", capture_output=False, stdout=full, stderr=-1)
    assert done.returncode == 2
    assert done.stderr.startswith("nomyo-attest: standard output cannot be written: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("recorded")
def test_a_file_that_somebody_puts_in_an_outputs_place_meanwhile_is_never_written_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    appraise_all = Audit.appraise

    def meanwhile(self: Audit) -> Any:
        yield from appraise_all(self)
        Path("v.csv").write_text("somebody's", encoding="utf-8")

    argv = ("recorded", "--out", "v.jsonl", "--out", "v.csv")
    with monkeypatch.context() as patch:
        patch.setattr(Audit, "appraise", meanwhile)
        assert (
            "v.csv: already exists; choose another name, or add --force to overwrite it; then repeat the command"
            in single_error_line(audit(*argv))
        )
    assert audit(*argv, "--resume").status == 2
    assert Path("v.csv").read_text(encoding="utf-8") == "somebody's"
    Path("v.csv").unlink()
    assert audit(*argv, "--resume").status == 1
    assert names() == {"v.csv", "v.jsonl"}


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM facts WHERE rowid = (SELECT MAX(rowid) FROM facts)",
        "DELETE FROM sources",
        "UPDATE counts SET affirming = affirming + 1",
    ],
)
def test_a_state_in_which_records_are_missing_makes_no_report(sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ("recorded", "--out", "v.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(Audit, "begin_outputs", lambda *_: (_ for _ in ()).throw(StateError("s", "no")))
        assert audit(*argv).status == 2
    connection = sqlite3.connect("v.jsonl.audit-state/store.sqlite")
    connection.execute(sql)
    connection.commit()
    connection.close()
    complaint = single_error_line(audit(*argv, "--resume"))
    assert complaint.endswith(DAMAGED)
    assert names() == {"v.jsonl.audit-state"}


ALL_REPORTS = [
    *("--out", "v.jsonl", "--out", "v.csv", "--html", "r.html", "--markdown", "r.md", "--junit", "r.xml"),
    *("--sarif", "r.sarif", "--cross-record", "s.jsonl"),
]
DAMAGED = "v.jsonl.audit-state: the state is damaged; --force, without --resume, starts over"


def leave_appraised(*argv: str) -> Path:
    """Interrupt an audit when everything is appraised and nothing is written; its store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Audit, "begin_outputs", lambda *_: (_ for _ in ()).throw(StateError("s", "no")))
        assert audit("recorded", *argv).status == 2
    return Path("v.jsonl.audit-state/store.sqlite")


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE facts SET processed_at = 'noon'",
        "UPDATE facts SET processed_at = 9223372036854775807",
        "UPDATE profiles SET pcrs = '{'",
        "UPDATE profiles SET pcrs = x'ff'",
        "UPDATE profiles SET profile = 'text'",
        "UPDATE tallies SET lines = 'x'",
        "UPDATE tallies SET message = CAST(x'ff' AS TEXT)",
        "UPDATE tallies SET records = 'many'",
        "UPDATE tallies SET outcome = x'00'",
        "UPDATE causes SET findings = '{'",
        "UPDATE boots SET first_source = x'ff'",
        "UPDATE boots SET records = 'many'",
        "UPDATE tiers SET records = 'many'",
        "UPDATE failures SET row = '{'",
        "UPDATE failures SET row = '{}'",
        "UPDATE failures SET row = '[]'",
        "UPDATE sources SET size = 'large'",
        "UPDATE sources SET name = x'ff'",
        "UPDATE totals SET written = 'all'",
        "DELETE FROM totals",
        "DROP TABLE tiers",
        "ALTER TABLE facts RENAME COLUMN quote TO quota",
    ],
)
def test_a_value_in_the_state_that_no_audit_stores_is_reported_as_damage(sql: str) -> None:
    store = leave_appraised(*ALL_REPORTS)
    connection = sqlite3.connect(store)
    connection.execute(sql)
    connection.commit()
    connection.close()
    ran = audit("recorded", *ALL_REPORTS, "--resume")
    assert (ran.status, single_error_line(ran)) == (2, DAMAGED)
    assert audit("recorded", *ALL_REPORTS, "--force")[::2] == (1, "")
    assert names() == set(ALL_REPORTS[1::2])


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("byte", [b"\xff", b"}", b"\n"])
def test_stored_rows_that_are_no_rows_are_reported_as_damage(byte: bytes) -> None:
    rows_so_far = leave_appraised(*ALL_REPORTS).with_name("rows.part")
    content = rows_so_far.read_bytes()
    rows_so_far.write_bytes(content[:200] + byte + content[201:])
    ran = audit("recorded", *ALL_REPORTS, "--resume")
    assert (ran.status, single_error_line(ran)) == (2, DAMAGED)
    assert "v.csv" not in names()


@pytest.mark.slow
@pytest.mark.usefixtures("recorded")
def test_a_changed_byte_in_the_state_is_harmless_or_reported_as_damage() -> None:
    store = leave_appraised(*ALL_REPORTS)
    folder, content = store.parent, store.read_bytes()
    shutil.copytree(folder, "spare")
    used = [at for at, byte in enumerate(content) if byte]  # the rest is free space of pages
    chosen = random.Random(13)
    outcomes = set()
    for at in [*range(16, 100, 3), *chosen.sample(used, 32)]:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree("spare", folder)
        for name in names() & set(ALL_REPORTS[1::2]):
            Path(name).unlink()
        store.write_bytes(content[:at] + bytes([chosen.randrange(256)]) + content[at + 1 :])
        ran = audit("recorded", *ALL_REPORTS, "--resume")
        assert "internal error" not in ran.err, (at, ran.err)
        assert ran.status in {0, 1} or re.search("audit-state.*; --force", single_error_line(ran)), at
        outcomes.add(ran.err)
    assert f"nomyo-attest: {DAMAGED}\n" in outcomes


@pytest.mark.usefixtures("recorded")
def test_a_disk_that_fills_up_leaves_no_half_file_and_the_audit_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = os.open

    def full(path: Any, *args: Any, **options: Any) -> int:
        if str(path).endswith(".v.csv.audit.tmp"):
            raise OSError(28, "No space left on device")
        return open_file(path, *args, **options)

    argv = ("recorded", "--out", "v.jsonl", "--out", "v.csv")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        ran = audit(*argv)
    assert (ran.status, single_error_line(ran)) == (2, "v.csv: cannot be written: No space left on device")
    assert names() == {"v.jsonl", "v.jsonl.audit-state"}
    ran = audit(*argv)
    assert ran.status == 2
    assert "--resume to continue" not in single_error_line(ran)  # v.jsonl is in the way first
    assert audit(*argv, "--resume").status == 1
    assert names() == {"v.jsonl", "v.csv"}


@pytest.mark.usefixtures("recorded")
def test_no_room_for_the_state_is_one_line_that_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("v.jsonl").write_bytes(b"to be overwritten")
    fsync, done = os.fsync, []

    def full(descriptor: int) -> None:
        done.append(descriptor)
        if len(done) > 4:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    argv = ("recorded", "--out", "v.jsonl", "--force")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr("nomyo_attest.audit.run.CHECKPOINT_SECONDS", 0)
        ran = audit(*argv)
    told = "v.jsonl.audit-state: the audit's state cannot be stored: No space left on device"
    told += "; free some space there, or choose a folder with more space with --state (or TMPDIR)"
    assert (ran.status, single_error_line(ran)) == (2, f"{told}; repeat the command with --resume to continue")
    assert Path("v.jsonl").read_bytes() == b"to be overwritten"
    assert audit(*argv, "--resume")[::2] == (1, "")
    assert len(rows("v.jsonl")) == 5
    assert names() == {"v.jsonl"}


@pytest.mark.usefixtures("recorded")
def test_closed_standard_streams_are_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from nomyo_attest.cli import main

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["audit", "recorded", "--policy", "policy.toml", "--out", "v.jsonl", "--out", "-"]) == 1
    assert len(rows("v.jsonl")) == 5


def test_help_imports_next_to_nothing() -> None:
    code = (
        "import sys; from nomyo_attest.cli import main; main(['audit', '--help']); print(*sys.modules, file=sys.stderr)"
    )
    done = start_code(code)
    loaded = set(done.split())
    assert "nomyo_attest.cli.audit" in loaded
    assert not loaded & {"msgspec", "cryptography", "rich", "jsonschema", "sqlite3", "multiprocessing", "json"}


def start_code(code: str) -> str:
    """What a program says on standard error."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stderr


def test_a_worker_imports_what_it_appraises_with_and_no_more() -> None:
    code = "import sys, nomyo_attest.audit.pool; print(*sys.modules, file=sys.stderr)"
    loaded = set(start_code(code).split())
    assert not loaded & {"httpx", "rich", "jsonschema", "sqlite3", "pyarrow", "argparse", "tomllib"}


class TestAllowedProcesses:
    def test_as_many_as_the_system_allows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "process_cpu_count", lambda: 6, raising=False)
        monkeypatch.setattr(audit_run, "_cpu_quota", lambda: None)
        assert audit_run.count_available_cores() == 6
        monkeypatch.setattr(audit_run, "_cpu_quota", lambda: 2.5)
        assert audit_run.count_available_cores() == 3
        monkeypatch.setattr(audit_run, "_cpu_quota", lambda: 0.1)
        assert audit_run.count_available_cores() == 1

    @pytest.mark.parametrize(
        ("files", "quota"),
        [
            ({}, None),
            ({"cpu.max": "max 100000\n"}, None),
            ({"cpu.max": "150000 100000\n"}, 1.5),
            ({"cpu.max": "nonsense"}, None),
            ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
            ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ],
    )
    def test_the_quota_of_a_container_is_read(self, tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
        (tmp_path / "cpu").mkdir()
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="ascii")
        assert audit_run._cpu_quota(tmp_path) == quota


@pytest.mark.skipif(os.name != "posix", reason="owners, modes and links are POSIX's")
@pytest.mark.usefixtures("recorded")
class TestPlaces:
    @pytest.mark.parametrize("option", [[], ["--resume"], ["--force"]])
    def test_a_state_folder_that_somebody_prepared_is_a_usage_error(self, option: list[str]) -> None:
        Path("private").write_text("private", encoding="utf-8")
        state = Path("v.jsonl.audit-state")
        state.mkdir(0o700)
        (state / "rows.part").symlink_to("../private")
        ran = audit("recorded", "--out", "v.jsonl", *option)
        assert ran.status == 2
        assert single_error_line(ran).startswith("v.jsonl.audit-state/rows.part: is a symbolic link; ")
        state.chmod(0o755)
        ran = audit("recorded", "--out", "v.jsonl", *option)
        assert ran.status == 2
        assert (
            "expected mode 0700, got 0755: other users can or could change it; remove it if nothing"
            in single_error_line(ran)
        )
        assert Path("private").read_text(encoding="utf-8") == "private"
        assert names() == {"private", "v.jsonl.audit-state"}

    def test_a_state_that_cannot_be_private_is_in_the_temporary_folder_and_found_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        temporary = tmp_path.with_name("temporary")
        temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        make = Path.mkdir

        def mkdir(self: Path, *args: Any, **options: Any) -> None:
            if self.name == "v.jsonl.audit-state":
                raise PermissionError(1, "Operation not permitted")
            make(self, *args, **options)

        monkeypatch.setattr(Path, "mkdir", mkdir)
        argv = ("recorded", "--out", "v.jsonl", "--out", "v.csv")
        with monkeypatch.context() as patch:
            patch.setattr(Audit, "begin_outputs", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            ran = audit(*argv)
        assert ran.status == 130
        assert "notice: v.jsonl.audit-state cannot be made a private folder, so" in ran.err
        assert "--state names another place" in ran.err
        assert len(list(temporary.iterdir())) == 1
        ran = audit(*argv, "--resume", "--format", "json")
        assert ran.status == 1
        assert ran.json()["run"]["resumed"] == 1
        assert not list(temporary.iterdir())
        assert names() == {"v.jsonl", "v.csv"}

    @pytest.mark.parametrize("mode", [0o2775, 0o1777])
    def test_outputs_are_written_to_folders_that_others_can_write_to(self, mode: int) -> None:
        Path("shared").mkdir()
        Path("shared").chmod(mode)
        before = os.umask(0o002)
        try:
            assert audit("recorded", "--out", "shared/v.jsonl", "--html", "shared/r.html")[::2] == (1, "")
        finally:
            os.umask(before)
        assert {path.name: path.stat().st_mode & 0o777 for path in Path("shared").iterdir()} == {
            "v.jsonl": 0o664,
            "r.html": 0o664,
        }

    def test_an_output_is_written_beside_what_somebody_put_in_the_way_of_its_temporary_file(self) -> None:
        Path("private").write_text("private", encoding="utf-8")
        Path(".v.csv.audit.tmp").symlink_to("private")
        Path(".r.html.audit.tmp").mkdir()
        assert audit("recorded", "--out", "v.csv", "--html", "r.html").status == 1
        assert Path("private").read_text(encoding="utf-8") == "private"
        assert names() == {"private", "v.csv", "r.html", ".r.html.audit.tmp"}
        assert not Path("v.csv").is_symlink()


@pytest.mark.usefixtures("recorded")
class TestTemporaryFolder:
    def test_none_that_can_be_written_to_is_one_line_that_names_the_ways_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/nowhere"])
        ran = audit("recorded")
        assert ran.status == 2
        told = single_error_line(ran)
        assert told.startswith("temporary folder: No usable temporary directory found in ['/nowhere']; ")
        assert told.endswith("name a folder with --state, or set TMPDIR to one that you can write to")
        assert audit("recorded", "--state", "s")[::2] == (1, "")
        assert audit("recorded", "--out", "v.jsonl")[::2] == (1, "")
        assert names() == {"v.jsonl"}

    @pytest.mark.parametrize("pages", [1, 40])
    def test_a_full_one_is_one_line_that_names_the_ways_out_and_nothing_is_left(
        self, pages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        temporary = tmp_path.with_name("temporary")
        temporary.mkdir(exist_ok=True)
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        set_up = store._set_up

        def limited(connection: sqlite3.Connection, folder: Path) -> None:
            set_up(connection, folder)
            connection.execute(f"PRAGMA max_page_count = {pages}")  # then SQLite says what it says of a full disk

        monkeypatch.setattr(store, "_set_up", limited)
        large = "INSERT INTO meta VALUES ('x', zeroblob(300000))"
        monkeypatch.setattr("nomyo_attest.audit.store.STORE_SCHEMA", [*STORE_SCHEMA, large])
        ran = audit("recorded")
        assert ran.status == 2
        assert re.search(
            r"store\.sqlite: database or disk is full; free some space there, or .* --state \(or TMPDIR\)$",
            single_error_line(ran),
        )
        assert not list(temporary.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="makes symbolic links")
@pytest.mark.usefixtures("recorded")
class TestNames:
    def test_a_link_that_leads_out_of_the_folder_is_unreadable_unless_links_are_to_be_followed(self) -> None:
        Path("elsewhere").mkdir()
        Path("elsewhere/c.json").write_text(answer(4).text(), encoding="utf-8")
        Path("recorded/all").symlink_to("../elsewhere")
        ran = audit("recorded", "--out", "v.jsonl")
        assert ran.status == 2
        (row,) = [row for row in rows("v.jsonl") if row["verdict"] == "unreadable"]
        assert row["source"] == "recorded/all"
        target = Path("elsewhere").absolute()
        assert row["reason"].startswith(f"is a symbolic link to {target}, which is outside the folder ")
        assert row["reason"].endswith("name the target as a source, or give --follow-links to read what links lead to")
        assert summary("recorded", "--follow-links")["counts"] == summary("recorded", "elsewhere")["counts"]

    def test_a_file_whose_name_begins_with_a_dot_is_read(self) -> None:
        before = summary("recorded")["counts"]
        Path("recorded/.bad.jsonl").write_text("{\n", encoding="utf-8")
        assert summary("recorded")["counts"] == before | {"contraindicated": before["contraindicated"] + 1}

    def test_a_delta_table_is_one_unreadable_source(self) -> None:
        Path("recorded/_delta_log").mkdir()
        Path("recorded/_delta_log/00000000000000000000.json").write_text("{}\n{}\n", encoding="utf-8")
        document = summary("recorded", status=2)
        assert document["counts"]["unreadable"] == 1
        assert document["skipped"] == ["recorded/_delta_log"]


@pytest.mark.parametrize(
    ("until", "status", "verdict"), [("9999-01-01", 0, "warning"), ("2026-01-01", 1, "contraindicated")]
)
def test_an_audit_applies_time_limited_warnings_by_the_clock(
    folder: Path, until: str, status: int, verdict: str
) -> None:
    Path("record.json").write_text(answer(0).measure(0, b"another firmware").text(), encoding="utf-8")
    document = Forge().policy() | {"rules": {"pcr.values": "warn"}, "unsafe_warn_until": until}
    Path("warn.json").write_text(json.dumps(document), encoding="utf-8")
    ran = run("audit", "record.json", "--policy", "warn.json", "--format", "json")
    assert ran.status == status
    assert ran.json()["counts"][verdict] == 1
    assert run("verify", "record.json", "--policy", "warn.json").status == status
