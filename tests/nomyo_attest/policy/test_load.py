"""Policy files: TOML and JSON that mean the same, and files that are none."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.policy import AppraisalPolicy
from nomyo_attest.policy.load import FILE_BYTES_MAX
from nomyo_attest.testing import Forge
from tests.nomyo_attest.policy.documents import ZEROS, Json, small

TOML = """
format = "nomyo-attest-policy/1"
id = "prod-eu-2026-11"
description = "EU fleet, firmware 2.4"

[pcrs.sha256]                 # reference values
0  = ["9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f",
      "4141414141414141414141414141414141414141414141414141414141414141"]
7  = [{ value = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0", label = "Secure Boot on" }]
10 = "any"                    # must be signed; value free

[key]
hierarchy = ["endorsement"]
rsa_min_bits = 3072
trust = "pinned_aik"
pinned = ["000babababababababababababababababababababababababababababababababab"]            # Names

[signature]
hashes = ["sha256", "sha384"]

[firmware]
versions = ["0x2024012500120000"]

[claims]
security_tier = ["high", "maximum"]
"memory_protection.memory_locking" = [true]

[rules]
"clock.safe" = "warn"
"""
SAME: Json = {
    "format": "nomyo-attest-policy/1",
    "id": "prod-eu-2026-11",
    "description": "EU fleet, firmware 2.4",
    "pcrs": {
        "sha256": {
            "0": ["9F" * 32, "41" * 32],
            "7": [{"value": "c0" * 32, "label": "Secure Boot on"}],
            "10": "any",
        }
    },
    "key": {
        "hierarchy": ["endorsement"],
        "rsa_min_bits": 3072,
        "trust": "pinned_aik",
        "pinned": ["000b" + "ab" * 32],
    },
    "signature": {"hashes": ["sha384", "sha256"]},
    "firmware": {"versions": ["0x2024012500120000"]},
    "claims": {"security_tier": ["high", "maximum"], "memory_protection.memory_locking": [True]},
    "rules": {"clock.safe": "warn"},
}


def saved(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_toml_json_and_a_dict_give_one_policy(tmp_path: Path) -> None:
    policies = [
        AppraisalPolicy.load(saved(tmp_path, "policy.toml", TOML)),
        AppraisalPolicy.load(saved(tmp_path, "policy.TOML", TOML.replace("\n", "\r\n"))),
        AppraisalPolicy.load(saved(tmp_path, "policy.json", json.dumps(SAME))),
        AppraisalPolicy.load(str(saved(tmp_path, "indented.json", json.dumps(SAME, indent=4)))),
        AppraisalPolicy.from_dict(SAME),
        AppraisalPolicy.from_dict(MappingProxyType(SAME)),
    ]
    assert len({policy.digest for policy in policies}) == 1
    for policy in policies:
        assert policy.to_dict() == policies[0].to_dict()
        places = [(pcr.place, len(pcr.values)) for pcr in policy.pcrs]
        assert places == [("sha256:0", 2), ("sha256:7", 1), ("sha256:10", 0)]
        assert policy.pcrs[1].values[0].label == "Secure Boot on"
        assert policy.rsa_min_bits == 3072
        assert policy.trust is na.Trust.PINNED_AIK
        assert policy.pinned == {bytes.fromhex("000b" + "ab" * 32)}
        assert policy.firmware_versions == {0x2024012500120000}
        assert policy.claims == {"security_tier": ("high", "maximum"), "memory_protection.memory_locking": (True,)}
        assert policy.rules == {"clock.safe": na.Requirement.WARN}


def test_a_policy_knows_the_file_it_came_from(tmp_path: Path) -> None:
    path = saved(tmp_path, "policy.toml", TOML)
    assert AppraisalPolicy.load(path).source == str(path)


NO_POLICIES: dict[str, tuple[str, str | bytes]] = {
    "no ending": ("policy", json.dumps(SAME)),
    "another ending": ("policy.yaml", "format: nomyo-attest-policy/1"),
    "an ending in front": ("toml", TOML),
    "empty JSON": ("policy.json", ""),
    "broken JSON": ("policy.json", "{"),
    "JSON of two texts": ("policy.json", json.dumps(SAME) * 2),
    "JSON with a comment": ("policy.json", "// policy\n" + json.dumps(SAME)),
    "JSON with NaN": ("policy.json", json.dumps(SAME).replace("3072", "NaN")),
    "JSON with Infinity": ("policy.json", json.dumps(SAME).replace("3072", "-Infinity")),
    "JSON nested too deep": ("policy.json", "[" * 100_000),
    "JSON with an endless number": ("policy.json", json.dumps(SAME).replace("3072", "3" * 5000)),
    "JSON in UTF-16": ("policy.json", json.dumps(SAME).encode("utf-16")),
    "JSON in Latin-1": ("policy.json", json.dumps({**SAME, "id": "\xe9"}, ensure_ascii=False).encode("latin-1")),
    "TOML in a JSON file": ("policy.json", TOML),
    "JSON in a TOML file": ("policy.toml", json.dumps(SAME)),
    "broken TOML": ("policy.toml", "format = "),
    "TOML with a key twice": ("policy.toml", TOML + '\n"clock.safe" = "ignore"\n'),
    "TOML with a table twice": ("policy.toml", TOML + "\n[key]\n"),
    "TOML nested too deep": ("policy.toml", "a = " + "[" * 100_000),
    "TOML with an endless number": ("policy.toml", TOML.replace("3072", "3" * 5000)),
    "TOML in Latin-1": ("policy.toml", "# \xe9\n".encode("latin-1") + TOML.encode()),
    "zeros": ("policy.toml", bytes(100)),
}


@pytest.mark.parametrize("what", NO_POLICIES)
def test_a_file_that_is_no_policy_is_refused_with_its_name(what: str, tmp_path: Path) -> None:
    name, content = NO_POLICIES[what]
    path = saved(tmp_path, name, content)
    with pytest.raises(na.PolicyError) as caught:
        AppraisalPolicy.load(path)
    assert caught.value.source == str(path)
    assert caught.value.problem
    assert caught.value.hint
    assert len(str(caught.value)) < 800


FORM = "correct the file, which must be TOML (.toml) or JSON (.json); docs/policy.md shows an example"
WHOLE = {
    "no ending": f"not a policy file: the file has no extension; {FORM}",
    "another ending": f"not a policy file: unsupported file extension '.yaml'; {FORM}",
    "an ending in front": f"not a policy file: the file has no extension; {FORM}",
    "JSON with NaN": f"not a policy file: NaN is not JSON; {FORM}",
    "JSON with Infinity": f"not a policy file: -Infinity is not JSON; {FORM}",
    "JSON in UTF-16": "the file is UTF-16 text; save it as UTF-8 "
    "(Windows PowerShell writes UTF-16 unless you use `Out-File -Encoding utf8`)",
}


@pytest.mark.parametrize("what", WHOLE)
def test_the_whole_message_of_a_file_that_is_no_policy(what: str, tmp_path: Path) -> None:
    path = saved(tmp_path, *NO_POLICIES[what])
    with pytest.raises(na.PolicyError) as caught:
        AppraisalPolicy.load(path)
    assert str(caught.value) == f"{path}: {WHOLE[what]}"


@pytest.mark.parametrize("key", ["format", "id", "pcrs", "sha256", "0", "rsa_min_bits", "clock.safe", "security_tier"])
def test_a_json_policy_with_a_key_twice_is_refused(key: str, tmp_path: Path) -> None:
    name = json.dumps(key)
    for first in ("null", '"ignore"'):
        text = json.dumps(SAME).replace(f"{name}: ", f"{name}: {first}, {name}: ", 1)
        with pytest.raises(na.PolicyError, match=r"duplicate key .* in one object"):
            AppraisalPolicy.load(saved(tmp_path, "policy.json", text))


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    with path.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(na.PolicyError) as caught:
        AppraisalPolicy.load(path)
    assert (
        str(caught.value)
        == f"{path}: the file is larger than {FILE_BYTES_MAX} bytes, the limit for policies; name a policy file"
    )


def test_a_file_that_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AppraisalPolicy.load(tmp_path / "nowhere.toml")
    with pytest.raises(IsADirectoryError):
        AppraisalPolicy.load(tmp_path)


@given(st.binary(), st.sampled_from(["toml", "json"]))
def test_any_file_is_a_policy_or_a_policy_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{kind}"
    path.write_bytes(content)
    with pytest.raises(na.PolicyError):
        AppraisalPolicy.load(path)


def test_times_are_read_from_toml_from_text_and_from_datetime(tmp_path: Path) -> None:
    text = f"""
        format = "nomyo-attest-policy/1"
        id = "times"
        valid_from = 2026-01-01T00:00:00Z
        valid_until = 2026-12-31T23:59:59+01:00
        pcrs.sha256.0 = ["{ZEROS}"]
    """
    moments = {"valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-12-31T23:59:59+01:00"}
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    end = datetime(2026, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=1)))
    policies = [
        AppraisalPolicy.load(saved(tmp_path, "times.toml", text)),
        AppraisalPolicy.load(saved(tmp_path, "times.json", json.dumps(small(id="times", **moments)))),
        AppraisalPolicy.from_dict(small(id="times", **moments)),
        AppraisalPolicy.from_dict(small(id="times", valid_from=begin, valid_until=end)),
    ]
    for policy in policies:
        assert (policy.valid_from, policy.valid_until) == (begin, end)
        assert policy.digest == policies[0].digest


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - without an offset, that is the point


@pytest.mark.parametrize("moment", [NAIVE, date(2026, 1, 1), time_of_day(12), "2026-01-01T00:00:00"], ids=str)
def test_a_time_without_an_offset_is_refused(moment: object) -> None:
    with pytest.raises(na.PolicyError, match="invalid time"):
        AppraisalPolicy.from_dict(small(valid_from=moment))


@pytest.mark.parametrize("text", ["2026-11-30T00:00:00Z", "2026-11-30T00:00:00-00:00", "2026-11-30T00:00:00.25+05:30"])
def test_an_rfc_3339_time_is_read(text: str) -> None:
    policy = AppraisalPolicy.from_dict(small(valid_from=text))
    assert policy.valid_from is not None
    assert policy.valid_from.tzinfo is not None


@pytest.mark.slow
def test_a_hundred_thousand_reference_values_load_and_are_looked_up_at_once() -> None:
    forge = Forge()
    document = forge.policy()
    right = document["pcrs"]["sha256"]["0"][0]
    document["pcrs"]["sha256"]["0"] = [f"{number:064x}" for number in range(100_000)] + [right]
    began = time.thread_time()
    policy = AppraisalPolicy.from_dict(document)
    assert len(policy.digest) == 71
    assert time.thread_time() - began < 60
    responses = [Forge(payload_id=f"request {number}").response() for number in range(20)]
    began = time.thread_time()
    for response in responses:
        assert na.appraise(response, policy).verdict is na.Verdict.AFFIRMING
    assert (time.thread_time() - began) / len(responses) < 0.1
    assert na.appraise(Forge().measure(0, b"something else").response(), policy).failed == ("pcr.values",)


@pytest.mark.parametrize("name", ["policy.toml", "policy.json"])
def test_a_policy_with_a_byte_order_mark_of_utf_8_loads(tmp_path: Path, name: str) -> None:
    text = TOML if name.endswith(".toml") else json.dumps(SAME)
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert AppraisalPolicy.load(tmp_path / name).digest == AppraisalPolicy.from_dict(SAME).digest


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["policy.toml", "policy.json"])
def test_a_policy_in_utf_16_is_refused_with_what_to_do(tmp_path: Path, name: str, encoding: str) -> None:
    text = TOML if name.endswith(".toml") else json.dumps(SAME)
    (tmp_path / name).write_bytes(text.encode(encoding))
    with pytest.raises(na.PolicyError) as caught:
        AppraisalPolicy.load(tmp_path / name)
    assert caught.value.problem == "the file is UTF-16 text"
    assert caught.value.hint.startswith("save it as UTF-8")
