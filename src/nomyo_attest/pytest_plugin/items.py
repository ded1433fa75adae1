"""Files with recorded responses and the records in them, as pytest collects and runs them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Self

import pytest

from nomyo_attest.pytest_plugin.appraising import RefusedError, appraise_record, told
from nomyo_attest.pytest_plugin.files import (
    Found,
    UnreadableError,
    count_matching,
    find_records,
    has_lines,
    is_virtual_environment,
    matches,
    read_record,
)
from nomyo_attest.pytest_plugin.settings import NO_POLICY, settings_of, shares_folder

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
        name, nodeid = (_clean(text).replace("::", "\\x3a:") for text in (made.name, made.nodeid))
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
        brief, text = told(self._place, result, settings.policy, verbose=self.config.getoption("verbose") > 1)
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
            shown.reprcrash.path, shown.reprcrash.lineno = _clean(str(self.path)), self.found.line
            shown.reprcrash.message = excinfo.value.brief
        return shown

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands, and its name."""
        return Path(_clean(str(self.path))), self.found.line - 1, self.name


def _clean(text: str) -> str:
    from nomyo_attest.report.formatting import sanitize

    return sanitize(text)


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
        for path in self._passed_over():
            if count := count_matching(path, patterns):
                usual = any(fnmatch(path.name, one) for one in folder.config.getini("norecursedirs"))
                if is_virtual_environment(path) and not usual:
                    self._hidden.append(path)
                else:
                    self._counts[path] = count

    def _passed_over(self) -> Iterator[Path]:
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
                f"{_clean(str(path))}: {files} with recorded responses not collected: pytest passes over this folder; "
                "name it on the command line, or set norecursedirs",
            )
