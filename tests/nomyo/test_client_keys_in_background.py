"""The client's key pair: one for all calls, made or loaded once, and never made because one could not be loaded."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo import client_keys, keys
from nomyo.client_keys import KeyPair, Keyring
from nomyo.errors import KeyStoreError
from tests.nomyo.client_calls import run, shared_key_pair
from tests.nomyo.wire import server_keys

KEY = shared_key_pair()
PEM = server_keys.public_pem(KEY.public_key()).decode()


def test_the_public_key_is_that_of_the_private_one() -> None:
    pair = KeyPair.of(KEY)
    assert pair.private is KEY
    assert pair.public_pem == PEM


def test_a_pair_shows_its_fingerprint_and_nothing_else() -> None:
    assert repr(KeyPair.of(KEY)) == f"<KeyPair {keys.fingerprint(KEY.public_key())}>"


def test_a_new_pair_has_the_size_that_the_protocol_promises(made: list[int]) -> None:
    assert run(Keyring().get()).private is KEY
    assert made == [4096]


def test_nothing_is_made_before_it_is_asked_for(made: list[int]) -> None:
    ring = Keyring()
    assert ring.pair is None
    assert made == []
    ring.start()
    ring._background_pair.start().result(10)  # which does not begin it again
    assert made == [4096]
    assert ring.pair is None
    run(ring.get())
    assert made == [4096]


def test_what_was_begun_is_under_way_before_anybody_asks(made: list[int]) -> None:
    ring = Keyring()
    ring.start()
    deadline = time.monotonic() + 60
    while not made and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == [4096]


def test_all_calls_get_one_pair(made: list[int]) -> None:
    ring = Keyring()
    ring.start()

    async def many() -> list[KeyPair]:
        return await asyncio.gather(*(ring.get() for _ in range(20)))

    pairs = [*run(many()), *run(many())]
    assert len({id(pair) for pair in pairs}) == 1
    assert ring.pair is pairs[0]
    assert made == [4096]


def test_a_pair_that_is_set_is_used_and_none_is_made(made: list[int]) -> None:
    ring, pair = Keyring(), KeyPair.of(KEY)
    ring.pair = pair
    ring.start()
    assert run(ring.get()) is pair
    assert made == []


def test_a_pair_that_is_set_while_one_is_being_made_goes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = threading.Event()
    monkeypatch.setattr(keys, "generate", lambda: leave.wait(10) and KEY)
    ring, mine = Keyring(), KeyPair.of(server_keys.pair(1001, 2048))

    async def main() -> KeyPair:
        waiting = asyncio.create_task(ring.get())
        await asyncio.sleep(0.01)
        ring.pair = mine
        leave.set()
        return await waiting

    assert run(main()) is mine
    assert ring.pair is mine


def test_a_folder_gets_a_pair_once_and_gives_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, object]] = []

    def load_or_create(directory: Path, password: str | None) -> rsa.RSAPrivateKey:
        asked.append((directory, password))
        return KEY

    monkeypatch.setattr(client_keys, "load_or_create", load_or_create)
    assert run(Keyring(str(tmp_path), "a password").get()).public_pem == PEM
    assert asked == [(tmp_path, "a password")]


@pytest.mark.parametrize("password", [None, "the right one"])
def test_a_pair_on_disk_is_loaded(tmp_path: Path, password: str | None, made: list[int]) -> None:
    client_keys.save_new(tmp_path / "keys", KEY, password)
    assert run(Keyring(tmp_path / "keys", password).get()).public_pem == PEM
    assert made == []


@pytest.mark.parametrize("password", [None, "", "a wrong one"])
def test_a_pair_that_cannot_be_loaded_is_an_error_and_none_is_made_instead(
    tmp_path: Path, password: str | None, made: list[int]
) -> None:
    client_keys.save_new(tmp_path / "keys", KEY, "the right one")
    before = {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}
    ring = Keyring(tmp_path / "keys", password)
    for _ in range(2):
        with pytest.raises(KeyStoreError) as caught:
            run(ring.get())
        assert "wrong one" not in str(caught.value)
        assert ring.pair is None
    assert {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == before
    assert made == []


def test_a_fault_that_was_mended_is_forgotten(tmp_path: Path, made: list[int]) -> None:
    folder = tmp_path / "keys"
    client_keys.save_new(folder, KEY)
    (folder / "private_key.pem").rename(folder / "elsewhere")
    ring = Keyring(folder)
    with pytest.raises(KeyStoreError):
        run(ring.get())
    (folder / "elsewhere").rename(folder / "private_key.pem")
    assert run(ring.get()).public_pem == PEM
    assert made == []
