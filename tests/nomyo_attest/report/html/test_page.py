"""What the page says, in the order an auditor asks."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from nomyo_attest.audit.summary import Counts, Gap, Run, Summary
from nomyo_attest.report.html import html_report
from tests.nomyo_attest.report.audit_samples import DOCUMENT, NOT_ESTABLISHED, ODD_ONE, digest, summary
from tests.nomyo_attest.report.html.parsed import Node, parse, rows


@pytest.fixture(scope="module")
def page() -> Node:
    return parse(html_report(summary()))


def of(**changes: Any) -> Node:
    """The page of the sample with some changes; with few failures unless they are one, so that it is read quickly."""
    return parse(html_report(summary(**({"failures": summary().failures[:3]} | changes))))


def table(page: Node, name: str) -> Node:
    (found,) = page.all("table", f"t-{name}")
    return found


def test_the_sections_stand_in_the_order_an_auditor_asks(page: Node) -> None:
    assert [one.get("id") for one in page.all("section")] == [
        *("result", "incidents", "rules", "unreadable", "cross_record", "timeline", "profiles", "failures"),
        *("claims", "sources", "policy", "limits", "provenance"),
    ]


def test_the_result_is_at_the_top(page: Node) -> None:
    (status,) = page.all("header")[0].all("p", "status")
    result = page.by_id("result")
    assert status.words.startswith("✗ Not passed 75 contraindicated, 146 none, 1 unreadable")
    assert "Exit status 1: " in status.words
    assert "10,252 of 10,524 records are affirmed. 50 more pass with a warning" in result.words
    assert "222 are not affirmed. The cross-record checks have 2 findings." in result.words
    assert "prod-eu-2026-11" in result.words
    assert "AIK trust self_asserted: " in result.words
    assert "Not established" in result.words
    for limit in summary().not_established:
        assert limit.partition(":")[0].rstrip(".")[1:] in result.words
    counts = {row[0].split()[1]: row[1:3] for row in rows(table(page, "counts"))}
    assert counts["affirming"] == ["10,252", "97.4%"]
    assert counts["unreadable"] == ["1", "<0.1%"]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "✓ Passed"),
        (1, "✗ Not passed"),
        (2, "∅ Not complete"),
        (3, "✗ Not passed"),
    ],
)
def test_the_exit_status_is_told_in_words(status: int, text: str) -> None:
    words = of(status=status).all("p", "status")[0].words
    assert words.startswith(text)
    assert f"Exit status {status}: the audit " in words or "Exit status 2: some input could not be read" in words


def test_an_audit_of_nothing_affirms_nothing() -> None:
    page = of(
        counts=Counts(),
        outside=0,
        sources=[],
        sources_total=0,
        sources_unreadable=0,
        rules=[],
        failures=[],
        failures_total=0,
        cross_record=[],
        cross_record_rules=[],
        profiles=[],
        profiles_total=0,
        timeline=[],
        undated=0,
        gaps=[],
        unavailable=[],
        tiers=[],
        tiers_total=0,
        not_established=[],
        skipped=[],
        skipped_total=0,
        status=0,
    )
    assert "No record was appraised, so nothing is affirmed." in page.by_id("result").words
    assert "No records to show." in page.by_id("timeline").words
    assert "Nothing was appraised, so nothing is established." in page.by_id("limits").words
    assert page.all("svg", "chart") == []


def test_every_bar_of_the_timeline_is_as_high_as_its_records_are_many(page: Node) -> None:
    svg = page.by_id("timeline").all("svg", "chart")[0]
    tips = svg.all("rect", "tip")
    sample = summary()
    assert len(tips) == len(sample.timeline)
    affirming = svg.all("rect", "b-affirming")
    most = max(float(one.get("height")) for one in affirming)
    assert most == pytest.approx(200 * max(one.counts.affirming for one in sample.timeline) / 400, abs=0.01)
    assert tips[0].words == "2026-11-02 00:00:00Z: 90 affirming"


def test_one_bad_record_among_ten_million_is_seen() -> None:
    sample = summary()
    timeline = [msgspec.structs.replace(one, counts=Counts(affirming=10_000_000 // 56)) for one in sample.timeline]
    timeline[5] = msgspec.structs.replace(timeline[5], counts=Counts(affirming=10_000_000 // 56, contraindicated=1))
    svg = of(timeline=timeline, counts=Counts(affirming=10_000_000, contraindicated=1)).by_id("timeline")
    chart = svg.all("svg", "chart")[0]
    stacked, lane = (chart.all("rect", f"{kind}-contraindicated") for kind in ("b", "l"))
    assert [float(one.get("height")) for one in (*stacked, *lane)] == [2, 24]


def test_gaps_and_missing_evidence_are_marked_in_the_chart_and_told_in_words(page: Node) -> None:
    section = page.by_id("timeline")
    svg = section.all("svg", "chart")[0]
    (gap,) = svg.all("rect", "b-gap")
    assert gap.get("x") == "78.571%"
    assert gap.get("width") == "5.357%"
    assert {one.words for one in svg.all("text", "mark")} == {"G1", "E1"}
    assert rows(table(page, "gaps")) == [
        ["no records", "G1", "2026-11-13 00:00:00Z", "2026-11-13 18:00:00Z", "18 h", "0"],
        ["no evidence", "E1", "2026-11-06 06:00:00Z", "2026-11-06 18:00:00Z", "12 h", "120"],
    ]


def test_a_single_record_without_evidence_is_isolated_and_has_no_duration() -> None:
    at = summary().timeline[3].at
    page = of(unavailable=[Gap(begins=at, ends=at, records=1)], gaps=[])
    assert rows(table(page, "gaps"))[0][4:] == ["isolated", "1"]
    assert "each isolated" in page.by_id("claims").words
    assert "0 s" not in page.by_id("claims").words


@pytest.mark.parametrize(("interval", "listed"), [(0, True), (6480, True), (6481, False)])
def test_a_gap_is_listed_and_drawn_if_it_is_ten_times_the_usual_interval(interval: int, listed: bool) -> None:
    section = of(usual_interval=interval, unavailable=[]).by_id("timeline")
    assert bool(section.all("rect", "b-gap")) is listed
    assert ("No period without records is 10 times" in section.words) is not listed
    assert ("18 h" in section.words) is listed


def test_what_is_shorter_than_a_bar_is_listed_but_not_drawn() -> None:
    sample = summary()
    short = [Gap(begins=one.at, ends=one.at + 3600, records=1) for one in sample.timeline[:3]]
    section = of(gaps=[], unavailable=short).by_id("timeline")
    assert section.all("rect", "b-outage") == []
    assert [row[:2] for row in rows(table(section, "gaps"))] == [["no evidence", "shorter than a bar"]] * 3
    assert rows(table(section, "gaps"))[0][4:] == ["1 h", "1"]


def test_records_without_a_time_are_told(page: Node) -> None:
    assert "13 records without a time" in page.by_id("timeline").words
    told = of(timeline=[], gaps=[], unavailable=[]).by_id("timeline").words
    assert "No record has a time" in told


def test_the_numbers_of_the_chart_stand_in_a_table_that_adds_up(page: Node) -> None:
    found = table(page, "buckets")
    assert len(rows(found)) == 56
    assert rows(found, "tfoot") == [["all with a time", "10,240", "50", "75", "146", "0", "10,511", "146"]]
    assert "10,511 with a time and 13 without: 10,524." in found.all("caption")[0].words
    assert "do not add up" in table(of(undated=0), "buckets").all("caption")[0].words


def entries(page: Node, name: str) -> list[Node]:
    """The entries of a list."""
    (found,) = page.all("ul", f"e-{name}")
    return [one for one in found.inside if isinstance(one, Node)]


def facts(node: Node) -> dict[str, str]:
    """Names and texts; of several of one name the last."""
    return {one.all("dt")[0].words: one.all("dd")[0].words for one in node.all("div") if one.all("dt")}


def test_a_rule_that_fails_comes_with_its_question_and_what_to_do(page: Node) -> None:
    first = entries(page, "rules")[0]
    assert first.all("p", "head")[0].words == "✗ FAIL pcr.values 75 records"
    told = facts(first)
    assert told["question"].startswith("Is every PCR that the policy names signed")
    assert told["problem"] == "PCR sha256:7 does not match the policy."
    assert (told["expected"], told["got"]) == ("sha256:7 c6cf0b83…3530", "sha256:7 006b7583…31aa")
    assert told["share"] == "0.7%"
    assert told["first"] == "recorded/2026-11.jsonl.gz:7609 2026-11-11 12:00:00Z"
    assert told["remediation"].startswith("If the machine was updated")
    assert told["in"].endswith("7796, 7797, 7798 and 65 more")


def test_rules_that_are_undecided_because_of_others_are_counted_apart(page: Node) -> None:
    sample = summary()
    late = msgspec.structs.replace(sample.rules[1], rule="attest.form", outcome="consequence")
    quiet = msgspec.structs.replace(sample.rules[2], rule="key.hierarchy", requirement="ignore")
    section = of(rules=[*sample.rules, late, quiet]).by_id("rules")
    heads = [one.all("p", "head")[0].words for one in entries(section, "rules")]
    assert [one.split()[1] for one in heads] == ["FAIL", "UNDECIDED", "WARNING"]
    assert "Undecided because of these rules: attest.form." in section.words
    assert "Ignored by the policy: key.hierarchy." in section.words
    assert "for some record: 5; 1 of them only as a consequence of others" in section.all("summary")[0].words
    assert rows(table(section, "everyrule"))[3:] == [
        ["attest.form", "required", "0", "0", "146"],
        ["key.hierarchy", "ignore", "50", "0", "0"],
    ]


def test_a_rule_that_the_table_does_not_have_is_shown_by_its_id() -> None:
    rule = msgspec.structs.replace(summary().rules[0], rule="future.rule")
    (entry,) = entries(of(rules=[rule]), "rules")
    assert entry.all("p", "head")[0].words == "✗ FAIL future.rule 75 records"
    assert list(facts(entry)) == ["problem", "share", "first"]


def test_an_audit_without_failing_rules_says_so() -> None:
    assert "Every rule holds" in of(rules=[]).by_id("rules").words


def test_checks_across_records_say_what_was_found_and_what_was_not(page: Node) -> None:
    found = entries(page, "cross_record")
    heads = [one.all("p", "head")[0].words for one in found]
    assert heads == [
        "✗ FOUND duplicate.quote 1 finding, 3 records",
        "✗ FOUND duplicate.payload_id 1 finding, 2 records",
        "✓ holds reused.aik",
        "✓ holds rollback.clock",
    ]
    (finding,) = found[0].all("ul", "plain")[0].all("li")
    told = facts(finding)
    assert told["found"] == "3 records carry the same quote, under 2 payload ids."
    assert told["key"] == digest("quote 6120")
    assert [told[name].split()[0].rpartition(":")[2] for name in ("first", "last", "also")] == ["6120", "6744", "6121"]


def test_each_profile_has_a_lane_and_a_row_that_says_in_what_it_differs(page: Node) -> None:
    svg = page.by_id("profiles").all("svg", "chart")[0]
    lanes = [one.words.partition(" of all")[0] for one in svg.all("text", "lane")]
    assert lanes == ["P1: ✓ ! 5,866 records, 55.7%", "P2: ✓ ! 4,436 records, 42.2%", "P3: ✗ 75 records, 0.7%"]
    assert len(svg.all("rect", "l-contraindicated")) == 15, "the odd machine, in buckets 38 to 55 but for the gap"
    found = rows(table(page, "profiles"))
    assert [row[1] for row in found] == ["none", "sha256:0", "sha256:7"]
    assert found[2][0] == f"P3 {digest(ODD_ONE)}"
    assert found[2][2:5] == ["75", "0.7%", "✗ contraindicated 75"]


def test_each_pcr_value_has_its_meaning_its_profiles_and_what_the_policy_says(page: Node) -> None:
    found = rows(table(page, "values"))
    assert found[0][:4] == ["sha256:0 ≠", digest("firmware 2.4"), "P1, P3", "✓ accepts it: firmware 2.4"]
    assert found[0][4].startswith("firmware code")
    assert found[3][:4] == ["sha256:7 ≠", digest("secure boot off"), "P3", "✗ does not accept it"]


def test_a_failure_names_record_payload_id_verdict_rules_expected_and_got(page: Node) -> None:
    found = next(one for one in entries(page, "failures") if "contraindicated" in one.words)
    head = found.all("p", "head")[0].words
    assert head.startswith("✗ contraindicated recorded/2026-11.jsonl.gz:7609 2026-11-11 12:00:00Z payload id ")
    assert facts(found) == {
        "fails": "pcr.values: PCR sha256:7 does not match the policy.",
        "sha256:7 expected": f"{digest('secure boot')} Secure Boot on, db 2026-10",
        "sha256:7 got": digest("secure boot off"),
    }


def test_an_unreadable_record_has_its_reason(page: Node) -> None:
    last = entries(page, "failures")[-1]
    assert last.all("p", "head")[0].words.startswith("∅ unreadable recorded/2026-11-16.jsonl.zst:412 ")
    assert facts(last) == {"reason": "the archive is cut off at byte 1048576: the records behind are lost"}


def test_rules_that_are_undecided_because_of_another_are_counted_not_listed() -> None:
    waiting: dict[str, Any] = {
        "outcome": "undecided",
        "requirement": "required",
        "expected": None,
        "got": None,
        "message": "no quote",
    }
    record = summary().failures[0]
    record["findings"] = [record["findings"][0], *({"rule": rule} | waiting for rule in ("attest.form", "nonce.match"))]
    text = entries(of(failures=[record]), "failures")[0].words
    assert "2 rules undecided as a consequence" in text
    assert "nonce.match" not in text


def test_a_cut_list_of_failures_says_so(page: Node) -> None:
    cut = of(failures=summary().failures, failures_total=12_345).by_id("failures").words
    assert "The verdicts file (--out) contains every record. The first 222 of 12,345 are shown." in cut
    assert "are shown" not in page.by_id("failures").words


def test_sources_stand_with_their_digests_and_add_up(page: Node) -> None:
    found = table(page, "sources")
    assert "no digest" in rows(found)[0][0]
    assert rows(found)[0][0].endswith("∅ not read to the end")
    assert "The archive is cut off at byte 1048576." in page.by_id("unreadable").words
    assert digest("2026-11.jsonl.gz") in rows(found)[1][0]
    assert rows(found, "tfoot")[0][1:] == ["10,252", "50", "75", "146", "1", "10,524", "340", "2"]
    assert found.all("caption")[0].words.endswith("the columns add up")
    assert "10,252 affirming + 50 warning + 75 contraindicated + 146 none + 1 unreadable = 10,524 records." in (
        page.by_id("sources").words
    )


def test_sources_that_are_not_listed_are_counted() -> None:
    sources = summary().sources
    found = table(of(sources=sources[:1], sources_total=2001), "sources")
    assert rows(found, "tfoot")[0] == ["2,000 other sources", "9,841", "50", "75", "146", "0", "10,112", "340", "2"]
    assert "the columns add up. The first 1 of 2,001 are shown." in found.all("caption")[0].words


@pytest.mark.parametrize("change", [{"outside": 7}, {"blank": 0}, {"counts": Counts(affirming=1)}])
def test_sources_that_do_not_add_up_are_told(change: dict[str, Any]) -> None:
    assert "do not add up" in table(of(**change), "sources").all("caption")[0].words


def test_files_passed_over_are_named(page: Node) -> None:
    (folded,) = page.by_id("sources").all("details")
    assert folded.words == (
        "2 files skipped: their extensions are not those of records recorded/README.md recorded/notes.txt"
    )


def test_the_policy_is_shown_whole_and_its_digest_is_of_the_characters_shown(page: Node) -> None:
    section = page.by_id("policy")
    (document,) = section.all("pre")
    assert f"SHA-256 {hashlib.sha256(document.text.encode()).hexdigest()}" in section.words
    assert [row[2] for row in rows(table(page, "references"))] == [
        "firmware 2.4",
        "firmware 2.5",
        DOCUMENT["pcrs"]["sha256"]["7"][0]["label"],
        "",
    ]
    asked = dict(rows(table(page, "other-keys")))
    assert asked["rules.clock.safe"] == "warn"
    assert asked["claims.security_tier"] == "high, maximum"


def test_what_is_unsafe_in_a_policy_is_said_aloud(page: Node) -> None:
    assert "Unsafe" not in page.by_id("policy").words
    policy = summary().policy
    policy.document["unsafe_any_nonce"] = True
    assert "unsafe_any_nonce: a quote made for any other request" in of(policy=policy).by_id("policy").words


def test_the_limits_of_the_verdicts_are_listed(page: Node) -> None:
    assert [one.words for one in page.by_id("limits").all("li")] == NOT_ESTABLISHED


def test_tiers_keys_and_missing_evidence_are_told(page: Node) -> None:
    claims = page.by_id("claims").words
    assert "10,377 different Names; the policy pins 0 of them" in claims
    assert "146 records with a time; in 1 period, 12 h together, no record has any" in claims
    assert rows(table(page, "tiers"))[2] == ["no tier", "1", "<0.1%"]


def test_the_run_can_be_made_again_from_what_the_page_says() -> None:
    run = Run(
        version="1.2.3",
        command=["nomyo-attest", "audit", "a b", "it's", "x\x1b\udcff", "--out", "v"],
        at="2026-11-30T00:00:00+00:00",
        since="2026-11-01T00:00:00+00:00",
        select=["none", "contraindicated"],
        started_at="2026-11-17T08:15:00+00:00",
        seconds=3725,
        processes=1,
        resumed=2,
        workers_lost=1,
    )
    section = of(run=run).by_id("provenance")
    command = "nomyo-attest audit 'a b' 'it'\"'\"'s' $'x\\x1b\\xff' --out v"
    assert section.all("pre")[0].text == command
    told = {
        one.all("dt")[0].words: one.all("dd")[0].words for one in section.all("dl")[0].inside if isinstance(one, Node)
    }
    assert told["Version"] == "nomyo-attest 1.2.3"
    assert told["Inputs"] == digest("inputs")
    assert told["Appraised as of"] == "2026-11-30T00:00:00+00:00"
    assert told["Window"] == "2026-11-01T00:00:00+00:00 to the end"
    assert told["Rows selected"] == "none, contraindicated"
    assert told["Took"] == "1 h 2 min with 1 process"
    assert told["Resumed"] == "2 times"
    assert told["Workers lost"] == "1: other workers repeated their work"


def test_the_same_summary_gives_the_same_page() -> None:
    assert html_report(summary()) == html_report(summary())


@pytest.mark.parametrize("buckets", [1, 2, 120])
@pytest.mark.parametrize("at", [0, 253402300799 - 3600, -62135596800])
@pytest.mark.parametrize("seconds", [0, 1, 86400 * 400])
def test_a_timeline_of_any_length_at_any_time_is_drawn_inside_the_page(buckets: int, at: int, seconds: int) -> None:
    first = summary().timeline[2]
    timeline = [msgspec.structs.replace(first, at=at + number * seconds) for number in range(buckets)]
    page = of(timeline=timeline, bucket_seconds=seconds, gaps=[Gap(begins=at - 5, ends=2**60, records=0)], failures=[])
    for mark in page.by_id("timeline").all("svg", "chart")[0].walk():
        for name in ("x", "x1", "x2"):
            if mark.get(name).endswith("%"):
                assert 0 <= float(mark.get(name)[:-1]) <= 100
        if mark.name == "rect":
            assert float(mark.get("x")[:-1]) + float(mark.get("width")[:-1]) <= 100.41
            assert float(mark.get("height")) >= 0


def test_a_timeline_without_records_is_drawn() -> None:
    empty = [msgspec.structs.replace(one, counts=Counts(), unavailable=0) for one in summary().timeline]
    svg = of(timeline=empty).by_id("timeline").all("svg", "chart")[0]
    assert svg.all("rect", "b-affirming") == []
    assert svg.all("text", "lane") == []


def test_a_single_record_is_shown() -> None:
    sample: Summary = summary()
    one = Counts(affirming=1)
    bucket = msgspec.structs.replace(sample.timeline[0], counts=one, unavailable=0)
    page = of(
        counts=one, timeline=[bucket], bucket_seconds=1, undated=0, failures=[], failures_total=0, cross_record_rules=[]
    )
    assert "The record is affirmed." in page.by_id("result").words
