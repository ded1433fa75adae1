"""Write many synthetic records quickly, for the benchmark of the audit.

    python benchmarks/records.py 1000000 records.jsonl policy.json

Nine in ten records have a different ECDSA P-256 AIK each; one in ten has one of eight RSA-2048 AIKs, which the policy
pins. They come from 200 machines with two firmware versions and a different PCR 10 each. One record in 500 has Secure
Boot off. The records are signed with `cryptography` on all cores; keys are random, so no two runs write the same bytes.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import nomyo_attest as na
from nomyo_attest.testing import writer
from nomyo_attest.testing.forge import build_metadata, build_response, nonce_of

PINNED: Final = 8
PINNED_ONE_IN: Final = 10
INSECURE_ONE_IN: Final = 500
MACHINES: Final = 200
BATCH: Final = 2000
"""The number of records that a process generates at a time: about five megabytes."""

FIRST: Final = 1767225600
SECONDS_APART: Final = 5
VERSION: Final = 0x2026010800130000
_HASH: Final = hashes.SHA256()


def _pcr(*events: str) -> bytes:
    value = bytes(32)
    for event in events:
        value = hashlib.sha256(value + hashlib.sha256(event.encode()).digest()).digest()
    return value


FIRMWARES: Final = (_pcr("firmware 2.4"), _pcr("firmware 2.5"))
SECURE_BOOT: Final = _pcr("Secure Boot on")
SECURE_BOOT_OFF: Final = _pcr("Secure Boot off")


@dataclass(frozen=True)
class Key:
    """An AIK: its private key, TPMT_PUBLIC, Name, and qualified name in the endorsement hierarchy."""

    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    public: bytes
    name: bytes
    qualified: bytes

    @classmethod
    def of(cls, private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Key:
        null = writer.u16(writer.ALG_NULL)
        if isinstance(private, rsa.RSAPrivateKey):
            type_ = writer.ALG_RSA
            scheme = writer.tpmt_scheme(writer.SCHEMES["rsassa"], writer.ALG_SHA256)
            parameters = writer.tpms_rsa_parms(symmetric=null, scheme=scheme, key_bits=2048, exponent=0)
            unique = writer.tpm2b(private.public_key().public_numbers().n.to_bytes(256, "big"))
        else:
            type_ = writer.ALG_ECC
            scheme = writer.tpmt_scheme(writer.SCHEMES["ecdsa"], writer.ALG_SHA256)
            parameters = writer.tpms_ecc_parms(symmetric=null, scheme=scheme, curve_id=writer.CURVES["p256"], kdf=null)
            point = private.public_key().public_numbers()
            unique = writer.tpms_ecc_point(point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big"))
        public = writer.tpmt_public(
            type_=type_,
            name_alg=writer.ALG_SHA256,
            object_attributes=writer.AIK_ATTRIBUTES,
            auth_policy=b"",
            parameters=parameters,
            unique=unique,
        )
        name = writer.u16(writer.ALG_SHA256) + hashlib.sha256(public).digest()
        handle = writer.u32(writer.HIERARCHIES["endorsement"])
        return cls(private, public, name, name[:2] + hashlib.sha256(handle + name).digest())

    def sign(self, signed: bytes) -> bytes:
        """Return a TPMT_SIGNATURE over `signed`."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            number = self.private.sign(signed, padding.PKCS1v15(), _HASH)
            return writer.tpmt_signature_rsa(writer.SCHEMES["rsassa"], writer.ALG_SHA256, number)
        r, s = decode_dss_signature(self.private.sign(signed, ec.ECDSA(_HASH)))
        numbers = r.to_bytes(32, "big"), s.to_bytes(32, "big")
        return writer.tpmt_signature_ecc(writer.SCHEMES["ecdsa"], writer.ALG_SHA256, *numbers)


def policy_for(pool: list[bytes]) -> dict[str, Any]:
    """Build the policy, which affirms all records except those with Secure Boot off."""
    return {
        "format": "nomyo-attest-policy/1",
        "id": "benchmark",
        "pcrs": {
            "sha256": {"0": [value.hex() for value in FIRMWARES], "7": [SECURE_BOOT.hex()], "10": "any"},
        },
        "key": {
            "hierarchy": ["endorsement"],
            "trust": "self_asserted",
            "pinned": [key.name.hex() for key in _loaded(tuple(pool))],
        },
        "firmware": {"versions": [f"0x{VERSION:016x}"]},
        "claims": {"security_tier": ["standard", "high", "maximum"]},
    }


def new_pool() -> list[bytes]:
    """Generate the pinned RSA keys, in DER."""
    der, pkcs8, plain = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return [rsa.generate_private_key(65537, 2048).private_bytes(der, pkcs8, plain) for _ in range(PINNED)]


@cache
def _loaded(pool: tuple[bytes, ...]) -> list[Key]:
    keys = []
    for octets in pool:
        private = serialization.load_der_private_key(octets, None)
        assert isinstance(private, rsa.RSAPrivateKey)
        keys.append(Key.of(private))
    return keys


def record(number: int, pool: list[Key]) -> bytes:
    """Generate a response as a line of JSON."""
    pinned = number % PINNED_ONE_IN == 0
    key = pool[number // PINNED_ONE_IN % PINNED] if pinned else Key.of(ec.generate_private_key(ec.SECP256R1()))
    machine = number * 7919 % MACHINES
    values = {
        0: FIRMWARES[number * 31 // MACHINES % 2],
        7: SECURE_BOOT_OFF if number % INSECURE_ONE_IN == 1 else SECURE_BOOT,
        10: _application(machine),
    }
    payload_id = str(uuid.uuid4())
    selection = writer.tpms_pcr_selection(writer.ALG_SHA256, list(values))
    digest = hashlib.sha256(b"".join(values.values())).digest()
    signed = writer.tpms_attest(
        type_=writer.ST_ATTEST_QUOTE,
        qualified_signer=key.qualified,
        extra_data=nonce_of(payload_id),
        clock_info=writer.tpms_clock_info(86_400_000 + 1000 * SECONDS_APART * number, 17, 0, 1),
        firmware_version=VERSION,
        attested=writer.tpms_quote_info(writer.tpml_pcr_selection([selection]), digest),
    )
    block = {
        "is_available": True,
        "pcr_banks": "sha256:0,7,10",
        "pcr_values": {"sha256": {str(index): value.hex() for index, value in values.items()}},
        "quote_b64": base64.b64encode(signed).decode(),
        "signature_b64": base64.b64encode(key.sign(signed)).decode(),
        "aik_pubkey_b64": base64.b64encode(writer.tpm2b(key.public)).decode(),
    }
    tier = ("standard", "high", "maximum")[number % 3]
    at = FIRST + SECONDS_APART * number
    metadata = build_metadata(block, payload_id, tier, processed_at=at)
    return json.dumps(build_response(metadata, payload_id, created=at)).encode() + b"\n"


@cache
def _application(machine: int) -> bytes:
    return _pcr(f"application on machine {machine}")


def _batch(batch: tuple[int, int, list[bytes]]) -> bytes:
    first, last, pool = batch
    keys = _loaded(tuple(pool))
    return b"".join(record(number, keys) for number in range(first, last))


def write_records(records: int, path: Path, policy: Path) -> None:
    """Write the records atomically, and the policy."""
    pool = new_pool()
    document = policy_for(pool)
    check(pool, document)
    temporary = path.with_name(f"{path.name}.tmp")
    began = time.monotonic()
    batches: Iterator[tuple[int, int, list[bytes]]] = (
        (first, min(first + BATCH, records), pool) for first in range(0, records, BATCH)
    )
    with get_context("spawn").Pool(len(os.sched_getaffinity(0))) as processes, temporary.open("wb") as file:
        done = 0
        for lines in processes.imap(_batch, batches):
            file.write(lines)
            done = min(done + BATCH, records)
            if sys.stderr.isatty():
                print(f"\r{done:,} of {records:,} records", end="", file=sys.stderr, flush=True)
    print(f"\r{records:,} records generated in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    policy.write_text(json.dumps(document, indent=1), encoding="utf-8")
    temporary.replace(path)


def check(pool: list[bytes], document: dict[str, Any]) -> None:
    """Check that the first records are affirmed, except those with Secure Boot off."""
    policy = na.AppraisalPolicy.from_dict(document)
    keys = _loaded(tuple(pool))
    for number in (*range(20), INSECURE_ONE_IN + 1):
        result = na.appraise(record(number, keys), policy)
        expected = ("pcr.values",) if number % INSECURE_ONE_IN == 1 else ()
        if result.failed != expected or result.undecided:
            raise SystemExit(
                f"record {number}: expected failed {expected}, got {result.failed}, undecided {result.undecided}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=int)
    parser.add_argument("path", type=Path)
    parser.add_argument("policy", type=Path)
    arguments = parser.parse_args()
    write_records(arguments.records, arguments.path, arguments.policy)


if __name__ == "__main__":
    main()
