"""The checks of the AIK's public area: attributes, template, strength, hierarchy, trust and name."""

from __future__ import annotations

from functools import cache
from typing import Final

from nomyo_attest.appraisal.case import Case, LayoutFacts
from nomyo_attest.appraisal.outcome import FAIL, PASS, UNDECIDED, CheckResult
from nomyo_attest.crypto.keys import CURVES, rsa_exponent
from nomyo_attest.crypto.strength import is_composite_exponent, rsa_weakness
from nomyo_attest.policy.model import Trust
from nomyo_attest.tpm.constants import (
    HASH_SIZES,
    TPM_ALG_ID,
    TPMA_OBJECT,
    attribute_names,
    hash_name,
    specification_name,
)
from nomyo_attest.tpm.public import TPMS_ECC_PARMS, TPMS_RSA_PARMS, TPMS_RSA_UNIQUE

_MUST_BE_SET: Final = int(
    TPMA_OBJECT.FIXED_TPM
    | TPMA_OBJECT.FIXED_PARENT
    | TPMA_OBJECT.SENSITIVE_DATA_ORIGIN
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.SIGN_ENCRYPT
)
_MUST_BE_CLEAR: Final = int(TPMA_OBJECT.DECRYPT)
_MUST_BE_SET_NAMES: Final = tuple(attribute_names(_MUST_BE_SET))
_SHA1: Final = TPM_ALG_ID.SHA1
_PINNED: Final = Trust.PINNED_AIK  # a constant: access to an enumeration's member is slower than the comparison
_SELF_ASSERTED: Final = Trust.SELF_ASSERTED
_NULL: Final = TPM_ALG_ID.NULL
_DUPLICABLE: Final = int(TPMA_OBJECT.FIXED_TPM | TPMA_OBJECT.ENCRYPTED_DUPLICATION)
_USER_WITH_AUTH: Final = int(TPMA_OBJECT.USER_WITH_AUTH)
_TEMPLATE: Final = "a public area that a TPM creates"
_NO_KEY: Final = "the AIK does not parse"


def key_attributes(facts: LayoutFacts) -> CheckResult:
    """Is the AIK a restricted signing key that never leaves its TPM?

    These attributes must be set: restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin. These must be clear:
    decrypt, and every reserved bit. Without `restricted` the key signs any data, including a forged quote; without the
    others it may exist outside the TPM. A TPM enforces the attributes, but a forged public area can state any.

    Remediation: do not rely on the response. Its quote proves nothing.
    """
    expected = _MUST_BE_SET_NAMES
    value = facts.attributes
    if value is None:
        error = facts.key_error
        if error is not None and error.field == "object_attributes" and error.value is not None:
            return FAIL, expected, attribute_names(error.value), "reserved bits of the attributes are set"
        return UNDECIDED, expected, None, _NO_KEY
    if value & (_MUST_BE_SET | _MUST_BE_CLEAR) == _MUST_BE_SET:
        return PASS, expected, attribute_names(value), ""
    problems = [f"{name} is clear" for name in attribute_names(_MUST_BE_SET & ~value)]
    problems += [f"{name} is set" for name in attribute_names(_MUST_BE_CLEAR & value)]
    return FAIL, expected, attribute_names(value), ", ".join(problems)


def key_template(case: Case) -> CheckResult:
    """Can a TPM have created the AIK, and sign with it?

    A TPM refuses to create a signing key with a symmetric algorithm (Part 2, 12.2.3.5 and 12.2.3.6) or an ECC key with
    a key derivation function (12.2.3.6); an `authPolicy` that is not a digest of `nameAlg` (12.2.4); an RSA exponent
    that is not prime (12.2.3.5; `key.strength` rejects small and even ones); and `encryptedDuplication` together with
    `fixedTPM` (8.3.3). It refuses to sign with a key that has neither `userWithAuth` nor an `authPolicy`, because no
    authorization could permit it (8.3.3).

    Remediation: do not rely on the response. A TPM did not create its AIK.
    """
    if case.key is None:
        return UNDECIDED, None, None, _NO_KEY
    public = case.key.value
    parameters, policy, attributes = public.parameters, public.auth_policy, public.object_attributes
    problems: list[tuple[str, str]] = []  # expected, got
    if parameters.symmetric.algorithm is not _NULL:
        problems.append(("symmetric: TPM_ALG_NULL", f"symmetric: {specification_name(parameters.symmetric.algorithm)}"))
    if isinstance(parameters, TPMS_ECC_PARMS):
        if parameters.kdf.scheme is not _NULL:
            problems.append(("kdf: TPM_ALG_NULL", f"kdf: {specification_name(parameters.kdf.scheme)}"))
    elif is_composite_exponent(rsa_exponent(parameters)):
        problems.append(("a prime exponent", f"exponent: {parameters.exponent}"))
    if policy and len(policy) != HASH_SIZES[public.name_alg]:
        name = hash_name(public.name_alg)
        expected = f"authPolicy: 0 or {HASH_SIZES[public.name_alg]} bytes, as nameAlg is {name}"
        problems.append((expected, f"authPolicy: {len(policy)} bytes"))
    if attributes & _DUPLICABLE == _DUPLICABLE:
        problems.append(("encryptedDuplication: clear if fixedTPM is set", "encryptedDuplication: set"))
    if not policy and not attributes & _USER_WITH_AUTH:
        problems.append(("userWithAuth or an authPolicy", "userWithAuth: clear, authPolicy: empty"))
    if not problems:
        return PASS, _TEMPLATE, _TEMPLATE, ""
    got = [found for _, found in problems]
    return (
        FAIL,
        [expected for expected, _ in problems],
        got,
        f"a TPM does not create or use such a key ({'; '.join(got)})",
    )


@cache
def _rsa_name(bits: int) -> str:
    return f"RSA-{bits}"


def key_strength(case: Case) -> CheckResult:
    """Is the AIK strong enough?

    RSA: at least 2048 bits or the policy's minimum, an odd exponent of at least 65537, and no modulus of the ROCA form
    (CVE-2017-15361). ECC: a point on P-256, P-384 or P-521. The AIK's Name, which identifies the key, must not be a
    SHA-1 digest unless the policy allows SHA-1.

    Remediation: if the key is weak, do not rely on the response: an attacker may have computed its private key. If the
    key is only smaller than the policy requires, or of a type that this library does not verify, have the service
    create other AIKs.
    """
    if case.key is None:
        return UNDECIDED, None, None, _NO_KEY
    public = case.key.value
    parameters = public.parameters
    if public.name_alg is _SHA1 and "sha1" not in case.policy.signature_hashes:
        return FAIL, "a Name of SHA-256 or stronger", "sha1", "the AIK's Name is a SHA-1 digest"
    if type(parameters) is TPMS_RSA_PARMS:
        minimum = case.policy.rsa_min_bits
        assert type(public.unique) is TPMS_RSA_UNIQUE  # the parser pairs it with these parameters
        modulus = public.unique.modulus
        weakness = rsa_weakness(int.from_bytes(modulus, "big"), parameters.key_bits, rsa_exponent(parameters), minimum)
        if not weakness and len(modulus) * 8 != parameters.key_bits:
            weakness = f"a modulus of {len(modulus)} bytes, but keyBits says {parameters.key_bits}"
        if weakness:
            sentence = f"the AIK has {weakness}" if " " in weakness else f"the AIK is {weakness}"
            return FAIL, case.policy.rsa_expectation, weakness, sentence
        return PASS, case.policy.rsa_expectation, _rsa_name(parameters.key_bits), ""
    assert type(parameters) is TPMS_ECC_PARMS
    expected = "a point on P-256, P-384 or P-521"
    curve = specification_name(parameters.curve_id)
    if parameters.curve_id not in CURVES:
        return FAIL, expected, curve, f"the AIK is on {curve}"
    if case.verification_key is None:
        return FAIL, expected, f"not a point on {curve}", f"the AIK is not a point on {curve}"
    return PASS, expected, curve, ""


def key_hierarchy(case: Case) -> CheckResult:
    """Is the AIK a primary key of one of the policy's hierarchies?

    A primary key's Qualified Name is computed from the hierarchy's handle and the key's Name, which covers every bit
    of its public area. The check compares `qualifiedSigner` with the Qualified Name in each hierarchy. A child of
    another key matches none of them, and neither does a key that did not sign the quote: the rule is then undecided.

    Remediation: if the service now creates its AIKs in another hierarchy, learn a new policy; if not, do not rely on
    the response.
    """
    expected = case.policy.hierarchies
    if case.key is None or case.attest is None:
        return UNDECIDED, expected, None, _NO_KEY if case.key is None else "the quote does not parse"
    if case.hierarchy is None:
        return UNDECIDED, expected, None, "qualifiedSigner does not match a primary key with this public area"
    if case.hierarchy in case.policy.hierarchies:
        return PASS, expected, case.hierarchy, ""
    return FAIL, expected, case.hierarchy, f"the AIK is a primary key of the {case.hierarchy} hierarchy"


def key_trust(case: Case) -> CheckResult:
    """Does the AIK have the trust that the policy requires?

    `self_asserted`: the key came with the evidence and has no certificate. `pinned_aik`: the policy lists this key.
    `certified_aik` is reserved: the protocol carries no certificate.

    Remediation: if you know that this AIK is in a machine that you trust, add its Name (`nomyo-attest inspect` prints
    it) to the policy's `key.pinned`; if not, do not rely on the response. An ephemeral AIK cannot be pinned.
    """
    required = case.policy.trust
    if case.name is None:
        return UNDECIDED, required, None, _NO_KEY if case.key is None else "the AIK's Name cannot be computed"
    got = _PINNED if case.name in case.policy.pinned else _SELF_ASSERTED
    if got is required or got.reaches(required):
        return PASS, required, got, ""
    return FAIL, required, got, f"the AIK {case.name.hex()} is not pinned"


def signer_name(case: Case) -> CheckResult:
    """Is `qualifiedSigner` a well-formed Qualified Name for this AIK?

    It must consist of the AIK's nameAlg and a digest of that size. If the AIK is a primary key, its hierarchy is
    reported; the AIK may also be a child of another key.

    Remediation: do not rely on the response. A TPM never writes a name like this.
    """
    if case.key is None or case.attest is None:
        return UNDECIDED, None, None, _NO_KEY if case.key is None else "the quote does not parse"
    name_alg: TPM_ALG_ID = case.key.value.name_alg
    signer = case.attest.value.qualified_signer
    if len(signer) == 2 + HASH_SIZES[name_alg] and signer[0] << 8 | signer[1] == name_alg:
        return PASS, name_alg, case.hierarchy or "not a primary key", ""
    expected = f"{hash_name(name_alg)} and {HASH_SIZES[name_alg]} bytes"
    return FAIL, expected, signer, "qualifiedSigner is not the name of a key with the AIK's nameAlg"
