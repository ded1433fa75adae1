"""Every value of a summary may come from somebody who wants the page to say something else, or to be unusable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomyo_attest.audit.cross_record.model import CrossRecordFinding, CrossRecordRuleSummary
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import (
    BUCKETS_MAXIMUM,
    GAPS_LISTED,
    Counts,
    Profile,
    RuleSummary,
    SourceSummary,
    Summary,
)
from nomyo_attest.report.html import CONTENT_SECURITY_POLICY, html_report
from tests.nomyo_attest.report.audit_samples import summary
from tests.nomyo_attest.report.html.parsed import Node, parse

MEGABYTES_3 = 3_000_000

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>' onload='x",
    "</title></style></svg></table><iframe src=https://example.org>",
    "<!-- ",
    "]]>&lt;b&gt;&#60;script&#62;",
    "javascript:alert(1)",
    "a\u202egnp.exe\u2066\u2069\u200f",
    "\x00\x1b[31m\x7f\r\n\t\x85\u2028",
    "\ud800\udfff\udcff",
    "\ufeff\u200b\u00ad\U000e0041",
    "Z" + "\u0301" * 500,
    "'$(reboot)`id`\\",
    "",
]
# Words of ours in places where another word is no summary: they decide what is drawn, and are never from outside.
OURS = {"outcome", "requirement", "format", "index", "bank"}


def tampered(value: Any, tamper: Callable[[str], str], key: str = "") -> Any:
    """A copy of plain data with every text in it tampered, keys too."""
    if isinstance(value, str):
        return value if key in OURS else tamper(value)
    if isinstance(value, dict):
        return {
            (tamper(name) if key in {"pcrs", "sha256", "document", "got", "expected"} else name): tampered(
                inner, tamper, name
            )
            for name, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [tampered(one, tamper, key) for one in value]
    return value


def _plain() -> Any:
    sample = summary()
    sample.failures = [*sample.failures[:2], *sample.failures[150:153], sample.failures[-1]]
    sample.timeline = sample.timeline[::8]
    return msgspec.to_builtins(sample)


PLAIN = _plain()
"""The sample as plain data, with few failures so that a page is made quickly."""


def with_text(tamper: Callable[[str], str]) -> Summary:
    """The sample with every text tampered."""
    return msgspec.convert(tampered(PLAIN, tamper), Summary)


def shape(page: Node) -> set[tuple[str, ...]]:
    """Every element with the names of its attributes."""
    return {(one.name, *sorted(one.attributes)) for one in page.walk()}


@pytest.fixture(scope="module")
def usual() -> set[tuple[str, ...]]:
    return shape(parse(html_report(summary())))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("put", [lambda old, new: new, lambda old, new: old + new, lambda old, new: new + old])
def test_no_text_becomes_markup(usual: set[tuple[str, ...]], text: str, put: Callable[[str, str], str]) -> None:
    page = html_report(with_text(lambda old: put(old, text)))
    assert shape(parse(page)) <= usual | {("p",), ("li",), ("bdi",), ("code",), ("small",), ("br",)}
    assert "<script" not in page.lower()
    assert "<iframe" not in page.lower()
    assert "<img" not in page.lower()


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_cannot_be_seen_reaches_the_page(text: str) -> None:
    page = html_report(with_text(lambda old: old + text))
    assert all(char.isprintable() or char == "\n" for char in page)
    assert page.encode().decode() == page


def test_nothing_is_loaded_linked_or_run() -> None:
    page = html_report(summary())
    tree = parse(page)
    loading = {"src", "srcset", "data", "action", "formaction", "poster", "background", "style"}
    assert all(not loading & set(one.attributes) for one in tree.walk())
    assert all(not name.startswith("on") for one in tree.walk() for name in one.attributes)
    assert all(one.get("href").startswith("#") for one in tree.walk() if "href" in one.attributes)
    assert not {one.name for one in tree.walk()} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "img",
    }
    assert "://" not in page
    assert "@import" not in page


def test_the_page_forbids_the_browser_all_but_its_own_style() -> None:
    tree = parse(html_report(summary()))
    (policy,) = (one.get("content") for one in tree.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy == CONTENT_SECURITY_POLICY
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


@settings(max_examples=25)
@given(st.text(st.characters(codec=None), max_size=60), st.integers(-(2**70), 2**70))
def test_a_page_is_made_whatever_the_text_and_the_time(text: str, time: int) -> None:
    sample = with_text(lambda old: text + old[:5])
    sample.failures[0]["processed_at"] = time
    sample.gaps[0].begins = time
    page = html_report(sample)
    parse(page)
    page.encode()


@pytest.mark.parametrize(
    "rule", ["pcr.values", "nonce.match", "claims.memory_protection.note", "key.attributes", "none.of.ours"]
)
@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**200,
        1.5,
        "x" * 1_000_000,
        ["<b>"] * 5000,
        {"sha256:7": ["<b>"] * 99, "sha256:0": None, "</td>": {"a": ["<"]}, "x": 7},
        {str(at): "f" * 64 for at in range(5000)},
        [],
        {},
    ],
    ids=lambda value: type(value).__name__,
)
def test_expected_and_got_may_be_anything(rule: str, value: Any) -> None:
    finding = {"rule": rule, "outcome": "fail", "requirement": "required", "message": "<i>"}
    record = {"source": "s", "line": 1, "verdict": "contraindicated"}
    record["findings"] = [finding | {"expected": value, "got": got} for got in (value, None, "ff" * 32)]
    page = html_report(summary(failures=[record], failures_total=1))
    parse(page)
    assert len(page) < 130_000


def test_a_row_that_holds_next_to_nothing_is_shown() -> None:
    (entry,) = parse(html_report(summary(failures=[{}], failures_total=1))).all("ul", "e-failures")[0].all("li")
    assert entry.words == "∅ unreadable no payload id reason no reason is recorded"


def long_lists() -> Iterator[tuple[str, dict[str, Any]]]:
    """Summaries with one list as long as a summary may have it, and longer, of texts that are very long."""
    long = '<"&' * 400_000
    place = Place(long, 10**12, 0)
    counts = Counts(affirming=1, warning=1, contraindicated=1, none=1, unreadable=1)
    finding = {
        "rule": long,
        "outcome": "fail",
        "requirement": "required",
        "message": long,
        "expected": long,
        "got": long,
    }
    failure = {
        "source": long,
        "line": 1,
        "verdict": long,
        "payload_id": long,
        "reason": long,
        "findings": [finding] * 30,
    }
    pcrs = {long: {str(index): long for index in range(300)}}
    profile = Profile(
        profile=long,
        pcrs=pcrs,
        counts=counts,
        aiks=1,
        first=place,
        last=place,
        first_seen=0,
        last_seen=1,
        over_time=[1] * 500,
    )
    found = CrossRecordFinding(
        rule=long, key=long, records=9, first=place, last=place, places=[place] * 100, message=long
    )
    asked = CrossRecordRuleSummary(
        rule=long, question=long, remediation=long, findings=1, records=1, outcome="found", remark=long
    )
    source = SourceSummary(name=long, kind=long, counts=counts, problem=long, sha256=long)
    yield "failures", {"failures": [failure] * 1000, "failures_total": 10**6}
    yield "profiles", {"profiles": [profile] * 50, "profiles_total": 10**6}
    yield "cross_record", {"cross_record": [found] * 1000}
    yield "cross_record_rules", {"cross_record_rules": [asked] * 500}
    yield "sources", {"sources": [source] * 1000, "sources_total": 10**6}
    rule = RuleSummary(rule=long, requirement=long, outcome="fail", records=1, first=place, message=long)
    yield "rules", {"rules": [rule] * 3000}
    yield "skipped", {"skipped": [long] * 1000, "skipped_total": 10**6}
    yield "not_established", {"not_established": [long] * 1000}
    yield "tiers", {"tiers": [(long, 1)] * 1000, "tiers_total": 10**6}
    yield "timeline", {"timeline": (summary().timeline * 9)[:BUCKETS_MAXIMUM]}
    yield "gaps", {"gaps": summary().gaps * GAPS_LISTED, "unavailable": summary().unavailable * GAPS_LISTED}
    values = [{"value": long, "label": long}] * 9
    document = {"id": long, "description": long, "pcrs": {"sha256": {long: values, "7": values}}, long: [long] * 3}
    document["rules"] = {f"claims.{at}": "warn" for at in range(20_000)}
    policy = msgspec.structs.replace(summary().policy, id=long, digest=long, source=long, document=document)
    yield "policy", {"policy": policy}
    run = msgspec.structs.replace(
        summary().run, version=long, command=[long] * 50, at=long, since=long, select=[long] * 9
    )
    yield "run", {"run": run, "status_reason": long, "inputs_digest": long}


@pytest.mark.parametrize(("name", "changes"), [pytest.param(*one, id=one[0]) for one in long_lists()])
@pytest.mark.slow
def test_the_page_fits_into_a_mail_whatever_a_list_holds(name: str, changes: dict[str, Any]) -> None:
    page = html_report(summary(**changes))
    parse(page)
    assert len(page.encode()) < MEGABYTES_3


@pytest.mark.slow
def test_the_page_fits_into_a_mail_when_every_list_is_long_at_once() -> None:
    changes = {key: value for _, one in long_lists() for key, value in one.items()}
    page = html_report(summary(**changes))
    parse(page)
    assert len(page.encode()) < MEGABYTES_3


def test_an_audit_of_ten_million_records_is_a_page_like_any_other() -> None:
    sample = summary()
    failures = (sample.failures * 5)[:1000]
    page = html_report(
        summary(counts=Counts(affirming=9_990_000, contraindicated=10_000), failures=failures, failures_total=10_000)
    )
    assert "9,990,000 of 10,000,000 records are affirmed." in page
    assert "The first 1,000 of 10,000 are shown" in page
    assert len(page.encode()) < MEGABYTES_3
