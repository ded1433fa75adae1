"""A folder of private keys: what is written is whole, private and first; what is read is what was checked."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nomyo import keystore
from nomyo.errors import KeyFileNotFoundError, KeyStoreError
from nomyo.keystore import PRIVATE_MODE, open_folder
from nomyo_attest import _files

posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners and modes are those of POSIX")
root_only = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")

SOMEBODY = 12345
NAME = "key.pem"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Sets the umask for a test."""
    before = os.umask(0o022)
    os.umask(before)

    def set_umask(mask: int) -> None:
        os.umask(mask)

    yield set_umask
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def place(folder: Path, content: bytes = b"content", name: str = NAME, mode: int = PRIVATE_MODE) -> bool:
    with open_folder(folder, create=True) as opened:
        return opened.create(name, content, mode)


def read(folder: Path, name: str = NAME, most: int = 100, *, private: bool = True) -> bytes:
    with open_folder(folder) as opened:
        return opened.read(name, most, private=private)


def refusal(call: Callable[..., object], *arguments: object) -> KeyStoreError:
    with pytest.raises(KeyStoreError) as caught:
        call(*arguments)
    assert caught.value.__cause__ is None
    return caught.value


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(code: int) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


def test_a_file_is_placed_whole_and_alone(folder: Path) -> None:
    assert place(folder)
    assert names(folder) == [NAME]
    assert read(folder) == b"content"


@posix
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("wanted", [0o600, 0o644])
def test_a_file_has_its_mode_whatever_the_umask(
    folder: Path, umask: Callable[[int], None], mask: int, wanted: int
) -> None:
    umask(mask)
    assert place(folder, mode=wanted)
    assert mode(folder / NAME) == wanted


@posix
def test_a_private_file_is_private_from_the_start(
    folder: Path, umask: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    umask(0)
    seen = []
    fchmod = os.fchmod

    def looks(descriptor: int, mode: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", looks)
    place(folder)
    assert seen == [0o600]


@posix
def test_a_missing_folder_and_those_above_are_made_private(tmp_path: Path, umask: Callable[[int], None]) -> None:
    umask(0)
    made = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    place(made[-1])
    assert [mode(path) for path in made] == [0o700] * 3


@posix
def test_a_folder_that_is_there_keeps_its_mode(folder: Path) -> None:
    folder.chmod(0o755)
    place(folder)
    assert mode(folder) == 0o755


def taken_by_a_file(path: Path) -> None:
    path.write_bytes(b"older")


def taken_by_a_dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def taken_by_a_folder(path: Path) -> None:
    path.mkdir()


TAKEN = [taken_by_a_file, taken_by_a_dangling_link, taken_by_a_folder]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("taken", TAKEN)
def test_a_name_that_is_taken_is_left_alone(
    folder: Path, taken: Callable[[Path], None], links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    taken(folder / NAME)
    before = (folder / NAME).lstat()
    assert not place(folder)
    after = (folder / NAME).lstat()
    assert (before.st_ino, before.st_mode, before.st_mtime_ns) == (after.st_ino, after.st_mode, after.st_mtime_ns)
    assert names(folder) == [NAME]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_a_file_system_without_hard_links_will_do(folder: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(code))
    assert place(folder)
    assert not place(folder, b"second")
    assert read(folder) == b"content"
    assert names(folder) == [NAME]


@posix
def test_a_file_system_without_hard_links_and_locks_gets_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    error = refusal(place, folder)
    assert error.problem == f"cannot be written: {os.strerror(errno.ENOLCK)}"
    assert names(folder) == []


@posix
def test_without_links_and_descriptors_the_folder_is_locked_by_its_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    locked: list[int] = []
    flock = fcntl.flock

    def locks(descriptor: int, operation: int) -> None:
        assert os.path.samestat(os.fstat(descriptor), folder.stat())
        locked.append(operation)
        flock(descriptor, operation)

    monkeypatch.setattr(_files, "HAS_DIR_FD", False)
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(fcntl, "flock", locks)
    assert place(folder)
    assert locked == [fcntl.LOCK_EX, fcntl.LOCK_UN]
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    assert refusal(lambda: place(folder, b"second")).problem == f"cannot be written: {os.strerror(errno.ENOLCK)}"
    assert names(folder) == [NAME]


def test_a_link_that_was_made_although_it_is_reported_as_taken_is_a_success(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def answered_twice(*args: object, **kwargs: object) -> None:
        link(*args, **kwargs)  # type: ignore[arg-type] # whatever it was called with
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", answered_twice)
    assert place(folder)
    assert names(folder) == [NAME]
    assert read(folder) == b"content"


@pytest.mark.parametrize("failure", ["fsync", "fchmod", "open"])
def test_a_file_that_cannot_be_written_leaves_nothing_behind(
    folder: Path, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, failure):
        pytest.skip(f"no os.{failure} on this system")
    with open_folder(folder, create=True) as opened:
        monkeypatch.setattr(os, failure, failing(errno.ENOSPC))
        error = refusal(lambda: opened.create(NAME, b"content", PRIVATE_MODE))
    assert error.problem == f"cannot be written: {os.strerror(errno.ENOSPC)}"
    assert error.path == str(folder / NAME)
    assert names(folder) == []


@posix
@pytest.mark.parametrize(("code", "told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_syncs_not_at_all_will_do_and_one_that_fails_to_is_told(
    folder: Path, code: int, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def of_files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            failing(code)()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_only)
    if told:
        assert os.strerror(code) in refusal(place, folder).problem
    else:
        assert place(folder)


@posix
def test_the_file_and_then_the_folder_are_synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, link = os.fsync, os.link

    def syncs(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def links(*args: object, **kwargs: object) -> None:
        order.append("link")
        link(*args, **kwargs)  # type: ignore[arg-type] # whatever it was called with

    monkeypatch.setattr(os, "fsync", syncs)
    monkeypatch.setattr(os, "link", links)
    place(folder)
    assert order == ["file", "link", "folder"]


@posix
@pytest.mark.parametrize("bits", [0o020, 0o010, 0o004, 0o002, 0o001, 0o044])
def test_a_private_file_of_use_to_others_is_refused(folder: Path, bits: int) -> None:
    place(folder)
    (folder / NAME).chmod(0o600 | bits)
    error = refusal(read, folder)
    assert error.problem == f"has mode {0o600 | bits:04o}: others may use it"
    assert error.hint == f"chmod 600 {folder / NAME}"
    assert read(folder, private=False) == b"content"


@posix
@pytest.mark.parametrize("own", [0o600, 0o400, 0o700])
def test_the_owners_own_bits_do_not_matter(folder: Path, own: int) -> None:
    place(folder)
    (folder / NAME).chmod(own)
    assert read(folder) == b"content"


def test_a_mend_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid"):
        pytest.skip("modes are those of POSIX")
    folder = tmp_path / "my keys; rm"
    place(folder)
    (folder / NAME).chmod(0o644)
    assert refusal(read, folder).hint == f"chmod 600 '{folder / NAME}'"


@posix
@pytest.mark.parametrize("bits", [0o020, 0o002, 0o022, 0o1002])
@pytest.mark.parametrize("use", [place, read])
def test_a_folder_others_may_write_to_is_refused(folder: Path, bits: int, use: Callable[[Path], object]) -> None:
    place(folder, name="other.pem")
    folder.chmod(0o700 | bits)
    error = refusal(use, folder)
    assert error.problem == f"has mode {0o700 | bits:04o}: others may write to it"
    shared = "use a folder that only you can write to"
    assert error.hint == (shared if bits & 0o1000 else f"chmod go-w {folder}")
    assert names(folder) == ["other.pem"]


@root_only
def test_a_file_of_somebody_else_is_refused(folder: Path) -> None:
    place(folder)
    os.chown(folder / NAME, SOMEBODY, -1)
    assert refusal(read, folder).problem == f"belongs to user {SOMEBODY}, not to user 0 or root"


@root_only
def test_a_folder_of_somebody_else_is_refused(folder: Path) -> None:
    place(folder)
    os.chown(folder, SOMEBODY, -1)
    for use in (place, read):
        assert refusal(use, folder).path == str(folder)


@posix
def test_owners_are_compared_with_the_effective_user_and_root(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(folder)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    if mine == 0:
        assert read(folder) == b"content"
    else:
        assert f"belongs to user {mine}" in refusal(read, folder).problem


def test_a_symbolic_link_to_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "target.pem").write_bytes(b"content")
    (tmp_path / "target.pem").chmod(0o600)
    (folder / NAME).symlink_to(tmp_path / "target.pem")
    for private in (True, False):
        with pytest.raises(KeyStoreError, match="is a symbolic link"):
            read(folder, private=private)


@posix
def test_a_symbolic_link_that_comes_after_the_look_is_not_followed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "target.pem").write_bytes(b"content")
    (tmp_path / "target.pem").chmod(0o600)
    (folder / NAME).symlink_to(tmp_path / "target.pem")
    monkeypatch.setattr(keystore.KeyFolder, "is_link", lambda self, name: False)
    assert os.strerror(errno.ELOOP) in refusal(read, folder).problem


def test_a_symbolic_link_to_the_folder_is_followed_and_its_target_checked(folder: Path, tmp_path: Path) -> None:
    place(folder)
    (tmp_path / "link").symlink_to(folder)
    assert read(tmp_path / "link") == b"content"
    if hasattr(os, "geteuid"):
        folder.chmod(0o777)
        assert "others may write" in refusal(read, tmp_path / "link").problem


@posix
def test_a_folder_that_is_exchanged_after_the_check_is_not_read(folder: Path, tmp_path: Path) -> None:
    place(folder)
    with open_folder(folder) as opened:
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        (folder / NAME).write_bytes(b"planted")
        (folder / NAME).chmod(0o600)
        assert opened.read(NAME, 100, private=True) == b"content"


@posix
def test_a_fifo_a_device_and_a_folder_are_no_files_and_nobody_waits_for_them(folder: Path) -> None:
    os.mkfifo(folder / "fifo", 0o600)
    (folder / "folder").mkdir()
    for name in ("fifo", "folder", ".", ".."):
        assert refusal(read, folder, name).problem == "is not a regular file"
    with open_folder(Path("/dev"), trusted=False) as opened:
        assert refusal(lambda: opened.read("null", 100, private=False)).problem == "is not a regular file"


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_are_closed_whatever_happens(folder: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("counts in /proc/self/fd")
    place(folder)
    (folder / "folder").mkdir()
    before = open_descriptors()
    read(folder)
    place(folder)
    for name in ("folder", "nothing"):
        refusal(read, folder, name)
    refusal(lambda: read(folder, most=1))
    folder.chmod(0o777)
    refusal(read, folder)
    assert open_descriptors() == before


@pytest.mark.parametrize(("size", "fits"), [(0, True), (100, True), (101, False), (10_000, False)])
def test_a_file_is_read_up_to_the_size_a_key_can_have(folder: Path, size: int, fits: bool) -> None:
    place(folder, b"x" * size)
    if fits:
        assert read(folder, most=100) == b"x" * size
    else:
        assert (
            refusal(lambda: read(folder, most=100)).problem == "is larger than 100 bytes, which is too large for a key"
        )


def test_a_file_that_comes_in_pieces_is_read_to_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(folder)
    pieces = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, most: pieces(descriptor, min(most, 3)))
    assert read(folder) == b"content"


def test_what_is_not_there_is_told_as_such(folder: Path, tmp_path: Path) -> None:
    for asked, path in ((folder, folder / NAME), (tmp_path / "nowhere", tmp_path / "nowhere")):
        error = refusal(read, asked)
        assert isinstance(error, KeyFileNotFoundError)
        assert isinstance(error, FileNotFoundError)
        assert (error.path, error.problem) == (str(path), "does not exist")


@pytest.mark.parametrize("descriptors", [True, False])
def test_a_file_is_no_folder(tmp_path: Path, descriptors: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "HAS_DIR_FD", descriptors and _files.HAS_DIR_FD)
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        for use in (place, read):
            assert "folder" in refusal(use, path).problem


def test_a_name_no_file_can_have_is_refused(folder: Path) -> None:
    assert refusal(read, folder, "a\0b").problem == "cannot be read: invalid file name"
    assert "invalid file name" in refusal(read, folder / "a\0b").problem


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write everything")
def test_what_the_system_forbids_is_told_with_its_reason(folder: Path) -> None:
    place(folder)
    (folder / NAME).chmod(0o000)
    assert refusal(read, folder).problem == f"cannot be read: {os.strerror(errno.EACCES)}"
    folder.chmod(0o500)
    assert refusal(place, folder).problem == f"cannot be written: {os.strerror(errno.EACCES)}"


def test_a_name_is_looked_for_without_following_it(folder: Path) -> None:
    (folder / "dangling").symlink_to("nowhere")
    with open_folder(folder) as opened:
        assert opened.holds("dangling")
        assert not opened.holds("nothing")


def test_without_descriptors_and_owners_the_rest_still_holds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on Windows, where os.rename fails for a name that is taken.
    monkeypatch.setattr(_files, "HAS_DIR_FD", False)
    monkeypatch.setattr(_files, "HAS_OWNERS", False)
    folder.chmod(0o777)
    assert place(folder)
    (folder / NAME).chmod(0o666)
    assert read(folder) == b"content"
    assert not place(folder, b"second")
    (folder / "link.pem").symlink_to(folder / NAME)
    assert refusal(read, folder, "link.pem").problem == "is a symbolic link"
    assert isinstance(refusal(read, folder / "nowhere"), KeyStoreError)


def test_a_rename_that_fails_where_the_name_is_taken_will_do_without_locks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def as_on_windows(source: str, target: str) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(_files, "HAS_DIR_FD", False)
        patch.setattr(os, "link", failing(errno.EPERM))
        patch.setattr(os, "rename", as_on_windows)
        with open_folder(folder, create=True) as opened:
            patch.setattr(os, "name", "nt")
            first, second = opened.create(NAME, b"content", 0o600), opened.create(NAME, b"second", 0o600)
    assert (first, second) == (True, False)
    assert names(folder) == [NAME]
    assert read(folder) == b"content"
