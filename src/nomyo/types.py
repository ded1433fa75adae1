"""Types of a response for type checkers: `_metadata` of what `create` returns, and the result of the appraisal in it.

At run time, a response is a dict with the keys that the server sent, and the client sets those of `_metadata` that have
no comment. The rest of a response has the form of OpenAI's API, which the client does not check; its type is `Any`.
"""

from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, overload


class PolicyReference(TypedDict):
    """The policy that was applied."""

    id: str
    digest: str
    warn_until: NotRequired[str]
    warn_ended: NotRequired[bool]


class AIK(TypedDict):
    """The key that signed the quote."""

    name: str | None
    label: NotRequired[str]
    hierarchy: Literal["endorsement", "owner", "platform", "null"] | None
    framing: Literal["TPM2B_PUBLIC", "TPMT_PUBLIC"] | None
    test_key: bool


class Quote(TypedDict):
    """The quote."""

    framing: Literal["TPM2B_ATTEST", "TPMS_ATTEST"] | None


class Finding(TypedDict):
    """The outcome of one rule."""

    rule: str
    outcome: Literal["pass", "fail", "undecided"]
    requirement: Literal["required", "warn", "ignore"]
    field: str
    expected: Any
    got: Any
    message: str
    remediation: str


class AttestationResultObject(TypedDict):
    """The result of the appraisal in JSON form (`nomyo_attest.schemas`, ``result.json``)."""

    format: str
    verdict: Literal["affirming", "warning", "contraindicated", "none"]
    trust: Literal["self_asserted", "pinned_aik", "certified_aik"]
    policy: PolicyReference
    payload_id: str | None
    payload_id_source: Literal["given", "recorded"] | None
    appraised_at: str | None
    aik: AIK
    quote: Quote
    findings: list[Finding]
    not_established: list[str]


class PreflightFact(TypedDict):
    """The affirmed response because of which the prompt was sent, and its age in seconds at that time."""

    payload_id: str
    age: float


class Verification(TypedDict):
    """The checks of the client, apart from the appraisal."""

    payload_id_echoed: bool
    security_tier_echoed: bool
    server_key: NotRequired[str]
    server_key_pinned: NotRequired[bool]
    preflight: NotRequired[PreflightFact]


class StoredEvidence(TypedDict):
    """Where the evidence of a response is stored in the ledger, or why it is not."""

    stored: bool
    number: NotRequired[int]
    digest: NotRequired[str]
    path: NotRequired[str]
    problem: NotRequired[str]


class Metadata(TypedDict):
    """`_metadata` of a response."""

    payload_id: str
    is_encrypted: bool
    encryption_algorithm: str
    verification: Verification
    processed_at: int | None
    security_tier: NotRequired[str]  # from the server; the binding check compares it with the request
    memory_protection: NotRequired[dict[str, Any]]  # from the server
    cuda_device: NotRequired[Any]  # from the server
    response_status: NotRequired[Any]  # from the server
    tpm_attestation: NotRequired[dict[str, Any]]  # from the server; the evidence
    attestation_result: NotRequired[AttestationResultObject]
    evidence_log: NotRequired[StoredEvidence]
    transport_processed_at: NotRequired[int]


if TYPE_CHECKING:

    class ChatCompletion(dict[str, Any]):
        """A response of `create`: a dict in the form of OpenAI's API, with `_metadata`."""

        @overload
        def __getitem__(self, key: Literal["_metadata"], /) -> Metadata: ...
        @overload
        def __getitem__(self, key: str, /) -> Any: ...
        def __getitem__(self, key: str, /) -> Any:
            """Return the value of a key."""

else:
    ChatCompletion = dict
