"""Each recorded response is one test, and fails with the findings."""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from junitparser import JUnitXml

import nomyo_attest as na
from nomyo_attest.audit.record import AppraisedRecord, RecordAppraiser
from nomyo_attest.audit.row import encode_row
from nomyo_attest.pytest_plugin import records
from nomyo_attest.testing import Forge

pytest_plugins = ["pytester"]

ID = "6f1c8a52-0d3e-4b7a-9c45-2e8f7d10b364"
GOOD = Forge(key="p256")
BAD = Forge(key="p256", payload_id="another-firmware").measure(0, b"other firmware")
PATHS = ("pytest_plugin/", "Traceback")


def policy_of(forge: Forge = GOOD, **more: Any) -> str:
    return json.dumps(forge.policy() | more)


@pytest.fixture
def make(pytester: pytest.Pytester) -> Callable[..., pytest.Pytester]:
    """Writes ../policies/policy.json and the configuration that names it, and what else is given: name → text."""

    def write(policy: str | None = None, *, ini: str = "", **files: str) -> pytest.Pytester:
        policies = pytester.path.parent / "policies"  # not in the folder of the evidence
        policies.mkdir(exist_ok=True)
        policies.joinpath("policy.json").write_text(policy_of() if policy is None else policy)
        pytester.makeini(f"[pytest]\nattestation_policy = ../policies/policy.json\n{ini}")
        for name, text in files.items():
            pytester.path.joinpath(name.replace("__", ".")).write_text(text)
        return pytester

    return write


Make = Callable[..., pytest.Pytester]


def test_an_affirmed_record_passes_and_is_named_by_its_payload_id(make: Make) -> None:
    ran = make(good__attest__json=GOOD.text()).runpytest("-v")
    ran.stdout.fnmatch_lines(["attestation policy: *policy.json", f"good.attest.json::{ID} PASSED*"])
    ran.assert_outcomes(passed=1)


def test_a_record_that_is_not_affirmed_fails_with_the_findings_and_no_traceback(make: Make) -> None:
    ran = make(bad__attest__json=BAD.text()).runpytest()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        [
            "bad.attest.json   contraindicated   policy forge (sha256:*",
            "*FAIL  pcr.values",
            "*sha256:0",
            "*expected   48c925da*",
            "*got       *",
            "*remediation  If the machine was updated*",
            "FAILED bad.attest.json::another-firmware - contraindicated: pcr.values: *",
        ]
    )
    for path in PATHS:
        ran.stdout.no_fnmatch_line(f"*{path}*")


@pytest.mark.parametrize("style", ["long", "short", "line", "native", "no"])
def test_no_style_of_traceback_shows_one(make: Make, style: str) -> None:
    ran = make(bad__attest__json=BAD.text()).runpytest(f"--tb={style}", "-vv", "--full-trace")
    ran.assert_outcomes(failed=1)
    for path in PATHS:
        ran.stdout.no_fnmatch_line(f"*{path}*")
    if style == "line":
        ran.stdout.fnmatch_lines(["*/bad.attest.json:1: contraindicated: pcr.values: *"])


def test_every_line_is_a_test_and_a_name_that_stands_twice_has_its_line(make: Make) -> None:
    lines = f"{GOOD.text()}\n\n{BAD.text()}\r\n{GOOD.text()}\n{{}}"
    ran = make(day__attest__jsonl=lines).runpytest("-v")
    ran.assert_outcomes(passed=2, failed=2)
    ran.stdout.fnmatch_lines(
        [
            f"day.attest.jsonl::{ID} PASSED*",
            "day.attest.jsonl::another-firmware FAILED*",
            f"day.attest.jsonl::{ID}-line-4 PASSED*",
            "day.attest.jsonl::line-5 FAILED*",
            "day.attest.jsonl:3   contraindicated *",
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "outcomes"),
    [
        (("day.attest.jsonl::another-firmware",), {"failed": 1}),
        ((f"day.attest.jsonl::{ID}",), {"passed": 1}),
        (("-k", "another"), {"failed": 1, "deselected": 1}),
        (("-k", "not another"), {"passed": 1, "deselected": 1}),
        (("--collect-only",), {}),
    ],
)
def test_records_are_chosen_as_tests_are(make: Make, arguments: tuple[str, ...], outcomes: dict[str, int]) -> None:
    ran = make(day__attest__jsonl=f"{GOOD.text()}\n{BAD.text()}\n").runpytest(*arguments)
    ran.assert_outcomes(**outcomes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "*: is empty: *"),
        ("{", "*evidence.form*"),
        ('"\ud800"', "*evidence.form*"),
        ("[1]", "*evidence.form*"),
        ("{}", "*evidence.available*"),
        (GOOD.text()[:-40], "*evidence.form*"),
    ],
)
def test_what_is_no_evidence_fails(make: Make, text: str, told: str) -> None:
    pytester = make()
    pytester.path.joinpath("broken.attest.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    ran = pytester.runpytest()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines([told])
    ran.stdout.no_fnmatch_line("*Traceback*")


def test_a_file_without_a_record_fails(make: Make) -> None:
    ran = make(none__attest__jsonl="\n \n").runpytest()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["none.attest.jsonl:1: contains no record"])


def test_a_file_that_cannot_be_read_fails(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(records, "_without_waiting", refuse)
    ran = make(good__attest__json=GOOD.text()).runpytest()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["good.attest.json: cannot be read: Permission denied"])


def test_a_file_that_is_gone_when_its_test_runs_fails(make: Make) -> None:
    pytester = make(good__attest__json=GOOD.text())
    pytester.makeconftest(
        "from pathlib import Path\ndef pytest_collection_finish(): Path('good.attest.json').unlink()\n"
    )
    ran = pytester.runpytest()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["good.attest.json: cannot be read: No such file or directory"])


def test_a_line_longer_than_any_response_fails_and_the_next_one_is_read(make: Make) -> None:
    ran = make(long__attest__jsonl=f"{'9' * (40 << 20)}\n{GOOD.text()}\n").runpytest("-v")
    ran.stdout.fnmatch_lines([f"long.attest.jsonl::{ID} PASSED*", "*at most 16777216 bytes*"])
    ran.assert_outcomes(passed=1, failed=1)


def test_a_hostile_payload_id_names_no_test_and_moves_no_cursor(make: Make) -> None:
    forge = Forge(key="p256", payload_id="a::b\x1b[2J\n[x]").measure(7, b"odd")
    ran = make(odd__attest__json=forge.text()).runpytest("-v", "-rA")
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["odd.attest.json::line-1 FAILED*"])
    assert "\x1b" not in ran.stdout.str()


def test_a_softened_rule_passes_with_a_warning_whatever_the_filter_says_but_ignore(make: Make) -> None:
    policy = policy_of(rules={"pcr.values": "warn"}, unsafe_warn_until="9999-01-01")
    pytester = make(policy, bad__attest__json=BAD.text())
    for filters in ((), ("-W", "error")):
        ran = pytester.runpytest(*filters)
        ran.assert_outcomes(passed=1, warnings=1)
        ran.stdout.fnmatch_lines(["*AttestationWarning: bad.attest.json: warning: pcr.values: *"])
    ran = pytester.runpytest("-W", "ignore::nomyo_attest.pytest_plugin.AttestationWarning", "-rP")
    ran.assert_outcomes(passed=1, warnings=0)
    ran.stdout.fnmatch_lines(["*WARNING  pcr.values"])


def test_a_verdict_with_its_evidence_is_a_record_too(make: Make) -> None:
    policy = na.AppraisalPolicy.from_dict(GOOD.policy())
    rows = b""
    for forge in (GOOD, BAD):
        appraised = RecordAppraiser(policy, keep_evidence=True).appraise("day.jsonl", 1, forge.text().encode())
        assert isinstance(appraised, AppraisedRecord)
        rows += encode_row(appraised.row)
    ran = make(verdicts__attest__jsonl=rows.decode()).runpytest("-v")
    ran.stdout.fnmatch_lines(
        [f"verdicts.attest.jsonl::{ID} PASSED*", "verdicts.attest.jsonl::another-firmware FAILED*"]
    )
    ran.assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    ("patterns", "passed"),
    [
        ("*.json", 4),
        ("recorded/*.json", 2),
        ("./recorded/a*.json", 1),
        ("recorded/deep/*.json b.json", 2),
        ("*.attest.json", 0),
    ],
)
def test_the_configuration_names_the_files(make: Make, patterns: str, passed: int) -> None:
    pytester = make(ini=f"attestation_files = {patterns}")
    pytester.makeini(f"[pytest]\nattestation_policy = ../policies/policy.json\nattestation_files = {patterns}")
    for name in ("recorded/a.json", "recorded/deep/c.json", "b.json", "other/d.json"):
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(GOOD.text())
    pytester.runpytest().assert_outcomes(passed=passed)


def test_junit_has_the_reason_as_the_message_and_the_findings_as_the_text(make: Make) -> None:
    pytester = make(bad__attest__json=BAD.text(), good__attest__json=GOOD.text())
    pytester.runpytest("--junitxml=report.xml").assert_outcomes(passed=1, failed=1)
    (suite,) = JUnitXml.fromfile(str(pytester.path / "report.xml"))
    cases = {case.name: case for case in suite}
    assert set(cases) == {ID, "another-firmware"}
    assert not cases[ID].result
    (failure,) = cases["another-firmware"].result
    assert failure.message.startswith("contraindicated: pcr.values: ")
    assert "remediation" in failure.text
    assert "expected   48c925da…65e6" in failure.text


def test_more_verbose_tells_digests_in_full_and_what_holds(make: Make) -> None:
    ran = make(bad__attest__json=BAD.text()).runpytest("-vv")
    ran.stdout.fnmatch_lines(
        ["*48c925da950861354415ad39364fc76adf1b97c96eda88e91065eae42fc465e6*", "*holds  signature.valid*"]
    )


def test_two_processes_find_the_same(make: Make) -> None:
    pytester = make(day__attest__jsonl=f"{GOOD.text()}\n{BAD.text()}\n", good__attest__json=GOOD.text())
    ran = pytester.runpytest_subprocess("-n", "2")
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(["*FAIL  pcr.values", "FAILED day.attest.jsonl::another-firmware - contraindicated: *"])


def test_a_wrapped_record_fails_with_the_place_of_its_evidence(make: Make) -> None:
    ran = make(wrapped__attest__json=json.dumps({"log": GOOD.text()})).runpytest()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        ["wrapped.attest.json: the evidence is not at the top level*", "FAILED *the evidence is not at the top level"]
    )
    assert "contraindicated" not in ran.stdout.str()


def test_names_that_are_not_regular_files_fail_and_a_pipe_is_not_waited_for(make: Make) -> None:
    pytester = make(good__attest__json=GOOD.text())
    os.mkfifo(pytester.path / "pipe.attest.jsonl")
    pytester.path.joinpath("link.attest.json").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.attest.json")
        ran = pytester.runpytest("-v")
    ran.assert_outcomes(passed=1, failed=3)
    ran.stdout.fnmatch_lines_random(
        [
            "link.attest.json: is a broken symbolic link: No such file or directory",
            "pipe.attest.jsonl:1: is not a regular file",
            "socket.attest.json: is not a regular file",
        ]
    )
    assert pytester.runpytest("-n", "2").parseoutcomes() == {"passed": 1, "failed": 3}
    pytester.runpytest("pipe.attest.jsonl").assert_outcomes(failed=1)
    pytester.runpytest("--ignore=pipe.attest.jsonl", "--ignore-glob=s*.json").assert_outcomes(passed=1, failed=1)
    pytester.runpytest("good.attest.json").assert_outcomes(passed=1)


@pytest.mark.parametrize("name", ["GOOD.ATTEST.JSON", "good.attest.ndjson", "good.Attest.JsonL"])
def test_names_match_in_upper_and_lower_case(make: Make, name: str) -> None:
    make(**{name.replace(".", "__"): GOOD.text()}).runpytest().assert_outcomes(passed=1)


@pytest.mark.parametrize("ending", ["gz", "zst", "GZ", "zip"])
def test_a_packed_file_fails_and_says_that_it_is_not_read(make: Make, ending: str) -> None:
    ran = make(**{f"good__attest__jsonl__{ending}": "packed"}).runpytest()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines([f"good.attest.jsonl.{ending}: is compressed; hint: *"])


@pytest.mark.parametrize("marker", ["pyvenv.cfg", "conda-meta/history"])
def test_a_file_that_makes_a_folder_a_virtual_environment_does_not_hide_its_records(make: Make, marker: str) -> None:
    pytester = make(good__attest__json=GOOD.text())
    for name in ("march/bad.attest.json", f"march/{marker}", f"tools/{marker}", f".venv/{marker}", ".venv/x.json"):
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(BAD.text())
    ran = pytester.runpytest()
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["march: contains recorded responses that pytest skips*; hint: remove that file*"])
    pytester.runpytest("--collect-in-virtualenv").assert_outcomes(passed=1, failed=1)
    pytester.runpytest("--ignore=march").assert_outcomes(passed=1)


def test_files_in_every_folder_that_pytest_passes_over_are_reported(make: Make) -> None:
    pytester = make(good__attest__json=GOOD.text())
    for folder in (".hidden", "venv", "node_modules", "x.egg", "CVS", ".git", "__pycache__"):
        path = pytester.path / folder / "below/BAD.Attest.json"
        path.parent.mkdir(parents=True)
        path.write_text(BAD.text())
    ran = pytester.runpytest()
    ran.assert_outcomes(passed=1, warnings=6)
    ran.stdout.fnmatch_lines(["*.hidden: a file with recorded responses not collected*"])


@pytest.mark.parametrize("error", ["", "-Werror"])
def test_files_in_folders_of_build_products_are_reported_as_not_collected(make: Make, error: str) -> None:
    pytester = make(good__attest__json=GOOD.text())
    for name in ("build/lib/a.attest.json", "build/b.attest.json", "dist/c.attest.jsonl.gz", "other/dist/readme.txt"):
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(BAD.text())
    ran = pytester.runpytest(*filter(None, [error]))
    ran.assert_outcomes(passed=1, warnings=2)
    ran.stdout.fnmatch_lines(
        [
            "*build: 2 files with recorded responses not collected*",
            "*dist: a file with recorded responses not collected*",
        ]
    )
    pytester.runpytest("build").assert_outcomes(failed=2)


def test_every_record_has_a_name_of_its_own(make: Make) -> None:
    names = ["line-3", "x", "", "x", "x-line-4", "line-3-line-3"]
    lines = [json.dumps({"_metadata": {"payload_id": name}}) for name in names]
    ran = make(odd__attest__jsonl="\n".join(lines)).runpytest("--collect-only", "-q")
    assert [line.partition("::")[2] for line in ran.outlines if "::" in line] == [
        "line-3",
        "x",
        "line-3-line-3",
        "x-line-4",
        "x-line-4-line-5",
        "line-3-line-3-line-6",
    ]


CONTENTS = {
    "pretty.attest.jsonl": (json.dumps(json.loads(GOOD.text()), indent=1).encode(), "is pretty-printed JSON*`jq -c .`"),
    "array.attest.jsonl": (b"[" + GOOD.text().encode() + b"]", "is a JSON array*"),
    "utf16.attest.jsonl": (GOOD.text().encode("utf-16"), "is UTF-16 text; save it as UTF-8*"),
    "utf16.attest.json": (GOOD.text().encode("utf-16"), "is UTF-16 text; save it as UTF-8*"),
    "gzip.attest.json": (gzip.compress(GOOD.text().encode()), "is compressed with gzip; unpack it first*"),
    "gzip.attest.jsonl": (gzip.compress(GOOD.text().encode()), "is compressed with gzip; unpack it first*"),
    "lines.attest.json": (b'{}\n{"a": 1}\n', "has a record on each line*"),
    "empty.attest.json": (b"", "is empty*"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_not_what_its_name_says_is_one_test_that_fails_and_says_why(make: Make, name: str) -> None:
    content, problem = CONTENTS[name]
    folder = make()
    (folder.path / name).write_bytes(content)
    ran = folder.runpytest()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines([f"{name}*: {problem}"])


@pytest.mark.parametrize("name", ["bom.attest.json", "bom.attest.jsonl"])
def test_a_byte_order_mark_of_utf_8_is_no_problem(make: Make, name: str) -> None:
    folder = make()
    (folder.path / name).write_bytes(b"\xef\xbb\xbf" + json.dumps(json.loads(GOOD.text())).encode() + b"\r\n")
    folder.runpytest().assert_outcomes(passed=1)
