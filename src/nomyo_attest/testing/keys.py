"""Derive keys and signatures from a seed. They are neither random nor secret.

FOR TESTS ONLY. Anyone can derive these private keys from their labels, and the code has no protection against side
channels (no blinding, no constant time). It can create what a careful library refuses:
weak keys, even exponents, a modulus of the ROCA form, ECDSA numbers that begin with a zero byte.

Each prime is found by searching upward from a number derived from a label. The search takes most of the time, so the
lengths of the default searches are stored in `prime_offsets`; for other labels, each process searches once.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from nomyo_attest.errors import NomyoAttestError
from nomyo_attest.testing.prime_offsets import OFFSETS


class ForgeError(NomyoAttestError, ValueError):
    """The fields of a forge cannot be encoded as evidence, not even as invalid evidence.

    Attributes:
        field: the name of the field, e.g. ``"scheme"``.
        expected: the allowed values.
        got: the value of the field.
    """

    def __init__(self, field: str, expected: str, got: str) -> None:
        self.field = field
        self.expected = expected
        self.got = got
        super().__init__(field, expected, got)

    def __str__(self) -> str:
        return f"forge: {self.field}: expected {self.expected}, got {self.got}"


_SMALL_PRIMES = [n for n in range(3, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1))]
_BASES = _SMALL_PRIMES[:16]  # no adversary chose the candidates, which are hashes, so 16 rounds are more than enough

# Nemec et al., "The Return of Coppersmith's Attack", CCS 2017, table 1: the flawed library generated its primes as
# k * M + (65537 ** a mod M), with M the product of the first 126 primes for RSA keys from 1984 to 3936 bits, and of the
# first 39 for those from 512 to 960 bits.
_ROCA_PRIMES = {1024: 126, 256: 39}


def expand(label: str, bits: int) -> int:
    """Derive a number below ``2 ** bits`` from `label` with SHA-512 in counter mode."""
    octets = b"".join(
        hashlib.sha512(b"nomyo forge, never a key of value\0%d\0%s" % (block, label.encode())).digest()
        for block in range(bits // 512 + 1)
    )
    return int.from_bytes(octets, "big") >> (8 * len(octets) - bits)


def is_prime(candidate: int) -> bool:
    """Whether an odd number is prime, by trial division and Miller-Rabin; not for numbers that an adversary chose."""
    for small in _SMALL_PRIMES:
        if candidate % small == 0:
            return candidate == small
    odd = (candidate - 1) >> 1
    twos = 1
    while odd % 2 == 0:
        odd >>= 1
        twos += 1
    return all(_passes(candidate, base, odd, twos) for base in _BASES)


def _passes(candidate: int, base: int, odd: int, twos: int) -> bool:
    power = pow(base, odd, candidate)
    if power in (1, candidate - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % candidate
        if power == candidate - 1:
            return True
    return False


def prime(label: str, bits: int, exponent: int, *, roca: bool = False) -> int:
    """Find the first prime after the label's starting point that is 3 modulo 4 and usable with an RSA exponent.

    The two top bits are set, so that the product of two primes is a modulus of exactly ``2 * bits`` bits.

    Args:
        label: the seed; different labels yield different primes.
        bits: length in bits, at least 64.
        exponent: public exponent; its odd part is coprime to the prime minus one.
        roca: generate the prime as the library of CVE-2017-15361 did (1024 or 256 bits).
    """
    first, step = _roca_progression(label, bits) if roca else _progression(label, bits)
    key = f"{label} {bits} {exponent}{' roca' if roca else ''}"
    if key not in OFFSETS:
        OFFSETS[key] = search(label, bits, exponent, roca=roca)
    return first + step * OFFSETS[key]


def search(label: str, bits: int, exponent: int, *, roca: bool = False) -> int:
    """Return the number of steps from the starting point to the prime that `prime` returns."""
    first, step = _roca_progression(label, bits) if roca else _progression(label, bits)
    odd_exponent = exponent >> ((exponent & -exponent).bit_length() - 1)
    offset = 0
    while True:
        candidate = first + step * offset
        # 3 modulo 4: a square root, which signing with an even exponent requires, is then a single power.
        if candidate % 4 == 3 and math.gcd(candidate - 1, odd_exponent) == 1 and is_prime(candidate):
            return offset
        offset += 1


def _progression(label: str, bits: int) -> tuple[int, int]:
    return expand(label, bits) | 3 << bits - 2 | 3, 4


def _roca_progression(label: str, bits: int) -> tuple[int, int]:
    modulus = 2 * math.prod(_SMALL_PRIMES[: _ROCA_PRIMES[bits] - 1])
    residue = pow(65537, expand(label + " a", 64), modulus)
    smallest_k = (3 << bits - 2) // modulus + 1
    k_bits = bits - modulus.bit_length() - 4
    return (smallest_k + expand(label + " k", k_bits)) * modulus + residue, modulus


# RFC 8017, 9.2, note 1: the DER encoding of DigestInfo before the digest
_DIGEST_INFO = {
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}

# SEC 2 / NIST SP 800-186: curve, order of its base point, size of a coordinate in bytes
_CURVES: dict[str, tuple[Callable[[], ec.EllipticCurve], int, int]] = {
    "p192": (ec.SECP192R1, 0xFFFFFFFFFFFFFFFFFFFFFFFF99DEF836146BC9B1B4D22831, 24),
    "p224": (ec.SECP224R1, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF16A2E0B8F03E13DD29455C5C2A3D, 28),
    "p256": (ec.SECP256R1, 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551, 32),
    "p384": (
        ec.SECP384R1,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        48,
    ),
    "p521": (
        ec.SECP521R1,
        (1 << 521) - (1 << 264) + 0xFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
        66,
    ),
}


def digest(hash_name: str, data: bytes) -> bytes:
    """Hash `data` with ``"sha1"``, ``"sha256"``, ``"sha384"`` or ``"sha512"``."""
    return hashlib.new(hash_name, data).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _mgf1(hash_name: str, seed: bytes, size: int) -> bytes:
    """MGF1 of RFC 8017, B.2.1."""
    mask = b""
    while len(mask) < size:
        mask += digest(hash_name, seed + (len(mask) // hashlib.new(hash_name).digest_size).to_bytes(4, "big"))
    return mask[:size]


@dataclass(frozen=True)
class RSAKey:
    """An RSA key of two primes that are both 3 modulo 4."""

    p: int
    q: int
    e: int

    @property
    def n(self) -> int:
        """The modulus."""
        return self.p * self.q

    @property
    def modulus(self) -> bytes:
        """The modulus, big-endian, without leading zeros."""
        return self.n.to_bytes(self.size, "big")

    @property
    def size(self) -> int:
        """The size of the modulus and of a signature in bytes."""
        return (self.n.bit_length() + 7) // 8

    def sign_rsassa(self, hash_name: str, message: bytes) -> bytes:
        """Sign with RSASSA-PKCS1-v1_5 (RFC 8017, 8.2).

        Raises `ForgeError` if the exponent is even and the encoded message has no root.
        """
        info = _DIGEST_INFO[hash_name] + digest(hash_name, message)
        signature = self.root(b"\x00\x01" + b"\xff" * (self.size - 3 - len(info)) + b"\x00" + info)
        if signature is None:
            raise ForgeError("exponent", "an odd exponent for RSASSA, or a different message", str(self.e))
        return signature

    def sign_rsapss(self, hash_name: str, message: bytes, salt_size: int | None = None) -> bytes:
        """Sign with RSASSA-PSS (RFC 8017, 8.1), MGF1 with the same hash, and a salt derived from the message.

        Args:
            salt_size: in bytes; None for the largest that fits, as most TPMs use.
        """
        hashed = digest(hash_name, message)
        bits = self.n.bit_length() - 1
        size = (bits + 7) // 8
        maximum = size - len(hashed) - 2
        salt_size = maximum if salt_size is None else salt_size
        attempt = 0
        while True:  # with an even exponent, one number in four has a root; retry with another salt
            salt = expand(f"salt {attempt} {hashed.hex()}", 8 * salt_size).to_bytes(salt_size, "big")
            check = digest(hash_name, bytes(8) + hashed + salt)
            block = bytes(maximum - salt_size) + b"\x01" + salt
            masked = bytearray(_xor(block, _mgf1(hash_name, check, len(block))))
            masked[0] &= 0xFF >> (8 * size - bits)
            signature = self.root(bytes(masked) + check + b"\xbc")
            if signature is not None:
                return signature
            attempt += 1

    def root(self, encoded: bytes) -> bytes | None:
        """Compute the e-th root of an encoded message modulo n, which is its signature; None if there is none."""
        return _root(self, encoded)


@functools.lru_cache(maxsize=4096)  # the faults sign the same quote hundreds of times; a signature takes 10 ms
def _root(key: RSAKey, encoded: bytes) -> bytes | None:
    message = int.from_bytes(encoded, "big")
    twos = (key.e & -key.e).bit_length() - 1
    roots = []
    for factor in (key.p, key.q):
        # 3 modulo 4: the square root of x is x ** ((factor + 1) / 4), which is itself a square
        square_root = pow((factor + 1) // 4, twos, factor - 1)
        roots.append(pow(message, pow(key.e >> twos, -1, factor - 1) * square_root, factor))
    root = roots[1] + key.q * ((roots[0] - roots[1]) * pow(key.q, -1, key.p) % key.p)
    return root.to_bytes(key.size, "big") if pow(root, key.e, key.n) == message else None


@dataclass(frozen=True)
class ECCKey:
    """A key on a NIST prime curve."""

    curve: str
    scalar: int
    x: int
    y: int

    @property
    def size(self) -> int:
        """The size of a coordinate and of each number of a signature in bytes."""
        return coordinate_size(self.curve)

    def sign_ecdsa(
        self, hash_name: str, message: bytes, *, accept: Callable[[int, int], bool] = lambda *_: True
    ) -> tuple[int, int]:
        """Sign with deterministic ECDSA (RFC 6979); return the first pair (r, s) that `accept` accepts.

        Later attempts add a counter as the additional data of RFC 6979, 3.6.
        """
        curve_class, order, _ = _CURVES[self.curve]
        hashed = digest(hash_name, message)
        shortened = (int.from_bytes(hashed, "big") >> max(0, 8 * len(hashed) - order.bit_length())) % order
        attempt = 0
        while True:
            extra = attempt.to_bytes(4, "big") if attempt else b""
            nonce = _rfc6979(order, self.scalar, shortened, hash_name, extra)
            r = ec.derive_private_key(nonce, curve_class()).public_key().public_numbers().x % order
            s = pow(nonce, -1, order) * (shortened + r * self.scalar) % order
            if r and s and accept(r, s):
                return r, s
            attempt += 1


def _rfc6979(order: int, scalar: int, shortened: int, hash_name: str, extra: bytes) -> int:
    """Generate the nonce k of RFC 6979, 3.2, steps b to h; `shortened` is the hash as a number modulo the order."""
    size = (order.bit_length() + 7) // 8

    def mac(key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, hash_name).digest()

    seed = scalar.to_bytes(size, "big") + shortened.to_bytes(size, "big") + extra
    value = b"\x01" * hashlib.new(hash_name).digest_size
    key = bytes(len(value))
    for separator in (b"\x00", b"\x01"):
        key = mac(key, value + separator + seed)
        value = mac(key, value)
    while True:
        octets = b""
        while len(octets) < size:
            value = mac(key, value)
            octets += value
        nonce = int.from_bytes(octets, "big") >> (8 * len(octets) - order.bit_length())
        if 0 < nonce < order:
            return nonce
        key = mac(key, value + b"\x00")
        value = mac(key, value)


def curve_names() -> tuple[str, ...]:
    """Return the curves of `ecc_key`."""
    return tuple(_CURVES)


def coordinate_size(curve: str) -> int:
    """Return the size of a coordinate on a curve, and of each number of a signature, in bytes."""
    return _CURVES[curve][2]


def order(curve: str) -> int:
    """Return the order of a curve's base point."""
    return _CURVES[curve][1]


@functools.cache
def rsa_key(label: str, bits: int = 2048, exponent: int = 65537, *, roca: bool = False) -> RSAKey:
    """Derive the RSA key of a label. FOR TESTS ONLY.

    Args:
        bits: length of the modulus, an even number.
        exponent: public exponent; 1 and even numbers are allowed.
        roca: generate both primes as the library of CVE-2017-15361 did (2048 or 512 bits).
    """
    if bits < 512 or bits % 2:
        raise ForgeError("bits", "an even number of 512 or more", str(bits))
    p, q = (prime(f"{label} rsa {half}", bits // 2, exponent, roca=roca) for half in "pq")
    return RSAKey(p, q, exponent)


@functools.cache
def ecc_key(label: str, curve: str = "p256") -> ECCKey:
    """Derive the ECC key of a label on ``"p192"``, ``"p224"``, ``"p256"``, ``"p384"`` or ``"p521"``. FOR TESTS ONLY."""
    if curve not in _CURVES:
        raise ForgeError("curve", f"one of {', '.join(_CURVES)}", curve)
    curve_class, order, _ = _CURVES[curve]
    scalar = expand(f"{label} ecc {curve}", order.bit_length() + 64) % (order - 1) + 1
    point: Any = ec.derive_private_key(scalar, curve_class()).public_key().public_numbers()
    return ECCKey(curve, scalar, point.x, point.y)
