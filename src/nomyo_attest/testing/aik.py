"""The soft TPM's signing key: its public area, Name and signatures, with fields to make each of them unusual.

FOR TESTS ONLY: anyone can derive its private key (see `keys`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nomyo_attest.testing import keys, writer
from nomyo_attest.testing.keys import ForgeError


@dataclass
class SoftAIK:
    """Configuration of the key and of its signatures."""

    key: str = "rsa2048"
    """``"rsa"`` and a length in bits, or ``"p256"``, ``"p384"``, ``"p521"``, ``"p224"``, ``"p192"``."""
    label: str = "aik"
    """The seed of the key: different labels yield different keys."""
    exponent: int = 65537
    roca: bool = False
    """Whether an RSA modulus has the ROCA form, CVE-2017-15361 (`rsa2048` only)."""
    exponent_field: int | None = None
    """The exponent field of TPMS_RSA_PARMS; None for the exponent, or 0 if that is 65537."""
    scheme: str = ""
    """The signature's scheme: ``"rsassa"``, ``"rsapss"`` or ``"ecdsa"``; ``""`` for the default of the key."""
    hash_alg: str = "sha256"
    """The hash of the signature and of the PCR digest: ``"sha1"``, ``"sha256"``, ``"sha384"`` or ``"sha512"``."""
    declared_scheme: str = ""
    """The scheme in the key's public area; ``""`` for the signature's, ``"null"`` for TPM_ALG_NULL."""
    declared_hash: str = ""
    """The hash in the key's public area; ``""`` for the signature's."""
    salt_size: int | None = None
    """RSAPSS: size of the salt in bytes; None for the largest that fits."""
    stripped: bool = False
    """ECDSA: write the numbers without leading zero bytes, instead of padded to the size of the curve."""
    short_number: str = ""
    """ECDSA: ``"r"`` or ``"s"`` to sign until that number begins with a zero byte."""
    name_alg: str = "sha256"
    attributes: int = writer.AIK_ATTRIBUTES
    """objectAttributes, a combination of the bits in `writer`."""
    auth_policy: bytes = b""
    hierarchy: str | None = "endorsement"
    """The hierarchy: ``"endorsement"``, ``"owner"``, ``"platform"`` or ``"null"``; None for the child of a key."""

    def _is_rsa(self) -> bool:
        return self.key.startswith("rsa") and self.key[3:].isdecimal()

    def _scheme(self) -> str:
        return self.scheme or ("rsassa" if self._is_rsa() else "ecdsa")

    def _check_aik(self) -> None:
        """Raise `ForgeError` if the fields do not describe a key."""
        if not self._is_rsa() and self.key not in keys.curve_names():
            choices = f"rsa and a size in bits, such as rsa2048, or one of {', '.join(keys.curve_names())}"
            raise ForgeError("key", choices, repr(self.key))
        hashes = tuple(writer.HASHES)
        schemes = ("rsassa", "rsapss") if self._is_rsa() else ("ecdsa",)
        allowed: dict[str, tuple[Any, ...]] = {
            "scheme": ("", *schemes),
            "declared_scheme": ("", "null", *schemes),
            "hash_alg": hashes,
            "declared_hash": ("", *hashes),
            "name_alg": hashes,
            "short_number": ("", "r", "s"),
            "hierarchy": (None, *writer.HIERARCHIES),
            "roca": (False, True) if self.key == "rsa2048" else (False,),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ForgeError(name, f"one of {', '.join(map(repr, values))}", repr(getattr(self, name)))

    def _soft_key(self) -> keys.RSAKey | keys.ECCKey:
        if self._is_rsa():
            return keys.rsa_key(self.label, int(self.key[3:]), self.exponent, roca=self.roca)
        return keys.ecc_key(self.label, self.key)

    def _public_area(self) -> bytes:
        key = self._soft_key()
        null = writer.u16(writer.ALG_NULL)
        declared = self.declared_scheme or self._scheme()
        scheme = null
        if declared != "null":
            scheme = writer.tpmt_scheme(writer.SCHEMES[declared], writer.HASHES[self.declared_hash or self.hash_alg])
        if isinstance(key, keys.RSAKey):
            type_ = writer.ALG_RSA
            exponent = self.exponent_field
            if exponent is None:
                exponent = 0 if self.exponent == 65537 else self.exponent
            parameters = writer.tpms_rsa_parms(symmetric=null, scheme=scheme, key_bits=8 * key.size, exponent=exponent)
            unique = writer.tpm2b(key.modulus)
        else:
            type_ = writer.ALG_ECC
            curve = writer.CURVES[key.curve]
            parameters = writer.tpms_ecc_parms(symmetric=null, scheme=scheme, curve_id=curve, kdf=null)
            unique = writer.tpms_ecc_point(key.x.to_bytes(key.size, "big"), key.y.to_bytes(key.size, "big"))
        return writer.tpmt_public(
            type_=type_,
            name_alg=writer.HASHES[self.name_alg],
            object_attributes=self.attributes,
            auth_policy=self.auth_policy,
            parameters=parameters,
            unique=unique,
        )

    def _name_of(self, public: bytes) -> bytes:
        """Return the Name of a public area (Part 1, "Names"): nameAlg and H(TPMT_PUBLIC)."""
        return writer.u16(writer.HASHES[self.name_alg]) + keys.digest(self.name_alg, public)

    def _qualified(self, name: bytes) -> bytes:
        """Return the Qualified Name (Part 1, "Names"): nameAlg and H(hierarchy's handle or parent's QN, Name)."""
        if self.hierarchy is None:
            parent = writer.u16(writer.ALG_SHA256) + keys.digest("sha256", b"some storage key")
        else:
            parent = writer.u32(writer.HIERARCHIES[self.hierarchy])
        return name[:2] + keys.digest(self.name_alg, parent + name)

    def _sign(self, signed: bytes) -> bytes:
        """Return a TPMT_SIGNATURE over `signed`."""
        key = self._soft_key()
        scheme_id, hash_id = writer.SCHEMES[self._scheme()], writer.HASHES[self.hash_alg]
        if isinstance(key, keys.RSAKey):
            if scheme_id == writer.ALG_RSASSA:
                number = key.sign_rsassa(self.hash_alg, signed)
            else:
                number = key.sign_rsapss(self.hash_alg, signed, self.salt_size)
            return writer.tpmt_signature_rsa(scheme_id, hash_id, number)

        def has_zero_byte(r: int, s: int) -> bool:
            number = {"": 0, "r": r, "s": s}[self.short_number]
            return number < 1 << 8 * (key.size - 1)

        r, s = (
            number.to_bytes(key.size, "big") for number in key.sign_ecdsa(self.hash_alg, signed, accept=has_zero_byte)
        )
        if self.stripped:
            r, s = r.lstrip(b"\0"), s.lstrip(b"\0")
        return writer.tpmt_signature_ecc(scheme_id, hash_id, r, s)
