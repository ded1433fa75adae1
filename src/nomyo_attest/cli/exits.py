"""The exit statuses of `nomyo-attest`: part of its interface."""

from __future__ import annotations

from typing import Final

OK: Final = 0
"""All evidence is affirming or warning; what was asked for is done."""

NOT_AFFIRMED: Final = 1
"""Some evidence is not affirmed, or malformed; a policy has a warning (``policy check --strict``)."""

UNUSABLE: Final = 2
"""Wrong usage; a file that cannot be read or written; a policy that cannot be used."""

INTERRUPTED: Final = 130
"""Ctrl-C: 128 and SIGINT, as shells count."""

TERMINATED: Final = 143
"""SIGTERM, where there is something to be put away before the end: 128 and SIGTERM."""

PIPE_CLOSED: Final = 141
"""Whoever read the output went away: 128 and SIGPIPE. Not 0, for nobody has seen the rest."""
