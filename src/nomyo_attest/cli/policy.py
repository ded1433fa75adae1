"""Commands for policies: learn one, lint one, show one."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from nomyo_attest.cli.arguments import load_policy, parse_nonce, parse_payload_id, parse_time
from nomyo_attest.cli.console import say, say_json, text_style
from nomyo_attest.cli.errors import NOT_AFFIRMED, OK, CommandError, complain
from nomyo_attest.cli.files import EVIDENCE_FILE, STANDARD_INPUT, check_inputs, check_output, read_record, write_output
from nomyo_attest.cli.learning import policy_from, recording_from
from nomyo_attest.report.formatting import count, sanitize

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.policy.learn import Recording


class Learn:
    """Make a policy, in TOML, from recorded responses that you trust; read it before
    you rely on it.

    From several files the policy accepts, for each PCR that all of them sign, the
    values that any of them has, each labelled with its file. Evidence that fails a
    core rule, or has an unfit AIK, is refused. The policy affirms every file it was
    learned from. A bare tpm_attestation block names no payload id: give the one of
    the request, or the nonce that was quoted.

    Exit status: 0; 1 if evidence is refused or malformed; 2 if a file cannot be
    read or written.
    """

    EXAMPLE = """
    nomyo-attest policy learn known-good.json -o policy.toml
    nomyo-attest policy learn --id prod-eu -o prod-eu.toml -- recorded/*.json
    nomyo-attest policy learn block.json --nonce "$NONCE" -o policy.toml
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("files", nargs="+", metavar="FILE", help=EVIDENCE_FILE)
        parser.add_argument(
            "-o", dest="output", metavar="FILE", help="write to this .toml file, not to standard output"
        )
        parser.add_argument(
            "--id", metavar="ID", help="the policy's id; default: the first file's name without its ending"
        )
        parser.add_argument("--description", metavar="TEXT", help="the policy's description")
        freshness = parser.add_mutually_exclusive_group()
        freshness.add_argument(
            "--payload-id",
            metavar="ID",
            help="the payload id of the request, instead of the recorded one; for one FILE",
        )
        freshness.add_argument("--nonce", metavar="HEX", help="the extraData that was quoted; for one FILE")
        parser.add_argument(
            "--allow-test-keys",
            action="store_true",
            help="learn from the soft TPM of nomyo_attest.testing too, whose private keys everybody can make again",
        )
        parser.add_argument("--force", action="store_true", help="overwrite the file if it is there")

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        check_inputs(arguments.files)
        payload_id = parse_payload_id(arguments.payload_id) if arguments.payload_id is not None else None
        nonce = parse_nonce(arguments.nonce) if arguments.nonce is not None else None
        if len(arguments.files) > 1 and (payload_id is not None or nonce is not None):
            option = "--nonce" if payload_id is None else "--payload-id"
            raise CommandError(f"{option}: it belongs to one response, and {len(arguments.files)} files are named")
        if arguments.output is not None:
            if not arguments.output.endswith(".toml"):
                raise CommandError(f"{arguments.output}: a learned policy is TOML; let its name end in .toml")
            check_output(arguments.output, force=arguments.force)
        recordings = _read_all(arguments, payload_id, nonce)

        from nomyo_attest.policy.learn import names_text

        policy_id, description = arguments.id, arguments.description
        if policy_id is None:
            policy_id = _id(arguments.files[0])
        if description is None:
            description = f"Learned from {names_text([one.name for one in recordings])}"
        lesson, policy = policy_from(
            recordings, policy_id=policy_id, description=description, payload_id=payload_id, nonce=nonce
        )
        for notice in lesson.notices:
            complain(f"notice: {notice}")
        if arguments.output is None:
            say(lesson.text.removesuffix("\n"))
        else:
            write_output(arguments.output, lesson.text, force=arguments.force)
            say(_written(arguments.output, policy, len(recordings)))
        return OK


_ID_MAX: Final = 200
"""Characters of the longest policy id that the schema allows."""


def _written(name: str, policy: AppraisalPolicy, responses: int) -> str:
    """What was written, and the next step."""
    places = ", ".join(pcr.place for pcr in policy.pcrs)
    learned = f"policy {sanitize(policy.id)}, learned from {count(responses, 'response')}"
    check = sanitize(shlex.join(["nomyo-attest", "policy", "check", name]))
    wrote = f"wrote {sanitize(name)}: {learned}; it pins {places}"
    return f"{wrote}\nnext: read it, above all its comments, and check it: {check}"


def _id(file: str) -> str:
    return sanitize(PurePath(file).stem)[:_ID_MAX] if file != STANDARD_INPUT else "learned"


def _read_all(arguments: argparse.Namespace, payload_id: str | None, nonce: bytes | None) -> list[Recording]:
    """Read and appraise every file. Raises `CommandError` if any cannot be learned from, after complaining of each."""
    files: list[str] = arguments.files
    short = [PurePath(file).name if file != STANDARD_INPUT else "standard input" for file in files]
    names = short if len(set(short)) == len(short) else files
    recordings = []
    problems: list[CommandError] = []
    for file, name in zip(files, names, strict=True):
        try:
            recordings.append(
                recording_from(
                    read_record(file),
                    file=file,
                    name=name,
                    payload_id=payload_id,
                    nonce=nonce,
                    allow_test_keys=arguments.allow_test_keys,
                )
            )
        except CommandError as error:
            problems.append(error)
    for problem in problems[:-1]:
        complain(str(problem))
    if problems:
        raise CommandError(str(problems[-1]), status=max(problem.status for problem in problems))
    return recordings


class Check:
    """Say of a policy what a careful colleague would: where it is weaker than it
    looks, and what is good to know.

    Exit status: 0, also with remarks; with --strict 1 if one of them is a warning;
    2 if the policy cannot be used.
    """

    EXAMPLE = """
    nomyo-attest policy check policy.toml
    nomyo-attest policy check policy.toml --strict
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("policy", metavar="P", help="a .toml or .json file")
        parser.add_argument("--strict", action="store_true", help="exit status 1 if there is a warning")
        parser.add_argument(
            "--at",
            metavar="TIME",
            help="judge its period as of this time (RFC 3339, or a date: midnight UTC), not of now",
        )
        parser.add_format()

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        from datetime import UTC, datetime

        now = parse_time(arguments.at) if arguments.at is not None else datetime.now(UTC)
        policy = load_policy(arguments.policy)

        from nomyo_attest.policy.lint import Weight, lint
        from nomyo_attest.report.policy import check_document, check_text

        remarks = lint(policy, now)
        if arguments.format == "json":
            say_json(check_document(policy, remarks))
        else:
            say(check_text(policy, remarks, text_style()))
        return NOT_AFFIRMED if arguments.strict and any(one.weight is Weight.WARNING for one in remarks) else OK


class Show:
    """Show a policy as a table: reference values with their labels, and what else is
    asked.

    With --format json the policy is printed in full, every default written out: a
    policy file of its own, with the same digest.

    Exit status: 0; 2 if the policy cannot be used.
    """

    EXAMPLE = """
    nomyo-attest policy show policy.toml
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("policy", metavar="P", help="a .toml or .json file")
        parser.add_format()

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        policy = load_policy(arguments.policy)
        if arguments.format == "json":
            say_json(policy.to_dict())
        else:
            from nomyo_attest.report.policy import policy_text

            say(policy_text(policy, text_style()))
        return OK
