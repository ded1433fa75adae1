"""The command `nomyo`, built from the same parts as `nomyo-attest` (`nomyo_attest.cli`).

Importing this package takes a few milliseconds, and so does `nomyo --version`: a command imports what it needs when it
runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nomyo_attest.cli.program import Group, Program

# fmt: off
COMMANDS: Final = {
    "demo":          ("demo", "show the client, the gate and a refusal on this machine"),
    "chat":          ("chat", "send an encrypted prompt; --policy requires an affirmed server"),
    "keys generate": ("keys:Generate", "generate a key pair for the client"),
    "keys show":     ("keys:Show", "show a key file's size, fingerprint and protection"),
    "keys pin":      ("keys:Pin", "fetch a server's key and print the pin for it"),
    "proxy":         ("proxy", "give programs on this machine an OpenAI API (extra proxy)"),
    "router":        ("router", "run the reference router (extra router)"),
}
"""Command → its module or class in this package, and its summary; the help lists the commands in this order."""
# fmt: on

_GROUPS: Final = {
    "keys": Group(
        "Create and show the client's key pair, and pin a server's key.",
        """
nomyo keys pin https://api.nomyo.ai
""",
    ),
}

_EXITS: Final = """\
exit status:
  0  the command succeeded; with --policy, the policy affirms the server, or
     only warns
  1  the response was refused because the policy does not affirm the server,
     or a step of the demo did not go as expected
  2  wrong usage; a file, key or policy that cannot be used; or a server that
     cannot be reached or sends an unusable response"""

PROGRAM: Final = Program(
    "nomyo",
    about="Encrypted chat completions, released only if your policy affirms the server.",
    package="nomyo.cli",
    commands=COMMANDS,
    groups=_GROUPS,
    exits=_EXITS,
    example="""
nomyo demo
nomyo chat "Why is the sky blue?"
""",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nomyo` with `argv`, by default the program's own arguments. Returns the exit status."""
    return PROGRAM.main(argv)
