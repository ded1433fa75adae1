"""Sources of evidence: this machine's TPM, swtpm, a software TPM with public keys, or none.

Each response gets its own quote, signed by a key that is created for it and then discarded. The log at the start
and every response (`Source.claim`) state whether the evidence comes from a software TPM.

A software TPM measures no machine, so this module simulates a measured boot (TCG PC Client Platform Firmware Profile,
3.3.4) with events in PCR 0 for firmware, PCR 7 for Secure Boot and PCR 10 for IMA. The first measurement of IMA is a
digest over the PCRs of the boot, so PCR 10 changes with the firmware.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from nomyo.router.errors import RouterError
from nomyo.router.options import ORIGINAL, RouterOptions
from nomyo_attest.errors import AttesterError
from nomyo_attest.testing import Forge, ForgeError, keys

logger = logging.getLogger("nomyo.router")

ABSENT: Final[Mapping[str, Any]] = {"is_available": False}
"""The `tpm_attestation` block of a router without a TPM."""

_TPM_SU_CLEAR: Final = 0
"""TPM_SU_CLEAR (TPM 2.0 Library, Part 2, 6.10): prepare for a start with TPM2_Startup(CLEAR)."""

_TRIAL_PAYLOAD_ID: Final = "a trial at start"
_QUOTES_PER_CACHE: Final = 1024
"""Number of quotes of the soft TPM after which the forge's caches of keys are cleared."""

_BOOT_HINT: Final = "use a software TPM, swtpm or soft"


class Source(Protocol):
    """A source of evidence. Thread-safe; it makes one quote at a time.

    Attributes:
        kind: ``"device"``, ``"swtpm"``, ``"soft"`` or ``"none"``.
        claim: description of the evidence in responses, `_metadata.tpm_kind`.
    """

    kind: str
    claim: str

    def attest(self, payload_id: str) -> Mapping[str, Any]:
        """Make the `tpm_attestation` block of a response. Raises `AttesterError` if the TPM fails."""

    def boot(self, firmware: str) -> None:
        """Simulate a boot of `firmware`, `ORIGINAL_FIRMWARE` or `OTHER_FIRMWARE`.

        Raises `RouterError` if the source does not support it, and `AttesterError` if the TPM fails.
        """

    def close(self) -> None:
        """Close the source and stop the programs that it started. Closing twice does nothing."""


class NoTPM:
    """The source of a router without a TPM."""

    kind = "none"
    claim = "none"

    def attest(self, payload_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - required by Source
        return ABSENT

    def boot(self, firmware: str) -> None:  # noqa: ARG002 - required by Source
        raise RouterError(f"boot: this router has no TPM, so it cannot simulate a boot; {_BOOT_HINT}")

    def close(self) -> None:
        pass


class Device:
    """The TPM of this machine. Raises `AttesterError` if it does not exist or cannot be accessed."""

    kind = "device"
    claim = "device"

    def __init__(self, pcrs: str, aik: str, tcti: str | None = None) -> None:
        from nomyo_attest.attester import Attester

        self._pcrs = pcrs
        self._aik = aik
        self._lock = threading.Lock()
        self._attester = Attester.open(tcti)

    def attest(self, payload_id: str) -> Mapping[str, Any]:
        with self._lock:
            return self._attester.attest(payload_id=payload_id, pcrs=self._pcrs, key=self._aik)

    def boot(self, firmware: str) -> None:  # noqa: ARG002 - required by Source
        raise RouterError(f"boot: the TPM of this machine cannot simulate a boot; {_BOOT_HINT}")

    def close(self) -> None:
        with self._lock:
            self._attester.close()


class SoftwareDevice(Device):
    """A swtpm that this class starts and boots. Raises `AttesterError` if it cannot be started."""

    kind = "swtpm"
    claim = "swtpm, a software TPM that measures no machine: for tests only"

    def __init__(self, pcrs: str, aik: str) -> None:
        from nomyo_attest.attester import SoftwareTPM

        self._software = SoftwareTPM()
        self._software.start()
        try:
            super().__init__(pcrs, aik, self._software.tcti)
            measure_boot(self._attester.measure, ORIGINAL_FIRMWARE)
        except BaseException:
            self._software.stop()
            raise

    def boot(self, firmware: str) -> None:
        from nomyo_attest.attester import Attester

        with self._lock:
            # Without an orderly shutdown, the TPM would report that its clock is not safe.
            self._attester.esapi.shutdown(_TPM_SU_CLEAR)
            self._attester.close()
            self._software.power_cycle()
            self._attester = Attester.open(self._software.tcti)
            measure_boot(self._attester.measure, firmware)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._software.stop()


class Soft:
    """The software TPM of `nomyo_attest.testing`.

    Its evidence proves nothing, although a policy without pinned keys can affirm it.
    """

    kind = "soft"
    claim = "soft, public test keys: for tests only"

    def __init__(self, pcrs: str, aik: str) -> None:
        self._pcrs = pcrs
        self._aik = aik
        self._quotes_made = 0
        self._lock = threading.Lock()
        self._values = _boot_pcrs(ORIGINAL_FIRMWARE)

    def attest(self, payload_id: str) -> Mapping[str, Any]:
        with self._lock:
            self._quotes_made += 1
            if self._quotes_made % _QUOTES_PER_CACHE == 0:
                # The forge caches every key, but this class uses each key once.
                keys.ecc_key.cache_clear()
                keys.rsa_key.cache_clear()
            forge = Forge(
                key=self._aik,
                label=secrets.token_hex(16),
                payload_id=payload_id,
                selection=self._pcrs,
                pcrs=self._values,
            )
            block: Mapping[str, Any] = forge.response()["_metadata"]["tpm_attestation"]
            return block

    def boot(self, firmware: str) -> None:
        with self._lock:
            self._values = _boot_pcrs(firmware)

    def close(self) -> None:
        pass


def _boot_pcrs(firmware: str) -> dict[str, dict[int, bytes]]:
    """Return the PCRs of the soft TPM, with the values that a swtpm has after the same boot."""
    forge = Forge()
    for values in forge.pcrs.values():
        for index in values.keys() - DYNAMIC:
            values[index] = bytes(len(values[index]))
    measure_boot(forge.measure, firmware)
    return forge.pcrs


def open_source(options: RouterOptions) -> Source:
    """Open the source of evidence that the options name, or the best available one; boot it, and make a trial quote.

    Raises:
        RouterError: the source is not available, or cannot make the evidence that the options require.
    """
    source = _open_best(options)
    try:
        if options.boot != ORIGINAL:
            source.boot(OTHER_FIRMWARE)
        source.attest(_TRIAL_PAYLOAD_ID)
    except (AttesterError, ForgeError) as error:
        source.close()
        raise RouterError(
            f"tpm {source.kind!r} cannot quote PCRs {options.pcrs} with a key of kind {options.aik}: {error}"
        ) from None
    except RouterError:
        source.close()
        raise
    if source.kind in ("swtpm", "soft"):
        logger.warning("FOR TESTS ONLY: the evidence of this router comes from %s", source.claim)
    return source


def _open_best(options: RouterOptions) -> Source:
    """Open the named source, or the first available one for ``auto``. Raises `RouterError`."""
    *preferred, last = ("device", "swtpm", "soft") if options.tpm == "auto" else (options.tpm,)
    previous_reason = ""
    for kind in preferred:
        try:
            return _open(kind, options)
        except AttesterError as error:
            reason = str(error)
            logger.info("tpm %r is not used: %s", kind, "for the same reason" if reason == previous_reason else reason)
            previous_reason = reason
    try:
        return _open(last, options)
    except AttesterError as error:
        raise RouterError(f"tpm {last!r}: {error}") from None


def _open(kind: str, options: RouterOptions) -> Source:
    """Open one kind of source. Raises `AttesterError` if it is not available."""
    if kind == "device":
        return Device(options.pcrs, options.aik)
    if kind == "swtpm":
        return SoftwareDevice(options.pcrs, options.aik)
    if kind == "soft":
        return Soft(options.pcrs, options.aik)
    return NoTPM()


ORIGINAL_FIRMWARE: Final = "1.0"
OTHER_FIRMWARE: Final = "1.1, of unknown origin"

DYNAMIC: Final = frozenset(range(17, 23))
"""PCRs of a dynamic launch: all their bits are initially ones, those of all other PCRs zeros."""


def measure_boot(measure: Callable[[int, bytes], object], firmware: str) -> None:
    """Extend the PCRs of a TPM that has just started, as a boot of `firmware` does.

    Args:
        measure: extends a PCR with an event.
        firmware: `ORIGINAL_FIRMWARE` or `OTHER_FIRMWARE`.
    """
    measure(0, f"firmware {firmware}".encode())
    measure(7, b"Secure Boot on")
    measure(10, f"boot aggregate of firmware {firmware}".encode())
    measure(10, b"nomyo reference router")
