"""Without the extra `tpm`: one error, which says what to install. Needs no TPM."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nomyo_attest.installation import install_command

CATCH = """
import sys
sys.modules["tpm2_pytss"] = None  # as if it were not installed
from nomyo_attest.errors import AttesterError
try:
    import nomyo_attest.attester
except AttesterError as error:
    assert isinstance(error, ImportError)
    assert type(error).__name__ == "MissingExtraError"
    print(error)
"""


def test_importing_the_attester_without_its_extra_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", CATCH], capture_output=True, text=True, timeout=60, check=True)
    assert install_command("tpm") in done.stdout
    assert "apt install libtss2-dev" in done.stdout
    assert done.stderr == ""


def test_recording_without_the_extra_says_what_to_install() -> None:
    script = Path(__file__).parents[3] / "fixtures" / "record.py"
    source = f"""
import runpy, sys
sys.modules["tpm2_pytss"] = None
sys.path.insert(0, {str(script.parent)!r})
runpy.run_path({str(script)!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-B", "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("record.py: quoting with a TPM needs tpm2-pytss from the extra tpm: pip install")
    assert "Traceback" not in done.stderr
