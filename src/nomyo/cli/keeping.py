"""A new, private folder for what is to be looked at later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nomyo.cli.errors import CommandError
from nomyo_attest.cli.files import write_output


class Keeping:
    """A folder to keep files in, for their owner alone; made when there is something to keep.

    Args:
        directory: a folder that is not there yet; None keeps nothing.

    Raises `CommandError` if it is there.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._made = False
        if directory is not None and os.path.lexists(directory):
            raise _taken(directory)

    def keep(self, files: Mapping[str, Any]) -> None:
        """Write `files`: name → text, or what is to be JSON. Raises `CommandError`."""
        if self._directory is None or not files:
            return
        if not self._made:
            _make(self._directory)
            self._made = True
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=2, allow_nan=False) + "\n"
            write_output(str(Path(self._directory, name)), text, force=False, private=True)


def _make(directory: str) -> None:
    try:
        os.mkdir(directory, 0o700)  # noqa: PTH102 - a name as typed, NUL bytes and all
    except FileExistsError:
        raise _taken(directory) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no folder can have this name"
        raise CommandError(f"{directory}: cannot be made: {reason}; name another folder") from None


def _taken(directory: str) -> CommandError:
    return CommandError(f"{directory}: is there already; name a folder that is not")
