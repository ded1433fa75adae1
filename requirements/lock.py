"""Write or check the lock files with which the GitHub Action installs its dependencies.

    python requirements/lock.py             write them; keep the versions that are locked and still allowed
    python requirements/lock.py --upgrade   write them with the newest releases
    python requirements/lock.py --check     check that they satisfy pyproject.toml; exit status 1 if not

Writing needs uv (`pip install uv`) and the package index. Checking needs neither, and its result changes only when
pyproject.toml or a lock file changes: a new release on the index is no problem. The tests run the check.

Each lock file holds the base dependencies, the extras in its name and the build backend: all that is needed to install
this project with `pip install --no-deps --no-build-isolation`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = "requirements"
LOCKS: Final[dict[str, tuple[str, ...]]] = {"action.txt": (), "action-parquet.txt": ("parquet",)}
"""File → extras in it. `action.yml` has the same choice in its install step; a test compares them."""

_HEADER: Final = "# Written by `python requirements/lock.py`; do not edit.\n# inputs: sha256:"
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def inputs(pyproject: dict[str, Any], extras: tuple[str, ...]) -> list[str]:
    """Return the requirements that a lock file with `extras` has to satisfy, in a fixed order."""
    project = pyproject["project"]
    wanted = [*project["dependencies"], *pyproject["build-system"]["requires"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return sorted(wanted)


def header(pyproject: dict[str, Any], extras: tuple[str, ...]) -> str:
    """Return the first lines of a lock file, with the digest of everything it was made from."""
    made_from = [pyproject["project"]["requires-python"], inputs(pyproject, extras)]
    return f"{_HEADER}{hashlib.sha256(json.dumps(made_from).encode()).hexdigest()}\n"


def problems(root: Path = ROOT) -> list[str]:
    """Return one line for each way in which the lock files do not satisfy pyproject.toml.

    Args:
        root: the project's folder.
    """
    pyproject = _read(root)
    found = []
    for name, extras in LOCKS.items():
        path = root / FOLDER / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        pins, wrong = _pins(text)
        if not text.startswith(header(pyproject, extras)):
            wrong.insert(0, "made from other requirements than pyproject.toml contains")
        wrong += _unsatisfied(inputs(pyproject, extras), pins)
        found += [f"{FOLDER}/{name}: {problem}" for problem in wrong]
    return found


def _read(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def _pins(text: str) -> tuple[dict[str, list[str]], list[str]]:
    """The locked versions by normalized name, and what is wrong with single lines."""
    pins: dict[str, list[str]] = {}
    wrong = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        said = line.partition("--hash")[0].strip()
        try:
            requirement = Requirement(said)
        except InvalidRequirement:
            wrong.append(f"not a requirement: {said!r}")
            continue
        (version,) = re.findall(r"^==([^*]+)$", str(requirement.specifier)) or [None]
        if version is None or requirement.url is not None:
            wrong.append(f"not pinned to one version: {said!r}")
        elif not _HASH.search(line):
            wrong.append(f"without a SHA-256 hash: {said!r}")
        else:
            pins.setdefault(canonicalize_name(requirement.name), []).append(version)
    return pins, wrong


def _unsatisfied(wanted: list[str], pins: dict[str, list[str]]) -> list[str]:
    found = []
    for line in wanted:
        requirement = Requirement(line)
        versions = pins.get(canonicalize_name(requirement.name), [])
        if not versions:
            found.append(f"{line!r} is not locked")
        found += [
            f"{line!r} is locked to {version}"
            for version in versions
            if not requirement.specifier.contains(version, prereleases=True)
        ]
    return found


def write(root: Path, *, upgrade: bool) -> None:
    """Write the lock files with uv. Raises `CalledProcessError`."""
    pyproject = _read(root)
    oldest = re.findall(r"[0-9.]+", pyproject["project"]["requires-python"])[0]
    for name, extras in LOCKS.items():
        target = root / FOLDER / name
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "inputs.in")
            source.write_text("\n".join(inputs(pyproject, extras)) + "\n", encoding="utf-8")
            command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", oldest]
            # Only wheels: a build would need dependencies of its own, which come without hashes.
            command += ["--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate"]
            command += ["--upgrade"] if upgrade else []
            subprocess.run([*command, "--output-file", target, source], check=True, stdout=subprocess.DEVNULL)
        target.write_text(header(pyproject, extras) + target.read_text(encoding="utf-8"), encoding="utf-8")


def main() -> int:
    """Exit status: 0; 1 if a lock file does not satisfy pyproject.toml; 2 if none can be written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a lock file is out of date")
    parser.add_argument("--upgrade", action="store_true", help="lock the newest releases that pyproject.toml allows")
    arguments = parser.parse_args()
    if not arguments.check:
        try:
            write(ROOT, upgrade=arguments.upgrade)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"lock.py: uv did not write the lock files: {error}; install uv with pip install uv", file=sys.stderr)
            return 2
    found = problems()
    for problem in found:
        print(f"{problem}; run python requirements/lock.py", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
