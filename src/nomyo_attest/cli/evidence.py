"""Commands for one response's evidence: verify it, inspect it, or record it with a TPM."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from nomyo_attest.cli.arguments import TIMES, load_policy, parse_nonce, parse_payload_id, parse_time
from nomyo_attest.cli.console import json_text, print_json, print_output, text_style
from nomyo_attest.cli.errors import EXIT_NOT_AFFIRMED, EXIT_OK, EXIT_UNUSABLE, CommandError, print_error
from nomyo_attest.cli.files import EVIDENCE_FILE, check_inputs, check_output, refuse_multi_record, write_output
from nomyo_attest.cli.one_record import read_one
from nomyo_attest.cli.progress import track_items
from nomyo_attest.installation import install_command

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.appraisal import AttestationResult
    from nomyo_attest.cli.arguments import Parser


FORMAT: Final = "nomyo-attest-verify/1"

NAME_WIDTH_MAXIMUM: Final = 40
"""Maximum width of the column of file names in characters, so that one long name does not move all verdicts."""


class Verify:
    """Appraise recorded responses by a policy.

    For each file, prints the verdict, the policy and the AIK trust. For each rule
    that does not hold, prints the value expected, the value found and the
    remediation.

    With --format json, prints one object for all files:

      {"format": "nomyo-attest-verify/1",
       "policy": {"id": "…", "digest": "sha256:…"},
       "results": [{"file": "…", "result": {…}},
                   {"file": "…", "error": "…"}],
       "counts": {"affirming": 1, "warning": 0, "contraindicated": 0, "none": 0,
                  "unreadable": 1}}

    `nomyo-attest schema result` prints the schema of a result. A file that cannot
    be read has an error instead of a result.

    Each file contains one record: a response, or one line of a ledger, which is
    appraised with the payload id that the client sent. For files of many records,
    use nomyo-attest audit.

    exit status:
      0  every verdict is affirming or warning
      1  another verdict, including that of malformed evidence
      2  wrong usage, an unusable policy, or a file that cannot be read (the others
         are still appraised)
    """

    EXAMPLE = """
    nomyo-attest verify --policy fleet/policy.toml -- fleet/recorded/*/*.json
    nomyo-attest verify response.json --policy policy.toml --format json
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("files", nargs="+", metavar="FILE", help=EVIDENCE_FILE)
        parser.add_policy()
        parser.hints["--out"] = "redirect standard output, as in --format json > results.json"
        expected = parser.add_argument_group("expected values")
        freshness = expected.add_mutually_exclusive_group()
        freshness.add_argument(
            "--payload-id", metavar="ID", help="the payload id of the request, instead of the recorded one"
        )
        freshness.add_argument(
            "--nonce", metavar="HEX", help="the quote's extraData, instead of one derived from a payload id"
        )
        expected.add_argument("--at", metavar="TIME", help=f"appraise at this time, not now: {TIMES}")
        output = parser.add_argument_group("output")
        output.add_argument(
            "--verbose", action="store_true", help="print every finding, full digests, and every limit with its reason"
        )
        parser.add_format(group=output)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        check_inputs(arguments.files)
        refuse_multi_record(arguments.files, f"run: {_audit_command(arguments)}")
        payload_id = parse_payload_id(arguments.payload_id) if arguments.payload_id is not None else None
        nonce = parse_nonce(arguments.nonce) if arguments.nonce is not None else None
        now = parse_time(arguments.at) if arguments.at is not None else None
        policy = load_policy(arguments.policy)

        from nomyo_attest.appraisal import Verdict, appraise
        from nomyo_attest.report.explain import body_text, head_text, limits_text, summary_text, test_keys_text
        from nomyo_attest.report.formatting import sanitize

        text = arguments.format == "text"
        style = text_style(verbose=arguments.verbose)
        name_width = (
            min(max(len(sanitize(name)) for name in arguments.files), NAME_WIDTH_MAXIMUM)
            if len(arguments.files) > 1
            else 0
        )
        counts = {verdict.value: 0 for verdict in Verdict} | {"unreadable": 0}
        results: list[AttestationResult] = []
        documents: list[dict[str, Any]] = []
        test_key_files: list[str] = []
        gap = ""
        for name in track_items(arguments.files, "appraising"):
            try:
                record = read_one(name, payload_id=payload_id, nonce=nonce)
            except CommandError as error:
                print_error(str(error))
                counts["unreadable"] += 1
                documents.append({"file": name, "error": str(error)})
                continue
            result = appraise(record.evidence, policy, payload_id=record.payload_id, nonce=nonce, now=now)
            counts[result.verdict.value] += 1
            if result.test_key:
                test_key_files.append(name)
            if text:
                body = body_text(result, policy, style)
                print_output(
                    f"{gap}{head_text(name, result, style, name_width=name_width)}" + (f"\n\n{body}" if body else "")
                )
                gap = "\n" if body else ""
                results.append(result)
            else:
                documents.append({"file": name, "result": result.to_dict()})
        if text:
            for paragraph in (summary_text(counts), test_keys_text(test_key_files, style), limits_text(results, style)):
                if paragraph:
                    print_output(f"\n{paragraph}")
        else:
            head = {"format": FORMAT, "policy": {"id": policy.id, "digest": policy.digest}}
            print_json({**head, "results": documents, "counts": counts})
        if counts["unreadable"]:
            return EXIT_UNUSABLE
        return EXIT_NOT_AFFIRMED if counts["contraindicated"] or counts["none"] else EXIT_OK


def _audit_command(arguments: argparse.Namespace) -> str:
    """Return the command line of an audit of the same files."""
    at = ["--at", arguments.at] if arguments.at is not None else []
    options = ["--policy", arguments.policy, *at]
    if any(name.startswith("-") for name in arguments.files):
        return shlex.join(["nomyo-attest", "audit", *options, "--", *arguments.files])
    return shlex.join(["nomyo-attest", "audit", *arguments.files, *options])


class Inspect:
    """Show every field of a response's evidence, decoded.

    No verdict is printed: the command shows valid and invalid evidence alike. A
    blob that does not parse is shown in hexadecimal, with the position of the
    error.

    exit status:
      0  the evidence is well-formed
      1  the evidence, or a blob in it, is malformed
      2  wrong usage, a file that cannot be read, or evidence that is not at the top
         level of the file
    """

    EXAMPLE = """
    nomyo-attest inspect fleet/recorded/2026-01-30.single/214630-1995.json
    nomyo-attest inspect response.json --format json
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", metavar="FILE", help=EVIDENCE_FILE)
        parser.add_format()

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        name = arguments.file
        check_inputs([name])
        evidence = read_one(name).evidence

        from nomyo_attest.errors import EvidenceError, UnsupportedError
        from nomyo_attest.report.inspection import inspection, inspection_text

        if isinstance(evidence, EvidenceError):
            hint = "compare it with nomyo-attest schema evidence"
            raise CommandError(f"{name}: {evidence}; {hint}", status=EXIT_NOT_AFFIRMED)
        document, errors = inspection(evidence)
        if arguments.format == "json":
            print_json({"format": document.pop("format"), "file": name, **document})
        else:
            print_output(inspection_text(name, document, text_style()))
        return EXIT_NOT_AFFIRMED if any(not isinstance(error, UnsupportedError) for error in errors) else EXIT_OK


class Record:
    """Quote a TPM for a payload id, and write the evidence as in a response.

    The command creates an AIK for this quote and then discards it. It requires the
    extra tpm and a TPM: by default this machine's, or the one that --tcti names.

    exit status:
      0  the evidence was written
      2  wrong usage, no TPM, an error of the TPM, or a file that cannot be written
    """

    EXAMPLE = f"""
    nomyo-attest record --tcti swtpm --payload-id x --key p256 --pcrs sha256:0,7
    nomyo-attest record --payload-id "$(uuidgen)" -o response.json
    # First: {install_command("tpm")}
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--payload-id", required=True, metavar="ID", help="the payload id that the quote is bound to"
        )
        parser.add_argument(
            "--tcti",
            metavar="TCTI",
            help="how to reach the TPM: device:/dev/tpmrm0, swtpm (starts a software TPM) or any other TCTI;"
            " default: this machine's TPM",
        )
        parser.add_argument(
            "--pcrs", default="sha256:0,7,10", metavar="BANK:N,...", help="the PCRs to quote; default: sha256:0,7,10"
        )
        parser.add_argument(
            "--key",
            default="rsa2048",
            metavar="KEY",
            help="the AIK: rsa3072-rsapss, p256, p384-ecdsa-sha384, ...; default: rsa2048",
        )
        parser.add_argument(
            "--hierarchy",
            choices=HIERARCHIES,
            default=HIERARCHIES[0],
            metavar="HIERARCHY",
            help=f"the hierarchy of the AIK, a primary key: {', '.join(HIERARCHIES)}; default: {HIERARCHIES[0]}",
        )
        parser.add_argument("-o", dest="output", metavar="FILE", help="write to this file, not to standard output")
        parser.add_argument("--force", action="store_true", help="overwrite an existing file")

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        payload_id = parse_payload_id(arguments.payload_id)
        if arguments.output is not None:
            check_output(arguments.output, force=arguments.force)

        from nomyo_attest.errors import AttesterError

        try:
            from nomyo_attest.attester import Attester, response

            with Attester.open(arguments.tcti) as attester:
                block = attester.attest(
                    payload_id=payload_id, pcrs=arguments.pcrs, key=arguments.key, hierarchy=arguments.hierarchy
                )
        except AttesterError as error:
            raise CommandError(str(error)) from None
        text = json_text(response(block, payload_id)) + "\n"
        if arguments.output is None:
            print_output(text.removesuffix("\n"))
        else:
            write_output(arguments.output, text, force=arguments.force)
        return EXIT_OK


HIERARCHIES: Final = ("endorsement", "owner", "platform", "null")
"""The hierarchies of `nomyo_attest.attester`, which cannot be imported without its extra."""
