"""One module opens files for writing, renames and locks them; the source of both packages is read for that."""

from __future__ import annotations

import ast
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nomyo
import nomyo_attest
from nomyo_attest import _files
from nomyo_attest._files import Access, Folder, atomic_file

PACKAGES = [Path(package.__file__ or "").parent for package in (nomyo_attest, nomyo)]
WRITER = "nomyo_attest/_files.py"

ALLOWED = {
    "nomyo_attest/cli/console.py": "opens os.devnull in the place of a closed standard output",
    "nomyo_attest/cli/example_fleet.py": "renames a whole folder, which is not a file",
}

_WRITING_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC", "O_TMPFILE"}
_OS = {"rename", "replace", "renames", "link", "symlink", "truncate", "mkfifo", "mknod"}
_METHODS = {"write_text", "write_bytes", "write_to_path", "touch", "hardlink_to", "symlink_to", "rename"}
_MODULES = {
    "tempfile": {"NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "mkstemp", "mktemp"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move"},
}
_OPENERS = {"open": 1, "io.open": 1, "os.fdopen": 1, "codecs.open": 1, "gzip.open": 1, "bz2.open": 1, "lzma.open": 1}


def writes(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each call that opens a file for writing, gives it a name, or locks it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {one.name for one in node.names} | {getattr(node, "module", None)}
            if "fcntl" in names:
                yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Call) and _writes(node):
            yield node.lineno, ast.unparse(node)


def _writes(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    module, _, function = name.rpartition(".")
    if module == "os" and function == "open":
        flags = {one.attr for one in ast.walk(call) if isinstance(one, ast.Attribute)}
        return bool(flags & _WRITING_FLAGS)
    if name in _OPENERS:
        return _is_for_writing(call, _OPENERS[name])
    if module == "os":
        return function in _OS
    if module in _MODULES:
        return function in _MODULES[module]
    if function == "open":
        return _is_for_writing(call, 0) or _is_for_writing(call, 1)
    if function == "replace":  # of a path: that of a text has two arguments
        return len(call.args) == 1 and not call.keywords
    return bool(module) and function in _METHODS


def _is_for_writing(call: ast.Call, position: int) -> bool:
    modes = [one.value for one in call.keywords if one.arg == "mode"] + call.args[position : position + 1]
    texts = [one.value for one in modes if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return any(len(text) <= 3 and set(text) & set("wax+") for text in texts)


def modules() -> list[str]:
    return sorted(path.relative_to(package.parent).as_posix() for package in PACKAGES for path in package.rglob("*.py"))


@pytest.mark.parametrize(
    "source",
    [
        "open('f', 'w')",
        "open(name, mode='ab')",
        "path.open('xb')",
        "Path(name).open(mode='r+b')",
        "io.open(f, 'w+')",
        "os.open(name, os.O_RDONLY | os.O_CREAT)",
        "os.fdopen(descriptor, 'wb')",
        "path.write_text('x')",
        "path.write_bytes(b'')",
        "path.touch()",
        "os.replace(a, b)",
        "os.rename(a, b)",
        "os.link(a, b)",
        "path.rename(other)",
        "path.replace(other)",
        "path.hardlink_to(other)",
        "tempfile.NamedTemporaryFile()",
        "tempfile.mkstemp()",
        "shutil.copyfile(a, b)",
        "gzip.open('f', 'wb')",
        "ca.cert_pem.write_to_path(path)",
        "import fcntl",
        "from fcntl import flock",
    ],
)
def test_each_way_to_write_a_file_is_found(source: str) -> None:
    assert list(writes(source)) == [(1, source)]


@pytest.mark.parametrize(
    "source",
    ["open('wax')", "path.open('rb')", "os.open(name, os.O_RDONLY)", "text.replace('w', 'a')", "Access.NEW.open(path)"],
)
def test_reading_is_not_taken_for_writing(source: str) -> None:
    assert list(writes(source)) == []


def test_no_other_module_opens_a_file_for_writing() -> None:
    found = {}
    for name in modules():
        package = PACKAGES[0] if name.startswith("nomyo_attest/") else PACKAGES[1]
        calls = list(writes((package.parent / name).read_text(encoding="utf-8")))
        if calls and name not in ALLOWED:
            found[name] = calls
    assert found.pop(WRITER)
    assert found == {}


def test_every_exception_to_this_is_needed() -> None:
    for name in ALLOWED:
        assert list(writes((PACKAGES[0].parent / name).read_text(encoding="utf-8"))), name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_appears_only_when_it_is_complete(path: Path, replace: bool) -> None:
    with atomic_file(path, replace=replace) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert names(path) == ["file"]


@pytest.mark.parametrize("replace", [True, False])
def test_an_error_while_writing_leaves_nothing(path: Path, replace: bool) -> None:
    def content() -> Iterator[bytes]:
        yield b"content"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), atomic_file(path, replace=replace) as file:
        file.writelines(content())
    assert names(path) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(path: Path) -> None:
    with pytest.raises(FileExistsError), atomic_file(path, replace=False):
        path.write_bytes(b"mine")
    assert path.read_bytes() == b"mine"
    assert names(path) == ["file"]


def test_a_file_that_is_replaced_keeps_its_content_until_then(path: Path) -> None:
    path.write_bytes(b"old")
    with atomic_file(path, replace=True) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(not _files.HAS_OWNERS, reason="looks at modes")
@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o600), (0o644, 0o644), (None, 0o640)])
def test_an_exact_mode_does_not_depend_on_the_umask(path: Path, mode: int | None, expected: int) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(path, replace=False, mode=mode):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == expected


@pytest.mark.parametrize("access", [Access.READ, Access.UPDATE, Access.APPEND, Access.APPEND_OR_CREATE, Access.NEW])
def test_no_access_follows_a_symbolic_link(path: Path, access: Access) -> None:
    path.write_bytes(b"mine")
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP, EMLINK or EEXIST, as the system has it
        os.close(access.open(link))
    dangling = path.with_name("dangling")
    dangling.symlink_to(path.with_name("nothing"))
    with pytest.raises(OSError):  # noqa: PT011
        os.close(access.open(dangling))
    assert not path.with_name("nothing").exists()


def test_a_folder_that_cannot_be_synced_is_no_error_and_a_failing_disk_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = errno.EINVAL

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_file(path, replace=False):
        pass
    code = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), atomic_file(path, replace=True):
        pass


def test_a_link_whose_reply_was_lost_has_succeeded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def repeated(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        real(*arguments, **named)  # as NFS does

    monkeypatch.setattr(os, "link", repeated)
    with atomic_file(path, replace=False) as file:
        file.write(b"content")
    assert path.read_bytes() == b"content"
    assert names(path) == ["file"]


@pytest.mark.skipif(not _files.HAS_DIR_FD, reason="needs calls relative to a folder")
def test_an_open_folder_stays_the_same_when_its_path_leads_elsewhere(tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    here.mkdir()
    other.mkdir()
    descriptor = os.open(here, os.O_RDONLY)
    try:
        folder = Folder(here, descriptor)
        here.rename(tmp_path / "moved")
        other.rename(here)
        with folder.new_file("file") as file:
            file.write(b"content")
        assert folder.names() == ["file"]
    finally:
        os.close(descriptor)
    assert list(here.iterdir()) == []
    assert (tmp_path / "moved" / "file").read_bytes() == b"content"
