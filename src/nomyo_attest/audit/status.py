"""The exit statuses that say what was found: an audit returns them in its summary, and every command ends with one."""

from __future__ import annotations

from typing import Final

OK: Final = 0
"""Every verdict is affirming or warning, or the command succeeded."""

NOT_AFFIRMED: Final = 1
"""A verdict is neither affirming nor warning, evidence is malformed, another condition of ``--fail-on`` is met, or
``policy check --strict`` found a warning.
"""

UNUSABLE: Final = 2
"""Wrong usage, a file that cannot be read or written, or an unusable policy."""
