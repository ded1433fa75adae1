"""Generate, check, fingerprint and serialize RSA keys, and parse the server's key strictly.

The server's key decides who can read a prompt, so `load_server_key` accepts a single form: a body that consists of one
PEM block with a SubjectPublicKeyInfo (RFC 7468, section 13; RFC 5280, section 4.1.2.7) that contains an RSA key
(RFC 3279, section 2.3.1) in canonical DER.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from nomyo.config import BITS_FLOOR
from nomyo.errors import ServerKeyError
from nomyo_attest.crypto.strength import F4, rsa_weakness

KEY_BITS: Final = 4096
"""Size of a new client key in bits: the one in the protocol's algorithm id."""

CLIENT_KEY_BITS_MINIMUM: Final = 3072
"""Minimum size in bits of a client key loaded from a file: 128-bit strength (NIST SP 800-57 part 1, table 2)."""

BITS_MAXIMUM: Final = 16384
"""Maximum size in bits of a modulus in OpenSSL (OPENSSL_RSA_MAX_MODULUS_BITS)."""

EXPONENT_BITS_MAXIMUM: Final = 64
"""Maximum size in bits of an exponent in OpenSSL, for moduli above 3072 bits (OPENSSL_RSA_MAX_PUBEXP_BITS)."""

PEM_MAX: Final = 16 * 1024
"""Maximum size in bytes of a PEM file or body. The PEM of an RSA-16384 public key is about 2,900 bytes long."""

PIN_PREFIX: Final = "sha256/"

_PIN_FORM: Final = f"{PIN_PREFIX}<base64 of the SHA-256 of the key's SubjectPublicKeyInfo, 44 characters>"
_DIGEST_BASE64_LENGTH: Final = 44
_SPKI: Final = serialization.PublicFormat.SubjectPublicKeyInfo
_PEM_BLOCK: Final = re.compile(
    rb"\s*-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)\r?\n-----END PUBLIC KEY-----\s*", re.ASCII
)
_PEM_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")


def generate(bits: int = KEY_BITS) -> rsa.RSAPrivateKey:
    """Generate a key pair with exponent 65537. RSA-4096 takes 0.1 to 3 s, during which the GIL is released.

    Raises:
        ValueError: `bits` is less than `BITS_FLOOR` or more than `BITS_MAXIMUM`.
    """
    if not BITS_FLOOR <= bits <= BITS_MAXIMUM:
        raise ValueError(f"expected a key size of {BITS_FLOOR} to {BITS_MAXIMUM} bits, got {bits}")
    return rsa.generate_private_key(F4, bits)


def check_private(key: object, minimum_bits: int) -> rsa.RSAPrivateKey:
    """Return `key` if it is an RSA private key of at least `minimum_bits`, not weak, and with consistent numbers.

    Its primes are not tested for primality.

    Raises:
        ValueError: the key is not accepted; the message names its type or weakness and contains no key material. Also
            if `minimum_bits` is below `BITS_FLOOR`.
    """
    _check_minimum_bits(minimum_bits)
    if not isinstance(key, rsa.RSAPrivateKey):
        # The key comes from a file, not from the caller's code, so every unusable key raises the same error.
        raise ValueError(f"expected an RSA private key of at least {minimum_bits} bits, got {_describe_type(key)}")  # noqa: TRY004
    weakness = _weakness(key.public_key(), minimum_bits)
    if not weakness and not _is_consistent(key.private_numbers()):
        weakness = "an RSA key with inconsistent numbers"
    if weakness:
        raise ValueError(f"expected an RSA private key of at least {minimum_bits} bits, got {weakness}")
    return key


def public_pem(key: rsa.RSAPrivateKey | rsa.RSAPublicKey) -> str:
    """Return the public key as a SubjectPublicKeyInfo in PEM, in lines of 64 characters with a trailing newline."""
    return _public_key(key).public_bytes(serialization.Encoding.PEM, _SPKI).decode("ascii")


def fingerprint(key: rsa.RSAPublicKey) -> str:
    """Return ``sha256/`` and the base64 of SHA-256 over the SubjectPublicKeyInfo in DER, which is the form of a pin."""
    digest = hashlib.sha256(key.public_bytes(serialization.Encoding.DER, _SPKI)).digest()
    return PIN_PREFIX + binascii.b2a_base64(digest, newline=False).decode("ascii")


def parse_pin(text: str) -> str:
    """Check a pin in the form of `fingerprint`, and return it without surrounding white space.

    Raises:
        ValueError: `text` has a different form. The message does not quote `text`, which may be a secret that was
            passed by mistake.
        TypeError: `text` is not a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a pin as a str of the form {_PIN_FORM}, got {type(text).__name__}")
    pin = text.strip()
    digest = pin.removeprefix(PIN_PREFIX)
    if digest == pin:
        raise ValueError(f"expected a pin of the form {_PIN_FORM}, got a string that does not begin with {PIN_PREFIX}")
    if len(digest) != _DIGEST_BASE64_LENGTH:
        raise ValueError(f"expected a pin of the form {_PIN_FORM}, got {len(digest)} characters after {PIN_PREFIX}")
    digest_bytes = _decode_base64(digest.encode("utf-8", "replace"))
    # 31 and 33 bytes are 44 characters in base64, too.
    if digest_bytes is None or len(digest_bytes) != hashlib.sha256().digest_size:
        raise ValueError(
            f"expected a pin of the form {_PIN_FORM}, got a string that is not canonical base64 of 32 bytes"
        )
    return pin


def load_server_key(pem: bytes, minimum_bits: int) -> rsa.RSAPublicKey:
    """Load the RSA key in the body of a server's ``/pki/public_key`` with `load_public`.

    Raises:
        ServerKeyError: the body contains anything else. The message describes it without quoting it.
        ValueError: `minimum_bits` is below `BITS_FLOOR`.
    """
    _check_minimum_bits(minimum_bits)
    try:
        return load_public(pem, minimum_bits)
    except ValueError as error:
        raise ServerKeyError(f"the server's public key is refused: {error}") from None


def load_public(pem: bytes, minimum_bits: int) -> rsa.RSAPublicKey:
    """Load the RSA public key in a PEM file or body.

    Args:
        pem: one PEM block labeled ``PUBLIC KEY``, surrounded by nothing but white space; at most `PEM_MAX` bytes.
        minimum_bits: minimum size of the key in bits, `BITS_FLOOR` or more.

    Raises:
        ValueError: `pem` contains anything else, or the key is not RSA, is too small or too large, has an exponent
            that is even, below 65537 or above 64 bits, or is otherwise weak. The message does not quote `pem`.
    """
    _check_minimum_bits(minimum_bits)
    block = _PEM_BLOCK.fullmatch(pem) if len(pem) <= PEM_MAX else None
    if block is None:
        raise _refused_key_error(minimum_bits, _describe_body(pem))
    der = _decode_base64(block[1].replace(b"\r", b"").replace(b"\n", b""))
    if der is None:
        raise _refused_key_error(minimum_bits, "a PEM block whose content is not canonical base64")
    try:
        key = serialization.load_der_public_key(der)
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        Warning,
    ):  # Warning: legacy algorithms, under `python -W error`
        raise _refused_key_error(minimum_bits, "a PEM block without a readable public key") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise _refused_key_error(minimum_bits, _describe_type(key))
    weakness = _weakness(key, minimum_bits)
    if weakness:
        raise _refused_key_error(minimum_bits, weakness)
    if key.public_bytes(serialization.Encoding.DER, _SPKI) != der:
        # For example id-RSASSA-PSS, a signature key. The fingerprint must be that of the received bytes.
        raise _refused_key_error(minimum_bits, "an RSA key that is not encoded as an RSA encryption key")
    return key


def _public_key(key: rsa.RSAPrivateKey | rsa.RSAPublicKey) -> rsa.RSAPublicKey:
    return key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key


def _check_minimum_bits(minimum_bits: int) -> None:
    if minimum_bits < BITS_FLOOR:
        raise ValueError(f"expected a minimum key size of at least {BITS_FLOOR} bits, got {minimum_bits}")


def _weakness(key: rsa.RSAPublicKey, minimum_bits: int) -> str:
    """Return why a key is refused; empty if it is accepted. Large numbers are described by their size."""
    numbers, bits = key.public_numbers(), key.key_size
    if bits > BITS_MAXIMUM:
        return f"RSA-{bits}, above the maximum of {BITS_MAXIMUM} bits"
    if numbers.e.bit_length() > EXPONENT_BITS_MAXIMUM:
        return f"an RSA key with an exponent of {numbers.e.bit_length()} bits, above {EXPONENT_BITS_MAXIMUM}"
    weakness = rsa_weakness(numbers.n, bits, numbers.e, minimum_bits)
    return f"an RSA key with {weakness}" if weakness and not weakness.startswith("RSA-") else weakness


def _is_consistent(numbers: rsa.RSAPrivateNumbers) -> bool:
    """Whether the numbers of a private key are consistent (RFC 8017, section 3.2)."""
    p, q, d = numbers.p, numbers.q, numbers.d
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    return (
        min(p, q) > 2
        and p * q == n
        and (numbers.dmp1, numbers.dmq1) == (d % (p - 1), d % (q - 1))
        and e * numbers.dmp1 % (p - 1) == 1
        and e * numbers.dmq1 % (q - 1) == 1
        and q * numbers.iqmp % p == 1
    )


def _describe_type(key: object) -> str:
    """Describe the type of a key."""
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return f"an EC key on {key.curve.name}"
    if isinstance(key, dsa.DSAPublicKey | dsa.DSAPrivateKey):
        return "a DSA key"
    if isinstance(key, rsa.RSAPublicKey):
        return "an RSA public key"
    return f"a key of type {type(key).__name__}"


def _describe_body(body: bytes) -> str:
    """Describe a body that is not a single PEM block with a public key. Only its PEM label is quoted."""
    if len(body) > PEM_MAX:
        return f"a body of more than {PEM_MAX} bytes"
    if not body.strip():
        return "an empty body"
    labels = _PEM_LABEL.findall(body)
    if len(labels) > 1:
        return f"a body with {len(labels)} PEM blocks"
    if labels and labels[0] != b"PUBLIC KEY":
        return f"a PEM block labeled {labels[0].decode('ascii')}"
    if labels:
        return "a PEM block that is damaged or has text around it"
    if re.match(rb"\s*(<!doctype html|<html)", body, re.IGNORECASE):
        return f"an HTML page of {len(body)} bytes"
    return f"{len(body)} bytes without a PEM block"


def _refused_key_error(minimum_bits: int, got: str) -> ValueError:
    return ValueError(f"expected one PEM block PUBLIC KEY with an RSA key of at least {minimum_bits} bits, got {got}")


def _decode_base64(text: bytes) -> bytes | None:
    """Return the decoded bytes; None unless the text is canonical base64 (RFC 4648, section 3.5)."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    return data if binascii.b2a_base64(data, newline=False) == text else None
