"""Recognize evidence of the soft TPM of `nomyo_attest.testing`, whose private keys anyone can derive.

Such evidence passes every check that a Verifier can make without a pinned key. Any of four facts identifies it: a key
that the fixtures use; a PCR value that only the soft TPM's measurements produce; the statement of a reference router
that it runs the soft TPM; or a PCR value of such a router together with the soft TPM's clock. This prevents mistakes,
but does not stop an attacker, who can hide all four.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any, Final

from nomyo_attest.evidence.pcrs import PcrReport
from nomyo_attest.tpm.attest import TPMS_CLOCK_INFO
from nomyo_attest.tpm.public import TPMS_ECC_POINT, TPMT_PUBLIC

TEST_KEYS: Final = frozenset(
    {
        "9cf849eaed6ac400",  # aik, rsa2048
        "b35a48341cec612d",  # aik, rsa3072
        "a15048062c2a3a79",  # aik, rsa4096
        "2abe08a91d063489",  # aik, p256
        "373d605c2d80963b",  # aik, p384
        "392bdd86ae435e42",  # aik, p521
        "d8d99b9a3f6d52f4",  # other, rsa2048
        "223712a21e697208",  # other, p256
        "6d200d12c7c3f18e",  # other, p384
        "4a6d9b3f32fbd577",  # other, p521
        "7de631c5fd4fb542",  # third, rsa2048
        "2a204ba20605e667",  # third, p256
        "4ffefcf8441813d7",  # third, p384
        "8ac393f3eceba9d3",  # third, p521
    }
)
"""The first 16 hexadecimal digits of SHA-256 over the modulus, or over x and y, of each key that the fixtures use."""

_EVENTS: Final = {
    0: ((b"firmware 2.4",), (b"firmware 2.5",)),
    7: ((b"Secure Boot on", b"db 2026-10"), (b"Secure Boot off", b"db 2026-10")),
}
"""PCR index → the events that the soft TPM and the machines of the synthetic fleet measure into it when they boot."""

_ROUTER_EVENTS: Final = {
    0: ((b"firmware 1.0",), (b"firmware 1.1, of unknown origin",)),
    7: ((b"Secure Boot on",),),
    10: tuple(
        (f"boot aggregate of firmware {firmware}".encode(), b"nomyo reference router")
        for firmware in ("1.0", "1.1, of unknown origin")
    ),
}
"""The events of the reference router, in the same form. It also measures them into a swtpm."""

_CLOCK: Final = (86_400_000, 17, 0)
"""Clock in milliseconds, resetCount and restartCount of the soft TPM of a reference router; they never change."""

_BANKS: Final = ("sha1", "sha256", "sha384", "sha512")


def key_digest(public: TPMT_PUBLIC) -> str:
    """Compute the digest of a key that `TEST_KEYS` lists."""
    unique = public.unique
    octets = unique.x + unique.y if isinstance(unique, TPMS_ECC_POINT) else unique.modulus
    return hashlib.sha256(octets).hexdigest()[:16]


def claims_soft_tpm(claims: Mapping[str, Any]) -> bool:
    """Whether a response's `_metadata` states that the router runs the soft TPM."""
    kind = claims.get("tpm_kind")
    return isinstance(kind, str) and kind.startswith("soft")


def made_by_soft_tpm(public: TPMT_PUBLIC | None, report: PcrReport, clock: TPMS_CLOCK_INFO | None) -> bool:
    """Whether the key, a PCR value, or a PCR value together with the quote's clock is the soft TPM's."""
    if public is not None and key_digest(public) in TEST_KEYS:
        return True
    if _reports_any(_soft_tpm_values(), report):
        return True
    is_soft_clock = clock is not None and (clock.clock, clock.reset_count, clock.restart_count) == _CLOCK
    return is_soft_clock and _reports_any(_router_values(), report)


_Values = Mapping[str, Mapping[int, AbstractSet[bytes]]]


def _reports_any(known_values: _Values, report: PcrReport) -> bool:
    return any(
        reported.get(index) in known
        for bank, reported in report.values.items()
        for index, known in known_values.get(bank, {}).items()
    )


@cache
def _soft_tpm_values() -> _Values:
    return _values_after(_EVENTS)


@cache
def _router_values() -> _Values:
    return _values_after(_ROUTER_EVENTS)


def _values_after(boots_by_index: Mapping[int, tuple[tuple[bytes, ...], ...]]) -> _Values:
    """Compute bank → index → the values that boots with these events produce (Part 1, "Extend of a PCR")."""
    return {
        bank: {index: {_value_after(bank, events) for events in boots} for index, boots in boots_by_index.items()}
        for bank in _BANKS
    }


def _value_after(bank: str, events: Iterable[bytes]) -> bytes:
    value = bytes(hashlib.new(bank).digest_size)
    for event in events:
        value = hashlib.new(bank, value + hashlib.new(bank, event).digest()).digest()
    return value
