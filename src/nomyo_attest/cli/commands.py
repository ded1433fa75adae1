"""Every command, in the order of the help; the one that is asked for is imported, and no other."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from nomyo_attest.cli.console import say
from nomyo_attest.cli.errors import CommandError
from nomyo_attest.cli.exits import OK

# fmt: off
COMMANDS: Final = {
    "verify":       ("verify", "appraise recorded responses by a policy"),
    "inspect":      ("inspect", "show every field of a response's evidence; no verdict"),
    "rules":        ("rules", "what is asked of evidence, and what to do when it does not hold"),
    "policy learn": ("policy_learn", "make a policy from responses you trust"),
    "policy check": ("policy_check", "say what a careful colleague would say of a policy"),
    "policy show":  ("policy_show", "show a policy as a table"),
    "schema":       ("schema", "print a JSON Schema: policy, evidence or result"),
    "record":       ("record", "quote a TPM into a response-shaped file (extra tpm)"),
}
"""A command's words → its module in this package, and what it does."""
# fmt: on

_EXITS: Final = """\
exit status:
  0  all evidence is affirming or warning; what was asked for is done
  1  any other verdict, malformed evidence included
  2  wrong usage, a file that cannot be read or written, an unusable policy"""


def run(argv: list[str]) -> int:
    """Find the command that `argv` names and run it. Returns the exit status; raises `CommandError`."""
    if argv and argv[0] in ("-h", "--help", "help"):
        say(_help())
        return OK
    if argv and argv[0] in ("-V", "--version"):
        from nomyo_attest._version import __version__

        say(f"nomyo-attest {__version__}")
        return OK
    if not argv:
        raise CommandError("no command is given; see nomyo-attest --help")
    if argv[0] == "policy" and len(argv) > 1 and argv[1] in ("-h", "--help"):
        say(_help("policy "))
        return OK
    for length in (2, 1):
        words = " ".join(argv[:length])
        if words in COMMANDS and len(words.split()) == length:
            return _run(words, argv[length:])
    raise CommandError(_unknown(argv))


def _run(words: str, argv: list[str]) -> int:
    from nomyo_attest.cli.parser import Parser

    module = import_module(f"nomyo_attest.cli.{COMMANDS[words][0]}")
    parser = Parser(words, module.__doc__ or "", module.EXAMPLE)
    module.configure(parser)
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:  # --help
        return int(end.code or 0)
    status: int = module.run(arguments)
    return status


def _help(start: str = "") -> str:
    rows = [f"  {words.ljust(12)}  {summary}" for words, (_, summary) in COMMANDS.items() if words.startswith(start)]
    lines = [f"usage: nomyo-attest {start}COMMAND …", "", "Appraises TPM 2.0 quotes recorded from a chat service."]
    lines += ["", *rows, "", "nomyo-attest COMMAND --help has an example of each; nomyo-attest --version", "", _EXITS]
    return "\n".join(lines)


def _unknown(argv: list[str]) -> str:
    from difflib import get_close_matches

    two_words = {words.split()[0] for words in COMMANDS if " " in words}
    if argv[0] in two_words:
        known = [words.split()[1] for words in COMMANDS if words.startswith(f"{argv[0]} ")]
        problem = f"unknown command {' '.join(argv[:2])!r}" if len(argv) > 1 else f"{argv[0]} needs one more word"
        return f"{problem}; it is nomyo-attest {argv[0]} {', '.join(known[:-1])} or {known[-1]}"
    close = get_close_matches(" ".join(argv[:2]), COMMANDS, 1) or get_close_matches(argv[0], COMMANDS, 1)
    hint = f"did you mean {close[0]!r}?" if close else "see nomyo-attest --help"
    return f"unknown command {argv[0]!r}; {hint}"
