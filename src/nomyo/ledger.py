"""The evidence of every answer that was opened, kept before the answer is handed over or refused."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from os import PathLike
from typing import Any, Final

from nomyo.answer import METADATA, Opened
from nomyo.background import BackgroundResult
from nomyo.config import check_path
from nomyo.errors import ArgumentError, AttestationError, EvidenceLogError, SecurityError
from nomyo.redaction import Redaction, texts
from nomyo_attest._version import __version__
from nomyo_attest.errors import LedgerError
from nomyo_attest.ledger import EvidenceLog, Receipt
from nomyo_attest.policy import AppraisalPolicy
from nomyo_attest.report.formatting import sanitize

logger = logging.getLogger("nomyo")

FAILURES: Final = ("raise", "warn")
"""What may become of an answer whose evidence could not be kept: it is lost, or handed over all the same."""

_CLIENT: Final = {"name": "nomyo", "version": __version__}


class Ledger:
    """Where a client keeps evidence, and what becomes of an answer if that fails.

    Raises:
        ArgumentError: an argument makes no sense.
        EvidenceLogError: with `failure` ``"raise"``, the file cannot be appended to.
    """

    def __init__(self, log: EvidenceLog, failure: str) -> None:
        self.log: Final = log
        self._raises = failure == "raise"
        if self._raises:
            self._check()

    @classmethod
    def of(cls, log: object, failure: object) -> Ledger | None:
        """The ledger that a client's arguments ask for; None for none."""
        if failure not in FAILURES:
            shown = repr(failure[:40]) if isinstance(failure, str) else type(failure).__name__
            raise ArgumentError(f"evidence_log_failure: expected one of {', '.join(FAILURES)}, got {shown}")
        return None if log is None else cls(load_log(log), str(failure))

    async def ready(self) -> None:
        """See, before anything is sent, whether the answer's evidence could be kept, if it must be.

        Raises `EvidenceLogError`.
        """
        if self._raises:
            await BackgroundResult(self._check).get()

    def _check(self) -> None:
        try:
            self.log.check()
        except LedgerError as error:
            raise _failure(error, prompt_sent=False) from None

    async def keep(
        self,
        opened: Opened,
        payload_id: str,
        policy: AppraisalPolicy | None,
        result: dict[str, Any] | None,
        refusal: SecurityError | None,
        secrets: Iterable[str],
        gate: str | None = None,
    ) -> dict[str, Any]:
        """Keep the evidence of an answer; returns when it is on the disk. To give up waiting does not stop it.

        Args:
            policy, result: what the evidence was appraised by, and the result, unless it is in the refusal.
            refusal: why the answer is not handed over; it is told where the evidence is.
            secrets: what must not be kept, besides the completion.
            gate: ``"on"`` or ``"off"`` if there is a policy, else None.

        Returns what the answer's `_metadata` is to say of it. Raises `EvidenceLogError`, unless there is a refusal:
        that is what a caller must hear of first, and it tells of the other.
        """
        if isinstance(refusal, AttestationError):
            result = refusal.result.to_dict()
        line = _Line(opened, payload_id, policy, result, None if refusal is None else refusal.code, [*secrets], gate)
        try:
            receipt = await BackgroundResult(partial(line.append, self.log)).get()
        except LedgerError as error:
            failure = error
        else:
            kept = {"kept": True, "number": receipt.number, "digest": receipt.digest, "path": receipt.path}
            return _noted(kept, refusal)
        if self._raises and refusal is None:
            raise _failure(failure, prompt_sent=True)
        # In the place of the error itself, whose frames hold the answer: log records are kept.
        problem = sanitize(str(failure))
        logger.warning("the evidence of answer %s was not kept: %s", payload_id, problem)
        return _noted({"kept": False, "problem": problem}, refusal)


def _noted(kept: dict[str, Any], refusal: SecurityError | None) -> dict[str, Any]:
    if refusal is not None:
        refusal.evidence_log = kept
    return kept


class _Line:
    """A line to be appended."""

    def __init__(
        self,
        opened: Opened,
        payload_id: str,
        policy: AppraisalPolicy | None,
        result: dict[str, Any] | None,
        refused: str | None,
        secrets: list[str],
        gate: str | None,
    ) -> None:
        self._opened = opened
        self._payload_id = payload_id
        self._policy = policy
        self._at = None if result is None else result["appraised_at"]
        self._refused = refused
        self._secrets = secrets
        self._gate = gate

    def append(self, log: EvidenceLog) -> Receipt:
        """Append it; takes as long as the disk does. Raises `LedgerError`."""
        return log.append(
            self._response(),
            payload_id=self._payload_id,
            policy=self._policy,
            # The appraisal of what is kept is of the same moment, so that it gives the same.
            now=None if self._at is None else datetime.fromisoformat(self._at),
            refused=self._refused,
            gate=self._gate,
            withhold=self._withheld,
            client=_CLIENT,
        )

    def _response(self) -> dict[str, Any]:
        """The answer, with the time that users get to see, unless the policy asks for the server's."""
        completion, processed_at = self._opened.completion, self._opened.processed_at
        metadata = completion[METADATA]
        asked = self._policy is not None and "processed_at" in self._policy.claims
        if processed_at is None or asked or "processed_at" in metadata:
            return completion
        return {**completion, METADATA: {**metadata, "processed_at": processed_at}}

    def _withheld(self, said: list[str]) -> set[str]:
        """Which texts hold something of what was sent or answered."""
        told = Redaction([*self._secrets, *texts(self._opened.completion.get("choices"))])(said)
        return {before for before, after in zip(said, told, strict=True) if before != after}


def load_log(log: object) -> EvidenceLog:
    """The ledger itself, or the one in a file. Raises `ArgumentError`."""
    if isinstance(log, EvidenceLog):
        return log
    if isinstance(log, (str, PathLike)) and not str(log):
        raise ArgumentError("evidence_log: expected a path, got an empty one")
    return EvidenceLog(check_path("evidence_log", log))


def _failure(error: LedgerError, *, prompt_sent: bool) -> EvidenceLogError:
    lost = "the evidence of an answer could not be kept, so the answer is not handed over: " if prompt_sent else ""
    failure = EvidenceLogError(error.path, lost + error.problem, error.hint)
    failure.prompt_sent = prompt_sent
    return failure
