"""The router's credentials: the key pair that decrypts requests, and the TLS certificate."""

from __future__ import annotations

import os
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from nomyo import keys
from nomyo.errors import KeyStoreError
from nomyo.keystore import open_folder
from nomyo.router.errors import RouterError
from nomyo.router.options import RouterOptions
from nomyo_attest._files import write_new


@dataclass(frozen=True, slots=True)
class ServerKey:
    """The key pair that decrypts requests.

    Attributes:
        private: the private key.
        pem: the public key that ``/pki/public_key`` serves.
        pin: the fingerprint, ``sha256/…``, for clients that pin the key.
    """

    private: RSAPrivateKey
    pem: str
    pin: str

    @classmethod
    def from_private_key(cls, private: RSAPrivateKey) -> Self:
        """Create an instance from the private key."""
        return cls(private, keys.public_pem(private), keys.fingerprint(private.public_key()))

    @classmethod
    def generate(cls, bits: int) -> Self:
        """Generate a key pair; RSA-4096 takes 0.1 to 3 s. Raises `RouterError` for an invalid size."""
        try:
            return cls.from_private_key(keys.generate(bits))
        except ValueError as error:
            raise RouterError(f"server_key_bits: {error}") from None

    @classmethod
    def load_or_generate(cls, options: RouterOptions) -> Self:
        """Load the key file of the options, or generate a key pair. Raises `RouterError` if the file cannot be used."""
        if options.server_key is None:
            return cls.generate(options.server_key_bits)
        from nomyo import client_keys

        try:
            return cls.from_private_key(client_keys.load(options.server_key, minimum_bits=options.server_key_bits))
        except KeyStoreError as error:
            raise RouterError(f"server_key: {error}") from None


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """The TLS setup of a server.

    Attributes:
        context: the TLS context of the server.
        ca: file of the temporary CA's certificate in PEM, which clients must trust; None for a certificate of your own.
    """

    context: ssl.SSLContext
    ca: Path | None


def load_tls(cert: Path, key: Path) -> ServerTLS:
    """Load a certificate chain and its private key, both in PEM.

    The key file is checked like a client's key file (`nomyo.keystore`), but may also be a symbolic link that belongs to
    root, as ACME clients create. Raises `RouterError`.
    """
    context = _server_context()
    try:
        with open_folder(key.parent) as folder, folder.opened(key.name, private=True, any_link=True) as descriptor:
            # `ssl` opens files by name; this name refers to the open file that was checked.
            name = f"/dev/fd/{descriptor}" if os.name == "posix" else key
            context.load_cert_chain(cert, name, password=_no_password)
    except KeyStoreError as error:
        raise RouterError(f"key: {error}") from None
    except OSError as error:  # includes ssl.SSLError
        reason = error.strerror or type(error).__name__
        raise RouterError(f"cert: {cert} and {key}: not a certificate chain and its key in PEM ({reason})") from None
    return ServerTLS(context, None)


def make_temporary_tls(directory: Path, host: str) -> ServerTLS:
    """Create a temporary CA, and a certificate from it for loopback and `host`.

    Only the CA's certificate stays in `directory`, which should be private. The CA's key is never written. The server's
    key is written briefly, since `ssl` reads keys only from files, and encrypted with a password that is discarded.
    """
    authority = trustme.CA()
    names = dict.fromkeys(("localhost", "127.0.0.1", "::1", host))
    leaf = authority.issue_cert(*names)
    ca = directory / "ca.pem"
    write_new(ca, authority.cert_pem.bytes())
    password = secrets.token_bytes(32).hex()
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    chain = directory / "server.pem"
    context = _server_context()
    try:
        write_new(chain, encrypted + b"".join(cert.bytes() for cert in leaf.cert_chain_pems), mode=0o600)
        context.load_cert_chain(chain, password=password)
    finally:
        chain.unlink(missing_ok=True)
    return ServerTLS(context, ca)


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    """Raise `RouterError`, so that OpenSSL does not prompt for a password on the terminal."""
    raise RouterError("key: the key is encrypted; use a key without a password, in a file that only its owner can read")
