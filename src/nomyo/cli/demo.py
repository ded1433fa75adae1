"""The whole story on this machine, in a few seconds: no account and no TPM.

Starts the reference router on loopback, asks it, learns a policy from its first
answer, gets an answer through the gate of that policy, lets the router boot
other firmware, and is refused. Tells what each step shows, and what it does
not. Evidence is made by swtpm, or without it by keys that everybody knows; the
TPM of this machine is not touched. Needs the extra router.

Nothing is left behind, unless --keep names a folder.

Exit status: 0 if the story went as it should; 1 if not; 2 if it cannot begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nomyo.cli.errors import CommandError
from nomyo.cli.settings import filled
from nomyo_attest.cli.console import say, say_json, text_style
from nomyo_attest.cli.exits import NOT_AFFIRMED, OK

if TYPE_CHECKING:
    import argparse

    from nomyo.cli.demo_play import Step
    from nomyo_attest.cli.parser import Parser

FORMAT: Final = "nomyo-demo/1"

EXAMPLE = """
nomyo demo
nomyo demo --keep story
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--tpm", choices=("swtpm", "soft"), help="who makes the evidence; default: swtpm if it is there"
    )
    parser.add_argument(
        "--keep", type=filled, metavar="DIR", help="keep policy, answers and refusal in this new folder"
    )
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    import time
    from contextlib import closing

    from nomyo.router import MissingExtraError, RouterError

    began = time.monotonic()

    try:
        from nomyo.cli.demo_play import play
    except MissingExtraError as error:
        raise CommandError(str(error)) from None

    from nomyo.cli.demo_tell import astray, ending, told
    from nomyo.cli.failures import failure
    from nomyo.cli.keeping import Keeping
    from nomyo.cli.signals import ended_like_ctrl_c
    from nomyo.errors import NomyoError

    text = arguments.format == "text"
    steps: list[Step] = []
    with ended_like_ctrl_c(), Keeping(arguments.keep) as keeping, closing(play(arguments.tpm)) as played:
        try:
            for step in played:
                steps.append(step)
                keeping.keep(step.keep)
                if text:
                    say(told(step, text_style()) + "\n")
        except RouterError as error:
            raise CommandError(str(error)) from None
        except NomyoError as error:
            raise CommandError(str(failure(error)), status=NOT_AFFIRMED) from None
    seconds = time.monotonic() - began
    went = steps[-1].went
    if text and went:
        say(ending(text_style(), seconds, arguments.keep))
    if not text:
        say_json(_document(steps, seconds))
    if not went:
        raise CommandError(astray(steps[-1]), status=NOT_AFFIRMED)
    return OK


def _document(steps: list[Step], seconds: float) -> dict[str, Any]:
    rows = [{"step": one.name, "as_it_should": one.went, "seconds": one.seconds, **one.facts} for one in steps]
    return {"format": FORMAT, "as_it_should": steps[-1].went, "seconds": round(seconds, 3), "steps": rows}
