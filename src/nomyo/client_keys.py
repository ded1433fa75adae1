"""Generate, load and store the client's key pair, to which responses are encrypted.

``private_key.pem`` contains the pair: PKCS#8 in PEM, encrypted if there is a password. ``public_key.pem`` is written
next to it for people to read. The client never uses it, but it must match the private key if it exists: a mismatch is a
mistake or an attack.

A key is never overwritten, and a key that cannot be loaded is never replaced by a new one. Neither errors nor the
frames of their tracebacks contain a password or a part of a key.

A password is encoded as UTF-8, 1 to 1,023 bytes. `cryptography` derives the encryption key with a few thousand rounds
of PBKDF2, so only a long random password resists an attacker who has the file.
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
from nomyo.config import BITS_FLOOR
from nomyo.errors import KeyStoreError
from nomyo.keystore import PRIVATE_MODE, PUBLIC_MODE, KeyFolder, open_folder
from nomyo.traceback_scrubbing import guarded
from nomyo_attest.evidence.content import wrong_encoding

PRIVATE_NAME: Final = "private_key.pem"
PUBLIC_NAME: Final = "public_key.pem"

PASSWORD_MAX: Final = 1023
"""Maximum length of a password in bytes; a limit of OpenSSL."""

StrPath = str | os.PathLike[str]


class KeyPair(msgspec.Struct, frozen=True):
    """A key pair of the client; `public_pem` is always derived from `private`."""

    private: RSAPrivateKey
    public_pem: str

    @classmethod
    def of(cls, private: RSAPrivateKey) -> KeyPair:
        """Create the pair from its private key."""
        return cls(private, keys.public_pem(private))

    def __repr__(self) -> str:
        return f"<KeyPair {keys.fingerprint(self.private.public_key())}>"


class Keyring:
    """One key pair for all calls of a client.

    Args:
        key_dir: the folder that stores it; None to keep it in memory only.
        password: password of the private key in `key_dir`; None for an unencrypted key.
    """

    def __init__(self, key_dir: StrPath | None = None, password: str | None = None) -> None:
        self._key_dir = None if key_dir is None else Path(key_dir)
        self._password = password
        self._background_pair = BackgroundResult(self._load_or_generate)
        self.pair: KeyPair | None = None

    def start(self) -> None:
        """Start generating or loading the pair in a background thread, unless one is set."""
        if self.pair is None:
            self._background_pair.start()

    async def get(self) -> KeyPair:
        """Return the pair. Raises `KeyStoreError` if it cannot be loaded; a new one is never generated instead."""
        if self.pair is None:
            pair = await self._background_pair.get()
            if self.pair is None:  # generate_keys() or load_keys() may have set one meanwhile
                self.pair = pair
        return self.pair

    def _load_or_generate(self) -> KeyPair:
        if self._key_dir is None:
            return KeyPair.of(keys.generate())
        return KeyPair.of(load_or_create(self._key_dir, self._password))


@guarded
def save_new(directory: StrPath, key: RSAPrivateKey, password: str | None = None) -> None:
    """Write a key pair to `directory`. Missing folders are created with mode 0700.

    Args:
        directory: the folder of ``private_key.pem`` (mode 0600) and ``public_key.pem`` (0644).
        key: the key.
        password: encrypts the private key; None to write it unencrypted.

    Raises:
        KeyStoreError: one of the files exists, the folder belongs to another user, others can write to it, the files
            cannot be written, or the password is empty or too long.
    """
    path = Path(directory)
    secret = _encode_password(path / PRIVATE_NAME, password)
    _check_key(path / PRIVATE_NAME, key, BITS_FLOOR)
    with open_folder(path, create=True) as folder:
        for name in (PUBLIC_NAME, PRIVATE_NAME):
            if folder.holds(name):
                raise _exists_error(folder, name)
        if not _save(folder, key, secret):
            raise _exists_error(folder, PRIVATE_NAME)


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
        private_path: a regular file in PEM that belongs to the user or to root, without permissions for others, in a
            folder that others cannot write to.
        public_path: file of the public key, which must match; None to skip this check.
        password: decrypts the private key; None if it is not encrypted.
        minimum_bits: minimum size of the key in bits.

    Raises:
        KeyFileNotFoundError: a file does not exist.
        KeyStoreError: a file does not meet these requirements, the password is wrong, missing or superfluous, the key
            is not RSA or is too weak, or the public key does not match.
    """
    path = Path(private_path)
    _check_minimum_bits(path, minimum_bits)
    secret = _encode_password(path, password)
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
    """Load the key pair in `directory`, or generate one if neither of its files exists.

    Concurrent processes get the same key.

    Args:
        directory: see `save_new`.
        password: decrypts the existing private key, or encrypts the new one.
        minimum_bits: minimum size of a loaded key in bits; a new key has 4096 bits, or this number if it is larger.

    Raises:
        KeyStoreError: as `save_new` and `load`; also if there is only a public key. Nothing is written in that case.
    """
    path = Path(directory)
    _check_minimum_bits(path, minimum_bits)
    secret = _encode_password(path / PRIVATE_NAME, password)
    with open_folder(path, create=True) as folder:
        # The public key is checked first, since it is written last: a pair that another process is writing never looks
        # like a public key alone.
        has_public_key = folder.holds(PUBLIC_NAME)
        if not folder.holds(PRIVATE_NAME):
            if has_public_key:
                hint = f"restore it, or move {PUBLIC_NAME} away to generate a new pair"
                raise KeyStoreError(path / PRIVATE_NAME, f"does not exist, although {PUBLIC_NAME} does", hint)
            key = keys.generate(max(keys.KEY_BITS, minimum_bits))
            if _save(folder, key, secret):
                return key
        key = _load(folder, PRIVATE_NAME, secret, minimum_bits)
        if folder.holds(PUBLIC_NAME):
            _check_public(folder, PUBLIC_NAME, key)
        return key


def _save(folder: KeyFolder, key: RSAPrivateKey, secret: bytes | None) -> bool:
    """Write both files. Returns False if another process has written a private key meanwhile."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if secret is not None:
        encryption = serialization.BestAvailableEncryption(secret)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    if not folder.create(PRIVATE_NAME, pem, PRIVATE_MODE):
        return False
    if not folder.create(PUBLIC_NAME, keys.public_pem(key).encode("ascii"), PUBLIC_MODE):
        raise _exists_error(folder, PUBLIC_NAME)
    return True


def _load(folder: KeyFolder, name: str, secret: bytes | None, minimum_bits: int) -> RSAPrivateKey:
    path = folder.path / name
    pem = folder.read(name, keys.PEM_MAX, private=True)
    try:
        # The library would also test the primes, which holds the GIL, and thus blocks the event loop, for 220 ms with
        # RSA-4096. `check_private` detects a damaged file, whose numbers are inconsistent.
        key = serialization.load_pem_private_key(pem, secret, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # raised by cryptography for a missing or superfluous password
        if secret is None:
            raise KeyStoreError(path, "is encrypted, but no password was given", "pass its password") from None
        raise KeyStoreError(path, "is not encrypted, but a password was given", "omit the password") from None
    except (ValueError, UnsupportedAlgorithm, Warning):  # Warning: legacy algorithms, under `python -W error`
        if secret is not None and b"ENCRYPTED" in pem:
            problem, hint = "cannot be decrypted: the password is wrong or the file is damaged", "check the password"
        elif wrong_encoding(pem[:64]):
            problem, _, hint = wrong_encoding(pem[:64]).partition("; ")
        else:
            problem, hint = "contains no readable private key", "restore it, or move it away"
        raise KeyStoreError(path, problem, hint) from None
    return _check_key(path, key, minimum_bits)


def _check_key(path: Path, key: object, minimum_bits: int) -> RSAPrivateKey:
    try:
        return keys.check_private(key, minimum_bits)
    except ValueError as error:
        raise KeyStoreError(path, f"cannot be used: {error}", "use another key") from None


def _check_public(folder: KeyFolder, name: str, key: RSAPrivateKey) -> None:
    """Raise `KeyStoreError` if a file is not the public key of `key`."""
    path = folder.path / name
    hint = "move it away: the client derives the public key from the private key"
    try:
        pem = folder.read(name, keys.PEM_MAX, private=False).removeprefix(codecs.BOM_UTF8)
        public = keys.load_public(pem, BITS_FLOOR)
    except KeyStoreError:
        raise
    except ValueError as error:
        raise KeyStoreError(path, f"is not a public key: {error}", hint) from None
    if public != key.public_key():
        raise KeyStoreError(path, "belongs to a different private key", hint)


def _check_minimum_bits(path: Path, minimum_bits: int) -> None:
    if not BITS_FLOOR <= minimum_bits <= keys.BITS_MAXIMUM:
        hint = f"pass {BITS_FLOOR} to {keys.BITS_MAXIMUM}"
        raise KeyStoreError(path, f"invalid minimum key size: {minimum_bits} bits", hint)


def _encode_password(path: Path, password: str | None) -> bytes | None:
    """Encode the password. Raises `KeyStoreError` for `path` if it is invalid."""
    if password is None:
        return None
    if not isinstance(password, str):
        raise KeyStoreError(path, f"its password must be a str, not {type(password).__name__}", "pass a str or None")
    try:
        secret = password.encode("utf-8")
    except UnicodeEncodeError:
        raise KeyStoreError(
            path, "its password contains a lone surrogate, which UTF-8 cannot encode", "use a different password"
        ) from None
    if not secret:
        raise KeyStoreError(path, "its password is empty", "pass None if there is no password")
    if len(secret) > PASSWORD_MAX:
        raise KeyStoreError(path, f"its password is longer than {PASSWORD_MAX} bytes", "use a shorter one")
    return secret


def _exists_error(folder: KeyFolder, name: str) -> KeyStoreError:
    return KeyStoreError(folder.path / name, "already exists and is not overwritten", "use a different folder")
