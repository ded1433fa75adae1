"""Primes come from their labels, and the kept offsets are those of the search."""

from __future__ import annotations

import math

import pytest

from nomyo_attest.testing import primes
from nomyo_attest.testing.offsets import OFFSETS

KEPT = sorted(label for label in OFFSETS if " rsa " in label)


def parts(kept: str) -> tuple[str, int, int, bool]:
    *label, half, bits, exponent = kept.removesuffix(" roca").split()
    return " ".join([*label, half]), int(bits), int(exponent), kept.endswith(" roca")


@pytest.mark.parametrize("number", [3, 5, 1999, 2003, 7919, 2**89 - 1, 2**127 - 1])
def test_a_prime_is_one(number: int) -> None:
    assert primes.is_prime(number)


# Squares and products of primes past the trial divisions, a Carmichael number of such primes, a Fermat number.
@pytest.mark.parametrize("number", [9, 2003**2, 2003 * 2011, 2221 * 4441 * 6661, 2**128 + 1, 2**127 + 1])
def test_a_composite_is_none(number: int) -> None:
    assert not primes.is_prime(number)


def test_a_label_gives_the_same_number_for_ever() -> None:
    assert primes.expand("label", 64) == 0x0D7E89BBD75AA077
    assert primes.expand("label", 2048).bit_length() <= 2048
    assert primes.expand("label", 64) != primes.expand("other", 64)


@pytest.mark.parametrize("kept", KEPT)
def test_a_kept_offset_leads_to_a_prime_of_the_right_shape(kept: str) -> None:
    label, bits, exponent, roca = parts(kept)
    prime = primes.prime(label, bits, exponent, roca=roca)
    odd = exponent // (exponent & -exponent)
    assert primes.is_prime(prime)
    assert (prime >> bits - 2, prime % 4) == (3, 3)
    assert math.gcd(prime - 1, odd) == 1


def test_the_kept_offsets_are_those_of_the_search() -> None:
    """One of each sort; `fixtures/forge.py --primes` searches them all."""
    for kept in ("aik rsa p 512 65537", "aik rsa q 512 65537", "aik rsa q 1024 65537 roca"):
        label, bits, exponent, roca = parts(kept)
        assert primes.search(label, bits, exponent, roca=roca) == OFFSETS[kept]


def test_a_roca_prime_is_a_power_of_65537_modulo_small_primes() -> None:
    prime = primes.prime("aik rsa p", 1024, 65537, roca=True)
    for small in (11, 13, 17, 37, 61, 97, 151):
        assert prime % small in {pow(65537, power, small) for power in range(small)}
