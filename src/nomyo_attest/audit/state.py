"""What an audit leaves behind when it is interrupted, and how another goes on with it.

The state is a folder with the store (facts, tallies, and which chunk comes next) and the rows so far. Both are made
lasting together: the rows first, then the store, which says how long they were. What is behind that is cut off.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Final, Self

import msgspec

from nomyo_attest._files import Access, reason, try_lock
from nomyo_attest.audit.state_folder import StateError, StateFolder, as_state_error, open_beside
from nomyo_attest.audit.store import Store, StoreDamagedError
from nomyo_attest.errors import NomyoAttestError

__all__ = ["LOCK", "ROWS", "STORE", "State", "StateDamagedError", "StateError"]

STORE: Final = "store.sqlite"
ROWS: Final = "rows.part"  # an ending that no source has, should the folder be in one
LOCK: Final = "lock"

_JOURNAL: Final = f"{STORE}-journal"
_OURS: Final = (_JOURNAL, STORE, ROWS, LOCK)
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


class StateDamagedError(StateError):
    """The stored state is not what an audit left, so it cannot be resumed."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, "the state is damaged; --force, without --resume, starts over")

    def __reduce__(self) -> tuple[Any, ...]:
        return StateDamagedError, (self.folder,)


_BY_DAMAGE: Final = (
    *(msgspec.MsgspecError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(AssertionError, RecursionError),
)


def is_by_damage(error: BaseException | None) -> bool:
    """Whether `error`, raised while a stored state was used, is explained by a value in it that no audit wrote.

    Whether the values make sense is not checked one by one: SQLite finds damage of its own structure, and a value of
    the wrong type or out of its range makes whatever uses it raise. An error of the system says nothing of the kind.
    """
    if isinstance(error, NomyoAttestError):
        return isinstance(error, StoreDamagedError)
    return isinstance(error, _BY_DAMAGE)


class State:
    """The state of one audit; nobody else can use it until it is closed.

    Attributes:
        folder: path of its folder.
        store: the store.
        meta: what the last checkpoint said.
        resumed: whether this audit resumes an interrupted one.
    """

    def __init__(self, folder: StateFolder, lock: IO[bytes], *, keep: bool, made: bool) -> None:
        self.folder = folder.path
        self.resumed = False
        self.meta: dict[str, Any] = {}
        self.store: Store
        self._held = folder
        self._lock = lock
        self._keep = keep
        self._made = made
        self._out: IO[bytes] | None = None

    @classmethod
    def temporary(cls, identity: Mapping[str, Any]) -> Self:
        """A state that cannot be resumed: it is removed when it is closed. Raises `StateError`, `StoreError`."""
        return cls._begun(StateFolder.temporary(), identity, resume=False, force=False, keep=False, made=True)

    @classmethod
    def open(
        cls,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        resume: bool,
        force: bool,
        again: bool,
        or_temporary: bool = False,
    ) -> Self:
        """The state in `folder`, made if it is not there; it stays until `remove`.

        A folder that no audit made stays for good.

        Args:
            folder: contains nothing but a state, has mode 0700 and belongs to the effective user.
            identity: what must be the same for an audit to be resumed; of JSON's types.
            resume: resume the interrupted audit, if there is one.
            force: remove what is left of an interrupted audit, unless `resume` is given.
            again: whether the inputs could be read again, should this audit be interrupted.
            or_temporary: use a private folder in the folder for temporary files where `folder` cannot be private. The
                name of either was chosen by an audit, so it is removed even if it was there and empty.

        Raises:
            StateError: it is in use, is another audit's, cannot be resumed, or could have been changed by others.
            StoreError: its store cannot be used.
        """
        held = open_beside(folder) if or_temporary else StateFolder.open(folder)
        try:
            for name in held.names():
                if not _is_ours(name):
                    problem = f"is not the state of an audit: it contains {name!r}; name another folder with --state"
                    raise StateError(str(held.path), problem)
                held.check_file(name, links=name == ROWS)  # complete rows may be an output already
        except BaseException:
            held.close()
            raise
        return cls._begun(held, identity, resume=resume, force=force, keep=again, made=or_temporary)

    @classmethod
    def _begun(
        cls,
        folder: StateFolder,
        identity: Mapping[str, Any],
        *,
        resume: bool,
        force: bool,
        keep: bool,
        made: bool,
    ) -> Self:
        fresh = not folder.names()
        made = made or folder.new
        try:
            lock = _locked(folder)
            # A lock that is not empty says that the folder was made by an audit, however that ended.
            made = made or os.fstat(lock.fileno()).st_size > 0
            state = cls(folder, lock, keep=keep, made=made)
            try:
                if folder.new:
                    with as_state_error(folder.path):
                        os.write(lock.fileno(), b"made\n")
                state._open(dict(identity), resume=resume, force=force)
            except BaseException:
                if fresh:
                    state._discard()
                state._lock.close()
                raise
        except BaseException:
            if fresh and made:
                with contextlib.suppress(StateError):
                    folder.remove()
            folder.close()
            raise
        return state

    def _open(self, identity: dict[str, Any], *, resume: bool, force: bool) -> None:
        if force and not resume:
            self._clear()
        try:
            self.store = self._open_store()
        except StoreDamagedError:
            raise StateDamagedError(str(self.folder)) from None
        try:
            try:
                self.meta = self.store.meta()
            except StoreDamagedError:
                raise StateDamagedError(str(self.folder)) from None
            if "identity" in self.meta:
                self._check_sound()
                self._check(identity, resume=resume)
                self.resumed = True
            # Read and written without a buffer: what was written is in the file, however this process ends.
            self._out = self._open_rows()
            with as_state_error(self.folder):
                self._cut()
            self._held.sync()
            if not self.resumed:
                self.checkpoint(identity=identity, next=0, again=self._keep)
        except BaseException:
            self._close()
            raise

    def _open_store(self) -> Store:
        """Open the store, and see that SQLite opened the files of our folder: it opens them by path."""
        folder = self._held
        if not folder.holds(STORE):
            folder.open_file(STORE, Access.NEW).close()
        folder.check_place()
        before = folder.changed(STORE)
        try:
            store = Store.open(self.folder / STORE, lambda: folder.check_open(STORE))
            try:
                folder.check_open(_JOURNAL)
            except BaseException:
                store.close()
                raise
        except BaseException:
            # SQLite may have rolled back what the journal of another folder says: nobody may resume from that.
            if before != folder.changed(STORE):
                with contextlib.suppress(StateError):
                    folder.unlink(STORE)
            raise
        return store

    def _open_rows(self) -> IO[bytes]:
        folder, there = self._held, self._held.holds(ROWS)
        if there and self.resumed and self.meta.get("complete"):
            # Nothing is written to complete rows, so they may have the name of an output, too (`link_rows`).
            return folder.open_file(ROWS, Access.READ, links=True)
        if there and self.resumed:
            return folder.open_file(ROWS, Access.UPDATE)
        if there:
            folder.check_file(ROWS)
            folder.unlink(ROWS)
        # Not 0600, since the file may become an output; nobody else can enter its folder.
        return folder.open_file(ROWS, Access.NEW, mode=0o666)

    def open_rows(self) -> IO[bytes]:
        """Open the rows so far for reading. Raises `StateError`."""
        return self._held.open_file(ROWS, Access.READ, links=True, buffered=True)

    def link_rows(self, target: Path) -> None:
        """Give the file of rows the path `target`, too. Raises `OSError`, also where the file system has no links."""
        self._held.link(ROWS, target)

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
        length, found = self.meta.get("length", 0), self._out.seek(0, os.SEEK_END)
        if found < length:
            problem = f"{ROWS} is shorter than it was; --force begins anew"
            raise StateError(str(self.folder), problem)
        if self._out.writable():
            self._out.truncate(length)
        elif found != length:
            raise StateDamagedError(str(self.folder))
        self._out.seek(length)

    def write(self, rows: bytes) -> None:
        """Add rows. Raises `StateError`."""
        assert self._out is not None
        with as_state_error(self.folder):
            left = memoryview(rows)
            while left:
                left = left[self._out.write(left) :]

    def checkpoint(self, **meta: Any) -> None:
        """Make everything so far lasting, with `meta`. Raises `StateError`, `StoreError`."""
        assert self._out is not None
        with as_state_error(self.folder):
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
        """Close it. It stays for another audit to resume, unless there is nothing to resume."""
        self._close()
        if not self.stays:
            self._discard()
            if self._made:
                with contextlib.suppress(StateError):  # a leftover is reported when it is in the way
                    self._held.remove()
        self._lock.close()
        self._held.close()

    def _close(self) -> None:
        self.store.close()
        if self._out is not None:
            self._out.close()

    def _discard(self) -> None:
        with contextlib.suppress(StateError):
            self._clear()
            self._held.unlink(LOCK)

    def _clear(self) -> None:
        """Remove what is left of an audit, but for the lock. The store says what is to be thought of the rest and goes
        late; its journal goes after it, since without that it might be half-written and look whole.
        """
        for name in sorted(self._held.names(), key=lambda name: (name.startswith(STORE), name)):
            if _is_ours(name) and name != LOCK:
                self._held.unlink(name)


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith(_TEMPORARY)


def _locked(folder: StateFolder) -> IO[bytes]:
    """The lock of a folder, held until the file is closed or this process is gone. Raises `StateError`."""
    file = folder.open_file(LOCK, Access.APPEND_OR_CREATE)
    try:
        # If it has not that name any more, the audit that had it has ended and removed it.
        free = try_lock(file.fileno()) and folder.has_name(file, LOCK)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return file  # Windows, where SQLite's own lock does
        file.close()
        problem = f"cannot be locked: {reason(error)}; name another folder with --state"
        raise StateError(str(folder.path), problem) from None
    except BaseException:
        file.close()
        raise
    if not free:
        file.close()
        raise StateError(str(folder.path), "another audit is at work with it; wait for its end")
    return file
