"""What may be given by a flag or by the environment: the flag wins, and complaints name the one that was used.

Neither may be given and empty. Most often that is a shell variable which is not set, or a command that failed:
``export NOMYO_SERVER_KEY_PINS=$(…)`` hides its status. To take it as "not given" would drop a pin or a policy without a
word, or send a prompt elsewhere.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from nomyo.cli.errors import CommandError

_PREFIX: Final = "NOMYO_"

VARIABLES: Final[Mapping[str, str]] = {
    "api_key": "NOMYO_API_KEY",
    "base_url": "NOMYO_BASE_URL",
    "attestation_policy": "NOMYO_POLICY",
    "require_attestation": "NOMYO_POLICY",
    "evidence_log": "NOMYO_EVIDENCE_LOG",
    "model": "NOMYO_MODEL",
    "security_tier": "NOMYO_SECURITY_TIER",
    "server_key_pins": "NOMYO_SERVER_KEY_PINS",
}
"""Option of the client → the environment variable that sets it."""


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


def check_variables() -> None:
    """Refuse variables of the environment that look like a misspelled one of `VARIABLES`.

    An unknown variable has no effect, so that a misspelled ``NOMYO_POLICY`` would switch the gate off without any sign.

    Raises `CommandError`.
    """
    from nomyo.argument_names import meant_by

    for name in os.environ:
        if not name.upper().startswith(_PREFIX) or name in VARIABLES.values():
            continue
        meant = meant_by(name, tuple(VARIABLES.values()))
        if meant not in VARIABLES.values():  # an option of the library, under a name of its own
            meant = VARIABLES.get(meant_by(name[len(_PREFIX) :].lower(), tuple(VARIABLES)) or "")
        if meant is not None:
            raise CommandError(f"{name[:40]}: unknown environment variable; did you mean {meant}? Otherwise unset it")


def filled(text: str) -> str:
    """The value of a flag, if there is one: the type of every argument that is a text."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is given and empty; give it a value (is a shell variable not set?)")
    return text
