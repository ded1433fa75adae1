"""Primes from a seed: the same ones on every machine, for ever. FOR TESTS ONLY: whoever reads the seed has the key.

A search starts at a number hashed from a label and goes up. How far it has to go is the only thing that costs time, so
the lengths of the default searches are kept in `offsets.py`; any other label searches once in a process.
"""

from __future__ import annotations

import hashlib
import math

from nomyo_attest.testing.offsets import OFFSETS

_SMALL_PRIMES = [n for n in range(3, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1))]
_BASES = _SMALL_PRIMES[:16]  # candidates are hashes, not an adversary's choice: 16 rounds are far past any doubt

# Nemec et al., "The Return of Coppersmith's Attack", CCS 2017, table 1: the flawed library made its primes as
# k * M + (65537 ** a mod M), with M the product of the first 126 primes for RSA keys from 1984 to 3936 bits, and of the
# first 39 for those from 512 to 960 bits.
_ROCA_PRIMES = {1024: 126, 256: 39}


def expand(label: str, bits: int) -> int:
    """A number below ``2 ** bits`` hashed from `label`: counter mode over SHA-512."""
    octets = b"".join(
        hashlib.sha512(b"nomyo forge, never a key of value\0%d\0%s" % (block, label.encode())).digest()
        for block in range(bits // 512 + 1)
    )
    return int.from_bytes(octets, "big") >> (8 * len(octets) - bits)


def is_prime(candidate: int) -> bool:
    """Miller-Rabin after trial division; for odd candidates that nobody chose with care."""
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
    """The first prime past the label's starting point that an RSA exponent can be used with; 3 modulo 4.

    The two top bits are set, so that two such primes make a modulus of exactly ``2 * bits`` bits.

    Args:
        label: what the prime is for; another label, another prime.
        bits: length in bits, 64 or more.
        exponent: public exponent; its odd part has no factor in common with the prime less one.
        roca: shape the prime as the library of CVE-2017-15361 did (1024 or 256 bits).
    """
    first, step = _roca_progression(label, bits) if roca else _progression(label, bits)
    key = f"{label} {bits} {exponent}{' roca' if roca else ''}"
    if key not in OFFSETS:
        OFFSETS[key] = search(label, bits, exponent, roca=roca)
    return first + step * OFFSETS[key]


def search(label: str, bits: int, exponent: int, *, roca: bool = False) -> int:
    """How many steps past its starting point `prime` finds its prime; what `offsets.py` keeps."""
    first, step = _roca_progression(label, bits) if roca else _progression(label, bits)
    odd_exponent = exponent >> ((exponent & -exponent).bit_length() - 1)
    offset = 0
    while True:
        candidate = first + step * offset
        # 3 modulo 4, so that square roots are one power and keys of even exponent can sign at all
        if candidate % 4 == 3 and math.gcd(candidate - 1, odd_exponent) == 1 and is_prime(candidate):
            return offset
        offset += 1


def _progression(label: str, bits: int) -> tuple[int, int]:
    return expand(label, bits) | 3 << bits - 2 | 3, 4


def _roca_progression(label: str, bits: int) -> tuple[int, int]:
    modulus = 2 * math.prod(_SMALL_PRIMES[: _ROCA_PRIMES[bits] - 1])
    residue = pow(65537, expand(label + " a", 64), modulus)
    smallest_k = (3 << bits - 2) // modulus + 1
    room = bits - modulus.bit_length() - 4
    return (smallest_k + expand(label + " k", room)) * modulus + residue, modulus
