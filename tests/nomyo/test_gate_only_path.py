"""Nothing but `Gate.release` decrypts a response and returns a completion."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import nomyo
from nomyo import gate
from nomyo.gate import Gate
from tests.nomyo.client_calls import MODEL, PROMPT, Wire, ask, run
from tests.nomyo.packages import KEY
from tests.nomyo.wire import package as wire_package

MESSAGES = [{"role": "user", "content": PROMPT}]
CLIENT_MODULES = sorted(Path(nomyo.__file__).parent.glob("*.py")) + sorted(Path(nomyo.__file__).parent.glob("cli/*.py"))


def mentioned(tree: ast.AST, module: str) -> Iterator[str]:
    """The names of a module of this package that source code uses, however it imports them."""
    aliases = {module}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == f"nomyo.{module}":
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module == "nomyo":
            aliases |= {alias.asname or alias.name for alias in node.names if alias.name == module}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield node.attr
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == module:
            yield node.attr


def users(module: str, name: str) -> set[str]:
    """The modules of the client that use this name of a module."""
    found = set()
    for path in CLIENT_MODULES:
        if name in mentioned(ast.parse(path.read_text(encoding="utf-8")), module):
            found.add(path.stem)
    return found


def test_the_gate_alone_decrypts() -> None:
    assert users("envelope", "decrypt") == {"gate"}
    assert users("envelope", "encrypt") == {"call"}  # so an import of the other would be noticed


def test_other_modules_use_the_gate_by_its_two_methods() -> None:
    used = {
        name
        for path in CLIENT_MODULES
        if path.stem != "gate"
        for name in mentioned(ast.parse(path.read_text(encoding="utf-8")), "gate")
    }
    assert used == {"Gate", "check_log", "release"}


def test_the_gate_returns_a_completion_in_one_place() -> None:
    tree = ast.parse(Path(gate.__file__).read_text(encoding="utf-8"))
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "with_client_metadata"]
    assert len(uses) == 1
    (release,) = (node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef) and node.name == "release")
    returns = [node for node in ast.walk(release) if isinstance(node, ast.Return)]
    assert [ast.unparse(node).partition("(")[0] for node in returns] == ["return with_client_metadata"]
    assert returns[0] is release.body[-1]


@pytest.mark.parametrize("method", ["create", "acreate", "send_secure_request", "decrypt_response", "other base_url"])
def test_no_method_returns_a_completion_past_a_closed_gate(
    wire: Wire, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[Any] = []

    async def closed(*_: object, **__: object) -> NoReturn:
        released.append(method)
        raise nomyo.SecurityError("closed")

    async def call() -> object:
        async with wire.client() as client:
            monkeypatch.setattr(Gate, "release", closed)
            if method == "other base_url":
                return await ask(client, base_url=f"{wire.router.url}/")
            if method == "send_secure_request":
                return await client.client.send_secure_request({"model": MODEL, "messages": MESSAGES}, "an-id")
            if method == "decrypt_response":
                await client.client.keyring.get()
                package = wire_package.seal(b"{}", KEY.public_key())
                return await client.client.decrypt_response(package, "an-id")
            return await getattr(client, method)(MODEL, MESSAGES)

    with pytest.raises(nomyo.SecurityError, match=r"^closed$"):
        run(call())
    assert released == [method]


def test_a_gate_that_is_on_without_a_policy_releases_nothing() -> None:
    package = wire_package.seal(b"{}", KEY.public_key())
    with pytest.raises(nomyo.ArgumentError, match="no policy"):
        run(Gate(None).release(package, KEY, "an-id", policy=None, gated=True))
    assert (
        run(Gate(None).release(package, KEY, "an-id", policy=None, gated=False))["_metadata"]["payload_id"] == "an-id"
    )
