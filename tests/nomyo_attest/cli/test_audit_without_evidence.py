"""`nomyo-attest audit` of records without evidence at the top level: wrapped ones, chats, and none with evidence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.nomyo_attest.cli.test_audit import answer, audit, compact, rows, summary


@pytest.mark.usefixtures("folder")
class TestWrappedRecords:
    def test_they_are_unreadable_and_the_report_says_where_the_evidence_is(self) -> None:
        Path("wrapped.jsonl").write_text(json.dumps({"log": answer(0).text()}) + "\n", encoding="utf-8")
        ran = audit("wrapped.jsonl", "--out", "v.jsonl")
        assert ran.status == 1
        assert "jq -c '.log | fromjson'" in " ".join(ran.out.split())
        (row,) = rows("v.jsonl")
        assert row["verdict"] == "unreadable"
        assert row["reason"].startswith("the evidence is not at the top level of the record but at /log ")

    def test_a_chat_about_attestation_is_no_evidence(self) -> None:
        chat = {"choices": [{"message": {"role": "tool", "content": answer(0).text()}}]}
        Path("chat.jsonl").write_text(json.dumps(chat) + "\n", encoding="utf-8")
        assert summary("chat.jsonl")["counts"]["none"] == 1

    @pytest.mark.parametrize("fail_on", ["nothing", "contraindicated", "warning"])
    def test_an_audit_without_any_evidence_fails_whatever_fail_on_says(self, fail_on: str) -> None:
        records = [json.dumps({"log": answer(0).text()}), json.dumps({"choices": []})]
        Path("records.jsonl").write_text("\n".join(records), encoding="utf-8")
        document = summary("records.jsonl", "--fail-on", fail_on)
        assert document["status_reason"] == "no record has evidence; check that the records are responses"
        assert audit("records.jsonl", "--fail-on", fail_on, "--allow-no-evidence").status == 0
        with Path("records.jsonl").open("a", encoding="utf-8") as file:
            file.write("\n" + compact(answer(1)))
        assert audit("records.jsonl", "--fail-on", fail_on).status == 0
        assert audit("records.jsonl", "--allow-no-evidence").status == 1

    @pytest.mark.parametrize("fail_on", ["nothing", "contraindicated"])
    def test_an_audit_that_appraised_no_record_fails_whatever_is_allowed(self, fail_on: str) -> None:
        Path("wrapped.jsonl").write_text(json.dumps({"log": answer(0).text()}) + "\n", encoding="utf-8")
        options = ("--fail-on", fail_on, "--allow-no-evidence")
        assert audit("wrapped.jsonl", *options).status == 1
        assert summary("wrapped.jsonl", *options)["status_reason"] == "no record was appraised"

    def test_malformed_evidence_is_evidence(self) -> None:
        Path("bad.jsonl").write_text(json.dumps({"_metadata": {"tpm_attestation": {}}}), encoding="utf-8")
        assert audit("bad.jsonl", "--fail-on", "nothing").status == 0
