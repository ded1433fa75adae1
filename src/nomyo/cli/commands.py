"""Every command of `nomyo`."""

from __future__ import annotations

from typing import Final

from nomyo_attest.cli.program import Program

# fmt: off
COMMANDS: Final = {
    "demo":          ("demo", "the whole story on this machine: no account, no TPM"),
    "chat":          ("chat", "ask a model, encrypted; with --policy, only a server it affirms"),
    "keys generate": ("keys_generate", "make a key pair of the client's own"),
    "keys show":     ("keys_show", "say what a key file is, and who may read it"),
    "keys pin":      ("keys_pin", "fetch a server's key and print the pin for it"),
    "router":        ("router", "run the reference router (extra router)"),
}
"""A command's words → its module in this package, and what it does, in the order of the help."""
# fmt: on

_EXITS: Final = """\
exit status:
  0  what was asked for is done; with --policy, the policy affirms the server
  1  the answer is refused: the policy does not affirm the server; the demo
     went otherwise than it should
  2  wrong usage, a file, key or policy that cannot be used, a server that
     cannot be reached or does not answer as it should"""

PROGRAM: Final = Program(
    "nomyo",
    about="Encrypted chat completions, handed over only if your policy affirms the server.",
    package="nomyo.cli",
    commands=COMMANDS,
    exits=_EXITS,
)
