"""Connect to a TPM: a device, any TCTI, or a software TPM (swtpm) that this module starts and stops.

A software TPM is for tests, recordings and demonstrations. Its evidence proves nothing: the user who runs it can read
its keys and extend its PCRs with any value.
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
"""How long to wait for swtpm to accept connections: usually 10 ms, and about 1 s on a busy machine."""

STOP_SECONDS: Final = 5.0
"""How long to wait for swtpm to exit after SIGTERM before killing it."""

SOCKET_PATH_MAX: Final = 100
"""Maximum bytes of a socket path. The limit is 108 on Linux and 104 on the BSDs, including a NUL."""

_TEMPORARY_HINT: Final = "set TMPDIR to a folder with free space that you can write to"


class SoftwareTPM:
    """A new software TPM 2.0 in its own process, reachable through `tcti`, until the context ends.

    It runs as the calling user, with its state and a Unix socket in a temporary directory of mode 0700. It is powered
    on and started (TPM2_Startup(CLEAR)); its PCRs are zero. ::

        with SoftwareTPM() as swtpm, Attester.open(swtpm.tcti) as attester:
            ...

    The process is stopped and the directory removed when the context ends, when `stop` is called, or when the
    interpreter exits. If the Python process is killed, swtpm keeps running.

    Args:
        program: name or path of the swtpm program.

    Raises:
        SoftwareTPMError: on entering the context, if swtpm is not installed, exits, or does not respond within 10
            seconds.
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
        """The TCTI string of this TPM. Raises `SoftwareTPMError` if it is not running."""
        return f"swtpm:path={self._socket}"

    def exit_status(self, within: float = 0.0) -> int | None:
        """Return swtpm's exit status, negative for a signal.

        None if it never ran, or still runs after `within` seconds.
        """
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
        """Create a new TPM and power it on. Raises `SoftwareTPMError`, also if it is already running."""
        if self._directory is not None:
            raise SoftwareTPMError("this swtpm is already running")
        _find(self.program)
        self._power_on(_private_directory())

    def stop(self) -> None:
        """Stop swtpm and remove its state. Does nothing if it is not running."""
        if self._finalizer is not None:
            self._finalizer()
        self._directory = self._finalizer = None

    def power_cycle(self) -> None:
        """Cut the power without TPM2_Shutdown and start again: PCRs are zero, seeds are kept, the clock is not safe.

        Existing connections no longer work; `tcti` does not change.
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
        # Also called if the object is garbage-collected without stop(), and when the interpreter exits.
        self._finalizer = weakref.finalize(self, _clean_up, self._process, directory, os.getpid())


def software_tpm_version(program: str = "swtpm") -> str:
    """Return the version that swtpm reports, e.g. ``"0.7.1"``. Raises `SoftwareTPMError` if it cannot be run."""
    try:
        command = [_find(program), "--version"]
        completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise SoftwareTPMError(f"{program!r} cannot be run: {error}") from error
    # The output is: TPM emulator version 0.7.1, Copyright (c) 2014-2021 IBM Corp.
    return completed.stdout.partition("version ")[2].partition(",")[0].strip() or "unknown"


def _find(program: str) -> str:
    """Return the path of a program, looked up in the absolute folders of PATH only.

    An empty or relative entry of PATH could find a program that came with the evidence.

    Raises:
        SoftwareTPMError: the program is not found.
    """
    if Path(program).name != program:
        return program
    folders = [folder for folder in os.get_exec_path() if Path(folder).is_absolute()]
    found = shutil.which(program, path=os.pathsep.join(folders))
    if found is None:
        raise SoftwareTPMError(
            f"the program {program!r} was not found; apt install swtpm (Debian, Ubuntu) or dnf install swtpm (Fedora)"
        )
    return found


def _private_directory() -> Path:
    """Create a directory of mode 0700 whose path is short enough for a socket. Raises `SoftwareTPMError`."""
    for parent in (None, "/tmp"):  # noqa: S108 - mkdtemp creates a private directory there
        try:
            directory = Path(tempfile.mkdtemp(prefix="nomyo-swtpm-", dir=parent))
        except OSError as error:
            raise SoftwareTPMError(f"temporary folder: {error.strerror}; {_TEMPORARY_HINT}") from error
        if len(bytes(directory / "tpm.ctrl")) <= SOCKET_PATH_MAX:
            return directory
        directory.rmdir()
    raise SoftwareTPMError(
        f"the path of the temporary directory is too long for a Unix socket ({SOCKET_PATH_MAX} bytes)"
    )


def _spawn(program: str, directory: Path) -> subprocess.Popen[bytes]:
    """Start swtpm with its state, sockets and log in `directory`, and wait until it accepts connections."""
    server = directory / "tpm"
    control = directory / "tpm.ctrl"  # the TCTI expects the control channel at the server's path with .ctrl appended
    log = directory / "log"
    command = [program, "socket", "--tpm2", "--flags", "startup-clear", "--tpmstate", f"dir={directory}"]
    command += ["--server", f"type=unixio,path={server}", "--ctrl", f"type=unixio,path={control}"]
    try:
        log.unlink(missing_ok=True)  # left by the process before `power_cycle`
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
        while not (_accepts_connections(control) and _accepts_connections(server)):
            if process.poll() is not None:
                raise SoftwareTPMError(f"swtpm exited with status {process.returncode} while starting: {_tail(log)}")
            if time.monotonic() > deadline:
                raise SoftwareTPMError(f"swtpm did not respond within {START_SECONDS:g} s: {_tail(log)}")
            time.sleep(0.002)
    except BaseException:
        _stop_process(process)
        raise
    return process


def _accepts_connections(path: Path) -> bool:
    """Whether a process listens on a Unix socket, whose file exists a moment before that."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def _stop_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _clean_up(process: subprocess.Popen[bytes], directory: Path, owner: int) -> None:
    if os.getpid() != owner:  # a forked child must not stop its parent's TPM
        return
    _stop_process(process)
    shutil.rmtree(directory, ignore_errors=True)


def _tail(log: Path) -> str:
    """Return the last lines of swtpm's log; a hint if it is empty, because swtpm may be unable to write it."""
    lines = log.read_text(errors="replace").splitlines()[-3:]
    return " / ".join(lines) or f"it logged nothing; if {log.parent} is on a full file system, {_TEMPORARY_HINT}"


Kind: TypeAlias = Literal["device", "swtpm", "tcti"]

DEVICES: Final = ("/dev/tpmrm0", "/dev/tpm0")
"""The TPM devices of Linux: with the kernel's resource manager; and without it, for one program at a time."""

# TSS2_TCTI_RC_LAYER (TCG TSS 2.0 Overview, response codes): the connection to the TPM failed, not the TPM.
_TCTI_LAYER: Final = 0xA0000


class Connection:
    """A connection to one TPM. Not thread-safe.

    Attributes:
        kind: ``"device"``, ``"swtpm"`` (started by `open`) or ``"tcti"`` (any other TPM).
        tcti: the TCTI string of the TPM.
        esapi: the TSS Enhanced System API.
    """

    def __init__(self, tcti: str, kind: Kind, software: SoftwareTPM | None = None) -> None:
        self.kind: Final = kind
        self.tcti: Final = tcti
        self._software = software
        try:
            self.esapi = ESAPI(tcti)
        except (TSS2_Exception, RuntimeError) as error:
            raise AttesterError(
                f"cannot connect to a TPM through the TCTI {tcti!r}: {error}. Examples are device:/dev/tpmrm0, "
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
            raise AttesterError(
                f"{path} does not exist: this machine has no TPM device; for tests, 'swtpm' is a software TPM"
            )
        if not os.access(path, os.R_OK | os.W_OK):
            raise AttesterError(f"no permission to use {path}; on most systems, add the user to the group tss")
        return cls(f"device:{path}", "device")

    def close(self) -> None:
        """Close the connection, and stop the software TPM if `open` started one. Closing it again does nothing."""
        try:
            self.esapi.close()
        finally:
            if self._software is not None:
                self._software.stop()

    @contextmanager
    def command(self, name: str) -> Iterator[None]:
        """Convert a TSS error in the context to an `AttesterError` with the command's name, message and code."""
        try:
            yield
        except TSS2_Exception as error:
            code = int(error.rc)
            message = f"{name}: {error} (code 0x{code:x})"
            if self._software is not None and code & 0xFF0000 == _TCTI_LAYER:
                status = self._software.exit_status(within=1.0)
                if status is not None:
                    raise SoftwareTPMError(f"{message}; swtpm exited with status {status}") from error
            raise AttesterError(message) from error

    @contextmanager
    def flushed(self, handle: int) -> Iterator[None]:
        """Flush a transient object or session when the context ends, whether or not it raises."""
        try:
            yield
        except BaseException:
            with suppress(TSS2_Exception):  # report the original error
                self.esapi.flush_context(handle)
            raise
        with self.command("TPM2_FlushContext"):
            self.esapi.flush_context(handle)

    def _start_up(self) -> None:
        """Run a command that every TPM supports; send TPM2_Startup if the TPM reports that it is not initialized."""
        try:
            with self.command("TPM2_GetRandom"):
                self.esapi.get_random(1)
        except AttesterError as error:
            if not (isinstance(error.__cause__, TSS2_Exception) and int(error.__cause__.rc) == int(TPM2_RC.INITIALIZE)):
                raise
            with self.command("TPM2_Startup"):
                self.esapi.startup(TPM2_SU.CLEAR)
