"""A new, private folder for what is to be looked at later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nomyo.cli.errors import CommandError
from nomyo_attest.cli.files import write_output


class Keeping:
    """A folder to keep files in, for their owner alone; gone again if nothing was kept when the context ends.

    Args:
        directory: a folder that is not there yet; None keeps nothing.

    Raises `CommandError`, on entering, if it is there, or cannot be made.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = directory

    def __enter__(self) -> Self:
        if self._directory is not None:
            _make(self._directory)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._directory is not None:
            with suppress(OSError):  # it is not empty
                Path(self._directory).rmdir()

    def keep(self, files: Mapping[str, Any]) -> None:
        """Write `files`: name → text, or what is to be JSON. Raises `CommandError`."""
        if self._directory is None:
            return
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=2, allow_nan=False) + "\n"
            write_output(str(Path(self._directory, name)), text, force=False, private=True)


def _make(directory: str) -> None:
    try:
        Path(directory).mkdir(0o700)
    except FileExistsError:
        raise CommandError(f"{directory}: is there already; name a folder that is not") from None
    except FileNotFoundError:
        raise CommandError(f"{directory}: its folder is not there; make it first") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no folder can have this name"
        raise CommandError(f"{directory}: cannot be made: {reason}; name another folder") from None
