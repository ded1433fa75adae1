"""Where the evidence in answers comes from: this machine's TPM, a software TPM, one whose keys everybody knows, none.

Each answer gets a quote of its own, by a key made for it and gone afterwards. What is no evidence of a machine says so,
in the log at the start and in every answer (`Source.claim`).
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from nomyo.router.errors import RouterError
from nomyo.router.options import RouterOptions
from nomyo_attest.errors import AttesterError
from nomyo_attest.testing import Forge, ForgeError, keys

logger = logging.getLogger("nomyo.router")

ABSENT: Final[Mapping[str, Any]] = {"is_available": False}
"""The `tpm_attestation` of a router without a TPM."""

_TPM_SU_CLEAR: Final = 0
"""TPM 2.0 Library, Part 2, 6.10, TPM_SU: a shutdown that a start with TPM2_Startup(CLEAR) follows."""

_TRIAL: Final = "a trial at start"
_FORGOTTEN_EVERY: Final = 1024


class Source(Protocol):
    """A source of evidence. Safe in several threads, one quote at a time.

    Attributes:
        kind: ``"device"``, ``"swtpm"``, ``"soft"`` or ``"none"``.
        claim: what an answer says of its evidence, as `_metadata.tpm_kind`.
    """

    kind: str
    claim: str

    def attest(self, payload_id: str) -> Mapping[str, Any]:
        """The `tpm_attestation` of an answer. Raises `AttesterError` if the TPM fails."""

    def boot_other_firmware(self) -> None:
        """Start the machine again, with other firmware. Raises `RouterError` where that is not for us to do."""

    def close(self) -> None:
        """End it, and what it started. Closing twice does nothing."""


class NoTPM:
    """A router without a TPM."""

    kind = "none"
    claim = "none"

    def attest(self, payload_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - a Source
        return ABSENT

    def boot_other_firmware(self) -> None:
        raise RouterError("there is no TPM that could see other firmware: start the router with tpm='swtpm' or 'soft'")

    def close(self) -> None:
        pass


class Device:
    """The TPM of this machine. Raises `AttesterError` if there is none, or no permission."""

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

    def boot_other_firmware(self) -> None:
        raise RouterError("the TPM of this machine sees what the machine boots; start the router with tpm='swtpm'")

    def close(self) -> None:
        with self._lock:
            self._attester.close()


class SoftwareDevice(Device):
    """swtpm, started here and put through a measured boot. Raises `AttesterError` if it cannot be started."""

    kind = "swtpm"
    claim = "swtpm, a software TPM: evidence of no machine, for tests only"

    def __init__(self, pcrs: str, aik: str) -> None:
        from nomyo_attest.attester import SoftwareTPM

        self._software = SoftwareTPM()
        self._software.start()
        try:
            super().__init__(pcrs, aik, self._software.tcti)
            boot(self._attester.measure, FIRMWARE)
        except BaseException:
            self._software.stop()
            raise

    def boot_other_firmware(self) -> None:
        from nomyo_attest.attester import Attester

        with self._lock:
            self._attester.esapi.shutdown(_TPM_SU_CLEAR)  # in good order, or the TPM would say its clock is not safe
            self._attester.close()
            self._software.power_cycle()
            self._attester = Attester.open(self._software.tcti)
            boot(self._attester.measure, OTHER_FIRMWARE)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._software.stop()


class Soft:
    """A TPM in Python, from `nomyo_attest.testing`: good evidence to whoever does not pin a key, and worth nothing."""

    kind = "soft"
    claim = "soft, keys known to everybody: for tests only"

    def __init__(self, pcrs: str, aik: str) -> None:
        self._pcrs = pcrs
        self._aik = aik
        self._made = 0
        self._lock = threading.Lock()
        self._values = _booted(FIRMWARE)

    def attest(self, payload_id: str) -> Mapping[str, Any]:
        with self._lock:
            self._made += 1
            if self._made % _FORGOTTEN_EVERY == 0:  # the forge remembers each key it made; these are asked for once
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

    def boot_other_firmware(self) -> None:
        with self._lock:
            self._values = _booted(OTHER_FIRMWARE)

    def close(self) -> None:
        pass


def _booted(firmware: str) -> dict[str, dict[int, bytes]]:
    """The PCRs of the soft TPM, with the very values that a swtpm has after the same boot."""
    forge = Forge()
    for values in forge.pcrs.values():
        for index in values.keys() - DYNAMIC:
            values[index] = bytes(len(values[index]))
    boot(forge.measure, firmware)
    return forge.pcrs


def open_source(options: RouterOptions) -> Source:
    """The source of evidence that the options ask for, or the best at hand; it has made evidence once.

    Raises:
        RouterError: it cannot be had, or cannot make what the options ask for.
    """
    source = _opened(options)
    try:
        source.attest(_TRIAL)
    except (AttesterError, ForgeError) as error:
        source.close()
        raise RouterError(f"tpm {source.kind!r} cannot make evidence as asked: {error}") from None
    if source.kind in ("swtpm", "soft"):
        logger.warning("FOR TESTS ONLY: the evidence of this router comes from %s", source.claim)
    return source


def _opened(options: RouterOptions) -> Source:
    """The first that opens, if the best at hand is asked for. Raises `RouterError`."""
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
    """Raises `AttesterError` if it is not there."""
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
"""The PCRs of a dynamic launch, which begin with ones; all others begin with zeros."""


def boot(measure: Callable[[int, bytes], object], firmware: str = FIRMWARE) -> None:
    """Extend the PCRs of a TPM that was just started; `measure` takes a PCR and an event."""
    measure(0, f"firmware {firmware}".encode())
    measure(7, b"Secure Boot on")
    measure(10, f"boot aggregate of firmware {firmware}".encode())
    measure(10, b"nomyo reference router")
