"""The proxy under the packages `openai` and `ai` for Node. Runs in the tox environment `node`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nomyo.proxy.options import ProxyOptions
from nomyo.proxy.running import RunningProxy
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import MODEL, PROMPT, Wire, policy
from tests.nomyo.proxy.proxy_calls import API_KEY, attest_with

PACKAGES = ("openai@6", "ai@6", "@ai-sdk/openai-compatible@2")
PROGRAM = Path(__file__).with_name("node_program.mjs")


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages and the program."""
    if os.environ.get("NOMYO_NODE_PACKAGES") != "1":
        pytest.skip("installs packages for Node only with NOMYO_NODE_PACKAGES=1, as `tox -e node` sets it")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs Node and npm")
    folder = tmp_path_factory.mktemp("node")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    shutil.copy(PROGRAM, folder)
    return folder


def run(folder: Path, proxy: RunningProxy) -> dict[str, Any]:
    command = ["node", PROGRAM.name, proxy.url, MODEL, PROMPT]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True)
    outcomes: dict[str, Any] = json.loads(done.stdout)
    return outcomes


def test_programs_for_node_get_completions_and_nothing_else_leaves(node_folder: Path, wire: Wire) -> None:
    wire.router.attest = attest_with(Forge())
    with RunningProxy(wire.client(api_key=API_KEY, attestation_policy=policy()), ProxyOptions()) as proxy:
        outcomes = run(node_folder, proxy)

    assert outcomes == {
        "create": PROMPT,
        "stream": PROMPT,
        "embeddings": ["NotFoundError", 404, "not_encrypted"],
        "ai": PROMPT,
    }
    assert len(wire.posts) == 3


def test_a_refusal_is_an_error_of_their_class_and_the_prompt_is_not_sent_again(node_folder: Path, wire: Wire) -> None:
    client = wire.client(api_key=API_KEY, attestation_policy=policy(), refusal_hold=60)
    with RunningProxy(client, ProxyOptions()) as proxy:
        outcomes = run(node_folder, proxy)

    assert outcomes == {
        "create": ["PermissionDeniedError", 403, "not_affirmed"],
        "stream": ["PermissionDeniedError", 403, "held"],
        "embeddings": ["NotFoundError", 404, "not_encrypted"],
        "ai": ["APICallError", 403, "held"],
    }
    assert len(wire.posts) == 1
