"""Options: policies and evidence logs are loaded, and what cannot be one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na
from nomyo import options
from nomyo.errors import ArgumentTypeError
from nomyo_attest.testing import Forge

POLICY = na.AppraisalPolicy.from_dict(Forge().policy())


def test_a_policy_is_taken_as_it_is_or_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(Forge().policy()), encoding="utf-8")
    assert options.load_policy(None) is None
    assert options.load_policy(POLICY) is POLICY
    for given in (path, str(path)):
        loaded = options.load_policy(given)
        assert isinstance(loaded, na.AppraisalPolicy)
        assert loaded.id == "forge"


def test_a_policy_that_is_none_says_so(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    with pytest.raises(FileNotFoundError):
        options.load_policy(path)
    path.write_text("format = 5", encoding="utf-8")
    with pytest.raises(na.PolicyError):
        options.load_policy(path)


@pytest.mark.parametrize("value", [5, Forge().policy(), b"policy.toml", True, ["policy.toml"]])
def test_a_policy_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"attestation_policy: expected a path, got {type(value).__name__}"):
        options.load_policy(value)
