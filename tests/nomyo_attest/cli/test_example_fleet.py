"""`nomyo-attest example fleet` makes a folder, whole or not at all, and replaces none that it did not make."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nomyo_attest import _files
from nomyo_attest.testing.fleet import fleet as fleet_files
from tests.nomyo_attest.cli.runner import run, single_error_line

SMALL = ("--records", 50, "--machines", 4, "--days", 5)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_makes_the_folder_and_says_so(tmp_path: Path) -> None:
    ran = run("example", "fleet", tmp_path / "fleet", *SMALL)
    folder = f"{tmp_path}/fleet"
    assert ran.out.splitlines() == [
        f"{folder}: 50 responses from 4 machines over 5 days; see README.txt in it",
        f"next: nomyo-attest audit {folder}/recorded --policy {folder}/policy.toml",
    ]
    assert (ran.status, ran.err) == (0, "")
    assert names_in(tmp_path / "fleet") == ["README.txt", "policy.toml", "recorded"]
    assert names_in(tmp_path) == ["fleet"]


def test_its_policy_is_one_that_a_careful_colleague_has_no_warning_for(tmp_path: Path) -> None:
    run("example", "fleet", tmp_path / "fleet", *SMALL)
    assert run("policy", "check", tmp_path / "fleet" / "policy.toml").status == 0


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    ran = run("example", "fleet", tmp_path / "fleet", *SMALL)
    assert ran.status == 2
    assert "already exists; name another folder" in single_error_line(ran)
    assert names_in(tmp_path / "fleet") == []


def test_force_replaces_what_the_command_made(tmp_path: Path) -> None:
    run("example", "fleet", tmp_path / "fleet", *SMALL)
    (tmp_path / "fleet" / "recorded" / "2026-01-01.jsonl").unlink()
    assert run("example", "fleet", tmp_path / "fleet", *SMALL, "--force").status == 0
    assert (tmp_path / "fleet" / "recorded" / "2026-01-01.jsonl").exists()
    assert names_in(tmp_path) == ["fleet"]


@pytest.mark.parametrize("readme", [None, "Notes of mine\n"])
def test_force_replaces_nothing_else(tmp_path: Path, readme: str | None) -> None:
    (tmp_path / "mine").mkdir()
    if readme is not None:
        (tmp_path / "mine" / "README.txt").write_text(readme)
    before = names_in(tmp_path / "mine")
    ran = run("example", "fleet", tmp_path / "mine", *SMALL, "--force")
    assert ran.status == 2
    assert "this command did not create it" in single_error_line(ran)
    assert names_in(tmp_path / "mine") == before


def test_a_disk_that_is_full_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("example", "fleet", tmp_path / "fleet", *SMALL)
    (tmp_path / "fleet" / "mark").touch()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fleet_files, "_write_text", full)
    ran = run("example", "fleet", tmp_path / "fleet", *SMALL, "--force")
    assert ran.status == 2
    assert "No space left on device" in single_error_line(ran)
    assert names_in(tmp_path) == ["fleet"]
    assert "mark" in names_in(tmp_path / "fleet")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--records", 49, "--days", 5), "--records: expected 50 to 200000 for 5 days, got 49"),
        (("--machines", 3), "--machines: expected 4 to 200, got 3"),
        (("--seed", -1), "--seed: expected 0 to 4294967295, got -1"),
        (("--records", "many"), "argument --records: invalid number 'many'"),
    ],
)
def test_numbers_that_make_no_fleet_are_told(tmp_path: Path, arguments: tuple[object, ...], complaint: str) -> None:
    ran = run("example", "fleet", tmp_path / "fleet", *arguments)
    assert ran.status == 2
    assert complaint in single_error_line(ran)


@pytest.mark.parametrize("name", ["no/such/folder", "nul\0"])
def test_a_name_that_no_folder_can_have_is_told(tmp_path: Path, name: str) -> None:
    ran = run("example", "fleet", f"{tmp_path}/{name}", *SMALL)
    assert ran.status == 2
    single_error_line(ran)


def test_a_hostile_name_reaches_the_terminal_as_escapes(tmp_path: Path) -> None:
    ran = run("example", "fleet", tmp_path / "fl\x1b[2Jeet", *SMALL)
    assert ran.status == 0
    assert "\x1b" not in ran.out


@pytest.mark.skipif(os.name != "posix", reason="Windows has no equivalent permissions")
def test_nobody_else_can_put_links_where_its_files_are_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    write = _files.write_new

    def write_new(path: Path, content: bytes) -> None:
        modes.append(path.parents[1].stat().st_mode & 0o777)
        write(path, content)

    before = os.umask(0o002)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(fleet_files, "write_new", write_new)
            assert run("example", "fleet", tmp_path / "fleet", *SMALL).status == 0
    finally:
        os.umask(before)
    assert modes[-1] == 0o700  # of the folder around the new one
    assert (tmp_path / "fleet").stat().st_mode & 0o777 == 0o775
    assert {path.name for path in tmp_path.iterdir()} == {"fleet"}
