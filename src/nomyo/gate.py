"""The only path from an encrypted response to the completion that the caller receives, in these steps:

1. Decrypt: turn the package into a JSON object. Failures are one opaque `ResponseError`, or `ResponseTooLargeError`.
2. Check the binding: the response must name this request, and the security tier that was requested.
3. Appraise: the policy must affirm the evidence in the response. With the gate off, the result is only recorded.
4. Store: append the evidence to the ledger, if there is one. If that fails, refuse, unless failures only warn.
5. Release: return the completion with the client's metadata in its `_metadata`, or raise the first refusal.

Nothing else in this package decrypts a response or returns a completion (tests/nomyo/test_gate_only_path.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nomyo import envelope, strict_json
from nomyo.background import BackgroundResult
from nomyo.config import TIERS
from nomyo.decision_log import log_refusal, log_release
from nomyo.errors import (
    TIER_NOT_AS_REQUESTED,
    ArgumentError,
    AttestationError,
    EvidenceLogError,
    ResponseError,
    ResponseNotBoundError,
    ResponseTooLargeError,
    SecurityError,
)
from nomyo.memory import SecureBuffer
from nomyo.redaction import Redaction, content_texts
from nomyo.server_key import ServerKey
from nomyo_attest import errors as attest_errors
from nomyo_attest._version import __version__
from nomyo_attest.appraisal import AttestationResult, appraise
from nomyo_attest.evidence.response import METADATA
from nomyo_attest.evidence.strict_json import TooManyContainersError
from nomyo_attest.ledger import EvidenceLog, Receipt
from nomyo_attest.policy import AppraisalPolicy
from nomyo_attest.report.formatting import sanitize

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

logger = logging.getLogger("nomyo")

_THREAD_BYTES: Final = 256 * 1024
"""Size in bytes above which a package is decrypted in a thread. Below it, starting the thread would take longer."""

_CLIENT: Final = {"name": "nomyo", "version": __version__}

_CLIENT_METADATA: Final = ("attestation_result", "evidence_log", "verification", "transport_processed_at")
"""Keys of `_metadata` that only the client sets; values from the server are dropped."""


class DecryptedResponse(msgspec.Struct, frozen=True):
    """A response that was decrypted and parsed but not checked.

    Attributes:
        completion: the JSON object as the server wrote it; ``_metadata`` in it is an object.
        processed_at: the unauthenticated field of that name outside the ciphertext; None if absent.
    """

    completion: dict[str, Any]
    processed_at: int | None

    def __repr__(self) -> str:
        return "<DecryptedResponse>"


class Gate:
    """Decrypts, checks, stores and releases responses.

    Args:
        log: the ledger; None to store no evidence.
        must_store: whether a completion whose evidence could not be stored is withheld.
        lock_memory: whether to lock the plaintext's memory where the system allows it.

    Raises:
        EvidenceLogError: the ledger cannot be written, and `must_store` is true.
    """

    def __init__(self, log: EvidenceLog | None, *, must_store: bool = True, lock_memory: bool = True) -> None:
        self._log, self._must_store, self._lock_memory = log, must_store, lock_memory
        if log is not None and must_store:
            _check_log(log)

    async def check_log(self) -> None:
        """Check, before a request is sent, that its evidence could be stored. Raises `EvidenceLogError`."""
        log = self._log
        if log is not None and self._must_store:
            await BackgroundResult(lambda: _check_log(log)).get()

    async def release(
        self,
        package: bytes,
        key: RSAPrivateKey,
        payload_id: str,
        *,
        policy: AppraisalPolicy | None,
        gated: bool,
        tier: str | None = None,
        secrets: Iterable[str] = (),
        server_key: ServerKey | None = None,
        preflight: dict[str, Any] | None = None,
        canary: bool = False,
        on_affirmed: Callable[[AttestationResult], object] | None = None,
    ) -> dict[str, Any]:
        """Return the completion in an encrypted response, or refuse the response. Every refusal is logged.

        Args:
            package: the body of the HTTP response.
            key: the private key to which it is encrypted.
            payload_id: the id of the request; the response must not contain a different one.
            policy: the policy to appraise the evidence by; None for no appraisal.
            gated: whether the policy must affirm the evidence. If not, the result of the appraisal is only recorded,
                and logged if it does not affirm.
            tier: the requested security tier; None if none was requested.
            secrets: texts of the request, which are removed from errors and from the stored evidence.
            server_key: the key to which the request was encrypted; None if unknown.
            preflight: the affirmed response because of which the request was sent; None without `preflight`.
            canary: whether the request was a canary.
            on_affirmed: is called if the result allows the release, which it need not with the gate off.

        Raises:
            ResponseError: the response cannot be decrypted and parsed.
            ResponseNotBoundError: it is for a different request, or not at the requested tier.
            AttestationError: the policy does not affirm the evidence.
            EvidenceLogError: the evidence could not be stored, and `must_store` is true.
        """
        if gated and policy is None:
            raise ArgumentError("require_attestation: there is no policy to appraise by; pass attestation_policy")
        secrets = list(secrets) if policy is not None or self._log is not None else []
        try:
            if len(package) > _THREAD_BYTES:
                response = await asyncio.to_thread(decrypt_response, package, key, lock_memory=self._lock_memory)
            else:
                response = decrypt_response(package, key, lock_memory=self._lock_memory)
            result: AttestationResult | None = None
            refusal: SecurityError | None = None
            try:
                check_binding(response, payload_id, tier)
                if policy is not None and gated:
                    result = require_affirmed(response.completion, policy, payload_id, secrets=secrets)
                elif policy is not None:
                    result = appraise(response.completion, policy, payload_id=payload_id)
            except SecurityError as error:
                refusal = error
                if isinstance(error, AttestationError):
                    result = error.result
            stored: dict[str, Any] | None = None
            try:
                if self._log is not None:
                    gate = None if policy is None else "on" if gated else "off"
                    stored = await self._store(response, payload_id, policy, result, refusal, secrets, gate, canary)
                if refusal is not None:
                    raise refusal
            finally:
                del refusal  # otherwise the traceback would refer to itself
        except (SecurityError, EvidenceLogError) as error:
            log_refusal(payload_id, error, policy)
            raise
        shown = result.to_dict() if result is not None and gated else None
        if result is not None and _reason_to_refuse(result):
            log_release(payload_id, result)
        elif result is not None and on_affirmed is not None:
            on_affirmed(result)
        return with_client_metadata(response, payload_id, server_key, shown, stored, preflight)

    async def _store(
        self,
        response: DecryptedResponse,
        payload_id: str,
        policy: AppraisalPolicy | None,
        result: AttestationResult | None,
        refusal: SecurityError | None,
        secrets: list[str],
        gate: str | None,
        canary: bool,
    ) -> dict[str, Any]:
        """Append the evidence of a response to the ledger, and wait until it is on disk.

        Canceling the call does not stop the write.

        Args:
            gate: ``"on"`` or ``"off"`` if there is a policy, else None.

        Returns the value of `evidence_log` in `_metadata` and in `refusal`. Raises `EvidenceLogError`, unless there is
        a refusal, which takes precedence.
        """
        log = self._log
        assert log is not None
        code = None if refusal is None else refusal.code
        # Appraised as of the same time as the response, so that the stored result is the same.
        now = None if result is None or result.appraised_at is None else datetime.fromisoformat(result.appraised_at)

        def contain_secrets(texts: list[str]) -> set[str]:
            """Return those of the texts that contain a part of the prompt or the completion."""
            redacted = Redaction([*secrets, *content_texts(response.completion.get("choices"))])(texts)
            return {before for before, after in zip(texts, redacted, strict=True) if before != after}

        def append() -> Receipt:
            return log.append(
                _response_to_store(response, policy),
                payload_id=payload_id,
                policy=policy,
                now=now,
                refused=code,
                gate=gate,
                withhold=contain_secrets,
                client=_CLIENT,
                canary=canary,
            )

        stored: dict[str, Any]
        failure: attest_errors.LedgerError | None = None
        try:
            receipt = await BackgroundResult(append).get()
            stored = {"stored": True, "number": receipt.number, "digest": receipt.digest, "path": receipt.path}
        except attest_errors.LedgerError as error:
            failure = error
            stored = {"stored": False, "problem": sanitize(str(error))}
        if failure is not None and self._must_store and refusal is None:
            raise _evidence_log_error(failure, prompt_sent=True)
        if failure is not None:  # the error is not logged, since its frames contain the response
            logger.warning("the evidence of response %s was not stored: %s", payload_id, stored["problem"])
        if refusal is not None:
            refusal.evidence_log = stored
        return stored


def decrypt_response(package: bytes, key: RSAPrivateKey, *, lock_memory: bool = True) -> DecryptedResponse:
    """Step 1: decrypt and parse a response, and wipe its plaintext.

    Raises the same `ResponseError` for every failure, except `ResponseTooLargeError` if the plaintext has too many
    objects and arrays, which reveals nothing to the sender, who encrypted it.
    """
    decrypted = envelope.decrypt(package, key)
    with SecureBuffer(decrypted.plaintext, lock=lock_memory) as plaintext:
        failure: ResponseError | None = None
        completion = None
        try:
            completion = strict_json.decode(plaintext.data)
        except TooManyContainersError as error:
            problem = f"the response has {error.found} objects and arrays; the limit for its length is {error.limit}"
            message = f"{problem}. It was decrypted, but the completion is not released"
            failure = ResponseTooLargeError(message, error.limit, error.found)
        except ValueError:
            pass  # its message would describe the plaintext
    if failure is not None:
        raise failure
    if isinstance(completion, dict) and isinstance(completion.setdefault(METADATA, {}), dict):
        return DecryptedResponse(completion, decrypted.processed_at)
    raise ResponseError


def check_binding(response: DecryptedResponse, payload_id: str, tier: str | None) -> None:
    """Step 2: refuse a response to a different request, or one that is not at the requested tier.

    A response may omit the payload id, but not the tier if one was requested. Raises `ResponseNotBoundError`.
    """
    metadata = response.completion[METADATA]
    if metadata.get("payload_id", payload_id) != payload_id:
        raise ResponseNotBoundError(
            "the response contains the payload id of a different request; the completion is not released"
        )
    if tier is not None and metadata.get("security_tier") != tier:
        found = metadata.get("security_tier")
        got = repr(found) if found in TIERS else "none" if found is None else "an unknown tier"
        problem = f"security_tier: expected {tier!r}, as requested, got {got}; the completion is not released"
        raise ResponseNotBoundError(problem, TIER_NOT_AS_REQUESTED)


def require_affirmed(
    completion: dict[str, Any], policy: AppraisalPolicy, payload_id: str, *, secrets: Iterable[str] = ()
) -> AttestationResult:
    """Step 3: appraise the evidence in `completion`, whose nonce must be derived from `payload_id`.

    Args:
        secrets: texts to remove from the error in addition to those of the completion: a server might copy the prompt
            into its claims or its evidence. They are removed from values quoted in findings; outcomes do not change.

    Returns the result if its verdict is affirming, or is a warning because the policy softened a rule. Otherwise raises
    `AttestationError`, which contains the result and no part of the completion.
    """
    result = appraise(completion, policy, payload_id=payload_id)
    if not _reason_to_refuse(result):
        return result
    redacted = result.redacted(Redaction([*secrets, *content_texts(completion.get("choices"))]))
    raise AttestationError(_reason_to_refuse(redacted), redacted)


def with_client_metadata(
    response: DecryptedResponse,
    payload_id: str,
    server_key: ServerKey | None,
    attestation_result: dict[str, Any] | None,
    evidence_log: dict[str, Any] | None = None,
    preflight: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Step 5: return the completion with the client's metadata in its `_metadata`."""
    metadata = response.completion[METADATA]
    verification: dict[str, Any] = {
        "payload_id_echoed": "payload_id" in metadata,
        "security_tier_echoed": "security_tier" in metadata,
    }
    if server_key is not None:
        verification["server_key"] = server_key.fingerprint
        verification["server_key_pinned"] = server_key.pinned
    if preflight is not None:
        verification["preflight"] = preflight
    for name in _CLIENT_METADATA:
        metadata.pop(name, None)
    metadata.setdefault("processed_at", response.processed_at)
    metadata.update(payload_id=payload_id, is_encrypted=True, encryption_algorithm=envelope.ALGORITHM)
    metadata["verification"] = verification
    if response.processed_at is not None:
        metadata["transport_processed_at"] = response.processed_at
    if attestation_result is not None:
        metadata["attestation_result"] = attestation_result
    if evidence_log is not None:
        metadata["evidence_log"] = evidence_log
    return response.completion


def _reason_to_refuse(result: AttestationResult) -> str:
    """Return why the result does not allow releasing the completion; empty if it does."""
    try:
        result.require()
    except attest_errors.AttestationError as refusal:
        return str(refusal)
    return ""


def _response_to_store(response: DecryptedResponse, policy: AppraisalPolicy | None) -> dict[str, Any]:
    """Return the response to store. The outer `processed_at` is added to its `_metadata`, unless the policy has a rule
    about that claim.
    """
    completion, processed_at = response.completion, response.processed_at
    metadata = completion[METADATA]
    has_rule = policy is not None and "processed_at" in policy.claims
    if processed_at is None or has_rule or "processed_at" in metadata:
        return completion
    return {**completion, METADATA: {**metadata, "processed_at": processed_at}}


def _check_log(log: EvidenceLog) -> None:
    try:
        log.check()
    except attest_errors.LedgerError as error:
        raise _evidence_log_error(error, prompt_sent=False) from None


def _evidence_log_error(error: attest_errors.LedgerError, *, prompt_sent: bool) -> EvidenceLogError:
    prefix = (
        "the evidence of a response could not be stored, so the completion is not released: " if prompt_sent else ""
    )
    failure = EvidenceLogError(error.path, prefix + error.problem, error.hint)
    failure.prompt_sent = prompt_sent
    return failure
