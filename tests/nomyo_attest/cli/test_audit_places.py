"""Every report of an audit names the record that a finding is about, with that record's sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import run

ABSENT = json.dumps({"_metadata": {"payload_id": "x", "tpm_attestation": {"is_available": False}}})
"""`evidence.available` is undecided for it, and every other rule because of that."""

SENTENCE = "the server says _metadata.tpm_attestation.is_available: false"


@pytest.fixture
def day(folder: Path) -> Path:
    """Line 1 is malformed, line 2 good, line 3 has no evidence: each rule is undecided in line 1 for another reason."""
    (folder / "day.jsonl").write_text(
        "\n".join(["[]", json.dumps(json.loads(Forge().text())), ABSENT]) + "\n", encoding="utf-8"
    )
    return folder


def audit(*argv: str) -> Any:
    return run("audit", "day.jsonl", "--policy", "policy.toml", *argv)


@pytest.mark.usefixtures("day")
class TestTheRecordWithoutEvidenceIsNamed:
    def test_in_the_json_summary(self) -> None:
        document = audit("--format", "json").json()
        (place,) = (one for one in document["places"] if one["rule"] == "evidence.available")
        assert (place["outcome"], place["records"], place["lines"]) == ("undecided", 1, [3])
        assert place["message"] == SENTENCE
        (rule,) = (
            one for one in document["rules"] if one["rule"] == "evidence.available" and one["outcome"] != "consequence"
        )
        assert (rule["outcome"], rule["records"], rule["first"]["line"], rule["message"]) == (
            "undecided",
            1,
            3,
            SENTENCE,
        )
        following = {one["rule"]: one["records"] for one in document["rules"] if one["outcome"] == "consequence"}
        assert following["evidence.available"] == 1
        assert following["nonce.match"] == 2

    def test_in_the_text(self) -> None:
        lines = audit("--verbose").out.splitlines()
        begin = lines.index("  UNDECIDED  evidence.available  1 record")
        told = [line.split() for line in lines[begin + 1 : begin + 9]]
        assert ["expected", "true"] in told
        assert ["first", "day.jsonl:3"] in told
        assert ["in", "day.jsonl:", "line", "3"] in told

    def test_in_markdown(self) -> None:
        audit("--markdown", "m.md")
        text = Path("m.md").read_text(encoding="utf-8")
        incident = text[text.index("### Incidents") : text.index("### Rules that do not hold")]
        assert "- first: `day.jsonl:3`" in incident
        assert "- rule: `evidence.available`\n" in incident
        begin = text.index("**UNDECIDED** `evidence.available` 1 record")
        assert "- in `day.jsonl`: line 3\n" in text[begin : text.index("Undecided because of", begin)]

    def test_in_html(self) -> None:
        audit("--html", "r.html")
        text = Path("r.html").read_text(encoding="utf-8")
        begin = text.index("evidence.available", text.index('id="rules'))
        entry = text[begin : text.index("Undecided because of", begin)]
        assert SENTENCE.removeprefix("the ") in entry
        assert "day.jsonl</bdi>:3" in entry.replace("<wbr>", "")

    def test_in_junit(self) -> None:
        audit("--junit", "j.xml")
        cases = {case.get("name"): case for case in ET.parse("j.xml").getroot().iter("testcase")}
        failure = cases["no record is contraindicated or none"].find("failure")
        assert failure is not None
        _, told, rest = str(failure.text).partition(f"evidence.available (undecided): 1 record: T{SENTENCE[1:]}")
        assert told
        assert rest.splitlines()[1] == "day.jsonl: line 3"

    def test_in_sarif(self) -> None:
        audit("--sarif", "s.json")
        (sarif_run,) = json.loads(Path("s.json").read_text(encoding="utf-8"))["runs"]
        (result,) = (one for one in sarif_run["results"] if one["ruleId"] == "evidence.available")
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 3
        assert "relatedLocations" not in result
        assert result["message"]["text"].startswith("1 response has no evidence. The server says ")

    def test_in_annotations_for_github(self) -> None:
        lines = [line for line in audit("--github").out.splitlines() if line.startswith("::") and SENTENCE[4:] in line]
        assert len(lines) == 1
        assert lines[0].startswith("::error file=day.jsonl,line=3,title=")

    def test_in_the_row(self) -> None:
        audit("--out", "v.jsonl")
        rows = [json.loads(line) for line in Path("v.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [row["reason"] for row in rows][1:] == [None, SENTENCE]
