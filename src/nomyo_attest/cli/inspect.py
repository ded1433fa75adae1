"""Show every field of a response's evidence, decoded.

No verdict: what is shown is what the evidence says, whether it holds or not. A
blob that does not parse is shown as it is, with the place where it goes wrong.

Exit status: 0; 1 if the evidence is malformed, or a blob of it; 2 if the file
cannot be read, or its evidence is not at the top level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nomyo_attest.cli.console import say, say_json, text_style
from nomyo_attest.cli.errors import CommandError
from nomyo_attest.cli.exits import NOT_AFFIRMED, OK
from nomyo_attest.cli.files import EVIDENCE_FILE, check_inputs, read_record

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.parser import Parser

EXAMPLE = """
nomyo-attest inspect response.json
nomyo-attest inspect response.json --format json
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", help=EVIDENCE_FILE)
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    name = arguments.file
    check_inputs([name])
    content = read_record(name)

    from nomyo_attest.errors import EvidenceError, MisplacedEvidenceError, UnsupportedError
    from nomyo_attest.evidence import Evidence
    from nomyo_attest.report.fields import inspection_text
    from nomyo_attest.report.inspection import inspection

    try:
        evidence = Evidence.from_response(content)
    except MisplacedEvidenceError as error:
        raise CommandError(f"{name}: {error}") from None
    except EvidenceError as error:
        hint = "compare it with nomyo-attest schema evidence"
        raise CommandError(f"{name}: {error}; {hint}", status=NOT_AFFIRMED) from None
    document, errors = inspection(evidence)
    if arguments.format == "json":
        say_json({"format": document.pop("format"), "file": name, **document})
    else:
        say(inspection_text(name, document, text_style()))
    return NOT_AFFIRMED if any(not isinstance(error, UnsupportedError) for error in errors) else OK
