"""How a TPM is reached: a device, any TCTI, or a software TPM (swtpm) that is started and ended here.

A software TPM is for tests, recordings and demonstrations, and attests to nothing: whoever runs it owns its keys, and
its PCRs hold what was put there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from nomyo_attest._files import Access, as_file
from nomyo_attest.attester._tss import ESAPI, TPM2_RC, TPM2_SU, SoftwareTPMError, TSS2_Exception
from nomyo_attest.errors import AttesterError

START_SECONDS: Final = 10.0
"""How long swtpm may take to answer. It takes about 10 ms; a loaded machine may need a hundred times that."""

STOP_SECONDS: Final = 5.0
"""How long swtpm may take to end after SIGTERM before it is killed."""

SOCKET_PATH_MAX: Final = 100
"""Bytes of the longest socket path used: sockaddr_un takes 108 on Linux and 104 on the BSDs, with a NUL."""


_TEMPORARY_HINT: Final = "set TMPDIR to a folder with free space that you can write to"


class SoftwareTPM:
    """A fresh TPM 2.0 in a process of its own, reachable through `tcti`, gone when the context ends.

    It runs as the calling user, keeps its state in a temporary directory only that user can enter, and listens on a
    unix socket in there. It is powered and started (TPM2_Startup(CLEAR)); its PCRs are zero. ::

        with SoftwareTPM() as swtpm, Attester.open(swtpm.tcti) as attester:
            ...

    The process is ended and the directory removed when the context ends, however it ends, when `stop` is called, and at
    the latest when the interpreter exits. Only a Python process that is itself killed leaves its swtpm behind.

    Args:
        program: name or path of the swtpm program.

    Raises:
        SoftwareTPMError: on entering, if swtpm is not installed, ends at once, or does not answer within 10 seconds.
    """

    def __init__(self, program: str = "swtpm") -> None:
        self.program = program
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., SoftwareTPM] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def tcti(self) -> str:
        """The TCTI string that reaches this TPM. Raises `SoftwareTPMError` when it is not running."""
        return f"swtpm:path={self._socket}"

    def exit_status(self, within: float = 0.0) -> int | None:
        """What swtpm ended with, negative for a signal; None if it runs for `within` seconds more, or never ran."""
        if self._process is None:
            return None
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    @property
    def _socket(self) -> Path:
        if self._directory is None:
            raise SoftwareTPMError("swtpm is not running: use it inside `with SoftwareTPM() as swtpm:`")
        return self._directory / "tpm"

    def start(self) -> None:
        """Make a new TPM and give it power. Raises `SoftwareTPMError`, also if it runs already."""
        if self._directory is not None:
            raise SoftwareTPMError("this swtpm is running already")
        _find(self.program)
        self._power_on(_private_directory())

    def stop(self) -> None:
        """End swtpm and remove its state. Does nothing when it is not running."""
        if self._finalizer is not None:
            self._finalizer()
        self._directory = self._finalizer = None

    def power_cycle(self) -> None:
        """Cut the power without TPM2_Shutdown and start again: PCRs are zero, seeds stay, the clock is not safe.

        Connections made before are dead afterwards; `tcti` stays the same.
        """
        directory = self._socket.parent
        if self._finalizer is not None:
            self._finalizer.detach()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for leftover in ("tpm", "tpm.ctrl", ".lock"):
            (directory / leftover).unlink(missing_ok=True)
        self._power_on(directory)

    def _power_on(self, directory: Path) -> None:
        try:
            self._process = _spawn(_find(self.program), directory)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            self._directory = self._finalizer = None
            raise
        self._directory = directory
        # An object dropped without stop(), and an interpreter that exits, end here too.
        self._finalizer = weakref.finalize(self, _clean_up, self._process, directory, os.getpid())


def software_tpm_version(program: str = "swtpm") -> str:
    """The version that swtpm gives for itself, e.g. ``"0.7.1"``. Raises `SoftwareTPMError` if it cannot be run."""
    try:
        command = [_find(program), "--version"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise SoftwareTPMError(f"{program!r} cannot be run: {error}") from error
    # It says: TPM emulator version 0.7.1, Copyright (c) 2014-2021 IBM Corp.
    return done.stdout.partition("version ")[2].partition(",")[0].strip() or "unknown"


def _find(program: str) -> str:
    """The path of a program. A name is looked up in those folders of PATH that do not depend on the working directory:
    an empty or relative entry would start a file that somebody put beside the evidence.

    Raises:
        SoftwareTPMError: if there is none.
    """
    if Path(program).name != program:
        return program
    folders = [folder for folder in os.get_exec_path() if Path(folder).is_absolute()]
    found = shutil.which(program, path=os.pathsep.join(folders))
    if found is None:
        raise SoftwareTPMError(
            f"no program {program!r} found: apt install swtpm (Debian, Ubuntu) or dnf install swtpm (Fedora)"
        )
    return found


def _private_directory() -> Path:
    """A directory of mode 0700 whose path leaves room for a socket's name. Raises `SoftwareTPMError`."""
    for parent in (None, "/tmp"):  # noqa: S108 - mkdtemp makes a directory of its own in there
        try:
            directory = Path(tempfile.mkdtemp(prefix="nomyo-swtpm-", dir=parent))
        except OSError as error:
            raise SoftwareTPMError(f"temporary folder: {error.strerror}; {_TEMPORARY_HINT}") from error
        if len(bytes(directory / "tpm.ctrl")) <= SOCKET_PATH_MAX:
            return directory
        directory.rmdir()
    raise SoftwareTPMError(f"no temporary directory's path leaves room for a unix socket ({SOCKET_PATH_MAX} bytes)")


def _spawn(program: str, directory: Path) -> subprocess.Popen[bytes]:
    """Start swtpm with its state, sockets and log in `directory`, and wait until it can be reached."""
    server = directory / "tpm"
    control = directory / "tpm.ctrl"  # the TCTI looks for the control channel under the server's name with .ctrl
    log = directory / "log"
    command = [program, "socket", "--tpm2", "--flags", "startup-clear", "--tpmstate", f"dir={directory}"]
    command += ["--server", f"type=unixio,path={server}", "--ctrl", f"type=unixio,path={control}"]
    try:
        log.unlink(missing_ok=True)  # that of an earlier start, after `power_cycle`
        output = as_file(Access.NEW.open(log), Access.NEW)
    except OSError as error:
        raise SoftwareTPMError(f"{log}: cannot be written: {error.strerror}; {_TEMPORARY_HINT}") from error
    with output:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        except OSError as error:
            raise SoftwareTPMError(f"{program!r} cannot be run: {error}") from error
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (_listens(control) and _listens(server)):
            if process.poll() is not None:
                raise SoftwareTPMError(f"swtpm ended with status {process.returncode} while starting: {_tail(log)}")
            if time.monotonic() > deadline:
                raise SoftwareTPMError(f"swtpm did not answer within {START_SECONDS:g} s: {_tail(log)}")
            time.sleep(0.002)
    except BaseException:
        _end(process)
        raise
    return process


def _listens(path: Path) -> bool:
    """Whether somebody listens on a unix socket; its file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _clean_up(process: subprocess.Popen[bytes], directory: Path, owner: int) -> None:
    if os.getpid() != owner:  # a forked child must not end its parent's TPM
        return
    _end(process)
    shutil.rmtree(directory, ignore_errors=True)


def _tail(log: Path) -> str:
    """The last lines that swtpm logged; a hint if there are none, as where its log cannot be written."""
    lines = log.read_text(errors="replace").splitlines()[-3:]
    return " / ".join(lines) or f"it logged nothing; if {log.parent} is on a full file system, {_TEMPORARY_HINT}"


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
            with suppress(TSS2_Exception):  # report the first failure, not this one
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
