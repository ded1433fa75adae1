"""`nomyo-attest policy check` and `policy show`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nomyo_attest import AppraisalPolicy
from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import run, single_error_line

WEAK = """
format = "nomyo-attest-policy/1"
id = "weak"
valid_until = 2026-01-31T00:00:00Z
unsafe_any_nonce = true
[pcrs.sha256]
10 = ["00000000000000000000000000000000000000000000000000000000000000ff"]
16 = "any"
[claims]
security_tier = ["high", "true", true]
"""


def test_a_learned_policy_has_no_warning(folder: Path) -> None:
    ran = run("policy", "check", "policy.toml", "--strict")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("policy.toml   usable   policy good\n")
    assert AppraisalPolicy.load("policy.toml").digest in ran.out
    assert ran.out.endswith("\n0 warnings, 1 note\n")


def test_warnings_are_status_1_only_if_strict(folder: Path) -> None:
    Path("weak.toml").write_text(WEAK, encoding="utf-8")
    ran = run("policy", "check", "weak.toml")
    assert ran.status == 0
    assert "  warning  unsafe_any_nonce\n" in ran.out
    assert run("policy", "check", "weak.toml", "--strict").status == 1


def test_the_period_is_judged_as_of_a_given_time(folder: Path) -> None:
    Path("weak.toml").write_text(WEAK, encoding="utf-8")
    assert "valid_until" in run("policy", "check", "weak.toml", "--at", "2026-02-01T00:00:00Z").out
    assert "valid_until" not in run("policy", "check", "weak.toml", "--at", "2026-01-01T00:00:00Z").out
    assert run("policy", "check", "weak.toml", "--at", "2026-02-01").out.startswith(
        "weak.toml   expired   policy weak\n"
    )


def test_json_lists_the_remarks(folder: Path) -> None:
    Path("weak.toml").write_text(WEAK, encoding="utf-8")
    document = run("policy", "check", "weak.toml", "--format", "json").json()
    assert document["format"] == "nomyo-attest-policy-check/1"
    assert document["policy"]["digest"] == AppraisalPolicy.load("weak.toml").digest
    weights = [remark["weight"] for remark in document["remarks"]]
    assert weights == sorted(weights, reverse=True)
    assert set(weights) == {"warning", "note"}


def test_an_unusable_policy_is_status_2(folder: Path) -> None:
    Path("broken.toml").write_text("id = 1", encoding="utf-8")
    for command in ("check", "show"):
        ran = run("policy", command, "broken.toml")
        assert ran.status == 2
        assert single_error_line(ran).startswith("broken.toml: ")


def test_show_lists_values_labels_and_what_else_is_asked(folder: Path) -> None:
    ran = run("policy", "show", "policy.toml")
    assert (ran.status, ran.err) == (0, "")
    for index in (0, 7, 10):
        assert f"  sha256:{index}  " in ran.out
        assert Forge().pcrs["sha256"][index].hex() in ran.out
    assert "      good.json\n" in ran.out
    assert "  AIK hierarchy     endorsement\n" in ran.out


def test_show_says_what_is_free_and_what_is_unsafe(folder: Path) -> None:
    Path("weak.toml").write_text(WEAK, encoding="utf-8")
    ran = run("policy", "show", "weak.toml")
    assert "    any signed value\n" in ran.out
    assert "  unsafe_any_nonce  a quote made for any other request is accepted\n" in ran.out
    assert '"high" or "true" or true' in ran.out
    assert "until 2026-01-31T00:00:00+00:00" in ran.out


def test_show_leaves_no_key_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = AppraisalPolicy.load("policy.toml").to_dict()
    document["key"]["rsa_max_bits"] = 4096
    monkeypatch.setattr(AppraisalPolicy, "to_dict", lambda self: document | {"new": {"list": ["a"]}, "flag": True})
    out = run("policy", "show", "policy.toml").out
    assert "  key.rsa_max_bits  4096\n" in out
    assert '  new.list          ["a"]\n' in out
    assert "  flag              true\n" in out
    assert out.count("claims") == 0


def test_show_as_json_is_a_policy_with_the_same_digest(folder: Path) -> None:
    Path("weak.toml").write_text(WEAK, encoding="utf-8")
    for name in ("policy.toml", "weak.toml"):
        ran = run("policy", "show", name, "--format", "json")
        Path("copy.json").write_text(ran.out, encoding="utf-8")
        assert AppraisalPolicy.load("copy.json").digest == AppraisalPolicy.load(name).digest


def test_no_line_is_wider_than_80_columns_and_none_acts_on_the_terminal(folder: Path) -> None:
    evil = "\x1b[31m\n\u202e" + "long " * 40
    document = json.loads(run("policy", "show", "policy.toml", "--format", "json").out)
    document |= {"id": "\u202e" + "long" * 20, "description": evil, "claims": {"tier": [evil]}}
    document["pcrs"]["sha256"]["7"][0]["label"] = evil
    Path("evil.json").write_text(json.dumps(document), encoding="utf-8")
    for argv in (["policy", "show"], ["policy", "check"]):
        ran = run(*argv, "evil.json")
        assert ran.status == 0
        lines = ran.out.split("\n")
        assert all(line.isprintable() for line in lines)
        assert [line for line in lines if len(line) > 80] == [line for line in lines[:1] if len(line) > 80]
