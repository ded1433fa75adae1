"""Every fault of the table does what it says, and nothing else is wrong."""

from __future__ import annotations

import base64
import binascii
import gzip
import http.client
import io
import json
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import nomyo_attest as na
from nomyo.router import FAULTS, RouterError, RouterOptions, RunningRouter
from nomyo.router.faults import STAGES
from nomyo.router.faults import http as http_faults
from nomyo.router.faults.http import DETAILS
from tests.nomyo.router.router_calls import appraise, block, client_of, policy_of
from tests.nomyo.wire.simple_client import OAEP, Client, ClientResponse, client_key_pair, read, request_headers, sealed

NAMES = [fault.name for fault in FAULTS]


def parsed(answer: ClientResponse) -> Any:
    return json.loads(answer.body)


def opened(answer: ClientResponse, *, size: int = 16, inside: bool = False) -> bytes:
    """The plaintext of an answer, by whoever knows how it was sealed."""
    package = parsed(answer)
    inner = {name: base64.b64decode(text) for name, text in package["encrypted_payload"].items()}
    if inside:
        inner["ciphertext"], inner["tag"] = inner["ciphertext"][:-16], inner["ciphertext"][-16:]
    key = client_key_pair().decrypt(base64.b64decode(package["encrypted_aes_key"]), OAEP)
    assert len(key) == size
    mode = modes.GCM(inner["nonce"], inner["tag"], min_tag_length=len(inner["tag"]))
    decryptor = Cipher(algorithms.AES(key), mode).decryptor()
    return decryptor.update(inner["ciphertext"]) + decryptor.finalize()


def length_of(part: str, length: int) -> Callable[[ClientResponse], None]:
    def check(answer: ClientResponse) -> None:
        assert len(base64.b64decode(parsed(answer)["encrypted_payload"][part])) == length
        assert json.loads(opened(answer, size=32))["choices"]

    return check


def unreadable(why: str) -> Callable[[ClientResponse], None]:
    """The strict reader of the tests says so."""

    def check(answer: ClientResponse) -> None:
        assert answer.status == 200
        with pytest.raises(ValueError, match=f"^{why}$"):
            read(answer)

    return check


def error(status: int, body: Any, header: tuple[str, str] | None = None) -> Callable[[ClientResponse], None]:
    def check(answer: ClientResponse) -> None:
        assert answer.status == status
        assert parsed(answer) == body
        if header is None:
            assert "retry" not in str(answer.headers).lower()
        else:
            assert answer.headers[header[0].lower()] == header[1]

    return check


def page(status: int) -> Callable[[ClientResponse], None]:
    def check(answer: ClientResponse) -> None:
        assert answer.status == status
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.body.startswith(b"<!DOCTYPE html>")

    return check


def empty(status: int) -> Callable[[ClientResponse], None]:
    def check(answer: ClientResponse) -> None:
        assert (answer.status, answer.body) == (status, b"")

    return check


def metadata(change: Callable[[dict[str, Any]], None]) -> Callable[[ClientResponse], None]:
    """A sound answer whose metadata is as `change` asserts."""
    return lambda answer: change(json.loads(opened(answer, size=32))["_metadata"])


def dated(status: int) -> Callable[[ClientResponse], None]:
    def check(answer: ClientResponse) -> None:
        assert answer.status == status
        ahead = parsedate_to_datetime(answer.headers["retry-after"]).timestamp() - time.time()
        assert 0 < ahead <= 2.1

    return check


def said(expected: str) -> Callable[[ClientResponse], None]:
    """Bytes that stand in a plaintext which opens."""
    return lambda answer: pytest.fail("not there") if expected.encode() not in opened(answer, size=32) else None


def unbound(answer: ClientResponse) -> None:
    with pytest.raises(ValueError, match=r"^payload_id 6f1c8a52"):
        read(answer)


def redirected(answer: ClientResponse) -> None:
    assert answer.status == 307
    assert answer.headers["location"] == "/v1/elsewhere"


def another_time(answer: ClientResponse) -> None:
    inner = json.loads(opened(answer, size=32))["_metadata"]["processed_at"]
    assert parsed(answer)["processed_at"] - inner == 86_400


def in_lines(answer: ClientResponse) -> None:
    text = parsed(answer)["encrypted_payload"]["ciphertext"]
    assert "\n" in text
    with pytest.raises(binascii.Error):
        base64.b64decode(text, validate=True)
    assert json.loads(opened(answer, size=32))["choices"]


def bare(answer: ClientResponse) -> None:
    assert b"tpm_attestation" not in opened(answer, size=32)


ANSWERS: dict[str, Callable[[ClientResponse], None]] = {
    **{f"status-{status}": error(status, {"detail": detail}) for status, detail in DETAILS.items()},
    **{
        f"status-{status}-{name}": error(status, {"detail": DETAILS[status]}, header)
        for status in (429, 503)
        for name, header in {
            "seconds": ("Retry-After", "1"),
            "ms": ("retry-after-ms", "1000"),
            "long": ("Retry-After", "1800"),
            "invalid": ("Retry-After", "soon"),
        }.items()
    },
    "status-429-date": dated(429),
    "status-503-date": dated(503),
    "status-204": empty(204),
    "error-list": error(400, ["The request is invalid"]),
    "error-list-503": error(503, ["The request is invalid"]),
    "error-string": error(400, "The request is invalid"),
    "error-string-503": error(503, "The request is invalid"),
    "error-null": error(400, None),
    "error-number": error(400, 400),
    "error-detail-list": error(400, {"detail": [{"loc": ["body"], "msg": "field required"}]}),
    "error-detail-null": error(400, {"detail": None}),
    "error-detail-missing": error(400, {"error": {"message": "The request is invalid"}}),
    "error-detail-long": error(400, {"detail": "x" * (1 << 20)}),
    "error-detail-control": error(400, {"detail": "a\x1b[2J\r\nb\u202ec"}),
    "error-html": page(502),
    "error-empty": empty(400),
    "html": page(200),
    "empty": empty(200),
    "redirect": redirected,
    "echo-payload-id": unbound,
    "echo-missing": unreadable("payload_id missing"),
    "echo-tier": unreadable("security_tier high"),
    "processed-at": another_time,
    "metadata-null": unreadable("_metadata is a NoneType"),
    "metadata-list": unreadable("_metadata is a list"),
    "metadata-string": unreadable("_metadata is a str"),
    "metadata-missing": unreadable("_metadata is a NoneType"),
    "text-list": unreadable("plaintext is a list"),
    "text-null": unreadable("plaintext is a NoneType"),
    "text-nan": unreadable("plaintext has NaN"),
    "text-infinity": unreadable("plaintext has -Infinity"),
    "text-huge-number": said('"score": 1e999}'),
    "text-not-json": unreadable("plaintext is no JSON"),
    "text-truncated": unreadable("plaintext is no JSON"),
    "text-empty": unreadable("plaintext is no JSON"),
    "text-not-utf8": unreadable("plaintext is no text"),
    "text-duplicate-key": unreadable("plaintext has a name twice"),
    "text-deep": unreadable("plaintext is too deep"),
    "client-key-swapped": unreadable("not wrapped to us"),
    "encryption-aes-128": lambda answer: json.loads(opened(answer, size=16)),
    "encryption-nonce-8": length_of("nonce", 8),
    "encryption-tag-12": length_of("tag", 12),
    "encryption-tag-inside": lambda answer: json.loads(opened(answer, size=32, inside=True)),
    "encryption-tag-flipped": unreadable("does not open"),
    "encryption-ciphertext-flipped": unreadable("does not open"),
    "encryption-nonce-flipped": unreadable("does not open"),
    "encryption-key-flipped": unreadable("not wrapped to us"),
    "package-version": unreadable("version 0.9"),
    "package-algorithm": unreadable("algorithm hybrid-aes128-rsa2048"),
    "package-key-algorithm": unreadable("key_algorithm RSA-PKCS1-v1_5"),
    "package-payload-algorithm": unreadable("payload_algorithm AES-CBC"),
    **{
        f"package-without-{name}": unreadable(f"{name} missing")
        for name in ("version", "algorithm", "encrypted_payload", "encrypted_aes_key", "ciphertext", "nonce", "tag")
    },
    "package-payload-list": unreadable("encrypted_payload is a list"),
    "package-list": unreadable("body is a list"),
    "package-processed-at": unreadable("processed_at is no number"),
    "package-base64": in_lines,
    "package-not-json": unreadable("body is no JSON"),
    "package-truncated": unreadable("body is no JSON"),
    "package-trailing-data": unreadable("body is no JSON"),
    "evidence-missing": bare,
}
"""Fault → what its answer must be like, to a request at no tier."""


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_is_wrong_as_the_fault_says(router: RunningRouter, client: Client, name: str) -> None:
    router.fault = name
    ANSWERS[name](client.call(tier=None))
    router.fault = None
    read(client.call())  # and right again without it


EVIDENCE: dict[str, tuple[str, ...]] = {
    "quote-nonce": ("nonce.match",),
    "quote-magic": ("attest.magic",),
    "quote-type": ("attest.type",),
    "quote-swapped-values": ("pcr.digest", "pcr.values"),
    "quote-sha1-bank": ("pcr.values",),
    "quote-extra-pcr": ("pcr.selection",),
    "quote-unreported-pcr": ("pcr.selection",),
    "quote-missing-pcr": ("pcr.values",),
    "quote-unrestricted": ("key.attributes",),
    "quote-other-key": ("signature.valid",),
    "quote-sized": (),
    "quote-bare-key": (),
    "evidence-without-quote_b64": ("evidence.form",),
    "evidence-without-signature_b64": ("evidence.form",),
    "evidence-without-aik_pubkey_b64": ("evidence.form",),
    "evidence-without-pcr_values": ("evidence.form",),
    "evidence-without-pcr_banks": ("evidence.form",),
}
"""Fault → the rules that do not hold; none where the evidence is only unusual."""


@pytest.mark.parametrize("name", EVIDENCE)
def test_the_evidence_is_wrong_as_the_fault_says(router: RunningRouter, client: Client, name: str) -> None:
    policy = policy_of(client.call())
    router.fault = name
    answer = client.call()
    result = appraise(answer, policy)
    assert result.failed == EVIDENCE[name], result.undecided
    assert (result.verdict is na.Verdict.AFFIRMING) is (EVIDENCE[name] == ())
    assert read(answer)["choices"]  # the answer around it is sound


def test_evidence_that_is_unavailable_cannot_be_judged(router: RunningRouter, client: Client) -> None:
    policy = policy_of(client.call())
    router.fault = "evidence-unavailable"
    answer = client.call()
    assert block(answer) == {"is_available": False}
    assert appraise(answer, policy).verdict is na.Verdict.NONE


def test_unusual_evidence_is_unusual(router: RunningRouter, client: Client) -> None:
    for name, field, prefix in (("quote-sized", "quote_b64", b"\x00"), ("quote-bare-key", "aik_pubkey_b64", b"\0\x23")):
        honest = base64.b64decode(block(client.call())[field])
        router.fault = name
        unusual = base64.b64decode(block(client.call())[field])
        router.fault = None
        assert abs(len(unusual) - len(honest)) == 2
        assert unusual.startswith(prefix)


def test_a_sha1_bank_is_refused_even_by_a_policy_that_knows_its_values(router: RunningRouter, client: Client) -> None:
    router.fault = "quote-sha1-bank"
    policy = policy_of(client.call())
    assert "pcr.bank" in appraise(client.call(), policy).failed


def served(client: Client) -> tuple[int, bytes]:
    response = client.send("GET", "/pki/public_key")
    return response.status, response.read()


def loaded(body: bytes) -> Any:
    return serialization.load_pem_public_key(body)


def unloadable(status: int, body: bytes) -> None:
    assert status == 200
    with pytest.raises(ValueError, match=r"PEM|key"):
        loaded(body)


def key_of(bits: int) -> Callable[[int, bytes], None]:
    def check(status: int, body: bytes) -> None:
        key = loaded(body)
        assert isinstance(key, rsa.RSAPublicKey)
        assert (status, key.key_size) == (200, bits)

    return check


def refused(status: int) -> Callable[[int, bytes], None]:
    def check(got: int, body: bytes) -> None:
        assert got == status

    return check


def an_ec_key(status: int, body: bytes) -> None:
    assert isinstance(loaded(body), ec.EllipticCurvePublicKey)


def two_keys(status: int, body: bytes) -> None:
    assert body.count(b"-----BEGIN PUBLIC KEY-----") == 2


def a_page(status: int, body: bytes) -> None:
    assert (status, body[:15]) == (200, b"<!DOCTYPE html>")


KEYS: dict[str, Callable[[int, bytes], None]] = {
    "key-503": refused(503),
    "key-404": refused(404),
    "key-html": a_page,
    "key-redirect": refused(307),
    "key-empty": unloadable,
    "key-truncated": unloadable,
    "key-bundle": two_keys,
    "key-rsa-1024": key_of(1024),
    "key-rsa-2048": key_of(2048),
    "key-ec": an_ec_key,
    "key-mismatched": key_of(4096),
}


@pytest.mark.parametrize("name", KEYS)
def test_the_key_is_wrong_as_the_fault_says(router: RunningRouter, client: Client, name: str) -> None:
    honest = served(client)
    router.fault = name
    wrong = served(client)
    KEYS[name](*wrong)
    assert wrong != honest
    router.fault = None
    assert served(client) == honest


def test_a_request_sealed_to_another_key_than_the_router_s_is_a_400(router: RunningRouter, client: Client) -> None:
    router.fault = "key-mismatched"
    assert client.call().status == 400


def test_a_replayed_answer_is_that_to_another_request(router: RunningRouter, client: Client) -> None:
    first = client.call({"model": "m", "messages": [{"role": "user", "content": "first"}]})
    router.fault = "replay"
    second = client.call({"model": "m", "messages": [{"role": "user", "content": "second"}]})
    assert second.body == first.body
    with pytest.raises(ValueError, match=f"^payload_id {first.payload_id}"):
        read(second)


def test_a_reset_before_comes_before_anything_is_processed(router: RunningRouter, client: Client) -> None:
    before = router.counts.responses
    router.fault = "reset-before"
    with pytest.raises(ConnectionResetError):
        client.call()
    assert router.counts.responses == before


def test_a_reset_after_comes_when_all_is_processed(router: RunningRouter, client: Client) -> None:
    before = router.counts.responses
    router.fault = "reset-after"
    with pytest.raises(ConnectionResetError):
        client.call()
    assert router.counts.responses == before + 1


def test_a_cut_answer_promises_more_than_arrives(router: RunningRouter, client: Client) -> None:
    router.fault = "cut"
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.call()
    assert caught.value.expected is not None
    assert abs(len(caught.value.partial) - caught.value.expected) <= 1  # a half is there, a half is missing


def test_a_dripping_answer_comes_slowly_and_whole(
    router: RunningRouter, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_faults, "DRIP_SECONDS", 0.005)
    router.fault = "drip"
    began = time.monotonic()
    answer = client.call()
    pieces = len(answer.body) / http_faults.DRIP_BYTES
    assert time.monotonic() - began > 0.8 * (pieces - 1) * 0.005
    read(answer)


def test_a_dripping_answer_ends_when_the_client_goes(
    server_key: rsa.RSAPrivateKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    options = RouterOptions(tpm="none", fault="drip")
    with RunningRouter(options, server_key=server_key) as router:
        with client_of(router) as client:  # whole, the answer would take a minute
            question = {"model": "m", "messages": [{"role": "user", "content": "x" * 60_000}]}
            body = sealed(question, server_key.public_key())
            response = client.send("POST", "/v1/chat/secure_completion", request_headers("6f1c2c1e"), body)
            assert len(response.read(100)) == 100
        time.sleep(0.3)
    assert "Cancel" not in caplog.text  # nothing was left to be cancelled when the router ended


def test_a_gzip_bomb_is_small_on_the_wire_and_huge_behind(router: RunningRouter, client: Client) -> None:
    router.fault = "gzip-bomb"
    answer = client.call()
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < http_faults.BOMB_BYTES // 500
    size = 0
    with gzip.open(io.BytesIO(answer.body)) as inflated:
        while piece := inflated.read(1 << 20):
            assert piece.count(b" ") == len(piece)
            size += len(piece)
    assert size == http_faults.BOMB_BYTES


OTHERS = {"evidence-unavailable", "replay", "reset-before", "reset-after", "cut", "drip", "gzip-bomb"}


def test_every_fault_of_the_table_is_tested_here() -> None:
    assert sorted(NAMES) == sorted([*ANSWERS, *EVIDENCE, *KEYS, *OTHERS])


def test_names_are_unique_slugs_and_stages_are_known() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for fault in FAULTS:
        assert fault.stage in STAGES
        assert fault.name.isascii()
        assert " " not in fault.name
        assert fault.reason.endswith(".")


def test_the_faults_that_the_protocol_lists_are_there() -> None:
    """wire-protocol, section 10: items 4, 6 and 7, in its order."""
    named = [
        "status-401", "status-403", "status-404", "status-503", "status-429", "status-429-seconds", "status-429-date",
        "status-429-ms",
        "echo-payload-id", "client-key-swapped", "replay",
        "encryption-aes-128", "encryption-nonce-8", "encryption-tag-12",
        "package-version", "package-without-tag", "package-list", "metadata-null", "text-nan", "text-not-json", "html",
        "package-truncated", "drip", "gzip-bomb", "redirect", "error-list", "error-string", "reset-before",
        "reset-after", "key-503", "key-html", "key-rsa-1024", "key-ec",
        "quote-nonce", "quote-swapped-values", "quote-sha1-bank", "quote-extra-pcr", "quote-missing-pcr", "quote-magic",
        "quote-type", "quote-unrestricted", "quote-other-key", "quote-sized", "quote-bare-key",
        "evidence-without-quote_b64",
    ]  # fmt: skip
    assert set(named) <= set(NAMES)


def test_an_unknown_fault_is_told(router: RunningRouter) -> None:
    with pytest.raises(RouterError, match="unknown fault 'no-such'"):
        router.fault = "no-such"
    assert router.fault is None


def test_a_fault_may_last_for_some_requests_only(router: RunningRouter, client: Client) -> None:
    router.set_fault("status-503", times=2)
    assert router.fault == "status-503"
    assert [client.call().status for _ in range(4)] == [503, 503, 200, 200]
    assert router.fault is None


def test_a_fault_of_answers_is_not_used_up_by_key_fetches(router: RunningRouter, client: Client) -> None:
    router.set_fault("status-503", times=1)
    served(client)
    assert client.call().status == 503


def test_a_fault_meets_one_request_whole(router: RunningRouter, client: Client) -> None:
    router.fault = "quote-nonce"
    answer = client.call()
    router.fault = None
    assert appraise(answer, na.AppraisalPolicy.from_dict(POLICY)).failed == ("nonce.match",)


POLICY = {"format": "nomyo-attest-policy/1", "id": "any", "unsafe_accept_any_pcrs": True}
