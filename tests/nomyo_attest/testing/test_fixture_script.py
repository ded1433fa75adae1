"""`fixtures/forge.py` rebuilds the forged fixtures without a difference, and names those that differ."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.testing import keys

pytestmark = pytest.mark.slow


SCRIPT = Path(__file__).parents[3] / "fixtures" / "forge.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("forge_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(script: ModuleType) -> dict[Path, str]:
    """Every file, built without a search for primes: their offsets are all kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "search", None)
        files: dict[Path, str] = script.files()
    return files


@pytest.fixture
def rebuilt(script: ModuleType, made: dict[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script at work on a folder of its own; returns its exit status."""
    monkeypatch.setattr(script, "files", lambda: made)

    def run(*arguments: str) -> int:
        status: int = script.main([*arguments, "--folder", str(tmp_path)])
        return status

    assert run() == 0
    return run


def test_the_fixtures_are_those_that_the_script_makes(
    fixtures: Path, script: ModuleType, made: dict[Path, str]
) -> None:
    """They were made by another process, of another Python perhaps."""
    assert script.outdated(made, fixtures) == []


def test_a_rebuilt_folder_passes_the_check(rebuilt: Any, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert rebuilt("--check") == 0
    assert capsys.readouterr().out == ""


def test_files_that_differ_are_named_and_mended(
    rebuilt: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = tmp_path / "vectors"
    (vectors / "clock-unsafe.json").write_text("{}\n")
    (vectors / "magic-zero.json").unlink()
    (vectors / "stray.json").write_text("{}\n")
    (tmp_path / "evidence" / "known-good.json").write_bytes(b"")
    capsys.readouterr()
    assert rebuilt("--check") == 1
    named = ["evidence/known-good.json", "vectors/clock-unsafe.json", "vectors/magic-zero.json"]
    assert capsys.readouterr().out.split() == [*named, "vectors/stray.json"]
    assert (vectors / "stray.json").exists()
    assert rebuilt() == 0
    assert rebuilt("--check") == 0
    assert not (vectors / "stray.json").exists()


def test_files_of_others_are_left_alone(rebuilt: Any, tmp_path: Path) -> None:
    other = tmp_path / "evidence" / "recorded" / "one.json"
    other.parent.mkdir()
    other.write_text("{}")
    assert rebuilt("--check") == 0
    assert rebuilt() == 0
    assert other.read_text() == "{}"


def test_vectors_have_the_fields_that_they_should(made: dict[Path, str]) -> None:
    required = {"name", "origin", "reason", "rule", "policy", "expect"}
    for path, text in made.items():
        document = json.loads(text)
        if path.parts[0] != "vectors":
            continue
        assert path.stem == document["name"]
        assert set(document) - {"arguments"} in (required | {"response"}, required | {"response_text"})
        assert set(document["expect"]) == {"verdict", "failed", "undecided"}
        assert set(document.get("arguments", {})) <= {"payload_id", "nonce", "now"}


def test_the_responses_of_the_documentation_are_what_their_names_say(fixtures: Path) -> None:
    good, response, other = (
        json.loads((fixtures / "evidence" / f"{name}.json").read_text("utf-8"))
        for name in ("known-good", "response", "other-firmware")
    )
    values = good["_metadata"]["tpm_attestation"]["pcr_values"]
    policy = na.AppraisalPolicy.from_dict(
        {
            "format": "nomyo-attest-policy/1",
            "id": "test",
            "pcrs": {bank: {index: [value] for index, value in of.items()} for bank, of in values.items()},
            "key": {"hierarchy": ["endorsement"]},
        }
    )
    assert na.appraise(good, policy).verdict is na.Verdict.AFFIRMING
    assert na.appraise(response, policy).verdict is na.Verdict.AFFIRMING
    assert na.appraise(other, policy).failed == ("pcr.values",)
    identifiers = {one["_metadata"]["payload_id"] for one in (good, response, other)}
    keys = {one["_metadata"]["tpm_attestation"]["aik_pubkey_b64"] for one in (good, response, other)}
    assert len(identifiers) == len(keys) == 3
