"""The kinds of valid evidence, which a strict Verifier must affirm."""

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
    any_ten,
    at,
    block,
    drop_key,
    forge_with,
    metadata,
    nothing,
    pins_only,
)
from nomyo_attest.testing.faults.quote import FIRMWARE
from nomyo_attest.testing.forge import Forge

View = Callable[[Any], Any]


def whole(response: Any) -> Any:
    """Return the whole response."""
    return response


@dataclass(frozen=True)
class Variant:
    """Valid evidence of one kind.

    Attributes:
        name: a slug; the vector's file is named after it.
        reason: one sentence: what is particular about it.
        base: makes the soft TPM.
        tamper: changes it in a way that does no harm.
        policy: changes the policy that it satisfies.
        view: selects the part of the response to appraise.
        arguments: see `Case`.
        as_text: appraise the JSON text.
    """

    name: str
    reason: str
    base: Callable[[], Forge] = Forge
    tamper: Tamper = nothing
    policy: Callable[[Policy], object] = nothing
    view: View = whole
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


def made(name: str, reason: str, **fields: Any) -> Variant:
    """A variant whose forge has these fields."""
    return Variant(name, reason, forge_with(**fields))


def signatures() -> Iterator[Variant]:
    """Types of keys, schemes, hashes, and encodings of the numbers."""
    schemes = {"rsa2048": ("rsassa", "rsapss"), "rsa3072": ("rsassa", "rsapss"), "rsa4096": ("rsassa", "rsapss")}
    for key in ("rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"):
        for scheme in schemes.get(key, ("ecdsa",)):
            for hash_alg in ("sha256", "sha384", "sha512"):
                name, reason = f"{key}-{scheme}-{hash_alg}", f"{key} signs with {scheme} and {hash_alg}."
                yield made(name, reason, key=key, scheme=scheme, hash_alg=hash_alg)
    reason = "The salt is as long as the digest, as some TPMs have it; elsewhere it is the largest."
    for hash_alg, size in (("sha256", 32), ("sha384", 48), ("sha512", 64)):
        yield made(f"rsapss-digest-salt-{hash_alg}", reason, scheme="rsapss", hash_alg=hash_alg, salt_size=size)
    for key in ("rsa2048", "p256"):
        yield made(f"sha1-signature-{key}", "A SHA-1 signature, which this policy allows.", key=key, hash_alg="sha1")
    for key in ("p256", "p384", "p521"):
        for number in ("r", "s"):
            fields = {"key": key, "short_number": number}
            reason = f"{number} begins with a zero byte, and is padded to the size of the curve."
            yield made(f"{key}-short-{number}-padded", reason, **fields)
            reason = f"{number} begins with a zero byte, and is written without it."
            yield made(f"{key}-short-{number}-stripped", reason, stripped=True, **fields)


def keys() -> Iterator[Variant]:
    """Public areas."""
    reason = "The exponent is written out; elsewhere it is 0, which means the same."
    yield made("exponent-65537", reason, exponent_field=65537)
    yield made("exponent-65539", "An odd exponent above 65537.", exponent=65539)
    for name_alg in ("sha384", "sha512"):
        yield made(f"name-{name_alg}", f"The key's Name is of {name_alg}.", name_alg=name_alg)
    yield made("auth-policy", "The key has an authorisation policy.", auth_policy=b"\xa5" * 32)
    attributes = {"no-da": writer.NO_DA, "admin-with-policy": writer.ADMIN_WITH_POLICY, "st-clear": writer.ST_CLEAR}
    for name, bit in attributes.items():
        reason = f"The key has the attribute {name} besides, which takes nothing from the quote."
        yield made(f"attributes-{name}", reason, attributes=writer.AIK_ATTRIBUTES | bit)
    for hierarchy in ("owner", "platform", "null"):
        reason = f"A primary key of the {hierarchy} hierarchy, which the policy names."
        yield made(f"hierarchy-{hierarchy}", reason, hierarchy=hierarchy)
    yield made("hierarchy-child", "A child of another key, under a policy that asks for no hierarchy.", hierarchy=None)
    yield Variant(
        "hierarchy-of-two",
        "A primary key of one of the two hierarchies that the policy names.",
        forge_with(hierarchy="owner"),
        policy=lambda policy: policy["key"].update(hierarchy=["endorsement", "owner"]),
    )
    for quote in ("tpms", "tpm2b"):
        for public in ("tpmt", "tpm2b"):
            reason = "Quote and key come with or without a size in front of them."
            sized = {"sized_quote": quote == "tpm2b", "sized_key": public == "tpm2b"}
            yield made(f"framing-{quote}-{public}", reason, **sized)
    yield Variant("pinned", "The policy pins this AIK, and another.", policy=_pins_both)
    larger = forge_with(key="rsa3072")
    reason = "The policy asks for RSA-3072."
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
        ("two-falling", "sha384:0+sha256:7,10"),
        ("three", "sha1:0+sha256:0+sha384:0"),
        ("four", "sha1:0+sha256:0+sha384:0+sha512:0"),
    ):
        yield made(f"banks-{name}", f"{selection} under a SHA-256 signature.", selection=selection)
    yield made("banks-under-sha384", "The PCR digest is of SHA-384, the bank of SHA-256.", hash_alg="sha384")
    yield Variant(
        "banks-order",
        "The text lists the banks in another order than the signed one, which is what the digest goes by.",
        forge_with(selection="sha256:0,7+sha384:0"),
        at("selections", lambda signed: signed[::-1]),
    )
    reason = "A bank that the TPM does not have was asked for: it is signed with no PCR in it, and not reported."
    first = at("selections", lambda signed: [("sha1", []), *signed])
    yield Variant("banks-unallocated-before", reason, tamper=first)
    yield Variant("banks-unallocated-behind", reason, tamper=at("selections", lambda signed: [*signed, ("sha1", [])]))
    yield Variant(
        "banks-sha1-beside",
        "A SHA-1 bank is quoted beside the SHA-256 bank, and no reference value relies on it.",
        forge_with(selection="sha1:0,7+sha256:0,7,10"),
        policy=lambda policy: (policy.pop("bank"), policy["pcrs"].pop("sha1")),
    )


def references() -> Iterator[Variant]:
    """Ways to write reference values."""
    for name, reason, policy in (
        ("some", "PCR 7 alone is pinned.", pins_only("7")),
        ("any", "PCR 10 must be signed, whatever its value.", any_ten),
        ("several", "Several values are known for PCR 0.", _several),
        ("labelled", "The reference values have labels.", _labels),
        ("upper-case", "The reference values are in upper case.", _upper_case),
        ("none", "The policy explicitly accepts any PCR values.", pins_only("")),
    ):
        yield Variant(f"values-{name}", reason, policy=policy)


def demands() -> Iterator[Variant]:
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
    given = Arguments(payload_id=Forge().payload_id)
    yield Variant("payload-id-given", "The payload id is given and matches the recorded one.", arguments=given)
    yield Variant(
        "payload-id-not-recorded",
        "The payload id is given, and the response does not contain it.",
        tamper=metadata(drop_key("payload_id")),
        arguments=given,
    )
    reason = "A payload id with non-ASCII characters is hashed as UTF-8."
    yield made("payload-id-unicode", reason, payload_id="Anfrage-\u00fc-\U0001f511")
    for size in (8, 20, 32, 64):
        nonce, reason = bytes(range(size)), f"A nonce of {size} bytes is given."
        yield Variant(f"nonce-{size}", reason, forge_with(nonce=nonce), arguments={"nonce": nonce})
    yield Variant(
        "nonce-any",
        "The payload id is unknown, and the policy explicitly accepts any nonce.",
        policy=lambda policy: policy.update(unsafe_any_nonce=True),
        view=_block,
    )


def views() -> Iterator[Variant]:
    """Parts of a response that can be appraised, and fields that may be beside the evidence."""
    yield Variant("view-text", "The response as JSON text.", as_text=True)
    yield Variant("view-metadata", "The _metadata alone.", view=lambda response: response["_metadata"])
    given = Arguments(payload_id=Forge().payload_id)
    yield Variant("view-block", "The tpm_attestation alone, with the payload id given.", view=_block, arguments=given)
    beside = {"event_log_b64": "AAAA", "quote": None}
    reason = "The block has unknown fields, which are ignored."
    yield Variant("view-fields-beside", reason, tamper=block(lambda fields: fields | beside))
    reason = "The keys of the block are in another order."
    yield Variant("view-order", reason, tamper=block(lambda fields: dict(reversed(fields.items()))))
    reason = "A key in the completion, which is ignored, is duplicate."
    duplicate = at("text", lambda text: text.replace('"role": ', '"role": "user", "role": ', 1))
    yield Variant("view-twice-elsewhere", reason, tamper=duplicate, as_text=True)


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


VARIANTS = (*signatures(), *keys(), *banks(), *references(), *demands(), *nonces(), *views())
"""All variants. Names are unique."""
