"""What a TPM signs and how, laid out by hand after Part 2: for each structure a writer and a strategy of contents."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from tests.nomyo_attest.tpm.wire import Fields, Pieces, number, sized

# TPM 2.0 Part 2, 6.3: what a TPMI_ALG_HASH may be, and the digest sizes in bytes
HASHES = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64, 0x0012: 32, 0x0027: 32, 0x0028: 48, 0x0029: 64}
ALGORITHMS = [
    *(0x0001, 0x0003, 0x0004, 0x0005, 0x0006, 0x0007, 0x0008, 0x000A, 0x000B, 0x000C, 0x000D, 0x0010, 0x0012, 0x0013),
    *(0x0014, 0x0015, 0x0016, 0x0017, 0x0018, 0x0019, 0x001A, 0x001B, 0x001C, 0x001D, 0x0020, 0x0021, 0x0022, 0x0023),
    *(0x0025, 0x0026, 0x0027, 0x0028, 0x0029, 0x003F, 0x0040, 0x0041, 0x0042, 0x0043, 0x0044),
]


def u(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


hash_algs = st.sampled_from(sorted(HASHES))
alg_ids = st.sampled_from(ALGORITHMS)


# Part 2, 10.6.2 and 10.9.7


def pcr_selection(fields: Fields) -> Pieces:
    return [
        *number("TPMS_PCR_SELECTION.hash", "H", fields["hash"]),
        *sized("TPMS_PCR_SELECTION.pcr_select", fields["pcr_select"], "B"),
    ]


def pcr_selections(fields: Fields) -> Pieces:
    members = fields["pcr_selections"]
    return [
        *number("TPML_PCR_SELECTION.pcr_selections", "I", len(members)),
        *(piece for member in members for piece in pcr_selection(member)),
    ]


a_pcr_selection = st.fixed_dictionaries({"hash": hash_algs, "pcr_select": st.binary(min_size=3, max_size=4)})
some_pcr_selections = st.fixed_dictionaries({"pcr_selections": st.lists(a_pcr_selection, max_size=16)})


# Part 2, 11.3


def signature(fields: Fields) -> Pieces:
    value = fields["signature"]
    pieces = number("TPMT_SIGNATURE.sig_alg", "H", fields["sig_alg"])
    if fields["sig_alg"] in (0x0014, 0x0016):  # RSASSA, RSAPSS
        pieces += number("TPMS_SIGNATURE_RSA.hash", "H", value["hash"])
        return pieces + sized("TPMS_SIGNATURE_RSA.sig", value["sig"])
    pieces += number("TPMS_SIGNATURE_ECC.hash", "H", value["hash"])
    pieces += sized("TPMS_SIGNATURE_ECC.signature_r", value["signature_r"])
    return pieces + sized("TPMS_SIGNATURE_ECC.signature_s", value["signature_s"])


ecc_numbers = st.binary(max_size=66)
some_signatures = st.one_of(
    st.fixed_dictionaries(
        {
            "sig_alg": st.sampled_from([0x0014, 0x0016]),
            "signature": st.fixed_dictionaries({"hash": hash_algs, "sig": st.binary(max_size=512)}),
        }
    ),
    st.fixed_dictionaries(
        {
            "sig_alg": st.just(0x0018),
            "signature": st.fixed_dictionaries(
                {"hash": hash_algs, "signature_r": ecc_numbers, "signature_s": ecc_numbers}
            ),
        }
    ),
)


# Part 2, 10.11 and 10.12


def clock_info(fields: Fields) -> Pieces:
    return [
        *number("TPMS_CLOCK_INFO.clock", "Q", fields["clock"]),
        *number("TPMS_CLOCK_INFO.reset_count", "I", fields["reset_count"]),
        *number("TPMS_CLOCK_INFO.restart_count", "I", fields["restart_count"]),
        *number("TPMS_CLOCK_INFO.safe", "B", fields["safe"]),
    ]


def quote_info(fields: Fields) -> Pieces:
    return pcr_selections(fields["pcr_select"]) + sized("TPMS_QUOTE_INFO.pcr_digest", fields["pcr_digest"])


def time_attest_info(fields: Fields) -> Pieces:
    return [
        *number("TPMS_TIME_INFO.time", "Q", fields["time"]["time"]),
        *clock_info(fields["time"]["clock_info"]),
        *number("TPMS_TIME_ATTEST_INFO.firmware_version", "Q", fields["firmware_version"]),
    ]


def command_audit_info(fields: Fields) -> Pieces:
    return [
        *number("TPMS_COMMAND_AUDIT_INFO.audit_counter", "Q", fields["audit_counter"]),
        *number("TPMS_COMMAND_AUDIT_INFO.digest_alg", "H", fields["digest_alg"]),
        *sized("TPMS_COMMAND_AUDIT_INFO.audit_digest", fields["audit_digest"]),
        *sized("TPMS_COMMAND_AUDIT_INFO.command_digest", fields["command_digest"]),
    ]


def session_audit_info(fields: Fields) -> Pieces:
    return [
        *number("TPMS_SESSION_AUDIT_INFO.exclusive_session", "B", fields["exclusive_session"]),
        *sized("TPMS_SESSION_AUDIT_INFO.session_digest", fields["session_digest"]),
    ]


def nv_certify_info(fields: Fields) -> Pieces:
    return [
        *sized("TPMS_NV_CERTIFY_INFO.index_name", fields["index_name"]),
        *number("TPMS_NV_CERTIFY_INFO.offset", "H", fields["offset"]),
        *sized("TPMS_NV_CERTIFY_INFO.nv_contents", fields["nv_contents"]),
    ]


def two_buffers(structure: str, first: str, second: str) -> Callable[[Fields], Pieces]:
    """A structure of two TPM2Bs."""
    return lambda fields: [
        *sized(f"{structure}.{first}", fields[first]),
        *sized(f"{structure}.{second}", fields[second]),
    ]


names = st.binary(max_size=66)
digests = st.binary(max_size=64)
some_clock_infos = st.fixed_dictionaries(
    {"clock": u(64), "reset_count": u(32), "restart_count": u(32), "safe": st.booleans()}
)
some_quote_infos = st.fixed_dictionaries({"pcr_select": some_pcr_selections, "pcr_digest": digests})

# Part 2, 10.12.10 and 10.12.11: the tag, how its arm is written, and what may stand in it
ATTESTED: dict[int, tuple[str, Callable[[Fields], Pieces], st.SearchStrategy[Fields]]] = {
    0x8018: ("QUOTE", quote_info, some_quote_infos),
    0x8017: (
        "CERTIFY",
        two_buffers("TPMS_CERTIFY_INFO", "name", "qualified_name"),
        st.fixed_dictionaries({"name": names, "qualified_name": names}),
    ),
    0x801A: (
        "CREATION",
        two_buffers("TPMS_CREATION_INFO", "object_name", "creation_hash"),
        st.fixed_dictionaries({"object_name": names, "creation_hash": digests}),
    ),
    0x8019: (
        "TIME",
        time_attest_info,
        st.fixed_dictionaries(
            {
                "time": st.fixed_dictionaries({"time": u(64), "clock_info": some_clock_infos}),
                "firmware_version": u(64),
            }
        ),
    ),
    0x8015: (
        "COMMAND_AUDIT",
        command_audit_info,
        st.fixed_dictionaries(
            {"audit_counter": u(64), "digest_alg": alg_ids, "audit_digest": digests, "command_digest": digests}
        ),
    ),
    0x8016: (
        "SESSION_AUDIT",
        session_audit_info,
        st.fixed_dictionaries({"exclusive_session": st.booleans(), "session_digest": digests}),
    ),
    0x8014: (
        "NV",
        nv_certify_info,
        st.fixed_dictionaries({"index_name": names, "offset": u(16), "nv_contents": st.binary(max_size=2048)}),
    ),
    0x801C: (
        "NV_DIGEST",
        two_buffers("TPMS_NV_DIGEST_CERTIFY_INFO", "index_name", "nv_digest"),
        st.fixed_dictionaries({"index_name": names, "nv_digest": digests}),
    ),
}


def attest(fields: Fields) -> Pieces:
    return [
        *number("TPMS_ATTEST.magic", "I", fields["magic"]),
        *number("TPMS_ATTEST.type", "H", fields["type"]),
        *sized("TPMS_ATTEST.qualified_signer", fields["qualified_signer"]),
        *sized("TPMS_ATTEST.extra_data", fields["extra_data"]),
        *clock_info(fields["clock_info"]),
        *number("TPMS_ATTEST.firmware_version", "Q", fields["firmware_version"]),
        *ATTESTED[fields["type"]][1](fields["attested"]),
    ]


def attests_of(tag: int) -> st.SearchStrategy[Fields]:
    """TPMS_ATTEST of one type."""
    return st.fixed_dictionaries(
        {
            "magic": st.one_of(st.just(0xFF544347), u(32)),
            "type": st.just(tag),
            "qualified_signer": names,
            "extra_data": names,
            "clock_info": some_clock_infos,
            "firmware_version": u(64),
            "attested": ATTESTED[tag][2],
        }
    )


some_attests = st.sampled_from(sorted(ATTESTED)).flatmap(attests_of)
