"""Format the findings of an audit as workflow commands of GitHub Actions, which shows them beside the files.

``::error file=recorded.jsonl,line=12,title=pcr.values::…``: one for each source and rule. GitHub shows ten errors and
ten warnings of a step and silently drops the others, so the tenth states how many more there are.
"""

# No import of annotations from __future__: a function below has that name.

from collections.abc import Iterable
from typing import Final, NamedTuple

from nomyo_attest.audit.summary import NOT_EVALUATED, Summary
from nomyo_attest.report.causes import (
    NOT_AFFIRMED,
    REMEDIATION_RELEASED,
    REMEDIATION_UNREADABLE,
    Cause,
    causes_by_source,
    not_evaluated_text,
    outside_text,
    released_text,
    remediation_not_evaluated,
    unreadable,
    where,
)
from nomyo_attest.report.formatting import count, escape_commands, excerpt, sanitize, sentence

SHOWN: Final = 10
"""Maximum errors, and maximum warnings, that GitHub shows for one step."""

_PLACES: Final = 3


class _Annotation(NamedTuple):
    source: str
    line: int
    title: str
    message: str


def annotations(summary: Summary) -> str:
    """Return one workflow command per line, with line ends; empty if there is nothing to report.

    Errors are records that were released though not affirmed, rules that the policy requires, findings across records,
    cross-record checks that were not evaluated, and what could not be read; warnings are rules that the policy softens;
    a notice says how many records are outside the window by the server's own time.
    """
    causes = causes_by_source(summary)
    errors = [
        *_released(summary),
        *_unreadable(summary),
        *_cross_record(summary),
        *(_of_cause(one) for one in causes if not one.softened),
    ]
    warnings = [_of_cause(one) for one in causes if one.softened]
    # Places that the summary does not list are missing here too, and are only counted.
    unlisted = max(0, summary.places_total - len(summary.places))
    notices = []
    if summary.outside_by_server:
        message = f"{count(summary.outside, 'record')} outside the time asked for: {outside_text(summary)}"
        notices.append(_Annotation("-", 0, "outside the time asked for", sentence(message)))
    return "".join(
        [*_commands("error", errors, unlisted), *_commands("warning", warnings, 0), *_commands("notice", notices, 0)]
    )


def _commands(kind: str, found: list[_Annotation], unlisted: int) -> Iterable[str]:
    total = len(found) + unlisted
    found = _interleaved(found)
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


def _interleaved(found: list[_Annotation]) -> list[_Annotation]:
    """Reorder: the first of every title, then the second of every title, and so on."""
    seen: dict[str, int] = {}
    turns = []
    for one in found:
        turns.append(seen.get(one.title, 0))
        seen[one.title] = turns[-1] + 1
    return [found[at] for at in sorted(range(len(found)), key=turns.__getitem__)]


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


def _unreadable(summary: Summary) -> Iterable[_Annotation]:
    for one in unreadable(summary):
        lines = [sentence(excerpt(one.problem)), sentence(REMEDIATION_UNREADABLE)]
        if one.records > 1:
            lines.insert(0, f"{count(one.records, 'record')} unreadable.")
        yield _Annotation(one.source, one.lines[0] if one.lines else 0, "unreadable", "\n".join(lines))


def _cross_record(summary: Summary) -> Iterable[_Annotation]:
    for rule in summary.cross_record_rules:
        if rule.outcome == NOT_EVALUATED and not rule.accepted:
            message = (
                f"Not evaluated: {excerpt(not_evaluated_text(rule))}.\n{sentence(remediation_not_evaluated(rule))}"
            )
            yield _Annotation("-", 0, excerpt(rule.rule, 60), message)
    remediations = {one.rule: one.remediation for one in summary.cross_record_rules}
    for one in summary.cross_record:
        places = "; ".join(map(where, one.places[:_PLACES]))
        left = f"; and {one.records - _PLACES:,} more" if one.records > _PLACES else ""
        message = f"{sentence(excerpt(one.message))}\n{places}{left}\n{sentence(remediations.get(one.rule, ''))}"
        yield _Annotation(one.last.source, one.last.line, excerpt(one.rule, 60), message)


def _of_cause(cause: Cause) -> _Annotation:
    lines = [f"{cause.affected}: {cause.problem}", cause.compared, cause.remediation]
    line = cause.lines[0] if cause.lines else 1
    return _Annotation(cause.source, line, excerpt(cause.rule, 60), "\n".join(filter(None, lines)))
