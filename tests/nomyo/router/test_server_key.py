from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo.router import RouterError, RouterOptions
from nomyo.router.server_key import ServerKey


def save(path: Path, key: rsa.RSAPrivateKey, mode: int = 0o600) -> None:
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    path.chmod(mode)


def test_a_key_is_made_at_start_of_the_size_asked_for() -> None:
    made = ServerKey.first(RouterOptions(server_key_bits=2048))
    assert made.private.key_size == 2048
    assert serialization.load_pem_public_key(made.pem.encode()) == made.private.public_key()
    assert made.pin.startswith("sha256/")
    assert ServerKey.new(2048).pin != made.pin


def test_a_size_that_no_client_could_use_is_refused() -> None:
    with pytest.raises(RouterError, match="server_key_bits: a key has 2048 to 16384 bits, not 1024"):
        ServerKey.first(RouterOptions(server_key_bits=1024))


def test_a_key_is_loaded_from_its_file(tmp_path: Path, server_key: rsa.RSAPrivateKey) -> None:
    path = tmp_path / "router.pem"
    save(path, server_key)
    loaded = ServerKey.first(RouterOptions(server_key=path))
    assert loaded.pin == ServerKey.of(server_key).pin
    assert loaded.private.private_numbers() == server_key.private_numbers()


def test_files_that_will_not_do_are_named(tmp_path: Path) -> None:
    small = tmp_path / "small.pem"
    save(small, rsa.generate_private_key(65537, 2048))
    open_to_all = tmp_path / "open.pem"
    save(open_to_all, rsa.generate_private_key(65537, 2048), 0o644)
    for path in (tmp_path / "none.pem", small, open_to_all):
        with pytest.raises(RouterError, match="server_key: ") as caught:
            ServerKey.first(RouterOptions(server_key=path))
        assert str(path) in str(caught.value)
        assert "BEGIN" not in str(caught.value)
    assert ServerKey.first(RouterOptions(server_key=small, server_key_bits=2048)).private.key_size == 2048


def test_the_private_key_is_in_no_repr(server_key: rsa.RSAPrivateKey) -> None:
    assert str(server_key.private_numbers().d) not in repr(ServerKey.of(server_key))
