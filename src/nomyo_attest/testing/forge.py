"""A soft TPM whose answer is right in every way, or wrong in exactly the one you name.

::

    forge = Forge(key="p256", selection="sha256:0,7+sha384:0")
    policy = na.AppraisalPolicy.from_dict(forge.policy())
    na.appraise(forge.response(), policy)                                  # affirming
    forge.tamper("pcr_digest", lambda digest: bytes(len(digest)))
    na.appraise(forge.response(), policy)                                  # contraindicated, by pcr.digest alone

What is made flows through the stages of `STAGES`, each from those before it, so a change keeps everything behind it
right: a tampered quote is signed as it is, a tampered public area has its own Name.

FOR TESTS ONLY: the keys are known to everybody (see `keys`), and evidence made here says nothing about any machine. It
is good evidence all the same to a Verifier that asks for no more than a `self_asserted` key: that is what such a key is
worth.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from nomyo_attest.testing import keys, writer
from nomyo_attest.testing.aik import SoftAIK
from nomyo_attest.testing.errors import ForgeError
from nomyo_attest.testing.pcrs import Banks, booted, extend, parse_selection
from nomyo_attest.testing.response import CREATED, metadata_around, nonce_of, response_around

Change = Callable[[Any], Any]
"""Takes what a stage made, returns what to use instead."""

STAGES: Final = {
    "public": "bytes of TPMT_PUBLIC; the Name is taken of them",
    "name": "bytes of the key's Name",
    "qualified_signer": "bytes",
    "extra_data": "bytes",
    "selections": "list of (bank name or TPM_ALG_ID, indices) to be signed; the PCR digest is taken over them",
    "pcr_select": "bytes of TPML_PCR_SELECTION",
    "pcr_digest": "bytes",
    "attested": "bytes of the TPMU_ATTEST",
    "attest": "bytes of TPMS_ATTEST; they are signed",
    "signed": "bytes that the signature is made over, if not those of TPMS_ATTEST",
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
"""Every stage in order, with what it hands on."""


@dataclass(frozen=True)
class Answer:
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
    """What the soft TPM is, and what it is asked; the fields of its key are those of `SoftAIK`.

    Every field may be changed at any time: each answer is made afresh.
    """

    payload_id: str = "6f1c8a52-0d3e-4b7a-9c45-2e8f7d10b364"
    nonce: bytes | None = None
    """The qualifying data; None for SHA-256(payload_id)[:16]."""

    selection: str = "sha256:0,7,10"
    """What is quoted, as `pcr_banks` has it; several banks joined by ``+``."""
    pcrs: Banks = field(default_factory=booted)
    """Every PCR of the TPM: bank → index → value."""

    magic: int = writer.TPM_GENERATED_VALUE
    attest_type: int = writer.ST_ATTEST_QUOTE
    clock: int = 86_400_000
    """Milliseconds."""
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
    """When the answer was made, in seconds since 1970."""
    device: str = "some GPU"
    """What the server's claim of a GPU is a hash of."""

    _changes: list[tuple[str, Change]] = field(default_factory=list, init=False, repr=False)

    def tamper(self, stage: str, change: Change) -> Forge:
        """Change what a stage of `STAGES` makes, after earlier changes of it. Returns itself. Raises `ForgeError`."""
        if stage not in STAGES:
            raise ForgeError("stage", f"one of {', '.join(STAGES)}", repr(stage))
        self._changes.append((stage, change))
        return self

    def measure(self, index: int, event: bytes) -> Forge:
        """Extend one PCR of every bank with an event, as a machine that boots otherwise does. Returns itself."""
        for bank, values in self.pcrs.items():
            if index not in values:
                raise ForgeError("index", "a PCR from 0 to 23", repr(index))
            values[index] = extend(bank, values[index], event)
        return self

    def response(self) -> Any:
        """The answer in the service's response form: a dict, unless a change made it otherwise. Raises `ForgeError`."""
        return self.answer().response

    def text(self) -> str:
        """The answer as JSON text."""
        return self.answer().text

    def policy(self) -> dict[str, Any]:
        """A policy that the untampered answer satisfies: its PCR values, its hierarchy, SHA-1 where it uses that."""
        selected = parse_selection(self.selection)
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

    def answer(self) -> Answer:
        """Make the answer, stage by stage. Raises `ForgeError`."""
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
        metadata = metadata_around(
            self._stage("tpm_attestation", block),
            self.payload_id,
            self.security_tier,
            processed_at=self.processed_at,
            device=self.device,
        )
        around = response_around(self._stage("_metadata", metadata), self.payload_id, created=self.processed_at)
        response = self._stage("response", around)
        text = self._stage("text", json.dumps(response))
        return Answer(public, name, qualified_signer, attest, signature, key_blob, response, text)

    def _stage(self, stage: str, made: Any) -> Any:
        for name, change in self._changes:
            if name == stage:
                made = change(made)
        return made

    def _attest(self, qualified_signer: bytes) -> bytes:
        nonce = nonce_of(self.payload_id) if self.nonce is None else self.nonce
        selections = self._stage("selections", parse_selection(self.selection))
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
            for bank, indices in parse_selection(self.selection)
        }


def _b64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
