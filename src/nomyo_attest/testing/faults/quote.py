"""Faults of the quote's bytes, its magic and its type.

The offsets are those of the default forge's TPMS_ATTEST::

      0 magic             6 qualifiedSigner (2 + 34)    60 clockInfo, safe at 76    89 TPMS_PCR_SELECTION (2 + 1 + 3)
      4 type             42 extraData (2 + 16)          77 firmwareVersion          95 pcrDigest (2 + 32)
                                                        85 count                   129 end
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from nomyo_attest.testing import writer
from nomyo_attest.testing.faults.changes import Bytes, add, always, at, both, cut, put, with_, world
from nomyo_attest.testing.faults.model import Fault

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
            f"quote-framing-{name}", "attest.form", reason, at("quote_blob", change), world=world(sized_quote=True)
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
        yield Fault(f"magic-{name}", "attest.magic", reason, with_(magic=magic))


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
            both(with_(attest_type=type_), at("attested", always(attested))),
        )
    yield Fault(
        "type-nv-of-a-quote",
        "attest.type",
        "TPM2_NV_Certify over contents that are a quote's selection and digest: the host may write any there.",
        both(
            with_(attest_type=writer.ST_ATTEST_NV),
            at("attested", lambda quote_info: writer.tpms_nv_certify_info(name, 0, quote_info)),
        ),
    )


def _long_extra_data(quote: bytes) -> bytes:
    return quote[:EXTRA] + writer.tpm2b(quote[EXTRA + 2 : CLOCK] + bytes(51)) + quote[CLOCK:]


FAULTS = (*lengths(), *contents(), *framings(), *magics(), *types())
