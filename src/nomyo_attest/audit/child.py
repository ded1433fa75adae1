"""Start, talk to and stop one child process that imports nothing from the working directory.

The working directory of an audit is often a folder of evidence, and the evidence may come from an attacker.
`multiprocessing` starts its children with the working directory first on `sys.path`, and runs the caller's main module
in each of them. A `json.py` beside the records would then run in the process that appraises them. The children of this
module run ``sys.executable -P`` with a fixed program instead:

- ``sys.path`` is that of the interpreter's installation, including a virtual environment, ``.pth`` files and editable
  installs. Entries that the caller, or pytest, inserted into its own ``sys.path`` are not inherited.
- Entries of ``PYTHONPATH`` that are relative, or are the working directory or a folder in it, are removed.
- `nomyo_attest` is imported from where this process imported it, without adding that folder to ``sys.path``.
- The caller's main module is not imported, so a program needs no ``if __name__ == "__main__":``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Final

import nomyo_attest

READY: Final = b""
"""The first message of a child that is ready. Any other first message is an error, as UTF-8, after which it ends."""

_EXIT_SECONDS: Final = 5.0
"""Seconds to wait for a child to end after its connection is closed."""

# Arguments: the folder that contains nomyo_attest, the module to run, the handle of the connection.
_PROGRAM: Final = """\
import os, sys
try:
    here = os.path.realpath(os.getcwd())
except OSError:
    here = None
sys.path[:] = [path for path in sys.path if os.path.isabs(path) and os.path.realpath(path) != here]
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
spec = PathFinder.find_spec("nomyo_attest", [sys.argv[1]])
package = sys.modules["nomyo_attest"] = module_from_spec(spec)
spec.loader.exec_module(package)
from nomyo_attest.audit.child import run
run(sys.argv[2], int(sys.argv[3]))
"""

_PATH_VARIABLES: Final = ("PYTHONUSERBASE", "PYTHONPYCACHEPREFIX")
"""Variables that determine where the interpreter finds code. A relative value is relative to the working directory."""


class ChildStartError(Exception):
    """A child process could not be started, or could not import its modules. The text is the reason."""


class Child:
    """A child process and this process's end of the connection to it.

    No third process has an end of the connection, so when one of the two ends for any reason, the other one reads
    end-of-file.

    SIGINT and SIGTERM are blocked in the child. Ctrl-C reaches every process of a terminal, and SIGTERM may reach every
    process of a job. The parent process handles these signals and stops the child.

    Args:
        module: name of the module whose ``serve(connection)`` runs in the child, and sends `READY` first.

    Attributes:
        connection: the connection to the child.

    Raises:
        ChildStartError: if no process can be started.
    """

    def __init__(self, module: str) -> None:
        if not Path(sys.executable or "").is_absolute() or getattr(sys, "frozen", False):
            raise ChildStartError("sys.executable is not the path of a Python interpreter")
        self.connection, child_end = Pipe()
        try:
            with child_end, _signals_blocked():
                self._process = _start_process(module, child_end)
        except (OSError, ValueError) as error:
            self.connection.close()
            raise ChildStartError(f"{sys.executable}: {_error_reason(error)}") from None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def check_ready(self) -> None:
        """Receive the child's first message.

        Raises:
            ChildStartError: if it is not `READY`.
            EOFError, OSError: if the child ended without sending a message.
        """
        message = self.connection.recv_bytes()
        if message != READY:
            raise ChildStartError(message.decode("utf-8", "replace"))

    def wait(self, seconds: float = _EXIT_SECONDS) -> int:
        """Close the connection, wait for the child to end, and kill it after `seconds`.

        Returns its exit status, which is negative for a signal.
        """
        self.connection.close()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            return self._process.returncode

    def stop(self) -> None:
        """Kill the child, unless it has ended."""
        self.connection.close()
        self._process.kill()
        self._process.wait()


def _start_process(module: str, child_end: Connection) -> subprocess.Popen[bytes]:
    handle = child_end.fileno()
    (package,) = nomyo_attest.__path__
    command = [sys.executable, *_interpreter_options(), "-c", _PROGRAM]
    command += [os.path.dirname(package), module, str(handle)]  # noqa: PTH120 - perhaps inside a zip file
    null = subprocess.DEVNULL  # the output of a crashing decoder may quote the file that crashed it
    environment = child_environment(os.environ)
    if sys.platform == "win32":
        os.set_handle_inheritable(handle, True)
        startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})
        return subprocess.Popen(command, stdin=null, stdout=null, stderr=null, env=environment, startupinfo=startup)
    return subprocess.Popen(command, stdin=null, stdout=null, stderr=null, env=environment, pass_fds=(handle,))


def _interpreter_options() -> Iterator[str]:
    """Yield -P, and the options of this interpreter that affect the search for modules and the encoding of names."""
    yield "-P"
    flags = sys.flags
    for is_set, option in (
        (flags.isolated, "-I"),
        (flags.ignore_environment, "-E"),
        (flags.no_user_site, "-s"),
        (flags.no_site, "-S"),
        (flags.dont_write_bytecode, "-B"),
    ):
        if is_set:
            yield option
    yield from ("-X", f"utf8={flags.utf8_mode}")


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Copy `environment` without the paths to code, such as in ``PYTHONPATH``, that depend on the working directory."""
    copy = dict(environment)
    for name in _PATH_VARIABLES:
        if name in copy and not Path(copy[name]).is_absolute():
            del copy[name]
    entries = copy.pop("PYTHONPATH", "").split(os.pathsep)
    if outside := [entry for entry in entries if not _depends_on_working_directory(entry)]:
        copy["PYTHONPATH"] = os.pathsep.join(outside)
    return copy


def _depends_on_working_directory(entry: str) -> bool:
    """Whether a folder of modules is relative, or is the working directory or a folder below it."""
    if not Path(entry).is_absolute():
        return True
    try:
        working = Path(os.path.realpath(Path.cwd()))
    except OSError:  # the working directory was removed
        return False
    folder = Path(os.path.realpath(entry))
    # Every path is below the root directory, which is often the working directory in a container.
    return folder == working or (working in folder.parents and working.parent != working)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block SIGINT and SIGTERM. A process that is started in this context inherits the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(module: str, handle: int) -> None:
    """Run ``serve`` of `module` in a child process, over the connection that it inherited."""
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # for systems without pthread_sigmask
    with _open_connection(handle) as connection, contextlib.suppress(EOFError, OSError):  # the parent process has ended
        try:
            serve = import_module(module).serve
        except ImportError as error:
            connection.send_bytes(f"{error} (imported by {sys.executable})".encode("utf-8", "replace"))
            return
        serve(connection)


def _open_connection(handle: int) -> Connection:
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection

        return PipeConnection(handle)
    return Connection(handle)


def _error_reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
