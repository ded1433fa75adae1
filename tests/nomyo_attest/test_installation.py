"""The install command in error messages, and the package `nomyo` beside another distribution or without its extra."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from nomyo_attest._version import __version__
from nomyo_attest.installation import InstallationError, install_command, require_own_package

SRC: Final = Path(__file__).parents[2] / "src"

OTHER_INIT: Final = '__version__ = "0.2.9"\nfrom nomyo.nomyo import SecureChatCompletion\n'
OTHER_FILES: Final = {
    "nomyo/__init__.py": OTHER_INIT,
    "nomyo/nomyo.py": "class SecureChatCompletion: ...\n",
    "nomyo/SecureMemory.py": "",
    "nomyo/SecureCompletionClient.py": "",
}
"""The other distribution's modules, by the names that the real one has."""


@pytest.mark.parametrize(
    ("extra", "version", "command"),
    [
        ("client", "1.2.0", "pip install 'nomyo-attest[client]'"),
        ("", "1.2.0", "pip install nomyo-attest"),
        ("client", "1.2.0.dev3", "pip install '.[client]' in a clone of the repository"),
        ("", "1.2.0.dev3", "pip install . in a clone of the repository"),
    ],
)
def test_the_install_command_names_the_index_for_a_release_and_the_clone_for_a_development_version(
    extra: str, version: str, command: str
) -> None:
    assert install_command(extra, version) == command


def test_no_message_contains_an_install_command_of_its_own() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in SRC.rglob("*.py")}
    assert [path.name for path, text in texts.items() if "pip install" in text] == ["installation.py"]


ONLY_THESE: Final = """\
import sys
from importlib.machinery import PathFinder
class OnlyThese:
    def find_spec(self, name, path=None, target=None):
        return PathFinder.find_spec(name, [{folder!r}]) if name in ("nomyo", "nomyo_attest") else None
sys.meta_path.insert(0, OnlyThese())
"""
"""Hides the packages of this environment, which is an editable installation or one of a wheel."""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with a copy of both packages, as an installer makes it."""
    folder = tmp_path / "site-packages"
    for name in ("nomyo", "nomyo_attest"):
        shutil.copytree(SRC / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def add_metadata(folder: Path, name: str = "nomyo-0.2.9.dist-info") -> None:
    (folder / name).mkdir()
    (folder / name / "METADATA").write_text("Metadata-Version: 2.4\nName: nomyo\nVersion: 0.2.9\n", encoding="utf-8")


def add_other_files(folder: Path) -> None:
    for name, text in OTHER_FILES.items():
        (folder / name).write_text(text, encoding="utf-8")


def python(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with the packages in `folder`, and their dependencies from this environment."""
    variables = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", ONLY_THESE.format(folder=str(folder)) + code, *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)


SCRIPT: Final = "import sys; from nomyo_attest.cli.client_script import main; sys.exit(main())"
"""What the console script `nomyo` does."""


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a traceback that ends with an `InstallationError`."""
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("nomyo_attest.installation.InstallationError: "), done.stderr
    return last


def complained(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on standard error of a command that exited with status 2."""
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("nomyo: ")
    return line


def test_a_copy_of_both_packages_works(packages: Path) -> None:
    code = "import nomyo, nomyo.errors, nomyo.router; print(nomyo.__file__)"
    assert Path(python(packages, code).stdout.strip()).is_relative_to(packages)
    done = python(packages, SCRIPT, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"nomyo {__version__}\n", "")


def test_importing_nomyo_without_httpx_is_an_import_error_with_the_install_command(packages: Path) -> None:
    without = "import sys; sys.modules['httpx'] = None; "
    said = refused(python(packages, without + "import nomyo"))
    assert f"needs httpx from the extra client: {install_command('client')}" in said
    code = "try:\n    import nomyo\nexcept ImportError as error:\n    print(error.name)"
    assert python(packages, without.rstrip("; ") + "\n" + code).stdout == "httpx\n"
    assert install_command("client") in complained(python(packages, without + SCRIPT, "chat", "hello"))
    verifier = python(packages, without + "from nomyo_attest.cli import main; sys.exit(main())", "--version")
    assert (verifier.returncode, verifier.stderr) == (0, "")


@pytest.mark.parametrize("name", ["nomyo-0.2.9.dist-info", "nomyo-0.3.1-py3.11.egg-info", "NOMYO-0.2.9.dist-info"])
def test_importing_nomyo_beside_the_metadata_of_another_distribution_is_an_error(packages: Path, name: str) -> None:
    add_metadata(packages, name)
    version = name.split("-")[1].removesuffix(".dist")
    for code in ("import nomyo", "from nomyo import SecureChatCompletion", "import nomyo.router"):
        said = refused(python(packages, code))
        assert f"another distribution called nomyo ({version}) is installed" in said
        assert "pip uninstall nomyo nomyo-attest, then pip install" in said
    assert f"({version})" in complained(python(packages, SCRIPT, "--version"))


def test_the_other_distribution_in_another_folder_of_the_environment_is_an_error(
    packages: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    add_metadata(other)
    done = python(packages, f"import sys; sys.path.append({str(other)!r}); import nomyo")
    assert "another distribution called nomyo (0.2.9)" in refused(done)


def test_distributions_whose_names_only_begin_alike_are_none_of_its_business(packages: Path) -> None:
    for name in ("nomyo_attest-0.3.0.dist-info", "nomyo_tools-1.0.dist-info", "nomyo-data"):
        add_metadata(packages, name)
    assert python(packages, "import nomyo").returncode == 0


def test_the_other_distribution_installed_first_is_found_by_its_metadata(packages: Path) -> None:
    # Ours was written last: __init__.py is ours, and so are the modules of the same names.
    add_metadata(packages)
    assert "(0.2.9)" in refused(python(packages, "import nomyo"))


def test_the_other_distribution_installed_last_is_found_by_the_command_and_by_modules_that_only_this_one_has(
    packages: Path,
) -> None:
    add_metadata(packages)
    add_other_files(packages)
    assert python(packages, "import nomyo; print(nomyo.__version__)").stdout == "0.2.9\n"  # cannot be detected
    for code in ("import nomyo.errors", "from nomyo.chat import SecureChatCompletion", "import nomyo.router"):
        assert "files of the package nomyo belong to another distribution" in refused(python(packages, code))
    assert "files of the package nomyo belong to another" in complained(python(packages, SCRIPT, "demo"))


def test_an_incomplete_package_after_the_other_distribution_was_uninstalled_is_an_error(packages: Path) -> None:
    for name in OTHER_FILES:
        (packages / name).unlink()
    assert "or are missing; uninstall both" in refused(python(packages, "import nomyo.errors"))
    assert "or are missing; uninstall both" in complained(python(packages, SCRIPT, "demo"))


def test_the_command_does_not_start_where_the_other_distribution_takes_the_whole_package(packages: Path) -> None:
    # As with an editable installation of this one, whose folder comes later on the path.
    shutil.rmtree(packages / "nomyo")
    (packages / "nomyo").mkdir()
    add_other_files(packages)
    assert "files of the package nomyo belong to another" in complained(python(packages, SCRIPT, "demo"))
    (packages / "nomyo/nomyo.py").write_text("import a_dependency_that_is_missing\n", encoding="utf-8")
    assert "files of the package nomyo belong to another" in complained(python(packages, SCRIPT, "demo"))


def test_folders_of_the_path_that_cannot_be_listed_are_passed_over(packages: Path, tmp_path: Path) -> None:
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.py", "")
    done = python(packages, f"import sys; sys.path += [{str(archive)!r}, '/nonexistent', '']; import nomyo")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_package_of_another_version_is_not_ours() -> None:
    with pytest.raises(InstallationError, match="or are missing"):
        require_own_package(sys)
