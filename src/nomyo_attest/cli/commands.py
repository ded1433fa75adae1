"""Every command of `nomyo-attest`."""

from __future__ import annotations

from typing import Final

from nomyo_attest.cli.program import Program

# fmt: off
COMMANDS: Final = {
    "verify":        ("verify", "appraise recorded responses by a policy"),
    "audit":         ("audit", "appraise many records, and tell what only shows across them"),
    "ledger verify": ("ledger_verify", "check that an evidence ledger is whole"),
    "inspect":       ("inspect", "show every field of a response's evidence; no verdict"),
    "rules":         ("rules", "what is asked of evidence, and what to do when it does not hold"),
    "policy learn":  ("policy_learn", "make a policy from responses you trust"),
    "policy check":  ("policy_check", "say what a careful colleague would say of a policy"),
    "policy show":   ("policy_show", "show a policy as a table"),
    "schema":        ("schema", "print a JSON Schema: policy, evidence, result, verdict"),
    "example fleet": ("example_fleet", "make a fleet's recorded answers, to try an audit on"),
    "record":        ("record", "quote a TPM into a response-shaped file (extra tpm)"),
}
"""A command's words → its module in this package, and what it does, in the order of the help."""
# fmt: on

_EXITS: Final = """\
exit status:
  0  all evidence is affirming or warning; what was asked for is done
  1  any other verdict, malformed evidence included
  2  wrong usage, a file that cannot be read or written, an unusable policy"""

PROGRAM: Final = Program(
    "nomyo-attest",
    about="Appraises TPM 2.0 quotes recorded from a chat service.",
    package="nomyo_attest.cli",
    commands=COMMANDS,
    exits=_EXITS,
)
