"""Structures that a TPM signs: TPMS_ATTEST and the members of its union (TPM 2.0 Part 2, 10.11 and 10.12)."""

from __future__ import annotations

from typing import Annotated, Final

from nomyo_attest.tpm.codec import Structure, declared
from nomyo_attest.tpm.constants import TPM_ST
from nomyo_attest.tpm.fields import (
    ALG_ID,
    ST_ATTEST,
    STEERING_UINT32,
    UINT16,
    UINT32,
    UINT64,
    YES_NO,
    Nested,
    Selected,
    Sized,
)
from nomyo_attest.tpm.pcr import TPML_PCR_SELECTION

DIGEST_MAX: Final = 64
"""TPM2B_DIGEST (10.4.2): the largest hash, SHA-512."""

NAME_MAX: Final = 66
"""TPM2B_NAME (10.5.3) and TPM2B_DATA (10.4.3): sizeof(TPMT_HA), an algorithm identifier and the largest digest."""

NV_BUFFER_MAX: Final = 2048
"""TPM2B_MAX_NV_BUFFER (10.4.9): MAX_NV_BUFFER_SIZE of the TSS."""

TPM2B_NAME = Annotated[bytes, Sized(NAME_MAX)]
TPM2B_DATA = Annotated[bytes, Sized(NAME_MAX)]
TPM2B_DIGEST = Annotated[bytes, Sized(DIGEST_MAX)]
TPM2B_MAX_NV_BUFFER = Annotated[bytes, Sized(NV_BUFFER_MAX)]


@declared
class TPMS_CLOCK_INFO(Structure, frozen=True):
    """TPMS_CLOCK_INFO (10.11.1). The counters are obfuscated for keys outside the endorsement and platform
    hierarchies.
    """

    clock: UINT64
    """Milliseconds that the TPM has been powered since it was last cleared."""
    reset_count: UINT32
    """TPM Resets since the TPM was last cleared."""
    restart_count: UINT32
    """TPM Restarts or Resumes since the last TPM Reset."""
    safe: YES_NO
    """Whether no larger value of `clock` can have been reported before."""


@declared
class TPMS_TIME_INFO(Structure, frozen=True):
    """TPMS_TIME_INFO (10.11.6)."""

    time: UINT64
    clock_info: Annotated[TPMS_CLOCK_INFO, Nested(TPMS_CLOCK_INFO)]


@declared
class TPMS_QUOTE_INFO(Structure, frozen=True):
    """TPMS_QUOTE_INFO (10.12.4): what TPM2_Quote attests."""

    pcr_select: Annotated[TPML_PCR_SELECTION, Nested(TPML_PCR_SELECTION)]
    pcr_digest: TPM2B_DIGEST
    """Digest of the selected PCR values, with the hash of the signing scheme."""


@declared
class TPMS_CERTIFY_INFO(Structure, frozen=True):
    """TPMS_CERTIFY_INFO (10.12.3): what TPM2_Certify attests."""

    name: TPM2B_NAME
    qualified_name: TPM2B_NAME


@declared
class TPMS_CREATION_INFO(Structure, frozen=True):
    """TPMS_CREATION_INFO (10.12.7): what TPM2_CertifyCreation attests."""

    object_name: TPM2B_NAME
    creation_hash: TPM2B_DIGEST


@declared
class TPMS_TIME_ATTEST_INFO(Structure, frozen=True):
    """TPMS_TIME_ATTEST_INFO (10.12.2): what TPM2_GetTime attests."""

    time: Annotated[TPMS_TIME_INFO, Nested(TPMS_TIME_INFO)]
    firmware_version: UINT64


@declared
class TPMS_COMMAND_AUDIT_INFO(Structure, frozen=True):
    """TPMS_COMMAND_AUDIT_INFO (10.12.5)."""

    audit_counter: UINT64
    digest_alg: ALG_ID
    audit_digest: TPM2B_DIGEST
    command_digest: TPM2B_DIGEST


@declared
class TPMS_SESSION_AUDIT_INFO(Structure, frozen=True):
    """TPMS_SESSION_AUDIT_INFO (10.12.6)."""

    exclusive_session: YES_NO
    session_digest: TPM2B_DIGEST


@declared
class TPMS_NV_CERTIFY_INFO(Structure, frozen=True):
    """TPMS_NV_CERTIFY_INFO (10.12.8): what TPM2_NV_Certify attests."""

    index_name: TPM2B_NAME
    offset: UINT16
    nv_contents: TPM2B_MAX_NV_BUFFER


@declared
class TPMS_NV_DIGEST_CERTIFY_INFO(Structure, frozen=True):
    """TPMS_NV_DIGEST_CERTIFY_INFO (10.12.9)."""

    index_name: TPM2B_NAME
    nv_digest: TPM2B_DIGEST


TPMU_ATTEST = (
    TPMS_QUOTE_INFO
    | TPMS_CERTIFY_INFO
    | TPMS_CREATION_INFO
    | TPMS_TIME_ATTEST_INFO
    | TPMS_COMMAND_AUDIT_INFO
    | TPMS_SESSION_AUDIT_INFO
    | TPMS_NV_CERTIFY_INFO
    | TPMS_NV_DIGEST_CERTIFY_INFO
)
"""TPMU_ATTEST (10.12.11)."""

_ARMS: Final[dict[TPM_ST, type[Structure] | None]] = {
    TPM_ST.ATTEST_QUOTE: TPMS_QUOTE_INFO,
    TPM_ST.ATTEST_CERTIFY: TPMS_CERTIFY_INFO,
    TPM_ST.ATTEST_CREATION: TPMS_CREATION_INFO,
    TPM_ST.ATTEST_TIME: TPMS_TIME_ATTEST_INFO,
    TPM_ST.ATTEST_COMMAND_AUDIT: TPMS_COMMAND_AUDIT_INFO,
    TPM_ST.ATTEST_SESSION_AUDIT: TPMS_SESSION_AUDIT_INFO,
    TPM_ST.ATTEST_NV: TPMS_NV_CERTIFY_INFO,
    TPM_ST.ATTEST_NV_DIGEST: TPMS_NV_DIGEST_CERTIFY_INFO,
}


@declared
class TPMS_ATTEST(Structure, frozen=True):
    """TPMS_ATTEST (10.12.12): the structure that a TPM signs."""

    magic: STEERING_UINT32
    """TPM_GENERATED_VALUE if a TPM generated the structure. The rule `attest.magic` checks it, not the parser."""
    type: ST_ATTEST
    qualified_signer: TPM2B_NAME
    """Qualified Name of the signing key: its algorithm identifier and a digest over its Name and its ancestors."""
    extra_data: TPM2B_DATA
    """The caller's qualifying data; this service derives it from the payload id."""
    clock_info: Annotated[TPMS_CLOCK_INFO, Nested(TPMS_CLOCK_INFO)]
    firmware_version: UINT64
    """Assigned by the TPM's manufacturer; obfuscated like the counters."""
    attested: Annotated[TPMU_ATTEST, Selected("type", _ARMS)]
