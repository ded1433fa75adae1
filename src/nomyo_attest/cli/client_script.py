"""Console script `nomyo`: start the client's command, or say in one line why it cannot be started.

It is not in the package `nomyo`, because importing any module of a package imports the package first, and that is what
may fail: without the extra `client`, or beside the other distribution called `nomyo`. The package is named by a string
for the same reason as a command's module: it is loaded when it is run, and nothing here depends on it.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

from nomyo_attest.cli.errors import UNUSABLE, print_error

_PACKAGE: Final = "nomyo"


def main() -> int:
    """Run `nomyo` with the program's own arguments. Returns the exit status."""
    from nomyo_attest.cli.program import forget_working_directory

    forget_working_directory()

    from nomyo_attest.installation import InstallationError, require_own_package

    try:
        require_own_package(_imported())
    except InstallationError as error:
        print_error(str(error), _PACKAGE)
        return UNUSABLE
    status: int = import_module(f"{_PACKAGE}.cli").main()
    return status


def _imported() -> ModuleType | None:
    """The package `nomyo`; None if it cannot be imported for a reason that is not ours."""
    from nomyo_attest.installation import InstallationError

    try:
        return import_module(_PACKAGE)
    except InstallationError:
        raise
    except ImportError:
        return None
