"""The client's key pair, for which responses are encrypted: made or loaded, in a thread if need be, and stored.

``private_key.pem`` is the pair: PKCS#8 in PEM, encrypted if there is a password. ``public_key.pem`` is written
next to it for people to read; it is never used, but if it exists it must be the same key: a pair that does not match is
a mistake or an attack.

A key is never overwritten, and none is made because one could not be loaded. No error holds a password or a part of a
key, nor do the frames of its traceback.

A password is encoded as UTF-8, 1 to 1023 bytes. It is stretched by what `cryptography` considers best for PKCS#8:
PBKDF2 with a few thousand rounds: only a long random one resists somebody who has the file.
"""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from nomyo import keys
from nomyo.background import BackgroundResult
from nomyo.errors import KeyStoreError
from nomyo.keystore import PRIVATE_MODE, PUBLIC_MODE, KeyFolder, open_folder
from nomyo.traceback_scrubbing import guarded
from nomyo_attest.evidence.content import wrong_encoding

PRIVATE_NAME: Final = "private_key.pem"
PUBLIC_NAME: Final = "public_key.pem"

PASSWORD_MAX: Final = 1023
"""Bytes of the longest password that OpenSSL accepts."""

StrPath = str | os.PathLike[str]


class KeyPair(msgspec.Struct, frozen=True):
    """A key pair of the client; `public_pem` is always derived from `private`."""

    private: RSAPrivateKey
    public_pem: str

    @classmethod
    def of(cls, private: RSAPrivateKey) -> KeyPair:
        """The pair of a private key."""
        return cls(private, keys.public_pem(private))

    def __repr__(self) -> str:
        return f"<KeyPair {keys.fingerprint(self.private.public_key())}>"


class Keyring:
    """One key pair for all calls of a client.

    Args:
        key_dir: the folder that stores it; None for a pair that lives as long as the client.
        password: encrypts the file in `key_dir`; None for an unencrypted one.
    """

    def __init__(self, key_dir: StrPath | None = None, password: str | None = None) -> None:
        self._key_dir = None if key_dir is None else Path(key_dir)
        self._password = password
        self._made = BackgroundResult(self._make_or_load)
        self.pair: KeyPair | None = None

    def start(self) -> None:
        """Start to make or load the pair, unless there is one."""
        if self.pair is None:
            self._made.start()

    async def get(self) -> KeyPair:
        """The pair. Raises `KeyStoreError` where it cannot be loaded; a new one is never made instead."""
        if self.pair is None:
            pair = await self._made.get()
            if self.pair is None:  # unless one was set meanwhile
                self.pair = pair
        return self.pair

    def _make_or_load(self) -> KeyPair:
        if self._key_dir is None:
            return KeyPair.of(keys.generate())
        return KeyPair.of(load_or_create(self._key_dir, self._password))


@guarded
def save_new(directory: StrPath, key: RSAPrivateKey, password: str | None = None) -> None:
    """Write a key pair to `directory`, which is made with mode 0700 if it is missing, as are the folders above it.

    Args:
        directory: where ``private_key.pem`` (mode 0600) and ``public_key.pem`` (0644) will be.
        key: the key.
        password: encrypts the private key; None leaves it as it is.

    Raises:
        KeyStoreError: one of the files is there already, the folder can be written by others or belongs to somebody
            else, the files cannot be written, or the password is empty or too long.
    """
    path = Path(directory)
    secret = _secret(path / PRIVATE_NAME, password)
    _check_key(path / PRIVATE_NAME, key, keys.BITS_FLOOR)
    with open_folder(path, create=True) as folder:
        for name in (PUBLIC_NAME, PRIVATE_NAME):
            if folder.holds(name):
                raise _taken(folder, name)
        if not _save(folder, key, secret):
            raise _taken(folder, PRIVATE_NAME)


@guarded
def load(
    private_path: StrPath,
    public_path: StrPath | None = None,
    password: str | None = None,
    *,
    minimum_bits: int = keys.CLIENT_KEY_BITS_MINIMUM,
) -> RSAPrivateKey:
    """Load a private key.

    Args:
        private_path: its file: PEM, regular, owned by the user or root, of no use to others, in a folder that others
            cannot write to.
        public_path: file of the public key, to be compared; None compares nothing.
        password: decrypts the private key; None if it is not encrypted.
        minimum_bits: bits the key must have at least.

    Raises:
        KeyFileNotFoundError: a file is not there.
        KeyStoreError: a file is not as described, the password is wrong, missing or not needed, the key is not RSA or
            is too weak, or the public key is another one.
    """
    path = Path(private_path)
    _check_minimum_bits(path, minimum_bits)
    secret = _secret(path, password)
    with open_folder(path.parent) as folder:
        key = _load(folder, path.name, secret, minimum_bits)
    if public_path is not None:
        path = Path(public_path)
        with open_folder(path.parent, trusted=False) as folder:
            _check_public(folder, path.name, key)
    return key


@guarded
def load_or_create(
    directory: StrPath, password: str | None = None, *, minimum_bits: int = keys.CLIENT_KEY_BITS_MINIMUM
) -> RSAPrivateKey:
    """Load the key pair in `directory`, or make one where there is neither of its files.

    Processes that do this at the same time get the same key.

    Args:
        directory: see `save_new`.
        password: decrypts the private key that is there, or encrypts the one that is made.
        minimum_bits: bits a loaded key must have at least; a new one has 4096, or this if it is more.

    Raises:
        KeyStoreError: as `save_new` and `load`; also if there is only a public key. Nothing is changed then.
    """
    path = Path(directory)
    _check_minimum_bits(path, minimum_bits)
    secret = _secret(path / PRIVATE_NAME, password)
    with open_folder(path, create=True) as folder:
        # In this order: a private key is there before its public one, so that the pair of a process that is just
        # writing it never looks like a public key alone.
        public = folder.holds(PUBLIC_NAME)
        if not folder.holds(PRIVATE_NAME):
            if public:
                hint = f"restore it, or move {PUBLIC_NAME} away to have a new pair made"
                raise KeyStoreError(path / PRIVATE_NAME, f"is not there, although {PUBLIC_NAME} is", hint)
            key = keys.generate(max(keys.KEY_BITS, minimum_bits))
            if _save(folder, key, secret):
                return key
        key = _load(folder, PRIVATE_NAME, secret, minimum_bits)
        if folder.holds(PUBLIC_NAME):
            _check_public(folder, PUBLIC_NAME, key)
        return key


def _save(folder: KeyFolder, key: RSAPrivateKey, secret: bytes | None) -> bool:
    """Write both files; False if there is a private key by now."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if secret is not None:
        encryption = serialization.BestAvailableEncryption(secret)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    if not folder.create(PRIVATE_NAME, pem, PRIVATE_MODE):
        return False
    if not folder.create(PUBLIC_NAME, keys.public_pem(key).encode("ascii"), PUBLIC_MODE):
        raise _taken(folder, PUBLIC_NAME)
    return True


def _load(folder: KeyFolder, name: str, secret: bytes | None, minimum_bits: int) -> RSAPrivateKey:
    path = folder.path / name
    pem = folder.read(name, keys.PEM_MAX, private=True)
    try:
        # The library would also test the primes, holding the GIL: 220 ms for RSA-4096, which block the
        # event loop. `check_private` makes sure that the numbers belong together, which those of a damaged file do not.
        key = serialization.load_pem_private_key(pem, secret, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # cryptography's word for a password that is missing, or not needed
        if secret is None:
            raise KeyStoreError(path, "is encrypted, and no password was given", "give its password") from None
        raise KeyStoreError(path, "is not encrypted, yet a password was given", "leave the password away") from None
    except (ValueError, UnsupportedAlgorithm, Warning):  # Warning: old algorithms, under `python -W error`
        if secret is not None and b"ENCRYPTED" in pem:
            problem, hint = "cannot be decrypted: the password is wrong, or the file damaged", "give the right password"
        elif wrong_encoding(pem[:64]):
            problem, _, hint = wrong_encoding(pem[:64]).partition("; ")
        else:
            problem, hint = "holds no private key that can be read", "restore it, or move it away"
        raise KeyStoreError(path, problem, hint) from None
    return _check_key(path, key, minimum_bits)


def _check_key(path: Path, key: object, minimum_bits: int) -> RSAPrivateKey:
    try:
        return keys.check_private(key, minimum_bits)
    except ValueError as error:
        raise KeyStoreError(path, f"cannot be used: {error}", "use another key") from None


def _check_public(folder: KeyFolder, name: str, key: RSAPrivateKey) -> None:
    """Refuse a file that is not the public key of `key`."""
    path = folder.path / name
    hint = "move it away: the public key is derived from the private one"
    try:
        pem = folder.read(name, keys.PEM_MAX, private=False).removeprefix(codecs.BOM_UTF8)
        public = keys.load_public(pem, keys.BITS_FLOOR)
    except KeyStoreError:
        raise
    except ValueError as error:
        raise KeyStoreError(path, f"is no public key: {error}", hint) from None
    if public != key.public_key():
        raise KeyStoreError(path, "belongs to another private key", hint)


def _check_minimum_bits(path: Path, minimum_bits: int) -> None:
    if not keys.BITS_FLOOR <= minimum_bits <= keys.BITS_MAXIMUM:
        hint = f"allow {keys.BITS_FLOOR} to {keys.BITS_MAXIMUM}"
        raise KeyStoreError(path, f"its key cannot be required to have {minimum_bits} bits", hint)


def _secret(path: Path, password: str | None) -> bytes | None:
    """The password in bytes."""
    if password is None:
        return None
    if not isinstance(password, str):
        raise KeyStoreError(path, f"its password is a str, not {type(password).__name__}", "give a str, or None")
    try:
        secret = password.encode("utf-8")
    except UnicodeEncodeError:
        raise KeyStoreError(path, "its password holds what is no character", "give another password") from None
    if not secret:
        raise KeyStoreError(path, "its password is empty", "give None where there is no password")
    if len(secret) > PASSWORD_MAX:
        raise KeyStoreError(path, f"its password has more than {PASSWORD_MAX} bytes", "give a shorter one")
    return secret


def _taken(folder: KeyFolder, name: str) -> KeyStoreError:
    return KeyStoreError(folder.path / name, "is there already, and is not overwritten", "name another folder")
