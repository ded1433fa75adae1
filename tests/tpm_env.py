"""Run the tests that need a TPM in the current environment (`tox -e tpm`).

tpm2-pytss is built from source against a system library. As a dependency of a tox environment, it would fail to install
on machines without that library, so this script installs it if possible.

- If nothing is missing, a skipped test is a failure.
- Otherwise, the tests are skipped with the reason; with NOMYO_REQUIRE_TPM=1, that is an error.
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
    """Install tpm2-pytss if possible; return what is still missing, or `""`."""
    if shutil.which("swtpm") is None:
        return "the program swtpm is missing"
    if importlib.util.find_spec("tpm2_pytss") is not None:
        return ""
    if shutil.which("pkg-config") is None:
        return "pkg-config is missing"
    if subprocess.run(["pkg-config", "--exists", "tss2-esys"], check=False).returncode != 0:
        return "the library tss2-esys and its headers are missing"
    extra = [line.partition(";")[0] for line in importlib.metadata.requires("nomyo-attest") or [] if of_extra_tpm(line)]
    if importlib.util.find_spec("pip") is None:  # environments that uv creates have no pip
        subprocess.run([sys.executable, "-m", "ensurepip"], check=True)
    print(f"installing {', '.join(extra)}; built from source, it takes up to a minute", flush=True)
    pip = subprocess.run([sys.executable, "-m", "pip", "install", "-q", *extra], check=False)
    return f"{', '.join(extra)} could not be installed, see above" if pip.returncode else ""


def of_extra_tpm(requirement: str) -> bool:
    """Return whether a requirement (PEP 508; builders use different quotes) belongs to the extra."""
    return re.search(r"""extra == ['"]tpm['"]""", requirement) is not None


def main() -> int:
    """Return the exit status of pytest; 1 if a TPM is required but something is missing."""
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
