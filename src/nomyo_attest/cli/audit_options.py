"""Check the options of `nomyo-attest audit`, before any record is read."""

from __future__ import annotations

import math
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from nomyo_attest.cli.arguments import parse_time
from nomyo_attest.cli.errors import CommandError
from nomyo_attest.cli.files import STANDARD_INPUT, check_inputs, check_output, check_present
from nomyo_attest.report.formats import FORMATS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from nomyo_attest.audit.formats import Output

STANDARD_OUTPUT: Final = "-"

_RENAMED: Final = {"series": "cross-record"}
"""Former value of ``--fail-on``, which existing scripts may use → its current name."""

_DURATION: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class AuditSettings(NamedTuple):
    """The parsed options of an audit, without those that `nomyo_attest.audit.run.AuditRequest` accepts unchanged."""

    at: datetime | None
    since: int | None
    until: int | None
    select: frozenset[str]
    fail_on: frozenset[str]
    max_failures: int
    allow_no_evidence: bool
    allow_undated: bool
    max_gap: int | None


def read_settings(arguments: argparse.Namespace, reports: Reports) -> AuditSettings:
    """Parse and check the options; reads neither the policy nor the sources. Raises `CommandError`."""
    from nomyo_attest.audit.row import VERDICTS

    check_inputs(arguments.sources)
    check_present(arguments.sources)
    if arguments.column is not None and not _is_utf_8(arguments.column):
        raise CommandError("--column: expected a name in UTF-8, as the columns of Parquet files have, got other bytes")
    if arguments.processes is not None and arguments.processes < 1:
        raise CommandError(f"--processes: expected 1 or more, got {arguments.processes}")
    if arguments.max_failures < 0:
        raise CommandError(f"--max-failures: expected 0 or more, got {arguments.max_failures}")
    if arguments.resume and reports.state is None:
        raise CommandError("--resume: an audit without --out or --state has no stored state; add one of them")
    if arguments.resume and STANDARD_INPUT in arguments.sources:
        raise CommandError("--resume: standard input (-) cannot be read again; write the records to a file first")
    if arguments.github and arguments.format == "json":
        raise CommandError("--github and --format json both write to standard output; use only one of them")
    if arguments.github and STANDARD_OUTPUT in arguments.out:
        raise CommandError("--github and --out - both write to standard output; use only one of them")
    since = _parse_seconds(arguments.since, "--since")
    until = _parse_seconds(arguments.until, "--until")
    if since is not None and until is not None and since >= until:
        raise CommandError("--until: expected a time after --since")
    fail_on = _parse_fail_on(arguments.fail_on)
    select = frozenset(VERDICTS) if arguments.select is None else _parse_words(arguments.select, "--select", VERDICTS)
    if "outside" in fail_on and since is None and until is None:
        raise CommandError("--fail-on outside: requires a time window; add --since or --until")
    return AuditSettings(
        at=parse_time(arguments.at) if arguments.at is not None else None,
        since=since,
        until=until,
        select=select,
        fail_on=fail_on,
        max_failures=arguments.max_failures,
        allow_no_evidence=arguments.allow_no_evidence,
        allow_undated=arguments.allow_undated,
        max_gap=_parse_duration(arguments.max_gap) if arguments.max_gap is not None else None,
    )


def _parse_fail_on(text: str | None) -> frozenset[str]:
    from nomyo_attest.audit.summarize import FAIL_ON, FAIL_ON_DEFAULT, FAIL_ON_NOTHING

    if text is None:
        return FAIL_ON_DEFAULT
    return (
        frozenset()
        if text == FAIL_ON_NOTHING
        else _parse_words(text, "--fail-on", FAIL_ON, alone=f"; or {FAIL_ON_NOTHING} alone")
    )


def _parse_words(text: str, option: str, known: tuple[str, ...], *, alone: str = "") -> frozenset[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            from difflib import get_close_matches

            choice = f"{', '.join(known)}, separated by commas{alone}"
            close = [new for old, new in _RENAMED.items() if old == word and new in known]
            close = close or get_close_matches(word.lower(), known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise CommandError(f"{option}: invalid value {word[:80]!r}{hint} (choose from {choice})")
    return frozenset(words)


def _parse_seconds(text: str | None, option: str) -> int | None:
    """Parse a time as seconds since 1970. Records have whole seconds, so a fraction is rounded up."""
    if text is None:
        return None
    seconds = math.ceil(parse_time(text, option).timestamp())
    try:
        datetime.fromtimestamp(seconds, UTC)  # the summary prints the time in this form
    except (ValueError, OverflowError):
        raise CommandError(f"{option}: expected a time in the years 1 to 9999 of UTC, got {text!r}") from None
    return seconds


def _parse_duration(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise CommandError(f"--max-gap: invalid duration {text[:80]!r}; write a number and s, m, h or d, such as 15m")
    return int(found[1]) * _SECONDS[found[2]]


class Reports:
    """The outputs of an audit.

    Attributes:
        outputs: files of rows.
        streams: whether rows are written to standard output.
        texts: kind of report → its file.
        cross_record: the file of the findings across records.
        affected: the file of all records in these findings.
        files: the names of all files.
        state: the folder of the audit's state; None for a temporary one.
        docs_url: the address of the page of rules; None if the option is missing.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        from nomyo_attest.audit.formats import OutputError, parse_output

        values_of = {name: [getattr(arguments, name)] for name in (*FORMATS, "cross_record", "affected", "state")}
        for option, values in (values_of | {"out": arguments.out}).items():
            if "" in values:  # such as an unset shell variable; as --state it would mean the working directory
                raise CommandError(f"--{option.replace('_', '-')}: expected a name, got an empty string")
        self.streams = STANDARD_OUTPUT in arguments.out
        names = [name for name in arguments.out if name != STANDARD_OUTPUT]
        try:
            self.outputs: list[Output] = [parse_output(name) for name in names]
        except OutputError as error:
            raise CommandError(str(error)) from None
        self.texts: dict[str, str] = {
            kind: getattr(arguments, kind) for kind in FORMATS if getattr(arguments, kind) is not None
        }
        self.cross_record: str | None = arguments.cross_record
        self.affected: str | None = arguments.affected
        self.files: list[str] = [*names, *self.texts.values(), *filter(None, [self.cross_record, self.affected])]
        self.docs_url: str | None = arguments.docs_url
        self.state: Path | None = None
        if arguments.state is not None:
            self.state = Path(arguments.state)
        elif names:
            self.state = Path(f"{names[0]}.audit-state")

    def refuse_conflicts(self, sources: Sequence[str], policy: str) -> None:
        """Refuse an output that is also another output, a source, the policy, or in the state folder.

        Raises `CommandError`.
        """
        from nomyo_attest.audit.sources.source import kind_of

        real = [(name, _real_path(name)) for name in self.files]
        state = None if self.state is None else _real_path(str(self.state))
        for position, (name, path) in enumerate(real):
            if name == STANDARD_OUTPUT:
                raise CommandError(f"{name}: only --out writes to standard output; name a file")
            if path in {other for _, other in real[:position]}:
                raise CommandError(f"{name}: two outputs have this name; choose different names")
            if path == _real_path(policy):
                raise CommandError(f"{name}: this output is the policy file; choose another name")
            if state is not None and f"{path}/".startswith(f"{state}/"):
                raise CommandError(f"{name}: this output is in the folder of the audit's state; choose another name")
        folders = [(name, _real_path(name)) for name in sources if name != STANDARD_INPUT]
        for name, path in real:
            for source, folder in folders:
                inside = kind_of(name) is not None and path.startswith(f"{folder.rstrip('/')}/")
                if path == folder or inside:
                    problem = (
                        f"this output is in {source}, where it would be read as records"
                        if inside
                        else "this output is a source"
                    )
                    raise CommandError(f"{name}: {problem}; choose another name")

    def refuse_existing(self, *, force: bool) -> None:
        """Refuse outputs that exist or cannot be written. Raises `CommandError`."""
        for name in self.files:
            check_output(name, force=force, hint="name another")
        if self.state is not None and not self.state.parent.is_dir():
            raise CommandError(f"{self.state}: its parent folder does not exist; create it first")


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _real_path(name: str) -> str:
    try:
        return os.path.realpath(name)
    except (OSError, ValueError):
        return name
