"""Strings that users store are interface: in scripts and records. Changing one takes a major version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nomyo.cli import COMMANDS
from tests.nomyo.cli.runner import run
from tests.nomyo.wire.plain_router import PlainRouter


def test_commands() -> None:
    assert list(COMMANDS) == ["demo", "chat", "keys generate", "keys show", "keys pin", "proxy", "router"]


def options(words: str) -> set[str]:
    """The long options in a command's help."""
    return {word.strip("[],") for word in run(*words.split(), "--help").out.split() if word.startswith(("--", "[--"))}


OPTIONS = {
    "demo": "tpm keep",
    "chat": """policy evidence-log model system tier max-tokens temperature base-url api-key-file server-key-pin key-dir
               key-password-file allow-http timeout""",
    "keys generate": "password-file",
    "keys show": "password-file",
    "keys pin": "allow-http timeout",
    "proxy": """policy no-attestation host port model tier token-file allow-host allow-origin keepalive refusal-hold
                preflight evidence-log base-url api-key-file server-key-pin key-dir timeout""",
    "router": """host port cert key api-key-file rate-limit tpm pcrs aik server-key upstream upstream-key-file
                 upstream-timeout upstream-concurrency unsafe-remote-upstream model default-tier grace log-format fault
                 list-faults""",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_options(words: str) -> None:
    always = {"help"} if words == "proxy" else {"format", "help"}  # the proxy's output is JSON
    assert {f"--{name}" for name in {*OPTIONS[words].split(), *always}} <= options(words)


@pytest.mark.parametrize(
    "name", ["API_KEY", "BASE_URL", "POLICY", "EVIDENCE_LOG", "MODEL", "SECURITY_TIER", "SERVER_KEY_PINS"]
)
def test_variables(name: str) -> None:
    assert f"NOMYO_{name}" in run("chat", "--help").out


def keys_of(document: Any) -> list[str]:
    assert isinstance(document, dict)
    return sorted(document)


@pytest.mark.usefixtures("_shared_client_key")
def test_keys_of_demo_json() -> None:
    document = run("demo", "--tpm", "soft", "--format", "json").json()
    assert keys_of(document) == ["format", "seconds", "steps", "succeeded"]
    more = {step["step"]: keys_of(step) for step in document["steps"]}
    always = ["succeeded", "seconds", "step"]
    assert more == {
        "start": sorted([*always, "tpm", "url", "swtpm_error"]),
        "ask": sorted([*always, "completion", "payload_id", "prompt", "quoted_pcrs", "server_key"]),
        "learn": sorted([*always, "pcrs", "policy"]),
        "affirm": sorted([*always, "completion", "payload_id", "prompt", "quoted_pcrs", "result"]),
        "boot": sorted(always),
        "refuse": sorted([*always, "completion", "result"]),
    }


def test_keys_of_the_key_commands_json(router: PlainRouter, here: Path) -> None:
    made = run("keys", "generate", "pair", "--format", "json").json()
    assert made == run("keys", "show", "pair", "--format", "json").json()
    assert keys_of(made) == ["belong_together", "fingerprint", "format", "private_key", "problem", "public_key"]
    assert keys_of(made["private_key"]) == keys_of(made["public_key"]) == ["bits", "encrypted", "mode", "path"]
    pin = run("keys", "pin", router.url, "--format", "json").json()
    assert keys_of(pin) == ["bits", "format", "pin", "public_key", "url"]
