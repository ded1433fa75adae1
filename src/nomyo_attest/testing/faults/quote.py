"""Faults of the quote: its bytes, magic and type, and what ties it to a request, a time, a key and a firmware.

The offsets are those of the default forge's TPMS_ATTEST::

      0 magic             6 qualifiedSigner (2 + 34)    60 clockInfo, safe at 76    89 TPMS_PCR_SELECTION (2 + 1 + 3)
      4 type             42 extraData (2 + 16)          77 firmwareVersion          95 pcrDigest (2 + 32)
                                                        85 count                   129 end
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from nomyo_attest.testing import writer
from nomyo_attest.testing.faults.model import (
    Arguments,
    Bytes,
    Fault,
    Policy,
    Tamper,
    add,
    always,
    at,
    block,
    cut,
    drop_key,
    forge_with,
    in_turn,
    metadata,
    nothing,
    put,
    set_fields,
    set_key,
    without_hierarchy,
)
from nomyo_attest.testing.forge import Forge

SIGNER: Final = 6
EXTRA: Final = 42
CLOCK: Final = 60
SAFE: Final = 76
COUNT: Final = 85
SELECTION: Final = 89
DIGEST: Final = 95


def form(name: str, reason: str, change: Bytes) -> Fault:
    """A fault of the bytes of TPMS_ATTEST, which are signed as they are."""
    return Fault(f"quote-{name}", "attest.form", reason, at("attest", change))


def lengths() -> Iterator[Fault]:
    """TPMS_ATTEST that ends too early or too late, or whose sizes and counts lie."""
    yield form("trailing-byte", "One signed byte stands behind the structure.", add(b"\0"))
    yield form("twice", "A second quote stands behind the first.", lambda quote: quote + quote)
    for field, end in (
        ("magic", 3),
        ("magic-end", 4),
        ("type", 5),
        ("signer-size", SIGNER + 1),
        ("signer", EXTRA - 1),
        ("extra-data", CLOCK - 1),
        ("clock", CLOCK + 16),
        ("firmware", COUNT - 1),
        ("count", SELECTION - 1),
        ("selection", DIGEST - 1),
        ("digest-size", DIGEST + 1),
        ("digest", -1),
    ):
        yield form(f"cut-in-{field}", f"The quote ends in its {field}.", cut(end))
    for field, offset, right in (("signer", SIGNER, 34), ("extra-data", EXTRA, 16), ("digest", DIGEST, 32)):
        for name, size in (("more", right + 1), ("less", right - 1), ("max", 0xFFFF)):
            reason = f"The size of its {field} is said to be {size}, and is {right}."
            yield form(f"{field}-size-{name}", reason, put(offset, writer.u16(size)))
    for name, count in (("none", 0), ("more", 2), ("many", 17), ("max", 0xFFFFFFFF)):
        yield form(f"count-{name}", f"The selection claims {count} banks, and has one.", put(COUNT, writer.u32(count)))
    for size in (0, 2, 4, 255):
        reason = f"The bitmap claims {size} bytes, and has three."
        yield form(f"bitmap-size-{size}", reason, put(SELECTION + 2, writer.u8(size)))
    yield form("extra-data-long", "extraData is longer than a TPM2B_DATA can be.", _long_extra_data)


def contents() -> Iterator[Fault]:
    """TPMS_ATTEST with values in it that cannot stand there."""
    for octet in (2, 0x80, 0xFF):
        yield form(f"safe-{octet}", f"The YES_NO `safe` is {octet}.", put(SAFE, writer.u8(octet)))
    for name, type_ in (("unknown", 0x8019), ("zero", 0), ("max", 0xFFFF)):
        yield form(f"type-{name}", f"The type {type_:#06x} is no TPMI_ST_ATTEST.", put(4, writer.u16(type_)))
    for name, hash_id in (("null", writer.ALG_NULL), ("rsa", writer.ALG_RSA), ("unknown", 0x7FFF)):
        yield form(f"bank-{name}", f"The bank {hash_id:#06x} is no hash.", put(SELECTION, writer.u16(hash_id)))
    reason = "The type says certify, and what a quote attests follows."
    yield form("other-arm", reason, put(4, writer.u16(writer.ST_ATTEST_CERTIFY)))


def framings() -> Iterator[Fault]:
    """TPM2B_ATTEST with a size that is not that of what follows."""
    changes: tuple[tuple[str, str, Bytes], ...] = (
        ("size-more", "The size of TPM2B_ATTEST claims a byte more than there is.", put(0, writer.u16(130))),
        ("size-less", "The size of TPM2B_ATTEST leaves the last byte over.", put(0, writer.u16(128))),
        ("size-zero", "The size of TPM2B_ATTEST is zero.", put(0, writer.u16(0))),
        ("trailing", "A byte stands behind TPM2B_ATTEST.", add(b"\0")),
        ("twice", "TPM2B_ATTEST stands in another TPM2B.", writer.tpm2b),
        ("long-size", "The size is written in four bytes.", lambda blob: b"\0\0" + blob),
        ("little-endian", "The size is written little-endian.", lambda blob: blob[1::-1] + blob[2:]),
    )
    for name, reason, change in changes:
        yield Fault(
            f"quote-framing-{name}", "attest.form", reason, at("quote_blob", change), base=forge_with(sized_quote=True)
        )


def magics() -> Iterator[Fault]:
    """Bytes that no TPM made of itself, under a signature that is right."""
    for name, magic in (
        ("zero", 0),
        ("last-bit", 0xFF544346),
        ("little-endian", 0x474354FF),
        ("first-byte", 0x00544347),
    ):
        reason = f"The structure begins with {magic:#010x}: a key signed bytes that no TPM made."
        yield Fault(f"magic-{name}", "attest.magic", reason, set_fields(magic=magic))


def types() -> Iterator[Fault]:
    """What a TPM signs besides quotes, each with the right extraData."""
    name = writer.u16(writer.ALG_SHA256) + hashlib.sha256(b"some object").digest()
    digest = hashlib.sha256(b"something").digest()
    clock = writer.tpms_clock_info(1, 2, 3, 1)
    audit = writer.tpms_command_audit_info(1, writer.ALG_SHA256, digest, digest)
    for slug, type_, attested in (
        ("certify", writer.ST_ATTEST_CERTIFY, writer.tpms_certify_info(name, name)),
        ("creation", writer.ST_ATTEST_CREATION, writer.tpms_creation_info(name, digest)),
        ("time", writer.ST_ATTEST_TIME, writer.tpms_time_attest_info(1, clock, 4)),
        ("nv", writer.ST_ATTEST_NV, writer.tpms_nv_certify_info(name, 0, b"whatever the owner wrote")),
        ("nv-digest", writer.ST_ATTEST_NV_DIGEST, writer.tpms_nv_digest_certify_info(name, digest)),
        ("command-audit", writer.ST_ATTEST_COMMAND_AUDIT, audit),
        ("session-audit", writer.ST_ATTEST_SESSION_AUDIT, writer.tpms_session_audit_info(1, digest)),
    ):
        yield Fault(
            f"type-{slug}",
            "attest.type",
            f"A genuine attestation of another kind ({slug}), with the right extraData, passed off as a quote.",
            in_turn(set_fields(attest_type=type_), at("attested", always(attested))),
        )
    yield Fault(
        "type-nv-of-a-quote",
        "attest.type",
        "TPM2_NV_Certify over contents that are a quote's selection and digest: the host may write any there.",
        in_turn(
            set_fields(attest_type=writer.ST_ATTEST_NV),
            at("attested", lambda quote_info: writer.tpms_nv_certify_info(name, 0, quote_info)),
        ),
    )


def _long_extra_data(quote: bytes) -> bytes:
    return quote[:EXTRA] + writer.tpm2b(quote[EXTRA + 2 : CLOCK] + bytes(51)) + quote[CLOCK:]


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
        yield Fault(f"nonce-{slug}", "nonce.match", reason, set_fields(nonce=nonce))


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
    yield Fault("clock-unsafe", "clock.safe", reason, set_fields(safe=0))


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


FIRMWARE: Final = "0x2024012500120000"


"""The firmware version of the soft TPM, as a policy lists it."""


def firmware() -> Iterator[Fault]:
    """Firmware versions of the TPM itself."""

    def version(name: str, reason: str, **more: Any) -> Fault:
        return Fault(f"firmware-{name}", "firmware.version", reason, policy=_firmware, **more)

    reason = "The TPM's firmware is one that the policy does not list."
    yield version("other", reason, tamper=set_fields(firmware_version=0x2024012500120001))
    reason = "The halves of the firmware version have changed places."
    yield version("swapped", reason, tamper=set_fields(firmware_version=0x0012000020240125))
    for hierarchy in ("owner", "null"):
        reason = f"The key is of the {hierarchy} hierarchy, for which a TPM obfuscates its firmware version."
        yield version(hierarchy, reason, base=forge_with(hierarchy=hierarchy), undecided=True)
    reason = "The key is a child of another: whether the version is obfuscated is not known."
    yield version("child", reason, base=forge_with(hierarchy=None), undecided=True)


def _firmware(policy: Policy) -> None:
    policy["firmware"] = {"versions": [FIRMWARE]}


FAULTS = (
    *lengths(),
    *contents(),
    *framings(),
    *magics(),
    *types(),
    *nonces(),
    *payload_ids(),
    *clocks(),
    *signers(),
    *periods(),
    *firmware(),
)
