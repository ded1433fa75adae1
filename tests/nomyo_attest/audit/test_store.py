from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nomyo_attest.audit import store as store_module
from nomyo_attest.audit.chunk import LINES_LISTED
from nomyo_attest.audit.store import STORE_FORMAT, TALLY_MESSAGE_MAX, Store, StoreError
from nomyo_attest.audit.summary import FAILURES_LISTED
from tests.nomyo_attest.audit.stores import digest, end, facts_of, fill, result, summary_of, tally


def number_of(store: Store, table: str) -> int:
    ((number,),) = store.query(f"SELECT COUNT(*) FROM {table}")
    return int(number)


def test_results_after_the_last_checkpoint_are_gone_when_the_store_is_opened_again(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.add(
            result(facts_of({}, {}), tallies=[tally(0, "pcr.values")], failures=[b"{}"], source_ends=(end(0, "a"),))
        )
        store.checkpoint(next=1, length=20)
        store.add(
            result(facts_of({}), 1, tallies=[tally(0, "pcr.values")], failures=[b"{}"], source_ends=(end(1, "b"),))
        )
    with Store.open(tmp_path / "s") as store:
        assert store.meta() == {"next": 1, "length": 20}
        for table, rows in {"facts": 2, "tallies": 1, "failures": 1, "sources": 1, "counts": 1}.items():
            assert number_of(store, table) == rows
        assert list(store.query("SELECT records FROM tallies")) == [(1,)]
        assert list(store.query("SELECT written FROM totals")) == [(2,)]


@pytest.mark.slow
def test_a_killed_audit_leaves_its_last_checkpoint(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from nomyo_attest.audit.store import Store
from tests.nomyo_attest.audit.stores import facts_of, result
store = Store.open(sys.argv[1])
store.add(result(facts_of(*[{"payload_id": "x" * 99}] * 5000)))
store.checkpoint(next=1)
store.add(result(facts_of(*[{"payload_id": "y" * 99}] * 200_000), 1))
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}/src{os.pathsep}{root}"}
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "s"], env=environment, timeout=60, check=False)
    assert killed.returncode == -9
    with Store.open(tmp_path / "s") as store:
        assert store.meta() == {"next": 1}
        assert number_of(store, "facts") == 5000
        assert list(store.query("PRAGMA integrity_check")) == [("ok",)]


def test_a_checkpoint_does_not_remove_values_of_earlier_ones(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.checkpoint(identity={"a": [1, None, "é"]}, next=0)
        store.checkpoint(next=5)
        assert store.meta() == {"identity": {"a": [1, None, "é"]}, "next": 5}


def test_counts_and_tallies_of_a_source_add_up_over_its_chunks(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.add(result(counts={0: [1, 2, 3, 4, 5, 6, 7]}, tallies=[tally(0, "nonce.match", records=2, lines=[3, 4])]))
        store.add(
            result(
                number=1,
                counts={0: [10, 20, 30, 40, 50, 60, 70], 1: [1, 0, 0, 0, 0, 0, 0]},
                tallies=[
                    tally(0, "nonce.match", lines=[8], message="another"),
                    tally(0, "nonce.match", outcome="undecided", records=4, lines=[5], message="no quote"),
                ],
            )
        )
        assert list(store.query("SELECT * FROM counts ORDER BY source")) == [
            (0, 11, 22, 33, 44, 55, 66, 77),
            (1, 1, 0, 0, 0, 0, 0, 0),
        ]
        assert list(store.query("SELECT * FROM tallies")) == [
            (0, "nonce.match", "required", "fail", 3, "3,4,8", "no"),
            (0, "nonce.match", "required", "undecided", 4, "5", "no quote"),
        ]


def test_a_tally_stores_its_first_lines_and_a_bounded_text(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        for number in range(400):
            store.add(result(number=number, tallies=[tally(0, "nonce.match", lines=[number + 10**9])]))
        ((lines,),) = store.query("SELECT lines FROM tallies")
        assert len(lines) < 1000
        store.add(result(number=400, source_ends=(end(0, "a"),)))
        (place,) = summary_of(store).places
        assert place.lines == [number + 10**9 for number in range(LINES_LISTED)]
        assert place.records == 400


def test_a_message_is_stored_up_to_a_limit(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.add(result(tallies=[tally(0, "nonce.match", message="é" * 10**6)]))
        assert list(store.query("SELECT message FROM tallies")) == [("é" * TALLY_MESSAGE_MAX,)]


def test_the_first_failures_are_stored_also_when_an_audit_is_resumed(tmp_path: Path) -> None:
    rows = [b'{"line": %d}' % line for line in range(FAILURES_LISTED + 30)]
    with Store.open(tmp_path / "s") as store:
        store.add(result(failures=rows[:20]))
        store.checkpoint()
    with Store.open(tmp_path / "s") as store:
        store.add(result(number=1, failures=rows[20:400]))
        store.add(result(number=2, failures=rows[400:]))
        assert [row for (row,) in store.query("SELECT row FROM failures ORDER BY number")] == rows[:FAILURES_LISTED]


def test_profiles_past_the_last_number_stand_in_the_facts_and_count_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = facts_of(*({"pcr_profile": digest(number % 5)} for number in range(50)))
    with Store.open(tmp_path / "all") as store:
        fill(store, facts)
        expected = summary_of(store)
    monkeypatch.setattr(store_module, "PROFILES_NUMBERED", 2)
    with Store.open(tmp_path / "few") as store:
        fill(store, facts[:21])
    with Store.open(tmp_path / "few") as store:
        fill(store, facts[21:])
        assert {kind for (kind,) in store.query("SELECT DISTINCT typeof(profile) FROM facts")} == {"integer", "blob"}
        got = summary_of(store)
    assert [one.profile for one in expected.profiles] == [digest(number).hex() for number in range(5)]
    assert got.profiles == expected.profiles
    assert got.profiles_total == 5
    assert got.profiles[4].pcrs == {"sha256": {"7": "00"}}


def test_a_store_is_used_by_one_audit_at_a_time(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s"):
        program = "import sys; from nomyo_attest.audit.store import Store; Store.open(sys.argv[1])"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
        arguments = [sys.executable, "-c", program, str(tmp_path / "s")]
        other = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert other.stderr.splitlines()[-1].endswith(f"StoreError: {tmp_path / 's'}: another audit is using it")


def test_a_file_that_is_not_a_store_is_refused_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all, and long enough to be read as one" * 20)
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    for path in (tmp_path / "text", tmp_path / "other"):
        before = path.read_bytes()
        with pytest.raises(StoreError, match=r"not a database|got a different file"):
            Store.open(path)
        assert path.read_bytes() == before


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "s").close()
    other = sqlite3.connect(tmp_path / "s")
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(StoreError, match=f"expected a store of format {STORE_FORMAT}, got 99"):
        Store.open(tmp_path / "s")


def test_a_file_whose_maker_was_killed_before_it_was_a_store_becomes_one(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    with Store.open(tmp_path / "s") as store:
        store.checkpoint(next=3)
        assert store.meta() == {"next": 3}


def test_a_place_where_no_file_can_be_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        Store.open(tmp_path / "nowhere" / "s")


def test_a_full_disk_is_an_error_of_the_store(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.execute("PRAGMA max_page_count = 30")
        with pytest.raises(StoreError, match="full"):
            store.add(result(facts_of(*[{"payload_id": "x" * 99}] * 9999)))


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_limit_on_the_size_of_files_is_an_error_that_names_the_ways_out(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(tmp_path / "s") as store:
        many = result(facts_of(*[{"payload_id": "x" * 99}] * 99_999))  # more than SQLite holds in memory
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
            with pytest.raises(StoreError, match=r"disk I/O error .*ulimit -f.*; free some space .*--state .*TMPDIR"):
                store.add(many)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(os.name == "nt", reason="modes are not Windows'")
def test_a_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    Store.open(tmp_path / "s").close()
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


def test_temporary_files_of_sqlite_are_in_the_folder_of_the_store(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        assert list(store.query("PRAGMA temp_store_directory")) == [(str(tmp_path),)]
        assert list(store.query("PRAGMA temp_store")) == [(1,)]


def test_closing_twice_is_closing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s")
    store.close()
    store.close()


def test_a_store_can_be_closed_in_the_middle_of_a_query(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        fill(store, facts_of({}, {}))
        rows = store.query("SELECT line FROM facts")
        assert next(rows) == (1,)
    del rows  # an error in here would be pytest's: nobody else hears of it
