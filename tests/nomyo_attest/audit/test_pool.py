"""Many processes: the same results in the same order, whichever of them is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nomyo_attest.audit import pool as pool_module
from nomyo_attest.audit.chunk import ChunkResult
from nomyo_attest.audit.pool import Pool, WorkerFailedError
from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.worker import WorkOrder
from tests.nomyo_attest.audit.crashing_records import CrashingPickle, CrashingText, Failing, ListChunk, chunks
from tests.nomyo_attest.audit.mixed_bag import POLICY, mixed_records
from tests.nomyo_attest.audit.recorded import ROOT, children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends signals, and looks for processes in /proc")

ORDER = WorkOrder(policy=POLICY)
TEXTS = [record.text for record in mixed_records() if record.text is not None]
SIZE = 16


@pytest.fixture(autouse=True)
def _workers_import_modules_of_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # entries of PYTHONPATH in the working directory are not used
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def results(processes: int, texts: list[bytes] = TEXTS) -> list[ChunkResult]:
    return list(Pool(ORDER, processes).results(chunks(texts, SIZE)))


@pytest.fixture(scope="module")
def undisturbed() -> list[ChunkResult]:
    return results(1)


def rows(found: list[ChunkResult]) -> list[bytes]:
    return b"".join(one.rows for one in found).splitlines()


def test_results_do_not_depend_on_the_number_of_processes(undisturbed: list[ChunkResult]) -> None:
    assert len(rows(undisturbed)) == len(TEXTS)
    assert results(3) == undisturbed


def test_a_single_chunk_needs_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomyo_attest.audit.pool.WorkerProcess", None)
    assert len(results(4, TEXTS[:SIZE])) == 1
    assert results(4, []) == []


def test_a_process_killed_from_outside_costs_nothing(undisturbed: list[ChunkResult]) -> None:
    pool = Pool(ORDER, 2)
    found: list[ChunkResult] = []
    for result in pool.results(chunks(TEXTS, SIZE)):
        if not found:
            ready = next(worker for worker in pool._workers if worker.ready)
            os.kill(ready.pid, signal.SIGKILL)
        found.append(result)
    assert found == undisturbed
    assert pool.workers_lost == 1
    assert children(os.getpid()) == []


def test_a_chunk_is_repeated_after_the_death_of_its_worker(tmp_path: Path) -> None:
    texts = [*TEXTS]
    texts[20] = CrashingText.text(texts[20], tmp_path / "count", times=2)
    pool = Pool(ORDER, 2)
    assert list(pool.results(chunks(texts, SIZE))) == results(1, texts)
    assert pool.workers_lost == 2


def test_records_that_kill_workers_are_unreadable_and_nothing_else_changes(
    tmp_path: Path, undisturbed: list[ChunkResult]
) -> None:
    texts, deadly, how = [*TEXTS], (17, 21), signal.SIGSEGV
    for place in deadly:
        texts[place] = CrashingText.text(texts[place], tmp_path / f"{place}", 1000, how)
    pool = Pool(ORDER, 2)
    found = list(pool.results(chunks(texts, SIZE)))
    assert len(rows(found)) == len(TEXTS)
    for place, (row, before) in enumerate(zip(rows(found), rows(undisturbed), strict=True)):
        if place in deadly:
            told = json.loads(row)
            assert (told["line"], told["verdict"]) == (place + 1, "unreadable")
            assert told["reason"] == f"appraising it ended the process (signal {how.value})"
        else:
            assert row == before
    assert pool.workers_lost == 3 + 2 * 2
    assert [one for one in found if one.number != 1] == [one for one in undisturbed if one.number != 1]
    assert found[1].counts[0][VERDICTS.index("unreadable")] == len(deadly)
    assert [one.source_ends for one in found] == [one.source_ends for one in undisturbed]


def test_a_chunk_whose_records_kill_only_together_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record is fine by itself, as where memory runs out."""
    texts = [*TEXTS[:32]]
    texts[3] = CrashingText.text(texts[3], tmp_path / "count", 1000)
    monkeypatch.setattr("nomyo_attest.audit.pool._SingleRecordChunk", lambda record: ListChunk(0, []))
    (first, second) = Pool(ORDER, 2).results(chunks(texts, SIZE))
    assert first.counts == {0: [0, 0, 0, 0, SIZE, 0, 0]}
    told = {json.loads(row)["reason"] for row in rows([first])}
    assert told == {"appraising it together with its neighbors ended the process (signal 9)"}
    assert len(rows([second])) == SIZE


def test_no_more_chunks_are_taken_than_a_few_for_each_process() -> None:
    taken = 0

    def counted() -> Iterator[ListChunk]:
        nonlocal taken
        for chunk in chunks(TEXTS, 4):
            taken += 1
            yield chunk

    most = 0
    for told, _ in enumerate(Pool(ORDER, 2).results(counted())):
        most = max(most, taken - told)
    assert 3 <= most <= 7
    assert taken == -(-len(TEXTS) // 4)


def test_closing_ends_all_processes_at_once() -> None:
    running = Pool(ORDER, 2).results(chunks(TEXTS, 1))
    next(running)
    assert children(os.getpid())
    running.close()
    assert children(os.getpid()) == []


def test_an_exception_in_a_worker_ends_the_audit_and_is_reported_with_its_place() -> None:
    with pytest.raises(WorkerFailedError) as caught:
        list(Pool(ORDER, 2).results(iter([ListChunk(0, TEXTS[:1]), Failing(1, [])])))
    assert str(caught.value).startswith("a worker process failed: FailingError at crashing_records.py, line ")
    assert children(os.getpid()) == []


def test_processes_that_cannot_start_end_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deadly = CrashingPickle(str(tmp_path / "count").encode())
    monkeypatch.setattr(pool_module, "_picklable", lambda order: {"policy": deadly})
    with pytest.raises(WorkerFailedError, match=r"end before they are ready \(signal 9\)"):
        list(Pool(ORDER, 2).results(chunks(TEXTS, SIZE)))
    assert (tmp_path / "count").stat().st_size >= 3


def test_processes_that_cannot_make_sense_of_the_order_end_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_picklable", lambda order: {"policy": {}})
    with pytest.raises(WorkerFailedError, match="TypeError at pool"):
        list(Pool(ORDER, 2).results(chunks(TEXTS, SIZE)))


def test_interrupts_do_not_reach_the_processes() -> None:
    running = Pool(ORDER, 2).results(chunks(TEXTS, 1))
    next(running)
    (first, *_) = children(os.getpid())
    for interrupt in (signal.SIGINT, signal.SIGTERM):
        os.kill(first, interrupt)
    assert len(list(running)) == len(TEXTS) - 1
