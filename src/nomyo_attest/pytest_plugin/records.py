"""Recorded responses as pytest collects and runs them: the files, the records in them, and their tests."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch, fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self

import pytest

from nomyo_attest.pytest_plugin.appraising import (
    NO_POLICY,
    RefusedError,
    appraise_record,
    explanation,
    sanitized,
    settings_of,
    shares_folder,
)

LINE_FILES: Final = (".jsonl", ".ndjson")
"""Endings of names of files with a record a line."""

PACKINGS: Final = (".gz", ".zst", ".bz2", ".xz", ".zip")
"""Endings of names of packed files: their records are not read, and one test fails and says so."""

_BLOCK: Final = 256 * 1024
"""Bytes read at once to recognize a file's content."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""Payload ids that may name a test: no other can be typed, and read back, in every terminal and shell."""


class Found(NamedTuple):
    """A record in a file: its name as a test, its line from 1, where it begins and how long it is, in bytes; why there
    is none, if so.
    """

    name: str
    line: int
    offset: int
    size: int
    problem: str = ""


class UnreadableError(Exception):
    """A file has no records that can be tests. The text is the reason."""


def matches(path: Path, patterns: Sequence[str]) -> bool:
    """Whether the configuration names a file, in upper or lower case, packed or not.

    Args:
        path: the file.
        patterns: what the configuration names: with a ``/`` the end of the path, without one the name.
    """
    for pattern in patterns:
        text = (path.as_posix() if "/" in pattern else path.name).lower()
        wanted = (f"*/{pattern.removeprefix('./')}" if "/" in pattern else pattern).lower()
        packing = Path(text).suffix
        if fnmatchcase(text, wanted) or (packing in PACKINGS and fnmatchcase(text.removesuffix(packing), wanted)):
            return True
    return False


def count_matching(folder: Path, patterns: Sequence[str]) -> int:
    """How many files in a folder and below it the configuration names; links to folders are not followed."""
    endings = tuple({*PACKINGS, *(Path(pattern.lower()).suffix for pattern in patterns)})
    literal = all(ending and not {"*", "?", "[", "]"}.intersection(ending) for ending in endings)
    return sum(
        matches(Path(path, name), patterns)
        for path, _, names in os.walk(folder)
        for name in names
        if not literal or name.lower().endswith(endings)  # a virtual environment has tens of thousands of others
    )


def find_records(path: Path) -> list[Found]:
    """Every record of a file: its only one, or one a line.

    Raises:
        UnreadableError: if it cannot be read, is packed, has no record, or is not what its name says.
    """
    with _opened(path) as file:
        if problem := _content_problem(file, lines=has_lines(path)):
            raise UnreadableError(problem)
        file.seek(0)
        found = list(_named(_lines(file) if has_lines(path) else _whole(file)))
    if not found:
        raise UnreadableError("there is no record in this file")
    return found


def read_record(path: Path, record: Found) -> bytes:
    """The text of a record that was found. Raises `UnreadableError`."""
    with _opened(path) as file:
        file.seek(record.offset)
        return file.read(record.size)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file with records, open. Raises `UnreadableError`, also for a pipe, which is not waited for."""
    if path.suffix.lower() in PACKINGS:
        raise UnreadableError("is packed, and only unpacked files become tests; hint: unpack it, or run an audit")
    try:
        if is_virtual_environment(path):
            raise UnreadableError(
                "has recorded responses that pytest passes over: pyvenv.cfg or conda-meta makes the folder a virtual "
                "environment; hint: remove that file, or give --collect-in-virtualenv"
            )
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError("is not a regular file")
        with io.BufferedReader(io.FileIO(path, opener=_without_waiting)) as file:
            yield file
    except OSError as error:
        what = "is a symbolic link to nothing" if path.is_symlink() and not path.exists() else "cannot be read"
        raise UnreadableError(f"{what}: {error.strerror or type(error).__name__}") from None


def is_virtual_environment(path: Path) -> bool:
    """Whether pytest takes a folder for a virtual environment, and passes over it."""
    return os.path.isfile(path / "pyvenv.cfg") or os.path.isfile(path / "conda-meta/history")  # noqa: PTH113 - never raises


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; if it has become a pipe meanwhile, do not wait for its other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def has_lines(path: Path) -> bool:
    """Whether a file has a record a line."""
    return path.suffix.lower() in LINE_FILES


def _content_problem(file: BinaryIO, *, lines: bool) -> str:
    """Why no record can be read from a file, as an audit says it; empty if one may be."""
    from nomyo_attest.evidence.content import can_classify_lines, lines_problem, one_record_problem
    from nomyo_attest.evidence.strict_json import TEXT_MAX

    if not lines:
        return one_record_problem(file.read(TEXT_MAX + 1))
    head, ended = b"", False
    while not (ended or can_classify_lines(head)):
        block = file.read(_BLOCK)
        head, ended = head + block, not block
    return lines_problem(head, complete=ended, by_extension=False)


def _whole(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """The one record of a file: line, offset, text."""
    from nomyo_attest.evidence.strict_json import TEXT_MAX

    yield 1, 0, file.read(TEXT_MAX + 1)


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Each line that is not blank: its number, its offset, and its text as far as any response may be long."""
    from nomyo_attest.evidence.strict_json import TEXT_MAX

    line = offset = 0
    while text := file.readline(TEXT_MAX + 2):
        line, size = line + 1, len(text)
        if text.strip():
            yield line, offset, text.rstrip(b"\r\n")
        while not text.endswith(b"\n") and (text := file.readline(TEXT_MAX)):
            size += len(text)
        offset += size


def _named(records: Iterator[tuple[int, int, bytes]]) -> Iterator[Found]:
    """Each record with a name that no other one has: its payload id, if that can be a name, or its line, or both."""
    seen: set[str] = set()
    for line, offset, text in records:
        name = _payload_id(text) or f"line-{line}"
        while name in seen:  # a payload id may look like a name that was made here
            name = f"{name}-line-{line}"
        seen.add(name)
        yield Found(name, line, offset, len(text))


def _payload_id(text: bytes) -> str:
    """The payload id as far as it serves as a name; empty if it does not. It is judged when the test runs."""
    from nomyo_attest.audit.stored_evidence import RepairError, unwrap
    from nomyo_attest.errors import EvidenceError
    from nomyo_attest.evidence.strict_json import parse_record

    try:
        stored = unwrap(text)
        document = parse_record(text) if stored is None else stored.evidence
    except (EvidenceError, RepairError):
        return ""
    for holder in (document, document.get("_metadata") if isinstance(document, dict) else None):
        name = holder.get("payload_id") if isinstance(holder, dict) else None
        if isinstance(name, str) and _NAME.fullmatch(name):
            return name
    return ""


_VERSION_CONTROL: Final = frozenset({".git", ".hg", ".svn"})


class AttestationWarning(pytest.PytestWarning):
    """A record's verdict is `warning`: rules that the policy softened do not hold. Its test passes all the same. Or
    files with records were not collected.
    """


class RecordFile(pytest.File):
    """A file with recorded responses: one, or one a line."""

    @classmethod
    def from_parent(cls, parent: Any, *, path: Path | None = None, **more: Any) -> Self:
        """As in pytest, which prints name and id; both are cleaned, since the file's name may be anything."""
        made: Self = super().from_parent(parent, path=path, **more)
        name, nodeid = (sanitized(text).replace("::", "\\x3a:") for text in (made.name, made.nodeid))
        if (name, nodeid) == (made.name, made.nodeid):
            return made
        return super().from_parent(parent, path=path, name=name, nodeid=nodeid, **more)

    def collect(self) -> Iterator[RecordItem]:
        """One test a record; where there is none to be read, one that fails and says why."""
        try:
            found = find_records(self.path)
        except UnreadableError as error:
            found = [Found("record", 1, 0, 0, str(error))]
        for one in found:
            yield RecordItem.from_parent(self, name=one.name, found=one)


class RecordItem(pytest.Item):
    """One recorded response. Its test passes if the policy affirms its evidence, or softens what does not hold."""

    def __init__(self, *, found: Found, **more: Any) -> None:
        super().__init__(**more)
        self.found = found

    def runtest(self) -> None:
        """Appraise it. Raises `RefusedError`."""
        from nomyo_attest.report.formatting import sanitize

        settings = settings_of(self.config)
        if settings.policy is None or settings.path is None:
            raise RefusedError("no policy is configured", f"{self._place}: {NO_POLICY}")
        if shares_folder(settings.path, self.path):
            raise RefusedError(
                "the policy is in the folder of the evidence",
                f"{self._place}: the policy is in the folder of this evidence, or below it: "
                f"{sanitize(str(settings.path))}"
                "\nhint: keep the policy outside all folders with evidence; who can add evidence could replace it",
            )
        result = appraise_record(self._text(), settings.policy, settings.at, self._place)
        brief, text = explanation(self._place, result, settings.policy, verbose=self.config.getoption("verbose") > 1)
        if result.verdict.value == "warning":
            self.add_report_section("call", "attestation", text)
            self._warn(f"{self._place}: {brief}")
        elif result.verdict.value != "affirming":
            raise RefusedError(brief, text)

    @property
    def _place(self) -> str:
        file = self.nodeid.partition("::")[0]
        return f"{file}:{self.found.line}" if has_lines(self.path) else file

    def _text(self) -> bytes:
        problem = self.found.problem
        if not problem:
            try:
                return read_record(self.path, self.found)
            except UnreadableError as error:
                problem = str(error)
        raise RefusedError(problem, f"{self._place}: {problem}")

    def _warn(self, text: str) -> None:
        warn(self, text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *more: Any) -> Any:
        """The findings, and in summaries the reason, with the record's place and no traceback."""
        if not isinstance(excinfo.value, RefusedError):
            return super().repr_failure(excinfo, *more)
        shown = excinfo.getrepr(style="value")
        if shown.reprcrash is not None:
            shown.reprcrash.path, shown.reprcrash.lineno = sanitized(str(self.path)), self.found.line
            shown.reprcrash.message = excinfo.value.brief
        return shown

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands, and its name."""
        return Path(sanitized(str(self.path))), self.found.line - 1, self.name


def warn(node: pytest.Item | pytest.Collector, text: str) -> None:
    """Issue an `AttestationWarning`; filterwarnings = error is about other warnings, and does not make it fail."""
    warning = AttestationWarning(text)
    try:
        node.warn(warning)
    except AttestationWarning:
        with warnings.catch_warnings():
            warnings.simplefilter("always", AttestationWarning)
            node.warn(warning)


class Missed:
    """What pytest leaves out of a folder that it collects: special files, and folders that it passes over.

    Args:
        folder: the folder.
        patterns: names of the files with records.
        collected: what pytest collected in the folder.
    """

    def __init__(self, folder: pytest.Collector, patterns: Sequence[str], collected: Iterable[object]) -> None:
        self._folder = folder
        self._patterns = patterns
        self._collected = {getattr(one, "path", None) for one in collected}
        self._hidden: list[Path] = []
        self._counts: dict[Path, int] = {}
        for path in self._skipped():
            if count := count_matching(path, patterns):
                usual = any(fnmatch(path.name, one) for one in folder.config.getini("norecursedirs"))
                if is_virtual_environment(path) and not usual:
                    self._hidden.append(path)
                else:
                    self._counts[path] = count

    def _skipped(self) -> Iterator[Path]:
        """The folders that pytest passes over, but for those of version control and those that the command line leaves
        out.
        """
        option = self._folder.config.getoption
        ignored = {os.path.abspath(one) for one in option("ignore") or ()}  # noqa: PTH100 - as pytest reads them
        globs = [os.path.abspath(one) for one in option("ignore_glob") or ()]  # noqa: PTH100
        for path in sorted(self._folder.path.iterdir()):
            if path.name in _VERSION_CONTROL or path in self._collected or not path.is_dir():
                continue
            if str(path) not in ignored and not any(fnmatch(str(path), one) for one in globs):
                yield path

    def files(self) -> Iterator[RecordFile]:
        """Matching names that are not regular files: links to nothing, pipes, sockets, devices. Their tests fail, and
        so does one for a folder with records that a file in it makes a virtual environment.
        """
        for path in sorted(self._folder.path.iterdir()):
            if not matches(path, self._patterns) or os.path.isfile(path) or path.is_dir():  # noqa: PTH113 - never raises
                continue
            if not self._folder.ihook.pytest_ignore_collect(collection_path=path, config=self._folder.config):
                yield RecordFile.from_parent(self._folder, path=path)
        for path in self._hidden:
            yield RecordFile.from_parent(self._folder, path=path)

    def warn(self) -> None:
        """Warn of matching files in other folders that pytest passes over."""
        for path, count in self._counts.items():
            files = "a file" if count == 1 else f"{count} files"
            warn(
                self._folder,
                f"{sanitized(str(path))}: {files} with recorded responses not collected: pytest skips this folder; "
                "name it on the command line, or set norecursedirs",
            )
