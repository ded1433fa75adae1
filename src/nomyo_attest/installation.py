"""Check that the installation is complete and not overwritten; return the command that installs a missing extra.

The distribution is called `nomyo-attest` and contains the packages `nomyo` and `nomyo_attest`. The package index has
another distribution called `nomyo`, by another publisher, which contains a package `nomyo` too. Python's installers
install both into one folder without a warning, and the second one overwrites files of the first. `require_client` and
`require_own_package` raise an error in that case.

One case cannot be detected here. If the other distribution is installed last, its ``nomyo/__init__.py`` replaces ours,
so ``import nomyo`` runs none of our code. The commands `nomyo` and `nomyo-attest`, and the modules that the other
distribution lacks, such as `nomyo.errors` and `nomyo.router`, remain installed; those of the client refuse to run.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Final

from nomyo_attest._version import __version__
from nomyo_attest.errors import NomyoAttestError

DISTRIBUTION: Final = "nomyo-attest"
"""The distribution's name on a package index."""

_OTHER: Final = "nomyo"
"""The other publisher's distribution, which contains a package of the same name."""


class InstallationError(NomyoAttestError, ImportError):
    """The package cannot be used as it is installed; the message contains the command that repairs it."""


def install_command(extra: str = "", version: str = __version__) -> str:
    """Return the command that installs this distribution, for an error message.

    Args:
        extra: the extra that is needed, such as ``"parquet"``; none by default.
        version: the version to install. A development version is not on an index, so it is installed from a clone.
    """
    extras = f"[{extra}]" if extra else ""
    if ".dev" in version:
        return f"pip install {_quoted('.' + extras)} in a clone of the repository"
    return f"pip install {_quoted(DISTRIBUTION + extras)}"


def _quoted(requirement: str) -> str:
    """Quote `requirement` for a shell, where brackets are a pattern."""
    return f"'{requirement}'" if "[" in requirement else requirement


def require_client() -> None:
    """Check that the package `nomyo` can be imported here. Raises `InstallationError`.

    The package needs httpx. A distribution called `nomyo` on `sys.path` is an error even if no file was overwritten.
    """
    version = _find_other_version()
    if version is not None:
        raise InstallationError(
            f"another distribution called {_OTHER} ({version}) is installed in this environment. Its files and those "
            f"of {DISTRIBUTION} overwrite each other; {_REPAIR}",
            name=_OTHER,
        )
    from importlib.util import find_spec

    if find_spec("httpx") is None:
        raise InstallationError(
            f"the package nomyo needs httpx from the extra client: {install_command('client')}", name="httpx"
        )


def require_own_package(package: ModuleType | None) -> None:
    """Check that `package`, which was imported as `nomyo`, belongs to this distribution.

    Installing another distribution can replace its ``__init__.py``, and uninstalling that one can remove it.

    Raises:
        InstallationError: the package belongs to another distribution, or is incomplete.
    """
    if getattr(package, "__version__", None) != __version__:
        raise InstallationError(
            f"files of the package nomyo belong to another distribution or are missing; {_REPAIR}",
            name=_OTHER,
        )


def _find_other_version() -> str | None:
    """Return the version of an installed distribution called `nomyo`; None if there is none.

    `importlib.metadata` could find it too, but takes longer to import than all of `nomyo`.
    """
    for folder in sys.path:
        try:
            names = os.listdir(folder or os.curdir)  # noqa: PTH208 - pathlib would cost an import
        except OSError:  # a zip file, or a folder that does not exist
            continue
        for name in names:
            stem, extension = os.path.splitext(name)  # noqa: PTH122 - pathlib would cost an import
            project, _, version = stem.partition("-")
            if project.lower() == _OTHER and extension in (".dist-info", ".egg-info"):
                return version.partition("-")[0] or "of unknown version"
    return None


_REPAIR: Final = (
    f"uninstall both and install one: pip uninstall {_OTHER} {DISTRIBUTION}, then {install_command('client')}; "
    f"programs that need both distributions need two virtual environments"
)
