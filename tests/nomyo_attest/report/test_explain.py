"""The reason for a verdict comes first, with its values; what only follows from it does not bury it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

import nomyo_attest as na
from nomyo_attest.appraisal import RULES, Outcome
from nomyo_attest.policy import Trust
from nomyo_attest.report.explain import (
    TAGS,
    body_text,
    head_text,
    limits_text,
    reasons,
    sort_findings,
    summary_text,
    value_text,
)
from nomyo_attest.report.formatting import TextStyle
from nomyo_attest.testing import FAULTS, Forge
from nomyo_attest.tpm import TPM_ALG_ID
from tests.nomyo_attest.report.appraised_faults import all_appraised_faults, appraised_fault


def test_every_fault_is_explained_by_its_own_rule_and_those_that_fail_with_it() -> None:
    for fault, result, _ in all_appraised_faults():
        found = reasons(result)
        explained = [finding.rule for finding in found.failed] or [finding.rule for finding in found.undecided]
        assert set(explained) <= {fault.rule, *fault.also_failed}, fault.name
        assert fault.rule in explained, fault.name


def test_every_finding_that_is_no_pass_stands_in_one_group() -> None:
    for fault, result, _ in all_appraised_faults():
        found = reasons(result)
        grouped = [
            one.rule
            for group in (found.failed, found.undecided, found.softened, found.consequences, found.ignored)
            for one in group
        ]
        assert sorted(grouped) == sorted((*result.failed, *result.undecided)), fault.name


def test_what_a_rule_needs_are_rules() -> None:
    ids = {rule.id for rule in RULES}
    assert {need for rule in RULES for need in rule.needs} <= ids


def test_the_reason_for_no_evidence_is_that_there_is_none() -> None:
    found = reasons(appraised_fault("absent-no-tpm").result)
    assert [finding.rule for finding in found.undecided] == ["evidence.available"]
    assert len(found.consequences) > 15
    assert found.failed == ()


def test_softened_and_ignored_rules_have_groups_of_their_own() -> None:
    forge = Forge(safe=0)
    document = forge.policy() | {"claims": {"region": ["EU"]}}
    for word, group in (("warn", "softened"), ("ignore", "ignored")):
        document["rules"] = {"clock.safe": word, "claims.region": word}
        found = reasons(na.appraise(forge.response(), na.AppraisalPolicy.from_dict(document)))
        assert [finding.rule for finding in getattr(found, group)] == ["clock.safe", "claims.region"]
        assert found.failed == found.undecided == found.consequences == ()


def test_what_follows_from_a_warning_waits_for_it() -> None:
    fault, _, _ = appraised_fault("weak-point-off-curve")
    case = fault.case()
    document = case.policy | {"rules": {"key.strength": "warn"}, "unsafe_warn_until": "9999-01-01"}
    result = na.appraise(case.response, na.AppraisalPolicy.from_dict(document))
    assert result.verdict is na.Verdict.NONE
    assert [finding.rule for finding in reasons(result).consequences] == ["signature.valid"]


def test_what_follows_from_an_ignored_rule_is_shown_in_full_itself() -> None:
    fault, result, _ = appraised_fault("weak-point-off-curve")
    findings = [
        msgspec.structs.replace(one, requirement=na.Requirement.IGNORE) if one.rule == "key.strength" else one
        for one in result.findings
    ]
    assert fault.rule == "key.strength"
    assert [finding.rule for finding in sort_findings(findings).undecided] == ["signature.valid"]


def test_there_are_faults_to_explain() -> None:
    assert len(FAULTS) > 100


@pytest.mark.parametrize(
    ("rule", "value", "text"),
    [
        ("key.attributes", ["sign"], "sign"),
        ("key.attributes", [], "none"),
        ("signature.hash", ("sha256", "sha384"), "sha256 or sha384"),
        ("policy.period", ["2026", None], "from 2026"),
        ("policy.period", [None, "2027"], "until 2027"),
        ("policy.period", ["2026", "2027"], "from 2026 until 2027"),
        ("claims.tier", ["high", True, 1], '"high" or true or 1'),
        ("claims.tier", "true", '"true"'),
        ("claims.tier", "a\x1b", '"a\\u001b"'),
        ("clock.safe", True, "true"),
        ("clock.safe", False, "false"),
        ("nonce.match", b"", "no bytes"),
        ("nonce.match", b"\xab", "ab"),
        ("signature.scheme", TPM_ALG_ID.RSASSA, "TPM_ALG_RSASSA"),
        ("key.trust", Trust.PINNED_AIK, "pinned_aik"),
        (
            "firmware.version",
            ["0x0003000700000005", "0x2024012500120000"],
            "3.7.0.5 (0x0003000700000005) or 2024-01-25 (0x2024012500120000)",
        ),
        ("any", Outcome.FAIL, "fail"),
        ("any", None, "nothing"),
        ("any", 7, "7"),
        ("any", (), "none"),
        ("any", {"sha256:7": [b"\x01"]}, "sha256:7 = 01"),
        ("evidence.form", "a\nb", "a\\nb"),
    ],
)
def test_every_kind_of_value_has_its_words(rule: str, value: object, text: str) -> None:
    assert value_text(rule, value) == text


def appraised(forge: Forge, **changes: Any) -> tuple[na.AttestationResult, na.AppraisalPolicy]:
    policy = na.AppraisalPolicy.from_dict(Forge().policy() | changes)
    return na.appraise(forge.response(), policy), policy


@pytest.mark.parametrize(
    "style", [TextStyle(), TextStyle(verbose=True), TextStyle(width=60), TextStyle(terminal=True)], ids=repr
)
def test_no_fault_makes_a_line_wider_than_the_terminal_or_one_that_does_not_print(style: TextStyle) -> None:
    for fault, result, policy in all_appraised_faults():
        texts = [body_text(result, policy, style), limits_text([result], style)]
        if style.terminal:
            texts.append(head_text("some/folder/response.json", result, style))
        for line in "\n".join(texts).split("\n"):
            assert len(line) <= style.width, fault.name
            assert line.isprintable(), fault.name


def test_every_fault_names_its_rule_its_field_and_what_to_do() -> None:
    for fault, result, policy in all_appraised_faults():
        text = body_text(result, policy, TextStyle())
        tag = "UNDECIDED" if fault.undecided else "FAIL"
        (finding,) = (one for one in result.findings if one.rule == fault.rule)
        assert f"  {tag}  {fault.rule}\n" in text
        joined = " ".join(text.split())
        assert f"field {finding.field} " in joined
        assert f"remediation {finding.remediation[:1].upper()}{finding.remediation[1:]}" in joined


def test_verbose_shows_every_finding_once() -> None:
    for fault, result, policy in all_appraised_faults():
        text = body_text(result, policy, TextStyle(verbose=True))
        tags = "|".join(["holds", *{tag for tag, _ in TAGS.values()}])
        shown = re.findall(rf"^  (?:{tags})  (\S+)", text, re.MULTILINE)
        assert sorted(shown) == sorted(finding.rule for finding in result.findings), fault.name


def test_verbose_shows_the_value_of_each_pcr_that_holds_with_its_label() -> None:
    value = Forge().pcrs["sha256"][7].hex()
    pcrs = {"sha256": {"7": [{"value": value, "label": "db 2026-10"}, "aa" * 32], "10": "any"}}
    result, policy = appraised(Forge(), pcrs=pcrs)
    lines = body_text(result, policy, TextStyle(verbose=True)).splitlines()
    at = lines.index("  holds  pcr.values")
    ten = Forge().pcrs["sha256"][10].hex()
    assert lines[at + 1 : at + 4] == [
        f"   sha256:7     {value}",
        "                db 2026-10",
        f"   sha256:10    {ten}",
    ]


def test_verbose_tells_what_to_do_about_the_reason_alone() -> None:
    _, result, policy = appraised_fault("absent-no-tpm")
    text = body_text(result, policy, TextStyle(verbose=True))
    assert text.count("UNDECIDED") > 15
    assert text.count("remediation") == 1


def test_all_that_holds_needs_no_words() -> None:
    result, policy = appraised(Forge())
    assert body_text(result, policy, TextStyle()) == ""


def test_failures_come_before_what_only_follows_from_them() -> None:
    _, result, policy = appraised_fault("attributes-not-restricted")
    assert body_text(result, policy, TextStyle()).startswith("  FAIL  key.attributes\n")
    fault, result, policy = appraised_fault("key-cut-in-type")
    text = body_text(result, policy, TextStyle())
    assert text.startswith("  FAIL  key.form\n")
    others = len(fault.expect()["undecided"])
    assert f"\n\n  undecided because of this: {others} other rules (--verbose names them)" in text
    verbose = body_text(result, policy, TextStyle(verbose=True))
    assert all(f"  UNDECIDED  {rule}\n" in verbose for rule in ("key.attributes", "key.template", "key.strength"))
    fault, result, policy = appraised_fault("evidence-hex-odd")
    text = body_text(result, policy, TextStyle())
    others = len(fault.expect()["undecided"])
    assert text.splitlines()[-1] == f"  undecided because of this: {others} other rules (--verbose names them)"
    assert text.count("FAIL") == 1
    assert "UNDECIDED" not in text


def test_what_cannot_be_told_beside_a_failure_is_one_line_with_its_reason() -> None:
    def without_id(metadata: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in metadata.items() if key != "payload_id"}

    result, policy = appraised(Forge().measure(0, b"other").tamper("_metadata", without_id))
    text = body_text(result, policy, TextStyle(width=200))
    assert text.startswith("  FAIL  pcr.values\n")
    assert text.endswith("\n\n  also undecided: nonce.match (the response contains no payload id, and none was passed)")


def test_a_pcr_shows_each_reference_value_with_its_label_and_the_one_it_has() -> None:
    forge = Forge()
    known = [forge.pcrs["sha256"][7].hex(), "aa" * 32]
    pcrs = {"sha256": {"7": [{"value": known[0], "label": "db 2026-10"}, {"value": known[1], "label": "db 2026-04"}]}}
    result, policy = appraised(Forge().measure(7, b"more"), pcrs=pcrs)
    rows = body_text(result, policy, TextStyle()).splitlines()[3:7]
    got = Forge().measure(7, b"more").pcrs["sha256"][7].hex()
    first, second = sorted([(known[0], "db 2026-10"), (known[1], "db 2026-04")])
    assert rows == [
        "   sha256:7",
        f"     expected   {first[0][:8]}…{first[0][-4:]}  {first[1]}",
        f"     or         {second[0][:8]}…{second[0][-4:]}  {second[1]}",
        f"     got        {got[:8]}…{got[-4:]}",
    ]
    verbose = body_text(result, policy, TextStyle(verbose=True))
    assert all(value in verbose for value in (*known, got, "db 2026-10", "db 2026-04"))


def test_a_pcr_that_is_not_signed_is_said_so() -> None:
    result, policy = appraised(Forge(), pcrs={"sha256": {"0": [Forge().pcrs["sha256"][0].hex()], "4": "any"}})
    text = body_text(result, policy, TextStyle())
    assert "     expected   any signed value\n     got        not signed\n" in text


def test_the_first_line_says_file_verdict_policy_and_trust() -> None:
    result, policy = appraised(Forge())
    expected = f"response.json   affirming   policy forge ({policy.digest[:11]}…)   AIK trust: self_asserted"
    assert head_text("response.json", result, TextStyle()) == expected
    assert head_text("r", result, TextStyle(), name_width=4).startswith("r      affirming         policy forge")


def test_on_a_narrow_terminal_the_first_line_is_broken_between_its_parts() -> None:
    result, policy = appraised(Forge())
    policy_part = f"policy forge ({policy.digest[:11]}…)"
    wide, narrow = TextStyle(terminal=True), TextStyle(terminal=True, width=44)
    hang = " " * len("response.json   affirming   ")
    assert head_text("response.json", result, wide) == (
        f"response.json   affirming   {policy_part}\n{hang}AIK trust: self_asserted"
    )
    assert head_text("response.json", result, narrow) == (
        f"response.json   affirming\n    {policy_part}\n    AIK trust: self_asserted"
    )


def test_only_color_sets_a_colored_text_apart() -> None:
    for _, result, policy in all_appraised_faults()[::25]:
        plain, colored = (
            [head_text("r.json", result, style, name_width=10), body_text(result, policy, style)]
            for style in (TextStyle(), TextStyle(color=True))
        )
        assert all("\x1b[" in text for text in colored)
        assert [re.sub(r"\x1b\[[0-9;]*m", "", text) for text in colored] == plain


def test_a_long_policy_id_is_cut_and_a_hostile_one_cannot_act() -> None:
    result, _ = appraised(Forge(), id="\u202e" + "x" * 150)
    head = head_text("r.json", result, TextStyle())
    assert head.isprintable()
    assert len(head) < 160


def test_several_files_are_summed_up_and_one_is_not() -> None:
    assert summary_text({"affirming": 1, "none": 0}) == ""
    assert summary_text({"affirming": 2, "warning": 0, "none": 1}) == "3 files: 2 affirming, 1 none"


def test_limits_are_told_where_something_is_affirmed_and_in_full_when_asked() -> None:
    good, _ = appraised(Forge())
    bad = appraised_fault("magic-zero").result
    brief = " ".join(limits_text([good], TextStyle()).split())
    assert brief.startswith("Not established (--verbose says why): that a TPM made the quote; ")
    assert all(limit.partition(":")[0][1:] in brief for limit in good.not_established)
    assert limits_text([bad], TextStyle()) == ""
    assert limits_text([], TextStyle(verbose=True)) == ""
    verbose = " ".join(limits_text([bad, good], TextStyle(verbose=True)).split())
    assert all(limit in verbose for limit in (*good.not_established, *bad.not_established))
