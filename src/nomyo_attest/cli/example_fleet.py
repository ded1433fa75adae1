"""Generate the recorded responses of a synthetic fleet, to try an audit on.

The command creates the folder DIR with:

  recorded/    JSON Lines, one file a day, two of them compressed, and some JSON
  policy.toml  the policy of the fleet's owner
  README.txt   a description of the folder

Some machines keep their AIK, the others create one for each response. Every
machine is updated once. The records contain three anomalies, which an audit of
DIR/recorded by the policy finds. The same arguments generate the same fleet.
FOR TESTS ONLY: the private keys are public.

exit status:
  0  the folder was created
  2  wrong usage, or a folder that cannot be created
"""

from __future__ import annotations

import secrets
import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nomyo_attest.cli.arguments import whole_number
from nomyo_attest.cli.console import print_output
from nomyo_attest.cli.errors import EXIT_OK, CommandError
from nomyo_attest.report.formatting import sanitize

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser

DEFAULT_RECORDS: Final = 2000
DEFAULT_MACHINES: Final = 12
DEFAULT_DAYS: Final = 30

EXAMPLE = """
nomyo-attest example fleet fleet
nomyo-attest audit fleet/recorded --policy fleet/policy.toml
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.hints["--number"] = "did you mean --records?"
    parser.add_argument("folder", metavar="DIR", help="the folder to create")
    parser.add_argument(
        "--records",
        type=whole_number,
        default=DEFAULT_RECORDS,
        metavar="N",
        help=f"number of responses; default: {DEFAULT_RECORDS}",
    )
    parser.add_argument(
        "--machines",
        type=whole_number,
        default=DEFAULT_MACHINES,
        metavar="N",
        help=f"number of machines; default: {DEFAULT_MACHINES}",
    )
    parser.add_argument(
        "--days", type=whole_number, default=DEFAULT_DAYS, metavar="N", help=f"number of days; default: {DEFAULT_DAYS}"
    )
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="seed of the generator; another seed generates another fleet; default: 0",
    )
    parser.add_argument("--force", action="store_true", help="replace DIR, if this command created it")


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
        _check_replaceable(folder, name, force=arguments.force)
        temporary = folder.with_name(f".{folder.name[:100]}.{secrets.token_hex(8)}.tmp")
        try:
            temporary.mkdir(0o700)  # no other user can put links into it while its files are written
            new = temporary / folder.name
            new.mkdir()
            write_fleet(fleet, new)
            _put_in_place(new, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except FileNotFoundError:
        raise CommandError(f"{name}: its parent folder does not exist; create it first") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid folder name"
        raise CommandError(f"{name}: cannot be created: {reason}; name another folder") from None
    created = f"{fleet.records:,} responses from {fleet.machines:,} machines over {fleet.days:,} days"
    audit = shlex.join(["nomyo-attest", "audit", str(folder / "recorded"), "--policy", str(folder / "policy.toml")])
    print_output(f"{sanitize(name)}: {created}; see README.txt in it\nnext: {sanitize(audit)}")
    return EXIT_OK


def _check_replaceable(folder: Path, name: str, *, force: bool) -> None:
    """Raise `CommandError` if `folder` exists and may not be replaced."""
    if not (folder.is_symlink() or folder.exists()):
        return
    if not force:
        raise CommandError(
            f"{name}: already exists; name another folder, or add --force to replace one that this command created"
        )
    if folder.is_symlink() or not _is_example_fleet(folder):
        raise CommandError(f"{name}: this command did not create it; name another folder, or remove it yourself")


def _is_example_fleet(folder: Path) -> bool:
    from nomyo_attest.testing.fleet.fleet import README, README_FIRST_LINE

    try:
        with (folder / README).open("rb") as file:
            return file.readline(1000).rstrip() == README_FIRST_LINE.encode()
    except OSError:
        return False


def _put_in_place(new: Path, folder: Path) -> None:
    """Rename the complete new folder to `folder`; an existing folder is removed afterwards."""
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
