"""Collect recorded responses as pytest tests: one collector per file, one test per record."""

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
    explain_result,
    load_settings,
    sanitize_text,
    shares_folder,
)

LINE_FILES: Final = (".jsonl", ".ndjson")
"""Extensions of files with one record per line."""

COMPRESSIONS: Final = (".gz", ".zst", ".bz2", ".xz", ".zip")
"""Extensions of compressed files; their records are not read, and one test fails with that reason."""

_BLOCK: Final = 256 * 1024
"""The number of bytes read at once to recognize a file's content."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""The payload ids that are used as test names: every terminal and shell can display and accept them."""


class RecordLocation(NamedTuple):
    """A record in a file.

    Attributes:
        name: the name of its test.
        line: its line, from 1.
        offset, size: its position in the file, in bytes.
        problem: why no record can be read; empty if one can.
    """

    name: str
    line: int
    offset: int
    size: int
    problem: str = ""


class UnreadableError(Exception):
    """A file contains no readable record; the message is the reason."""


def matches(path: Path, patterns: Sequence[str]) -> bool:
    """Whether a file, compressed or not, matches the configured patterns, ignoring case.

    Args:
        path: the file.
        patterns: the configured patterns; a pattern with a ``/`` is compared with the end of the path, any other with
            the file's name.
    """
    for pattern in patterns:
        text = (path.as_posix() if "/" in pattern else path.name).lower()
        expected = (f"*/{pattern.removeprefix('./')}" if "/" in pattern else pattern).lower()
        compression = Path(text).suffix
        if fnmatchcase(text, expected) or (
            compression in COMPRESSIONS and fnmatchcase(text.removesuffix(compression), expected)
        ):
            return True
    return False


def count_matching(folder: Path, patterns: Sequence[str]) -> int:
    """Count the files in a folder and below it that match the patterns; links to folders are not followed."""
    extensions = tuple({*COMPRESSIONS, *(Path(pattern.lower()).suffix for pattern in patterns)})
    literal = all(extension and not {"*", "?", "[", "]"}.intersection(extension) for extension in extensions)
    return sum(
        matches(Path(path, name), patterns)
        for path, _, names in os.walk(folder)
        for name in names
        if not literal
        or name.lower().endswith(extensions)  # fast path: a virtual environment has tens of thousands of other files
    )


def find_records(path: Path) -> list[RecordLocation]:
    """Return every record of a file: the whole file, or one record per line.

    Raises:
        UnreadableError: the file cannot be read, is compressed, has no record, or does not match its extension.
    """
    with _open_records(path) as file:
        if problem := _content_problem(file, lines=has_lines(path)):
            raise UnreadableError(problem)
        file.seek(0)
        found = list(_name_records(_read_lines(file) if has_lines(path) else _read_whole_file(file)))
    if not found:
        raise UnreadableError("contains no record")
    return found


def read_record(path: Path, record: RecordLocation) -> bytes:
    """Read the text of a record. Raises `UnreadableError`."""
    with _open_records(path) as file:
        file.seek(record.offset)
        return file.read(record.size)


@contextlib.contextmanager
def _open_records(path: Path) -> Iterator[BinaryIO]:
    """Open a file with records. Raises `UnreadableError`, also for a pipe, without waiting for its writer."""
    if path.suffix.lower() in COMPRESSIONS:
        raise UnreadableError("is compressed; hint: decompress it, or use nomyo-attest audit")
    try:
        if is_virtual_environment(path):
            raise UnreadableError(
                "contains recorded responses that pytest skips, because pyvenv.cfg or conda-meta marks the folder as a "
                "virtual environment; hint: remove that file, or pass --collect-in-virtualenv"
            )
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError("is not a regular file")
        with io.BufferedReader(io.FileIO(path, opener=_without_waiting)) as file:
            yield file
    except OSError as error:
        problem = "is a broken symbolic link" if path.is_symlink() and not path.exists() else "cannot be read"
        raise UnreadableError(f"{problem}: {error.strerror or type(error).__name__}") from None


def is_virtual_environment(path: Path) -> bool:
    """Whether pytest treats a folder as a virtual environment, and skips it."""
    return os.path.isfile(path / "pyvenv.cfg") or os.path.isfile(path / "conda-meta/history")  # noqa: PTH113 - never raises


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; if it was replaced by a pipe meanwhile, do not wait for its writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def has_lines(path: Path) -> bool:
    """Whether a file has one record per line."""
    return path.suffix.lower() in LINE_FILES


def _content_problem(file: BinaryIO, *, lines: bool) -> str:
    """Return why no record can be read, worded as in an audit; empty if no problem was found."""
    from nomyo_attest.evidence.content import can_classify_lines, lines_problem, one_record_problem
    from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX

    if not lines:
        return one_record_problem(file.read(RECORD_BYTES_MAX + 1))
    head, at_end = b"", False
    while not (at_end or can_classify_lines(head)):
        block = file.read(_BLOCK)
        head, at_end = head + block, not block
    return lines_problem(head, complete=at_end, by_extension=False)


def _read_whole_file(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yield the only record of a file: its line, offset and text."""
    from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX

    yield 1, 0, file.read(RECORD_BYTES_MAX + 1)


def _read_lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yield each non-blank line: its number, its offset, and its text, cut at the maximum size of a response."""
    from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX

    line = offset = 0
    while text := file.readline(RECORD_BYTES_MAX + 2):
        line, size = line + 1, len(text)
        if text.strip():
            yield line, offset, text.rstrip(b"\r\n")
        while not text.endswith(b"\n") and (text := file.readline(RECORD_BYTES_MAX)):
            size += len(text)
        offset += size


def _name_records(records: Iterator[tuple[int, int, bytes]]) -> Iterator[RecordLocation]:
    """Yield each record with a unique name: its payload id if that is a valid name, or its line, or both."""
    seen: set[str] = set()
    for line, offset, text in records:
        name = _payload_id(text) or f"line-{line}"
        while name in seen:  # a payload id may equal a generated name
            name = f"{name}-line-{line}"
        seen.add(name)
        yield RecordLocation(name, line, offset, len(text))


def _payload_id(text: bytes) -> str:
    """Return the payload id if it is a valid test name, else "". The test itself checks the id."""
    from nomyo_attest.audit.stored_evidence import RepairError, read_stored_evidence
    from nomyo_attest.errors import EvidenceError
    from nomyo_attest.evidence.strict_json import parse_record

    try:
        stored = read_stored_evidence(text)
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
    """A record's verdict is `warning`, because a rule that the policy softened does not hold; its test passes.

    It is also issued for files with records that pytest does not collect.
    """


class RecordFile(pytest.File):
    """A file with one recorded response, or with one on each line."""

    @classmethod
    def from_parent(cls, parent: Any, *, path: Path | None = None, **options: Any) -> Self:
        """Create a collector with sanitized name and id: pytest prints them, and file names may contain anything."""
        collector: Self = super().from_parent(parent, path=path, **options)
        name, nodeid = (sanitize_text(text).replace("::", "\\x3a:") for text in (collector.name, collector.nodeid))
        if (name, nodeid) == (collector.name, collector.nodeid):
            return collector
        return super().from_parent(parent, path=path, name=name, nodeid=nodeid, **options)

    def collect(self) -> Iterator[RecordItem]:
        """Yield one test per record; if no record can be read, yield one test that fails with the reason."""
        try:
            found = find_records(self.path)
        except UnreadableError as error:
            found = [RecordLocation("record", 1, 0, 0, str(error))]
        for record in found:
            yield RecordItem.from_parent(self, name=record.name, found=record)


class RecordItem(pytest.Item):
    """One recorded response. Its test passes if the policy affirms its evidence, or softens the failed rules."""

    def __init__(self, *, found: RecordLocation, **options: Any) -> None:
        super().__init__(**options)
        self.found = found

    def runtest(self) -> None:
        """Appraise the record. Raises `RefusedError`."""
        from nomyo_attest.report.formatting import sanitize

        settings = load_settings(self.config)
        if settings.policy is None or settings.path is None:
            raise RefusedError("no policy is configured", f"{self._place}: {NO_POLICY}")
        if shares_folder(settings.path, self.path):
            raise RefusedError(
                "the policy is in the folder of the evidence",
                f"{self._place}: the policy is in the folder of this evidence, or below it: "
                f"{sanitize(str(settings.path))}"
                "\nhint: keep the policy outside folders with evidence, as anyone who adds evidence could replace it",
            )
        result = appraise_record(self._text(), settings.policy, settings.at, self._place)
        brief, text = explain_result(self._place, result, settings.policy, verbose=self.config.getoption("verbose") > 1)
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

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        """Return the findings, with the record's place and no traceback; summaries show only the reason."""
        if not isinstance(excinfo.value, RefusedError):
            return super().repr_failure(excinfo, *args)
        shown = excinfo.getrepr(style="value")
        if shown.reprcrash is not None:
            shown.reprcrash.path, shown.reprcrash.lineno = sanitize_text(str(self.path)), self.found.line
            shown.reprcrash.message = excinfo.value.brief
        return shown

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the file, line and name of the test."""
        return Path(sanitize_text(str(self.path))), self.found.line - 1, self.name


def warn(node: pytest.Item | pytest.Collector, text: str) -> None:
    """Issue an `AttestationWarning`; `filterwarnings = error` does not turn this warning into a failure."""
    warning = AttestationWarning(text)
    try:
        node.warn(warning)
    except AttestationWarning:
        with warnings.catch_warnings():
            warnings.simplefilter("always", AttestationWarning)
            node.warn(warning)


class SkippedPaths:
    """Find matching special files, and folders with matching files, that pytest skips in a folder that it collects.

    Args:
        folder: the folder.
        patterns: patterns of the files with records.
        collected: the collectors that pytest created in the folder.
    """

    def __init__(self, folder: pytest.Collector, patterns: Sequence[str], collected: Iterable[object]) -> None:
        self._folder = folder
        self._patterns = patterns
        self._collected = {getattr(collector, "path", None) for collector in collected}
        self._hidden: list[Path] = []
        self._counts: dict[Path, int] = {}
        for path in self._skipped():
            if count := count_matching(path, patterns):
                excluded = any(fnmatch(path.name, pattern) for pattern in folder.config.getini("norecursedirs"))
                if is_virtual_environment(path) and not excluded:
                    self._hidden.append(path)
                else:
                    self._counts[path] = count

    def _skipped(self) -> Iterator[Path]:
        """Yield the folders that pytest skips, except those of version control or excluded on the command line."""
        option = self._folder.config.getoption
        ignored = {os.path.abspath(path) for path in option("ignore") or ()}  # noqa: PTH100 - as pytest reads them
        globs = [os.path.abspath(pattern) for pattern in option("ignore_glob") or ()]  # noqa: PTH100
        for path in sorted(self._folder.path.iterdir()):
            if path.name in _VERSION_CONTROL or path in self._collected or not path.is_dir():
                continue
            if str(path) not in ignored and not any(fnmatch(str(path), pattern) for pattern in globs):
                yield path

    def files(self) -> Iterator[RecordFile]:
        """Yield collectors whose tests fail: for each matching broken link, pipe, socket or device, and for each folder
        with records that a file in it marks as a virtual environment.
        """
        for path in sorted(self._folder.path.iterdir()):
            if not matches(path, self._patterns) or os.path.isfile(path) or path.is_dir():  # noqa: PTH113 - never raises
                continue
            if not self._folder.ihook.pytest_ignore_collect(collection_path=path, config=self._folder.config):
                yield RecordFile.from_parent(self._folder, path=path)
        for path in self._hidden:
            yield RecordFile.from_parent(self._folder, path=path)

    def warn(self) -> None:
        """Warn of matching files in other folders that pytest skips."""
        for path, count in self._counts.items():
            files = "a file" if count == 1 else f"{count} files"
            warn(
                self._folder,
                f"{sanitize_text(str(path))}: {files} with recorded responses not collected: pytest skips this folder; "
                "name it on the command line, or change norecursedirs",
            )
