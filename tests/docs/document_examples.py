"""Find and run the examples of a Markdown document.

- A `python` block is executed. All blocks of a document share one namespace. `await` works outside a function, as at
  the prompt of ``python -m asyncio``.
- A `console` block is a terminal. Bash runs the text after `$ `; a line that starts with `> ` continues the command.
  The lines below are compared with its output, including standard error. `…` matches any text: part of a line, or
  several lines. A command that fails is an error unless the block shows its status: `$ command; echo $?`.

A comment on the line before a block changes this:

- `<!-- not-run: reason -->` skips the block.
- `<!-- needs-tpm -->` runs it only with a TPM (marker `tpm`), `<!-- needs-spark -->` only with Spark (`spark`).
- `<!-- file: NAME -->` writes the block, in any language, to that file in the working folder.
- `<!-- printed -->` compares the block with the output of the `python` block before it.

A block inside a comment that begins with `<!-- setup` runs as well. A comment `<!-- with-router -->`, anywhere in a
document, provides a server for its examples. With `<!-- needs-package: NAME -->`, they are skipped if the package is
not installed, and fail if NOMYO_REQUIRE_PACKAGES names it.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import difflib
import importlib.util
import inspect
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sybil import Sybil
from sybil.evaluators.python import pad
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sybil import Document, Example, Region

ANYTHING = "…"
SECONDS = 180
# Readers would run these blocks too, but no test would notice that they stop working.
UNCHECKED = {"bash", "doctest", "py", "py3", "pycon", "python3", "sh", "shell", "shell-session", "zsh"}
NEEDS_PACKAGE = re.compile(r"^<!-- needs-package: (\w+) -->$", re.MULTILINE)
WITH_ROUTER = re.compile(r"^<!-- with-router -->$", re.MULTILINE)
COMMENT = re.compile(
    r"<!--\s*(?P<word>not-run|needs-tpm|needs-spark|file|printed)\b:?\s*(?P<rest>.*?)\s*-->[ \t]*\n[ \t]*\Z"
)


class ExampleError(Exception):
    """An example of a document fails, or the document is invalid."""


@dataclass(frozen=True)
class Note:
    """The comment before a block; `word` is `""` if there is none."""

    word: str
    rest: str

    @classmethod
    def before(cls, document: Document, region: Region) -> Note:
        """Read the comment on the line before a region."""
        found = COMMENT.search(document.text, max(0, region.start - 400), region.start)
        note = cls(found["word"], found["rest"]) if found else cls("", "")
        if note.word in {"not-run", "file"} and not note.rest:
            raise ExampleError(f"{document.path}: a comment `{note.word}` requires text after its colon")
        return note


def blocks(document: Document) -> Iterator[Region]:
    """Yield every fenced block that is an example; this is the parser for sybil."""
    for region in FencedCodeBlockLexer(r"[^\n]+", mapping={"language": "arguments", "source": "source"})(document):
        language = region.lexemes["arguments"].strip()
        note = Note.before(document, region)
        if note.word == "not-run":
            continue
        region.parsed = region.lexemes["source"]
        if note.word == "file":
            region.evaluator = write_file(note.rest)
        elif note.word == "printed":
            region.evaluator = check_printed
        elif language == "python":
            region.evaluator = run_python
        elif language == "console":
            region.evaluator = run_console
        elif language in UNCHECKED or "code-block" in language:
            raise ExampleError(f"{document.path}: a `{language}` block is not checked; write `python` or `console`")
        else:
            continue
        yield region


def examples(path: Path) -> list[tuple[Example, Note]]:
    """Return the examples of a document, in order, each with its note."""
    document = Sybil(parsers=[blocks]).parse(path)
    return [(example, Note.before(document, example.region)) for example in document.examples()]


def missing_package(path: Path) -> str | None:
    """Return a package that the examples of a document need and that is not installed."""
    needed = NEEDS_PACKAGE.findall(path.read_text(encoding="utf-8"))
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)


def wants_router(path: Path) -> bool:
    """Return whether the examples of a document need a server."""
    return WITH_ROUTER.search(path.read_text(encoding="utf-8")) is not None


def run_python(example: Example) -> None:
    """Execute a block in the namespace of its document, in a new event loop if it awaits; store its output."""
    source = pad(str(example.parsed), example.line + example.parsed.line_offset)
    code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        outcome = eval(code, example.namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(outcome)
    example.document.namespace["__printed__"] = printed.getvalue()


def check_printed(example: Example) -> None:
    """Compare a block with what the last `python` block printed."""
    compare(example, "the python block above", str(example.parsed), example.namespace.get("__printed__", ""))


def write_file(name: str) -> Callable[[Example], None]:
    """Return an evaluator that writes a block to `name`, a path inside the working folder."""

    def write(example: Example) -> None:
        path = Path(name)
        if path.is_absolute() or ".." in path.parts:
            raise ExampleError(f"{example.path}: {name} is outside the working folder")
        path.write_text(str(example.parsed), encoding="utf-8")

    return write


def run_console(example: Example) -> None:
    """Run the commands of a terminal block and compare their output."""
    for command, expected in commands(example):
        completed = subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=terminal(),
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        compare(example, f"$ {command}", expected, completed.stdout)
        if completed.returncode:
            raise ExampleError(
                f"{example.path}:{example.line}: `{command}` ended with undocumented status {completed.returncode}; "
                f"to document it, write `{command}; echo $?`. Output:\n{completed.stdout}"
            )


def commands(example: Example) -> Iterator[tuple[str, str]]:
    """Split a terminal block into commands and the output of each."""
    typed: list[str] = []
    printed: list[str] = []
    for line in str(example.parsed).splitlines():
        if line.startswith("$ "):
            if typed:
                yield "\n".join(typed), "\n".join(printed)
            typed, printed = [line[2:]], []
        elif not typed:
            raise ExampleError(f"{example.path}:{example.line}: a console block starts with a line `$ command`")
        elif line.startswith("> ") and not printed:
            typed.append(line[2:])
        else:
            printed.append(line)
    if not typed:
        raise ExampleError(f"{example.path}:{example.line}: an empty console block")
    yield "\n".join(typed), "\n".join(printed)


def terminal() -> dict[str, str]:
    """Return the variables of a plain terminal of 80 columns, with this environment's commands first on the path."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "PYTHONWARNINGS"}}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return inherited | {"PATH": path, "COLUMNS": "80", "NO_COLOR": "1", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}


def compare(example: Example, what: str, expected: str, got: str) -> None:
    """Raise `ExampleError` with a diff unless `got` is `expected`; trailing spaces are ignored."""
    want, have = ("\n".join(line.rstrip() for line in text.strip("\n").split("\n")) for text in (expected, got))
    if re.fullmatch(".*".join(re.escape(part) for part in want.split(ANYTHING)), have, re.DOTALL) is None:
        diff = difflib.unified_diff(want.split("\n"), have.split("\n"), "the document", "what it prints", lineterm="")
        raise ExampleError(f"{example.path}:{example.line}: {what}\n" + "\n".join(diff))
