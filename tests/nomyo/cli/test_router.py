"""`nomyo router`: what is typed becomes the router's options; what it cannot do is one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nomyo.config import TIERS
from nomyo.router import RouterOptions
from nomyo.router.faults import FAULTS
from nomyo.router.options import BOOTS, LOG_FORMATS, TPMS
from nomyo_attest.installation import install_command
from tests.nomyo.cli.router_evidence import PROMPT
from tests.nomyo.cli.runner import environment, error_message, run, start, start_without


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RouterOptions]:
    """The options of the routers that would have been started."""
    options: list[RouterOptions] = []
    monkeypatch.setattr("nomyo.router.serve", options.append, raising=False)
    return options


def test_without_flags_it_is_an_open_router_on_loopback(started: list[RouterOptions]) -> None:
    assert run("router") == (0, "", "")
    assert started == [RouterOptions()]


def test_every_flag_becomes_an_option(started: list[RouterOptions], here: Path) -> None:
    Path("keys").write_text("# for the team\nkey-one\n\n  key-two  \n", encoding="utf-8")
    Path("upstream").write_text("key-three\n", encoding="utf-8")
    for name in ("keys", "upstream"):
        Path(name).chmod(0o600)
    line = (
        "--host 0.0.0.0 --port 8443 --cert cert.pem --key key.pem --api-key-file keys --rate-limit --tpm soft "
        "--pcrs sha256:0 --aik rsa2048 --server-key server.pem --upstream http://10.0.0.1:8080/v1 "
        "--upstream-key-file upstream --upstream-timeout 7.5 --unsafe-remote-upstream --model a --model b=high,maximum "
        "--default-tier high --upstream-concurrency 4 --grace 5 --log-format json --fault echo-missing "
        "--boot other-firmware --print-env"
    )
    assert run("router", *line.split()) == (0, "", "")
    assert started == [
        RouterOptions(
            host="0.0.0.0",
            port=8443,
            cert=Path("cert.pem"),
            key=Path("key.pem"),
            api_keys=("key-one", "key-two"),
            rate_limit=True,
            tpm="soft",
            pcrs="sha256:0",
            aik="rsa2048",
            server_key=Path("server.pem"),
            upstream="http://10.0.0.1:8080/v1",
            upstream_api_key="key-three",
            upstream_timeout=7.5,
            unsafe_remote_upstream=True,
            models={"a": frozenset(TIERS), "b": frozenset({"high", "maximum"})},
            default_tier="high",
            upstream_concurrency=4,
            grace=5.0,
            log_format="json",
            fault="echo-missing",
            boot="other-firmware",
            print_env=True,
        )
    ]


def test_the_file_for_the_ca_becomes_an_option(started: list[RouterOptions]) -> None:
    assert run("router", "--ca-out", "ca.pem") == (0, "", "")
    assert started == [RouterOptions(ca_out=Path("ca.pem"))]


def test_the_choices_are_those_of_the_router() -> None:
    from nomyo.cli import router
    from nomyo_attest.cli.arguments import FORMATS

    assert (router.TPMS, router.BOOTS, FORMATS) == (TPMS, BOOTS, LOG_FORMATS)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--port", "70000"], "--port: expected 0 to 65535, got 70000"),
        (["--host", "0.0.0.0"], "--host '0.0.0.0': the temporary CA is for loopback only"),
        (["--cert", "x"], "--cert: expected a private key as well"),
        (["--cert", "x", "--key", "y"], "--key: y: does not exist; check its path"),
        (["--model", "m=top"], "--model: tier: expected one of standard, high, maximum, got 'top'"),
        (["--upstream", "ftp://x"], "--upstream: expected a base URL such as http://"),
        (["--upstream", "http://10.0.0.1/v1"], "or set --unsafe-remote-upstream"),
        (["--upstream-timeout", "0"], "--upstream-timeout: expected seconds above 0"),
        (["--fault", "quote-nonc"], "--fault: unknown fault 'quote-nonc'; did you mean quote-nonce?"),
        (["--fault", "\x1b[31m"], "nomyo router --list-faults lists all"),
        (["--api-key-file", "missing"], "--api-key-file: missing: cannot be read"),
        (["--api-key-file", "."], "--api-key-file: .: is a folder; name a file"),
        (["--upstream-key-file", os.devnull], f"--upstream-key-file: {os.devnull}: expected one line, got nothing"),
        (["--server-key", "missing"], "missing"),
        (["--tpm", "soft", "--pcrs", "sha256"], "sha256"),
    ],
)
@pytest.mark.usefixtures("_shared_client_key")
def test_what_a_router_cannot_be_is_one_line(here: Path, argv: list[str], said: str) -> None:
    done = run("router", *argv)
    assert (done.status, done.out) == (2, "")
    *log, last = done.err.splitlines()
    assert last.startswith("nomyo: ")
    assert said in last
    assert last.isprintable()
    assert "Traceback" not in "".join(log)


def test_a_list_of_keys_that_are_none_is_refused_without_being_quoted(here: Path) -> None:
    Path("keys").write_text("secret of mine\n\x1b\n", encoding="utf-8")
    Path("keys").chmod(0o600)
    answer = error_message(run("router", "--api-key-file", "keys"))
    assert answer.startswith("--api-key-file: expected printable ASCII")
    assert "secret of" not in answer


@pytest.mark.usefixtures("_shared_client_key")
def test_a_port_that_is_taken_is_said(here: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = run("router", "--tpm", "soft", "--port", str(listener.getsockname()[1]))
    assert done.status == 2
    assert "cannot listen on 127.0.0.1" in done.err.splitlines()[-1]


def test_faults_are_listed_with_their_reasons() -> None:
    ran = run("router", "--list-faults")
    assert (ran.status, ran.err) == (0, "")
    assert all(f"\n{fault.name} " in f"\n{ran.out}" for fault in FAULTS)
    document = run("router", "--list-faults", "--format", "json").json()
    assert document == {
        "format": "nomyo-router-faults/1",
        "faults": [{"name": fault.name, "reason": fault.reason} for fault in FAULTS],
    }


def test_without_the_extra_it_is_said_what_to_install() -> None:
    done = start_without("starlette", "router", "--tpm", "soft")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert install_command("router") in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_it_says_on_one_line_where_it_is_and_serves_nomyo_chat_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "nomyo.cli", "router", "--tpm", "soft"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(TMPDIR=str(tmp_path)),
    ) as process:
        assert process.stdout is not None
        ready: dict[str, Any] = json.loads(process.stdout.readline())
        assert sorted(ready) == ["ca", "tpm", "url"]
        asked = start("chat", PROMPT, env=environment(NOMYO_BASE_URL=ready["url"], SSL_CERT_FILE=ready["ca"]))
        assert (asked.returncode, asked.stdout) == (0, f"{PROMPT}\n")
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "FOR TESTS ONLY" in log
    assert PROMPT not in log
    assert list(tmp_path.iterdir()) == []
