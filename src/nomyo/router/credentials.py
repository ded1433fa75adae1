"""The router's credentials: the key pair to which requests are encrypted, and its TLS certificate."""

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
    """A key pair.

    Attributes:
        private: decrypts requests.
        pem: the public key that ``/pki/public_key`` serves.
        pin: ``sha256/…``, for clients that pin it.
    """

    private: RSAPrivateKey
    pem: str
    pin: str

    @classmethod
    def of(cls, private: RSAPrivateKey) -> Self:
        """Create the key pair from its private key."""
        return cls(private, keys.public_pem(private), keys.fingerprint(private.public_key()))

    @classmethod
    def new(cls, bits: int) -> Self:
        """Generate a key pair; RSA-4096 takes 0.1 to 3 s. Raises `RouterError` for an invalid size."""
        try:
            return cls.of(keys.generate(bits))
        except ValueError as error:
            raise RouterError(f"server_key_bits: {error}") from None

    @classmethod
    def first(cls, options: RouterOptions) -> Self:
        """Load or generate the key pair for the start of a router. Raises `RouterError` if its file cannot be used."""
        if options.server_key is None:
            return cls.new(options.server_key_bits)
        from nomyo import client_keys

        try:
            return cls.of(client_keys.load(options.server_key, minimum_bits=options.server_key_bits))
        except KeyStoreError as error:
            raise RouterError(f"server_key: {error}") from None


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """The TLS setup of a server.

    Attributes:
        context: the TLS context of the server.
        ca: file of the CA's certificate in PEM, which clients must trust; None if the certificate was given.
    """

    context: ssl.SSLContext
    ca: Path | None


def load_tls(cert: Path, key: Path) -> ServerTLS:
    """Load a certificate chain and its private key, both in PEM.

    The key file is checked like a client's key file (`nomyo.keystore`), but may be any symbolic link that belongs to
    root, such as those of ACME clients. Raises `RouterError`.
    """
    context = _server_context()
    try:
        with open_folder(key.parent) as folder, folder.opened(key.name, private=True, any_link=True) as descriptor:
            # `ssl` reads files by name only; this name refers to the open file that was checked.
            name = f"/dev/fd/{descriptor}" if os.name == "posix" else key
            context.load_cert_chain(cert, name, password=_no_password)
    except KeyStoreError as error:
        raise RouterError(f"key: {error}") from None
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or type(error).__name__
        raise RouterError(f"cert: {cert} and {key}: not a certificate chain and its key in PEM ({reason})") from None
    return ServerTLS(context, None)


def make_temporary_tls(directory: Path, host: str) -> ServerTLS:
    """Create a temporary CA, and a certificate from it for loopback and `host`.

    Only the CA's certificate stays in `directory`, which should be private. The CA's key is never written. The server's
    key is written for a moment, since `ssl` reads keys from files only, encrypted with a password that is discarded.
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
    """Raise `RouterError` instead of OpenSSL's prompt, which would wait for a terminal."""
    raise RouterError("key: is encrypted; give a key without a password, in a file that only its user can read")
