"""What an audit leaves behind when it is interrupted, and how another goes on with it.

The state is a folder with the store (facts, tallies, and which chunk comes next) and the rows so far. Both are made
lasting together: the rows first, then the store, which says how long they were. What is behind that is cut off.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Final, Self

import msgspec

from nomyo_attest.audit.placing import reason, sync_folder
from nomyo_attest.audit.store import Store
from nomyo_attest.errors import NomyoAttestError

STORE: Final = "store.sqlite"
ROWS: Final = "rows.part"  # an ending that no source has, should the folder be in one
LOCK: Final = "lock"

_OURS: Final = (f"{STORE}-journal", STORE, ROWS, LOCK)
_TEMPORARY: Final = "etilqs_"  # how SQLite calls its temporary files

_SAID: Final = {
    "version": "the version of nomyo-attest",
    "inputs": "the list of inputs, with their sizes and times of change,",
    "policy": "the policy",
    "at": "--at",
    "since": "--since",
    "until": "--until",
    "select": "--select",
    "column": "--column",
    "keep_evidence": "--keep-evidence",
    "rows": "whether there is an --out",
}
_SHOWN: Final = frozenset({"version", "policy", "at", "since", "until", "select", "column"})


_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Meta(msgspec.Struct):
    """What the checkpoints say, all of them together; see `Audit`."""

    identity: dict[str, Any]
    again: bool
    next: _Count
    length: _Count = 0
    records: _Count = 0
    lost: _Count = 0
    resumed: _Count = 0
    seconds: float = 0.0
    at: datetime | None = None
    started_at: datetime | None = None
    placing: list[str] = []
    complete: bool = False
    finished: bool = False


class StateError(NomyoAttestError):
    """The state of an audit cannot be used.

    Attributes:
        folder: where it is.
        problem: what is wrong, and what to do.
    """

    def __init__(self, folder: str, problem: str) -> None:
        self.folder = folder
        self.problem = problem
        super().__init__(folder, problem)

    def __str__(self) -> str:
        return f"{self.folder}: {self.problem}"


class StateDamagedError(StateError):
    """The state is not what an audit left, or was not enough of it: nobody can go on with it."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, "is damaged: something is missing in it; --force begins anew")

    def __reduce__(self) -> tuple[Any, ...]:
        return StateDamagedError, (self.folder,)


class State:
    """The state of one audit; nobody else can use it until it is closed.

    Attributes:
        folder: where it is.
        store: the store.
        meta: what the last checkpoint said.
        resumed: whether an audit was interrupted here that this one goes on with.
        rows: the file of the rows so far.
    """

    def __init__(self, folder: Path, lock: IO[bytes], *, keep: bool) -> None:
        self.folder = folder
        self.rows = folder / ROWS
        self.resumed = False
        self.meta: dict[str, Any] = {}
        self.store: Store
        self._lock = lock
        self._keep = keep
        self._out: IO[bytes] | None = None

    @classmethod
    def temporary(cls, identity: Mapping[str, Any]) -> Self:
        """A state that nobody goes on with: it is gone when it is closed. Raises `StateError`, `StoreError`."""
        with _told("the temporary folder"):
            folder = Path(tempfile.mkdtemp(prefix="nomyo-attest-audit-"))
        return cls._begun(folder, identity, resume=False, force=False, keep=False)

    @classmethod
    def kept(cls, folder: Path, identity: Mapping[str, Any], *, resume: bool, force: bool, again: bool) -> Self:
        """The state in `folder`, made if it is not there; it stays until `remove`.

        Args:
            folder: nothing but a state may be in it.
            identity: what must be the same for an audit to be gone on with; of JSON's types.
            resume: go on where an audit was interrupted, if one was.
            force: throw away what is left of one, unless `resume` is given.
            again: whether the inputs could be read again, should this audit be interrupted.

        Raises:
            StateError: it is used, or another audit's, or not to be resumed.
            StoreError: its store cannot be used.
        """
        with _told(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            foreign = sorted(one.name for one in folder.iterdir() if not _is_ours(one.name))
        if foreign:
            raise StateError(
                str(folder), f"is no state of an audit: there is {foreign[0]!r} in it; name another folder"
            )
        return cls._begun(folder, identity, resume=resume, force=force, keep=again)

    @classmethod
    def _begun(cls, folder: Path, identity: Mapping[str, Any], *, resume: bool, force: bool, keep: bool) -> Self:
        with _told(folder):
            state = cls(folder, _locked(folder), keep=keep)
        try:
            state._open(dict(identity), resume=resume, force=force)
        except BaseException:
            state._lock.close()
            raise
        return state

    def _open(self, identity: dict[str, Any], *, resume: bool, force: bool) -> None:
        if force and not resume:
            self._clear()
        self.store = Store.open(self.folder / STORE)
        try:
            self.meta = self.store.meta()
            if "identity" in self.meta:
                self._check_sound()
                self._check(identity, resume=resume)
                self.resumed = True
            with _told(self.folder):
                # Read and written without a buffer: what was written is in the file, whoever ends.
                self._out = self.rows.open("r+b" if self.resumed and self.rows.exists() else "w+b", buffering=0)
                self._cut()
                sync_folder(self.folder)
            if not self.resumed:
                self.checkpoint(identity=identity, next=0, again=self._keep)
        except BaseException:
            self._close()
            raise

    def _check_sound(self) -> None:
        """Refuse what no audit of ours left. Raises `StateError`."""
        try:
            msgspec.convert(self.meta, _Meta)
        except msgspec.ValidationError:
            raise StateDamagedError(str(self.folder)) from None

    def _check(self, identity: dict[str, Any], *, resume: bool) -> None:
        """Refuse to go on with another audit than the one that was interrupted. Raises `StateError`."""
        if not self.meta["again"]:
            problem = "an audit of standard input was interrupted here, which cannot be read again; --force begins anew"
            raise StateError(str(self.folder), problem)
        if not resume:
            problem = "an audit was interrupted here; --resume goes on with it, --force begins anew"
            raise StateError(str(self.folder), problem)
        then = self.meta["identity"]
        for key in {**then, **identity}:
            before, now = then.get(key), identity.get(key)
            if before != now:
                what = _SAID.get(key, key)
                shown = f" ({before} then, {now} now)" if key in _SHOWN else ""
                problem = f"the audit that was interrupted here is not this one: {what} differs{shown}"
                raise StateError(str(self.folder), f"{problem}; --force begins anew")

    def _cut(self) -> None:
        """Cut the rows to the length of the last checkpoint."""
        assert self._out is not None
        if self.meta.get("finished"):
            return  # nobody needs them any more, and they may be gone
        length = self.meta.get("length", 0)
        if self._out.seek(0, os.SEEK_END) < length:
            problem = f"{ROWS} is shorter than it was; --force begins anew"
            raise StateError(str(self.folder), problem)
        self._out.truncate(length)
        self._out.seek(length)

    def write(self, rows: bytes) -> None:
        """Add rows. Raises `StateError`."""
        assert self._out is not None
        with _told(self.folder):
            left = memoryview(rows)
            while left:
                left = left[self._out.write(left) :]

    def checkpoint(self, **meta: Any) -> None:
        """Make everything so far lasting, with `meta`. Raises `StateError`, `StoreError`."""
        assert self._out is not None
        with _told(self.folder):
            os.fsync(self._out.fileno())
            length = self._out.tell()
        self.store.checkpoint(**meta, length=length)
        self.meta |= {**meta, "length": length}

    def remove(self) -> None:
        """All is done: nothing is left to go on with. Raises `StateError`, `StoreError`."""
        if self._keep:
            self.checkpoint(finished=True)
        self._keep = False

    @property
    def stays(self) -> bool:
        """Whether it stays when it is closed, for another audit to go on with."""
        return self._keep and bool(self.meta.get("next") or self.meta.get("complete"))

    def close(self) -> None:
        """Let it go. It stays for another to go on with, unless there is nothing to go on with."""
        self._close()
        if not self.stays:
            with contextlib.suppress(OSError, StateError):  # a leftover is told when it is in the way
                self._clear()
                (self.folder / LOCK).unlink()
                self.folder.rmdir()
        self._lock.close()

    def _close(self) -> None:
        self.store.close()
        if self._out is not None:
            self._out.close()

    def _clear(self) -> None:
        """Remove what is left of an audit, but for the lock. The store says what is to be thought of the rest and goes
        late; its journal goes after it, since without that it might be half-written and look whole.
        """
        with _told(self.folder):
            for one in sorted(self.folder.iterdir(), key=lambda one: (one.name.startswith(STORE), one.name)):
                if _is_ours(one.name) and one.name != LOCK:
                    one.unlink()


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith(_TEMPORARY)


def _locked(folder: Path) -> IO[bytes]:
    """The lock of a folder, held until the file is closed or this process is gone. Raises `StateError`."""
    file = (folder / LOCK).open("ab")
    try:
        import fcntl
    except ImportError:  # not on Windows, where SQLite's own lock does
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            raise StateError(str(folder), "another audit is at work with it; wait for its end") from None
        raise
    return file


@contextlib.contextmanager
def _told(folder: Path | str) -> Iterator[None]:
    """Errors of the system as `StateError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise StateError(str(folder), f"the audit's state cannot be kept: {reason(error)}") from None
