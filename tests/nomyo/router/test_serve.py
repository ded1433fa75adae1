"""`serve`, and the program `nomyo router` around it, in a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo.router import RouterError, RouterOptions, RunningRouter, serve
from nomyo.router.program import environment_text
from tests.nomyo.wire.simple_client import Client, read

SERVE = "import sys; from nomyo.router import RouterOptions, serve; sys.exit(serve(RouterOptions({})))"
SMALL = "server_key_bits=2048"  # quick to make
OPTIONS = f"tpm='soft', {SMALL}"


@contextmanager
def program(*command: str, temporary: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The process, and what its ready line says."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def use(ready: dict[str, Any]) -> dict[str, Any]:
    """An answer of the router that said it is ready."""
    port = urlsplit(ready["url"]).port
    assert port is not None
    with Client(port, ready["ca"]) as client:
        return read(client.call())


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_ready_line_is_all_of_standard_output_and_a_signal_ends_it(by: signal.Signals, tmp_path: Path) -> None:
    with program("-c", SERVE.format(OPTIONS), temporary=tmp_path) as (process, ready):
        assert list(ready) == ["url", "ca", "tpm"]
        assert ready["url"].startswith("https://localhost:")
        assert ready["tpm"] == "soft"
        assert Path(ready["ca"]).is_relative_to(tmp_path)
        assert use(ready)["_metadata"]["tpm_kind"] == "soft, public test keys: for tests only"
        process.send_signal(by)
        output, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output == ""
    assert "WARNING FOR TESTS ONLY: the evidence of this router comes from soft, public test keys" in log
    assert "INFO POST /v1/chat/secure_completion 200 " in log
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="a signal of POSIX")
def test_signals_boot_firmware_and_the_ca_stays_where_it_was_written(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\nof an earlier router\n", encoding="ascii")
    options = f"{OPTIONS}, ca_out=__import__('pathlib').Path({str(ca)!r})"
    with program("-c", SERVE.format(options), temporary=tmp_path) as (process, ready):
        assert ready["ca"] == str(ca)
        values, log = [_pcr_0(ready)], ""
        for by in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(by)
            assert process.stderr is not None
            while "firmware is booted" not in (line := process.stderr.readline()):
                log += line
            values.append(_pcr_0(ready))
        process.terminate()
        process.communicate(timeout=20)
    original, other, again, last = values
    assert other == again != original == last
    assert f"kill -USR1 {process.pid}\n" in log
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == [ca]


def _pcr_0(ready: dict[str, Any]) -> Any:
    return use(ready)["_metadata"]["tpm_attestation"]["pcr_values"]["sha256"]["0"]


@pytest.mark.parametrize("name", ["private.pem", "no/ca.pem", "folder"])
def test_a_file_that_is_not_a_certificate_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "private.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RouterError, match=r"^ca_out: .*; c"):
        serve(RouterOptions(tpm="none", ca_out=tmp_path / name))
    assert (tmp_path / "private.pem").read_bytes() == b"-----BEGIN PRIVATE KEY-----\n"


def test_the_environment_is_quoted_and_has_one_api_key(tmp_path: Path, server_key: rsa.RSAPrivateKey) -> None:
    with RunningRouter(RouterOptions(tpm="none", api_keys=("it's $HOME", "second")), server_key=server_key) as router:
        text = environment_text(router, tmp_path / "a b.pem")
        url = router.url
    command = text + 'printf "%s\\n" "$NOMYO_BASE_URL" "$SSL_CERT_FILE" "$NOMYO_API_KEY"'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [url, str(tmp_path / "a b.pem"), "it's $HOME"]


@pytest.mark.tpm
def test_its_swtpm_ends_with_it(tmp_path: Path) -> None:
    with program("-c", SERVE.format(f"tpm='swtpm', {SMALL}"), temporary=tmp_path) as (process, ready):
        assert ready["tpm"] == "swtpm"
        assert use(ready)["_metadata"]["tpm_attestation"]["is_available"] is True
        assert any(path.name.startswith("nomyo-swtpm-") for path in tmp_path.iterdir())
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_ready_line_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    with Path(os.devnull).open() as nothing:
        done = subprocess.run(
            [sys.executable, "-c", SERVE.format(OPTIONS)],
            stdout=nothing,  # open for reading alone
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
    assert done.returncode != 0
    assert "RouterError: standard output cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="a shell closes its output")
def test_a_standard_output_that_is_closed_is_said_with_status_2(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m nomyo.cli router --port 0 --tpm soft >&-', sys.executable],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("nomyo: standard output is closed, ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_serves(tmp_path: Path) -> None:
    """`nomyo router --port 0`, as the documentation has it."""
    arguments = ("-m", "nomyo.cli", "router", "--port", "0", "--tpm", "soft", "--fault", "echo-missing")
    with program(*arguments, temporary=tmp_path) as (process, ready):
        assert ready["tpm"] == "soft"
        with pytest.raises(ValueError, match=r"^payload_id missing$"):
            use(ready)
        process.terminate()
        output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_says_what_is_wrong_and_ends_with_status_2() -> None:
    command = [sys.executable, "-m", "nomyo.cli", "router", "--fault", "no-such", "--tpm", "soft"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--fault" in done.stderr
    assert "no-such" in done.stderr
    assert "Traceback" not in done.stderr
