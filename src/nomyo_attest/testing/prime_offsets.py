"""The results of `keys.prime_offset`, so that keys are derived quickly. Generated: `fixtures/forge.py --primes`."""

from __future__ import annotations

OFFSETS: dict[str, int] = {
    "aik rsa p 1024 1": 284,
    "aik rsa p 1024 257": 284,
    "aik rsa p 1024 3": 284,
    "aik rsa p 1024 65537": 284,
    "aik rsa p 1024 65537 roca": 126,
    "aik rsa p 1024 65538": 284,
    "aik rsa p 1024 65539": 284,
    "aik rsa p 1024 65541": 284,
    "aik rsa p 1536 65537": 335,
    "aik rsa p 2048 65537": 983,
    "aik rsa p 512 65537": 125,
    "aik rsa p 768 65537": 341,
    "aik rsa q 1024 1": 513,
    "aik rsa q 1024 257": 513,
    "aik rsa q 1024 3": 513,
    "aik rsa q 1024 65537": 513,
    "aik rsa q 1024 65537 roca": 4,
    "aik rsa q 1024 65538": 513,
    "aik rsa q 1024 65539": 513,
    "aik rsa q 1024 65541": 513,
    "aik rsa q 1536 65537": 88,
    "aik rsa q 2048 65537": 1288,
    "aik rsa q 512 65537": 6,
    "aik rsa q 768 65537": 314,
    "other rsa p 1024 65537": 22,
    "other rsa q 1024 65537": 83,
    "third rsa p 1024 65537": 73,
    "third rsa q 1024 65537": 91,
}
