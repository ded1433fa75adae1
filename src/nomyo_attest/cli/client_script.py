"""Console script `nomyo`: start the client's command, or report in one line why it cannot start.

This module is not in the package `nomyo`, because importing a module of that package first imports the package itself.
That fails without the extra `client`, and if another distribution called `nomyo` is installed. The package is imported
by name, so that `nomyo_attest` does not depend on it.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

from nomyo_attest.cli.errors import EXIT_UNUSABLE, print_error

_PACKAGE: Final = "nomyo"


def main() -> int:
    """Run `nomyo` with the program's own arguments. Returns the exit status."""
    from nomyo_attest.cli.program import forget_working_directory

    forget_working_directory()

    from nomyo_attest.installation import InstallationError, require_own_package

    try:
        require_own_package(_import_client())
    except InstallationError as error:
        print_error(str(error), _PACKAGE)
        return EXIT_UNUSABLE
    status: int = import_module(f"{_PACKAGE}.cli").main()
    return status


def _import_client() -> ModuleType | None:
    """Import the package `nomyo`; None if that fails for any reason other than `InstallationError`."""
    from nomyo_attest.installation import InstallationError

    try:
        return import_module(_PACKAGE)
    except InstallationError:
        raise
    except ImportError:
        return None
