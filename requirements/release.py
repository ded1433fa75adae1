"""Build everything that a release consists of, twice, and compare the two builds byte for byte.

    python requirements/release.py dist                  build the commit that is checked out
    python requirements/release.py dist --tag v1.2.3     refuse if the tag does not name the version that is built

The folder then contains the sdist and the wheel; for the base installation and for each extra a lock file with hashes
(`lock-EXTRA.txt`) and a CycloneDX SBOM (`sbom-EXTRA.cdx.json`); and `SHA256SUMS`. `tox -e release` runs this with the
tools that it needs: build, twine, check-wheel-contents and uv. Resolving the dependencies needs the package index.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PROJECT: Final = "nomyo-attest"
BASE: Final = "base"
"""The name, in file names, of the installation without extras."""

_SURROUNDINGS: Final = ({"umask": 0o022, "TZ": "UTC"}, {"umask": 0o077, "TZ": "Asia/Kathmandu"})
"""What differs between the two builds: a build that depends on either gives different bytes."""


class ReleaseError(Exception):
    """A release that must not be published. The message says what to do."""


def release(root: Path, out: Path, *, tag: str | None = None) -> list[Path]:
    """Build the commit that is checked out in `root` into the new folder `out`, and return the files.

    Args:
        root: the project's folder, a git checkout without changes.
        out: a folder that does not exist or is empty; nothing is written to it until all files are built and checked.
        tag: `v` and the version, if the commit is tagged.

    Raises:
        ReleaseError: the checkout has changes, the tag is of another version, the builds differ, or `out` has files.
        subprocess.CalledProcessError: a tool failed; its output says why.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ReleaseError(f"{out} is not an empty folder; choose a new one")
    if changed := _output("git", "-C", root, "status", "--porcelain"):
        first_change = changed.splitlines()[0].strip()
        raise ReleaseError(f"the checkout has uncommitted changes, first {first_change!r}; commit them")
    epoch = int(_output("git", "-C", root, "log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory() as folder:
        builds = []
        for number, surroundings in enumerate(_SURROUNDINGS):
            source = Path(folder, f"source-{number}")
            _export(root, source)
            builds.append(_build(source, Path(folder, f"built-{number}"), epoch, surroundings))
        first, second = builds
        if digests(first) != digests(second):
            raise ReleaseError(f"two builds of one commit differ: {digests(first)} and {digests(second)}")
        (wheel,) = first.glob("*.whl")
        version = wheel.name.split("-")[1]
        if tag is not None and tag != f"v{version}":
            raise ReleaseError(f"the tag is {tag} and the version is {version}; change _version.py or the tag")
        _run("twine", "check", "--strict", *sorted(first.iterdir()))
        _run("check-wheel-contents", wheel)
        _lock(Path(folder, "source-0"), first, version, epoch)
        sums = "".join(f"{digest}  {name}\n" for name, digest in digests(first).items())
        (first / "SHA256SUMS").write_text(sums, encoding="ascii")
        out.mkdir(parents=True, exist_ok=True)
        for path in sorted(first.iterdir()):
            shutil.copy(path, out / path.name)
    return sorted(out.iterdir())


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 in hex of each file in `folder`, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def reproducible_sbom(exported: dict[str, Any], version: str, extra: str, epoch: int) -> dict[str, Any]:
    """Return a CycloneDX document that depends on the commit and the locked packages alone.

    Args:
        exported: what `uv export --format cyclonedx1.5` wrote, with a random serial number and the time of day.
        version: the version of the project, which uv leaves out where a build backend supplies it.
        extra: the extra that the document describes, or "base".
        epoch: the time of the commit, in seconds since 1970.
    """
    document: dict[str, Any] = copy.deepcopy(exported)
    document["metadata"]["timestamp"] = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    root = document["metadata"]["component"]
    root["version"] = version
    root["purl"] = f"pkg:pypi/{PROJECT}@{version}"
    root["licenses"] = [{"license": {"id": "Apache-2.0"}}]
    contents = json.dumps([extra, version, document["components"]], sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, contents)}"
    return document


def extras(root: Path) -> tuple[str, ...]:
    """Return the extras that pyproject.toml declares, in its order."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return tuple(pyproject["project"]["optional-dependencies"])


def _export(root: Path, target: Path) -> None:
    """Copy the files of the commit, and nothing that is only in the folder."""
    target.mkdir()
    archive = target.with_suffix(".tar")
    _run("git", "-C", root, "archive", "--format=tar", f"--output={archive}", "HEAD")
    _run("tar", "-xf", archive, "-C", target)


def _build(source: Path, target: Path, epoch: int, surroundings: dict[str, Any]) -> Path:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": surroundings["TZ"]}
    command = [sys.executable, "-m", "build", "--outdir", str(target), str(source)]
    subprocess.run(command, check=True, env=environment, umask=surroundings["umask"], stdout=subprocess.DEVNULL)
    return target


def _lock(source: Path, target: Path, version: str, epoch: int) -> None:
    """Resolve the dependencies of all extras once, and write a lock file and an SBOM for each."""
    (wheel,) = target.glob("*.whl")
    # pip then installs the project from this wheel or not at all.
    pinned = f"{PROJECT}=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    _run("uv", "lock", "--quiet", "--project", source)
    for extra in (BASE, *extras(source)):
        chosen = [] if extra == BASE else ["--extra", extra]
        export = ["uv", "export", "--quiet", "--locked", "--no-default-groups", "--project", str(source), *chosen]
        locked = _output(*export, "--no-emit-project", "--no-header", "--no-annotate")
        (target / f"lock-{extra}.txt").write_text(f"{pinned}{locked}\n", encoding="utf-8")
        exported = json.loads(_output(*export, "--format", "cyclonedx1.5"))
        document = reproducible_sbom(exported, version, extra, epoch)
        (target / f"sbom-{extra}.cdx.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout.strip()


def main() -> int:
    """Exit status: 0, or 1 if there is no release."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="FOLDER", help="a new folder for the files of the release")
    parser.add_argument("--tag", help="the tag of the commit: `v` and the version; refuse if they differ")
    arguments = parser.parse_args()
    try:
        files = release(ROOT, arguments.out.resolve(), tag=arguments.tag)
    except (ReleaseError, OSError, subprocess.CalledProcessError) as error:
        print(f"release.py: {error}", file=sys.stderr)
        return 1
    for path in files:
        print(f"{path.stat().st_size:>12,}  {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
