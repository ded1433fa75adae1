"""Importing this raises `MissingExtraError` where the extra `router` is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from nomyo.router.errors import MissingExtraError
from nomyo_attest.installation import install_command

PACKAGES: Final = ("starlette", "uvicorn", "h11", "trustme")
"""What the router imports that the client does without."""

_missing = [name for name in PACKAGES if find_spec(name) is None]
if _missing:
    raise MissingExtraError(
        f"the reference router needs {', '.join(_missing)}, of the extra router: {install_command('router')}"
    )
