"""All kinds of valid evidence; a strict Verifier must affirm each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nomyo_attest.testing import writer
from nomyo_attest.testing.faults.model import (
    Arguments,
    Case,
    Policy,
    Tamper,
    accept_any_pcr_10,
    at,
    block,
    drop_key,
    forge_with,
    metadata,
    pins_only,
    unchanged,
)
from nomyo_attest.testing.faults.quote import FIRMWARE
from nomyo_attest.testing.forge import Forge

View = Callable[[Any], Any]


def whole_response(response: Any) -> Any:
    """Return the whole response."""
    return response


@dataclass(frozen=True)
class Variant:
    """Valid evidence of one kind.

    Attributes:
        name: a slug; the vector's file is named after it.
        reason: one sentence: what distinguishes it.
        base: creates the forge.
        tamper: changes the forge in a harmless way.
        policy: changes the policy that the forge satisfies.
        view: selects the part of the response to appraise.
        arguments: see `Case`.
        as_text: whether to appraise the JSON text instead of a dict.
    """

    name: str
    reason: str
    base: Callable[[], Forge] = Forge
    tamper: Tamper = unchanged
    policy: Callable[[Policy], object] = unchanged
    view: View = whole_response
    arguments: Arguments = field(default_factory=Arguments)
    as_text: bool = False

    def case(self) -> Case:
        """Build the case."""
        forge = self.base()
        policy = forge.policy()
        self.policy(policy)
        self.tamper(forge)
        built = forge.build()
        return Case(policy, built.text if self.as_text else self.view(built.response), self.arguments)


def variant(name: str, reason: str, **fields: Any) -> Variant:
    """A variant whose forge has these fields."""
    return Variant(name, reason, forge_with(**fields))


def signatures() -> Iterator[Variant]:
    """Key types, schemes, hashes, and encodings of the signature's numbers."""
    schemes = {"rsa2048": ("rsassa", "rsapss"), "rsa3072": ("rsassa", "rsapss"), "rsa4096": ("rsassa", "rsapss")}
    for key in ("rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"):
        for scheme in schemes.get(key, ("ecdsa",)):
            for hash_alg in ("sha256", "sha384", "sha512"):
                name, reason = f"{key}-{scheme}-{hash_alg}", f"{key} signs with {scheme} and {hash_alg}."
                yield variant(name, reason, key=key, scheme=scheme, hash_alg=hash_alg)
    reason = "The salt is as long as the digest, as with some TPMs; in the other variants it has the maximum length."
    for hash_alg, size in (("sha256", 32), ("sha384", 48), ("sha512", 64)):
        yield variant(f"rsapss-digest-salt-{hash_alg}", reason, scheme="rsapss", hash_alg=hash_alg, salt_size=size)
    for key in ("rsa2048", "p256"):
        yield variant(f"sha1-signature-{key}", "A SHA-1 signature, which this policy allows.", key=key, hash_alg="sha1")
    for key in ("p256", "p384", "p521"):
        for number in ("r", "s"):
            fields = {"key": key, "short_number": number}
            reason = f"{number} begins with a zero byte, and is padded to the size of the curve."
            yield variant(f"{key}-short-{number}-padded", reason, **fields)
            reason = f"{number} begins with a zero byte, and is written without it."
            yield variant(f"{key}-short-{number}-stripped", reason, stripped=True, **fields)


def keys() -> Iterator[Variant]:
    """Public areas."""
    reason = "The exponent field is 65537 instead of 0, which means the same."
    yield variant("exponent-65537", reason, exponent_field=65537)
    yield variant("exponent-65539", "The exponent is 65539, an odd number above 65537.", exponent=65539)
    for name_alg in ("sha384", "sha512"):
        yield variant(f"name-{name_alg}", f"The key's Name uses {name_alg}.", name_alg=name_alg)
    yield variant("auth-policy", "The key has an authorization policy.", auth_policy=b"\xa5" * 32)
    attributes = {"no-da": writer.NO_DA, "admin-with-policy": writer.ADMIN_WITH_POLICY, "st-clear": writer.ST_CLEAR}
    for name, bit in attributes.items():
        reason = f"The key also has the attribute {name}, which does not weaken the quote."
        yield variant(f"attributes-{name}", reason, attributes=writer.AIK_ATTRIBUTES | bit)
    for hierarchy in ("owner", "platform", "null"):
        reason = f"A primary key of the {hierarchy} hierarchy, which the policy names."
        yield variant(f"hierarchy-{hierarchy}", reason, hierarchy=hierarchy)
    yield variant("hierarchy-child", "A child of another key; the policy does not require a hierarchy.", hierarchy=None)
    yield Variant(
        "hierarchy-of-two",
        "A primary key of one of the two hierarchies that the policy names.",
        forge_with(hierarchy="owner"),
        policy=lambda policy: policy["key"].update(hierarchy=["endorsement", "owner"]),
    )
    for quote in ("tpms", "tpm2b"):
        for public in ("tpmt", "tpm2b"):
            reason = "The quote and the key are sent with or without a preceding size field."
            sized = {"sized_quote": quote == "tpm2b", "sized_key": public == "tpm2b"}
            yield variant(f"framing-{quote}-{public}", reason, **sized)
    yield Variant("pinned", "The policy pins this AIK and a second one.", policy=_pins_both)
    larger = forge_with(key="rsa3072")
    reason = "The policy requires RSA-3072."
    yield Variant("rsa-min-bits", reason, larger, policy=lambda policy: policy["key"].update(rsa_min_bits=3072))


def banks() -> Iterator[Variant]:
    """Banks and selections."""
    for name, selection in (
        ("one-pcr", "sha256:7"),
        ("unordered", "sha256:10,7,0"),
        ("all", "sha256:" + ",".join(map(str, range(24)))),
        ("sha384", "sha384:0,7,10"),
        ("sha512", "sha512:0,7,10"),
        ("sha1", "sha1:0,7,10"),
        ("two", "sha256:0,7+sha384:0,7"),
        ("two-reversed", "sha384:0+sha256:7,10"),
        ("three", "sha1:0+sha256:0+sha384:0"),
        ("four", "sha1:0+sha256:0+sha384:0+sha512:0"),
    ):
        yield variant(f"banks-{name}", f"{selection} under a SHA-256 signature.", selection=selection)
    yield variant("banks-under-sha384", "The PCR digest uses SHA-384, the bank SHA-256.", hash_alg="sha384")
    yield Variant(
        "banks-order",
        "pcr_banks lists the banks in a different order from the signed selection, which determines the digest.",
        forge_with(selection="sha256:0,7+sha384:0"),
        at("selections", lambda signed: signed[::-1]),
    )
    reason = "The request named a bank that the TPM does not have: the bank is signed without PCRs and not reported."
    prepended = at("selections", lambda signed: [("sha1", []), *signed])
    yield Variant("banks-unallocated-first", reason, tamper=prepended)
    appended = at("selections", lambda signed: [*signed, ("sha1", [])])
    yield Variant("banks-unallocated-last", reason, tamper=appended)
    yield Variant(
        "banks-sha1-beside",
        "A SHA-1 bank is quoted beside the SHA-256 bank, and no reference value relies on it.",
        forge_with(selection="sha1:0,7+sha256:0,7,10"),
        policy=lambda policy: (policy.pop("bank"), policy["pcrs"].pop("sha1")),
    )


def references() -> Iterator[Variant]:
    """Ways to write reference values."""
    for name, reason, policy in (
        ("some", "Only PCR 7 is pinned.", pins_only("7")),
        ("any", "PCR 10 must be signed, but may have any value.", accept_any_pcr_10),
        ("several", "PCR 0 has several reference values.", _several),
        ("labeled", "The reference values have labels.", _labels),
        ("upper-case", "The reference values are in upper case.", _upper_case),
        ("none", "The policy explicitly accepts any PCR values.", pins_only("")),
    ):
        yield Variant(f"values-{name}", reason, policy=policy)


def requirements() -> Iterator[Variant]:
    """Other requirements of a policy."""
    for hierarchy in ("endorsement", "platform"):
        yield Variant(
            f"firmware-{hierarchy}",
            f"The TPM's firmware is listed, and the {hierarchy} hierarchy does not obfuscate it.",
            forge_with(hierarchy=hierarchy),
            policy=lambda policy: policy.update(firmware={"versions": ["0x1", FIRMWARE]}),
        )
    claims = {
        "security_tier": ["high", "maximum"],
        "memory_protection.memory_locking": [True],
        "cuda_device.available": [True],
    }
    reason = "The server's claims meet the policy."
    yield Variant("claims", reason, policy=lambda policy: policy.update(claims=claims))
    january = {"valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-01-31T00:00:00Z"}
    yield Variant(
        "period",
        "The policy is valid at the time of the appraisal.",
        policy=lambda policy: policy.update(january),
        arguments={"now": datetime.fromisoformat("2026-01-31T00:30:00+01:00")},
    )


def nonces() -> Iterator[Variant]:
    """Payload ids and nonces."""
    passed = Arguments(payload_id=Forge().payload_id)
    yield Variant(
        "payload-id-passed", "The caller passes the payload id, and it matches the recorded one.", arguments=passed
    )
    yield Variant(
        "payload-id-not-recorded",
        "The caller passes the payload id, and the response does not contain it.",
        tamper=metadata(drop_key("payload_id")),
        arguments=passed,
    )
    reason = "A payload id with non-ASCII characters is hashed as UTF-8."
    yield variant("payload-id-unicode", reason, payload_id="Anfrage-\u00fc-\U0001f511")
    for size in (8, 20, 32, 64):
        nonce, reason = bytes(range(size)), f"The caller passes a nonce of {size} bytes."
        yield Variant(f"nonce-{size}", reason, forge_with(nonce=nonce), arguments={"nonce": nonce})
    yield Variant(
        "nonce-any",
        "The payload id is unknown, and the policy explicitly accepts any nonce.",
        policy=lambda policy: policy.update(unsafe_any_nonce=True),
        view=_block,
    )


def views() -> Iterator[Variant]:
    """Parts of a response that can be appraised, and unknown fields beside the evidence."""
    yield Variant("view-text", "The response as JSON text.", as_text=True)
    yield Variant("view-metadata", "The _metadata alone.", view=lambda response: response["_metadata"])
    passed = Arguments(payload_id=Forge().payload_id)
    yield Variant(
        "view-block", "The tpm_attestation alone; the caller passes the payload id.", view=_block, arguments=passed
    )
    unknown = {"event_log_b64": "AAAA", "quote": None}
    reason = "The block has unknown fields, which are ignored."
    yield Variant("view-unknown-fields", reason, tamper=block(lambda fields: fields | unknown))
    reason = "The keys of the block are in another order."
    yield Variant("view-order", reason, tamper=block(lambda fields: dict(reversed(fields.items()))))
    reason = "A duplicate key in the completion, which is ignored."
    duplicate = at("text", lambda text: text.replace('"role": ', '"role": "user", "role": ', 1))
    yield Variant("view-duplicate-key-in-completion", reason, tamper=duplicate, as_text=True)


def _block(response: Any) -> Any:
    return response["_metadata"]["tpm_attestation"]


def _pins_both(policy: Policy) -> None:
    names = [Forge(label=label).build().name.hex() for label in ("other", "aik")]
    policy["key"].update(trust="pinned_aik", pinned=names)


def _several(policy: Policy) -> None:
    policy["pcrs"]["sha256"]["0"] += ["5a" * 32, "a5" * 32]


def _labels(policy: Policy) -> None:
    for index, values in policy["pcrs"]["sha256"].items():
        policy["pcrs"]["sha256"][index] = [{"value": value, "label": "firmware 2.4"} for value in values]


def _upper_case(policy: Policy) -> None:
    for index, values in policy["pcrs"]["sha256"].items():
        policy["pcrs"]["sha256"][index] = [value.upper() for value in values]


VARIANTS = (*signatures(), *keys(), *banks(), *references(), *requirements(), *nonces(), *views())
"""All variants. Names are unique."""
