"""Import tpm2-pytss and define the errors of this package. No other module imports tpm2-pytss.

::

    AttesterError                        nomyo_attest.errors
    ├── MissingExtraError (ImportError)  the extra `tpm`, or the TPM2 software stack, is not installed
    ├── SoftwareTPMError                 swtpm cannot be started, or exited
    └── UnsupportedByTPMError            this TPM does not have the bank, PCR, key size or hash
"""

from __future__ import annotations

import os

from nomyo_attest.errors import AttesterError
from nomyo_attest.installation import install_command


class MissingExtraError(AttesterError, ImportError):
    """tpm2-pytss cannot be imported. It is also an `ImportError`, which code with optional imports catches."""


class SoftwareTPMError(AttesterError):
    """The software TPM (swtpm) is not installed, did not start, or exited early."""


class UnsupportedByTPMError(AttesterError):
    """The TPM works, but does not have the requested bank, PCR, key size or hash."""


# libtss2 logs every failed command to stderr. The exceptions contain the same text, so logging is off by default;
# TSS2_LOG in the environment overrides that.
os.environ.setdefault("TSS2_LOG", "all+NONE")

try:
    from tpm2_pytss import (
        ESAPI,
        ESYS_TR,
        TPM2_ALG,
        TPM2_CAP,
        TPM2_RC,
        TPM2_SE,
        TPM2_SU,
        TPM2B_ECC_PARAMETER,
        TPM2B_PUBLIC,
        TPM2B_PUBLIC_KEY_RSA,
        TPM2B_SENSITIVE_CREATE,
        TPML_DIGEST_VALUES,
        TPML_PCR_SELECTION,
        TPMS_ATTEST,
        TPMS_PCR_SELECTION,
        TPMT_HA,
        TPMT_PUBLIC,
        TPMT_PUBLIC_PARMS,
        TPMT_SYM_DEF,
        TPMU_HA,
        TSS2_Exception,
    )
except ImportError as error:
    raise MissingExtraError(
        f"quoting with a TPM needs tpm2-pytss from the extra tpm: {install_command('tpm')}. It builds against the TPM2 "
        "software stack, which the system provides: apt install libtss2-dev pkg-config gcc (Debian, Ubuntu), "
        f"dnf install tpm2-tss-devel pkgconf gcc (Fedora). The import failed with: {error}"
    ) from error

__all__ = [
    "ESAPI",
    "ESYS_TR",
    "TPM2B_ECC_PARAMETER",
    "TPM2B_PUBLIC",
    "TPM2B_PUBLIC_KEY_RSA",
    "TPM2B_SENSITIVE_CREATE",
    "TPM2_ALG",
    "TPM2_CAP",
    "TPM2_RC",
    "TPM2_SE",
    "TPM2_SU",
    "TPML_DIGEST_VALUES",
    "TPML_PCR_SELECTION",
    "TPMS_ATTEST",
    "TPMS_PCR_SELECTION",
    "TPMT_HA",
    "TPMT_PUBLIC",
    "TPMT_PUBLIC_PARMS",
    "TPMT_SYM_DEF",
    "TPMU_HA",
    "MissingExtraError",
    "SoftwareTPMError",
    "TSS2_Exception",
    "UnsupportedByTPMError",
]
