"""Files with recorded responses and the records in them, as pytest collects and runs them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from nomyo_attest.pytest_plugin.appraising import RefusedError, appraise_record, told
from nomyo_attest.pytest_plugin.files import Found, UnreadableError, find_records, has_lines, matches, read_record
from nomyo_attest.pytest_plugin.settings import NO_POLICY, settings_of, shares_folder


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
        from nomyo_attest.report.clean import clean

        settings = settings_of(self.config)
        if settings.policy is None or settings.path is None:
            raise RefusedError("no policy is configured", f"{self._place}: {NO_POLICY}")
        if shares_folder(settings.path, self.path):
            raise RefusedError(
                "the policy is in the folder of the evidence",
                f"{self._place}: the policy is in the folder of this evidence, or below it: {clean(str(settings.path))}"
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
    from nomyo_attest.report.clean import clean

    return clean(text)


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
    """What pytest leaves out of a folder that it collects: special files, and folders of build products."""

    def __init__(self, folder: pytest.Collector, patterns: Sequence[str]) -> None:
        self._folder = folder
        self._patterns = patterns

    def files(self) -> Iterator[RecordFile]:
        """Matching names that are not regular files: links to nothing, pipes, sockets, devices. Their tests fail."""
        for path in sorted(self._folder.path.iterdir()):
            if not matches(path, self._patterns) or os.path.isfile(path) or path.is_dir():  # noqa: PTH113 - never raises
                continue
            if not self._folder.ihook.pytest_ignore_collect(collection_path=path, config=self._folder.config):
                yield RecordFile.from_parent(self._folder, path=path)

    def warn(self) -> None:
        """Warn of matching files in folders that pytest passes over by default."""
        passed_over = {"build", "dist"}.intersection(self._folder.config.getini("norecursedirs"))
        for path in (self._folder.path / name for name in sorted(passed_over)):
            count = sum(matches(one, self._patterns) for one in path.rglob("*") if not one.is_dir())
            if count:
                files = "a file" if count == 1 else f"{count} files"
                warn(
                    self._folder,
                    f"{path}: {files} with recorded responses not collected: pytest passes over folders of this name; "
                    "name the folder on the command line, or set norecursedirs",
                )
