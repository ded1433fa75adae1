"""What may be given by a flag or by the environment: the flag wins, and complaints name the one that was used."""

from __future__ import annotations

import os
from typing import NamedTuple


class Setting(NamedTuple):
    """A value, and where it was given.

    Attributes:
        value: as given; None if it was not, or if the variable is empty.
        source: flag or variable, such as ``"--policy"``.
    """

    value: str | None
    source: str


def setting(flag: str, value: str | None, variable: str) -> Setting:
    """What `flag` says, or else the environment's `variable`."""
    if value is not None:
        return Setting(value, flag)
    return Setting(os.environ.get(variable) or None, variable)
