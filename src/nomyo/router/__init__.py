"""The reference router (extra `router`): the server's side of the protocol, for development, tests and hosting. ::

    from nomyo.router import RouterOptions, RunningRouter

    with RunningRouter(RouterOptions(tpm="soft")) as router:
        print(router.url, router.ca)

`serve` runs a router until a signal arrives, as ``nomyo router`` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nomyo.router.errors import MissingExtraError, RouterError, require_extra
from nomyo.router.options import RouterOptions

if TYPE_CHECKING:
    from nomyo.router.faults import FAULTS, Fault
    from nomyo.router.program import serve
    from nomyo.router.running import RunningRouter

__all__ = ["FAULTS", "Fault", "MissingExtraError", "RouterError", "RouterOptions", "RunningRouter", "serve"]

_MODULES = {
    "FAULTS": "nomyo.router.faults",
    "Fault": "nomyo.router.faults",
    "RunningRouter": "nomyo.router.running",
    "serve": "nomyo.router.program",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_extra()
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
