"""A connection to one TPM: found, opened, started up, and every failing command told by its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias

from nomyo_attest.attester._tss import ESAPI, TPM2_RC, TPM2_SU, TSS2_Exception
from nomyo_attest.attester.errors import SoftwareTPMError
from nomyo_attest.attester.software import SoftwareTPM
from nomyo_attest.errors import AttesterError

Kind: TypeAlias = Literal["device", "swtpm", "tcti"]

DEVICES: Final = ("/dev/tpmrm0", "/dev/tpm0")
"""Where Linux shows a TPM: through its resource manager, and directly, for one program at a time."""

# TSS2_TCTI_RC_LAYER (TCG TSS 2.0 Overview, response codes): it was the way to the TPM that failed, not the TPM.
_TCTI_LAYER: Final = 0xA0000


class Connection:
    """One TPM, reachable. Not for use by several threads at once.

    Attributes:
        kind: ``"device"``, ``"swtpm"`` (one started here) or ``"tcti"`` (any other, software or not).
        tcti: the TCTI string that reaches the TPM.
        esapi: the TSS Enhanced System API on it.
    """

    def __init__(self, tcti: str, kind: Kind, software: SoftwareTPM | None = None) -> None:
        self.kind: Final = kind
        self.tcti: Final = tcti
        self._software = software
        try:
            self.esapi = ESAPI(tcti)
        except (TSS2_Exception, RuntimeError) as error:
            raise AttesterError(
                f"no TPM can be reached through the TCTI {tcti!r}: {error}. Known ones are device:/dev/tpmrm0, "
                "swtpm:path=SOCKET, mssim:host=HOST,port=PORT and tabrmd:, each with its libtss2-tcti library"
            ) from error
        try:
            self._start_up()
        except BaseException:
            self.esapi.close()
            raise

    @classmethod
    def open(cls, where: str | None) -> Self:
        """Connect to a TPM; `where` and errors as in `Attester.open`."""
        if where == "swtpm":
            software = SoftwareTPM()
            software.start()
            try:
                return cls(software.tcti, "swtpm", software)
            except BaseException:
                software.stop()
                raise
        if where is None:
            where = "device:" + next((path for path in DEVICES if Path(path).exists()), DEVICES[0])
        scheme, _, path = where.partition(":")
        if scheme != "device":
            return cls(where, "tcti")
        path = path or DEVICES[0]
        if not Path(path).exists():
            raise AttesterError(f"this machine shows no TPM at {path}; a software TPM for tests is 'swtpm'")
        if not os.access(path, os.R_OK | os.W_OK):
            raise AttesterError(f"no permission to use {path}: most systems ask for membership in the group tss")
        return cls(f"device:{path}", "device")

    def close(self) -> None:
        """End the connection, and the software TPM if `open` started one. Closing twice does nothing."""
        try:
            self.esapi.close()
        finally:
            if self._software is not None:
                self._software.stop()

    @contextmanager
    def command(self, what: str) -> Iterator[None]:
        """Turn a TSS error inside into `AttesterError` with `what`, the TPM's own words and its code."""
        try:
            yield
        except TSS2_Exception as error:
            code = int(error.rc)
            said = f"{what}: {error} (code 0x{code:x})"
            if self._software is not None and code & 0xFF0000 == _TCTI_LAYER:
                status = self._software.exit_status(within=1.0)
                if status is not None:
                    raise SoftwareTPMError(f"{said}; swtpm has ended with status {status}") from error
            raise AttesterError(said) from error

    @contextmanager
    def flushed(self, handle: int) -> Iterator[None]:
        """Flush a transient object or session when the context ends, however it ends."""
        try:
            yield
        except BaseException:
            with suppress(TSS2_Exception):  # the first failure is the one to hear of
                self.esapi.flush_context(handle)
            raise
        with self.command("TPM2_FlushContext"):
            self.esapi.flush_context(handle)

    def _start_up(self) -> None:
        """Ask for something every TPM answers; one that has power but was never started is started."""
        try:
            with self.command("TPM2_GetRandom"):
                self.esapi.get_random(1)
        except AttesterError as error:
            if not (isinstance(error.__cause__, TSS2_Exception) and int(error.__cause__.rc) == int(TPM2_RC.INITIALIZE)):
                raise
            with self.command("TPM2_Startup"):
                self.esapi.startup(TPM2_SU.CLEAR)
