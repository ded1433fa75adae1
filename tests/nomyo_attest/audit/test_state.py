"""The state of an audit: whose it is, whether it is gone on with, and from where."""

from __future__ import annotations

import os
import pickle
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from nomyo_attest.audit.state import ROWS, STORE, State, StateDamagedError, StateError
from nomyo_attest.audit.store import Store, StoreError

IDENTITY = {"policy": "sha256:1", "inputs": "a", "since": None, "rows": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "v.jsonl.audit-state"


def open_state(
    folder: Path, *, resume: bool = False, force: bool = False, again: bool = True, **identity: Any
) -> State:
    return State.open(folder, {**IDENTITY, **identity}, resume=resume, force=force, is_rereadable=again)


def interrupt(folder: Path, **options: Any) -> None:
    """Leave a state of five bytes, four of them lasting."""
    state = open_state(folder, **options)
    state.write(b"1234")
    state.checkpoint(next=1)
    state.write(b"5")
    state.close()


def test_a_state_is_its_owners_alone_and_gone_when_all_is_done(folder: Path) -> None:
    state = open_state(folder)
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    state.checkpoint(next=1)
    state.remove()
    state.close()
    assert not folder.exists()


def test_an_interrupted_audit_is_gone_on_with_from_the_last_checkpoint(folder: Path) -> None:
    interrupt(folder)
    assert (folder / ROWS).read_bytes() == b"12345"
    state = open_state(folder, resume=True)
    assert state.resumed
    assert (state.meta["next"], state.meta["length"]) == (1, 4)
    assert (folder / ROWS).read_bytes() == b"1234"
    state.write(b"678")
    state.checkpoint(next=2)
    state.close()
    assert (folder / ROWS).read_bytes() == b"1234678"


def test_nothing_to_resume_is_a_beginning(folder: Path) -> None:
    state = open_state(folder, resume=True)
    assert not state.resumed
    state.close()


def test_an_audit_that_ends_before_anything_was_done_leaves_nothing(folder: Path) -> None:
    open_state(folder).close()
    assert not folder.exists()


def test_an_interrupted_audit_is_overwritten_only_with_force(folder: Path) -> None:
    interrupt(folder)
    with pytest.raises(StateError, match="was interrupted here; --resume resumes it, --force starts over"):
        open_state(folder)
    assert (folder / ROWS).read_bytes() == b"12345"
    state = open_state(folder, force=True)
    assert not state.resumed
    assert (folder / ROWS).read_bytes() == b""
    state.close()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"policy": "sha256:2"}, r"the policy differs \(sha256:1 then, sha256:2 now\)"),
        ({"inputs": "b"}, "the list of inputs, with their sizes and times of change, differs"),
        ({"since": 5}, r"--since differs \(None then, 5 now\)"),
        ({"rows": False}, "whether there is an --out differs"),
        ({"more": 1}, "more differs"),
    ],
)
def test_an_error_names_how_an_audit_differs_from_the_interrupted_one(
    folder: Path, other: dict[str, Any], said: str
) -> None:
    interrupt(folder)
    with pytest.raises(StateError, match=f"a different audit was interrupted here: {said}; --force starts over"):
        open_state(folder, resume=True, **other)
    assert (folder / ROWS).read_bytes() == b"12345"


def test_an_audit_of_standard_input_cannot_be_resumed(folder: Path) -> None:
    interrupt(folder, again=False)
    assert not folder.exists()  # it ended orderly
    state = open_state(folder, again=False)
    state.checkpoint(next=1)
    state._close()
    state._lock.close()  # as if killed
    for resume in (False, True):
        with pytest.raises(StateError, match="an audit of standard input, which cannot be read again, was interrupted"):
            open_state(folder, resume=resume)


def test_a_state_in_use_is_refused(folder: Path) -> None:
    state = open_state(folder)
    for options in ({}, {"resume": True}, {"force": True}):
        with pytest.raises(StateError, match="another audit is using it"):
            open_state(folder, **options)
    state.checkpoint(next=1)
    state.close()
    open_state(folder, resume=True).close()


def test_a_folder_of_something_else_is_left_alone(folder: Path) -> None:
    folder.mkdir(0o700)
    (folder / "letters.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(StateError, match="is not the state of an audit: it contains 'letters"):
        open_state(folder, force=True)
    assert [path.name for path in folder.iterdir()] == ["letters.txt"]


def test_an_audit_whose_rows_were_shortened_is_not_resumed(folder: Path) -> None:
    interrupt(folder)
    (folder / ROWS).write_bytes(b"12")
    with pytest.raises(StateError, match="is shorter than at the last checkpoint"):
        open_state(folder, resume=True)


def test_a_store_without_a_first_checkpoint_is_a_beginning(folder: Path) -> None:
    folder.mkdir(0o700)
    (folder / STORE).write_bytes(b"")
    (folder / ROWS).write_bytes(b"left over")
    state = open_state(folder)
    assert (folder / ROWS).read_bytes() == b""
    state.close()


def test_a_place_where_no_folder_can_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / "no" / "x"):
        with pytest.raises(StateError, match=r"cannot be (stored|opened as a folder): "):
            open_state(place)


def test_a_temporary_state_is_gone_when_it_is_closed() -> None:
    state = State.temporary(IDENTITY)
    state.write(b"123")
    state.checkpoint(next=7)
    assert state.folder.is_dir()
    state.close()
    assert not state.folder.exists()


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("how", ["at once", "resumed", "forced", "damaged and forced", "nothing done"])
def test_a_folder_is_removed_only_if_an_audit_made_it(folder: Path, how: str, *, existing: bool) -> None:
    if existing:
        folder.mkdir(mode=0o700)
    if how not in ("at once", "nothing done"):
        interrupt(folder)
    if how == "damaged and forced":
        (folder / STORE).write_bytes(b"no store")
    state = open_state(folder, resume=how == "resumed", force="forced" in how)
    if how != "nothing done":
        state.checkpoint(next=1)
        state.remove()
    state.close()
    assert folder.exists() == existing
    assert not existing or not list(folder.iterdir())


def test_a_folder_of_the_user_stays_when_the_state_cannot_be_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(Store, "open", lambda *_: (_ for _ in ()).throw(StoreError("s", "no")))
    with pytest.raises(StoreError, match="no"):
        open_state(folder)
    assert not list(folder.iterdir())


def tamper(folder: Path, sql: str) -> None:
    connection = sqlite3.connect(folder / STORE)
    connection.execute(sql)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM meta WHERE key = 'next'",
        "DELETE FROM meta WHERE key = 'again'",
        "UPDATE meta SET value = '\"1\"' WHERE key = 'next'",
        "UPDATE meta SET value = '-1' WHERE key = 'length'",
        "UPDATE meta SET value = '[]' WHERE key = 'identity'",
        "INSERT INTO meta VALUES ('at', '\"yesterday\"')",
        "INSERT INTO meta VALUES ('outputs', '\"v.csv\"')",
        "UPDATE meta SET value = '{' WHERE key = 'next'",
    ],
)
def test_a_state_with_a_value_that_no_audit_stores_is_damaged(folder: Path, sql: str) -> None:
    interrupt(folder)
    tamper(folder, sql)
    with pytest.raises(StateDamagedError, match="the state is damaged; --force"):
        open_state(folder, resume=True)
    open_state(folder, force=True).close()


def test_the_error_of_a_damaged_state_travels_between_processes() -> None:
    assert str(pickle.loads(pickle.dumps(StateDamagedError("f")))) == str(StateDamagedError("f"))
