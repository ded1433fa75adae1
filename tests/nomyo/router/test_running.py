"""Routers that start, change while they run, and leave nothing behind."""

from __future__ import annotations

import gc
import http.client
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

import nomyo_attest as na
from nomyo.router import RouterError, RouterOptions, RunningRouter
from nomyo_attest.installation import install_command
from tests.nomyo.router.router_calls import appraise, client_of, policy_of
from tests.nomyo.wire.simple_client import Client, read

NONE = RouterOptions(tpm="none")


def test_its_url_is_localhost_and_its_ca_a_file(router: RunningRouter) -> None:
    assert router.url.startswith("https://localhost:")
    assert router.ca is not None
    assert router.ca.read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert router.ca.parent.stat().st_mode & 0o777 == 0o700
    assert router.tpm == "soft"


def test_it_leaves_nothing_behind(
    server_key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    threads = set(threading.enumerate())
    with RunningRouter(RouterOptions(tpm="soft"), server_key=server_key) as router:
        port = urlsplit(router.url).port
        with client_of(router) as client:
            read(client.call())
        assert any(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
    until = time.monotonic() + 60
    while not set(threading.enumerate()) <= threads:  # anyio's threads are told to end, and end a moment later
        assert time.monotonic() < until, threading.enumerate()
        time.sleep(0.01)
    assert port is not None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a ResourceWarning here would name what was left open
        gc.collect()


@pytest.mark.tpm
def test_it_leaves_no_swtpm_behind(server_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is shorter than tmp_path may be
        monkeypatch.setattr("tempfile.tempdir", folder)
        with RunningRouter(RouterOptions(tpm="swtpm"), server_key=server_key) as router:
            assert router.tpm == "swtpm"
            router.boot_other_firmware()
            assert folder in commands()
        assert list(Path(folder).iterdir()) == []
        assert folder not in commands()


def commands() -> str:
    """The command lines of all processes that are alive."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # gone meanwhile
    return "\n".join(lines)


def test_it_ends_quickly_though_clients_keep_their_connections(server_key: rsa.RSAPrivateKey) -> None:
    with RunningRouter(NONE, server_key=server_key) as router, client_of(router) as client:
        read(client.call())  # the connection stays open, and its owner does not read
        began = time.monotonic()
        router.stop()
        assert time.monotonic() - began < 1.5


def test_it_ends_though_a_request_is_under_way(server_key: rsa.RSAPrivateKey) -> None:
    with RunningRouter(NONE, server_key=server_key) as router, client_of(router) as client:
        client.connection.putrequest("POST", "/v1/chat/secure_completion")
        client.connection.putheader("Content-Length", "1000")
        client.connection.endheaders(b"a beginning")
        time.sleep(0.2)
        began = time.monotonic()
        router.stop()
        assert time.monotonic() - began < 5


def test_it_ends_though_nobody_completes_the_tls_handshake(server_key: rsa.RSAPrivateKey) -> None:
    with RunningRouter(NONE, server_key=server_key) as router:
        port = urlsplit(router.url).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)):
            time.sleep(0.1)
            began = time.monotonic()
            router.stop()
            assert time.monotonic() - began < 5


def test_stopping_twice_does_nothing_and_starting_again_is_a_new_router(server_key: rsa.RSAPrivateKey) -> None:
    router = RunningRouter(NONE, server_key=server_key)
    with router:
        first = router.ca
        with pytest.raises(RouterError, match="this router is already running"):
            router.__enter__()
        router.stop()
        router.stop()
    with router, client_of(router) as client:
        assert router.ca != first
        read(client.call())


def test_a_router_that_is_not_running_says_so() -> None:
    router = RunningRouter(NONE)
    for use in (
        lambda: router.url,
        lambda: router.ca,
        lambda: router.tpm,
        lambda: router.counts,
        lambda: router.server_key_pin,
        router.boot_other_firmware,
        router.boot_original_firmware,
    ):
        with pytest.raises(RouterError, match=r"the router is not running: use it inside"):
            use()


def test_a_port_that_is_taken_is_told_and_nothing_stays(
    server_key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(RouterError, match=rf"cannot listen on 127\.0\.0\.1, port {port}: Address already in use"),
            RunningRouter(RouterOptions(tpm="none", port=port), server_key=server_key),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


def test_what_fails_at_the_start_leaves_nothing(
    server_key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    threads = set(threading.enumerate())
    with (
        pytest.raises(RouterError, match="cannot quote PCRs"),
        RunningRouter(RouterOptions(tpm="soft", pcrs="sha256:99"), server_key=server_key),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    assert set(threading.enumerate()) <= threads


def test_a_port_may_be_asked_for(server_key: rsa.RSAPrivateKey) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with RunningRouter(RouterOptions(tpm="none", port=port), server_key=server_key) as router:
        assert router.url == f"https://localhost:{port}"


@pytest.mark.parametrize(
    ("host", "url"),
    [("localhost", "https://localhost:"), ("127.0.0.1", "https://localhost:"), ("127.0.0.2", "https://127.0.0.2:")],
)
def test_it_is_reached_under_its_url(server_key: rsa.RSAPrivateKey, host: str, url: str) -> None:
    with RunningRouter(RouterOptions(tpm="none", host=host), server_key=server_key) as router:
        assert router.url.startswith(url)
        parts = urlsplit(router.url)
        assert parts.hostname is not None
        assert parts.port is not None
        with Client(parts.port, str(router.ca), parts.hostname) as client:
            read(client.call())


@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_it_listens_on_ipv6(server_key: rsa.RSAPrivateKey) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with RunningRouter(RouterOptions(tpm="none", host="::1"), server_key=server_key) as router:
        assert router.url.startswith("https://[::1]:")
        parts = urlsplit(router.url)
        assert parts.port is not None
        with Client(parts.port, str(router.ca), "::1") as client:
            read(client.call())


def test_a_certificate_from_files_is_served(server_key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    cert.write_bytes(b"".join(one.bytes() for one in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    authority.cert_pem.write_to_path(ca)
    with RunningRouter(RouterOptions(tpm="none", cert=cert, key=key), server_key=server_key) as router:
        assert router.ca is None
        port = urlsplit(router.url).port
        assert port is not None
        with Client(port, str(ca)) as client:
            read(client.call())


def test_tls_is_1_2_or_newer(router: RunningRouter) -> None:
    port = urlsplit(router.url).port
    context = ssl.create_default_context(cafile=str(router.ca))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the old version that is tried here
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=5)
    with pytest.raises(ssl.SSLError):
        connection.connect()
    connection.close()


# What changes while it runs.


def test_a_key_that_is_rotated_is_served_and_opens_and_the_old_one_does_not(server_key: rsa.RSAPrivateKey) -> None:
    new = rsa.generate_private_key(65537, 4096)
    with RunningRouter(NONE, server_key=server_key) as router, client_of(router) as client:
        before = router.server_key_pin
        assert router.rotate_key(new) == router.server_key_pin != before
        assert client.call(key=server_key.public_key()).status == 400
        read(client.call(key=new.public_key()))
        read(client.call())


def test_a_key_is_made_where_none_is_given(server_key: rsa.RSAPrivateKey) -> None:
    options = RouterOptions(tpm="none", server_key_bits=2048)
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        before = router.server_key_pin
        assert router.rotate_key() != before
        read(client.call())


@pytest.mark.parametrize("kind", ["soft", pytest.param("swtpm", marks=pytest.mark.tpm)])
def test_other_firmware_is_refused_by_a_policy_learnt_before(server_key: rsa.RSAPrivateKey, kind: str) -> None:
    with RunningRouter(RouterOptions(tpm=kind), server_key=server_key) as router, client_of(router) as client:
        assert router.tpm == kind
        policy = policy_of(client.call(tier="maximum"))
        assert appraise(client.call(tier="maximum"), policy).verdict is na.Verdict.AFFIRMING
        router.boot_other_firmware()
        result = appraise(client.call(tier="maximum"), policy)
        assert result.verdict is na.Verdict.CONTRAINDICATED
        assert result.failed == ("pcr.values",)


@pytest.mark.tpm
@pytest.mark.parametrize("fault", ["quote-nonce", "quote-unrestricted", "quote-sized"])
def test_quote_faults_stand_in_for_a_tpm_with_its_pcr_values(server_key: rsa.RSAPrivateKey, fault: str) -> None:
    expected = {"quote-nonce": ("nonce.match",), "quote-unrestricted": ("key.attributes",), "quote-sized": ()}
    with RunningRouter(RouterOptions(tpm="swtpm"), server_key=server_key) as router, client_of(router) as client:
        policy = policy_of(client.call())
        router.fault = fault
        assert appraise(client.call(), policy).failed == expected[fault]


OF_SELECTIONS = ("quote-swapped-values", "quote-sha1-bank", "quote-missing-pcr")
OF_MORE = ("quote-extra-pcr", "quote-unreported-pcr")
EVERY = "sha256:" + ",".join(map(str, range(24)))  # there is no PCR left to add


@pytest.mark.parametrize(
    ("pcrs", "fault"),
    [
        *((pcrs, fault) for pcrs in ("sha256:7", "sha256:0,7+sha384:0") for fault in OF_SELECTIONS + OF_MORE),
        *((EVERY, fault) for fault in OF_SELECTIONS),
    ],
)
def test_quote_faults_are_wrong_whatever_is_quoted(server_key: rsa.RSAPrivateKey, pcrs: str, fault: str) -> None:
    options = RouterOptions(tpm="soft", pcrs=pcrs)
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        policy = policy_of(client.call())
        router.fault = fault
        assert appraise(client.call(), policy).failed


def test_a_fault_may_be_on_from_the_start(server_key: rsa.RSAPrivateKey) -> None:
    options = RouterOptions(tpm="none", fault="status-418")
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        assert router.fault == "status-418"
        assert client.call().status == 418


def test_an_unknown_fault_is_told_before_anything_starts() -> None:
    with pytest.raises(
        RouterError, match="fault: unknown fault 'no-such'; choose one from nomyo.router.FAULTS".replace(".", r"\.")
    ):
        RunningRouter(RouterOptions(fault="no-such"))


def test_a_router_in_earnest_has_no_switch_and_remembers_no_answer(server_key: rsa.RSAPrivateKey) -> None:
    with RunningRouter(NONE, server_key=server_key, switchable=False) as router, client_of(router) as client:
        with pytest.raises(RouterError, match="fault of this router cannot be changed"):
            router.fault = "replay"
        read(client.call())
        assert router._running._last_response is None


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "h11", "trustme"])
@pytest.mark.parametrize("wanted", ["nomyo.router import RunningRouter", "nomyo.router.faults import FAULTS"])
def test_without_the_extra_the_package_says_what_to_install(missing: str, wanted: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from nomyo.router import RouterOptions, MissingExtraError, RouterError\n"
        "RouterOptions()\n"
        f"try:\n    from {wanted}\n"
        "except MissingExtraError as error:\n    print(isinstance(error, RouterError), error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"True the reference router needs {missing} from the extra router: {install_command('router')}\n"
    )


def test_importing_the_package_imports_no_server() -> None:
    code = (
        "import nomyo.router, sys; nomyo.router.RouterOptions()\n"
        "print({'uvicorn', 'starlette', 'trustme'} & {*sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "set()\n"


def test_an_answer_does_not_wait_for_a_delayed_acknowledgement(router: RunningRouter, client: Client) -> None:
    """40 ms on Linux (RFC 9293, 3.8.6.3, allows 500), for whatever is sent in two segments without TCP_NODELAY."""
    client.key_document()
    seconds = []
    for _ in range(20):
        began = time.monotonic()
        client.key_document()
        seconds.append(time.monotonic() - began)
    assert min(seconds) < 0.02


def test_no_temporary_folder_is_an_error_that_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(
        RouterError, match=r"^temporary folder: No such file or directory; set TMPDIR to a writable folder"
    ):
        RunningRouter(RouterOptions(tpm="none")).__enter__()


def test_a_full_temporary_folder_is_an_error_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("nomyo.router.credentials.write_new", full)
    with pytest.raises(
        RouterError, match=r"^temporary folder: No space left on device; set TMPDIR to a writable folder"
    ):
        RunningRouter(RouterOptions(tpm="none")).__enter__()
    assert not list(tmp_path.iterdir())
