"""The results of the last responses, without any text of a prompt, a completion or an API key.

A result quotes values of the evidence, which the server controls: it could copy a prompt or a completion into it. So
they are removed from the quoted values, also where those are in hexadecimal.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from nomyo.errors import HELD, AttestationError, EvidenceLogError, SecurityError
from nomyo.redaction import REDACTED, Redaction, content_texts
from nomyo_attest.evidence.response import METADATA
from nomyo_attest.report.formatting import excerpt

RESULTS_MAX: Final = 100
"""Number of results that are stored."""

_LIST_FORMAT: Final = "nomyo-proxy-results/1"
_FORMAT: Final = "nomyo-proxy-result/1"

_QUOTING: Final = ("expected", "got", "message", "remediation")
"""The members of a finding that quote values."""

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}){8,}", re.ASCII)
_MODEL_MAX: Final = 128


class Results:
    """The results of the last `RESULTS_MAX` responses."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[dict[str, Any], dict[str, Any] | None]] = OrderedDict()
        self._lock = threading.Lock()  # `record` runs in a thread for long texts

    def record(self, payload: Mapping[str, Any], outcome: object, keys: Iterable[str]) -> None:
        """Store the result of a response. Does nothing if `outcome` is an error without one.

        Args:
            payload: the request.
            outcome: the completion, or the exception.
            keys: API keys that were sent.
        """
        code = None
        if isinstance(outcome, dict):
            metadata = _object(outcome.get(METADATA))
            payload_id, result = metadata.get("payload_id"), metadata.get("attestation_result")
            server_key = _object(metadata.get("verification")).get("server_key")
        elif _is_refused_response(outcome):
            assert isinstance(outcome, (SecurityError, EvidenceLogError))
            code = outcome.code if isinstance(outcome, SecurityError) else "evidence_log"
            payload_id, server_key = outcome.payload_id, getattr(outcome, "server_key", None)
            result = outcome.result.to_dict() if isinstance(outcome, AttestationError) else None
        else:
            return
        if result is not None:
            texts = [*keys, *content_texts({name: value for name, value in payload.items() if name != "model"})]
            if isinstance(outcome, dict):
                texts += content_texts(outcome.get("choices"))
            result = _redacted(result, texts)
        model = payload.get("model")
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "payload_id": payload_id,
            "model": excerpt(model, _MODEL_MAX) if isinstance(model, str) else None,
            "released": code is None,
            "code": code,
            "verdict": None if result is None else result["verdict"],
            "failed": [row["rule"] for row in (result or {}).get("findings", ()) if row["outcome"] == "fail"],
            "policy": None if result is None else {name: result["policy"][name] for name in ("id", "digest")},
            "server_key": server_key,
        }
        with self._lock:
            self._entries[str(payload_id)] = entry, result
            self._entries.move_to_end(str(payload_id))
            if len(self._entries) > RESULTS_MAX:
                self._entries.popitem(last=False)

    def list(self) -> dict[str, Any]:
        """Return the list of results, the newest first."""
        with self._lock:
            return {"format": _LIST_FORMAT, "results": [entry for entry, _ in reversed(self._entries.values())]}

    def find(self, payload_id: str) -> dict[str, Any] | None:
        """Return one result in full; None if no response has this payload id."""
        with self._lock:
            found = self._entries.get(payload_id)
        return None if found is None else {"format": _FORMAT, **found[0], "result": found[1]}


def _is_refused_response(error: object) -> bool:
    """Whether an exception means that a response arrived and was refused; a held call got no response."""
    return (
        isinstance(error, (SecurityError, EvidenceLogError))
        and error.payload_id is not None
        and error.stage == "completion"
        and getattr(error, "code", "") != HELD
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _redacted(result: dict[str, Any], texts: Iterable[str]) -> dict[str, Any]:
    """Return a copy of a result whose findings quote none of the texts."""
    redaction = Redaction(texts)
    quoted = [[finding[name] for name in _QUOTING] for finding in result["findings"]]
    digits = sorted({found for text in _texts(quoted) for found in _HEX.findall(text)})
    decoded = [bytes.fromhex(each) for each in digits]
    hidden = {each for each, before, after in zip(digits, decoded, redaction(decoded), strict=True) if before != after}

    def hide(text: str) -> str:
        return _HEX.sub(lambda found: REDACTED if found[0] in hidden else found[0], text)

    clean = redaction(_changed(quoted, hide) if hidden else quoted)
    findings = [
        {**finding, **dict(zip(_QUOTING, values, strict=True))}
        for finding, values in zip(result["findings"], clean, strict=True)
    ]
    return {**result, "findings": findings}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _texts(member)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """Copy a JSON value with its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _changed(member, change) for name, member in value.items()}
    return [_changed(member, change) for member in value] if isinstance(value, list) else value
