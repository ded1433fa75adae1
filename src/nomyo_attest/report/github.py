"""Format the incidents of an audit as workflow commands of GitHub Actions, which shows them beside the files.

``::error file=recorded.jsonl,line=12,title=One machine booted …::…``: one for each incident. GitHub shows ten errors
and ten warnings of a step and silently drops the others, so the tenth states how many more there are.
"""

# No import of annotations from __future__: a function below has that name.

from collections.abc import Iterable
from typing import Final, NamedTuple

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.causes import NOT_AFFIRMED, REMEDIATION_RELEASED, outside_text, released_text
from nomyo_attest.report.formatting import count, escape_commands, sanitize, sentence
from nomyo_attest.report.incidents import Incident, Kind, incidents
from nomyo_attest.report.incidents.plain import facts, place_of

SHOWN: Final = 10
"""Maximum errors, and maximum warnings, that GitHub shows for one step."""


class _Annotation(NamedTuple):
    source: str
    line: int
    title: str
    message: str


def annotations(summary: Summary) -> str:
    """Return one workflow command per line, with line ends; empty if there is nothing to report.

    Errors are records that were released though not affirmed, and incidents; warnings are incidents of rules that the
    policy softens; a notice says how many records are outside the window by the server's own time.
    """
    found = incidents(summary)
    errors = [*_released(summary), *(_of(one) for one in found if one.kind is not Kind.WARNING)]
    warnings = [_of(one) for one in found if one.kind is Kind.WARNING]
    notices = []
    if summary.outside_by_server:
        message = f"{count(summary.outside, 'record')} outside the time asked for: {outside_text(summary)}"
        notices.append(_Annotation("-", 0, "outside the time asked for", sentence(message)))
    return "".join([*_commands("error", errors), *_commands("warning", warnings), *_commands("notice", notices)])


def _commands(kind: str, found: list[_Annotation]) -> Iterable[str]:
    total = len(found)
    shown = found if total <= SHOWN else found[: SHOWN - 1]
    for one in shown:
        properties = [("title", one.title)]
        if one.source != "-":  # GitHub cannot show standard input
            properties = [("file", one.source), ("line", str(max(one.line, 1))), *properties]
        yield _command(kind, properties, one.message)
    if total > len(shown):
        left = count(total - len(shown), f"more {kind}")
        message = f"{left}, which GitHub would not show. The summary of the job and the verdicts have all of them."
        yield _command(kind, [("title", left)], message)


def _command(kind: str, properties: Iterable[tuple[str, str]], message: str) -> str:
    return f"::{kind} {','.join(f'{name}={_property(value)}' for name, value in properties)}::{_data(message)}\n"


def _data(text: str) -> str:
    """Escape text for the runner, so that a line end in it does not begin a new line of the log."""
    return escape_commands(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(sanitize(text)).replace(":", "%3A").replace(",", "%2C")


def _released(summary: Summary) -> Iterable[_Annotation]:
    if summary.released.not_affirmed:
        lines = [sentence(f"{NOT_AFFIRMED}: {released_text(summary.released)}"), sentence(REMEDIATION_RELEASED)]
        yield _Annotation("-", 0, NOT_AFFIRMED.lower(), "\n".join(lines))


def _of(incident: Incident) -> _Annotation:
    place = place_of(incident)
    source, line = ("-", 0) if place is None else (place.source, place.line)
    return _Annotation(source, line, incident.title, "\n".join([*facts(incident), incident.remediation]).rstrip())
