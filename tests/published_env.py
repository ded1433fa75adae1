"""Prove the defect tests, and run the published client (`tox -e published`).

A test of a defect that passes here proves little: it might pass anywhere. So `tests/nomyo/defects/` is run a second
time in an environment of its own, which holds nomyo 0.2.9 from the package index and nothing of this project, and there
every test has to fail, by an assertion of its own: not skip, not pass, not break in a fixture or on a missing name.

That environment is made once and kept. Its interpreter also runs the published client against this project's router and
against the plain one (`tests/nomyo/published/`), where every test has to pass.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # so that this runs as a script

from tests.nomyo.defects.rows import ROWS, row_of  # noqa: E402 (needs the line above)

PUBLISHED = "nomyo==0.2.9"
TOOLS = ("pytest>=8.4", "pytest-xdist>=3.6", "trustme>=1.2")
PARALLEL = ("-n", "auto", "--dist", "loadfile")
WORKS = (
    "tests/nomyo/published",
    "tests/nomyo/wire/test_plain_router.py",
    "tests/nomyo/router/test_clients.py::test_the_published_client_gets_its_answers",
)
"""Tests that run the published client where its interpreter is named, and skip elsewhere."""

SECONDS = 1200


def environment(folder: Path) -> Path:
    """The interpreter of the published client's environment, which is made where it is not there yet."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = folder / "made-for.txt"
    wanted = "\n".join((PUBLISHED, *TOOLS))
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"making an environment with {PUBLISHED}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        run_pip(python, "install", PUBLISHED, *TOOLS)
        # Its documentation and what it leaves out are part of what the list speaks of.
        run_pip(python, "download", "--no-deps", "--no-binary", "nomyo", "--dest", str(folder / "sdist"), PUBLISHED)
        stamp.write_text(wanted, encoding="utf-8")
    code = "import importlib.util, nomyo; print(nomyo.__version__, importlib.util.find_spec('nomyo_attest'))"
    found = subprocess.run([python, "-c", code], env=clean(), cwd=ROOT, capture_output=True, text=True, check=True)
    if found.stdout.split() != ["0.2.9", "None"]:
        raise SystemExit(f"{python} has another nomyo: {found.stdout}")
    return python


def run_pip(python: Path, command: str, *arguments: str) -> None:
    """Run pip in the published client's environment."""
    subprocess.run([python, "-m", "pip", command, "-q", "--disable-pip-version-check", *arguments], check=True)


def clean() -> dict[str, str]:
    """This process's variables without those that would let this project's package in."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def prove(python: Path, folder: Path, arguments: list[str]) -> ET.Element:
    """Run the defect tests with the published client; what came of them, as JUnit XML."""
    (sdist,) = (folder / "sdist").glob("nomyo-*.tar.gz")
    report = folder / "proofs.xml"
    report.unlink(missing_ok=True)
    # Only the conftest.py of the defects: the one above needs this project's own tools. The published client warns of
    # many things, which is not what makes a test fail.
    options = ["--confcutdir", "tests/nomyo/defects", "-o", "filterwarnings=default", "-p", "no:anyio", "-rN"]
    options += ["--junitxml", str(report)]
    command = [str(python), "-m", "pytest", "tests/nomyo/defects", "-q", "--tb=no", "--no-header"]
    command += [*PARALLEL, *options, *arguments]
    variables = clean() | {"NOMYO_DEFECTS_SDIST": str(sdist)}
    ran = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, timeout=SECONDS, check=False)
    found = ET.parse(report).getroot() if report.exists() else None
    if found is None or found.find(".//testcase") is None:
        raise SystemExit(f"the defect tests did not run:\n{ran.stdout.decode(errors='replace')}")
    return found


def judge(case: ET.Element) -> tuple[bool, str]:
    """Whether a test proves its defect, and what it found, in one line."""
    found = case.find("failure")
    others = [kind for kind in ("error", "skipped") if case.find(kind) is not None]
    if found is None or others:
        state = others[0] if others else "passed"
        where = case.find(state)
        return False, f"{state}: {'' if where is None else one_line(where.get('message', ''))}"
    said = one_line(found.get("message", ""))
    kind, _, text = said.partition(": ")
    return (True, text) if kind == "AssertionError" and text else (False, f"failed, but not by its own words: {said}")


def one_line(message: str) -> str:
    """The first line of a failure's message."""
    return message.strip().partition("\n")[0]


def report(cases: list[ET.Element], *, whole: bool) -> int:
    """Print a row a defect, then a line for each test that proves nothing; how many those are."""
    found: dict[str, list[tuple[str, bool, str]]] = defaultdict(list)
    for case in cases:
        name = case.get("name", "?")
        found[row_of(name)].append((name, *judge(case)))
    print(f"\nwhat {PUBLISHED} does, and its tests notice\n")
    for row in ROWS if whole else [row for row in ROWS if row in found]:
        tests = found.get(row, [])
        proved = [text for _, good, text in tests if good]
        shown = proved[0] if proved else "NOT PROVED"
        print(f"{row:>4}  {len(proved)} of {len(tests)}  {shown if len(shown) <= 160 else shown[:159] + '…'}")
    bad = [(name, text) for tests in found.values() for name, good, text in tests if not good]
    missing = [row for row in ROWS if whole and row not in found]
    for name, text in bad:
        print(f"{name}: {text}", file=sys.stderr)
    for row in missing:
        print(f"{row}: no test", file=sys.stderr)
    return len(bad) + len(missing)


def main() -> int:
    """0 if every proof holds and the published client works with both routers."""
    folder, arguments = Path(sys.argv[1]).absolute(), sys.argv[2:]
    python = environment(folder)
    command = [sys.executable, "-m", "pytest", "-q", *PARALLEL, *WORKS, *arguments]
    variables = os.environ | {"NOMYO_PUBLISHED_PYTHON": str(python)}
    works = subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode
    cases = list(prove(python, folder, arguments).iter("testcase"))
    selected = any(re.fullmatch("-k.*|--deselect.*|.*::.*", argument) for argument in arguments)
    failed = report(cases, whole=not selected)
    print(f"\n{len(cases) - failed} passed, {failed} failed", flush=True)
    nothing_selected = 5  # what pytest says where -k leaves nothing
    return 1 if works not in (0, nothing_selected) or failed else 0


if __name__ == "__main__":
    sys.exit(main())
