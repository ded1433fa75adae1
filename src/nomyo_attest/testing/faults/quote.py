"""Faults of the quote: its bytes, magic and type, and its binding to a request, a time, a key and a firmware version.

Offsets in the default forge's TPMS_ATTEST::

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
    combined,
    cut,
    drop_key,
    forge_with,
    metadata,
    put,
    set_fields,
    set_key,
    unchanged,
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
    """A fault of the bytes of TPMS_ATTEST; the changed bytes are signed."""
    return Fault(f"quote-{name}", "attest.form", reason, at("attest", change))


def lengths() -> Iterator[Fault]:
    """TPMS_ATTEST that is too short or too long, or contains a wrong size or count."""
    yield form("trailing-byte", "A signed byte follows the structure.", add(b"\0"))
    yield form("repeated", "A second quote follows the first.", lambda quote: quote + quote)
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
        yield form(f"cut-in-{field}", f"The quote ends inside its {field}.", cut(end))
    for field, offset, right in (("signer", SIGNER, 34), ("extra-data", EXTRA, 16), ("digest", DIGEST, 32)):
        for name, size in (("too-large", right + 1), ("too-small", right - 1), ("max", 0xFFFF)):
            reason = f"The size field of its {field} is {size} instead of {right}."
            yield form(f"{field}-size-{name}", reason, put(offset, writer.u16(size)))
    for name, count in (("0", 0), ("2", 2), ("17", 17), ("max", 0xFFFFFFFF)):
        yield form(f"count-{name}", f"The count of banks is {count} instead of 1.", put(COUNT, writer.u32(count)))
    for size in (0, 2, 4, 255):
        reason = f"The size field of the bitmap is {size} instead of 3."
        yield form(f"bitmap-size-{size}", reason, put(SELECTION + 2, writer.u8(size)))
    yield form("extra-data-long", "extraData is longer than the maximum of TPM2B_DATA.", _long_extra_data)


def contents() -> Iterator[Fault]:
    """TPMS_ATTEST with invalid values."""
    for octet in (2, 0x80, 0xFF):
        yield form(f"safe-{octet}", f"The YES_NO `safe` is {octet}.", put(SAFE, writer.u8(octet)))
    for name, type_ in (("unknown", 0x8019), ("zero", 0), ("max", 0xFFFF)):
        yield form(f"type-{name}", f"The type {type_:#06x} is not a TPMI_ST_ATTEST.", put(4, writer.u16(type_)))
    for name, hash_id in (("null", writer.ALG_NULL), ("rsa", writer.ALG_RSA), ("unknown", 0x7FFF)):
        yield form(f"bank-{name}", f"The bank {hash_id:#06x} is not a hash.", put(SELECTION, writer.u16(hash_id)))
    reason = "The type is that of a certification, but the content of a quote follows."
    yield form("wrong-union-member", reason, put(4, writer.u16(writer.ST_ATTEST_CERTIFY)))


def framings() -> Iterator[Fault]:
    """TPM2B_ATTEST whose size does not match its content."""
    changes: tuple[tuple[str, str, Bytes], ...] = (
        ("size-too-large", "The size of TPM2B_ATTEST is one byte too large.", put(0, writer.u16(130))),
        ("size-too-small", "The size of TPM2B_ATTEST is one byte too small.", put(0, writer.u16(128))),
        ("size-zero", "The size of TPM2B_ATTEST is zero.", put(0, writer.u16(0))),
        ("trailing", "A byte follows TPM2B_ATTEST.", add(b"\0")),
        ("doubled", "TPM2B_ATTEST is wrapped in another TPM2B.", writer.tpm2b),
        ("long-size", "The size is written in four bytes.", lambda blob: b"\0\0" + blob),
        ("little-endian", "The size is written little-endian.", lambda blob: blob[1::-1] + blob[2:]),
    )
    for name, reason, change in changes:
        yield Fault(
            f"quote-framing-{name}", "attest.form", reason, at("quote_blob", change), base=forge_with(sized_quote=True)
        )


def magics() -> Iterator[Fault]:
    """Signed bytes that a TPM did not generate."""
    for name, magic in (
        ("zero", 0),
        ("last-bit", 0xFF544346),
        ("little-endian", 0x474354FF),
        ("first-byte", 0x00544347),
    ):
        reason = f"The structure begins with {magic:#010x}: the key signed bytes that a TPM did not generate."
        yield Fault(f"magic-{name}", "attest.magic", reason, set_fields(magic=magic))


def types() -> Iterator[Fault]:
    """Structures other than a quote that a TPM signs, with the right extraData."""
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
            f"A genuine attestation of type {slug}, with the right extraData, is presented as a quote.",
            combined(set_fields(attest_type=type_), at("attested", always(attested))),
        )
    yield Fault(
        "type-nv-of-a-quote",
        "attest.type",
        "TPM2_NV_Certify signed content that imitates a quote's selection and digest: the host can write any content.",
        combined(
            set_fields(attest_type=writer.ST_ATTEST_NV),
            at("attested", lambda quote_info: writer.tpms_nv_certify_info(name, 0, quote_info)),
        ),
    )


def _long_extra_data(quote: bytes) -> bytes:
    return quote[:EXTRA] + writer.tpm2b(quote[EXTRA + 2 : CLOCK] + bytes(51)) + quote[CLOCK:]


_ID: Final = Forge().payload_id
_OTHER: Final = "5f0a9c1e-3b7d-4a26-9e84-c6d1b2f3a075"


def nonces() -> Iterator[Fault]:
    """extraData that is not the nonce: the quote was made for something else."""
    right = hashlib.sha256(_ID.encode()).digest()
    for slug, reason, nonce in (
        (
            "other-request",
            "The quote was made for a different payload id.",
            hashlib.sha256(_OTHER.encode()).digest()[:16],
        ),
        ("cut", "extraData is the nonce without its last byte.", right[:15]),
        ("one-byte", "extraData is the first byte of the nonce.", right[:1]),
        ("empty", "extraData is empty.", b""),
        ("zeros", "extraData is sixteen zero bytes.", bytes(16)),
        ("longer", "extraData is the nonce followed by one byte.", right[:17]),
        ("whole-digest", "extraData is the whole digest, which the protocol truncates to 16 bytes.", right),
        ("last-half", "extraData is the other half of the digest.", right[16:]),
        ("last-bit", "One bit of extraData differs.", right[:15] + bytes([right[15] ^ 1])),
        ("raw-id", "extraData is the beginning of the payload id itself.", _ID.encode()[:16]),
        ("sha1", "extraData is computed with SHA-1.", hashlib.sha1(_ID.encode()).digest()[:16]),
    ):
        yield Fault(f"nonce-{slug}", "nonce.match", reason, set_fields(nonce=nonce))


def payload_ids() -> Iterator[Fault]:
    """Payload ids that do not match the quote, from the response or from the caller."""

    def other(slug: str, reason: str, tamper: Tamper, **options: Any) -> Fault:
        return Fault(f"nonce-{slug}", "nonce.match", reason, tamper, **options)

    reason = "The response contains the genuine attestation of another request: a replay."
    yield other("replayed", reason, block(always(_block_of(_OTHER))))
    reason = "The metadata and the quote have different payload ids."
    yield other("claimed-id", reason, metadata(set_key("payload_id", _OTHER)))
    reason = "The metadata and the quote have the same payload id, but the request had a different one."
    yield other("requested-id", reason, unchanged, arguments=Arguments(payload_id=_OTHER))
    reason = "The quote matches the request, but the metadata has a different payload id."
    yield other("recorded-id", reason, metadata(set_key("payload_id", _OTHER)), arguments=Arguments(payload_id=_ID))
    reason = "The quote has a different nonce from the one in the request."
    yield other("requested-nonce", reason, unchanged, arguments=Arguments(nonce=bytes(16)))
    reason = "Neither the response nor the caller provides a payload id."
    yield other("unknown", reason, metadata(drop_key("payload_id")), undecided=True)


def clocks() -> Iterator[Fault]:
    """A clock that may repeat earlier values."""
    reason = "The TPM reports that its clock may have had a later value earlier."
    yield Fault("clock-unsafe", "clock.safe", reason, set_fields(safe=0))


def signers() -> Iterator[Fault]:
    """qualifiedSigner that is not a valid name for the AIK."""
    changes: tuple[tuple[str, str, Bytes], ...] = (
        ("empty", "qualifiedSigner is empty.", always(b"")),
        ("handle", "qualifiedSigner is a handle.", always(writer.u32(writer.HIERARCHIES["endorsement"]))),
        ("algorithm-only", "qualifiedSigner is an algorithm without a digest.", cut(2)),
        ("no-algorithm", "qualifiedSigner is a digest without an algorithm.", lambda name: name[2:]),
        (
            "not-a-hash",
            "qualifiedSigner does not begin with a hash algorithm.",
            lambda name: writer.u16(writer.ALG_RSA) + name[2:],
        ),
        ("short", "qualifiedSigner lacks the last byte of the digest.", cut(-1)),
        ("long", "qualifiedSigner has one byte after the digest.", lambda name: name + b"\0"),
        ("other-name-alg", "qualifiedSigner uses SHA-384, but a TPM uses the key's nameAlg, SHA-256.", _with_sha384),
    )
    for slug, reason, change in changes:
        tamper = at("qualified_signer", change)
        yield Fault(f"signer-{slug}", "signer.name", reason, tamper, policy=without_hierarchy)


def periods() -> Iterator[Fault]:
    """Policies outside their validity period."""
    january = {"valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-01-31T00:00:00+02:00"}
    for slug, limits, now, reason in (
        ("expired", {"valid_until": "2026-01-31T00:00:00Z"}, "2026-02-01T00:00:00Z", "The policy has expired."),
        (
            "not-yet-valid",
            {"valid_from": "2026-01-01T00:00:00Z"},
            "2025-12-31T23:59:59Z",
            "The policy is not valid yet.",
        ),
        ("time-zone", january, "2026-01-30T22:30:00Z", "The policy has expired; `valid_until` has an offset from UTC."),
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


def _with_sha384(name: bytes) -> bytes:
    return writer.u16(writer.ALG_SHA384) + hashlib.sha384(name).digest()


def _with_limits(limits: dict[str, str]) -> Callable[[Policy], None]:
    return lambda policy: policy.update(limits)


FIRMWARE: Final = "0x2024012500120000"
"""The firmware version of the soft TPM, as a policy lists it."""


def firmware() -> Iterator[Fault]:
    """Firmware versions of the TPM."""

    def version(name: str, reason: str, **options: Any) -> Fault:
        return Fault(f"firmware-{name}", "firmware.version", reason, policy=_firmware, **options)

    reason = "The policy does not list the TPM's firmware version."
    yield version("other", reason, tamper=set_fields(firmware_version=0x2024012500120001))
    reason = "The halves of the firmware version are swapped."
    yield version("swapped", reason, tamper=set_fields(firmware_version=0x0012000020240125))
    for hierarchy in ("owner", "null"):
        reason = f"The key is of the {hierarchy} hierarchy, for which a TPM obfuscates its firmware version."
        yield version(hierarchy, reason, base=forge_with(hierarchy=hierarchy), undecided=True)
    reason = "The key is a child of another key, so the version may be obfuscated."
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
