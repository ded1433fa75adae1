"""The client's ledger: the evidence of every answer that was opened is on the disk before the answer goes anywhere."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na
from nomyo import (
    APITimeoutError,
    ArgumentError,
    ArgumentTypeError,
    AttestationError,
    EvidenceLogError,
    ResponseError,
    ResponseNotBoundError,
    SecureChatCompletion,
    __version__,
    background,
)
from nomyo.router import RouterOptions, RunningRouter
from nomyo_attest.ledger.line import open_line
from nomyo_attest.ledger.verify import verify
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import API_KEY, MODEL, PROMPT, Wire, ask, content, only, policy, run
from tests.nomyo.error_scenarios import COMPLETION, SECRETS, ScenarioContext
from tests.nomyo.error_scenarios import ask as ask_with_secrets
from tests.nomyo.secret_search import SecretSearch, capture_output
from tests.nomyo.wire import server_keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evidence.jsonl"


def records(path: Path) -> list[dict[str, Any]]:
    assert verify([str(path)]).problems == []
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def again(record: dict[str, Any], by: na.AppraisalPolicy) -> dict[str, Any]:
    """The result of appraising a line's evidence."""
    evidence, payload_id = open_line(record)
    return na.appraise(evidence, by, payload_id=payload_id).to_dict()


def test_an_answer_that_passes_is_kept_with_its_result(wire: Wire, tpm: Forge, path: Path) -> None:
    answer = wire.ask({"attestation_policy": policy(), "evidence_log": path}, security_tier="high")
    record = only(records(path))
    metadata = answer["_metadata"]
    assert record["payload_id"] == metadata["payload_id"] == only(wire.posts).payload_id
    assert (record["given"], record["refused"], record["whole"]) == (True, None, True)
    assert record["result"] == metadata["attestation_result"] == again(record, policy())
    assert record["client"] == {"name": "nomyo", "version": __version__}
    kept = record["evidence"]["_metadata"]
    assert kept["tpm_attestation"] == metadata["tpm_attestation"]
    assert (kept["security_tier"], kept["processed_at"]) == ("high", metadata["processed_at"])
    told = metadata["evidence_log"]
    assert told == {"stored": True, "number": 1, "digest": verify([str(path)]).head, "path": str(path)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_answer_that_is_refused_is_kept_and_the_refusal_says_where(wire: Wire, tpm: Forge, path: Path) -> None:
    tpm.measure(0, b"other firmware")
    options = {"attestation_policy": policy(), "evidence_log": path}
    refusal = wire.refused(AttestationError, options)
    record = only(records(path))
    assert record["refused"] == "not_affirmed"
    assert record["result"] == refusal.result.to_dict() == again(record, policy())
    assert refusal.evidence_log is not None
    assert (refusal.evidence_log["stored"], refusal.evidence_log["number"]) == (True, 1)


@pytest.mark.parametrize(
    ("fault", "code"), [("echo-wrong", "response_not_bound"), ("tier-other", "tier_not_as_requested")]
)
def test_an_answer_to_another_request_is_kept_too(wire: Wire, tpm: Forge, path: Path, fault: str, code: str) -> None:
    wire.router.fault(fault)
    options = {"attestation_policy": policy(), "evidence_log": path}
    refusal = wire.refused(ResponseNotBoundError, options, security_tier="high")
    record = only(records(path))
    assert record["refused"] == refusal.code == code
    assert record["payload_id"] == only(wire.posts).payload_id
    assert record["result"] == again(record, policy())
    assert (record["result"]["verdict"] == "affirming") is (fault == "tier-other")


def test_without_a_policy_evidence_is_kept_and_no_result(wire: Wire, tpm: Forge, path: Path) -> None:
    answer = wire.ask({"evidence_log": path})
    record = only(records(path))
    assert record["result"] is None
    assert again(record, policy())["verdict"] == "affirming"
    assert "attestation_result" not in answer["_metadata"]


def test_no_evidence_is_kept_as_such(wire: Wire, path: Path) -> None:
    wire.refused(AttestationError, {"evidence_log": path, "attestation_policy": policy()})
    assert only(records(path))["result"]["verdict"] == "none"


def test_what_cannot_be_opened_is_no_answer_and_not_kept(wire: Wire, path: Path) -> None:
    wire.router.fault("plaintext-list")
    wire.refused(ResponseError, {"evidence_log": path})
    assert records(path) == []


def test_without_a_ledger_the_answer_says_nothing_of_one_whatever_the_server_does(wire: Wire) -> None:
    right = wire.router.correct_metadata
    wire.router.metadata = lambda post: {**right(post), "evidence_log": {"stored": True}}
    assert "evidence_log" not in wire.ask()["_metadata"]


def test_a_result_kept_is_of_the_moment_of_the_gates(wire: Wire, tpm: Forge, path: Path) -> None:
    timed = policy(valid_from="2026-01-01T00:00:00Z", valid_until="2126-01-01T00:00:00Z")
    answer = wire.ask({"attestation_policy": timed, "evidence_log": path})
    result = only(records(path))["result"]
    assert result["appraised_at"] is not None
    assert result == answer["_metadata"]["attestation_result"]


def test_a_claim_about_the_time_is_judged_as_the_gate_judged_it(wire: Wire, tpm: Forge, path: Path) -> None:
    asked = policy(claims={"processed_at": [1]})
    refusal = wire.refused(AttestationError, {"attestation_policy": asked, "evidence_log": path})
    assert only(records(path))["result"] == refusal.result.to_dict()


def test_neither_prompt_nor_completion_nor_key_is_kept_whatever_the_server_does(wire: Wire, path: Path) -> None:
    stage = ScenarioContext(wire, path.parent, path.parent)
    forge = Forge()
    places: list[dict[str, Any]] = [
        {"title": SECRETS},
        {"security_tier": SECRETS[1], "response_status": f"you said {SECRETS[2]}"},
        {"memory_protection": {"platform": COMPLETION, SECRETS[1]: SECRETS[1]}},
        {"cuda_device": {"device_hash": [SECRETS[1]], "available": {SECRETS[1]: 1}}},
        {"region": SECRETS[0]},
        *({"tpm_attestation": {"is_available": True, name: SECRETS[1]}} for name in ("quote_b64", "pcr_banks")),
        {"tpm_attestation": {"is_available": True, "pcr_values": {SECRETS[1]: {SECRETS[1]: SECRETS[1]}}}},
        {"tpm_attestation": {"is_available": False, "signature_b64": COMPLETION}},
        {"tpm_attestation": SECRETS[1]},
        {"is_available": SECRETS[1]},
    ]
    right = wire.router.correct_metadata
    for place in places:

        def answer(post: Any, place: dict[str, Any] = place) -> dict[str, Any]:
            forge.payload_id = post.payload_id
            block = {"tpm_attestation": forge.response()["_metadata"]["tpm_attestation"]}
            return {**right(post), **block, **place}

        wire.router.metadata = answer
        for gated in (False, True):
            asked = policy(claims={"region": ["eu"]}, rules={"claims.region": "warn"}) if gated else None
            try:
                run(stage.ask({"evidence_log": path, "attestation_policy": asked}))
            except AttestationError:
                assert gated
    assert len(records(path)) == 2 * len(places)
    text = path.read_text()
    for secret in (*SECRETS, "Hello"):
        assert secret not in text
    for record in records(path):
        if record["result"] is not None:
            assert again(record, policy(claims={"region": ["eu"]}, rules={"claims.region": "warn"})) == record["result"]


# -- failing ledgers


def tampering(wire: Wire, path: Path) -> None:
    """The ledger becomes unusable while the server is at work: the prompt is sent by then."""
    complete = wire.router.complete

    def tamper(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
        path.touch()
        path.chmod(0o666)
        return complete(payload, payload_id)

    wire.router.complete = tamper


def test_an_answer_whose_evidence_cannot_be_kept_is_lost_and_that_is_said(wire: Wire, tpm: Forge, path: Path) -> None:
    tampering(wire, path)
    failure = wire.refused(EvidenceLogError, {"evidence_log": path, "attestation_policy": policy(), "max_retries": 2})
    assert failure.prompt_sent is True
    assert failure.path == str(path)
    assert "could not be stored, so the completion is not released" in failure.problem
    assert "others may write to it" in failure.problem
    assert failure.hint.startswith("chmod go-w ")
    assert failure.payload_id == only(wire.posts).payload_id
    assert (failure.attempts, failure.stage, failure.retryable) == (1, "completion", False)
    assert isinstance(failure, na.LedgerError)
    assert PROMPT not in str(failure)


def test_or_it_is_handed_over_and_that_is_said(
    wire: Wire, tpm: Forge, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tampering(wire, path)
    options = {"evidence_log": path, "evidence_log_failure": "warn", "attestation_policy": policy()}
    answers = wire.ask_repeatedly(2, options)
    for answer, post in zip(answers, wire.posts, strict=True):
        assert content(answer) == PROMPT
        told = answer["_metadata"]["evidence_log"]
        assert told["stored"] is False
        assert "others may write to it" in told["problem"]
        said = [record for record in caplog.records if post.payload_id in record.getMessage()]
        assert [(record.name, record.levelno) for record in said] == [("nomyo", logging.WARNING)]


@pytest.mark.parametrize("failure", ["raise", "warn"])
def test_a_refusal_comes_before_a_failing_ledger_and_tells_of_it(
    wire: Wire, path: Path, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    tampering(wire, path)
    options = {"evidence_log": path, "evidence_log_failure": failure, "attestation_policy": policy()}
    refusal = wire.refused(AttestationError, options)
    assert refusal.evidence_log is not None
    assert refusal.evidence_log["stored"] is False
    assert "was not stored" in caplog.text


def test_a_ledger_that_cannot_be_used_is_told_before_anything_is_sent(wire: Wire, path: Path) -> None:
    with pytest.raises(EvidenceLogError, match="its folder does not exist") as caught:
        wire.client(evidence_log=path / "none" / "evidence.jsonl")
    assert caught.value.prompt_sent is False
    client = wire.client(evidence_log=path)
    path.chmod(0o666)
    with pytest.raises(EvidenceLogError) as caught:
        run(ask(client))
    assert (caught.value.prompt_sent, caught.value.attempts) == (False, 0)
    assert caught.value.payload_id is not None
    assert wire.router.requests == []
    run(client.aclose())


def test_with_warn_such_a_ledger_holds_nothing_up(wire: Wire, path: Path) -> None:
    options = {"evidence_log": path / "none" / "evidence.jsonl", "evidence_log_failure": "warn"}
    told = wire.ask(options)["_metadata"]["evidence_log"]
    assert "its folder does not exist" in told["problem"]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"evidence_log": 7}, ArgumentTypeError),
        ({"evidence_log": b"evidence.jsonl"}, ArgumentTypeError),
        ({"evidence_log": ""}, ArgumentError),
        ({"evidence_log_failure": "ignore"}, ArgumentError),
        ({"evidence_log_failure": None}, ArgumentError),
        ({"evidence_log_failure": True}, ArgumentError),
    ],
)
def test_arguments_that_make_no_sense_are_refused(wire: Wire, options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        wire.client(**options)
    assert type(caught.value) is kind
    assert next(iter(options)) in str(caught.value)


def test_a_call_does_not_choose_its_ledger(wire: Wire, path: Path) -> None:
    for name in ("evidence_log", "evidence_log_failure"):
        assert name in str(wire.refused(ArgumentTypeError, None, **{name: str(path)}))
    assert wire.router.requests == []


# -- clients made of clients


def test_other_clients_made_of_one_share_its_ledger(
    wire: Wire, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()

    async def calls() -> None:
        monkeypatch.chdir(tmp_path)
        async with wire.client(evidence_log="evidence.jsonl", base_url="https://localhost:1") as client:
            monkeypatch.chdir(tmp_path / "elsewhere")
            await ask(client, base_url=wire.router.url)
            await ask(client.with_options(base_url=wire.router.url, api_key=API_KEY))
            off = await ask(client.with_options(base_url=wire.router.url, api_key=API_KEY, evidence_log=None))
            assert "evidence_log" not in off["_metadata"]

    run(calls())
    assert len(records(path)) == 2


def test_a_ledger_made_by_hand_may_be_given(wire: Wire, path: Path, tmp_path: Path) -> None:
    wire.ask_repeatedly(3, {"evidence_log": na.EvidenceLog(path, rotate_bytes=1)})
    assert sorted(file.name for file in tmp_path.glob("*.jsonl")) == [
        "evidence.0001.jsonl",
        "evidence.0002.jsonl",
        "evidence.jsonl",
    ]


def test_the_layer_underneath_keeps_what_it_opens_too(wire: Wire, tpm: Forge, path: Path) -> None:
    async def calls() -> Any:
        async with wire.client(evidence_log=path) as client:
            low = client.client
            sent = await low.send_secure_request(
                {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}, "a"
            )
            pair = await low.keyring.get()
            package = wire.router.seal(b'{"_metadata": {"payload_id": "b"}}', pair.private.public_key(), 7)
            opened = await low.decrypt_response(package, "b")
            with pytest.raises(ResponseNotBoundError):
                await low.decrypt_response(package, "c")
            return sent, opened

    sent, opened = run(calls())
    assert [record["payload_id"] for record in records(path)] == ["a", "b", "c"]
    assert [record["refused"] for record in records(path)] == [None, None, "response_not_bound"]
    assert records(path)[1]["evidence"]["_metadata"] == {"payload_id": "b", "processed_at": 7}
    assert [one["_metadata"]["evidence_log"]["number"] for one in (sent, opened)] == [1, 2]
    assert PROMPT not in path.read_text()


def test_many_calls_at_once_are_all_kept(wire: Wire, tpm: Forge, path: Path) -> None:
    async def calls() -> list[Any]:
        async with wire.client(evidence_log=path) as client:
            return list(await asyncio.gather(*(ask(client) for _ in range(20))))

    answers = run(calls())
    assert {one["_metadata"]["payload_id"] for one in answers} == {record["payload_id"] for record in records(path)}
    assert sorted(one["_metadata"]["evidence_log"]["number"] for one in answers) == list(range(1, 21))


# -- slow disks


class SlowDisk:
    """Syncs of files that wait until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.done = 0
        real = os.fsync

        def fsync(descriptor: int) -> None:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                self.begun.set()
                assert self.go.wait(60)
                self.done += 1
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk(monkeypatch)
    yield disk
    disk.go.set()


async def begun(disk: SlowDisk) -> None:
    assert await asyncio.to_thread(disk.begun.wait, 30)


def settle() -> None:
    """Wait for what goes on in threads."""
    for thread in threading.enumerate():
        if thread.name == "nomyo-background":
            thread.join(30)


def test_no_answer_is_handed_over_before_its_evidence_is_on_the_disk_and_others_go_on(
    wire: Wire, path: Path, disk: SlowDisk
) -> None:
    async def calls() -> None:
        async with wire.client(evidence_log=path) as client, wire.client() as other:
            waiting = asyncio.create_task(ask(client))
            await begun(disk)
            assert content(await ask(other)) == PROMPT  # the loop runs
            assert not waiting.done()
            assert disk.done == 0
            disk.go.set()
            assert content(await waiting) == PROMPT
            assert disk.done == 1

    run(calls())
    assert len(records(path)) == 1


def test_a_call_that_is_cancelled_meanwhile_tears_nothing(wire: Wire, path: Path, disk: SlowDisk) -> None:
    async def calls() -> None:
        client = wire.client(evidence_log=path)
        waiting = asyncio.create_task(ask(client))
        await begun(disk)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await client.aclose()
        disk.go.set()

    with capture_output() as heard:
        run(calls(), debug=True)
        settle()
    assert len(records(path)) == 1
    assert [record.getMessage() for record in heard.records if record.levelno >= logging.ERROR] == []
    assert heard.unraisable == []


def test_a_call_that_takes_too_long_meanwhile_tears_nothing(wire: Wire, path: Path, disk: SlowDisk) -> None:
    failure = wire.refused(APITimeoutError, {"evidence_log": path, "timeout": 1.0})
    assert failure.maybe_processed is True
    disk.go.set()
    settle()
    assert len(records(path)) == 1


def test_calls_that_are_cancelled_at_any_moment_leave_a_ledger_that_is_whole(
    wire: Wire, tpm: Forge, path: Path
) -> None:
    stage = ScenarioContext(wire, path.parent, path.parent)

    async def main() -> list[BaseException]:
        failures: list[BaseException] = []
        async with stage.client(evidence_log=path) as client:
            for step in range(60):
                task = asyncio.create_task(ask_with_secrets(client))
                await asyncio.sleep(0.0004 * step)
                task.cancel()
                found = await asyncio.gather(task, return_exceptions=True)
                failures += [one for one in found if isinstance(one, BaseException)]
            await ask_with_secrets(client)
        return failures

    with capture_output() as heard:
        failures = run(main())
    settle()
    assert {type(failure) for failure in failures} == {asyncio.CancelledError}
    hunt = SecretSearch(*SECRETS).look("errors", failures)
    heard.search(hunt)
    assert hunt.found == []
    ids = [record["payload_id"] for record in records(path)]
    assert len(ids) == len(set(ids)) <= len(wire.posts)
    assert ids[-1] == wire.posts[-1].payload_id


def test_nothing_of_a_call_is_held_on_to_when_its_line_is_written(wire: Wire, path: Path) -> None:
    stage = ScenarioContext(wire, path.parent, path.parent)

    async def main() -> list[str]:
        async with stage.client(evidence_log=path) as client:
            await ask_with_secrets(client)
            background._join_threads()  # the thread that appended the line may still be ending
            gc.collect()
            return [repr(one) for one in gc.get_objects() if type(one).__module__ == "nomyo.gate"]

    with capture_output():
        left = run(main())
    assert all("DecryptedResponse" not in one for one in left)
    assert any("Gate" in one for one in left)


# -- the reference router


@pytest.fixture(scope="module")
def router() -> Iterator[RunningRouter]:
    with RunningRouter(RouterOptions(tpm="soft"), server_key=server_keys.pair()) as router:
        yield router


@pytest.fixture
def asking(router: RunningRouter, donor: SecureChatCompletion, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that makes one call of a client of the reference router."""
    monkeypatch.setenv("SSL_CERT_FILE", str(router.ca))

    def call(**options: Any) -> dict[str, Any]:
        async def work() -> dict[str, Any]:
            async with donor.with_options(base_url=router.url, max_retries=0, timeout=30.0, **options) as client:
                return await ask(client)

        return run(work())

    yield call
    router.fault = None


def learned(asking: Any) -> na.AppraisalPolicy:
    """A policy for the router."""
    values = asking()["_metadata"]["tpm_attestation"]["pcr_values"]["sha256"]
    return policy(pcrs={"sha256": {index: [value] for index, value in values.items()}})


def test_with_the_reference_router_answers_and_refusals_are_kept(
    router: RunningRouter, asking: Any, path: Path
) -> None:
    by = learned(asking)
    asking(attestation_policy=by, evidence_log=path)
    router.fault = "quote-nonce"
    with pytest.raises(AttestationError):
        asking(attestation_policy=by, evidence_log=path)
    router.fault = "evidence-unavailable"
    with pytest.raises(AttestationError):
        asking(attestation_policy=by, evidence_log=path)
    kept = records(path)
    assert [record["result"]["verdict"] for record in kept] == ["affirming", "contraindicated", "none"]
    assert [record["refused"] for record in kept] == [None, "not_affirmed", "not_affirmed"]
    assert [again(record, by) for record in kept] == [record["result"] for record in kept]
    assert PROMPT not in path.read_text()


@pytest.mark.parametrize("failure", ["raise", "warn"])
def test_with_the_reference_router_a_full_disk_loses_no_answer_in_silence(
    asking: Any, path: Path, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    if failure == "raise":
        with pytest.raises(EvidenceLogError, match="No space left on device; free some space") as caught:
            asking(evidence_log=path)
        assert caught.value.prompt_sent is True
    else:
        answer = asking(evidence_log=path, evidence_log_failure="warn")
        assert content(answer) == PROMPT
        assert answer["_metadata"]["evidence_log"]["stored"] is False
    assert path.read_bytes() == b""
