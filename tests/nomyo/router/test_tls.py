from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from nomyo.router import RouterError, tls
from nomyo.router.tls import ServerTLS


def shaken_hands(secured: ServerTLS, ca: Path, name: str) -> str | None:
    """The TLS version that client and server agree on, the client trusting `ca` alone."""
    ours, theirs = socket.socketpair()
    context = ssl.create_default_context(cafile=str(ca))

    def serve() -> None:
        with ours:
            try:
                with secured.context.wrap_socket(ours, server_side=True) as wrapped:
                    wrapped.recv(1)
            except (ssl.SSLError, ConnectionError):
                pass  # the client's side tells what is wrong

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with theirs, context.wrap_socket(theirs, server_hostname=name) as wrapped:
            return wrapped.version()
    finally:
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "127.0.0.2"])
def test_a_throw_away_ca_is_trusted_for_loopback_and_the_host(tmp_path: Path, name: str) -> None:
    secured = tls.throw_away(tmp_path, "127.0.0.2")
    assert secured.ca is not None
    assert shaken_hands(secured, secured.ca, name) == "TLSv1.3"


def test_it_is_trusted_for_nothing_else_and_by_nobody_else(tmp_path: Path) -> None:
    secured = tls.throw_away(tmp_path, "localhost")
    assert secured.ca is not None
    with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|mismatch"):
        shaken_hands(secured, secured.ca, "router.example")
    (tmp_path / "other").mkdir()
    other = tls.throw_away(tmp_path / "other", "localhost")
    assert other.ca is not None
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken_hands(secured, other.ca, "localhost")


def test_nothing_but_the_ca_s_certificate_stays_on_disk(tmp_path: Path) -> None:
    secured = tls.throw_away(tmp_path, "localhost")
    assert [path.name for path in tmp_path.iterdir()] == ["ca.pem"]
    assert secured.ca == tmp_path / "ca.pem"
    text = secured.ca.read_bytes()
    assert b"PRIVATE" not in text
    constraints = x509.load_pem_x509_certificate(text).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca


def test_the_server_s_key_is_never_on_disk_in_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    honest = Path.write_bytes

    def write(path: Path, data: bytes) -> int:
        written.append(data)
        return honest(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    tls.throw_away(tmp_path, "localhost")
    assert any(b"BEGIN ENCRYPTED PRIVATE KEY" in data for data in written)
    assert not any(b"BEGIN PRIVATE KEY" in data or b"BEGIN EC PRIVATE KEY" in data for data in written)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """CA, chain and key of a certificate made elsewhere."""
    authority = trustme.CA()
    leaf = authority.issue_cert("router.example")
    ca, cert, key = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(ca)
    cert.write_bytes(b"".join(one.bytes() for one in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    return ca, cert, key


def test_a_certificate_from_files_is_used(files: tuple[Path, Path, Path]) -> None:
    ca, cert, key = files
    secured = tls.from_files(cert, key)
    assert secured.ca is None
    assert shaken_hands(secured, ca, "router.example") == "TLSv1.3"


def test_files_that_will_not_do_are_named(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, cert, key = files
    cert.chmod(0o600)
    for pair in ((tmp_path / "none.pem", key), (key, cert), (cert, cert)):
        with pytest.raises(RouterError, match="not a certificate chain and its key in PEM") as caught:
            tls.from_files(*pair)
        assert str(pair[0]) in str(caught.value)
    with pytest.raises(RouterError, match=r"^key: .*none\.pem: is not there; check its name$"):
        tls.from_files(cert, tmp_path / "none.pem")


def test_an_encrypted_key_is_refused_and_no_terminal_is_asked(files: tuple[Path, Path, Path]) -> None:
    _, cert, key = files
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, encryption))
    with pytest.raises(RouterError, match="key: it is encrypted"):
        tls.from_files(cert, key)
