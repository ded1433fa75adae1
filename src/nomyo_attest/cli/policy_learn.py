"""Make a policy, in TOML, from recorded responses that you trust; read it before
you rely on it.

From several files the policy accepts, for each PCR that all of them sign, the
values that any of them has, each labelled with its file. Evidence that fails a
core rule, or has an unfit AIK, is refused. The policy affirms every file it was
learned from.

Exit status: 0; 1 if evidence is refused or malformed; 2 if a file cannot be
read or written.
"""

from __future__ import annotations

import tomllib
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from nomyo_attest.cli.console import say
from nomyo_attest.cli.errors import CommandError, complain
from nomyo_attest.cli.exits import NOT_AFFIRMED, OK, UNUSABLE
from nomyo_attest.cli.files import EVIDENCE_FILE, STANDARD_INPUT, check_inputs, check_output, read_input, write_output
from nomyo_attest.report.clean import clean

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.parser import Parser
    from nomyo_attest.evidence import Evidence
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.policy.learn import Recording

EXAMPLE = """
nomyo-attest policy learn known-good.json -o policy.toml
nomyo-attest policy learn recorded/*.json --id prod-eu -o prod-eu.toml
"""

_PROBE: Final = {
    "format": "nomyo-attest-policy/1",
    "id": "policy learn",
    "unsafe_accept_any_pcrs": True,
    "rules": {"clock.safe": "warn"},
}
"""What evidence must be like to be learned from: any PCR values, and everything else that is always asked."""

_ID_MAX: Final = 200
"""Characters of the longest policy id that the schema allows."""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help=EVIDENCE_FILE)
    parser.add_argument("-o", dest="output", metavar="FILE", help="write to this .toml file, not to standard output")
    parser.add_argument("--id", metavar="ID", help="the policy's id; default: the first file's name without its ending")
    parser.add_argument("--description", metavar="TEXT", help="the policy's description")
    parser.add_argument("--force", action="store_true", help="overwrite the file if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    check_inputs(arguments.files)
    if arguments.output is not None:
        if not arguments.output.endswith(".toml"):
            raise CommandError(f"{arguments.output}: a learned policy is TOML; let its name end in .toml")
        check_output(arguments.output, force=arguments.force)
    recordings = _read_all(arguments.files)

    from nomyo_attest.errors import PolicyError
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.policy.learn import learn, names_text

    policy_id, description = arguments.id, arguments.description
    if policy_id is None:
        policy_id = _id(arguments.files[0])
    if description is None:
        description = f"Learned from {names_text([one.name for one in recordings])}"
    try:
        lesson = learn(recordings, policy_id=policy_id, description=description)
        policy = AppraisalPolicy.from_dict(tomllib.loads(lesson.text))
    except PolicyError as error:
        # The id is the user's own; anything else is what the files lack.
        status = UNUSABLE if error.where == "id" else NOT_AFFIRMED
        raise CommandError(f"{error.where}: {error.problem}; {error.mend}", status=status) from None
    _check_affirms(policy, recordings)
    for notice in lesson.notices:
        complain(f"notice: {notice}")
    if arguments.output is None:
        say(lesson.text.removesuffix("\n"))
    else:
        write_output(arguments.output, lesson.text, force=arguments.force)
    return OK


def _id(file: str) -> str:
    return clean(PurePath(file).stem)[:_ID_MAX] if file != STANDARD_INPUT else "learned"


def _read_all(files: list[str]) -> list[Recording]:
    """Read and appraise every file. Raises `CommandError` if any cannot be learned from, after complaining of each."""
    short = [PurePath(file).name if file != STANDARD_INPUT else "standard input" for file in files]
    names = short if len(set(short)) == len(short) else files
    recordings = []
    problems: list[CommandError] = []
    for file, name in zip(files, names, strict=True):
        try:
            recordings.append(_recording(file, name))
        except CommandError as error:
            problems.append(error)
    for problem in problems[:-1]:
        complain(str(problem))
    if problems:
        raise CommandError(str(problems[-1]), status=max(problem.status for problem in problems))
    return recordings


def _recording(file: str, name: str) -> Recording:
    content = read_input(file)

    from nomyo_attest.appraisal import Outcome, Verdict, appraise
    from nomyo_attest.errors import EvidenceError
    from nomyo_attest.evidence import Evidence
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.policy.learn import Recording
    from nomyo_attest.report.reasons import reasons
    from nomyo_attest.tpm import parse_attest

    evidence: Evidence
    try:
        evidence = Evidence.from_response(content)
    except EvidenceError as error:
        raise CommandError(f"{file}: refused by evidence.form: {error}", status=NOT_AFFIRMED) from None
    result = appraise(evidence, AppraisalPolicy.from_dict(_PROBE))
    if result.verdict not in (Verdict.AFFIRMING, Verdict.WARNING):
        found = reasons(result)
        finding = (*found.failed, *found.open, *found.waiting)[0]
        what = "does not hold" if finding.outcome is Outcome.FAIL else "cannot be told"
        problem = f"{finding.rule} {what}: {finding.message}"
        raise CommandError(f"{file}: refused: {problem}; learn from evidence that is sound", status=NOT_AFFIRMED)
    return Recording(
        name=name,
        evidence=evidence,
        hierarchy=result.hierarchy,
        clock_safe="clock.safe" not in result.failed,
        firmware_version=parse_attest(evidence.quote).value.firmware_version,
    )


def _check_affirms(policy: AppraisalPolicy, recordings: list[Recording]) -> None:
    """Try the learned policy on what it was learned from, before anyone relies on it. Raises `CommandError`."""
    from nomyo_attest.appraisal import Verdict, appraise

    expected = {Verdict.AFFIRMING} if "clock.safe" not in policy.rules else {Verdict.AFFIRMING, Verdict.WARNING}
    for one in recordings:
        result = appraise(one.evidence, policy)
        if result.verdict not in expected:
            rules = ", ".join((*result.failed, *result.undecided))
            raise CommandError(
                f"{one.name}: the policy learned from it would not affirm it ({rules}); nothing was written",
                status=NOT_AFFIRMED,
            )
