"""What a careful colleague says of a policy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.policy.lint import Remark, Weight, lint

NOW = datetime(2026, 6, 1, tzinfo=UTC)
VALUE = {"value": "ab" * 32, "label": "db 2026-10"}
NAME = "000b" + "ab" * 32


def sound(**changes: Any) -> dict[str, Any]:
    """A policy that nobody has anything to say of, with changes."""
    return {
        "format": "nomyo-attest-policy/1",
        "id": "sound",
        "pcrs": {"sha256": {"0": [VALUE], "7": [VALUE], "14": "any"}},
        "key": {"hierarchy": ["endorsement"], "trust": "pinned_aik", "pinned": [NAME]},
    } | changes


def remarks(**changes: Any) -> tuple[Remark, ...]:
    return lint(na.AppraisalPolicy.from_dict(sound(**changes)), NOW)


def pcrs(**of_sha256: Any) -> dict[str, Any]:
    return {
        "sha256": {"0": [VALUE], "7": [VALUE]} | {index.removeprefix("p"): value for index, value in of_sha256.items()}
    }


def labelled(*labels: str) -> dict[str, Any]:
    """A key table with one pinned AIK for each label; "" for none."""
    names = [f"000b{at:064x}" for at in range(len(labels))]
    entries = [{"name": name, "label": label} if label else name for name, label in zip(names, labels, strict=True)]
    return {"hierarchy": ["endorsement"], "trust": "pinned_aik", "pinned": entries}


def test_a_sound_policy_gets_no_remark() -> None:
    assert remarks() == ()
    assert remarks(key=labelled("router-eu-1", "router-eu-2")) == ()


WEAK: list[tuple[str, str, dict[str, Any]]] = [
    ("warning", "valid_until", {"valid_until": "2026-05-31T00:00:00Z"}),
    ("warning", "valid_from", {"valid_from": "2026-06-02T00:00:00Z"}),
    ("warning", "unsafe_any_nonce", {"unsafe_any_nonce": True}),
    ("warning", "unsafe_accept_any_pcrs", {"unsafe_accept_any_pcrs": True}),
    ("warning", "unsafe_accept_any_pcrs", {"unsafe_accept_any_pcrs": True, "pcrs": {}}),
    ("warning", "pcrs.sha256.4", {"pcrs": pcrs(p4=[VALUE, {"value": "00" * 32, "label": "x"}])}),
    ("warning", "pcrs.sha256.4", {"pcrs": pcrs(p4=[{"value": "ff" * 32, "label": "x"}])}),
    ("warning", "pcrs.sha256.16", {"pcrs": pcrs(p16=[VALUE])}),
    ("warning", "pcrs.sha256.16, pcrs.sha256.23", {"pcrs": pcrs(p16=[VALUE], p23=[VALUE])}),
    ("warning", "pcrs.sha256.18", {"pcrs": pcrs(p18=[VALUE])}),
    ("note", "pcrs.sha256.4", {"pcrs": pcrs(p4=["cd" * 32])}),
    ("warning", "pcrs", {"pcrs": {"sha256": {"0": "any", "10": [VALUE]}}}),
    ("note", "pcrs", {"pcrs": {"sha256": {"0": [VALUE]}}}),
    ("warning", "pcrs.sha256.0", {"pcrs": {"sha256": {"0": "any", "7": [VALUE]}}}),
    ("warning", "pcrs.sha256.10", {"pcrs": pcrs(p10="any")}),
    ("warning", "pcrs.sha256.7", {"unsafe_accept_any_pcrs": True, "pcrs": {"sha256": {"7": "any"}}}),
    ("warning", "key.hierarchy", {"key": {"trust": "pinned_aik", "pinned": [NAME]}}),
    ("note", "key.trust", {"key": {"hierarchy": ["endorsement"]}}),
    ("note", "key.pinned", {"key": {"hierarchy": ["endorsement"], "pinned": [NAME], "trust": "self_asserted"}}),
    ("warning", "key.pinned", {"key": labelled("router-eu-1", "router-eu-1")}),
    ("note", "key.pinned", {"key": labelled("router-eu-1", "")}),
    ("warning", "signature.hashes", {"signature": {"hashes": ["sha1", "sha256"]}}),
    ("warning", "bank.hashes", {"pcrs": pcrs() | {"sha1": {"0": [{"value": "ab" * 20, "label": "x"}]}}}),
    (
        "warning",
        "bank.hashes",
        {
            "pcrs": pcrs() | {"sha1": {"0": [{"value": "ab" * 20, "label": "x"}]}},
            "bank": {"hashes": ["sha1", "sha256"]},
        },
    ),
    (
        "warning",
        "firmware.versions",
        {"firmware": {"versions": ["0x1"]}, "key": sound()["key"] | {"hierarchy": ["owner"]}},
    ),
    ("note", "claims", {"claims": {"security_tier": ["high"]}}),
    ("note", 'rules."clock.safe"', {"rules": {"clock.safe": "warn"}}),
    ("note", 'rules."clock.safe"', {"rules": {"clock.safe": "ignore"}}),
    ("warning", 'rules."pcr.values"', {"rules": {"pcr.values": "warn"}, "unsafe_warn_until": "2026-07-01"}),
    ("warning", "unsafe_warn_until", {"rules": {"pcr.values": "warn"}, "unsafe_warn_until": "2026-07-01"}),
    ("warning", "unsafe_warn_until", {"rules": {"pcr.values": "warn"}, "unsafe_warn_until": "2026-05-01"}),
    ("warning", "unsafe_warn_until", {"unsafe_warn_until": "2026-07-01"}),
    ("warning", 'rules."key.attributes"', {"rules": {"key.attributes": "warn"}, "unsafe_warn_until": "2026-07-01"}),
    (
        "warning",
        'rules."firmware.version"',
        {"rules": {"firmware.version": "warn"}, "unsafe_warn_until": "2026-07-01"},
    ),
    ("warning", 'rules."policy.period"', {"rules": {"policy.period": "warn"}}),
    ("warning", 'rules."claims.*"', {"rules": {"claims.*": "warn"}}),
    ("warning", 'rules."claims.*"', {"rules": {"claims.*": "warn"}, "claims": {"a": ["b"]}}),
    ("warning", 'rules."claims.a"', {"rules": {"claims.a": "ignore"}, "claims": {"a": ["b"]}}),
]


@pytest.mark.parametrize(("weight", "where", "changes"), WEAK)
def test_each_weakness_gets_its_remark(weight: str, where: str, changes: dict[str, Any]) -> None:
    assert (weight, where) in [(one.weight.value, one.where) for one in remarks(**changes)]


def test_a_pcr_that_is_any_in_one_bank_and_pinned_in_another_is_no_remark() -> None:
    assert remarks(pcrs=pcrs() | {"sha384": {"0": "any", "7": "any"}}) == ()


def test_one_remark_says_that_a_pcr_is_free() -> None:
    found = remarks(pcrs={"sha256": {"0": "any", "7": [VALUE]}})
    assert [(one.weight.value, one.where) for one in found] == [("warning", "pcrs.sha256.0")]
    assert "pin" in found[0].hint


def test_no_remark_advises_to_accept_more() -> None:
    weak = {"pcrs": pcrs(p4=["00" * 32], p10="any"), "rules": {"clock.safe": "ignore", "claims.*": "ignore"}}
    for one in remarks(**weak, unsafe_any_nonce=True, signature={"hashes": ["sha1"]}):
        assert '"any"' not in one.hint
        assert '"warn"' not in one.hint


def test_a_rule_that_is_required_and_asked_is_no_remark() -> None:
    assert remarks(rules={"key.hierarchy": "required", "clock.safe": "required"}) == ()


def test_a_policy_without_a_hierarchy_can_hardly_ask_for_firmware() -> None:
    changes = {"firmware": {"versions": ["0x1"]}, "key": {"trust": "pinned_aik", "pinned": [NAME]}}
    assert "firmware.versions" in [one.where for one in remarks(**changes)]
    assert "firmware.versions" not in [one.where for one in remarks(firmware={"versions": ["0x1"]})]


def test_inside_its_period_a_policy_gets_no_remark_about_it() -> None:
    assert remarks(valid_from="2026-06-01T00:00:00Z", valid_until="2026-06-01T00:00:01Z") == ()
    assert remarks(valid_until="2026-06-01T00:00:00+02:00") != ()


def test_warnings_come_before_notes() -> None:
    found = remarks(claims={"security_tier": ["high"]}, unsafe_any_nonce=True, rules={"clock.safe": "warn"})
    assert [one.weight for one in found] == [Weight.WARNING, Weight.NOTE, Weight.NOTE]


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("2026-06-01T00:00:00Z", ["this date has passed: pcr.values is required again"]),
        ("2026-08-30T00:00:00Z", ["evidence for which pcr.values does not hold is accepted"]),
        ("2026-08-30T00:00:01Z", ["evidence for which pcr.values", "more than 90 days away"]),
    ],
)
def test_the_end_of_time_limited_warnings_is_remarked_on(until: str, said: list[str]) -> None:
    found = list(remarks(rules={"pcr.values": "warn"}, unsafe_warn_until=until))
    problems = [one.problem for one in found if one.where == "unsafe_warn_until"]
    assert len(problems) == len(said)
    assert all(part in problem for part, problem in zip(said, problems, strict=True))


def test_a_rule_whose_time_as_a_warning_is_over_is_not_said_to_pass() -> None:
    softened = {"pcr.values": "warn", "clock.safe": "warn"}
    places = [one.where for one in remarks(rules=softened, unsafe_warn_until="2026-06-01T00:00:00Z")]
    assert 'rules."pcr.values"' not in places
    assert 'rules."clock.safe"' in places


REMARKS = [
    (
        "warning: valid_until: the policy has expired and no longer affirms any evidence; if you confirm its "
        "values, write a later valid_until; nomyo-attest policy learn writes a new policy from responses"
    ),
    ("warning: valid_from: the policy is not valid yet and affirms no evidence until then; "),
    (
        "warning: unsafe_any_nonce: a quote that was made for another request, at any time, is accepted; "
        "remove it, and pass the payload id with --payload-id if the response does not contain it"
    ),
    ("warning: unsafe_accept_any_pcrs: it has no effect, because this policy has reference values; remove it"),
    ("warning: unsafe_accept_any_pcrs: every machine state is accepted; pin PCR values and remove it"),
    (
        "warning: pcrs.sha256.4: a reference value is the initial value of a PCR, which says nothing "
        "about the machine; replace it with a value from a machine whose firmware measures into this PCR"
    ),
    (
        "warning: pcrs.sha256.16: the value proves little, because any program on the machine can reset "
        "the PCR and extend it again; rely on PCRs 0 to 15"
    ),
    (
        "warning: pcrs.sha256.16, pcrs.sha256.23: the value proves little, because any program on the "
        "machine can reset the PCR and extend it again; rely on PCRs 0 to 15"
    ),
    (
        "warning: pcrs.sha256.18: the value proves little, because a dynamic launch can reset the PCR "
        "and extend it again; rely on PCRs 0 to 15"
    ),
    ('note: pcrs.sha256.4: a value has no label that names its source; write { value = "…", label = "…" }'),
    (
        "warning: pcrs: only PCR 10 has reference values: the firmware, boot loader and kernel that "
        "measured it are not checked; pin PCR 0 and PCR 7 too"
    ),
    ("note: pcrs: PCR 7 has no reference value: Secure Boot is not checked; pin PCR 7 if the service quotes it"),
    (
        'warning: pcrs.sha256.0: PCR 0 is "any": every value is accepted (firmware code; changes when '
        "the firmware is updated); pin its values; nomyo-attest policy learn prints those of a recorded "
        "response"
    ),
    (
        'warning: pcrs.sha256.10: PCR 10 is "any": every value is accepted (files measured by Linux IMA, '
        "including the application; changes when the application is updated); pin its values; "
        "nomyo-attest policy learn prints those of a recorded response"
    ),
    (
        'warning: pcrs.sha256.7: PCR 7 is "any": every value is accepted (Secure Boot state and keys; '
        "changes when its key databases (db, dbx) are updated); pin its values; nomyo-attest policy "
        "learn prints those of a recorded response"
    ),
    (
        "warning: key.hierarchy: no hierarchy is required, so nothing ties the AIK's public area, "
        'including its attributes, to the quote; write hierarchy = ["endorsement"], or the hierarchy '
        "that nomyo-attest inspect prints"
    ),
    (
        "note: key.trust: self_asserted: the AIK has no certificate, and software can forge such "
        "evidence; pin the AIKs if the service has persistent ones"
    ),
    ('note: key.pinned: AIKs that are not pinned are accepted too; write trust = "pinned_aik" to reject them'),
    (
        "warning: key.pinned: several AIKs have the same label, which makes reports ambiguous: "
        "'router-eu-1'; give each AIK a different label"
    ),
    ('note: key.pinned: 1 of 2 AIKs have no label: reports show their Names; write { name = "000b…", label = "…" }'),
    ("warning: signature.hashes: SHA-1 signatures are accepted, but SHA-1 collisions are practical; remove sha1"),
    (
        "warning: bank.hashes: reference values are in the sha1 bank, which is not allowed, so "
        "no evidence is affirmed; pin values of another bank, one of sha256, sha384, sha512"
    ),
    ("warning: bank.hashes: the policy has reference values in a SHA-1 bank; pin values of a stronger bank"),
    (
        "warning: firmware.versions: TPMs obfuscate the version for keys outside the endorsement and "
        "platform hierarchies; list only these two under key.hierarchy, or remove firmware.versions"
    ),
    ("note: claims: claims are unsigned: a server can claim anything; "),
    ('note: rules."clock.safe": quotes for which the rule does not hold cannot be ordered by their clock; '),
    (
        'warning: rules."pcr.values": evidence for which the rule does not hold passes with a warning; '
        "remove it when it is no longer needed"
    ),
    (
        "warning: unsafe_warn_until: evidence for which pcr.values does not hold is accepted until this "
        "date; keep the period short"
    ),
    (
        "warning: unsafe_warn_until: this date has passed: pcr.values is required again; remove it and "
        'the "warn" of these rules'
    ),
    ('warning: unsafe_warn_until: no rule is set to "warn", so this date has no effect; remove it'),
    (
        'warning: rules."key.attributes": evidence for which the rule does not hold passes with a '
        "warning; remove it when it is no longer needed"
    ),
    (
        'warning: rules."firmware.version": the rule is not evaluated: the policy has no value for it to '
        "compare with; write firmware.versions"
    ),
    (
        'warning: rules."policy.period": the rule is not evaluated: the policy has no value for it to '
        "compare with; write valid_from or valid_until"
    ),
    (
        'warning: rules."claims.*": the rule is not evaluated: the policy has no value for it to compare '
        "with; write claims"
    ),
    (
        'warning: rules."claims.*": evidence for which the rule does not hold passes with a warning; '
        "remove it when it is no longer needed"
    ),
    (
        'warning: rules."claims.a": evidence for which the rule does not hold passes without a warning; '
        "remove the rule here"
    ),
]


def test_the_whole_text_of_each_remark() -> None:
    found = {
        f"{one.weight.value}: {one.where}: {one.problem}; {one.hint}": None
        for weight, where, changes in WEAK
        for one in remarks(**changes)
        if (one.weight.value, one.where) == (weight, where)
    }
    assert list(found) == REMARKS
