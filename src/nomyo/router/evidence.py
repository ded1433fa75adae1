"""Sources of evidence: this machine's TPM, swtpm, a software TPM whose keys are public, or none.

Each response gets its own quote, signed by a key that is created for it and then discarded. Evidence that does not come
from a machine is marked so in the log at the start and in every response (`Source.claim`).

A software TPM measures nothing by itself, so it is put through a simulated measured boot (TCG PC Client Platform
Firmware Profile, 3.3.4): PCR 0 for firmware, PCR 7 for Secure Boot, PCR 10 for IMA, which begins with a digest over the
PCRs before it and so changes with the firmware.
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
"""The `tpm_attestation` of a router without a TPM."""

_TPM_SU_CLEAR: Final = 0
"""TPM 2.0 Library, Part 2, 6.10, TPM_SU: a shutdown that a start with TPM2_Startup(CLEAR) follows."""

_TRIAL: Final = "a trial at start"
_CACHE_CLEARED_EVERY: Final = 1024

_BOOT_HINT: Final = "choose the software TPM swtpm or soft"


class Source(Protocol):
    """A source of evidence, usable from several threads; it makes one quote at a time.

    Attributes:
        kind: ``"device"``, ``"swtpm"``, ``"soft"`` or ``"none"``.
        claim: description of the evidence in responses, `_metadata.tpm_kind`.
    """

    kind: str
    claim: str

    def attest(self, payload_id: str) -> Mapping[str, Any]:
        """Make the `tpm_attestation` of a response. Raises `AttesterError` if the TPM fails."""

    def boot(self, firmware: str) -> None:
        """Simulate a boot of `firmware`, `FIRMWARE` or `OTHER_FIRMWARE`.

        Raises `RouterError` if the source does not support it, and `AttesterError` if the TPM fails.
        """

    def close(self) -> None:
        """Close the source and stop what it started. Closing twice does nothing."""


class NoTPM:
    """A router without a TPM."""

    kind = "none"
    claim = "none"

    def attest(self, payload_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - a Source
        return ABSENT

    def boot(self, firmware: str) -> None:  # noqa: ARG002 - a Source
        raise RouterError(f"boot: this router has no TPM, so it cannot simulate a boot; {_BOOT_HINT}")

    def close(self) -> None:
        pass


class Device:
    """The TPM of this machine. Raises `AttesterError` if it does not exist or cannot be accessed."""

    kind = "device"
    claim = "device"

    def __init__(self, pcrs: str, aik: str, where: str | None = None) -> None:
        from nomyo_attest.attester import Attester

        self._pcrs = pcrs
        self._aik = aik
        self._lock = threading.Lock()
        self._attester = Attester.open(where)

    def attest(self, payload_id: str) -> Mapping[str, Any]:
        with self._lock:
            return self._attester.attest(payload_id=payload_id, pcrs=self._pcrs, key=self._aik)

    def boot(self, firmware: str) -> None:  # noqa: ARG002 - a Source
        raise RouterError(f"boot: the TPM of this machine cannot simulate a boot; {_BOOT_HINT}")

    def close(self) -> None:
        with self._lock:
            self._attester.close()


class SoftwareDevice(Device):
    """A swtpm that is started and booted by this class. Raises `AttesterError` if it cannot be started."""

    kind = "swtpm"
    claim = "swtpm, a software TPM that measures no machine: for tests only"

    def __init__(self, pcrs: str, aik: str) -> None:
        from nomyo_attest.attester import SoftwareTPM

        self._software = SoftwareTPM()
        self._software.start()
        try:
            super().__init__(pcrs, aik, self._software.tcti)
            measure_boot(self._attester.measure, FIRMWARE)
        except BaseException:
            self._software.stop()
            raise

    def boot(self, firmware: str) -> None:
        from nomyo_attest.attester import Attester

        with self._lock:
            # After a disorderly shutdown the TPM would report its clock as not safe.
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
    """The software TPM of `nomyo_attest.testing`. Its evidence is affirmed if no key is pinned, and proves nothing."""

    kind = "soft"
    claim = "soft, public test keys: for tests only"

    def __init__(self, pcrs: str, aik: str) -> None:
        self._pcrs = pcrs
        self._aik = aik
        self._made = 0
        self._lock = threading.Lock()
        self._values = _booted(FIRMWARE)

    def attest(self, payload_id: str) -> Mapping[str, Any]:
        with self._lock:
            self._made += 1
            if self._made % _CACHE_CLEARED_EVERY == 0:  # the forge caches every key; these are used once
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
            self._values = _booted(firmware)

    def close(self) -> None:
        pass


def _booted(firmware: str) -> dict[str, dict[int, bytes]]:
    """Return the PCRs of the soft TPM, with the values that a swtpm has after the same boot."""
    forge = Forge()
    for values in forge.pcrs.values():
        for index in values.keys() - DYNAMIC:
            values[index] = bytes(len(values[index]))
    measure_boot(forge.measure, firmware)
    return forge.pcrs


def open_source(options: RouterOptions) -> Source:
    """Open the source of evidence that the options name, or the best available one, boot it, and make a trial quote.

    Raises:
        RouterError: it is not available, or cannot make the evidence that the options require.
    """
    source = _open_best(options)
    try:
        if options.boot != ORIGINAL:
            source.boot(OTHER_FIRMWARE)
        source.attest(_TRIAL)
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
    """Open the named source, or with ``auto`` the first that is available. Raises `RouterError`."""
    *others, last = ("device", "swtpm", "soft") if options.tpm == "auto" else (options.tpm,)
    before = ""
    for kind in others:
        try:
            return _open(kind, options)
        except AttesterError as error:
            reason = str(error)
            logger.info("tpm %r is not used: %s", kind, "for the same reason" if reason == before else reason)
            before = reason
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


FIRMWARE: Final = "1.0"
OTHER_FIRMWARE: Final = "1.1, of unknown origin"

DYNAMIC: Final = frozenset(range(17, 23))
"""PCRs of a dynamic launch, which start as ones; all others start as zeros."""


def measure_boot(measure: Callable[[int, bytes], object], firmware: str) -> None:
    """Extend the PCRs of a TPM that has just started; `measure` takes a PCR and an event."""
    measure(0, f"firmware {firmware}".encode())
    measure(7, b"Secure Boot on")
    measure(10, f"boot aggregate of firmware {firmware}".encode())
    measure(10, b"nomyo reference router")
