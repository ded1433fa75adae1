"""Find evidence below the top level of a record, where `read_evidence` does not read it.

Log systems wrap responses: in a field (`{"log": "…"}`), as JSON text in a string, in base64, in an array, or with
different spellings of the keys. Such a record contains evidence, but must be unwrapped before it is appraised.

The search is bounded: two levels of objects and arrays, two strings that are decoded, and `VALUES_MAX` values. It never
enters `choices`, `messages` or a chat message, because text that a model or a user writes is not evidence.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeGuard

from nomyo_attest.errors import EvidenceError, MisplacedEvidenceError
from nomyo_attest.evidence.strict_json import JsonObject, parse_record

VALUES_MAX: Final = 10_000
"""Maximum number of values that one search examines."""

BASE64_BYTES_MAX: Final = 64 * 1024
"""Maximum size of decoded base64 text, in bytes."""

LEVELS: Final = 2
"""Levels of objects and arrays that are searched below the top level; decoding a string does not count as a level."""

_NOT_SEARCHED: Final = frozenset({"choices", "messages"})
_KEY_SHOWN_MAX: Final = 60
"""Maximum characters of a key in a JSON Pointer; the rest is omitted."""

_BLOCK: Final = "tpmattestation"
_METADATA: Final = "metadata"
_FIELDS: Final = ("isavailable", "pcrbanks", "pcrvalues", "quoteb64", "signatureb64", "aikpubkeyb64")
"""The protocol's keys, as `_normalize` returns them. A flattened key, such as `tpm_attestation.quote_b64`, ends with
one of them.
"""

_MENTIONED: Final = re.compile(r"tpm[\W_]*attestation|quote[\W_]*b64|is[\W_]*available", re.IGNORECASE)
"""Text without any of these keys contains no evidence and is not parsed."""

_KEY_IN_TEXT: Final = re.compile(r'(?<!\\)"(?:tpm_attestation|quote_b64)"\s*+:')
"""A key of the evidence in text that is not a single JSON value. In a chat message, its quotation marks are escaped."""

_CONTAINER_LOG: Final = re.compile(rb"\d{4}-\d\d-\d\dT\S{1,40} (?:stdout|stderr) [FP] \{")
"""The start of a line in a Kubernetes container log: a timestamp, a stream and a tag, as the CRI writes them."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\-\s]++={0,2}+\s*+", re.ASCII)
_URL_SAFE: Final = str.maketrans("-_", "+/")
_BASE64_CHARACTERS_MAX: Final = BASE64_BYTES_MAX // 3 * 4 + 4096
"""Maximum characters of base64 text, including line breaks."""

_PARSED: Final = "JSON text in a string"
_PARSED_TWICE: Final = "JSON text in a string, encoded twice"
_DECODED: Final = "JSON text in base64"
_DECODED_VARIANT: Final = "JSON text in base64 without padding or in the URL-safe alphabet"
_NESTED: Final = "JSON text in a string of JSON text"
_TEXT: Final = "JSON in text that is not a single JSON value: several lines, a prefix, or truncated JSON"
_OBJECT: Final = "an object"

_FILTERS: Final = {
    _OBJECT: "",
    _PARSED: " | fromjson",
    _PARSED_TWICE: " | fromjson | fromjson",
    _DECODED: " | @base64d | fromjson",
}
"""Form → the jq filter that decodes the value; other forms have none."""

_WRAPPERS: Final = {
    "/_raw": "._raw",  # Splunk
    "/_source": "._source",  # Elasticsearch
    "/_source/log": "._source.log",
    "/_source/message": "._source.message",
    "/attributes/*": ".attributes[]",  # OpenTelemetry
    "/body": ".body",  # OpenTelemetry, Amazon API Gateway
    "/body/stringValue": ".body.stringValue",
    "/Body": ".Body",  # Amazon SQS
    "/data": ".data",  # CloudEvents, Amazon Kinesis
    "/event": ".event",  # Splunk's HTTP event collector
    "/evidence": ".evidence",  # lines of a ledger, stored verdicts
    "/jsonPayload": ".jsonPayload",  # Google Cloud Logging
    "/line": ".line",  # Grafana Loki
    "/log": ".log",  # Docker, Fluent Bit
    "/message": ".message",  # Logstash, Filebeat, Amazon CloudWatch
    "/message/data": ".message.data",  # Google Pub/Sub
    "/Message": ".Message",  # Amazon SNS
    "/MESSAGE": ".MESSAGE",  # journald
    "/payload": ".payload",  # kcat, Kafka Connect
    "/response": ".response",
    "/response/body": ".response.body",  # batch outputs
    "/result": ".result",  # JSON-RPC
    "/result/_raw": ".result._raw",
    "/textPayload": ".textPayload",
    "/value": ".value",  # Kafka REST
    "/*": ".[]",  # an array of responses
    "/data/*": ".data[]",
    "/items/*": ".items[]",
    "/records/*": ".records[]",
    "/responses/*": ".responses[]",
    "/results/*": ".results[]",
}
"""Known wrappers: the path of the response, and the jq filter that extracts it. `*` is any index of an array, or any
key of OpenTelemetry's attributes. The filters are constants: no text of a record becomes part of a command.
"""

_DEEP_WRAPPERS: Final = (
    ("hits.hits.*._source", ".hits.hits[]._source"),  # Elasticsearch, the result of a search
    ("hits.hits.*._source.message", ".hits.hits[]._source.message"),
    ("hits.hits.*._source.log", ".hits.hits[]._source.log"),
    ("_source.event.original", "._source.event.original"),
    ("fields.message.*", ".fields.message[]"),
    ("events.*.message", ".events[].message"),  # Amazon CloudWatch, get-log-events
    ("logEvents.*.message", ".logEvents[].message"),  # Amazon CloudWatch, subscription
    ("Messages.*.Body", ".Messages[].Body"),  # Amazon SQS
    ("Records.*.body", ".Records[].body"),
    ("Records.*.kinesis.data", ".Records[].kinesis.data"),
    ("records.*.data", ".records[].data"),  # Amazon Data Firehose
    ("values.*.1", ".values[][1]"),  # Grafana Loki, a stream
    ("data.result.*.values.*.1", ".data.result[].values[][1]"),  # Grafana Loki, the result of a query
    ("attributes.*.value.stringValue", ".attributes[].value.stringValue // empty"),  # OpenTelemetry, as exported
    (
        "resourceLogs.*.scopeLogs.*.logRecords.*.body.stringValue",
        ".resourceLogs[].scopeLogs[].logRecords[].body.stringValue",
    ),
    (
        "resourceLogs.*.scopeLogs.*.logRecords.*.attributes.*.value.stringValue",
        ".resourceLogs[].scopeLogs[].logRecords[].attributes[].value.stringValue // empty",
    ),
    (
        "resourceSpans.*.scopeSpans.*.spans.*.attributes.*.value.stringValue",
        ".resourceSpans[].scopeSpans[].spans[].attributes[].value.stringValue // empty",
    ),
)
"""Known wrappers in which the response is deeper than `LEVELS`."""

_SELECT: Final = " | select(._metadata?)"
"""Appended to a filter that also returns values without evidence."""

_UNWRAP_HINT: Final = "unwrap the records first, so that each is a response"
_SPELLING_HINT: Final = (
    "store the response as it was received: the keys are _metadata, tpm_attestation, is_available, pcr_banks, "
    "pcr_values, quote_b64, signature_b64, aik_pubkey_b64"
)


class _Match(NamedTuple):
    """Evidence that was found.

    Attributes:
        path: keys and indices that lead to it.
        form: how it is encoded, such as `_PARSED`.
        is_exact: whether its keys are spelled as in the protocol.
        jq: the filter that extracts it from a deep wrapper; empty for any other evidence.
    """

    path: tuple[str | int, ...]
    form: str
    is_exact: bool
    jq: str = ""


def find_misplaced(document: object) -> MisplacedEvidenceError | None:
    """Find evidence in a part of a parsed record that `read_evidence` does not read; None if there is none.

    Args:
        document: a JSON value whose top level has none of `_metadata`, `tpm_attestation` and `is_available`. If it has
            `choices`, as a response does, the search is limited to other spellings of those keys.
    """
    match = _respelled_match(document)
    if match is None and not (_is_object(document) and "choices" in document):
        search = _Search()
        match = search.below(document) or search.in_deep_wrappers(document)
    return None if match is None else _error_for(match)


def find_in_container_log(text: str | bytes) -> MisplacedEvidenceError | None:
    """Find evidence in a line of a container log, after its prefix; None if there is none."""
    head = text[:100]
    prefix = _CONTAINER_LOG.match(head if isinstance(head, bytes) else head.encode("utf-8", "replace"))
    if prefix is None or not _KEY_IN_TEXT.search(text if isinstance(text, str) else text.decode("utf-8", "replace")):
        return None
    form = "a line of a container log: JSON text after a timestamp and a stream name"
    return MisplacedEvidenceError("", form, "remove the prefix of each line first: `cut -d' ' -f4-`")


def find_respelled(metadata: dict[Any, Any]) -> MisplacedEvidenceError | None:
    """Find evidence under a different spelling of `tpm_attestation` in a `_metadata` without that key."""
    match = _respelled_match(metadata)
    return None if match is None else _error_for(match._replace(path=("_metadata", *match.path)))


def _error_for(match: _Match) -> MisplacedEvidenceError:
    pointer = _pointer(match.path)
    if not match.is_exact:
        return MisplacedEvidenceError(pointer, "its keys are not those of the protocol", _SPELLING_HINT)
    if match.form not in _FILTERS:
        return MisplacedEvidenceError(pointer, match.form, _UNWRAP_HINT)
    if match.jq:
        return MisplacedEvidenceError(pointer, match.form, _jq_hint(match.jq, match.form))
    if not match.path:
        return MisplacedEvidenceError(pointer, match.form, _jq_hint("", match.form))
    wrapper = next((pattern for pattern in _patterns(match.path) if pattern in _WRAPPERS), "")
    if wrapper == "/evidence":
        hint = "nomyo-attest audit reads ledger lines and stored verdicts directly"
        return MisplacedEvidenceError(pointer, match.form, f"{hint}; to unwrap them: `jq -c '.evidence'`")
    if wrapper:
        return MisplacedEvidenceError(pointer, match.form, _jq_hint(_WRAPPERS[wrapper], match.form))
    return MisplacedEvidenceError(pointer, match.form, _UNWRAP_HINT)


def _jq_hint(wrapper: str, form: str) -> str:
    returns_other_values = " // empty" in wrapper or wrapper == ".attributes[]"
    jq = wrapper + _FILTERS[form]
    if returns_other_values:
        jq = wrapper + _FILTERS[form].replace("fromjson", "fromjson?") + _SELECT
    return f"unwrap the records first: `jq -c '{jq.removeprefix(' | ')}'`"


def _patterns(path: tuple[str | int, ...]) -> Iterator[str]:
    """Yield the keys of `_WRAPPERS` that a path can match: the path itself, and the path with a final ``*``."""
    if all(type(step) is str and step.replace("_", "").isalpha() for step in path):
        yield "/" + "/".join(map(str, path))
    if path and (type(path[-1]) is int or path[:-1] == ("attributes",)):
        yield "/" + "/".join([*map(str, path[:-1]), "*"])


def _pointer(path: tuple[str | int, ...]) -> str:
    """Return a JSON Pointer (RFC 6901) in ASCII, with long keys truncated."""
    steps = []
    for step in path:
        text = str(step)
        shown = text if len(text) <= _KEY_SHOWN_MAX else f"{text[:_KEY_SHOWN_MAX]}…"
        steps.append(json.dumps(shown.replace("~", "~0").replace("/", "~1"))[1:-1])
    return "".join(f"/{step}" for step in steps)


class _Search:
    """One bounded search through one record."""

    def __init__(self) -> None:
        self._values_left = VALUES_MAX

    def below(
        self, document: Any, path: tuple[str | int, ...] = (), levels: int = LEVELS, form: str = ""
    ) -> _Match | None:
        """Return the first evidence below `document`; `form` is the form of the string that contained `document`."""
        if levels:
            for step, value in self._children(document):
                inner_path = (*path, step)
                match = self._at(value, inner_path, form) or self.below(value, inner_path, levels - 1, form)
                if match is not None:
                    return match
        if not form and not path and type(document) is str:
            return self._at(document, path, form)
        return None

    def _at(self, value: Any, path: tuple[str | int, ...], form: str) -> _Match | None:
        """Return a match if `value` is evidence, or a string that contains evidence."""
        if _is_object(value):
            is_exact = _has_protocol_keys(value)
            return None if is_exact is None else _Match(path, form or _OBJECT, is_exact)
        if type(value) is not str or form == _NESTED:
            return None
        for decoded, encoding in _decode_text(value):
            if encoding == _TEXT:
                return _Match(path, _TEXT, is_exact=True)
            decoded_form = _NESTED if form else encoding
            if _is_object(decoded):
                is_exact = _has_protocol_keys(decoded)
                if is_exact is not None:
                    return _Match(path, decoded_form, is_exact)
            levels = max(LEVELS - len(path), int(type(decoded) is list))
            match = self.below(decoded, path, levels, decoded_form)
            if match is not None:
                return match._replace(path=path)
        return None

    def in_deep_wrappers(self, document: Any) -> _Match | None:
        """Return the first evidence in a known wrapper that `below` does not reach."""
        for pattern, jq in _DEEP_WRAPPERS:
            for path, value in self._values_at(document, pattern.split("."), ()):
                match = self._at(value, path, "")
                if match is not None:
                    return match._replace(jq=jq)
        return None

    def _values_at(
        self, value: Any, steps: list[str], path: tuple[str | int, ...]
    ) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        """Yield the values that the steps of a pattern lead to, with their paths."""
        if not steps:
            yield path, value
        elif steps[0] == "*":
            if type(value) is list:
                for index, inner in self._children(value):
                    yield from self._values_at(inner, steps[1:], (*path, index))
        elif steps[0].isdigit():
            if type(value) is list and int(steps[0]) < len(value):
                yield from self._values_at(value[int(steps[0])], steps[1:], (*path, int(steps[0])))
        elif _is_object(value) and steps[0] in value:
            yield from self._values_at(value[steps[0]], steps[1:], (*path, steps[0]))

    def _children(self, value: Any) -> Iterator[tuple[str | int, Any]]:
        """Yield the searchable values in an object or array, with their keys or indices."""
        children: Any = ()
        if type(value) is list:
            children = enumerate(value)
        elif _is_object(value) and "choices" not in value and not ("role" in value and "content" in value):
            children = value.items()  # neither a response nor a chat message
        for step, inner in children:
            if self._values_left <= 0:
                return
            self._values_left -= 1
            if type(step) in (str, int) and step not in _NOT_SEARCHED:
                yield step, inner


def _is_object(value: object) -> TypeGuard[dict[Any, Any]]:
    return type(value) in (dict, JsonObject)


def _decode_text(text: str) -> Iterator[tuple[Any, str]]:
    """Yield the JSON value in a string with its form; None with `_TEXT` if the string is not a single JSON value."""
    if _MENTIONED.search(text):
        yield from _parse_text(text, _PARSED)
    elif 16 < len(text) <= _BASE64_CHARACTERS_MAX and _BASE64.fullmatch(text):
        plain = "".join(text.split())
        padded = plain.rstrip("=").translate(_URL_SAFE)
        padded += "=" * (-len(padded) % 4)
        try:
            content = binascii.a2b_base64(padded)
        except ValueError:
            return
        if len(content) <= BASE64_BYTES_MAX and _MENTIONED.search(content.decode("utf-8", "replace")):
            yield from _parse_text(content, _DECODED if plain == padded else _DECODED_VARIANT)


def _parse_text(text: str | bytes, form: str) -> Iterator[tuple[Any, str]]:
    try:
        value = parse_record(text)
        if type(value) is str and form == _PARSED and _MENTIONED.search(value):
            value, form = parse_record(value), _PARSED_TWICE
        yield value, form
    except (EvidenceError, ValueError):  # ValueError: a lone surrogate
        if _KEY_IN_TEXT.search(text if isinstance(text, str) else text.decode("utf-8", "replace")):
            yield None, _TEXT


def _respelled_match(value: object) -> _Match | None:
    """Return a match if `value` itself is evidence whose keys are not spelled as in the protocol."""
    if not _is_object(value):
        return None
    names = {_normalize(key): key for key in value if type(key) is str}
    for name, is_evidence in ((_BLOCK, _is_block), (_METADATA, _is_metadata)):
        if name in names and is_evidence(value[names[name]]):
            return _Match((names[name],), _OBJECT, is_exact=False)
    if _count_fields(value) >= 2:
        first = next(key for name, key in names.items() if name.endswith(_FIELDS))
        return _Match((first,), _OBJECT, is_exact=False)
    return None


def _has_protocol_keys(value: dict[Any, Any]) -> bool | None:
    """Whether evidence has the keys of the protocol (True) or other spellings (False); None if it is not evidence."""
    block = value.get("tpm_attestation")
    metadata = value.get("_metadata")
    if _is_block(block) or (_is_object(metadata) and _is_block(metadata.get("tpm_attestation"))):
        return True
    if "is_available" in value and _count_fields(value) >= 2:
        return True
    return None if _respelled_match(value) is None else False


def _is_block(value: object) -> bool:
    """Whether the value of a key that is spelled like `tpm_attestation` has at least one of the block's fields."""
    return _count_fields(value) >= 1


def _is_metadata(value: object) -> bool:
    """Whether the value of a key that is spelled like `_metadata` contains evidence."""
    if not _is_object(value):
        return False
    block = next((value[key] for key in value if type(key) is str and _normalize(key) == _BLOCK), None)
    return _is_block(block) or _count_fields(value) >= 2


def _count_fields(value: object) -> int:
    """Count the fields of the block that an object has, in any spelling."""
    if not _is_object(value):
        return 0
    names = [_normalize(key) for key in value if type(key) is str]
    return sum(any(name.endswith(field) for name in names) for field in _FIELDS)


def _normalize(key: str) -> str:
    """Return a key in lower case without separators: `TPM-Attestation` and `tpm_attestation` are equal."""
    return "".join(character for character in key[-_KEY_SHOWN_MAX:].lower() if character.isalnum())
