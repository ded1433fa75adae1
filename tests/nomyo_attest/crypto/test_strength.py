"""Weak RSA keys: each way to be weak, and sound keys that must not be taken for weak."""

from __future__ import annotations

import random
from math import gcd, prod

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo_attest.crypto.strength import F4, is_composite_exponent, is_roca, rsa_weakness

# Nemec et al. 2017, table 1: how many of the first primes make up M, and bits of a prime, for keys of 512 and 2048 bits
ROCA_SIZES = {512: 39, 2048: 126}


def primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % known for known in found):
            found.append(number)
        number += 1
    return found


def roca_prime(bits: int, m: int, rng: random.Random) -> int:
    """A prime k·M + 65537^a mod M, as the library of CVE-2017-15361 made them; Fermat's test will do for a test."""
    while True:
        k = rng.randrange((3 << bits - 2) // m, (1 << bits) // m)
        candidate = k * m + pow(F4, rng.randrange(1 << 62), m)
        if candidate.bit_length() == bits and pow(2, candidate - 1, candidate) == 1:
            return candidate


@pytest.mark.parametrize("bits", ROCA_SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_a_modulus_of_two_roca_primes_is_recognized(bits: int, seed: int) -> None:
    rng = random.Random(f"roca {bits} {seed}")
    m = prod(primes(ROCA_SIZES[bits]))
    modulus = roca_prime(bits // 2, m, rng) * roca_prime(bits // 2, m, rng)
    assert modulus.bit_length() == bits
    assert is_roca(modulus)
    assert rsa_weakness(modulus, bits, F4, 512) == "a modulus of the ROCA form (CVE-2017-15361)"


def test_any_power_of_65537_modulo_the_primorial_has_the_roca_form() -> None:
    rng = random.Random("powers")
    m = prod(primes(39))
    for _ in range(200):
        assert is_roca(pow(F4, rng.randrange(1 << 64), m) + m * rng.randrange(1 << 300))


@pytest.mark.slow
def test_200_sound_keys_are_not_taken_for_weak_ones() -> None:
    for _ in range(200):
        modulus = rsa.generate_private_key(F4, 1024).public_key().public_numbers().n
        assert not is_roca(modulus)
        assert rsa_weakness(modulus, 1024, F4, 1024) == ""


def test_100000_random_odd_numbers_do_not_have_the_roca_form() -> None:
    # One in 2^27 would by chance; the seed makes sure that none of these is it.
    rng = random.Random("odd numbers")
    assert not any(is_roca(rng.getrandbits(2048) | 1) for _ in range(100_000))


def sound_modulus(bits: int, seed: int = 0) -> int:
    """An odd number of exactly `bits` bits without small factors that is not of the ROCA form."""
    rng = random.Random(f"sound {bits} {seed}")
    while True:
        modulus = rng.getrandbits(bits) | 1 | 1 << bits - 1
        if gcd(modulus, prod(primes(40))) == 1 and not is_roca(modulus):
            return modulus


def test_a_sound_key_has_no_weakness() -> None:
    for bits in (2048, 3072, 4096):
        for exponent in (65537, 65539, 2**32 - 1):
            assert rsa_weakness(sound_modulus(bits), bits, exponent, 2048) == ""


@pytest.mark.parametrize(
    ("bits", "least", "weakness"),
    [
        (512, 2048, "RSA-512"),
        (1024, 2048, "RSA-1024"),
        (2040, 2048, "RSA-2040"),
        (2047, 2048, "RSA-2047"),
        (2048, 2048, ""),
        (2048, 2049, "RSA-2048"),
        (2048, 3072, "RSA-2048"),
        (3072, 3072, ""),
        (1024, 1024, ""),
    ],
)
def test_a_key_shorter_than_what_is_asked_for_is_weak(bits: int, least: int, weakness: str) -> None:
    assert rsa_weakness(sound_modulus(bits), bits, F4, least) == weakness


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 17, 257, 65535, 65536, 65538, 2**32 - 2])
def test_an_exponent_below_65537_or_even_is_weak(exponent: int) -> None:
    assert rsa_weakness(sound_modulus(2048), 2048, exponent, 2048) == f"exponent {exponent}"


@pytest.mark.parametrize(("bits", "claimed"), [(2047, 2048), (2048, 2047), (2048, 3072), (1024, 2048), (2048, 0)])
def test_a_modulus_of_another_size_than_the_area_claims_is_weak(bits: int, claimed: int) -> None:
    weakness = rsa_weakness(sound_modulus(bits), claimed, F4, 1024)
    assert weakness == f"a modulus of {bits} bits where keyBits says {claimed}"


def test_an_even_modulus_is_weak() -> None:
    assert rsa_weakness(sound_modulus(2048) - 1, 2048, F4, 2048) == "an even modulus"


@pytest.mark.parametrize("modulus", [0, 1, 2, 3, 65537])
def test_a_modulus_that_is_none_is_weak(modulus: int) -> None:
    assert rsa_weakness(modulus, modulus.bit_length(), F4, 1024) == f"RSA-{modulus.bit_length()}"


def test_composite_exponents_are_recognized() -> None:
    sieve = bytearray([1]) * 70_000
    for number in range(2, 265):
        sieve[number * number :: number] = bytes(len(sieve[number * number :: number]))
    for exponent in range(70_000):
        expected = exponent > 65537 and exponent % 2 == 1 and not sieve[exponent]
        assert is_composite_exponent(exponent) is expected
    assert not is_composite_exponent(4_294_967_291)  # the largest prime below 2^32
    assert is_composite_exponent(4_294_967_295)
    assert is_composite_exponent(3_215_031_751)  # passes Miller-Rabin to the bases 2, 3, 5 and 7
