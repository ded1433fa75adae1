from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo.router import RouterError, RouterOptions, credentials
from nomyo.router.credentials import ServerKey, ServerTLS, load_tls, make_temporary_tls
from nomyo_attest import _files


def save(path: Path, key: rsa.RSAPrivateKey, mode: int = 0o600) -> None:
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    path.chmod(mode)


def test_a_key_is_made_at_start_of_the_size_asked_for() -> None:
    made = ServerKey.load_or_generate(RouterOptions(server_key_bits=2048))
    assert made.private.key_size == 2048
    assert serialization.load_pem_public_key(made.pem.encode()) == made.private.public_key()
    assert made.pin.startswith("sha256/")
    assert ServerKey.generate(2048).pin != made.pin


def test_a_size_that_no_client_could_use_is_refused() -> None:
    with pytest.raises(RouterError, match="server_key_bits: expected a key size of 2048 to 16384 bits, got 1024"):
        ServerKey.load_or_generate(RouterOptions(server_key_bits=1024))


def test_a_key_is_loaded_from_its_file(tmp_path: Path, server_key: rsa.RSAPrivateKey) -> None:
    path = tmp_path / "router.pem"
    save(path, server_key)
    loaded = ServerKey.load_or_generate(RouterOptions(server_key=path))
    assert loaded.pin == ServerKey.from_private_key(server_key).pin
    assert loaded.private.private_numbers() == server_key.private_numbers()


def test_server_key_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    small = tmp_path / "small.pem"
    save(small, rsa.generate_private_key(65537, 2048))
    open_to_all = tmp_path / "open.pem"
    save(open_to_all, rsa.generate_private_key(65537, 2048), 0o644)
    for path in (tmp_path / "none.pem", small, open_to_all):
        with pytest.raises(RouterError, match="server_key: ") as caught:
            ServerKey.load_or_generate(RouterOptions(server_key=path))
        assert str(path) in str(caught.value)
        assert "BEGIN" not in str(caught.value)
    assert ServerKey.load_or_generate(RouterOptions(server_key=small, server_key_bits=2048)).private.key_size == 2048


def test_the_private_key_is_in_no_repr(server_key: rsa.RSAPrivateKey) -> None:
    assert str(server_key.private_numbers().d) not in repr(ServerKey.from_private_key(server_key))


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
    secured = make_temporary_tls(tmp_path, "127.0.0.2")
    assert secured.ca is not None
    assert shaken_hands(secured, secured.ca, name) == "TLSv1.3"


def test_it_is_trusted_for_nothing_else_and_by_nobody_else(tmp_path: Path) -> None:
    secured = make_temporary_tls(tmp_path, "localhost")
    assert secured.ca is not None
    with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|mismatch"):
        shaken_hands(secured, secured.ca, "router.example")
    (tmp_path / "other").mkdir()
    other = make_temporary_tls(tmp_path / "other", "localhost")
    assert other.ca is not None
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken_hands(secured, other.ca, "localhost")


def test_nothing_but_the_ca_s_certificate_stays_on_disk(tmp_path: Path) -> None:
    secured = make_temporary_tls(tmp_path, "localhost")
    assert [path.name for path in tmp_path.iterdir()] == ["ca.pem"]
    assert secured.ca == tmp_path / "ca.pem"
    text = secured.ca.read_bytes()
    assert b"PRIVATE" not in text
    constraints = x509.load_pem_x509_certificate(text).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca


def test_the_server_s_key_is_never_on_disk_in_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    honest = _files.write_new

    def write(path: Path, content: bytes, mode: int = 0o666) -> None:
        written.append(content)
        honest(path, content, mode)

    monkeypatch.setattr(credentials, "write_new", write)
    make_temporary_tls(tmp_path, "localhost")
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
    secured = load_tls(cert, key)
    assert secured.ca is None
    assert shaken_hands(secured, ca, "router.example") == "TLSv1.3"


def test_tls_files_that_cannot_be_used_are_named(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, cert, key = files
    cert.chmod(0o600)
    for pair in ((tmp_path / "none.pem", key), (key, cert), (cert, cert)):
        with pytest.raises(RouterError, match="not a certificate chain and its key in PEM") as caught:
            load_tls(*pair)
        assert str(pair[0]) in str(caught.value)
    with pytest.raises(RouterError, match=r"^key: .*none\.pem: does not exist; check its path$"):
        load_tls(cert, tmp_path / "none.pem")


def test_an_encrypted_key_is_refused_and_no_terminal_is_asked(files: tuple[Path, Path, Path]) -> None:
    _, cert, key = files
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, encryption))
    with pytest.raises(RouterError, match="key: the key is encrypted"):
        load_tls(cert, key)
