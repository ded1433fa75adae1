"""From recordings to the text of a policy."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.policy.learn import COMMENT_WIDTH, Recording, learn
from nomyo_attest.testing import Forge


def recording(forge: Forge, name: str = "r.json", **changes: Any) -> Recording:
    facts: dict[str, Any] = {
        "hierarchy": forge.hierarchy,
        "clock_safe": bool(forge.safe),
        "firmware_version": 0x20240125,
    }
    return Recording(name=name, evidence=na.Evidence.from_response(forge.response()), **(facts | changes))


def learned(
    *recordings: Recording, policy_id: str = "id", description: str = ""
) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """The policy learned, parsed, then its text and the notices."""
    lesson = learn(recordings, policy_id=policy_id, description=description)
    document = tomllib.loads(lesson.text)
    na.AppraisalPolicy.from_dict(document)
    return document, lesson.text, lesson.notices


def test_a_policy_names_just_what_was_seen() -> None:
    document, _, notices = learned(recording(Forge()))
    values = {str(index): [{"value": Forge().pcrs["sha256"][index].hex(), "label": "r.json"}] for index in (0, 7, 10)}
    assert document == {
        "format": "nomyo-attest-policy/1",
        "id": "id",
        "description": "",
        "pcrs": {"sha256": values},
        "key": {"hierarchy": ["endorsement"]},
    }
    assert notices == ()


def test_a_value_seen_in_many_files_names_the_first_ones_and_counts_the_rest() -> None:
    document, _, _ = learned(*(recording(Forge(), f"{i}.json") for i in range(10)))
    assert document["pcrs"]["sha256"]["0"][0]["label"] == "0.json, 1.json, 2.json and 7 more"


def test_only_pcrs_that_every_file_signs_are_pinned_and_the_others_are_noticed() -> None:
    document, _, notices = learned(recording(Forge()), recording(Forge(selection="sha256:0,4,7"), "s.json"))
    assert sorted(document["pcrs"]["sha256"]) == ["0", "7"]
    assert notices == (
        "r.json: not every file signs sha256:10; left out",
        "s.json: not every file signs sha256:4; left out",
    )


def test_files_without_a_pcr_in_common_make_no_policy() -> None:
    with pytest.raises(na.PolicyError, match="no PCR that every file signs"):
        learn([recording(Forge()), recording(Forge(selection="sha384:0"))], policy_id="id", description="")


def test_a_sha1_bank_is_left_out_beside_another_and_noticed() -> None:
    document, _, notices = learned(recording(Forge(selection="sha1:0,7+sha256:0,7")))
    assert list(document["pcrs"]) == ["sha256"]
    assert "bank" not in document
    (notice,) = notices
    assert notice.startswith("sha1:0,7 left out: ")


def test_a_sha1_bank_alone_is_pinned_and_allowed_in_so_many_words() -> None:
    document, text, _ = learned(recording(Forge(selection="sha1:0,7")))
    assert list(document["pcrs"]) == ["sha1"]
    assert document["bank"]["hashes"] == ["sha256", "sha384", "sha512", "sha1"]
    assert "# SHA-1 is weak" in text


def test_several_banks_are_each_a_table() -> None:
    document, _, _ = learned(recording(Forge(selection="sha384:0,7+sha256:10")))
    assert {bank: sorted(of_bank) for bank, of_bank in document["pcrs"].items()} == {
        "sha384": ["0", "7"],
        "sha256": ["10"],
    }


def test_every_hierarchy_that_was_seen_is_allowed() -> None:
    document, _, _ = learned(recording(Forge()), recording(Forge(hierarchy="null"), "s.json"))
    assert document["key"] == {"hierarchy": ["endorsement", "null"]}


def test_one_aik_without_a_hierarchy_leaves_the_rule_out_and_is_noticed() -> None:
    document, _, notices = learned(recording(Forge()), recording(Forge(hierarchy=None), "s.json"))
    assert "key" not in document
    assert any("key.hierarchy" in notice for notice in notices)


def test_an_unsafe_clock_is_a_warning_with_a_comment_that_names_the_file() -> None:
    document, text, notices = learned(recording(Forge()), recording(Forge(safe=0), "cut.json"))
    assert document["rules"] == {"clock.safe": "warn"}
    assert "cut.json" in text.split("[rules]")[1]
    assert notices == ("clock.safe is made a warning: it does not hold in cut.json",)


def test_values_that_were_never_extended_and_resettable_pcrs_are_noticed() -> None:
    _, _, notices = learned(recording(Forge(selection="sha256:0,8,16,17,23+sha384:23")))
    assert notices == (
        "sha256:8,16,17,23+sha384:23: a value of a PCR that was never extended says nothing about the machine",
        "sha256:16,23+sha384:23: the value proves little: any program on the machine can reset it and extend it anew",
        "sha256:17: the value proves little: a dynamic launch resets it and extends it anew",
    )


def test_what_is_left_open_can_be_put_into_force_by_removing_the_comment_signs() -> None:
    _, text, _ = learned(recording(Forge(security_tier="maximum"), firmware_version=7))
    in_force = text.replace("# [firmware]", "[firmware]").replace("# versions", "versions")
    in_force = in_force.replace("# [claims]", "[claims]").replace("# security_tier", "security_tier")
    document = tomllib.loads(in_force)
    assert document["firmware"] == {"versions": ["0x0000000000000007"]}
    assert document["claims"] == {"security_tier": ["maximum"]}
    na.AppraisalPolicy.from_dict(document)


def test_firmware_that_a_tpm_obfuscates_is_not_proposed() -> None:
    assert "[firmware]" not in learned(recording(Forge(hierarchy="owner")))[1]


def test_only_the_tiers_of_the_service_are_proposed() -> None:
    assert "[claims]" not in learned(recording(Forge(security_tier="ultimate\n[rules]")))[1]


def test_each_pcr_says_what_it_measures_and_pcr_10_when_it_changes() -> None:
    text = learned(recording(Forge()))[1]
    assert "# PCR 0: firmware code; changes when the firmware is updated." in text
    assert "changes when the application is updated" in " ".join(text.replace("#", "").split())


@given(name=st.text(st.characters(), max_size=30), policy_id=st.text(max_size=20), description=st.text(st.characters()))
def test_no_text_breaks_the_policy_or_a_comment_of_it(name: str, policy_id: str, description: str) -> None:
    lesson = learn([recording(Forge(safe=0), name)], policy_id=policy_id, description=description)
    assert all(line.isprintable() for line in lesson.text.split("\n"))
    document = tomllib.loads(lesson.text)
    assert document["id"] == policy_id
    assert document["rules"] == {"clock.safe": "warn"}
    assert sorted(document) == ["description", "format", "id", "key", "pcrs", "rules"]


def test_comments_fit_80_columns() -> None:
    text = learned(*(recording(Forge(safe=0), f"some/longish/folder/of/recordings/{i}.json") for i in range(5)))[1]
    assert [line for line in text.splitlines() if line.startswith("#") and len(line) > COMMENT_WIDTH] == []
