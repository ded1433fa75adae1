"""What may be given by a flag or by the environment: the flag wins, and complaints name the one that was used.

Neither may be given and empty. Most often that is a shell variable which is not set, or a command that failed:
``export NOMYO_SERVER_KEY_PINS=$(…)`` hides its status. To take it as "not given" would drop a pin or a policy without a
word, or send a prompt elsewhere.
"""

from __future__ import annotations

import argparse
import os
from typing import NamedTuple

from nomyo.cli.errors import CommandError


class Setting(NamedTuple):
    """A value, and where it was given.

    Attributes:
        value: as given; None if it was not.
        source: flag or variable, such as ``"--policy"``.
    """

    value: str | None
    source: str


def setting(flag: str, value: str | None, variable: str) -> Setting:
    """What `flag` says, or else the environment's `variable`. Raises `CommandError` for a variable that is empty."""
    if value is not None:
        return Setting(value, flag)
    found = os.environ.get(variable)
    if found is not None and not found.strip():
        raise CommandError(f"{variable}: is set and empty; give it a value, or unset it")
    return Setting(found, variable)


def filled(text: str) -> str:
    """The value of a flag, if there is one: the type of every argument that is a text."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is given and empty; give it a value (is a shell variable not set?)")
    return text
