"""The stored state of an audit, with which an interrupted audit is resumed.

The state is a folder with the store (facts, tallies, and the number of the next chunk) and the rows so far. A
checkpoint syncs the rows, then commits the store with their length; rows beyond that length are truncated on resume.
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
ROWS: Final = "rows.part"  # not an extension of sources: an audited folder may contain the state
LOCK: Final = "lock"

_JOURNAL: Final = f"{STORE}-journal"
_NAMES: Final = (_JOURNAL, STORE, ROWS, LOCK)
_TEMPORARY: Final = "etilqs_"  # the prefix of SQLite's temporary files

_DESCRIPTIONS: Final = {
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
    """The values of all checkpoints; see `Audit`."""

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
    outputs: list[str] = []
    complete: bool = False
    finished: bool = False


class StateDamagedError(StateError):
    """The stored state is damaged, so it cannot be resumed."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, "the state is damaged; --force, without --resume, starts over")

    def __reduce__(self) -> tuple[Any, ...]:
        return StateDamagedError, (self.folder,)


_BY_DAMAGE: Final = (
    *(msgspec.MsgspecError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(AssertionError, RecursionError),
)


def is_caused_by_damage(error: BaseException | None) -> bool:
    """Whether `error`, raised while a stored state was used, is caused by an invalid value in that state.

    Values are not checked one by one: SQLite detects damage of its own structure, and the code that uses a value of the
    wrong type or out of range raises one of these exceptions. Operating system errors have other causes.
    """
    if isinstance(error, NomyoAttestError):
        return isinstance(error, StoreDamagedError)
    return isinstance(error, _BY_DAMAGE)


class State:
    """The state of one audit; no other audit can use it until it is closed.

    Attributes:
        folder: path of its folder.
        store: the store.
        meta: the values of the checkpoints.
        resumed: whether this audit resumes an interrupted one.
    """

    def __init__(self, folder: StateFolder, lock: IO[bytes], *, resumable: bool, made: bool) -> None:
        self.folder = folder.path
        self.resumed = False
        self.meta: dict[str, Any] = {}
        self.store: Store
        self._state_folder = folder
        self._lock = lock
        self._resumable = resumable
        self._made = made
        self._out: IO[bytes] | None = None

    @classmethod
    def temporary(cls, identity: Mapping[str, Any]) -> Self:
        """Create a state that is removed on close. Raises `StateError`, `StoreError`."""
        return cls._create(StateFolder.temporary(), identity, resume=False, force=False, resumable=False, made=True)

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
        """Open the state in `folder`, which is created if it does not exist; it stays until `remove` is called.

        The folder is removed with it only if an audit created it.

        Args:
            folder: must contain only a state, have mode 0700 and belong to the effective user.
            identity: the JSON-compatible values that must be equal for an audit to be resumed.
            resume: resume the interrupted audit, if there is one.
            force: remove the state of an interrupted audit, unless `resume` is given.
            again: whether the inputs can be read again if this audit is interrupted.
            or_temporary: use a private folder in the temporary directory if `folder` cannot be private. An
                audit chose the name of either, so it is removed even if it existed and was empty.

        Raises:
            StateError: it is in use, belongs to another audit, cannot be resumed, or other users could have changed it.
            StoreError: its store cannot be used.
        """
        held = open_beside(folder) if or_temporary else StateFolder.open(folder)
        try:
            for name in held.names():
                if not _is_state_file(name):
                    problem = f"is not the state of an audit: it contains {name!r}; name another folder with --state"
                    raise StateError(str(held.path), problem)
                held.check_file(name, links=name == ROWS)  # complete rows may be an output already
        except BaseException:
            held.close()
            raise
        return cls._create(held, identity, resume=resume, force=force, resumable=again, made=or_temporary)

    @classmethod
    def _create(
        cls,
        folder: StateFolder,
        identity: Mapping[str, Any],
        *,
        resume: bool,
        force: bool,
        resumable: bool,
        made: bool,
    ) -> Self:
        fresh = not folder.names()
        made = made or folder.new
        try:
            lock = _locked(folder)
            # A lock file that is not empty shows that an audit created the folder, however that audit ended.
            made = made or os.fstat(lock.fileno()).st_size > 0
            state = cls(folder, lock, resumable=resumable, made=made)
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
                self._check_values()
                self._check_identity(identity, resume=resume)
                self.resumed = True
            # Unbuffered: written rows are in the file, however this process ends.
            self._out = self._open_rows()
            with as_state_error(self.folder):
                self._truncate()
            self._state_folder.sync()
            if not self.resumed:
                self.checkpoint(identity=identity, next=0, again=self._resumable)
        except BaseException:
            self._close()
            raise

    def _open_store(self) -> Store:
        """Open the store, and check that SQLite, which opens files by path, has opened those of this folder."""
        folder = self._state_folder
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
            # SQLite may have applied the journal of another folder: such a store must not be resumed.
            if before != folder.changed(STORE):
                with contextlib.suppress(StateError):
                    folder.unlink(STORE)
            raise
        return store

    def _open_rows(self) -> IO[bytes]:
        folder, has_rows = self._state_folder, self._state_folder.holds(ROWS)
        if has_rows and self.resumed and self.meta.get("complete"):
            # Complete rows are not written to, so the file may have the name of an output, too (`link_rows`).
            return folder.open_file(ROWS, Access.READ, links=True)
        if has_rows and self.resumed:
            return folder.open_file(ROWS, Access.UPDATE)
        if has_rows:
            folder.check_file(ROWS)
            folder.unlink(ROWS)
        # Not 0600, since the file may become an output; other users cannot enter its folder.
        return folder.open_file(ROWS, Access.NEW, mode=0o666)

    def open_rows(self) -> IO[bytes]:
        """Open the rows so far for reading. Raises `StateError`."""
        return self._state_folder.open_file(ROWS, Access.READ, links=True, buffered=True)

    def link_rows(self, target: Path) -> None:
        """Hard-link the file of rows to `target`. Raises `OSError`, also on a file system without links."""
        self._state_folder.link(ROWS, target)

    def _check_values(self) -> None:
        """Refuse invalid values. Raises `StateError`."""
        try:
            msgspec.convert(self.meta, _Meta)
        except msgspec.ValidationError:
            raise StateDamagedError(str(self.folder)) from None

    def _check_identity(self, identity: dict[str, Any], *, resume: bool) -> None:
        """Refuse to resume an audit other than the interrupted one. Raises `StateError`."""
        if not self.meta["again"]:
            problem = "an audit of standard input was interrupted here, which cannot be read again; --force starts over"
            raise StateError(str(self.folder), problem)
        if not resume:
            problem = "an audit was interrupted here; --resume resumes it, --force starts over"
            raise StateError(str(self.folder), problem)
        then = self.meta["identity"]
        for key in {**then, **identity}:
            before, now = then.get(key), identity.get(key)
            if before != now:
                setting = _DESCRIPTIONS.get(key, key)
                shown = f" ({before} then, {now} now)" if key in _SHOWN else ""
                problem = f"a different audit was interrupted here: {setting} differs{shown}"
                raise StateError(str(self.folder), f"{problem}; --force starts over")

    def _truncate(self) -> None:
        """Truncate the rows to the length of the last checkpoint."""
        assert self._out is not None
        if self.meta.get("finished"):
            return  # the rows are no longer needed, and may be removed already
        length, found = self.meta.get("length", 0), self._out.seek(0, os.SEEK_END)
        if found < length:
            problem = f"{ROWS} is shorter than at the last checkpoint; --force starts over"
            raise StateError(str(self.folder), problem)
        if self._out.writable():
            self._out.truncate(length)
        elif found != length:
            raise StateDamagedError(str(self.folder))
        self._out.seek(length)

    def write(self, rows: bytes) -> None:
        """Append rows. Raises `StateError`."""
        assert self._out is not None
        with as_state_error(self.folder):
            left = memoryview(rows)
            while left:
                left = left[self._out.write(left) :]

    def checkpoint(self, **meta: Any) -> None:
        """Sync the rows and commit the store, with `meta`. Raises `StateError`, `StoreError`."""
        assert self._out is not None
        with as_state_error(self.folder):
            os.fsync(self._out.fileno())
            length = self._out.tell()
        self.store.checkpoint(**meta, length=length)
        self.meta |= {**meta, "length": length}

    def remove(self) -> None:
        """Mark the state as finished, so that it is removed on close. Raises `StateError`, `StoreError`."""
        if self._resumable:
            self.checkpoint(finished=True)
        self._resumable = False

    @property
    def stays(self) -> bool:
        """Whether the state stays after `close`, to be resumed."""
        return self._resumable and bool(self.meta.get("next") or self.meta.get("complete"))

    def close(self) -> None:
        """Close the state; it is removed if there is nothing to resume."""
        self._close()
        if not self.stays:
            self._discard()
            if self._made:
                with contextlib.suppress(StateError):  # the next audit reports it
                    self._state_folder.remove()
        self._lock.close()
        self._state_folder.close()

    def _close(self) -> None:
        self.store.close()
        if self._out is not None:
            self._out.close()

    def _discard(self) -> None:
        with contextlib.suppress(StateError):
            self._clear()
            self._state_folder.unlink(LOCK)

    def _clear(self) -> None:
        """Remove all files except the lock.

        The store is removed after the rows, which it describes, and its journal last, since a store without its journal
        may be incomplete without showing it.
        """
        for name in sorted(self._state_folder.names(), key=lambda name: (name.startswith(STORE), name)):
            if _is_state_file(name) and name != LOCK:
                self._state_folder.unlink(name)


def _is_state_file(name: str) -> bool:
    return name in _NAMES or name.startswith(_TEMPORARY)


def _locked(folder: StateFolder) -> IO[bytes]:
    """Lock a folder until the file is closed or this process ends. Raises `StateError`."""
    file = folder.open_file(LOCK, Access.APPEND_OR_CREATE)
    try:
        # If the file no longer has this name, the audit that had locked it removed it.
        free = try_lock(file.fileno()) and folder.has_name(file, LOCK)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return file  # Windows, where the lock of SQLite is enough
        file.close()
        problem = f"cannot be locked: {reason(error)}; name another folder with --state"
        raise StateError(str(folder.path), problem) from None
    except BaseException:
        file.close()
        raise
    if not free:
        file.close()
        raise StateError(str(folder.path), "another audit is using it; wait until it ends")
    return file
