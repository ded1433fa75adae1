"""Run the tests that need a TPM, in the environment this is started in (`tox -e tpm`).

tpm2-pytss is built from source against a system library, so it cannot be a plain dependency of a tox environment: on a
machine without that library the whole run would end in an installation error. Here it is installed where it can be.

- Everything is there: a test that skips is a failure.
- Something is missing: the tests skip, each saying what; with NOMYO_REQUIRE_TPM=1 that is an error instead.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys

DEBIAN = "on Debian: apt-get install swtpm libtss2-dev pkg-config gcc python3-dev"


def missing() -> str:
    """What keeps the TPM tests from running, once pip has installed what it can; `""` where nothing does."""
    if shutil.which("swtpm") is None:
        return "the program swtpm is missing"
    if importlib.util.find_spec("tpm2_pytss") is not None:
        return ""
    if shutil.which("pkg-config") is None:
        return "pkg-config is missing"
    if subprocess.run(["pkg-config", "--exists", "tss2-esys"], check=False).returncode != 0:
        return "the library tss2-esys and its headers are missing"
    extra = [line.partition(";")[0] for line in importlib.metadata.requires("nomyo-attest") or [] if of_extra_tpm(line)]
    if importlib.util.find_spec("pip") is None:  # as in environments that uv makes
        subprocess.run([sys.executable, "-m", "ensurepip"], check=True)
    print(f"installing {', '.join(extra)}; built from source, it takes up to a minute", flush=True)
    pip = subprocess.run([sys.executable, "-m", "pip", "install", "-q", *extra], check=False)
    return f"{', '.join(extra)} could not be installed, see above" if pip.returncode else ""


def of_extra_tpm(requirement: str) -> bool:
    """Whether a line of the metadata (PEP 508; builders differ in the quotes they write) belongs to the extra."""
    return re.search(r"""extra == ['"]tpm['"]""", requirement) is not None


def main() -> int:
    """Exit status of pytest; 1 where a TPM is required and something is missing."""
    reason = missing()
    if reason:
        print(f"tests with a TPM: {reason}; {DEBIAN}", file=sys.stderr, flush=True)
        if os.environ.get("NOMYO_REQUIRE_TPM") == "1":
            return 1
    else:
        os.environ["NOMYO_REQUIRE_TPM"] = "1"
    return subprocess.run([sys.executable, "-m", "pytest", "-m", "tpm", *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
