"""`nomyo-attest audit` of files that are not what their names say, and of names under which there is nothing."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.nomyo_attest.cli.runner import single_error_line
from tests.nomyo_attest.cli.test_audit import answer, audit, compact, names, rows


def pretty() -> bytes:
    return json.dumps(json.loads(answer(0).text()), indent=1).encode()


CONTENTS = {
    "pretty.jsonl": (pretty(), "`jq -c .`"),
    "array.jsonl": (b"[" + compact(answer(0)).encode() + b"]", "`jq -c '.[]'`"),
    "utf16.jsonl": (compact(answer(0)).encode("utf-16"), "save it as UTF-8"),
    "utf16.json": (compact(answer(0)).encode("utf-16"), "save it as UTF-8"),
    "utf16.jsonl.gz": (gzip.compress(compact(answer(0)).encode("utf-16")), "save it as UTF-8"),
    "gzip.json": (gzip.compress(pretty()), "its name does not end in .gz; rename it"),
    "gzip.jsonl": (gzip.compress(pretty()), "its name does not end in .gz; rename it"),
    "zip.json": (b"PK\x03\x04" + bytes(60), "is a ZIP archive; unpack it first"),
    "lines.json": (
        compact(answer(0)).encode() + b"\n" + compact(answer(1)).encode(),
        "has a record on each line; rename it, so that its name ends in .jsonl",
    ),
    "empty.json": (b"", "is empty"),
    "empty.jsonl": (b"", "is empty"),
    "blank.jsonl": (b"\n\n", "is empty"),
    "empty.jsonl.gz": (gzip.compress(b""), "is empty"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_not_what_its_name_says_is_one_unreadable_source(folder: Path, name: str) -> None:
    content, hint = CONTENTS[name]
    Path("recorded").mkdir()
    Path("recorded", name).write_bytes(content)
    Path("recorded", "good.jsonl").write_text(compact(answer(2)) + "\n", encoding="utf-8")
    ran = audit("recorded", "--out", "v.jsonl", "--format", "json")
    assert (ran.status, ran.err) == (2, "")
    counts = {verdict: count for verdict, count in ran.json()["counts"].items() if count}
    assert counts == {"affirming": 1, "unreadable": 1}
    (row,) = (row for row in rows("v.jsonl") if row["verdict"] == "unreadable")
    assert (row["source"], row["line"]) == (f"recorded/{name}", 0)
    assert hint in row["reason"]
    (source,) = (one for one in ran.json()["sources"] if one["problem"])
    assert source["problem"] == row["reason"]
    assert source["sha256"] is not None


@pytest.mark.parametrize("name", ["pretty.jsonl", "array.jsonl", "utf16.jsonl", "zip.json", "empty.jsonl"])
def test_standard_input_that_is_not_json_lines_is_one_unreadable_source(folder: Path, name: str) -> None:
    content, hint = CONTENTS[name]
    ran = audit("-", "--format", "json", stdin=content)
    assert ran.status == 2
    assert ran.json()["counts"]["unreadable"] == ran.json()["sources_unreadable"] == 1
    assert hint in ran.json()["sources"][0]["problem"]


@pytest.mark.parametrize("content", [compact(answer(0)).encode(), pretty()])
def test_a_byte_order_mark_of_utf_8_is_no_problem(folder: Path, content: bytes) -> None:
    name = "a.json" if b"\n" in content else "a.jsonl"
    Path(name).write_bytes(b"\xef\xbb\xbf" + content + b"\r\n")
    assert audit(name).status == 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no.jsonl", "No such file or directory"),
        ("no", "No such file or directory"),
        ("good.json/a.json", "Not a directory"),
        ("no\0.json", "invalid file name"),
        ("dangling.json", "No such file or directory"),
    ],
)
def test_a_name_under_which_there_is_nothing_is_a_usage_error(folder: Path, name: str, problem: str) -> None:
    Path("dangling.json").symlink_to("nowhere.json")
    before = names()
    ran = audit("good.json", name, "--out", "v.jsonl", "--fail-on", "contraindicated")
    assert ran.status == 2
    assert problem in single_error_line(ran)
    assert names() == before


def test_the_files_that_were_written_are_listed_before_the_exit_status(folder: Path) -> None:
    files = ["v.jsonl", "v.csv", "report.html", "junit.xml", "cross-record.jsonl"]
    options = [
        "--out",
        files[0],
        "--out",
        files[1],
        "--html",
        files[2],
        "--junit",
        files[3],
        "--cross-record",
        files[4],
    ]
    ran = audit("good.json", *options)
    assert ran.status == 0
    *_, written, empty, status = ran.out.splitlines()
    assert (written, empty) == (f"written: {', '.join(files)}", "")
    assert status.startswith("exit status 0")
    assert "written" not in audit("good.json").out
    assert "written: w.jsonl" in audit("good.json", "--out", "w.jsonl", "--out", "-").err


def test_a_date_means_midnight_utc(folder: Path) -> None:
    day = datetime.fromtimestamp(answer(0).processed_at, UTC).date()
    for since, until, appraised in ((day, None, 1), (day + timedelta(1), None, 0), (None, day, 0)):
        options = ["--since", since] * (since is not None) + ["--until", until] * (until is not None)
        document = audit("good.json", *options, "--format", "json").json()
        assert (document["counts"]["affirming"], document["outside"]) == (appraised, 1 - appraised)
        for name, given in (("since", since), ("until", until)):
            assert document["run"][name] == (given and f"{given}T00:00:00Z")
    assert (
        audit("good.json", "--at", "2026-01-10", "--format", "json").json()["run"]["at"] == "2026-01-10T00:00:00+00:00"
    )
