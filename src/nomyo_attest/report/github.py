"""Format the incidents of an audit as workflow commands of GitHub Actions, which shows them beside the files.

``::error file=recorded.jsonl,line=12,title=One machine booted …::…``: one for each incident. GitHub shows ten errors
and ten warnings of a step and silently drops the others, so the tenth states how many more there are.
"""

# annotations is not imported from __future__, because a function below has that name.

from collections.abc import Iterable
from typing import Final, NamedTuple

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.causes import RELEASED_NOT_AFFIRMED, REMEDIATION_RELEASED, outside_text, released_text
from nomyo_attest.report.formatting import count, escape_commands, sanitize, sentence
from nomyo_attest.report.incidents import Incident, Kind, incidents
from nomyo_attest.report.incidents.plain import fact_sentences, place_of

SHOWN_MAXIMUM: Final = 10
"""Maximum errors, and maximum warnings, that GitHub shows for one step."""


class _Annotation(NamedTuple):
    source: str
    line: int
    title: str
    message: str


def annotations(summary: Summary) -> str:
    """Return workflow commands, each with a final newline; empty if there is nothing to report.

    Errors are incidents, and records that were released though not affirmed. Warnings are incidents of rules that the
    policy makes a warning. A notice states how many records are outside the window by the server's own time.
    """
    listed = incidents(summary)
    errors = [*_released(summary), *(_annotation(incident) for incident in listed if incident.kind is not Kind.WARNING)]
    warnings = [_annotation(incident) for incident in listed if incident.kind is Kind.WARNING]
    notices = []
    if summary.outside_by_server:
        message = f"{count(summary.outside, 'record')} outside the window: {outside_text(summary)}"
        notices.append(_Annotation("-", 0, "outside the window", sentence(message)))
    return "".join([*_commands("error", errors), *_commands("warning", warnings), *_commands("notice", notices)])


def _commands(kind: str, all_annotations: list[_Annotation]) -> Iterable[str]:
    total = len(all_annotations)
    shown = all_annotations if total <= SHOWN_MAXIMUM else all_annotations[: SHOWN_MAXIMUM - 1]
    for annotation in shown:
        properties = [("title", annotation.title)]
        if annotation.source != "-":  # GitHub cannot show standard input
            properties = [("file", annotation.source), ("line", str(max(annotation.line, 1))), *properties]
        yield _command(kind, properties, annotation.message)
    if total > len(shown):
        omitted = count(total - len(shown), f"more {kind}")
        message = f"{omitted}, which GitHub would not show. The summary of the job and the verdicts have all of them."
        yield _command(kind, [("title", omitted)], message)


def _command(kind: str, properties: Iterable[tuple[str, str]], message: str) -> str:
    return f"::{kind} {','.join(f'{name}={_property(value)}' for name, value in properties)}::{_data(message)}\n"


def _data(text: str) -> str:
    """Escape text for the runner, so that a newline in it does not begin a new line of the log."""
    return escape_commands(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(sanitize(text)).replace(":", "%3A").replace(",", "%2C")


def _released(summary: Summary) -> Iterable[_Annotation]:
    if summary.released.not_affirmed:
        message = sentence(f"{RELEASED_NOT_AFFIRMED}: {released_text(summary.released)}")
        message += f"\n{sentence(REMEDIATION_RELEASED)}"
        yield _Annotation("-", 0, RELEASED_NOT_AFFIRMED.lower(), message)


def _annotation(incident: Incident) -> _Annotation:
    place = place_of(incident)
    source, line = ("-", 0) if place is None else (place.source, place.line)
    message = "\n".join([*fact_sentences(incident), incident.remediation]).rstrip()
    return _Annotation(source, line, incident.title, message)
