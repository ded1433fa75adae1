"""`nomyo-attest policy learn`: from responses that are trusted to a policy that affirms them."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import pytest

from nomyo_attest import AppraisalPolicy, Requirement
from nomyo_attest.testing import VARIANTS, Forge
from tests.nomyo_attest.cli.runner import run, single_error_line


def write(name: str, forge: Forge) -> None:
    Path(name).write_text(forge.text(), encoding="utf-8")


def test_the_policy_affirms_what_it_was_learned_from_and_nothing_else_is_said(folder: Path) -> None:
    policy = AppraisalPolicy.load("policy.toml")
    assert policy.id == "good"
    assert {pcr.place for pcr in policy.pcrs} == {"sha256:0", "sha256:7", "sha256:10"}
    assert {one.label for pcr in policy.pcrs for one in pcr.values} == {"good.json"}
    assert policy.hierarchies == ("endorsement",)
    assert policy.rules == {}
    assert run("verify", "good.json", "--policy", "policy.toml").status == 0


@pytest.mark.parametrize("variant", VARIANTS[::3], ids=lambda variant: variant.name)
def test_every_kind_of_right_evidence_can_be_learned_from(folder: Path, variant: object) -> None:
    case = variant.case()  # type: ignore[attr-defined]  # a Variant; the parameter is typed loosely for its id
    text = case.response if isinstance(case.response, str) else json.dumps(case.response)
    Path("variant.json").write_text(text, encoding="utf-8")
    ran = run("policy", "learn", "--allow-test-keys", "variant.json", "-o", "variant.toml")
    if ran.status:  # a bare block has no payload id, a SHA-1 signature is not sound, and so on: then the reason is said
        assert ran.status == 1
        assert single_error_line(ran).startswith("variant.json: refused: ")
        assert not Path("variant.toml").exists()
    else:
        assert run("verify", "variant.json", "--policy", "variant.toml").status == 0


def test_several_files_give_the_union_of_the_values_each_labelled_with_its_files(folder: Path) -> None:
    write("other.json", Forge(payload_id="2").measure(7, b"db 2026-11"))
    ran = run("policy", "learn", "--allow-test-keys", "good.json", "other.json", "-o", "both.toml")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "wrote both.toml: policy good, learned from 2 responses; it pins sha256:0, sha256:7, sha256:10",
        "next: read its comments, then run nomyo-attest policy check both.toml",
    ]
    policy = AppraisalPolicy.load("both.toml")
    labels = {pcr.place: {one.label for one in pcr.values} for pcr in policy.pcrs}
    both = {"good.json, other.json"}
    assert labels == {"sha256:0": both, "sha256:7": {"good.json", "other.json"}, "sha256:10": both}
    assert run("verify", "good.json", "other.json", "--policy", "both.toml").status == 0


def test_without_an_output_the_policy_goes_to_standard_output(folder: Path) -> None:
    ran = run("policy", "learn", "--allow-test-keys", "good.json")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == Path("policy.toml").read_text(encoding="utf-8")


def test_id_and_description_can_be_given(folder: Path) -> None:
    ran = run(
        "policy",
        "learn",
        "--allow-test-keys",
        "good.json",
        "--id",
        'prod "eu"',
        "--description",
        "EU fleet\nfirmware 2.4\\",
    )
    document = tomllib.loads(ran.out)
    assert (document["id"], document["description"]) == ('prod "eu"', "EU fleet\nfirmware 2.4\\")


@pytest.mark.parametrize("given", ["", "two\nlines", "x" * 201])
def test_an_id_that_no_policy_can_have_is_wrong_usage(folder: Path, given: str) -> None:
    ran = run("policy", "learn", "--allow-test-keys", "good.json", "--id", given, "-o", "new.toml")
    assert ran.status == 2
    assert single_error_line(ran).startswith("id: ")
    assert not Path("new.toml").exists()


def test_standard_input_can_be_learned_from(folder: Path) -> None:
    ran = run("policy", "learn", "--allow-test-keys", "-", stdin=Path("good.json").read_bytes())
    assert ran.status == 0
    assert tomllib.loads(ran.out)["id"] == "learned"
    assert 'label = "standard input"' in ran.out


def test_files_of_one_name_in_several_folders_keep_their_paths_as_labels(folder: Path) -> None:
    for place in ("a", "b"):
        Path(place).mkdir()
        write(f"{place}/r.json", Forge(payload_id=place))
    ran = run("policy", "learn", "--allow-test-keys", "a/r.json", "b/r.json")
    assert 'label = "a/r.json, b/r.json"' in ran.out


def test_an_existing_file_is_left_alone_unless_forced(folder: Path) -> None:
    Path("policy.toml").write_text("mine", encoding="utf-8")
    ran = run("policy", "learn", "--allow-test-keys", "good.json", "-o", "policy.toml")
    assert ran.status == 2
    assert single_error_line(ran) == "policy.toml: already exists; choose another name, or add --force to overwrite it"
    assert Path("policy.toml").read_text(encoding="utf-8") == "mine"
    assert run("policy", "learn", "--allow-test-keys", "good.json", "-o", "policy.toml", "--force")[::2] == (0, "")
    assert AppraisalPolicy.load("policy.toml").id == "good"
    assert sorted(path.name for path in folder.iterdir()) == ["good.json", "policy.toml"]


@pytest.mark.parametrize("output", ["policy.json", "policy", "nowhere/policy.toml", "good.json/policy.toml"])
def test_an_output_that_cannot_be_is_wrong_usage(folder: Path, output: str) -> None:
    ran = run("policy", "learn", "--allow-test-keys", "good.json", "-o", output)
    assert ran.status == 2
    assert single_error_line(ran).startswith(f"{output}: ")


def test_a_folder_or_a_device_is_never_overwritten(folder: Path) -> None:
    Path("sub.toml").mkdir()
    Path("link.toml").symlink_to("/dev/null")
    for output in ("sub.toml", "link.toml"):
        ran = run("policy", "learn", "--allow-test-keys", "good.json", "-o", output, "--force")
        assert ran.status == 2
        assert ("is a folder" if output == "sub.toml" else "is not a regular file") in single_error_line(ran)


@pytest.mark.parametrize(
    ("forge", "rule"),
    [
        (Forge(nonce=bytes(16)), "nonce.match"),
        (Forge(magic=0), "attest.magic"),
        (Forge(hash_alg="sha1"), "signature.hash"),
        (Forge(attributes=0x00040072), "key.attributes"),
        (Forge(key="rsa1024"), "key.strength"),
        (Forge().tamper("qualified_signer", lambda _: b""), "signer.name"),
        (Forge().tamper("pcr_values", lambda values: {"sha256": {**values["sha256"], "7": "00" * 32}}), "pcr.digest"),
        (Forge().tamper("quote_blob", lambda blob: blob[:-1]), "attest.form"),
        (Forge().tamper("tpm_attestation", lambda _: {"is_available": False}), "evidence.available"),
        (Forge().tamper("_metadata", lambda all_of_it: {**all_of_it, "payload_id": 7}), "evidence.form"),
        (
            Forge().tamper("_metadata", lambda all_of_it: {"tpm_attestation": all_of_it["tpm_attestation"]}),
            "nonce.match",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_evidence_that_is_not_sound_is_refused_with_its_file_and_rule(folder: Path, forge: Forge, rule: str) -> None:
    write("bad.json", forge)
    ran = run("policy", "learn", "--allow-test-keys", "good.json", "bad.json", "-o", "new.toml")
    assert ran.status == 1
    complaint = single_error_line(ran)
    assert complaint.startswith("bad.json: refused")
    assert rule in complaint
    assert not Path("new.toml").exists()


def test_every_bad_file_is_named_and_an_unreadable_one_is_status_2(folder: Path) -> None:
    write("bad.json", Forge(magic=0))
    Path("empty.json").write_bytes(b"")
    ran = run("policy", "learn", "--allow-test-keys", "missing.json", "bad.json", "good.json", "empty.json")
    assert (ran.status, ran.out) == (2, "")
    assert [line.split(":")[1].strip() for line in ran.err.splitlines()] == ["missing.json", "bad.json", "empty.json"]


def test_files_that_sign_nothing_in_common_are_refused(folder: Path) -> None:
    write("other.json", Forge(selection="sha384:0"))
    ran = run("policy", "learn", "--allow-test-keys", "good.json", "other.json")
    assert ran.status == 1
    assert "there is no PCR that every response signs" in single_error_line(ran)


def test_an_unsafe_clock_makes_the_rule_a_warning_and_is_noticed(folder: Path) -> None:
    write("cut.json", Forge(safe=0))
    ran = run("policy", "learn", "--allow-test-keys", "cut.json", "-o", "cut.toml")
    assert ran.status == 0
    assert ran.err.startswith("nomyo-attest: notice: clock.safe: ")
    assert AppraisalPolicy.load("cut.toml").rules == {"clock.safe": Requirement.WARN}
    assert "cut.json   warning   " in run("verify", "cut.json", "--policy", "cut.toml").out
    assert "good.json   affirming   " in run("verify", "good.json", "--policy", "cut.toml").out


def test_nothing_in_a_file_or_its_name_can_write_a_line_of_the_policy(folder: Path) -> None:
    name = 'x"]\nunsafe_any_nonce = true\n#\u2028\x1b.json'
    write(name, Forge(payload_id='"\n[rules]\n', security_tier='high"]\nunsafe_accept_any_pcrs = true\n#'))
    ran = run("policy", "learn", "--allow-test-keys", name)
    assert ran.status == 0
    assert all(line.isprintable() for line in ran.out.split("\n"))
    policy = AppraisalPolicy.from_dict(tomllib.loads(ran.out))
    assert not policy.unsafe_any_nonce
    assert not policy.unsafe_accept_any_pcrs
    assert policy.rules == {}


def test_nothing_is_learned_from_a_wrapped_response(folder: Path) -> None:
    Path("wrapped.json").write_text(json.dumps({"log": Forge().text()}), encoding="utf-8")
    ran = run("policy", "learn", "--allow-test-keys", "wrapped.json", "-o", "learned.toml")
    assert (ran.status, ran.out) == (2, "")
    assert "at /log (JSON text in a string)" in single_error_line(ran)
    assert not Path("learned.toml").exists()


def block_of(forge: Forge) -> None:
    Path("block.json").write_text(json.dumps(forge.response()["_metadata"]["tpm_attestation"]), encoding="utf-8")


@pytest.mark.parametrize("option", ["--payload-id", "--nonce"])
def test_a_bare_block_is_learned_from_with_the_payload_id_or_the_nonce_of_its_request(
    folder: Path, option: str
) -> None:
    forge = Forge(payload_id="mine")
    block_of(forge)
    ran = run("policy", "learn", "--allow-test-keys", "block.json", "-o", "block.toml")
    assert ran.status == 1
    assert single_error_line(ran).endswith(
        "; pass the payload id of the request (--payload-id), or the quoted nonce (--nonce)"
    )
    value = {"--payload-id": "mine", "--nonce": hashlib.sha256(b"mine").hexdigest()[:32]}[option]
    assert run("policy", "learn", "--allow-test-keys", "block.json", option, value, "-o", "block.toml").status == 0
    assert run("verify", "block.json", option, value, "--policy", "block.toml").status == 0


def test_the_payload_id_that_is_given_counts_instead_of_the_recorded_one(folder: Path) -> None:
    ran = run("policy", "learn", "--allow-test-keys", "good.json", "--payload-id", "other", "-o", "x.toml")
    assert ran.status == 1
    assert "nonce.match does not hold" in single_error_line(ran)
    assert not Path("x.toml").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--nonce", "xyz"], "--nonce: invalid nonce 'xyz'"),
        (["--nonce", ""], "--nonce: invalid nonce ''"),
        (["--payload-id", ""], "--payload-id: expected a string of 1 to 1024 characters"),
        (["--payload-id", "a", "--nonce", "00"], "not allowed with argument"),
        (
            ["other.json", "--payload-id", "a"],
            "--payload-id: expected one FILE, since it belongs to one response, got 2",
        ),
        (["other.json", "--nonce", "00"], "--nonce: expected one FILE, since it belongs to one response, got 2"),
    ],
)
def test_a_nonce_that_is_none_or_for_several_files_is_a_usage_error(
    folder: Path, options: list[str], problem: str
) -> None:
    write("other.json", Forge(payload_id="2"))
    ran = run("policy", "learn", "--allow-test-keys", "good.json", *options)
    assert ran.status == 2
    assert problem in single_error_line(ran)


def test_evidence_of_the_soft_tpm_is_learned_from_only_where_that_is_asked_for(folder: Path) -> None:
    ran = run("policy", "learn", "good.json", "-o", "learned.toml")
    assert ran.status == 1
    assert "good.json: refused: the soft TPM of nomyo_attest.testing made this evidence" in ran.err
    assert "for a trial only, --allow-test-keys accepts these keys" in ran.err
    assert not Path("learned.toml").exists()
    ran = run("policy", "learn", "--allow-test-keys", "good.json", "-o", "learned.toml")
    assert ran.status == 0
    text = Path("learned.toml").read_text(encoding="utf-8")
    assert "# FOR TESTS ONLY: the soft TPM of nomyo_attest.testing made good.json" in text


def test_evidence_of_another_tpm_needs_no_permission_and_no_comment(folder: Path) -> None:
    pcrs = {"sha256": {index: bytes([index + 1]) * 32 for index in range(24)}}
    write("mine.json", Forge(key="p256", label="mine", pcrs=pcrs))
    ran = run("policy", "learn", "mine.json")
    assert ran.status == 0
    assert "FOR TESTS ONLY" not in ran.out
