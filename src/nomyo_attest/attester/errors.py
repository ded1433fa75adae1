"""What goes wrong in front of a TPM, beside the common `AttesterError`.

::

    AttesterError                        nomyo_attest.errors
    ├── MissingExtraError (ImportError)  the extra `tpm`, or the library it binds, is not installed
    ├── SoftwareTPMError                 swtpm cannot be started, or has died
    └── UnsupportedByTPMError            this TPM has no such bank, PCR, key size or hash
"""

from __future__ import annotations

from nomyo_attest.errors import AttesterError


class MissingExtraError(AttesterError, ImportError):
    """tpm2-pytss cannot be imported. An `ImportError` too, so that optional imports of this package fail as usual."""


class SoftwareTPMError(AttesterError):
    """The software TPM (swtpm) is not installed, did not start, or ended too early."""


class UnsupportedByTPMError(AttesterError):
    """The TPM is reachable and well, but lacks what was asked for."""
