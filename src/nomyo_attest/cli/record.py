"""Quote a TPM for a payload id, and write the evidence as a response of the
service would carry it.

The AIK is made for this quote and forgotten. Needs the extra tpm and a TPM:
that of this machine, or any other that a TCTI reaches, such as swtpm, which
--tcti swtpm starts.

Exit status: 0; 2 if there is no TPM, or it refuses, or the file cannot be
written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nomyo_attest.cli.arguments import parse_payload_id
from nomyo_attest.cli.console import json_text, say
from nomyo_attest.cli.errors import CommandError
from nomyo_attest.cli.exits import OK
from nomyo_attest.cli.files import check_output, write_output

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.parser import Parser

EXAMPLE = """
nomyo-attest record --payload-id "$(uuidgen)" -o response.json
nomyo-attest record --tcti swtpm --payload-id x --key p256 --pcrs sha256:0,7
"""

HIERARCHIES: Final = ("endorsement", "owner", "platform", "null")
"""As `nomyo_attest.attester` has them, which cannot be imported without its extra."""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--payload-id", required=True, metavar="ID", help="the payload id that the quote is to be bound to"
    )
    parser.add_argument(
        "--tcti", metavar="TCTI", help="device:/dev/tpmrm0, swtpm or any other TCTI; default: this machine's TPM"
    )
    parser.add_argument("--pcrs", default="sha256:0,7,10", metavar="PCRS", help="what to quote; default: sha256:0,7,10")
    parser.add_argument(
        "--key", default="rsa2048", metavar="KEY", help="rsa2048, rsa3072-rsapss, p256, p384-ecdsa-sha384 …"
    )
    parser.add_argument(
        "--hierarchy",
        choices=HIERARCHIES,
        default=HIERARCHIES[0],
        help="where the AIK is a primary key; default: endorsement",
    )
    parser.add_argument("-o", dest="output", metavar="FILE", help="write to this file, not to standard output")
    parser.add_argument("--force", action="store_true", help="overwrite the file if it is there")


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
        say(text.removesuffix("\n"))
    else:
        write_output(arguments.output, text, force=arguments.force)
    return OK
