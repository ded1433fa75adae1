"""Make a fleet's recorded answers, to try an audit on: a new folder DIR with

  recorded/    JSON Lines, a file a day, two of them compressed, and some JSON
  policy.toml  the policy of the fleet's owner
  README.txt   what is in it

Some of the machines keep their AIK, the others have a new one for each answer.
Every machine is updated once, and three things are not as they should be; to
find them, audit DIR/recorded by the policy. The same arguments make the same
fleet. FOR TESTS ONLY: the keys are known to everybody.

Exit status: 0; 2 for wrong usage, or a folder that cannot be made.
"""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nomyo_attest.cli.arguments import whole_number
from nomyo_attest.cli.console import print_output
from nomyo_attest.cli.errors import OK, CommandError
from nomyo_attest.report.formatting import sanitize

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser

RECORDS_USUAL: Final = 2000
MACHINES_USUAL: Final = 12
DAYS_USUAL: Final = 30

EXAMPLE = """
nomyo-attest example fleet fleet
nomyo-attest audit fleet/recorded --policy fleet/policy.toml
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", metavar="DIR", help="the folder to make")
    parser.add_argument(
        "--records", type=whole_number, default=RECORDS_USUAL, metavar="N", help=f"answers; default: {RECORDS_USUAL}"
    )
    parser.add_argument(
        "--machines",
        type=whole_number,
        default=MACHINES_USUAL,
        metavar="M",
        help=f"machines; default: {MACHINES_USUAL}",
    )
    parser.add_argument(
        "--days", type=whole_number, default=DAYS_USUAL, metavar="D", help=f"days; default: {DAYS_USUAL}"
    )
    parser.add_argument(
        "--seed", type=whole_number, default=0, metavar="S", help="another seed, another fleet; default: 0"
    )
    parser.add_argument("--force", action="store_true", help="replace DIR, if this command made it")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    from nomyo_attest.testing import ForgeError
    from nomyo_attest.testing.fleet import Fleet, write_fleet

    name = arguments.folder
    try:
        fleet = Fleet(arguments.records, arguments.machines, arguments.days, arguments.seed)
    except ForgeError as error:
        raise CommandError(f"--{error.field}: expected {error.expected}, got {error.got}") from None
    try:
        folder = Path(name)
        _check(folder, name, force=arguments.force)
        beside = folder.with_name(f".{folder.name[:100]}.{secrets.token_hex(8)}.tmp")
        try:
            beside.mkdir(0o700)  # nobody else can put links in it while its files are written
            new = beside / folder.name
            new.mkdir()
            write_fleet(fleet, new)
            _put_in_place(new, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except FileNotFoundError:
        raise CommandError(f"{name}: its folder is not there; make it first") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no folder can have this name"
        raise CommandError(f"{name}: cannot be made: {reason}; name another folder") from None
    what = f"{fleet.records} answers of {fleet.machines} machines in {fleet.days} days"
    print_output(f"{sanitize(name)}: {what}; see README.txt in it")
    return OK


def _check(folder: Path, name: str, *, force: bool) -> None:
    """Raise `CommandError` unless the name is free, or what has it may be replaced."""
    if not (folder.is_symlink() or folder.exists()):
        return
    if not force:
        raise CommandError(f"{name}: is there already; --force replaces a folder that this command made")
    if folder.is_symlink() or not _made_here(folder):
        raise CommandError(f"{name}: is no folder that this command made; name another one, or remove it yourself")


def _made_here(folder: Path) -> bool:
    from nomyo_attest.testing.fleet.fleet import README, README_BEGINS

    try:
        with (folder / README).open("rb") as file:
            return file.readline(1000).rstrip() == README_BEGINS.encode()
    except OSError:
        return False


def _put_in_place(new: Path, folder: Path) -> None:
    """Give the folder its name; what had it is there until the new one is whole."""
    if folder.exists():
        old = new.parent.with_suffix(".old")
        folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            with suppress(OSError):
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(folder)
