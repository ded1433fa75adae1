"""Check that no line of an evidence ledger was changed, removed, added or moved.

A FILE may be compressed (gzip or Zstandard), or - for standard input.

Each line contains the digest of the line before it. If the first FILE continues
other files, the command reads those from the same folder. Lines that a crash
cut off, and that the next writer repaired, are reported but are not problems.

The chain alone cannot show that lines at its end were removed, or that the
whole ledger was rewritten. Store the number of records and the head that this
command prints where writers of the ledger cannot change them, and pass them the
next time as --records and --head. The ledger may have grown in between.

With --format json, prints one object:

  {"format": "nomyo-attest-ledger-verify/1", "intact": true, "files": ["…"],
   "lines": 12, "number": 12, "head": "sha256:…", "since_head": null,
   "problems": [], "problem_count": 0, "repairs": [{"file": "…",
   "line": 7, "bytes": 312}], "repair_count": 1}

A problem has file, line (0: the whole file), kind, expected, got, message.

exit status:
  0  the ledger is intact
  1  the ledger is not intact, or a file is not a ledger
  2  wrong usage, or a file that cannot be read
"""

from __future__ import annotations

import io
import itertools
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from nomyo_attest.cli.arguments import whole_number
from nomyo_attest.cli.console import print_json, print_output, text_style
from nomyo_attest.cli.errors import EXIT_NOT_AFFIRMED, EXIT_OK, CommandError
from nomyo_attest.cli.files import STANDARD_INPUT, check_inputs, unreadable_error

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser
    from nomyo_attest.ledger.verify import LedgerFile, Verification
    from nomyo_attest.report.formatting import TextStyle

FORMAT: Final = "nomyo-attest-ledger-verify/1"

EXAMPLE = """
nomyo-attest ledger verify evidence.jsonl
nomyo-attest ledger verify evidence.jsonl --records 12 --head sha256:…
nomyo-attest ledger verify evidence.0001.jsonl.gz evidence.jsonl
zcat backup.gz | nomyo-attest ledger verify -
# First: nomyo chat --evidence-log evidence.jsonl "Hello"
"""

PROBLEMS_SHOWN: Final = 10
"""The maximum number of problems in the text output. In a file that is not a ledger, every line is a problem."""

_DIGEST: Final = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})", re.ASCII)


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="the ledger, or -; several in the order of its chain")
    stored = parser.add_argument_group("values printed by an earlier verification")
    stored.add_argument("--head", metavar="DIGEST", help="the head: a line of the ledger must have this digest")
    stored.add_argument(
        "--records",
        type=whole_number,
        metavar="N",
        help="the number of the line with --head; without --head, the minimum number of records",
    )
    stored.add_argument(
        "--after", metavar="DIGEST", help="the head of the files before the first FILE, if they are stored elsewhere"
    )
    parser.hints["--number"] = "did you mean --records?"
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    check_inputs(arguments.files)
    if len({*arguments.files}) < len(arguments.files):
        raise CommandError("ledger verify: a file is repeated; pass each file once, in the order of the chain")
    if arguments.records is not None and arguments.records < 0:
        raise CommandError(f"--records: expected 0 or more, got {arguments.records}")
    head, after = _parse_digest("--head", arguments.head), _parse_digest("--after", arguments.after)

    from nomyo_attest.ledger.verify import verify

    try:
        verification = verify(arguments.files, head=head, records=arguments.records, after=after, open_file=_open_file)
    except (OSError, ValueError) as error:
        name = getattr(error, "filename", None)
        raise unreadable_error(name if isinstance(name, str) else arguments.files[0], error) from None
    if arguments.format == "json":
        print_json(_to_document(verification))
    else:
        print_output(_describe(verification, text_style(), typed=arguments.typed, head_given=head is not None))
    return EXIT_OK if verification.intact else EXIT_NOT_AFFIRMED


class _BlockReader(io.RawIOBase):
    """Read decompressed blocks as a file. After a read raised `DamageError`, every later read raises it again."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")
        self._damage = ""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` from one block. Raises `nomyo_attest.ledger.verify.DamageError`."""
        from nomyo_attest.audit.sources.source import SourceDamageError
        from nomyo_attest.ledger import verify

        try:
            while not self._left and not self._damage:
                self._left = memoryview(next(self._blocks))
        except StopIteration:
            return 0
        except SourceDamageError as damage:
            self._damage = str(damage)
        if not self._left:
            raise verify.DamageError(self._damage)
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


def _open_file(name: str, stack: ExitStack) -> LedgerFile:
    """Open a file of a ledger, which may be compressed, a pipe, or standard input.

    Raises `OSError`, `ValueError`, `CommandError`.
    """
    from nomyo_attest.audit.sources.source import BLOCK_BYTES, special_problem
    from nomyo_attest.audit.sources.unpack import decompress, detect_packing
    from nomyo_attest.evidence.content import EMPTY
    from nomyo_attest.ledger.verify import LedgerFile

    if name == STANDARD_INPUT:
        if sys.stdin is None:
            raise CommandError("standard input is closed; name a file")
        file, regular = sys.stdin.buffer, False
    else:
        file = stack.enter_context(open(name, "rb"))  # noqa: PTH123, SIM115 - a name as typed; the stack closes it
        mode = os.fstat(file.fileno()).st_mode
        regular = stat.S_ISREG(mode)
        if not regular and not stat.S_ISFIFO(mode):
            raise CommandError(f"{name}: {special_problem(mode)}")
    first = file.read(BLOCK_BYTES)
    if not first and not regular:  # the previous program in the pipeline failed
        raise CommandError(f"{'standard input' if name == STANDARD_INPUT else name}: {EMPTY}")
    packing = detect_packing(first)
    if regular and not packing:
        file.seek(0)
        return LedgerFile(file)
    blocks = itertools.chain([first], iter(lambda: file.read(BLOCK_BYTES), b""))
    text = io.BufferedReader(_BlockReader(decompress(blocks, packing)), BLOCK_BYTES)
    return LedgerFile(text, plain=False, in_folder=regular)


def _parse_digest(flag: str, text: str | None) -> str | None:
    if text is None:
        return None
    found = _DIGEST.fullmatch(text)
    if found is None:
        raise CommandError(f"{flag}: invalid digest {text[:80]!r}; write sha256: and 64 hexadecimal digits")
    return f"sha256:{found[1].lower()}"


def _to_document(verification: Verification) -> dict[str, object]:
    import msgspec

    document: dict[str, object] = {"format": FORMAT, "intact": verification.intact, **msgspec.to_builtins(verification)}
    return document


def _describe(verification: Verification, style: TextStyle, *, typed: list[str], head_given: bool) -> str:
    """Describe the outcome as text, without a final newline; `typed` is the command line."""
    from nomyo_attest.report.formatting import count, sanitize, sentence

    name = sanitize(verification.files[-1])
    if not verification.lines and any(problem.kind == "form" for problem in verification.problems):
        contains = "it contains no line of an evidence ledger, which a client writes with evidence_log"
        hint = "if it contains recorded responses, appraise it with nomyo-attest audit"
        return "\n".join(style.wrap(f"{name}: not a ledger: {contains}; {hint}"))
    intact = verification.intact
    verdict = style.paint("intact" if intact else _failure_summary(verification), "good" if intact else "bad")
    lines = [f"{name}   {verdict}   {count(verification.lines, 'line')} in {count(len(verification.files), 'file')}"]
    shown = verification.problems[:PROBLEMS_SHOWN]
    for problem in shown:
        place = f"{sanitize(problem.file)}, line {problem.line}" if problem.line else sanitize(problem.file)
        lines += ["", style.paint(f"  {place}", "bold"), *style.wrap(sentence(sanitize(problem.message)), "    ")]
        lines += style.pairs([("expected", sanitize(problem.expected)), ("got", sanitize(problem.got))], indent=4)
    if verification.problem_count > len(shown):
        lines += ["", f"  and {verification.problem_count - len(shown):,} more (--format json lists more)"]
    if verification.repairs:
        lines += ["", "  lines that a crash cut off, repaired by the next writer"]
        lines += [
            f"    {sanitize(repair.file)}, line {repair.line}: {count(repair.bytes, 'byte')} remain"
            for repair in verification.repairs
        ]
    if verification.repair_count > len(verification.repairs):
        lines.append(f"    and {verification.repair_count - len(verification.repairs)} more")
    if verification.head is not None:
        lines += ["", *style.pairs([("records", str(verification.number)), ("head", verification.head)])]
        if verification.since_head is not None:
            grown = f"{count(verification.since_head, 'line')} appended since the digest was stored"
            lines += style.wrap(
                sentence(f"all lines up to that digest are unchanged; {grown}" if intact else grown), "  "
            )
        if intact and not head_given:
            step = "next: store both values elsewhere; to detect later whether the ledger was shortened, run:"
            lines += ["", *style.wrap(step), f"  {sanitize(shlex.join([*typed, *_comparison_options(verification)]))}"]
    return "\n".join(lines)


def _comparison_options(verification: Verification) -> list[str]:
    """Return the options that compare a later state of the ledger with this one."""
    return ["--records", str(verification.number), "--head", str(verification.head)]


def _failure_summary(verification: Verification) -> str:
    from nomyo_attest.ledger.verify import LINE_ENDINGS

    if all(problem.kind == LINE_ENDINGS for problem in verification.problems):
        return "line endings were changed to CRLF"
    return "not intact"
