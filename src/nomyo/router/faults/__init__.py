"""Every named way in which this router can be made to answer wrongly, for tests of clients; one at a time.

Most are wrong in exactly one way; some are only unusual, as their reason says. The table is what ``nomyo router
--fault NAME`` and `RunningRouter.fault` choose from.
"""

from __future__ import annotations

from typing import Final

from nomyo.router import extra  # noqa: F401 - it says what to install
from nomyo.router.faults import answers, keys, quote, statuses, wire
from nomyo.router.faults.model import NONE, STAGES, Fault, Switch

FAULTS: Final[tuple[Fault, ...]] = (
    *keys.faults(),
    *statuses.faults(),
    *answers.faults(),
    *quote.faults(),
    *wire.faults(),
)
"""The table. Names are unique."""

BY_NAME: Final = {fault.name: fault for fault in FAULTS}

__all__ = ["BY_NAME", "FAULTS", "NONE", "STAGES", "Fault", "Switch"]
