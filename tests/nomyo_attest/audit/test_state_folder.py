"""The folder of an audit's state: nobody else may have prepared it, and nothing outside it is written to."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nomyo_attest.audit.state import LOCK, ROWS, STORE, State, StateError
from nomyo_attest.audit.state_folder import StateFolder
from nomyo_attest.audit.store import StoreError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners, modes and links are POSIX's")

JOURNAL = f"{STORE}-journal"
FILES = (LOCK, STORE, JOURNAL, ROWS)
OTHER_USER = 65534
PRIVATE = b"a private file of the user"

needs_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give files to another user"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "v.jsonl.audit-state"


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file outside the state that must not change."""
    path = tmp_path / "victim"
    path.write_bytes(PRIVATE)
    yield path
    assert path.read_bytes() == PRIVATE


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def open_state(folder: Path, *, resume: bool = False, force: bool = False, allow_temporary: bool = False) -> State:
    return State.open(
        folder, {"policy": "p"}, resume=resume, force=force, is_rereadable=True, allow_temporary=allow_temporary
    )


def interrupt(folder: Path, *, allow_temporary: bool = False) -> State:
    """Leave the state of an interrupted audit."""
    state = open_state(folder, allow_temporary=allow_temporary)
    state.write(b"1234")
    state.checkpoint(next=1)
    state.close()
    return state


def refused(folder: Path, match: str) -> None:
    """See that no audit uses the folder, whatever the options, and that nothing in it or about it changes."""
    before = snapshot(folder)
    for options in ({}, {"resume": True}, {"force": True}, {"resume": True, "allow_temporary": True}):
        with pytest.raises(StateError, match=match) as caught:
            open_state(folder, **options)
        assert "--state" in str(caught.value)
    assert snapshot(folder) == before


def snapshot(folder: Path) -> dict[str, Any]:
    paths = [folder, *(sorted(folder.iterdir()) if folder.is_dir() else [])]
    return {str(path): _facts(path) for path in paths}


def _facts(path: Path) -> tuple[Any, ...]:
    status = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
    return status.st_mode, status.st_uid, status.st_ino, status.st_mtime_ns, content


def test_a_symbolic_link_in_the_place_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    interrupt(tmp_path / "elsewhere")
    folder.symlink_to("elsewhere")
    refused(folder, "is a symbolic link")
    folder.unlink()
    folder.symlink_to("nowhere")
    refused(folder, "is a symbolic link")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770, 0o777, 0o1777, 0o701])
def test_a_folder_that_others_can_enter_is_refused(folder: Path, mode: int) -> None:
    interrupt(folder)
    folder.chmod(mode)
    refused(folder, f"expected mode 0700, got {mode & 0o777:04o}")


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
def test_a_path_that_is_not_a_folder_is_refused_with_a_hint(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder)
    refused(folder, "cannot be opened as a folder: Not a directory")


@pytest.mark.parametrize("umask", [0o777, 0o277])
def test_a_umask_that_keeps_the_owner_out_is_named_and_leaves_no_folder(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with pytest.raises(StateError, match=r"got 0[05]00: set a umask that gives the owner all permissions"):
            open_state(folder)
    finally:
        os.umask(before)
    assert not folder.exists()


@needs_root
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    interrupt(folder)
    os.chown(folder, OTHER_USER, -1)
    refused(folder, f"belongs to user {OTHER_USER}, not to user 0")


@needs_root
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_user_is_refused(folder: Path, name: str) -> None:
    interrupt(folder)
    (folder / name).touch()
    os.chown(folder / name, OTHER_USER, -1)
    refused(folder, f"{name}: belongs to user {OTHER_USER}")


@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_symbolic_link_in_the_folder_is_never_followed(
    folder: Path, victim: Path, name: str, *, dangling: bool
) -> None:
    interrupt(folder)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("../nothing" if dangling else victim)
    refused(folder, f"{name}: is a symbolic link")
    assert not folder.with_name("nothing").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_second_name_of_a_file_outside_is_never_written_to(folder: Path, victim: Path, name: str) -> None:
    interrupt(folder)
    (folder / name).unlink(missing_ok=True)
    os.link(victim, folder / name)
    with pytest.raises(StateError, match=f"{name}: is one of 2 hard links to a file"):
        open_state(folder, resume=True)


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_the_folder_is_refused_without_waiting(folder: Path, name: str) -> None:
    interrupt(folder)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused(folder, f"{name}: is not a regular file")


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_the_folder_is_private_under_every_umask(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        interrupt(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        open_state(folder, resume=True).close()
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o2775, 0o2777, 0o1777])
def test_a_folder_that_others_can_write_to_may_contain_a_state(folder: Path, temporary: Path, mode: int) -> None:
    folder.parent.chmod(mode)
    state = interrupt(folder, allow_temporary=True)
    assert state.folder == folder
    state = open_state(folder, resume=True, allow_temporary=True)
    assert (state.folder, state.resumed) == (folder, True)
    state.close()
    assert not list(temporary.iterdir())


def test_rows_that_are_an_output_already_are_read_and_not_written(folder: Path, tmp_path: Path) -> None:
    state = open_state(folder)
    state.write(b"1234")
    state.checkpoint(next=1, complete=True)
    state.link_rows(tmp_path / "v.jsonl")
    state.close()
    state = open_state(folder, resume=True)
    with state.open_rows() as rows:
        assert rows.read() == b"1234"
    with pytest.raises(StateError):
        state.write(b"5")
    state.close()
    assert (tmp_path / "v.jsonl").read_bytes() == b"1234"


def swap(folder: Path, other: Path) -> None:
    """Put another folder in the place of the state, as anybody can who may write to the folder around it."""
    folder.rename(folder.with_name("away"))
    other.rename(folder)


@contextmanager
def swapped_while_opened(folder: Path, other: Path) -> Iterator[None]:
    """Swap the state's folder as SQLite opens the store; the block must be refused for that."""
    opened = sqlite3.connect

    def connect(path: Any, **options: Any) -> sqlite3.Connection:
        swap(folder, other)
        connection: sqlite3.Connection = opened(path, **options)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        with pytest.raises(StateError, match=f"another user or process replaced the folder while {STORE} was opened"):
            yield


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    """A state that somebody else prepared, with other contents than the user's."""
    path = tmp_path / "forged"
    state = open_state(path)
    state.write(b"evil")
    state.checkpoint(next=1, forged=True)
    state.close()
    return path


def test_a_folder_that_is_swapped_before_its_store_is_opened_is_noticed(folder: Path, forged: Path) -> None:
    interrupt(folder)
    with swapped_while_opened(folder, forged):
        open_state(folder, resume=True)


@pytest.mark.parametrize("content", [b"", PRIVATE])
def test_the_target_of_a_link_in_a_swapped_folder_is_not_written_to(
    folder: Path, tmp_path: Path, content: bytes
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(content)
    forged = tmp_path / "forged"
    forged.mkdir(0o700)
    (forged / STORE).symlink_to(victim)
    with swapped_while_opened(folder, forged):
        open_state(folder)
    assert victim.read_bytes() == content


def leave_journal(folder: Path) -> None:
    """Leave a journal with which SQLite makes the store of another folder equal to this one's."""
    pid = os.fork()
    if pid == 0:
        connection = sqlite3.connect(folder / STORE, isolation_level=None)
        for statement in ("PRAGMA journal_mode = TRUNCATE", "PRAGMA synchronous = OFF", "BEGIN"):
            connection.execute(statement)
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'next'")
        os._exit(0)
    os.waitpid(pid, 0)
    assert (folder / JOURNAL).stat().st_size > 0


@pytest.mark.parametrize("back", [False, True])
def test_a_journal_of_another_folder_is_detected_and_the_store_it_changed_is_removed(
    folder: Path, forged: Path, monkeypatch: pytest.MonkeyPatch, *, back: bool
) -> None:
    interrupt(folder)
    leave_journal(forged)
    opened = sqlite3.connect
    away = folder.with_name("away")

    class Swapping(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            cursor = super().execute(sql, *parameters)
            if back and sql == "PRAGMA application_id":  # the first that reads the store
                folder.rename(forged)
                away.rename(folder)
            return cursor

    def connect(path: Any, **options: Any) -> sqlite3.Connection:
        connection = opened(path, **options, factory=Swapping)
        swap(folder, forged)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        with pytest.raises((StateError, StoreError)):
            open_state(folder, resume=True)
    assert not ((folder if back else away) / STORE).exists()


def test_a_folder_that_is_swapped_before_it_is_used_is_noticed(folder: Path, forged: Path) -> None:
    held = StateFolder.open(folder)
    swap(folder, forged)
    with pytest.raises(StateError, match="another user or process replaced the folder"):
        held.check_path()
    held.remove()
    assert folder.is_dir()
    held.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for open files in /proc")
def test_sqlite_opens_no_further_file_by_path_once_the_store_is_open(folder: Path) -> None:
    interrupt(folder)
    state = open_state(folder, resume=True)
    before = _open_in(folder)
    assert {STORE, JOURNAL} <= before
    for number in range(3):
        state.store.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(f"k{n}", "1") for n in range(2000 * number)])
        state.checkpoint(next=number)
        assert _open_in(folder) == before
    state.close()


def _open_in(folder: Path) -> set[str]:
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {link.name for link in links if link.parent == folder}


@pytest.fixture
def permissions_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders in the state's parent have mode 0777 whatever is asked for, as on FAT or some network file systems."""
    make, change = Path.mkdir, os.fchmod

    def mkdir(self: Path, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        if self.parent == folder.parent:
            self.chmod(0o777)

    def fchmod(descriptor: int, mode: int) -> None:
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            change(descriptor, mode)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(os, "fchmod", fchmod)


@pytest.mark.usefixtures("permissions_ignored")
class TestWherePermissionsAreIgnored:
    def test_the_state_goes_to_the_temporary_folder_and_is_found_again(self, folder: Path, temporary: Path) -> None:
        state = interrupt(folder, allow_temporary=True)
        assert state.folder.parent == temporary
        assert not folder.exists()
        again = open_state(folder, resume=True, allow_temporary=True)
        assert again.resumed
        assert again.folder == state.folder
        again.remove()
        again.close()
        assert not list(temporary.iterdir())

    def test_another_output_has_another_folder(self, folder: Path, temporary: Path) -> None:
        states = {interrupt(folder.with_name(name), allow_temporary=True).folder.name for name in ("a", "b")}
        assert {path.name for path in temporary.iterdir()} == states
        assert len(states) == 2

    def test_what_somebody_else_prepared_there_is_refused(self, folder: Path, temporary: Path) -> None:
        place = interrupt(folder, allow_temporary=True).folder
        place.chmod(0o755)
        with pytest.raises(StateError, match=r"expected mode 0700, got 0755.*--state"):
            open_state(folder, resume=True, allow_temporary=True)
        shutil.rmtree(place)
        place.symlink_to(temporary)
        with pytest.raises(StateError, match=r"is a symbolic link.*--state"):
            open_state(folder, resume=True, allow_temporary=True)

    def test_a_folder_that_was_named_is_refused(self, folder: Path) -> None:
        with pytest.raises(StateError, match="it is not private; name another folder with --state"):
            open_state(folder)
        assert not folder.exists()


def test_where_no_folder_can_be_made_the_state_goes_to_the_temporary_folder(
    folder: Path, temporary: Path, as_user: Callable[[Callable[[], None]], None]
) -> None:
    folder.parent.chmod(0o555)
    temporary.chmod(0o1777)

    def work() -> None:
        state = interrupt(folder, allow_temporary=True)
        assert state.folder.parent == temporary
        again = open_state(folder, resume=True, allow_temporary=True)
        assert again.resumed
        again.remove()
        again.close()
        with pytest.raises(StateError, match=r"the folder cannot be created: Permission denied; .*--state"):
            open_state(folder)

    try:
        as_user(work)
    finally:
        folder.parent.chmod(0o755)
    assert not list(temporary.iterdir())


@needs_root
def test_a_folder_that_root_prepared_is_refused_for_another_user(
    folder: Path, as_user: Callable[[Callable[[], None]], None]
) -> None:
    folder.parent.chmod(0o777)
    folder.mkdir(0o700)

    def work() -> None:
        with pytest.raises(StateError, match=r"--state|Permission denied"):
            open_state(folder, resume=True)

    as_user(work)


@pytest.fixture
def as_user(tmp_path: Path) -> Callable[[Callable[[], None]], None]:
    """Run a function in a child process that is not root."""
    if os.geteuid() == 0:
        for path in (tmp_path, *tmp_path.parents):
            if path.stat().st_mode & 0o055 != 0o055 and path != path.parent:
                path.chmod(path.stat().st_mode | 0o055)

    def run(work: Callable[[], None]) -> None:
        if os.geteuid() != 0:
            work()
            return
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(OTHER_USER, OTHER_USER, OTHER_USER)
                os.setresuid(OTHER_USER, OTHER_USER, OTHER_USER)
                work()
                status = 0
            except BaseException as error:  # noqa: BLE001 - reported by the status, below
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    return run


def test_a_state_that_cannot_be_begun_leaves_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space left on device; free some space there"):
        open_state(folder)
    assert not folder.exists()
