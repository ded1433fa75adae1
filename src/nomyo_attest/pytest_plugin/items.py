"""Files with recorded responses and the records in them, as pytest collects and runs them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from nomyo_attest.pytest_plugin.appraising import RefusedError, appraise_record, told
from nomyo_attest.pytest_plugin.files import Found, find_records, has_lines
from nomyo_attest.pytest_plugin.settings import NO_POLICY, settings_of


class AttestationWarning(pytest.PytestWarning):
    """A record's verdict is `warning`: rules that the policy softened do not hold. Its test passes all the same."""


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
            found = find_records(self.path) or [Found("record", 1, 0, 0, "there is no record in this file")]
        except OSError as error:
            found = [Found("record", 1, 0, 0, _unreadable(error))]
        for one in found:
            yield RecordItem.from_parent(self, name=one.name, found=one)


class RecordItem(pytest.Item):
    """One recorded response. Its test passes if the policy affirms its evidence, or softens what does not hold."""

    def __init__(self, *, found: Found, **more: Any) -> None:
        super().__init__(**more)
        self.found = found

    def runtest(self) -> None:
        """Appraise it. Raises `RefusedError`."""
        settings = settings_of(self.config)
        if settings.policy is None:
            raise RefusedError("no policy is configured", f"{self._place}: {NO_POLICY}")
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
                with self.path.open("rb") as file:
                    file.seek(self.found.offset)
                    return file.read(self.found.size)
            except OSError as error:
                problem = _unreadable(error)
        raise RefusedError(problem, f"{self._place}: {problem}")

    def _warn(self, text: str) -> None:
        warning = AttestationWarning(text)
        try:
            self.warn(warning)
        except AttestationWarning:  # the policy says that it passes: filterwarnings = error is about other warnings
            with warnings.catch_warnings():
                warnings.simplefilter("always", AttestationWarning)
                self.warn(warning)

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


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror or type(error).__name__}"
