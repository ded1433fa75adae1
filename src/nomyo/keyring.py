"""The client's key pair, to which answers are encrypted: made or loaded in a thread, begun before it is needed."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nomyo import keyfiles, keys
from nomyo.background import BackgroundResult

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


class KeyPair(msgspec.Struct, frozen=True):
    """A key pair of the client's; `public_pem` is always derived from `private`."""

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
        key_dir: where it is kept; None for one that lives as long as the client.
        password: what the file in `key_dir` is encrypted with; None for nothing.
    """

    def __init__(self, key_dir: str | PathLike[str] | None = None, password: str | None = None) -> None:
        self._key_dir = None if key_dir is None else Path(key_dir)
        self._password = password
        self._early = BackgroundResult(self._make)
        self.pair: KeyPair | None = None

    def begin(self) -> None:
        """Begin to make or load the pair, unless there is one."""
        if self.pair is None:
            self._early.begin()

    async def get(self) -> KeyPair:
        """The pair. Raises `KeyStoreError` where it cannot be loaded; a new one is never made instead."""
        if self.pair is None:
            pair = await self._early.get()
            if self.pair is None:  # unless one was set meanwhile
                self.pair = pair
        return self.pair

    def _make(self) -> KeyPair:
        if self._key_dir is None:
            return KeyPair.of(keys.generate())
        return KeyPair.of(keyfiles.load_or_create(self._key_dir, self._password))
