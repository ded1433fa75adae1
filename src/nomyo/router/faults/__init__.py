"""The faults that the reference router can simulate, one at a time, for tests of clients.

Most faults make a response wrong in exactly one way. The others are valid but unusual responses, and their `reason`
begins with "Not a fault". ``nomyo router --fault NAME`` and `RunningRouter.fault` choose from this table.
"""

from __future__ import annotations

from typing import Final

from nomyo.router.errors import require_extra

require_extra()

from nomyo.router.faults.http import connection_faults, key_faults, status_faults  # noqa: E402 - needs the extra
from nomyo.router.faults.model import NO_FAULT, STAGES, Fault, Switch  # noqa: E402
from nomyo.router.faults.response import evidence_faults, response_faults  # noqa: E402

FAULTS: Final[tuple[Fault, ...]] = (
    *key_faults(),
    *status_faults(),
    *response_faults(),
    *evidence_faults(),
    *connection_faults(),
)
"""All faults. Names are unique."""

BY_NAME: Final = {fault.name: fault for fault in FAULTS}

__all__ = ["BY_NAME", "FAULTS", "NO_FAULT", "STAGES", "Fault", "Switch"]
