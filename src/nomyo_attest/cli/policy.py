"""Commands for policies: learn one, lint one, show one."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from nomyo_attest.cli.arguments import POLICY_FILE, TIMES, load_policy, parse_nonce, parse_payload_id, parse_time
from nomyo_attest.cli.console import print_json, print_output, text_style
from nomyo_attest.cli.errors import EXIT_NOT_AFFIRMED, EXIT_OK, CommandError, print_error
from nomyo_attest.cli.files import EVIDENCE_FILE, STANDARD_INPUT, check_inputs, check_output, write_output
from nomyo_attest.cli.one_record import OneRecord, read_one
from nomyo_attest.report.formatting import count, sanitize

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser
    from nomyo_attest.policy import AppraisalPolicy, LearnedPolicy


class Learn:
    """Write a policy, in TOML, from recorded responses that you trust.

    The policy affirms every file that it was learned from: for each PCR that all
    of them sign, it accepts the value in each file, labeled with the file's name.
    Read the policy before you rely on it.

    Evidence that fails a core rule or has an unsuitable AIK is refused. A bare
    tpm_attestation block has no payload id: pass the payload id of the request, or
    the quoted nonce.

    exit status:
      0  the policy was written
      1  evidence is refused or malformed
      2  wrong usage, or a file that cannot be read or written
    """

    EXAMPLE = """
    nomyo-attest policy learn --allow-test-keys -- fleet/recorded/*/*.json
    nomyo-attest policy learn known-good.json -o policy.toml
    nomyo-attest policy learn --id prod-eu -o prod-eu.toml -- recorded/*.json
    nomyo-attest policy learn block.json --nonce "$NONCE" -o policy.toml
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("files", nargs="+", metavar="FILE", help=EVIDENCE_FILE)
        parser.hints |= dict.fromkeys(("--out", "--output"), "did you mean -o FILE?")
        parser.hints["--policy"] = "policy learn writes a policy; name its file with -o"
        output = parser.add_argument_group("output")
        output.add_argument(
            "-o", dest="output", metavar="FILE", help="write to this .toml file, not to standard output"
        )
        output.add_argument("--force", action="store_true", help="overwrite an existing file")
        output.add_argument(
            "--id", metavar="ID", help="the policy's id; default: the first file's name without its extension"
        )
        output.add_argument("--description", metavar="TEXT", help="the policy's description")
        evidence = parser.add_argument_group("evidence")
        freshness = evidence.add_mutually_exclusive_group()
        freshness.add_argument(
            "--payload-id",
            metavar="ID",
            help="the payload id of the request, instead of the recorded one; for one FILE",
        )
        freshness.add_argument("--nonce", metavar="HEX", help="the quote's extraData; for one FILE")
        evidence.add_argument(
            "--allow-test-keys",
            action="store_true",
            help="also learn from the soft TPM of nomyo_attest.testing, whose private keys are public",
        )

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        check_inputs(arguments.files)
        payload_id = parse_payload_id(arguments.payload_id) if arguments.payload_id is not None else None
        nonce = parse_nonce(arguments.nonce) if arguments.nonce is not None else None
        if len(arguments.files) > 1 and (payload_id is not None or nonce is not None):
            option = "--nonce" if payload_id is None else "--payload-id"
            problem = f"expected one FILE, since it belongs to one response, got {len(arguments.files)}"
            raise CommandError(f"{option}: {problem}")
        if arguments.output is not None:
            if not arguments.output.endswith(".toml"):
                raise CommandError(f"{arguments.output}: expected the extension .toml, since a learned policy is TOML")
            check_output(arguments.output, force=arguments.force)
        policy_id = arguments.id if arguments.id is not None else _default_id(arguments.files[0])
        learned = _learn(arguments, payload_id, nonce, policy_id)
        for notice in learned.notices:
            print_error(f"notice: {notice}")
        if arguments.output is None:
            print_output(learned.text.removesuffix("\n"))
        else:
            write_output(arguments.output, learned.text, force=arguments.force)
            print_output(_written_message(arguments.output, learned.policy, len(arguments.files)))
        return EXIT_OK


_POLICY_HINT: Final = "pass the file name alone, without --policy"

_ID_LENGTH_MAX: Final = 200
"""The maximum length of a policy id in characters, as in the schema."""


def _written_message(name: str, policy: AppraisalPolicy, responses: int) -> str:
    """Describe what was written, and the next step."""
    places = ", ".join(pcr.place for pcr in policy.pcrs)
    learned = f"policy {sanitize(policy.id)}, learned from {count(responses, 'response')}"
    check = sanitize(shlex.join(["nomyo-attest", "policy", "check", name]))
    wrote = f"wrote {sanitize(name)}: {learned}; it pins {places}"
    return f"{wrote}\nnext: read its comments, then run {check}"


def _default_id(file: str) -> str:
    return sanitize(PurePath(file).stem)[:_ID_LENGTH_MAX] if file != STANDARD_INPUT else "learned"


_OPTION_OF_PARAMETER: Final = {
    "(payload_id)": "(--payload-id)",
    "(nonce)": "(--nonce)",
    "allow_test_keys": "--allow-test-keys",
}
"""A parameter of `learn` that hints name → the option."""


def _learn(arguments: argparse.Namespace, payload_id: str | None, nonce: bytes | None, policy_id: str) -> LearnedPolicy:
    """Read every file and learn from all of them. Prints the error of each refused file, and raises the last."""
    from nomyo_attest.errors import LearningError, PolicyError
    from nomyo_attest.policy import learn

    files: list[str] = arguments.files
    short = [PurePath(file).name if file != STANDARD_INPUT else "standard input" for file in files]
    names = short if len(set(short)) == len(short) else files
    file_of = dict(zip(names, files, strict=True))
    records: dict[str, OneRecord] = {}
    problems: dict[str, CommandError] = {}
    for name, file in file_of.items():
        try:
            records[name] = read_one(file, payload_id=payload_id, nonce=nonce)
        except CommandError as error:
            problems[name] = error
    learned = None
    try:
        if records:
            learned = learn(
                [record.evidence for record in records.values()],
                names=list(records),
                payload_ids=None if nonce is not None else [record.payload_id for record in records.values()],
                nonce=nonce,
                policy_id=policy_id,
                description=arguments.description,
                allow_test_keys=arguments.allow_test_keys,
            )
    except LearningError as error:
        if not error.refused and not problems:
            raise CommandError(str(error), status=EXIT_NOT_AFFIRMED) from None
        for refused in error.refused:
            hint = refused.hint
            for parameter, option in _OPTION_OF_PARAMETER.items():
                hint = hint.replace(parameter, option)
            message = f"{file_of[refused.name]}: {refused.problem}; {hint}"
            problems[refused.name] = CommandError(message, status=EXIT_NOT_AFFIRMED)
    except PolicyError as error:  # an invalid --id
        raise CommandError(f"{error.where}: {error.problem}; {error.hint}") from None
    if problems:
        *others, last = (problems[name] for name in names if name in problems)
        for problem in others:
            print_error(str(problem))
        raise CommandError(str(last), status=max(problem.status for problem in (*others, last)))
    assert learned is not None  # at least one file was read
    return learned


class Check:
    """Lint a policy: report where it is weaker than it looks.

    exit status:
      0  the policy is usable, with or without remarks
      1  a remark is a warning (only with --strict)
      2  wrong usage, or an unusable policy
    """

    EXAMPLE = """
    nomyo-attest policy check fleet/policy.toml
    nomyo-attest policy check policy.toml --strict
    nomyo-attest policy check policy.toml --strict --at 2026-12-31
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("policy", metavar="POLICY", help=POLICY_FILE)
        parser.hints["--policy"] = _POLICY_HINT
        parser.add_argument("--strict", action="store_true", help="exit with status 1 if there is a warning")
        parser.add_argument("--at", metavar="TIME", help=f"check the validity period at this time, not now: {TIMES}")
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
            print_json(check_document(policy, remarks))
        else:
            print_output(check_text(policy, remarks, text_style(), now))
        has_warning = any(remark.weight is Weight.WARNING for remark in remarks)
        return EXIT_NOT_AFFIRMED if arguments.strict and has_warning else EXIT_OK


class Show:
    """Show a policy as a table: reference values with their labels, and requirements.

    With --format json, prints the whole policy, including every default. The output
    is a policy file with the same digest.

    exit status:
      0  the policy is usable
      2  wrong usage, or an unusable policy
    """

    EXAMPLE = """
    nomyo-attest policy show fleet/policy.toml
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("policy", metavar="POLICY", help=POLICY_FILE)
        parser.hints["--policy"] = _POLICY_HINT
        parser.add_format()

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        policy = load_policy(arguments.policy)
        if arguments.format == "json":
            print_json(policy.to_dict())
        else:
            from nomyo_attest.report.policy import policy_text

            print_output(policy_text(policy, text_style()))
        return EXIT_OK
