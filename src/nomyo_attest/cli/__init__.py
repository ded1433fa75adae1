"""The command `nomyo-attest`: its commands and its exit statuses.

Importing this package takes a few milliseconds, and so does `nomyo-attest --version`: a command imports what it needs
when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nomyo_attest.cli.program import Group, Program

# fmt: off
COMMANDS: Final = {
    "verify":        ("evidence:Verify", "appraise recorded responses by a policy"),
    "audit":         ("audit", "appraise many records, and compare them with each other"),
    "ledger verify": ("ledger_verify", "check that an evidence ledger is complete and unchanged"),
    "inspect":       ("evidence:Inspect", "show every field of a response's evidence; no verdict"),
    "rules":         ("reference:Rules", "list the rules, or explain one of them"),
    "policy learn":  ("policy:Learn", "write a policy from responses that you trust"),
    "policy check":  ("policy:Check", "lint a policy: report where it is weaker than it looks"),
    "policy show":   ("policy:Show", "show a policy as a table"),
    "schema":        ("reference:Schema", "print a JSON Schema: of policies, results and other data"),
    "example fleet": ("example_fleet", "generate synthetic responses, to try an audit on"),
    "record":        ("evidence:Record", "quote a TPM, in the form of a response (extra tpm)"),
}
"""Command → its module or class in this package, and its summary, in the order of the help."""
# fmt: on

_GROUPS: Final = {
    "ledger": Group(
        "Check the ledger to which a client appends the evidence of its responses.",
        """
nomyo chat --evidence-log evidence.jsonl "Hello"
nomyo-attest ledger verify evidence.jsonl
""",
    ),
    "policy": Group(
        "Write a policy from responses that you trust, lint a policy, or show one.",
        """
nomyo-attest example fleet fleet
nomyo-attest policy check fleet/policy.toml
""",
    ),
    "example": Group(
        "Generate synthetic data, to try the other commands on.",
        """
nomyo-attest example fleet fleet
""",
    ),
}

_EXITS: Final = """\
exit status:
  0  every verdict is affirming or warning, or the command succeeded
  1  another verdict, malformed evidence, or a check that did not pass
  2  wrong usage, a file that cannot be read or written, or an unusable policy"""

PROGRAM: Final = Program(
    "nomyo-attest",
    about="Verify the TPM 2.0 attestation evidence of recorded chat responses.",
    package="nomyo_attest.cli",
    commands=COMMANDS,
    groups=_GROUPS,
    exits=_EXITS,
    example="""
nomyo-attest example fleet fleet
nomyo-attest audit fleet/recorded --policy fleet/policy.toml
""",
    file_hint="to appraise it, write nomyo-attest verify FILE --policy POLICY, or nomyo-attest audit for many records",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nomyo-attest` with `argv`, by default the program's own arguments. Returns the exit status (`errors`)."""
    return PROGRAM.main(argv)
