"""Public areas, laid out by hand after Part 2, 11.1, 11.2 and 12.2: a writer, and strategies of what they may hold."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.nomyo_attest.tpm.layouts import alg_ids, digests, ecc_numbers, hash_algs, u
from tests.nomyo_attest.tpm.wire import Fields, Pieces, number, sized

NULL = 0x0010
CIPHERS = [0x0006, 0x0013, 0x0026, 0x0003]  # AES, SM4, CAMELLIA, TDES
RSA_SCHEMES = {NULL: False, 0x0014: True, 0x0016: True, 0x0017: True, 0x0015: False}  # whether a hash follows
ECC_SCHEMES = [0x0018, 0x001B, 0x001C, 0x0019, 0x001D]  # each with a hash; ECDAA has a counter besides
KDF_SCHEMES = [0x0007, 0x0020, 0x0021, 0x0022]
CURVES = [0x01, 0x02, 0x03, 0x04, 0x05, 0x10, 0x11, 0x20, 0x30, 0x31, 0x32, 0x40, 0x41]
DEFINED_ATTRIBUTES = 0x000F0FF6


def sym_def(fields: Fields) -> Pieces:
    pieces = number("TPMT_SYM_DEF_OBJECT.algorithm", "H", fields["algorithm"])
    if fields["details"] is not None:
        pieces += number("TPMS_SYM_DETAILS.key_bits", "H", fields["details"]["key_bits"])
        pieces += number("TPMS_SYM_DETAILS.mode", "H", fields["details"]["mode"])
    return pieces


def scheme(structure: str, fields: Fields) -> Pieces:
    pieces, details = number(f"{structure}.scheme", "H", fields["scheme"]), fields["details"]
    if details is not None:
        kind = "TPMS_SCHEME_ECDAA" if "count" in details else "TPMS_SCHEME_HASH"
        pieces += number(f"{kind}.hash_alg", "H", details["hash_alg"])
        if "count" in details:
            pieces += number("TPMS_SCHEME_ECDAA.count", "H", details["count"])
    return pieces


def public(fields: Fields) -> Pieces:
    parameters, unique = fields["parameters"], fields["unique"]
    pieces = [
        *number("TPMT_PUBLIC.type", "H", fields["type"]),
        *number("TPMT_PUBLIC.name_alg", "H", fields["name_alg"]),
        *number("TPMT_PUBLIC.object_attributes", "I", fields["object_attributes"]),
        *sized("TPMT_PUBLIC.auth_policy", fields["auth_policy"]),
        *sym_def(parameters["symmetric"]),
    ]
    if fields["type"] == 0x0001:
        return [
            *pieces,
            *scheme("TPMT_RSA_SCHEME", parameters["scheme"]),
            *number("TPMS_RSA_PARMS.key_bits", "H", parameters["key_bits"]),
            *number("TPMS_RSA_PARMS.exponent", "I", parameters["exponent"]),
            *sized("TPMS_RSA_UNIQUE.modulus", unique["modulus"]),
        ]
    return [
        *pieces,
        *scheme("TPMT_ECC_SCHEME", parameters["scheme"]),
        *number("TPMS_ECC_PARMS.curve_id", "H", parameters["curve_id"]),
        *scheme("TPMT_KDF_SCHEME", parameters["kdf"]),
        *sized("TPMS_ECC_POINT.x", unique["x"]),
        *sized("TPMS_ECC_POINT.y", unique["y"]),
    ]


def schemes(ids: list[int], details: st.SearchStrategy[Any]) -> st.SearchStrategy[Fields]:
    return st.fixed_dictionaries({"scheme": st.sampled_from(ids), "details": details})


a_hash = st.fixed_dictionaries({"hash_alg": hash_algs})
some_sym_defs = st.one_of(
    st.just({"algorithm": NULL, "details": None}),
    st.fixed_dictionaries(
        {
            "algorithm": st.sampled_from(CIPHERS),
            "details": st.fixed_dictionaries({"key_bits": u(16), "mode": alg_ids}),
        }
    ),
)
some_rsa_schemes = st.one_of(
    schemes([one for one, hashed in RSA_SCHEMES.items() if hashed], a_hash),
    schemes([one for one, hashed in RSA_SCHEMES.items() if not hashed], st.none()),
)
some_ecc_schemes = st.one_of(
    schemes(ECC_SCHEMES, a_hash),
    schemes([0x001A], st.fixed_dictionaries({"hash_alg": hash_algs, "count": u(16)})),
    schemes([NULL], st.none()),
)
some_kdfs = st.one_of(schemes(KDF_SCHEMES, a_hash), schemes([NULL], st.none()))


def publics(
    type_: int, parameters: st.SearchStrategy[Fields], unique: st.SearchStrategy[Fields]
) -> st.SearchStrategy[Fields]:
    return st.fixed_dictionaries(
        {
            "type": st.just(type_),
            "name_alg": hash_algs,
            "object_attributes": u(32).map(lambda bits: bits & DEFINED_ATTRIBUTES),
            "auth_policy": digests,
            "parameters": parameters,
            "unique": unique,
        }
    )


some_rsa_publics = publics(
    0x0001,
    st.fixed_dictionaries(
        {"symmetric": some_sym_defs, "scheme": some_rsa_schemes, "key_bits": u(16), "exponent": u(32)}
    ),
    st.fixed_dictionaries({"modulus": st.binary(max_size=512)}),
)
some_ecc_publics = publics(
    0x0023,
    st.fixed_dictionaries(
        {
            "symmetric": some_sym_defs,
            "scheme": some_ecc_schemes,
            "curve_id": st.sampled_from(CURVES),
            "kdf": some_kdfs,
        }
    ),
    st.fixed_dictionaries({"x": ecc_numbers, "y": ecc_numbers}),
)
some_publics = st.one_of(some_rsa_publics, some_ecc_publics)
