"""Learning a policy from responses: what is refused, what is written, and that the policy affirms all of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.appraisal import learning
from nomyo_attest.appraisal.learning import COMMENT_WIDTH
from nomyo_attest.crypto.hashes import payload_nonce
from nomyo_attest.errors import LearningError
from nomyo_attest.policy import AppraisalPolicy, learn
from nomyo_attest.testing import Forge


def learned(*forges: Forge, names: Sequence[str] = ("r.json", "s.json")) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """The policy learned, parsed, then its text and the notices."""
    found = learn(
        [forge.response() for forge in forges],
        names=names[: len(forges)],
        policy_id="id",
        description="",
        allow_test_keys=True,
    )
    document = tomllib.loads(found.text)
    document_policy = AppraisalPolicy.from_dict(document)
    assert found.policy.digest == document_policy.digest
    return document, found.text, found.notices


def test_a_policy_names_just_what_was_seen() -> None:
    document, _, notices = learned(Forge())
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
    document, _, _ = learned(*[Forge()] * 10, names=[f"{i}.json" for i in range(10)])
    assert document["pcrs"]["sha256"]["0"][0]["label"] == "0.json, 1.json, 2.json and 7 more"


def test_only_pcrs_that_every_response_signs_are_pinned_and_the_others_are_noticed() -> None:
    document, _, notices = learned(Forge(), Forge(selection="sha256:0,4,7"))
    assert sorted(document["pcrs"]["sha256"]) == ["0", "7"]
    assert notices == (
        "r.json: not every response signs sha256:10, so the policy does not name it",
        "s.json: not every response signs sha256:4, so the policy does not name it",
    )


def test_responses_without_a_pcr_in_common_make_no_policy() -> None:
    with pytest.raises(na.LearningError) as caught:
        learned(Forge(), Forge(selection="sha384:0"))
    assert (
        str(caught.value) == "there is no PCR that every response signs; learn from responses of machines of one kind"
    )
    assert caught.value.refused == ()


def test_a_sha1_bank_is_left_out_beside_another_and_noticed() -> None:
    document, _, notices = learned(Forge(selection="sha1:0,7+sha256:0,7"))
    assert list(document["pcrs"]) == ["sha256"]
    assert "bank" not in document
    (notice,) = notices
    assert notice.startswith("sha1:0,7: not pinned")


def test_a_sha1_bank_alone_is_pinned_and_allowed_in_so_many_words() -> None:
    document, text, _ = learned(Forge(selection="sha1:0,7"))
    assert list(document["pcrs"]) == ["sha1"]
    assert document["bank"]["hashes"] == ["sha256", "sha384", "sha512", "sha1"]
    assert "# SHA-1 is weak" in text


def test_several_banks_are_each_a_table() -> None:
    document, _, _ = learned(Forge(selection="sha384:0,7+sha256:10"))
    assert {bank: sorted(of_bank) for bank, of_bank in document["pcrs"].items()} == {
        "sha384": ["0", "7"],
        "sha256": ["10"],
    }


def test_every_hierarchy_that_was_seen_is_allowed() -> None:
    document, _, _ = learned(Forge(), Forge(hierarchy="null"))
    assert document["key"] == {"hierarchy": ["endorsement", "null"]}


def test_one_aik_without_a_hierarchy_leaves_the_rule_out_and_is_noticed() -> None:
    document, _, notices = learned(Forge(), Forge(hierarchy=None))
    assert "key" not in document
    assert any("key.hierarchy" in notice for notice in notices)


def test_an_unsafe_clock_is_a_warning_with_a_comment_that_names_the_file() -> None:
    document, text, notices = learned(Forge(), Forge(safe=0), names=["r.json", "cut.json"])
    assert document["rules"] == {"clock.safe": "warn"}
    assert "cut.json" in text.split("[rules]")[1]
    assert notices == ('clock.safe: set to "warn", because it does not hold in cut.json',)


def test_values_that_were_never_extended_and_resettable_pcrs_are_noticed() -> None:
    _, _, notices = learned(Forge(selection="sha256:0,8,16,17,23+sha384:23"))
    assert notices == (
        "sha256:8,16,17,23+sha384:23: the initial value of a PCR says nothing about the machine",
        (
            "sha256:16,23+sha384:23: the value proves little, because any program on the machine can reset the PCR and "
            "extend it again"
        ),
        "sha256:17: the value proves little, because a dynamic launch can reset the PCR and extend it again",
    )


def test_what_is_left_open_can_be_put_into_force_by_removing_the_comment_signs() -> None:
    _, text, _ = learned(Forge(security_tier="maximum", firmware_version=7))
    in_force = text.replace("# [firmware]", "[firmware]").replace("# versions", "versions")
    in_force = in_force.replace("# [claims]", "[claims]").replace("# security_tier", "security_tier")
    document = tomllib.loads(in_force)
    assert document["firmware"] == {"versions": ["0x0000000000000007"]}
    assert document["claims"] == {"security_tier": ["maximum"]}
    na.AppraisalPolicy.from_dict(document)


def test_firmware_that_a_tpm_obfuscates_is_not_proposed() -> None:
    assert "[firmware]" not in learned(Forge(hierarchy="owner"))[1]


def test_only_the_tiers_of_the_service_are_proposed() -> None:
    assert "[claims]" not in learned(Forge(security_tier="ultimate\n[rules]"))[1]


@given(
    name=st.text(st.characters(), max_size=30),
    policy_id=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20),
    description=st.text(st.characters()),
)
def test_no_text_breaks_the_policy_or_a_comment_of_it(name: str, policy_id: str, description: str) -> None:
    response = Forge(safe=0).response()
    found = learn([response], names=[name], policy_id=policy_id, description=description, allow_test_keys=True)
    assert all(line.isprintable() for line in found.text.split("\n"))
    document = tomllib.loads(found.text)
    assert document["id"] == policy_id
    assert document["rules"] == {"clock.safe": "warn"}
    assert sorted(document) == ["description", "format", "id", "key", "pcrs", "rules"]


def test_comments_fit_80_columns() -> None:
    names = [f"some/longish/folder/of/recordings/{i}.json" for i in range(5)]
    text = learned(*[Forge(safe=0)] * 5, names=names)[1]
    assert [line for line in text.splitlines() if line.startswith("#") and len(line) > COMMENT_WIDTH] == []


WHOLE = """\
# Learned by nomyo-attest policy learn from a.json, b.json.
# Review it before you use it: it accepts everything that those machines had
# booted.
# FOR TESTS ONLY: the soft TPM of nomyo_attest.testing made a.json, b.json
# (--allow-test-keys). Anyone can derive its private keys and forge evidence
# that this policy affirms.
format = "nomyo-attest-policy/1"
id = "fleet"
description = "EU"

# Reference values. Each PCR listed here must be signed and have one of its
# values.
# "any" instead of a list accepts every value of a signed PCR.
[pcrs.sha1]
# PCR 0: firmware code; changes when the firmware is updated.
0 = [
    { value = "0f4e380ab2598d2e0cbb56243785ea486c5dfe39", label = "a.json, b.json" },
]
# PCR 16: debugging; any program can reset it.
16 = [
    { value = "0000000000000000000000000000000000000000", label = "a.json, b.json" },
]

[bank]
# SHA-1 is weak: its values can be forged. The responses quote no other bank.
hashes = ["sha256", "sha384", "sha512", "sha1"]

[key]
# The AIK must be a primary key of this hierarchy, which ties its public area to
# the quote.
hierarchy = ["endorsement"]

[rules]
# The clock's `safe` flag was clear in a.json, as it is for some time after a
# power cut. Remove this line if you order quotes by their clock.
"clock.safe" = "warn"

# Optional requirements. Remove the # before a table and its lines to enable it.
#
# The AIK is self-asserted. An AIK that is created for each response cannot be
# pinned.
#
# The firmware version of the TPM:
# [firmware]
# versions = ["0x2024012500120000"]
#
# The server's unsigned claims about itself:
# [claims]
# security_tier = ["high"]
"""


def test_the_whole_text_of_a_policy_with_everything_in_it() -> None:
    forges = [Forge(selection="sha1:0,16", safe=0), Forge(selection="sha1:0,16")]
    found = learn(
        [forge.response() for forge in forges],
        names=["a.json", "b.json"],
        policy_id="fleet",
        description="EU",
        allow_test_keys=True,
    )
    assert found.text == WHOLE
    assert found.notices == (
        "sha1:16: the initial value of a PCR says nothing about the machine",
        "sha1:16: the value proves little, because any program on the machine can reset the PCR and extend it again",
        'clock.safe: set to "warn", because it does not hold in a.json',
    )


def without(*keys: str) -> Forge:
    """Evidence whose `_metadata` lacks some keys."""
    return Forge().tamper("_metadata", lambda of: {key: value for key, value in of.items() if key not in keys})


REFUSED: dict[str, tuple[Any, str, str]] = {
    "another request": (
        Forge(nonce=bytes(16)).response(),
        "refused: nonce.match does not hold: the quote was made for another payload id or nonce",
        "learn from a response that passes every required rule",
    ),
    "no payload id": (
        without("payload_id").response(),
        "refused: nonce.match is undecided: the response contains no payload id, and none was passed",
        "pass the payload id of the request (payload_id), or the quoted nonce (nonce)",
    ),
    "a failure before what is undecided": (
        Forge(magic=0, nonce=bytes(16)).response(),
        "refused: attest.magic does not hold: the signed bytes begin with 0x00000000: a TPM did not generate them",
        "learn from a response that passes every required rule",
    ),
    "a failure after what is undecided": (
        without("payload_id").tamper("pcr_digest", lambda digest: bytes(len(digest))).response(),
        "refused: pcr.digest does not hold: the reported values do not hash to the signed digest",
        "learn from a response that passes every required rule",
    ),
    "no evidence": (
        {"is_available": False},
        "refused: evidence.available is undecided: the server says is_available: false",
        "learn from a response that passes every required rule",
    ),
    "malformed": (
        Forge().tamper("_metadata", lambda of: {**of, "payload_id": 7}).response(),
        "refused: evidence.form does not hold: _metadata.payload_id: expected a non-empty string, got a number",
        "learn from a response that passes every required rule",
    ),
    "wrapped": (
        {"log": Forge().text()},
        "the evidence is not at the top level of the record but at /log (JSON text in a string)",
        "unwrap the records first: `jq -c '.log | fromjson'`",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_response_that_is_not_sound_is_refused_with_its_name_the_reason_and_a_hint(what: str) -> None:
    response, problem, hint = REFUSED[what]
    with pytest.raises(na.LearningError) as caught:
        learn([Forge().response(), response, response], names=["good", "bad", "worse"], allow_test_keys=True)
    assert [(one.name, one.problem, one.hint) for one in caught.value.refused] == [
        ("bad", problem, hint),
        ("worse", problem, hint),
    ]
    assert str(caught.value) == f"bad: {problem} (1 more refused); {hint}"
    error = caught.value.refused[0].error
    assert isinstance(error, na.EvidenceError) is (what in ("malformed", "wrapped"))
    assert error is None or error.__traceback__ is None


def test_evidence_of_the_soft_tpm_is_refused_unless_test_keys_are_allowed() -> None:
    with pytest.raises(na.LearningError) as caught:
        learn([Forge().response()])
    assert str(caught.value) == (
        "response 1: refused: the soft TPM of nomyo_attest.testing made this evidence, and anyone can derive its "
        "private keys; learn from a response of a machine that you trust; for a trial only, allow_test_keys accepts "
        "these keys"
    )
    assert learn([Forge().response()], allow_test_keys=True).policy.id == "learned"


def test_the_payload_id_or_the_nonce_can_be_given_for_a_response_that_lacks_it() -> None:
    forge = without("payload_id")
    for given_ in ({"payload_id": forge.payload_id}, {"nonce": payload_nonce(forge.payload_id)}):
        found = learn([forge.response()], allow_test_keys=True, **given_)
        assert found.policy.description == "Learned from response 1"
        assert na.appraise(forge.response(), found.policy, **given_).verdict is na.Verdict.AFFIRMING


def test_a_learned_policy_that_does_not_affirm_its_responses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _, other, _ = learned(Forge().measure(0, b"other firmware"))
    monkeypatch.setattr(learning, "_write", lambda *_, **__: (other, ()))
    with pytest.raises(na.LearningError, match=r"^response 1: .* \(pcr\.values\); no policy was written"):
        learn([Forge().response()], allow_test_keys=True)


def test_an_evidence_object_can_be_learned_from() -> None:
    evidence = na.Evidence.from_response(Forge().response())
    assert learn([evidence], allow_test_keys=True).text == learn([Forge().response()], allow_test_keys=True).text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "learn needs at least one response"),
        (({},), TypeError, "pass [response] for a single response"),
        (("{}",), TypeError, "pass [response] for a single response"),
        (([{}, {}], "a"), ValueError, "names has 1 entries for 2 responses"),
    ],
)
def test_arguments_that_make_no_sense_raise(arguments: Any, error: type[Exception], message: str) -> None:
    responses, *names = arguments
    with pytest.raises(error, match=re.escape(message)):
        learn(responses, names=names[0] if names else None)


@pytest.mark.parametrize("more", [{"payload_ids": ["a"]}, {"payload_ids": ["a", "b", "c"]}])
def test_another_number_of_payload_ids_than_of_responses_raises(more: Any) -> None:
    with pytest.raises(ValueError, match="payload_ids"):
        learn([{}, {}], **more)


def test_each_response_is_appraised_with_the_payload_id_of_its_own_request() -> None:
    responses = [Forge(payload_id=name).response() for name in ("a", "b")]
    learn(responses, payload_ids=["a", None], allow_test_keys=True)
    with pytest.raises(LearningError, match=r"response 2: refused: nonce\.match"):
        learn(responses, payload_ids=[None, "a"], allow_test_keys=True)


@pytest.mark.parametrize("given_", [{"payload_id": "a"}, {"nonce": b"a"}])
def test_a_payload_id_or_nonce_for_several_responses_raises(given_: Any) -> None:
    with pytest.raises(ValueError, match="apply to a single response, but 2 were passed"):
        learn([Forge().response()] * 2, **given_)


def test_an_id_that_no_policy_can_have_is_a_policy_error() -> None:
    with pytest.raises(na.PolicyError) as caught:
        learn([Forge().response()], policy_id="two\nlines", allow_test_keys=True)
    assert caught.value.where == "id"
