from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nomyo.config import TIERS, is_loopback
from nomyo.errors import NomyoError
from nomyo.router import RouterError, RouterOptions
from nomyo.router.options import ANY_MODEL


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"port": -1}, "port: expected 0 to 65535, got -1"),
        ({"port": 65536}, "port: expected 0 to 65535"),
        ({"cert": Path("c.pem")}, "cert: expected a private key as well"),
        ({"key": Path("k.pem")}, "key: expected a certificate as well"),
        ({"host": "0.0.0.0"}, "the temporary CA is for loopback only; use a certificate and its key"),
        ({"host": "router.example"}, "the temporary CA is for loopback only"),
        ({"api_keys": ("a", "")}, "api_keys: expected printable ASCII"),
        ({"api_keys": ("schlüssel",)}, "api_keys: expected printable ASCII"),
        ({"tpm": "hardware"}, "tpm: expected one of auto, device, swtpm, soft, none, got 'hardware'"),
        ({"boot": "firmware"}, "boot: expected one of original-firmware, other-firmware, got 'firmware'"),
        ({"cert": Path("c.pem"), "key": Path("k.pem"), "ca_out": Path("ca.pem")}, "ca_out: expected no cert"),
        ({"default_tier": "low"}, "default_tier: expected one of standard, high, maximum, got 'low'"),
        ({"models": {"m": frozenset({"HIGH"})}}, "models: tier: expected one of standard, high, maximum, got 'HIGH'"),
        ({"upstream": "127.0.0.1:8080"}, "upstream: expected a base URL"),
        ({"upstream": "ftp://127.0.0.1/v1"}, "upstream: expected a base URL"),
        ({"upstream": "http://[::1/v1"}, "upstream: expected a base URL"),
        ({"upstream": "http://127.0.0.1:99999/v1"}, "upstream: expected a base URL"),
        ({"upstream": "http://u:p@127.0.0.1/v1"}, "upstream: expected a base URL"),
        ({"upstream": "http://127.0.0.1/v1?x=1"}, "upstream: expected a base URL"),
        ({"upstream": "http://models.example/v1"}, "prompts would be sent unencrypted to models.example"),
        ({"upstream_timeout": 0.0}, "upstream_timeout: expected seconds above 0"),
        ({"upstream_timeout": float("nan")}, "upstream_timeout: expected seconds above 0, got nan"),
        ({"upstream_concurrency": 0}, "upstream_concurrency: expected 1 or more, got 0"),
        ({"grace": -1.0}, "grace: expected 0 to 86400 seconds, got -1"),
        ({"grace": float("nan")}, "grace: expected 0 to 86400 seconds, got nan"),
        ({"log_format": "xml"}, "log_format: expected one of text, json, got 'xml'"),
    ],
)
def test_options_that_make_no_sense_say_what_to_give(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RouterError, match=said.replace("(", r"\(")) as caught:
        RouterOptions(**wrong)
    assert isinstance(caught.value, NomyoError)


def test_prompts_go_to_other_machines_by_https_or_aloud() -> None:
    RouterOptions(upstream="https://models.example/v1")
    RouterOptions(upstream="http://models.example/v1", unsafe_remote_upstream=True)
    RouterOptions(upstream="http://[::1]:8080/v1")
    RouterOptions(upstream="http://localhost:8080/v1")


def test_keys_are_in_no_repr() -> None:
    options = RouterOptions(api_keys=("hunter2",), upstream="http://127.0.0.1/v1", upstream_api_key="hunter3")
    assert "hunter" not in repr(options)


def test_a_refused_key_is_not_quoted() -> None:
    with pytest.raises(RouterError) as caught:
        RouterOptions(api_keys=("schlüssel",))
    assert "schl" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
        ("0.0.0.0", False), ("10.0.0.1", False), ("::", False), ("localhost.example", False), ("", False),
    ],
)  # fmt: skip
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_without_a_table_every_model_is_allowed_at_every_tier() -> None:
    assert all(RouterOptions().allows("m", tier) for tier in TIERS)


def test_a_table_allows_what_it_lists() -> None:
    options = RouterOptions(models={"small": frozenset({"standard"}), "large": frozenset(TIERS)})
    assert options.allows("small", "standard")
    assert not options.allows("small", "high")
    assert options.allows("large", "maximum")
    assert not options.allows("other", "standard")


def test_a_table_may_speak_for_all_other_models() -> None:
    options = RouterOptions(models={"small": frozenset(), ANY_MODEL: frozenset({"high"})})
    assert options.allows("other", "high")
    assert not options.allows("other", "standard")
    assert not options.allows("small", "high")
