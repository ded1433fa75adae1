"""Exit statuses: an audit returns one in its summary, and every command ends with one of them."""

from __future__ import annotations

from typing import Final

EXIT_OK: Final = 0
"""Every verdict is affirming or warning, or the command succeeded."""

EXIT_NOT_AFFIRMED: Final = 1
"""A verdict is neither affirming nor warning, evidence is malformed, another condition of ``--fail-on`` is met, or
``policy check --strict`` found a warning.
"""

EXIT_UNUSABLE: Final = 2
"""Wrong usage, a file that cannot be read or written, or an unusable policy."""
