"""Check the strength of RSA keys: size, exponent and ROCA."""

from __future__ import annotations

from typing import Final

F4: Final = 65537
_WITNESSES: Final = (2, 7, 61)

_PRIMES: Final = tuple(p for p in range(3, 168, 2) if all(p % q for q in range(3, int(p**0.5) + 1, 2)))
"""The primes 3 to 167, which divide the primorial M of every key size that ROCA affects."""


def _roca_residues() -> tuple[tuple[int, frozenset[int]], ...]:
    """Return, for each prime, the residues of the powers of 65537; the most selective prime comes first.

    Primes for which the powers have every nonzero residue are omitted, because they exclude no key.
    """
    table = []
    for prime in _PRIMES:
        residue, residues = 1, set()
        while residue not in residues:
            residues.add(residue)
            residue = residue * F4 % prime
        if len(residues) < prime - 1:
            table.append((prime, frozenset(residues)))
    return tuple(sorted(table, key=lambda row: len(row[1]) / row[0]))


_ROCA_RESIDUES: Final = _roca_residues()


def is_roca(modulus: int) -> bool:
    """Whether an RSA modulus has the form of CVE-2017-15361 ("ROCA"), whose primes are k·M + 65537^a mod M.

    Such a modulus is itself a power of 65537 modulo every small prime. A key without the flaw has this form with a
    probability below 2^-27 (Nemec et al., "The Return of Coppersmith's Attack", CCS 2017, section 2).
    """
    # The first or second prime excludes most keys, so creating a generator for any() would cost more.
    for prime, residues in _ROCA_RESIDUES:  # noqa: SIM110
        if modulus % prime not in residues:
            return False
    return True


def is_composite_exponent(exponent: int) -> bool:
    """Whether a public exponent, odd and from 65537 to 2^32 - 1, is not prime, as Part 2, 12.2.3.5 requires.

    False for every exponent that is even or smaller: `rsa_weakness` reports those. Miller-Rabin with the bases 2, 7
    and 61 is exact below 4,759,123,141 (Jaeschke, "On strong pseudoprimes to several bases", 1993).
    """
    if exponent <= F4 or exponent % 2 == 0:
        return False
    twos = (exponent - 1 & 1 - exponent).bit_length() - 1  # how often 2 divides exponent - 1
    return not all(_is_strong_probable_prime(exponent, base, twos) for base in _WITNESSES)


def _is_strong_probable_prime(number: int, base: int, twos: int) -> bool:
    power = pow(base, number - 1 >> twos, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False


def rsa_weakness(modulus: int, bits: int, exponent: int, minimum_bits: int) -> str:
    """Describe why an RSA key is too weak to rely on; empty if it is not.

    Args:
        modulus: n.
        bits: the size that the public area states, in bits.
        exponent: e; see `rsa_exponent` in `nomyo_attest.crypto.keys` for the TPM's 0.
        minimum_bits: the smallest size allowed, in bits.
    """
    size = modulus.bit_length()
    if size != bits:
        return f"a modulus of {size} bits where keyBits says {bits}"
    if size < minimum_bits:
        return f"RSA-{size}"
    if exponent < F4 or exponent % 2 == 0:
        return f"exponent {exponent}"
    if modulus % 2 == 0:
        return "an even modulus"
    if is_roca(modulus):
        return "a modulus of the ROCA form (CVE-2017-15361)"
    return ""
