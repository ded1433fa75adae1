"""The stored state of an audit, from which an interrupted audit is resumed.

The state is a folder with the store (facts, tallies, and the number of the next chunk) and the rows written so far. A
checkpoint syncs the rows to disk, then commits the store with their length. When the audit is resumed, rows beyond that
length are truncated.
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
from nomyo_attest.audit.state_folder import StateError, StateFolder, as_state_error, open_or_temporary
from nomyo_attest.audit.store import Store, StoreDamagedError
from nomyo_attest.errors import NomyoAttestError

__all__ = ["LOCK", "ROWS", "STORE", "State", "StateDamagedError", "StateError"]

STORE: Final = "store.sqlite"
ROWS: Final = "rows.part"  # without an extension of sources, since an audited folder may contain the state
LOCK: Final = "lock"

_JOURNAL: Final = f"{STORE}-journal"
_FILE_NAMES: Final = (_JOURNAL, STORE, ROWS, LOCK)
_TEMPORARY_PREFIX: Final = "etilqs_"  # the prefix of SQLite's temporary files

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
_KEYS_WITH_VALUES: Final = frozenset({"version", "policy", "at", "since", "until", "select", "column"})

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Meta(msgspec.Struct):
    """The values of all checkpoints; see `Audit`."""

    identity: dict[str, Any]
    again: bool  # whether the inputs can be read again
    next: _Count  # number of the next chunk
    length: _Count = 0  # bytes of the file of rows
    records: _Count = 0
    lost: _Count = 0  # number of workers that died
    resumed: _Count = 0
    seconds: float = 0.0
    at: datetime | None = None
    started_at: datetime | None = None
    outputs: list[str] = []
    complete: bool = False  # all records were appraised
    finished: bool = False  # all outputs were written


class StateDamagedError(StateError):
    """The stored state is damaged, so it cannot be resumed."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, "the state is damaged; --force, without --resume, starts over")

    def __reduce__(self) -> tuple[Any, ...]:
        return StateDamagedError, (self.folder,)


_DAMAGE_ERRORS: Final = (
    *(msgspec.MsgspecError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(AssertionError, RecursionError),
)


def is_caused_by_damage(error: BaseException | None) -> bool:
    """Whether an invalid value in a stored state caused `error`, which was raised while the state was used.

    Values are not validated one by one. SQLite detects damage to its structures, and code that uses a value with an
    invalid type or out of range raises one of `_DAMAGE_ERRORS`. Operating system errors have other causes.
    """
    if isinstance(error, NomyoAttestError):
        return isinstance(error, StoreDamagedError)
    return isinstance(error, _DAMAGE_ERRORS)


class State:
    """The state of one audit; no other audit can use it until it is closed.

    Attributes:
        folder: path of its folder.
        store: the store.
        meta: the values of all checkpoints, with the keys of `_Meta`.
        resumed: whether this audit resumes an interrupted audit.
    """

    def __init__(self, folder: StateFolder, lock: IO[bytes], *, resumable: bool, is_own_folder: bool) -> None:
        self.folder = folder.path
        self.resumed = False
        self.meta: dict[str, Any] = {}
        self.store: Store
        self._state_folder = folder
        self._lock = lock
        self._resumable = resumable
        self._is_own_folder = is_own_folder
        self._out: IO[bytes] | None = None

    @classmethod
    def temporary(cls, identity: Mapping[str, Any]) -> Self:
        """Create a state that is removed on close. Raises `StateError`, `StoreError`."""
        return cls._create(
            StateFolder.temporary(), identity, resume=False, force=False, resumable=False, is_own_folder=True
        )

    @classmethod
    def open(
        cls,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        resume: bool,
        force: bool,
        is_rereadable: bool,
        allow_temporary: bool = False,
    ) -> Self:
        """Open the state in `folder`, which is created if it does not exist. It is stored until `remove` is called.

        The folder is removed together with the state only if an audit created it.

        Args:
            folder: must contain only a state, have mode 0700 and belong to the effective user.
            identity: JSON-compatible values that must be equal for an audit to be resumed.
            resume: resume the interrupted audit, if there is one.
            force: remove the state of an interrupted audit, unless `resume` is true.
            is_rereadable: whether the inputs can be read again if this audit is interrupted.
            allow_temporary: use a private folder in the temporary directory if `folder` cannot be private. The audit,
                not the user, chose `folder`, so it is removed in the end even if it existed and was empty.

        Raises:
            StateError: the state is in use, belongs to a different audit, cannot be resumed, or other users could have
                changed it.
            StoreError: the store cannot be used.
        """
        state_folder = open_or_temporary(folder) if allow_temporary else StateFolder.open(folder)
        try:
            for name in state_folder.names():
                if not _is_state_file(name):
                    problem = f"is not the state of an audit: it contains {name!r}; name another folder with --state"
                    raise StateError(str(state_folder.path), problem)
                # The file of complete rows may already be an output, too.
                state_folder.check_file(name, allow_hard_links=name == ROWS)
        except BaseException:
            state_folder.close()
            raise
        return cls._create(
            state_folder, identity, resume=resume, force=force, resumable=is_rereadable, is_own_folder=allow_temporary
        )

    @classmethod
    def _create(
        cls,
        folder: StateFolder,
        identity: Mapping[str, Any],
        *,
        resume: bool,
        force: bool,
        resumable: bool,
        is_own_folder: bool,
    ) -> Self:
        was_empty = not folder.names()
        is_own_folder = is_own_folder or folder.new
        try:
            lock = _lock_folder(folder)
            # A lock file that is not empty shows that an audit created the folder.
            is_own_folder = is_own_folder or os.fstat(lock.fileno()).st_size > 0
            state = cls(folder, lock, resumable=resumable, is_own_folder=is_own_folder)
            try:
                if folder.new:
                    with as_state_error(folder.path):
                        os.write(lock.fileno(), b"created\n")
                state._open(dict(identity), resume=resume, force=force)
            except BaseException:
                if was_empty:
                    state._discard()
                state._lock.close()
                raise
        except BaseException:
            if was_empty and is_own_folder:
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
            # Unbuffered, so that written rows are in the file even if this process is killed.
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
        """Open the store. SQLite opens files by path, so check that it opened the files of this folder."""
        folder = self._state_folder
        if not folder.holds(STORE):
            folder.open_file(STORE, Access.NEW).close()
        folder.check_path()
        before = folder.change_stamp(STORE)
        try:
            store = Store.open(self.folder / STORE, lambda: folder.check_open(STORE))
            try:
                folder.check_open(_JOURNAL)
            except BaseException:
                store.close()
                raise
        except BaseException:
            # SQLite may have applied a journal from a different folder, so this store must not be resumed.
            if before != folder.change_stamp(STORE):
                with contextlib.suppress(StateError):
                    folder.unlink(STORE)
            raise
        return store

    def _open_rows(self) -> IO[bytes]:
        folder, has_rows = self._state_folder, self._state_folder.holds(ROWS)
        if has_rows and self.resumed and self.meta.get("complete"):
            # Nothing is appended to complete rows, so the file may also be hard-linked as an output (`link_rows`).
            return folder.open_file(ROWS, Access.READ, allow_hard_links=True)
        if has_rows and self.resumed:
            return folder.open_file(ROWS, Access.UPDATE)
        if has_rows:
            folder.check_file(ROWS)
            folder.unlink(ROWS)
        # Mode 0666 minus the umask, since the file may become an output. Other users cannot enter its folder.
        return folder.open_file(ROWS, Access.NEW, mode=0o666)

    def open_rows(self) -> IO[bytes]:
        """Open the file of rows for reading. Raises `StateError`."""
        return self._state_folder.open_file(ROWS, Access.READ, allow_hard_links=True, buffered=True)

    def link_rows(self, target: Path) -> None:
        """Hard-link the file of rows to `target`. Raises `OSError`, for example on a file system without hard links."""
        self._state_folder.link(ROWS, target)

    def _check_values(self) -> None:
        """Check the types of the values. Raises `StateError`."""
        try:
            msgspec.convert(self.meta, _Meta)
        except msgspec.ValidationError:
            raise StateDamagedError(str(self.folder)) from None

    def _check_identity(self, identity: dict[str, Any], *, resume: bool) -> None:
        """Check that this audit may resume the interrupted one. Raises `StateError`."""
        if not self.meta["again"]:
            problem = (
                "an audit of standard input, which cannot be read again, was interrupted here; --force starts over"
            )
            raise StateError(str(self.folder), problem)
        if not resume:
            problem = "an audit was interrupted here; --resume resumes it, --force starts over"
            raise StateError(str(self.folder), problem)
        interrupted = self.meta["identity"]
        for key in {**interrupted, **identity}:
            before, now = interrupted.get(key), identity.get(key)
            if before != now:
                setting = _DESCRIPTIONS.get(key, key)
                values = f" ({before} then, {now} now)" if key in _KEYS_WITH_VALUES else ""
                problem = f"a different audit was interrupted here: {setting} differs{values}"
                raise StateError(str(self.folder), f"{problem}; --force starts over")

    def _truncate(self) -> None:
        """Truncate the rows to the length of the last checkpoint."""
        assert self._out is not None
        if self.meta.get("finished"):
            return  # the rows are no longer needed, and may already be removed
        length, actual = self.meta.get("length", 0), self._out.seek(0, os.SEEK_END)
        if actual < length:
            problem = f"{ROWS} is shorter than at the last checkpoint; --force starts over"
            raise StateError(str(self.folder), problem)
        if self._out.writable():
            self._out.truncate(length)
        elif actual != length:
            raise StateDamagedError(str(self.folder))
        self._out.seek(length)

    def write(self, rows: bytes) -> None:
        """Append rows. Raises `StateError`."""
        assert self._out is not None
        with as_state_error(self.folder):
            remaining = memoryview(rows)
            while remaining:
                remaining = remaining[self._out.write(remaining) :]

    def checkpoint(self, **meta: Any) -> None:
        """Sync the rows to disk, and commit the store together with `meta`. Raises `StateError`, `StoreError`."""
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
    def is_resumable(self) -> bool:
        """Whether `close` leaves the state to be resumed."""
        return self._resumable and bool(self.meta.get("next") or self.meta.get("complete"))

    def close(self) -> None:
        """Close the state, and remove it if there is nothing to resume."""
        self._close()
        if not self.is_resumable:
            self._discard()
            if self._is_own_folder:
                with contextlib.suppress(StateError):  # the next audit reports a folder that cannot be used
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

        The store is removed after the rows that it describes, and its journal last, since it is not detectable that a
        store without its journal is incomplete.
        """
        for name in sorted(self._state_folder.names(), key=lambda name: (name.startswith(STORE), name)):
            if _is_state_file(name) and name != LOCK:
                self._state_folder.unlink(name)


def _is_state_file(name: str) -> bool:
    return name in _FILE_NAMES or name.startswith(_TEMPORARY_PREFIX)


def _lock_folder(folder: StateFolder) -> IO[bytes]:
    """Lock a folder until the returned file is closed or this process ends. Raises `StateError`."""
    file = folder.open_file(LOCK, Access.APPEND_OR_CREATE)
    try:
        # If the file no longer has this name, the audit that had locked it has removed it.
        is_locked = try_lock(file.fileno()) and folder.has_name(file, LOCK)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return file  # on Windows, SQLite's lock suffices
        file.close()
        problem = f"cannot be locked: {reason(error)}; name another folder with --state"
        raise StateError(str(folder.path), problem) from None
    except BaseException:
        file.close()
        raise
    if not is_locked:
        file.close()
        raise StateError(str(folder.path), "another audit is using it; wait until it ends")
    return file
