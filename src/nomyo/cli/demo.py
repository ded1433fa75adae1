"""Show the client, the gate and a refusal on this machine, in a few seconds.

The demo starts the reference router on loopback and sends it a prompt. It
learns a policy from the response, and sends the prompt again through the gate,
which releases the completion. Then the router boots other firmware, and the
gate refuses its response. The demo explains what each step shows and what it
does not show, and ends with the commands to repeat it by hand.

It needs the extra router, but no account and no TPM: the evidence comes from
swtpm, or if that is not installed, from a software TPM with public keys. It
leaves no files behind, unless --keep names a folder.

Exit status: 0 if every step went as expected; 1 if not; 2 if the demo cannot
start.
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

from nomyo.cli.settings import nonempty
from nomyo_attest.cli.console import print_json, print_output, text_style
from nomyo_attest.cli.errors import EXIT_NOT_AFFIRMED, EXIT_OK, CommandError
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
        "--tpm", choices=("swtpm", "soft"), help="source of the evidence; default: swtpm if it is installed"
    )
    parser.add_argument(
        "--keep", type=nonempty, metavar="DIR", help="store policy, responses and refusal in this new folder"
    )
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    import time
    from contextlib import closing

    from nomyo.router import MissingExtraError, RouterError

    start = time.monotonic()

    try:
        from nomyo.cli.demo_steps import run_steps
    except MissingExtraError as error:
        raise CommandError(str(error)) from None

    from nomyo.cli.connection import command_error
    from nomyo.cli.demo_steps import closing_text, describe_failure, step_text
    from nomyo.errors import NomyoError

    text = arguments.format == "text"
    steps: list[Step] = []
    with (
        interrupted_by_signals(),
        OutputFolder(arguments.keep) as folder,
        closing(run_steps(arguments.tpm)) as remaining_steps,
    ):
        try:
            for step in remaining_steps:
                steps.append(step)
                folder.write(step.files)
                if text:
                    print_output(step_text(step, text_style()) + "\n")
        except RouterError as error:
            raise CommandError(str(error)) from None
        except NomyoError as error:
            raise CommandError(str(command_error(error)), status=EXIT_NOT_AFFIRMED) from None
    seconds = time.monotonic() - start
    succeeded = steps[-1].succeeded
    if text and succeeded:
        print_output(closing_text(text_style(), seconds, steps[0].facts["tpm"], arguments.keep))
    if not text:
        print_json(_to_document(steps, seconds))
    if not succeeded:
        raise CommandError(describe_failure(steps[-1]), status=EXIT_NOT_AFFIRMED)
    return EXIT_OK


def _to_document(steps: list[Step], seconds: float) -> dict[str, Any]:
    rows = [{"step": step.name, "succeeded": step.succeeded, "seconds": step.seconds, **step.facts} for step in steps]
    return {"format": FORMAT, "succeeded": steps[-1].succeeded, "seconds": round(seconds, 3), "steps": rows}


class OutputFolder:
    """A new private folder for the files of a command. An empty folder is removed at the end of the context.

    Args:
        directory: path of a folder that does not exist; None to write nothing.

    Entering the context raises `CommandError` if the folder exists or cannot be created.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = directory

    def __enter__(self) -> Self:
        if self._directory is not None:
            _create_folder(self._directory)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._directory is not None:
            with suppress(OSError):  # it is not empty
                Path(self._directory).rmdir()

    def write(self, files: Mapping[str, Any]) -> None:
        """Write `files`: name → text, or a document to write as JSON. Raises `CommandError`."""
        if self._directory is None:
            return
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=2, allow_nan=False) + "\n"
            write_output(str(Path(self._directory, name)), text, force=False, private=True)


def _create_folder(directory: str) -> None:
    try:
        Path(directory).mkdir(0o700)
    except FileExistsError:
        raise CommandError(f"{directory}: already exists; name a new folder") from None
    except FileNotFoundError:
        raise CommandError(f"{directory}: the parent folder does not exist; create it first") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid folder name"
        raise CommandError(f"{directory}: cannot be created: {reason}; name another folder") from None


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `KeyboardInterrupt` in the main thread, like Ctrl-C, while the context is active."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set handlers
        return

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {getattr(signal, name): signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
