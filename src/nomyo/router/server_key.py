"""The router's own key pair, which requests are sealed to: made or loaded at start, changed while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from nomyo import keys
from nomyo.errors import KeyStoreError
from nomyo.router.errors import RouterError
from nomyo.router.options import RouterOptions


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A key pair.

    Attributes:
        private: opens requests.
        pem: what ``/pki/public_key`` serves.
        pin: ``sha256/…``, for clients that pin it.
    """

    private: RSAPrivateKey
    pem: str
    pin: str

    @classmethod
    def of(cls, private: RSAPrivateKey) -> Self:
        """With everything that follows from the private key."""
        return cls(private, keys.public_pem(private), keys.fingerprint(private.public_key()))

    @classmethod
    def new(cls, bits: int) -> Self:
        """Made now; RSA-4096 takes 0.1 to 3 s. Raises `RouterError` for a size that no client could use."""
        try:
            return cls.of(keys.generate(bits))
        except ValueError as error:
            raise RouterError(f"server_key_bits: {error}") from None

    @classmethod
    def first(cls, options: RouterOptions) -> Self:
        """The one to start with. Raises `RouterError` if its file cannot be used."""
        if options.server_key is None:
            return cls.new(options.server_key_bits)
        from nomyo import keyfiles

        try:
            return cls.of(keyfiles.load(options.server_key, least=options.server_key_bits))
        except KeyStoreError as error:
            raise RouterError(f"server_key: {error}") from None
