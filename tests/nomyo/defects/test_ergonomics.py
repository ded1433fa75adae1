"""E: the interface, the package and its documentation.

E7 has two halves. That the source distribution holds the tests is tested. That releases carry provenance, and that no
release is of compiled modules, is for the index to show: what is tested here is that this one is pure Python.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import json
import re
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import nomyo
from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.defects.calls import close, describe, is_error, run, supported_options
from tests.nomyo.defects.conftest import ROOT, Chat
from tests.nomyo.wire.plain_router import Reply


def test_e1_a_client_can_be_closed_and_made_anew_with_other_options() -> None:
    wanted = ["__aenter__", "__aexit__", "aclose", "with_options"]
    missing = [name for name in wanted if not hasattr(nomyo.SecureChatCompletion, name)]
    assert not missing, f"SecureChatCompletion has no {', '.join(missing)}"


def test_e1_a_call_can_be_given_less_time(chat: Chat) -> None:
    chat.router.answer(lambda request: Reply(delay=2))
    found = chat.ask(timeout=0.5)
    assert is_error(found, TimeoutError), f"timeout=0.5, and after 2 s it returned {describe(found)}"


def test_e1_type_checkers_are_told_that_there_are_types() -> None:
    assert files("nomyo").joinpath("py.typed").is_file(), "there is no py.typed"


@pytest.mark.parametrize(
    ("name", "value"), [("timeout", 5), ("extra_headers", {"X-A": "b"}), ("api_base", "https://localhost")]
)
def test_e2_what_is_meant_for_the_client_is_not_sent_to_the_model(chat: Chat, name: str, value: object) -> None:
    found = chat.ask(**{name: value})
    sent = [request.plaintext for request in chat.router.posts if request.plaintext and name in request.plaintext]
    assert not sent, f"{name} was sealed and sent to the model as a parameter"
    assert isinstance(found, dict) or is_error(found, TypeError, name), describe(found)


def test_e3_what_json_cannot_say_is_a_type_error_that_says_where(chat: Chat) -> None:
    found = chat.ask(messages=[{"role": "user", "content": {"a", "set"}}])
    assert is_error(found, TypeError, "messages[0].content"), f"a set in a message is told as {describe(found)}"


def test_e3_nan_is_not_sent(chat: Chat) -> None:
    found = chat.ask(temperature=float("nan"))
    assert not chat.router.posts, "NaN was sent, which is no JSON"
    assert is_error(found, ValueError, "temperature"), describe(found)


def distribution() -> str:
    """The distribution that the package `nomyo` of this environment belongs to."""
    return "nomyo-attest" if importlib.util.find_spec("nomyo_attest") else "nomyo"


def test_e4_no_dependency_is_pinned_to_one_version() -> None:
    requirements = importlib.metadata.requires(distribution()) or []
    assert requirements
    pinned = [line for line in requirements if re.search(r"(?<![<>!~])==", line.partition(";")[0])]
    assert not pinned, f"{len(pinned)} dependencies are pinned to one version, such as {pinned[:2]}"


def test_e5_what_the_documentation_awaits_can_be_awaited(source: Path, tmp_path: Path) -> None:
    """Nothing in this project's own documentation awaits it; much that is written about the client does."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in source.glob("**/*.md"))
    for name in ("fetch_server_public_key", "encrypt_payload", "create"):
        assert inspect.iscoroutinefunction(getattr(SecureCompletionClient, name, nomyo.SecureChatCompletion.create))

    async def documented() -> Any:
        client = SecureCompletionClient("https://localhost")
        await client.generate_keys(save_to_file=True, key_dir=str(tmp_path / "keys"), password="your-password")
        path = str(tmp_path / "keys" / "private_key.pem")
        await client.load_keys(path, str(tmp_path / "keys" / "public_key.pem"), password="your-password")
        await close(client)
        return "done"

    found = run(documented)
    awaited = "await client.generate_keys(" in text
    assert found == "done", f"documented (here: {awaited}) as `await client.generate_keys(…)`: {describe(found)}"


POLICY = """
format = "nomyo-attest-policy/1"
id = "of a test"
[pcrs.sha256]
7 = ["{pcr7}"]
"""


def test_e6_evidence_of_another_request_does_not_pass_for_verified(chat: Chat, tmp_path: Path) -> None:
    """The very values that the policy wants, signed for another payload id.

    The policy is an argument that the published client does not have; without it, it takes the word for the deed.
    """
    recorded = json.loads((ROOT / "fixtures" / "evidence" / "response.json").read_text(encoding="utf-8"))
    evidence = recorded["_metadata"]["tpm_attestation"]
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(pcr7=evidence["pcr_values"]["sha256"]["7"]), encoding="utf-8")
    chat.router.attest = lambda payload_id: evidence
    options = supported_options(nomyo.SecureChatCompletion, attestation_policy=policy)
    found = chat.ask(options, security_tier="maximum", require_attestation=True)
    assert is_error(found, nomyo.SecurityError), f"attestation required, evidence replayed, and {describe(found)}"
    broken = [finding.rule for finding in found.result.findings if finding.message != "holds"]
    assert "nonce.match" in broken, broken


def test_e6_a_verifier_of_quotes_comes_with_the_client() -> None:
    found = importlib.util.find_spec("nomyo_attest")
    assert found is not None, "the documentation's sample of verification ends in comments, and nothing verifies"


def test_e7_the_source_distribution_holds_the_tests(source: Path) -> None:
    tests = [path for path in source.rglob("test_*.py") if "def test_" in path.read_text(encoding="utf-8")]
    assert tests, "the source distribution has no tests: nobody can check what was built"
    installed = importlib.metadata.files(distribution()) or []
    assert not [path for path in installed if path.suffix in {".so", ".pyd", ".dylib"}]


def test_e8_a_warning_is_of_a_category_of_its_own_and_without_pictures() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nomyo.SecureChatCompletion(base_url="http://localhost:1", allow_http=True)
    (warning,) = caught
    text = str(warning.message)
    assert text.isascii(), f"it warns with pictures: {text[:30]!r}"
    assert warning.category.__module__.startswith("nomyo")
