"""What is shipped, what it says of itself, and what importing it costs."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from typing import TYPE_CHECKING

import pytest

import nomyo_attest

if TYPE_CHECKING:
    from pathlib import Path

TEST_COMMAND = "python3 -m venv .venv && .venv/bin/pip install -q tox && .venv/bin/tox"


def build(kind: str, root: Path, folder: Path) -> Path:
    """Build a `wheel` or an `sdist` of this tree into `folder`, with the hook that installers call (PEP 517)."""
    code = f"import sys, hatchling.build; print(hatchling.build.build_{kind}(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a wheel."""
    with zipfile.ZipFile(build("wheel", root, tmp_path_factory.mktemp("wheel"))) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def sdist(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a source distribution, without its outermost folder."""
    with tarfile.open(build("sdist", root, tmp_path_factory.mktemp("sdist"))) as archive:
        return [name.partition("/")[2] for name in archive.getnames()]


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, object]:
    """The table `project` of pyproject.toml."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(table, dict)
    return table


def test_the_wheel_holds_every_file_of_the_two_packages_and_nothing_else(root: Path, wheel: list[str]) -> None:
    source = root / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    shipped = {name for name in files if "__pycache__" not in name}
    assert {name for name in wheel if ".dist-info/" not in name} == shipped


@pytest.mark.parametrize("package", ["nomyo", "nomyo_attest"])
def test_the_wheel_tells_type_checkers_that_it_has_types(wheel: list[str], package: str) -> None:
    assert f"{package}/py.typed" in wheel


@pytest.mark.parametrize("schema", ["policy", "evidence", "result"])
def test_the_wheel_holds_the_json_schemas(wheel: list[str], schema: str) -> None:
    assert any(re.fullmatch(rf"nomyo_attest/schemas/{schema}[^/]*\.json", name) for name in wheel), wheel


def test_the_wheel_holds_the_licence(wheel: list[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel), wheel


def test_the_sdist_holds_what_the_tests_need_and_nothing_untracked(sdist: list[str]) -> None:
    assert {"src", "tests", "fixtures", "docs", "tox.ini", "pyproject.toml", "README.md"} <= {
        top(name) for name in sdist
    }
    strangers = {".git", ".tox", ".venv", ".mypy_cache", "__pycache__", "build", "dist"}
    assert not [name for name in sdist if strangers & set(name.split("/"))]


def top(name: str) -> str:
    """The outermost part of a path."""
    return name.partition("/")[0]


def test_no_dependency_is_pinned_to_one_version() -> None:
    requirements = importlib.metadata.requires("nomyo-attest")
    assert requirements
    assert not [line for line in requirements if re.search(r"(?<![<>!~])=", line.partition(";")[0])]


def test_the_base_installation_is_the_verifier_and_each_extra_adds_its_part() -> None:
    requirements = importlib.metadata.requires("nomyo-attest") or []
    needed: dict[str, set[str]] = {}
    for line in requirements:
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", line)
        needed.setdefault(extra[1] if extra else "", set()).add(re.split(r"[ <>=;]", line)[0])
    assert {name.replace(".", "-") for name in needed[""]} == {
        "backports-zstd",
        "cryptography",
        "jsonschema",
        "msgspec",
        "rich",
    }
    assert needed["client"] == {"httpx"}
    # The build backend resolves nomyo-attest[client].
    assert needed["client"] < needed["proxy"] < needed["router"]
    assert set(needed) == {"", "client", "parquet", "proxy", "router", "socks", "spark", "tpm"}


def test_the_metadata_is_that_of_the_project(project: dict[str, object]) -> None:
    metadata = importlib.metadata.metadata("nomyo-attest")
    assert metadata["Requires-Python"] == project["requires-python"] == ">=3.11"
    assert metadata["License-Expression"] == project["license"] == "Apache-2.0"


def test_one_version_stands_in_the_package_and_in_the_metadata() -> None:
    assert nomyo_attest.__version__ == importlib.metadata.version("nomyo-attest")


def test_the_command_is_installed() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="nomyo-attest")
    assert callable(command.load())


def loaded_by(code: str, names: list[str]) -> list[str]:
    """Which of these modules a program has loaded after `code`."""
    code = f"{code}\nimport sys; print(*[name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


CRYPTOGRAPHY = ["cryptography", "hashlib", "ssl"]
NETWORK = ["asyncio", "httpx", "httpcore", "socket"]
DATA = ["json", "msgspec", "jsonschema", "tomllib"]
ON_THE_EDGE = ["argparse", "rich", "starlette", "uvicorn", "trustme", "tpm2_pytss", "nomyo.cli", "nomyo.router"]
OURS = ["nomyo.chat", "nomyo.client", "nomyo.errors", "nomyo_attest.appraisal", "nomyo_attest.testing", "logging"]


def test_importing_the_verifier_imports_nothing_it_may_not_need() -> None:
    names = ["httpx", "jsonschema", "nomyo", "rich", "tpm2_pytss"]
    assert loaded_by("import nomyo_attest as na; na.appraise", names) == []


def test_importing_the_client_costs_little() -> None:
    heavy = [*CRYPTOGRAPHY, *NETWORK, *DATA, *ON_THE_EDGE, *OURS]
    assert loaded_by("import nomyo; nomyo.__version__", heavy) == []
    count = "import sys; before = set(sys.modules); import nomyo; print(len(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60


def test_the_clients_errors_are_imported_without_what_raises_them() -> None:
    heavy = [*CRYPTOGRAPHY, *NETWORK, *DATA, *ON_THE_EDGE, "nomyo.chat", "nomyo.client", "nomyo_attest.appraisal"]
    assert loaded_by("from nomyo import APIError, SecurityError, AttestationError", heavy) == []


def test_the_clients_memory_helpers_are_imported_without_the_client() -> None:
    heavy = [*CRYPTOGRAPHY, *NETWORK, *DATA, *ON_THE_EDGE, "nomyo.chat", "nomyo.client", "nomyo_attest.appraisal"]
    assert loaded_by("import nomyo; nomyo.secure_bytearray(b'x'); nomyo.get_memory_protection_info()", heavy) == []


def test_making_a_client_imports_no_router_no_command_line_and_no_forge() -> None:
    # httpx imports rich where click is there too: that is its own affair.
    others = [*(name for name in ON_THE_EDGE if name not in ("argparse", "rich")), "jsonschema", "nomyo_attest.testing"]
    assert loaded_by("import nomyo; nomyo.SecureChatCompletion('https://localhost')", others) == []


def test_ci_runs_the_command_that_the_readme_gives_for_the_tests(root: Path) -> None:
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").rstrip().endswith("\n" + TEST_COMMAND)
    assert TEST_COMMAND in (root / "README.md").read_text(encoding="utf-8")


def test_the_changelog_speaks_of_the_version_at_hand(root: Path) -> None:
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    version = nomyo_attest.__version__
    assert f"## [{version}]" in changelog or (".dev" in version and "## [Unreleased]" in changelog)
