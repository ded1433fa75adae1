"""M: secure memory.

M1 and M2 are about copies of plaintext and keys that nobody wipes. Python makes some that no client can reach, so they
are mended by making fewer (M1), and by saying so instead of promising otherwise (M2).
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher

import nomyo
from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.defects.calls import ask, describe, in_threads, run
from tests.nomyo.defects.conftest import ROOT, Chat
from tests.nomyo.defects.system import locked_pages, needs_locking
from tests.nomyo.defects.test_speed import slow_generation
from tests.nomyo.wire import server_keys


def test_m1_the_decrypted_answer_is_put_where_it_can_be_wiped(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """`update` returns bytes, which nobody can overwrite; `update_into` writes into a buffer of the caller's."""
    calls: list[str] = []

    class Watched:
        def __init__(self, context: Any) -> None:
            self._context = context

        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(self._context, name)

    decryptor = Cipher.decryptor
    monkeypatch.setattr(Cipher, "decryptor", lambda cipher: Watched(decryptor(cipher)))
    answer = chat.ask()
    assert isinstance(answer, dict), describe(answer)
    assert "finalize" in calls, "nobody decrypted: the test looks at the wrong place"
    assert "update" not in calls, "the answer was decrypted into bytes, of which only a copy is locked and wiped"


def docstrings() -> dict[str, str]:
    """Every docstring of the installed package, by the name of what it belongs to."""
    found = {"nomyo": nomyo.__doc__ or ""}
    for info in pkgutil.iter_modules(nomyo.__path__, "nomyo."):
        if info.name.rpartition(".")[2].startswith("__") or info.ispkg:
            continue
        module = import_module(info.name)
        found[info.name] = module.__doc__ or ""
        for name, one in vars(module).items():
            if getattr(one, "__module__", None) == module.__name__ and (
                inspect.isclass(one) or inspect.isfunction(one)
            ):
                found[f"{info.name}.{name}"] = one.__doc__ or ""
                for method, member in vars(one).items() if inspect.isclass(one) else ():
                    found[f"{info.name}.{name}.{method}"] = getattr(member, "__doc__", None) or ""
    return found


def test_m2_no_docstring_promises_that_memory_is_clean_and_one_says_what_stays() -> None:
    found = docstrings()
    promises = re.compile(r"guarante\w+[^.]*\b(?:zero|wip)|cannot be swapped|prevents?[^.]*\bswap", re.IGNORECASE)
    promised = sorted(name for name, text in found.items() if promises.search(" ".join(text.split())))
    assert not promised, f"clean memory is promised by {promised[:4]}"
    told_of = [text for text in found.values() if re.search(r"str.*bytes.*cannot be overwritten", text)]
    assert told_of, "nothing says which copies Python keeps"


NEIGHBOURS = """
import sys
from contextlib import ExitStack
import nomyo
from tests.nomyo.defects.system import locked_pages

with ExitStack() as odd, ExitStack() as even:
    for number in range(200):
        (odd if number % 2 else even).enter_context(nomyo.secure_bytearray(bytearray(64)))
    both = locked_pages()
    even.close()
    print(both, locked_pages())
"""


def test_m3_a_page_stays_locked_while_any_buffer_on_it_is_in_use() -> None:
    """In a process of its own, where no page is locked yet. Small buffers lie side by side, some 20 on a page: where
    every other one is given up, its neighbors still need theirs."""
    needs_locking()
    command = [sys.executable, "-c", NEIGHBOURS]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    both, half = map(int, ran.stdout.split())
    assert both > 0
    assert half > both // 2, f"100 of 200 buffers were given up, and {both} kB of locked memory became {half} kB"


REFUSED = """
import json, os, resource
import nomyo

with nomyo.secure_bytearray(bytearray(32)):
    pass
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.geteuid() == 0:
    os.setuid(65534)
with nomyo.secure_bytearray(bytearray(1 << 16)):
    pass
print(json.dumps(nomyo.get_memory_protection_info()))
"""


@pytest.mark.skipif(os.name != "posix", reason="the limit of locked memory is POSIX's")
def test_m4_memory_that_could_not_be_locked_is_not_called_fully_protected() -> None:
    ran = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, timeout=60, check=True)
    info = json.loads(ran.stdout)
    told_full = info["supports_full_protection"] or info["protection_level"] == "full"
    assert not told_full, f"no page could be locked, and protection_level is {info['protection_level']!r}"


class WatchedKey:
    """A private key that remembers in how clear a form it was given out."""

    def __init__(self) -> None:
        self._key = server_keys.pair(3001)
        self.given_out: list[str] = []

    def private_bytes(self, *arguments: Any, **named: Any) -> bytes:
        if any(isinstance(one, serialization.NoEncryption) for one in (*arguments, *named.values())):
            self.given_out.append(str(named.get("encoding", "a copy")))
        return self._key.private_bytes(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


rsa.RSAPrivateKey.register(WatchedKey)


def test_m5_a_private_key_is_not_written_out_in_the_clear_to_protect_it(monkeypatch: pytest.MonkeyPatch) -> None:
    key = WatchedKey()
    monkeypatch.setattr(rsa, "generate_private_key", lambda *_, **__: key)
    client = SecureCompletionClient("https://localhost")
    client.generate_keys()
    assert client.public_key_pem == server_keys.public_pem(server_keys.pair(3001).public_key()).decode()
    assert not key.given_out, f"a key pair in memory was written out in the clear as {key.given_out}"


def test_m6_who_turns_secure_memory_off_is_not_warned_at_every_call(
    chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        answer = chat.ask({"secure_memory": False})
    assert isinstance(answer, dict), describe(answer)
    warned = [record.getMessage() for record in caplog.records if "memory" in record.getMessage().lower()]
    assert not warned, f"secure_memory=False, and each call warns {warned}"


def test_m7_one_library_does_not_switch_off_anothers_protection(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was made with secure_memory=True; something else in the process calls disable_secure_memory()."""
    needs_locking()
    encryptor = Cipher.encryptor
    locked: list[int] = []

    def watched(cipher: Any) -> Any:
        if not locked:  # later ones are the router's
            locked.append(locked_pages())
        return encryptor(cipher)

    monkeypatch.setattr(Cipher, "encryptor", watched)
    before = locked_pages()
    nomyo.disable_secure_memory()
    try:
        answer = chat.ask({"secure_memory": True})
    finally:
        nomyo.enable_secure_memory()
    assert isinstance(answer, dict), describe(answer)
    assert locked[0] > before, "disable_secure_memory() elsewhere, and this client's prompt is in unlocked memory"


def test_m8_a_client_can_first_be_used_by_two_event_loops_at_once(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_generation(monkeypatch, 0.5)
    client = chat.client(key_dir=None)

    def call() -> Any:
        return run(lambda: ask(client), 10)

    answers = in_threads(call, call, seconds=15)
    assert all(isinstance(answer, dict) for answer in answers), (
        f"two loops at once: {[describe(one) for one in answers]}"
    )
