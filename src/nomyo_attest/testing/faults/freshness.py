"""Faults of what ties a quote to an answer, a time and a key: nonce, clock, the signer's name, the policy's period."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from nomyo_attest.testing import writer
from nomyo_attest.testing.faults.changes import (
    Bytes,
    Policy,
    Tamper,
    always,
    at,
    block,
    cut,
    drop_key,
    metadata,
    nothing,
    set_key,
    with_,
    without_hierarchy,
)
from nomyo_attest.testing.faults.model import Arguments, Fault
from nomyo_attest.testing.forge import Forge

_ID: Final = Forge().payload_id
_OTHER: Final = "5f0a9c1e-3b7d-4a26-9e84-c6d1b2f3a075"


def nonces() -> Iterator[Fault]:
    """extraData that is not the nonce: a quote made for something else."""
    right = hashlib.sha256(_ID.encode()).digest()
    for slug, reason, nonce in (
        ("other-request", "The quote was made for another payload id.", hashlib.sha256(_OTHER.encode()).digest()[:16]),
        ("cut", "extraData is the nonce less its last byte.", right[:15]),
        ("one-byte", "extraData is the first byte of the nonce.", right[:1]),
        ("empty", "extraData is empty.", b""),
        ("zeros", "extraData is sixteen zero bytes.", bytes(16)),
        ("longer", "extraData is the nonce and a byte more.", right[:17]),
        ("whole-digest", "extraData is the whole digest, which the protocol cuts to 16 bytes.", right),
        ("last-half", "extraData is the other half of the digest.", right[16:]),
        ("last-bit", "One bit of extraData differs.", right[:15] + bytes([right[15] ^ 1])),
        ("raw-id", "extraData is the beginning of the payload id itself.", _ID.encode()[:16]),
        ("sha1", "extraData is of SHA-1.", hashlib.sha1(_ID.encode()).digest()[:16]),
    ):
        yield Fault(f"nonce-{slug}", "nonce.match", reason, with_(nonce=nonce))


def payload_ids() -> Iterator[Fault]:
    """Payload ids that are not the quote's, whoever says them."""

    def other(slug: str, reason: str, tamper: Tamper, **more: Any) -> Fault:
        return Fault(f"nonce-{slug}", "nonce.match", reason, tamper, **more)

    reason = "The whole attestation of another request, genuine in every way: a replay."
    yield other("replayed", reason, block(always(_block_of(_OTHER))))
    reason = "The metadata carries another payload id than the quote."
    yield other("claimed-id", reason, metadata(set_key("payload_id", _OTHER)))
    reason = "Metadata and quote agree on a payload id, which is not that of the request that was made."
    yield other("asked-id", reason, nothing, arguments=Arguments(payload_id=_OTHER))
    reason = "The quote is of the request that was made, and the metadata carries another payload id."
    yield other("recorded-id", reason, metadata(set_key("payload_id", _OTHER)), arguments=Arguments(payload_id=_ID))
    reason = "The quote holds another nonce than the one given."
    yield other("asked-nonce", reason, nothing, arguments=Arguments(nonce=bytes(16)))
    reason = "Nobody says which request the quote belongs to."
    yield other("unknown", reason, metadata(drop_key("payload_id")), undecided=True)


def clocks() -> Iterator[Fault]:
    """A clock that may run through the same time again."""
    reason = "The TPM says of its own clock that it may have reported later times before."
    yield Fault("clock-unsafe", "clock.safe", reason, with_(safe=0))


def signers() -> Iterator[Fault]:
    """qualifiedSigner that is no name of such a key."""
    changes: tuple[tuple[str, str, Bytes], ...] = (
        ("empty", "qualifiedSigner is empty.", always(b"")),
        ("handle", "qualifiedSigner is a handle.", always(writer.u32(writer.HIERARCHIES["endorsement"]))),
        ("algorithm-only", "qualifiedSigner is an algorithm without a digest.", cut(2)),
        ("no-algorithm", "qualifiedSigner is a digest without an algorithm.", lambda name: name[2:]),
        ("not-a-hash", "qualifiedSigner begins with no hash.", lambda name: writer.u16(writer.ALG_RSA) + name[2:]),
        ("short", "qualifiedSigner is a byte short of its hash.", cut(-1)),
        ("long", "qualifiedSigner is a byte longer than its hash.", lambda name: name + b"\0"),
        ("other-name-alg", "qualifiedSigner is of SHA-384; a TPM takes the key's nameAlg, SHA-256.", _of_sha384),
    )
    for slug, reason, change in changes:
        tamper = at("qualified_signer", change)
        yield Fault(f"signer-{slug}", "signer.name", reason, tamper, policy=without_hierarchy)


def periods() -> Iterator[Fault]:
    """Policies out of their time."""
    january = {"valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-01-31T00:00:00+02:00"}
    for slug, limits, now, reason in (
        ("over", {"valid_until": "2026-01-31T00:00:00Z"}, "2026-02-01T00:00:00Z", "The policy's period is over."),
        (
            "to-come",
            {"valid_from": "2026-01-01T00:00:00Z"},
            "2025-12-31T23:59:59Z",
            "The policy's period has not begun.",
        ),
        ("time-zone", january, "2026-01-30T22:30:00Z", "The policy's period is over, in its own time zone."),
    ):
        yield Fault(
            f"period-{slug}",
            "policy.period",
            reason,
            policy=_with_limits(limits),
            arguments={"now": datetime.fromisoformat(now)},
            undecided=True,
        )


def _block_of(payload_id: str) -> object:
    return Forge(payload_id=payload_id).response()["_metadata"]["tpm_attestation"]


def _of_sha384(name: bytes) -> bytes:
    return writer.u16(writer.ALG_SHA384) + hashlib.sha384(name).digest()


def _with_limits(limits: dict[str, str]) -> Callable[[Policy], None]:
    return lambda policy: policy.update(limits)


FAULTS = (*nonces(), *payload_ids(), *clocks(), *signers(), *periods())
