"""A soft TPM whose responses are valid, or wrong in exactly the way that you choose.

::

    forge = Forge(key="p256", selection="sha256:0,7+sha384:0")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    na.appraise(forge.response(), policy)                                  # affirming
    forge.tamper("pcr_digest", lambda digest: bytes(len(digest)))
    na.appraise(forge.response(), policy)                                  # contraindicated, by pcr.digest alone

A response is built in the stages of `STAGES`, each from the earlier ones, so a change affects all later stages: a
tampered quote is signed, and a tampered public area has the matching Name.

FOR TESTS ONLY: the keys are public (see `keys`), and this evidence says nothing about any machine. A Verifier whose
policy accepts `self_asserted` keys affirms it, which shows how little such a key proves.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from nomyo_attest.testing import keys, writer
from nomyo_attest.testing.aik import SoftAIK
from nomyo_attest.testing.keys import ForgeError
from nomyo_attest.testing.writer import HASHES

Banks = dict[str, dict[int, bytes]]
"""Bank name → PCR index → value."""

# The events that the machine measures when it boots, after TCG PC Client Platform Firmware Profile, 3.3.4, "PCR usage".
_EVENTS: dict[int, tuple[bytes, ...]] = {
    0: (b"firmware 2.4",),
    1: (b"set-up data",),
    2: (b"option ROM",),
    3: (b"option ROM data",),
    4: (b"boot loader",),
    5: (b"partition table",),
    6: (b"maker",),
    7: (b"Secure Boot on", b"db 2026-10"),
    10: (b"boot aggregate", b"application"),
}


def extend(bank: str, value: bytes, event: bytes) -> bytes:
    """Return the value of a PCR after TPM2_PCR_Event: H(old value, H(event)) with the hash of the bank."""
    return hashlib.new(bank, value + hashlib.new(bank, event).digest()).digest()


def booted() -> Banks:
    """Return PCRs 0 to 23 of every bank after a boot; PCRs 17 to 22 are all ones, as before a dynamic launch."""
    return {bank: dict(values) for bank, values in _booted().items()}


@functools.cache
def _booted() -> Banks:
    banks: Banks = {}
    for bank in HASHES:
        size = hashlib.new(bank).digest_size
        values = {index: (b"\xff" if 17 <= index <= 22 else b"\x00") * size for index in range(24)}
        for index, events in _EVENTS.items():
            for event in events:
                values[index] = extend(bank, values[index], event)
        banks[bank] = values
    return banks


def selected_pcrs(selection: str) -> list[tuple[str, list[int]]]:
    """Parse ``"sha256:0,7+sha384:0"`` as ``[("sha256", [0, 7]), ("sha384", [0])]``. Raises `ForgeError`."""
    banks = []
    for part in selection.split("+"):
        bank, _, indices = part.partition(":")
        if bank not in HASHES or not all(index.isdecimal() and int(index) < 24 for index in indices.split(",")):
            raise ForgeError("selection", "banks and PCR indices as in sha256:0,7+sha384:0", repr(selection))
        banks.append((bank, [int(index) for index in indices.split(",")]))
    return banks


CREATED: Final = 1767225600
"""The default time of a forged response, in seconds since 1970: 2026-01-01T00:00:00Z."""


def nonce_of(payload_id: str) -> bytes:
    """Compute the quote's extraData as the service does: the first 16 bytes of SHA-256 over the payload id."""
    return hashlib.sha256(payload_id.encode()).digest()[:16]


def build_metadata(
    block: Any, payload_id: str, security_tier: str, *, processed_at: int = CREATED, device: str = "some GPU"
) -> dict[str, Any]:
    """Build a `_metadata` object that contains a `tpm_attestation` object and the server's claims about itself."""
    return {
        "payload_id": payload_id,
        "processed_at": processed_at,
        "is_encrypted": True,
        "response_status": "success",
        "security_tier": security_tier,
        "memory_protection": {
            "platform": "linux",
            "memory_locking": True,
            "secure_zeroing": True,
            "core_dump_prevention": True,
        },
        "cuda_device": {"available": True, "device_hash": hashlib.sha256(device.encode()).hexdigest()},
        "tpm_attestation": block,
    }


def build_response(metadata: Any, payload_id: str, *, created: int = CREATED) -> dict[str, Any]:
    """Build a whole response that contains a `_metadata` object."""
    return {
        "id": f"chatcmpl-{hashlib.sha256(payload_id.encode()).hexdigest()[:12]}",
        "object": "chat.completion",
        "created": created,
        "model": "forge/echo-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "_metadata": metadata,
    }


Change = Callable[[Any], Any]
"""A function of the output of a stage that returns its replacement."""

STAGES: Final = {
    "public": "bytes of TPMT_PUBLIC; the Name is computed from them",
    "name": "bytes of the key's Name",
    "qualified_signer": "bytes",
    "extra_data": "bytes",
    "selections": "list of (bank name or TPM_ALG_ID, indices) to sign; the PCR digest is computed over them",
    "pcr_select": "bytes of TPML_PCR_SELECTION",
    "pcr_digest": "bytes",
    "attested": "bytes of the TPMU_ATTEST",
    "attest": "bytes of TPMS_ATTEST; they are signed",
    "signed": "bytes to sign, if different from those of TPMS_ATTEST",
    "signature": "bytes of TPMT_SIGNATURE",
    "quote_blob": "bytes behind quote_b64, framed",
    "key_blob": "bytes behind aik_pubkey_b64, framed",
    "pcr_banks": "the selection as text",
    "pcr_values": "dict of bank → dict of index → hex",
    "tpm_attestation": "dict",
    "_metadata": "dict",
    "response": "dict",
    "text": "the response as JSON text",
}
"""Every stage in order, with its output."""


@dataclass(frozen=True)
class ForgedResponse:
    """The parts of one forged response after tampering: unframed structures, the response, and its JSON text."""

    public: bytes
    name: bytes
    qualified_signer: bytes
    attest: bytes
    signature: bytes
    key_blob: bytes
    response: Any
    text: str


@dataclass
class Forge(SoftAIK):
    """The configuration of the soft TPM and of the request; `SoftAIK` defines the fields of the key.

    Fields can be changed at any time: each response is built from their current values.
    """

    payload_id: str = "6f1c8a52-0d3e-4b7a-9c45-2e8f7d10b364"
    nonce: bytes | None = None
    """The qualifying data; None for SHA-256(payload_id)[:16]."""

    selection: str = "sha256:0,7,10"
    """The quoted PCRs in the format of `pcr_banks`; several banks are joined by ``+``."""
    pcrs: Banks = field(default_factory=booted)
    """Every PCR of the TPM: bank → index → value."""

    magic: int = writer.TPM_GENERATED_VALUE
    attest_type: int = writer.ST_ATTEST_QUOTE
    clock: int = 86_400_000
    """The TPM's clock, in milliseconds."""
    reset_count: int = 17
    restart_count: int = 0
    safe: int = 1
    firmware_version: int = 0x2024012500120000
    sized_quote: bool = False
    """Send TPM2B_ATTEST instead of TPMS_ATTEST."""
    sized_key: bool = True
    """Send TPM2B_PUBLIC instead of TPMT_PUBLIC."""
    security_tier: str = "high"
    processed_at: int = CREATED
    """The time of the response, in seconds since 1970."""
    device: str = "some GPU"
    """The text whose hash is the server's `device_hash` claim."""

    _changes: list[tuple[str, Change]] = field(default_factory=list, init=False, repr=False)

    def tamper(self, stage: str, change: Change) -> Forge:
        """Change the output of a stage of `STAGES`, after earlier changes. Returns itself. Raises `ForgeError`."""
        if stage not in STAGES:
            raise ForgeError("stage", f"one of {', '.join(STAGES)}", repr(stage))
        self._changes.append((stage, change))
        return self

    def measure(self, index: int, event: bytes) -> Forge:
        """Extend one PCR of every bank with an event, like a machine that boots different code. Returns itself."""
        for bank, values in self.pcrs.items():
            if index not in values:
                raise ForgeError("index", "a PCR from 0 to 23", repr(index))
            values[index] = extend(bank, values[index], event)
        return self

    def response(self) -> Any:
        """Build the response as the service sends it: a dict, unless a change replaced it. Raises `ForgeError`."""
        return self.build().response

    def text(self) -> str:
        """Build the response as JSON text."""
        return self.build().text

    def policy(self) -> dict[str, Any]:
        """Return a policy that the valid response satisfies: its PCR values and hierarchy, and SHA-1 if used."""
        selected = selected_pcrs(self.selection)
        policy: dict[str, Any] = {
            "format": "nomyo-attest-policy/1",
            "id": "forge",
            "description": "Reference values of the soft TPM. For tests only.",
            "pcrs": {bank: {str(i): [self.pcrs[bank][i].hex()] for i in indices} for bank, indices in selected},
        }
        if self.hierarchy is not None:
            policy["key"] = {"hierarchy": [self.hierarchy]}
        if self.hash_alg == "sha1":
            policy["signature"] = {"hashes": ["sha1", "sha256"]}
        if any(bank == "sha1" for bank, _ in selected):
            policy["bank"] = {"hashes": ["sha1", "sha256", "sha384", "sha512"]}
        return policy

    def build(self) -> ForgedResponse:
        """Build the response, stage by stage. Raises `ForgeError`."""
        self._check_aik()
        public = self._stage("public", self._public_area())
        name = self._stage("name", self._name_of(public))
        qualified_signer = self._stage("qualified_signer", self._qualified(name))
        attest = self._attest(qualified_signer)
        signature = self._stage("signature", self._sign(self._stage("signed", attest)))
        key_blob = self._stage("key_blob", writer.tpm2b(public) if self.sized_key else public)
        block = {
            "is_available": True,
            "pcr_banks": self._stage("pcr_banks", self.selection),
            "pcr_values": self._stage("pcr_values", self._values()),
            "quote_b64": _b64(self._stage("quote_blob", writer.tpm2b(attest) if self.sized_quote else attest)),
            "signature_b64": _b64(signature),
            "aik_pubkey_b64": _b64(key_blob),
        }
        metadata = build_metadata(
            self._stage("tpm_attestation", block),
            self.payload_id,
            self.security_tier,
            processed_at=self.processed_at,
            device=self.device,
        )
        built = build_response(self._stage("_metadata", metadata), self.payload_id, created=self.processed_at)
        response = self._stage("response", built)
        text = self._stage("text", json.dumps(response))
        return ForgedResponse(public, name, qualified_signer, attest, signature, key_blob, response, text)

    def _stage(self, stage: str, output: Any) -> Any:
        for name, change in self._changes:
            if name == stage:
                output = change(output)
        return output

    def _attest(self, qualified_signer: bytes) -> bytes:
        nonce = nonce_of(self.payload_id) if self.nonce is None else self.nonce
        selections = self._stage("selections", selected_pcrs(self.selection))
        select = writer.tpml_pcr_selection(
            [writer.tpms_pcr_selection(writer.HASHES.get(bank, bank), indices) for bank, indices in selections]
        )
        values = (self.pcrs[b][i] for b, indices in selections for i in sorted(indices) if i in self.pcrs.get(b, {}))
        pcr_digest = self._stage("pcr_digest", keys.digest(self.hash_alg, b"".join(values)))
        quote_info = writer.tpms_quote_info(self._stage("pcr_select", select), pcr_digest)
        attest = writer.tpms_attest(
            magic=self.magic,
            type_=self.attest_type,
            qualified_signer=qualified_signer,
            extra_data=self._stage("extra_data", nonce),
            clock_info=writer.tpms_clock_info(self.clock, self.reset_count, self.restart_count, self.safe),
            firmware_version=self.firmware_version,
            attested=self._stage("attested", quote_info),
        )
        return bytes(self._stage("attest", attest))

    def _values(self) -> dict[str, dict[str, str]]:
        return {
            bank: {str(index): self.pcrs[bank][index].hex() for index in indices}
            for bank, indices in selected_pcrs(self.selection)
        }


def _b64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
