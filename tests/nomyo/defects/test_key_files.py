"""K: the client's key pair on disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.defects.calls import MESSAGES, MODEL, attempt, close, describe, is_error, outcome, run
from tests.nomyo.defects.conftest import CLIENT_KEY, Chat, write_keys
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.plain_router import PlainRouter

OTHERS = 2002  # somebody else's pair
LOW_LEVEL = "https://localhost"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def truncate(folder: Path) -> None:
    """Leave half of the private key."""
    path = folder / "private_key.pem"
    path.write_bytes(path.read_bytes()[:1500])


def forget_private(folder: Path) -> None:
    """Leave the public key alone."""
    (folder / "private_key.pem").unlink()


def nothing(folder: Path) -> None:
    """Leave all as it is."""


@pytest.mark.parametrize(
    ("password", "tamper"),
    [(b"secret", nothing), (None, truncate), (None, forget_private)],
    ids=["locked", "cut", "half"],
)
def test_k1_a_key_that_cannot_be_loaded_is_not_written_over(
    chat: Chat, tmp_path: Path, password: bytes | None, tamper: Callable[[Path], None]
) -> None:
    folder = write_keys(tmp_path / "keys", OTHERS, password=password)
    tamper(folder)
    before = contents(folder)
    found = chat.ask({"key_dir": str(folder)})
    assert contents(folder) == before, "the key was written over by a new one, without a password"
    assert is_error(found, ValueError, "key"), describe(found)


def test_k1_a_missing_public_key_does_not_cost_the_private_one(chat: Chat, tmp_path: Path) -> None:
    folder = write_keys(tmp_path / "keys", OTHERS)
    (folder / "public_key.pem").unlink()
    before = contents(folder)["private_key.pem"]
    answer = chat.ask({"key_dir": str(folder)})
    assert contents(folder)["private_key.pem"] == before, "the private key was written over by a new one"
    assert isinstance(answer, dict), describe(answer)


@pytest.mark.parametrize("public", ["another key", "no key"])
def test_k2_a_public_key_that_is_not_that_of_the_private_one_is_not_sent(
    chat: Chat, tmp_path: Path, public: str
) -> None:
    folder = write_keys(tmp_path / "keys", OTHERS)
    planted = server_keys.public_pem(server_keys.pair().public_key()) if public == "another key" else b"anything\n"
    (folder / "public_key.pem").write_bytes(planted)
    found = chat.ask({"key_dir": str(folder)})
    assert not chat.router.posts, f"{public} in public_key.pem was sent for the answer to be sealed to"
    assert is_error(found, ValueError, "public_key.pem"), describe(found)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_k3_a_private_key_is_its_owners_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is done to the mode of a file afterwards is left out, for somebody may have opened it before."""
    folder = tmp_path / "keys"
    monkeypatch.setattr(os, "chmod", lambda *_, **__: None)
    mask = os.umask(0o022)
    try:
        client = SecureCompletionClient(LOW_LEVEL)
        client.generate_keys(save_to_file=True, key_dir=str(folder))
    finally:
        os.umask(mask)
    mode = (folder / "private_key.pem").stat().st_mode & 0o777
    assert mode == 0o600, f"the private key is created with mode {mode:o}"
    assert folder.stat().st_mode & 0o777 == 0o700


def readable_by_all(folder: Path) -> None:
    """Let others read the private key."""
    (folder / "private_key.pem").chmod(0o644)


def behind_a_link(folder: Path) -> None:
    """Put a symbolic link in the place of the private key."""
    (folder / "private_key.pem").rename(folder / "elsewhere.pem")
    (folder / "private_key.pem").symlink_to(folder / "elsewhere.pem")


@pytest.mark.skipif(os.name != "posix", reason="modes and owners of files are POSIX's")
@pytest.mark.parametrize("tamper", [readable_by_all, behind_a_link])
def test_k3_a_private_key_that_others_can_get_at_is_not_loaded(tmp_path: Path, tamper: Callable[[Path], None]) -> None:
    folder = write_keys(tmp_path / "keys", OTHERS)
    tamper(folder)
    found = attempt(partial(SecureCompletionClient(LOW_LEVEL).load_keys, str(folder / "private_key.pem")))
    assert is_error(found, ValueError, "private_key.pem"), f"a key {tamper.__name__} was loaded: {describe(found)}"


ONE_OF_TWO = """
import asyncio, sys
import nomyo

async def main():
    client = nomyo.SecureChatCompletion(base_url=sys.argv[1], key_dir=sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    await client.create(model="m", messages=[{"role": "user", "content": "hello"}])

asyncio.run(main())
"""


def test_k4_two_processes_that_begin_at_once_have_one_key(router: PlainRouter, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", ONE_OF_TWO, router.url, str(tmp_path / "keys")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, stderr=subprocess.DEVNULL, **pipes) for _ in range(2)]
    for one in both:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in both:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    codes = []
    for one in both:
        one.communicate(timeout=60)
        codes.append(one.returncode)
    keys = {(request.header("X-Public-Key") or "").removesuffix("%0A") for request in router.posts}
    assert len(keys) == 1, f"two processes with one key_dir use {len(keys)} key pairs"
    assert codes == [0, 0]


FULL_DISK = """
import resource, sys
from nomyo.SecureCompletionClient import SecureCompletionClient

client = SecureCompletionClient("https://localhost")
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
try:
    client.generate_keys(save_to_file=True, key_dir=sys.argv[1])
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(os.name != "posix", reason="a limit to the size of files is POSIX's")
def test_k4_a_key_that_cannot_be_written_whole_is_not_there_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    command = [sys.executable, "-W", "ignore", "-c", FULL_DISK, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip(), "the disk was not full for it"
    left = {name: len(data) for name, data in contents(folder).items() if name.endswith(".pem")}
    assert not left, f"a full disk leaves a part of a key: {left} bytes"


def test_k5_a_key_that_is_refused_leaves_the_one_before_in_use(chat: Chat, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    curve = tmp_path / "ec.pem"
    curve.touch(mode=0o600)
    curve.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    client = SecureCompletionClient(chat.router.url, max_retries=0)
    client.load_keys(str(chat.key_dir / "private_key.pem"))
    refused = attempt(partial(client.load_keys, str(curve)))
    assert is_error(refused, ValueError), describe(refused)

    async def call() -> Any:
        try:
            return await outcome(client.send_secure_request({"model": MODEL, "messages": MESSAGES}, "request-1"))
        finally:
            await close(client)

    answer = run(call)
    assert isinstance(answer, dict), f"after an EC key was refused, the RSA key is gone: {describe(answer)}"


def test_k6_a_client_key_smaller_than_the_protocol_says_is_not_taken_silently(tmp_path: Path) -> None:
    folder = write_keys(tmp_path / "keys", CLIENT_KEY, bits=2048)
    found = attempt(partial(SecureCompletionClient(LOW_LEVEL).load_keys, str(folder / "private_key.pem")))
    assert is_error(found, ValueError, "2048"), (
        f"an RSA-2048 key was taken for hybrid-aes256-rsa4096: {describe(found)}"
    )


def test_k7_keys_are_loaded_from_where_the_documentation_says(
    chat: Chat, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = re.compile(r"loaded automatically from .?client_keys|keys? (?:is|are) auto\w*.loaded", re.IGNORECASE)
    documents = [*source.glob("*.md"), *source.glob("doc*/**/*.md")]
    claimed = any(says.search(path.read_text(encoding="utf-8")) for path in documents)
    write_keys(tmp_path / "client_keys", OTHERS)
    monkeypatch.chdir(tmp_path)
    answer = chat.ask({"key_dir": None})
    assert isinstance(answer, dict), describe(answer)
    assert chat.router.posts[0].key is not None
    loaded = chat.router.posts[0].key == server_keys.pair(OTHERS).public_key()
    assert loaded == claimed, "the documentation says that keys in client_keys/ are loaded, and they are not"
