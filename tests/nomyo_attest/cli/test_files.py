"""Files in and out: whole or not at all."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from nomyo_attest.cli import files
from nomyo_attest.cli.errors import CommandError
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX
from tests.nomyo_attest.cli.runner import run, single_error_line


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_an_endless_file_is_read_up_to_one_byte_more_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomyo_attest.evidence.strict_json.RECORD_BYTES_MAX", 1000)
    with Path("big").open("wb") as file:
        file.truncate(10_000)
    assert len(files.read_input("big")) == 1001
    assert RECORD_BYTES_MAX < 1 << 30


def test_a_caller_may_set_another_limit() -> None:
    Path("big").write_bytes(b"x" * 100)
    assert files.read_input("big", 10) == b"x" * 11


def test_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CommandError, match="standard input is closed"):
        files.read_input("-")


def test_a_new_file_holds_the_text_and_obeys_the_umask() -> None:
    before = os.umask(0o027)
    try:
        files.write_output("new", "text\n", force=False)
    finally:
        os.umask(before)
    assert Path("new").read_bytes() == b"text\n"
    assert names() == ["new"]
    if os.name == "posix":
        assert stat.S_IMODE(Path("new").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="looks at a mode")
def test_a_private_file_is_its_owners_alone_from_its_first_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def look(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):  # the folder is synced, too
            modes.append(stat.S_IMODE(status.st_mode))

    monkeypatch.setattr(os, "fsync", look)
    before = os.umask(0)
    try:
        files.write_output("new", "text\n", force=False, private=True)
        files.write_output("new", "more\n", force=True, private=True)
    finally:
        os.umask(before)
    assert [*modes, stat.S_IMODE(Path("new").stat().st_mode)] == [0o600] * 3


def test_a_file_that_appears_at_the_last_moment_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    def race(descriptor: int) -> None:
        Path("new").write_text("someone else's", encoding="utf-8")

    monkeypatch.setattr(os, "fsync", race)
    with pytest.raises(CommandError, match="already exists"):
        files.write_output("new", "mine", force=False)
    assert Path("new").read_text(encoding="utf-8") == "someone else's"
    assert names() == ["new"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("old").write_text("old", encoding="utf-8")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CommandError, match="old: cannot be written: No space left on device"):
        files.write_output("old", "new", force=True)
    assert Path("old").read_text(encoding="utf-8") == "old"
    assert names() == ["old"]


def test_a_file_system_without_links_is_written_to_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    files.write_output("new", "text", force=False)
    assert Path("new").read_text(encoding="utf-8") == "text"
    assert names() == ["new"]


def test_a_name_that_no_file_can_have_is_an_error() -> None:
    with pytest.raises(CommandError, match="invalid file name"):
        files.write_output("a\0b", "text", force=False)
    with pytest.raises(CommandError, match="invalid file name"):
        files.read_input("a\0b")


def test_a_very_long_name_is_an_error() -> None:
    with pytest.raises(CommandError, match="cannot be written: File name too long"):
        files.write_output("x" * 300, "text", force=False)


def test_standard_input_is_read_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\x00\r\n")))
    assert files.read_input("-") == b"\xff\x00\r\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["audit", "", "--policy", "p.toml"],
        ["verify", "", "--policy", "p.toml"],
        ["verify", "a.json", "--policy", ""],
        ["policy", "check", ""],
        ["policy", "show", ""],
        ["policy", "learn", "a.json", ""],
        ["ledger", "verify", ""],
        ["inspect", ""],
    ],
    ids=" ".join,
)
def test_an_empty_file_name_is_a_usage_error_that_says_so(argv: list[str]) -> None:
    ran = run(*argv)
    assert ran.status == 2
    assert "expected a file name, got an empty string" in single_error_line(ran)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which not even root can make files")
@pytest.mark.parametrize("argv", [["policy", "learn", "good.json"], ["record", "--payload-id", "x"]], ids=" ".join)
def test_a_folder_that_cannot_be_written_to_is_found_before_any_work(argv: list[str]) -> None:
    ran = run(*argv, "-o", f"/proc/{os.getpid()}/out.toml")
    assert ran.status == 2
    assert re.search("out.toml: cannot be written: .*; omit -o to print to standard output", single_error_line(ran))
