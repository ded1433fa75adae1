"""Whatever a file holds: an exit status of 0, 1 or 2, one line for each complaint, and no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomyo_attest.testing import Forge
from tests.nomyo_attest.cli.runner import CommandResult, run, start

GOOD = Forge(key="p256").text().encode()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
texts_from_outside = st.text(st.characters(), max_size=40)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a policy that affirms GOOD."""
    folder = tmp_path_factory.mktemp("garbage")
    (folder / "good.json").write_bytes(GOOD)
    assert run("policy", "learn", "--allow-test-keys", folder / "good.json", "-o", folder / "policy.toml").status == 0
    assert run("verify", folder / "good.json", "--policy", folder / "policy.toml").status == 0
    return folder


def commands(place: Path, content: bytes) -> dict[str, CommandResult]:
    """Every command that reads evidence, on `content`."""
    (place / "any.json").write_bytes(content)
    verify = ["verify", place / "any.json", "--policy", place / "policy.toml"]
    ran = {
        "verify": run(*verify),
        "verify --verbose": run(*verify, "--verbose"),
        "verify json": run(*verify, "--format", "json"),
        "inspect": run("inspect", place / "any.json"),
        "inspect json": run("inspect", place / "any.json", "--format", "json"),
        "learn": run("policy", "learn", "--allow-test-keys", place / "any.json"),
    }
    for one in ran.values():
        assert one.status in {0, 1, 2}
        assert "Traceback" not in one.out + one.err
        assert "internal error" not in one.err
        assert all(line.isprintable() for line in one.out.split("\n") + one.err.split("\n"))
    return ran


@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_are_never_affirmed_and_never_a_traceback(place: Path, content: bytes) -> None:
    ran = commands(place, content)
    (status,) = {ran[name].status for name in ("verify", "verify --verbose", "verify json", "learn")}
    assert status in {1, 2}  # 2: it cannot be a record, whatever is in it


@settings(max_examples=60)
@given(document=json_values)
def test_arbitrary_json_is_never_affirmed_and_never_a_traceback(place: Path, document: Any) -> None:
    for wrapped in (document, {"_metadata": document}, {"_metadata": {"tpm_attestation": document}}):
        ran = commands(place, json.dumps(wrapped).encode())
        assert ran["verify"].status == 1
        assert ran["learn"].status == 1


@settings(max_examples=200)
@given(at=st.integers(0, len(GOOD) - 1), octet=st.integers(0, 255))
def test_a_response_with_one_byte_changed_is_never_a_traceback(place: Path, at: int, octet: int) -> None:
    commands(place, GOOD[:at] + bytes([octet]) + GOOD[at + 1 :])


@settings(max_examples=60)
@given(key=texts_from_outside, value=json_values, payload_id=texts_from_outside)
def test_whatever_a_server_claims_is_shown_without_acting(place: Path, key: str, value: Any, payload_id: str) -> None:
    response = json.loads(GOOD)
    response["_metadata"] |= {key: value, "payload_id": payload_id}
    commands(place, json.dumps(response).encode())


@settings(max_examples=60)
@given(
    content=st.binary(max_size=200)
    | texts_from_outside.map(lambda text: f'id = "{text}"'.encode("utf-8", "surrogatepass"))
)
@pytest.mark.parametrize("ending", ["toml", "json"])
def test_arbitrary_policies_are_unusable_and_never_a_traceback(place: Path, content: bytes, ending: str) -> None:
    policy = place / f"any.{ending}"
    policy.write_bytes(content)
    for argv in (
        ["verify", place / "good.json", "--policy", policy],
        ["policy", "check", policy],
        ["policy", "show", policy],
    ):
        ran = run(*argv)
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.count("\n") == 1
        assert ran.err.removesuffix("\n").isprintable()
        assert "internal error" not in ran.err


def test_a_process_of_its_own_shows_no_traceback_either(place: Path) -> None:
    (place / "any.json").write_bytes(b"\xff\x00\x1b")
    done = start("verify", place / "any.json", "--policy", place / "policy.toml")
    assert done.returncode == 1
    assert done.stderr == ""
    done = start("inspect", place / "any.json")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
