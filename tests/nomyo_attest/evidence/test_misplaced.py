"""Evidence that is in a record, but not at the top level, where it is read."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import re
import shutil
import subprocess
import time
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.evidence import read_evidence
from nomyo_attest.evidence.misplaced import BASE64_BYTES_MAX
from nomyo_attest.testing import Forge

FORGE = Forge(key="p256")
RESPONSE: dict[str, Any] = FORGE.response()
TEXT = json.dumps(RESPONSE)
METADATA: dict[str, Any] = RESPONSE["_metadata"]
BLOCK: dict[str, Any] = METADATA["tpm_attestation"]


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def camel_case(value: Any, *, strip: bool = True) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        re.sub(r"(?<=[a-z0-9])_([a-z0-9])", lambda found: found[1].upper(), key.lstrip("_") if strip else key): inner
        if key in ("pcr_values", "choices")
        else camel_case(inner, strip=strip)
        for key, inner in value.items()
    }


WRAPPED: dict[str, tuple[Any, str, str]] = {
    "Docker": ({"log": TEXT + "\n", "stream": "stdout"}, "/log", ".log | fromjson"),
    "Elasticsearch, text": (
        {"_index": "x", "_source": {"message": TEXT}},
        "/_source/message",
        "._source.message | fromjson",
    ),
    "Elasticsearch, object": ({"_index": "x", "_source": RESPONSE}, "/_source", "._source"),
    "Elasticsearch, a search": (
        {"hits": {"hits": [{"_source": RESPONSE}]}},
        "/hits/hits/0/_source",
        ".hits.hits[]._source",
    ),
    "Elasticsearch, several texts of a search": (
        {"hits": {"hits": [{"_source": {"log": TEXT}}]}},
        "/hits/hits/0/_source/log",
        ".hits.hits[]._source.log | fromjson",
    ),
    "Elasticsearch, the original": (
        {"_source": {"event": {"original": TEXT}}},
        "/_source/event/original",
        "._source.event.original | fromjson",
    ),
    "Elasticsearch, fields": ({"fields": {"message": [TEXT]}}, "/fields/message/0", ".fields.message[] | fromjson"),
    "CloudWatch, events": ({"events": [{"message": TEXT}]}, "/events/0/message", ".events[].message | fromjson"),
    "CloudWatch, a subscription": (
        {"logEvents": [{"id": "1", "message": TEXT}]},
        "/logEvents/0/message",
        ".logEvents[].message | fromjson",
    ),
    "SQS": ({"Messages": [{"Body": TEXT}]}, "/Messages/0/Body", ".Messages[].Body | fromjson"),
    "SQS, an event": ({"Records": [{"body": TEXT}]}, "/Records/0/body", ".Records[].body | fromjson"),
    "Kinesis, an event": (
        {"Records": [{"kinesis": {"data": in_base64(TEXT)}}]},
        "/Records/0/kinesis/data",
        ".Records[].kinesis.data | @base64d | fromjson",
    ),
    "Firehose": (
        {"records": [{"data": in_base64(TEXT)}]},
        "/records/0/data",
        ".records[].data | @base64d | fromjson",
    ),
    "Loki, a stream": (
        {"stream": {"app": "x"}, "values": [["1767225600000000000", TEXT]]},
        "/values/0/1",
        ".values[][1] | fromjson",
    ),
    "Loki, a query": (
        {"data": {"resultType": "streams", "result": [{"stream": {}, "values": [["1", TEXT]]}]}},
        "/data/result/0/values/0/1",
        ".data.result[].values[][1] | fromjson",
    ),
    "a string that was encoded twice": ({"log": json.dumps(TEXT)}, "/log", ".log | fromjson | fromjson"),
    "a record that was encoded twice": (json.dumps(TEXT), "", "fromjson | fromjson"),
    "Kafka, base64": ({"topic": "t", "value": in_base64(TEXT)}, "/value", ".value | @base64d | fromjson"),
    "Kafka, text": ({"topic": "t", "payload": TEXT}, "/payload", ".payload | fromjson"),
    "Kafka, object": ({"topic": "t", "value": RESPONSE}, "/value", ".value"),
    "Pub/Sub": ({"message": {"data": in_base64(TEXT)}}, "/message/data", ".message.data | @base64d | fromjson"),
    "OpenTelemetry, attributes": (
        {"attributes": {"llm.response": TEXT}},
        "/attributes/llm.response",
        ".attributes[] | fromjson? | select(._metadata?)",
    ),
    "OpenTelemetry, attributes as exported": (
        {"attributes": [{"key": "model", "value": {"stringValue": "m"}}, {"key": "r", "value": {"stringValue": TEXT}}]},
        "/attributes/1/value/stringValue",
        ".attributes[].value.stringValue // empty | fromjson? | select(._metadata?)",
    ),
    "OpenTelemetry, a log": (
        {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": TEXT}}]}]}]},
        "/resourceLogs/0/scopeLogs/0/logRecords/0/body/stringValue",
        ".resourceLogs[].scopeLogs[].logRecords[].body.stringValue | fromjson",
    ),
    "an array of responses": ([RESPONSE, RESPONSE], "/0", ".[]"),
    "responses in a field": ({"records": [RESPONSE]}, "/records/0", ".records[]"),
    "a string": (TEXT, "", "fromjson"),
    "base64": (in_base64(TEXT), "", "@base64d | fromjson"),
    "its metadata": ({"log": json.dumps(METADATA)}, "/log", ".log | fromjson"),
    "its block": ({"log": json.dumps(BLOCK)}, "/log", ".log | fromjson"),
    "without a TPM": (
        {"log": json.dumps({"_metadata": {"tpm_attestation": {"is_available": False}}})},
        "/log",
        ".log | fromjson",
    ),
}


def misplaced(record: Any) -> na.MisplacedEvidenceError:
    with pytest.raises(na.MisplacedEvidenceError) as caught:
        read_evidence(record if isinstance(record, str) else json.dumps(record))
    return caught.value


@pytest.mark.parametrize("name", WRAPPED)
def test_a_known_wrapper_is_reported_with_its_pointer_and_its_jq_filter(name: str) -> None:
    record, pointer, jq = WRAPPED[name]
    error = misplaced(json.dumps(record))
    assert error.pointer == pointer
    assert f"jq -c '{jq}'" in error.hint
    assert pointer in str(error)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("name", WRAPPED)
def test_the_jq_filter_unwraps_the_record(name: str) -> None:
    record, _, jq = WRAPPED[name]
    ran = subprocess.run(["jq", "-c", jq], input=json.dumps(record), capture_output=True, text=True, check=True)
    evidence = [read_evidence(line) for line in ran.stdout.splitlines()]
    assert evidence
    assert all(one.available or "is_available: false" in one.absence for one in evidence)


def test_a_filter_never_contains_keys_of_the_record() -> None:
    for key in ("x' ; rm -rf ~ ; '", "log'", "a/b~c", "\x1b[31m", "\u202e", "##vso[x]", "k" * 5000, "$(id)"):
        for record in ({key: TEXT}, {key: RESPONSE}, {"_source": {key: TEXT}}, {"records": {key: RESPONSE}}):
            error = misplaced(record)
            assert "jq" not in error.hint
            assert str(error).isascii()
            assert str(error).isprintable()
            assert len(str(error)) < 400


def test_a_pointer_is_escaped_as_in_rfc_6901() -> None:
    assert misplaced({"a/b~c": RESPONSE}).pointer == "/a~1b~0c"
    assert misplaced({'q"\n': RESPONSE}).pointer == '/q\\"\\n'


@pytest.mark.parametrize(
    ("record", "pointer"),
    [
        (camel_case(RESPONSE), "/metadata"),
        (camel_case(RESPONSE, strip=False), "/_metadata/tpmAttestation"),
        (camel_case(METADATA), "/tpmAttestation"),
        (camel_case(BLOCK), "/isAvailable"),
        ({"Tpm-Attestation": BLOCK}, "/Tpm-Attestation"),
        ({"metadata": METADATA, "choices": []}, "/metadata"),
        (
            {f"_metadata.tpm_attestation.{key}": value for key, value in BLOCK.items()},
            "/_metadata.tpm_attestation.is_available",
        ),
        ({f"tpm_attestation_{key}": value for key, value in BLOCK.items()}, "/tpm_attestation_is_available"),
        ({"detail": camel_case(METADATA)}, "/detail"),
        ({key: value for key, value in BLOCK.items() if key != "is_available"}, "/pcr_banks"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_other_spellings_of_the_keys_are_reported(record: Any, pointer: str) -> None:
    error = misplaced(record)
    assert error.pointer == pointer
    assert "not those of the protocol" in str(error)
    assert "tpm_attestation" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        TEXT + "\n" + TEXT,
        f"INFO response: {TEXT}",
        f"data: {TEXT}\n\ndata: [DONE]\n",
        TEXT[:-1],
        in_base64(TEXT + "\n" + TEXT),
    ],
    ids=["lines", "a prefix", "an event stream", "cut off, as Docker does at 16 KiB", "lines in base64"],
)
def test_text_that_is_not_one_json_value_is_reported_if_it_contains_evidence(text: str) -> None:
    error = misplaced({"log": text})
    assert error.pointer == "/log"
    assert "JSON in text that is not a single JSON value" in str(error)
    assert "jq" not in error.hint


@pytest.mark.parametrize(
    "text",
    [in_base64(TEXT + " ").rstrip("="), in_base64(TEXT + " ").replace("+", "-").replace("/", "_").rstrip("=")],
    ids=["no padding", "URL-safe"],
)
def test_base64_without_padding_or_for_urls_is_decoded(text: str) -> None:
    error = misplaced({"v": text})
    assert error.pointer == "/v"
    assert "JSON text in base64" in str(error)
    assert "jq" not in error.hint


def test_json_text_in_json_text_is_reported_without_a_filter() -> None:
    error = misplaced({"log": json.dumps({"log": TEXT})})
    assert error.pointer == "/log"
    assert "JSON text in a string of JSON text" in str(error)
    assert "jq" not in error.hint


@pytest.mark.parametrize("tag", ["stdout F", "stderr P"])
def test_a_line_of_a_container_log_on_kubernetes_is_reported(tag: str) -> None:
    line = f"2026-01-01T00:00:00.123456789Z {tag} {TEXT}"
    for text in (line, line.encode()):
        with pytest.raises(na.MisplacedEvidenceError) as caught:
            read_evidence(text)
        assert "a line of a container log" in str(caught.value)
        assert "cut -d' ' -f4-" in caught.value.hint
    for other in (f"2026-01-01 {TEXT}", "2026-01-01T00:00:00Z stdout F {}", f"x{line}", f"{TEXT} stdout F {TEXT}"):
        with pytest.raises(na.EvidenceError) as caught_other:
            read_evidence(other)
        assert type(caught_other.value) is na.EvidenceError


CHAT = [{"index": 0, "message": {"role": "assistant", "content": TEXT, "tool_calls": [{"arguments": TEXT}]}}]
NOT_EVIDENCE: dict[str, Any] = {
    "a completion": {"choices": CHAT},
    "a completion beside a wrapper": {"choices": CHAT, "log": TEXT, "data": [RESPONSE]},
    "a request": {
        "model": "m",
        "messages": [{"role": "tool", "content": TEXT}, {"role": "user", "content": [RESPONSE]}],
    },
    "a logged request": {"request": {"messages": [{"role": "user", "content": TEXT}], "metadata": {"a": "b"}}},
    "a logged completion": {"response": {"id": "x", "choices": CHAT, "note": TEXT}},
    "a chat message": {"role": "user", "content": TEXT},
    "an array of chat messages": [{"role": "user", "content": TEXT}],
    "output of the Responses API": {"output": [{"type": "message", "role": "assistant", "content": [{"text": TEXT}]}]},
    "text about evidence": {"log": "tpm_attestation has is_available and quote_b64"},
    "a word": {"tpm": {"tpm_attestation": "none"}, "log": '"is_available"'},
    "a product": {"products": [{"sku": 1, "is_available": True}]},
    "a wrapped response without evidence": {"log": json.dumps({"_metadata": {"payload_id": "x"}})},
    "three levels down": {"a": {"b": {"c": RESPONSE}}},
    "three strings deep": {"log": json.dumps({"log": json.dumps({"log": TEXT})})},
    "lines of chats about evidence": {"log": json.dumps({"choices": CHAT}) + "\n" + json.dumps({"choices": CHAT})},
    "a chat about evidence, cut off": {"log": json.dumps({"choices": CHAT})[:-1]},
    "a chat two strings deep": {"log": json.dumps({"log": json.dumps({"choices": CHAT})})},
    "a chat message two strings deep": {"log": json.dumps({"role": "user", "content": TEXT})},
    "nothing": {},
}


@pytest.mark.parametrize("name", NOT_EVIDENCE)
def test_other_content_is_not_mistaken_for_evidence(name: str) -> None:
    text = json.dumps(NOT_EVIDENCE[name])
    if isinstance(NOT_EVIDENCE[name], list):
        with pytest.raises(na.EvidenceError) as caught:
            read_evidence(text)
        assert type(caught.value) is na.EvidenceError
    else:
        assert not read_evidence(text).available


@pytest.mark.parametrize(
    "beside", [{"log": TEXT}, {"data": [RESPONSE]}, {"tpmAttestation": BLOCK}, {"metadata": METADATA}]
)
def test_a_record_whose_top_level_is_recognized_is_never_misplaced(beside: Any) -> None:
    for good in (RESPONSE, METADATA, BLOCK):
        assert read_evidence(json.dumps({**good, **beside})).available
    assert not read_evidence(json.dumps({"_metadata": {"payload_id": "x"}, **beside})).available


def test_base64_is_decoded_up_to_64_kib_and_not_above() -> None:
    room = BASE64_BYTES_MAX - len(json.dumps({**RESPONSE, "pad": ""}))
    fits = json.dumps({**RESPONSE, "pad": "x" * room})
    assert len(fits) == BASE64_BYTES_MAX
    assert misplaced({"value": in_base64(fits)}).pointer == "/value"
    assert misplaced({"value": base64.encodebytes(fits.encode()).decode()}).pointer == "/value"
    assert not read_evidence(json.dumps({"value": in_base64(fits + " ")})).available


@pytest.mark.parametrize(
    "hostile",
    [
        {"value": "QUFB" * 20_000 + " " * 9_000 + "!"},
        {str(n): "tpm_attestation " + "[" * 200 for n in range(10_000)},
        {"a": ['{"is_available":' * 20] * 20_000},
        {"log": json.dumps({"quote_b64": "[" * 400 + "]" * 400} | {str(n): {} for n in range(50_000)})},
        [[{"is_available": 1}] * 100] * 2_000,
    ],
    ids=["almost base64", "many strings", "a long array", "a large string", "many objects"],
)
def test_the_search_is_bounded(hostile: Any) -> None:
    text = json.dumps(hostile)
    begun = time.process_time()
    with contextlib.suppress(na.EvidenceError):
        assert not read_evidence(text).available
    parsing = -time.process_time()
    json.loads(text)
    parsing += time.process_time()
    assert time.process_time() - begun < 1 + 20 * parsing


def test_an_appraisal_refuses_misplaced_evidence_and_says_where_it_is() -> None:
    policy = na.AppraisalPolicy.from_dict(FORGE.policy())
    result = na.appraise({"log": TEXT}, policy)
    assert result.verdict is na.Verdict.CONTRAINDICATED
    assert "evidence.form" in result.failed
    (finding,) = (one for one in result.findings if one.rule == "evidence.form")
    assert "/log" in finding.message
    assert "jq -c '.log | fromjson'" in finding.message


def test_the_error_survives_pickling() -> None:
    error = misplaced({"log": TEXT})
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.pointer, again.form, again.hint) == (error.pointer, error.form, error.hint)
    assert (again.where, again.expected, again.got) == (error.where, error.expected, error.got)
