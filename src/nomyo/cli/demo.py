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

import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from nomyo.cli.settings import filled
from nomyo_attest.cli.console import print_json, print_output, text_style
from nomyo_attest.cli.errors import NOT_AFFIRMED, OK, CommandError
from nomyo_attest.cli.files import write_output

if TYPE_CHECKING:
    import argparse

    from nomyo.cli.demo_steps import Step
    from nomyo_attest.cli.arguments import Parser


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
        from nomyo.cli.demo_steps import play
    except MissingExtraError as error:
        raise CommandError(str(error)) from None

    from nomyo.cli.connection import failure
    from nomyo.cli.demo_steps import astray, ending, told
    from nomyo.errors import NomyoError

    text = arguments.format == "text"
    steps: list[Step] = []
    with ended_like_ctrl_c(), Keeping(arguments.keep) as keeping, closing(play(arguments.tpm)) as played:
        try:
            for step in played:
                steps.append(step)
                keeping.keep(step.keep)
                if text:
                    print_output(told(step, text_style()) + "\n")
        except RouterError as error:
            raise CommandError(str(error)) from None
        except NomyoError as error:
            raise CommandError(str(failure(error)), status=NOT_AFFIRMED) from None
    seconds = time.monotonic() - began
    went = steps[-1].went
    if text and went:
        print_output(ending(text_style(), seconds, arguments.keep))
    if not text:
        print_json(_document(steps, seconds))
    if not went:
        raise CommandError(astray(steps[-1]), status=NOT_AFFIRMED)
    return OK


def _document(steps: list[Step], seconds: float) -> dict[str, Any]:
    rows = [{"step": one.name, "as_it_should": one.went, "seconds": one.seconds, **one.facts} for one in steps]
    return {"format": FORMAT, "as_it_should": steps[-1].went, "seconds": round(seconds, 3), "steps": rows}


class Keeping:
    """A folder to keep files in, for their owner alone; gone again if nothing was kept when the context ends.

    Args:
        directory: a folder that is not there yet; None keeps nothing.

    Raises `CommandError`, on entering, if it is there, or cannot be made.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = directory

    def __enter__(self) -> Self:
        if self._directory is not None:
            _make(self._directory)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._directory is not None:
            with suppress(OSError):  # it is not empty
                Path(self._directory).rmdir()

    def keep(self, files: Mapping[str, Any]) -> None:
        """Write `files`: name → text, or what is to be JSON. Raises `CommandError`."""
        if self._directory is None:
            return
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=2, allow_nan=False) + "\n"
            write_output(str(Path(self._directory, name)), text, force=False, private=True)


def _make(directory: str) -> None:
    try:
        Path(directory).mkdir(0o700)
    except FileExistsError:
        raise CommandError(f"{directory}: is there already; name a folder that is not") from None
    except FileNotFoundError:
        raise CommandError(f"{directory}: its folder is not there; make it first") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no folder can have this name"
        raise CommandError(f"{directory}: cannot be made: {reason}; name another folder") from None


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """While the context lasts, SIGTERM and SIGHUP raise `KeyboardInterrupt` in the main thread, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {getattr(signal, name): signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
