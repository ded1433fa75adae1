"""What can be told of key files: also of those that no client would use, and then why not."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from nomyo.cli.errors import CommandError
from nomyo.errors import KeyStoreError
from nomyo.keyfiles import PRIVATE_NAME, PUBLIC_NAME, load
from nomyo.keyfolder import open_folder
from nomyo.keys import BITS_FLOOR, PEM_MAX, fingerprint, load_public
from nomyo_attest.cli.files import read_input, unreadable
from nomyo_attest.report.formatting import sanitize

FORMAT: Final = "nomyo-keys-show/1"

_LABEL: Final = re.compile(rb"-----BEGIN ((?:[A-Z0-9]+ )*(PRIVATE|PUBLIC) KEY)-----")


@dataclass(slots=True)
class FileFacts:
    """One key file.

    Attributes:
        path: as given.
        mode: permission bits in octal, such as ``"0600"``; None where the system has none.
        encrypted: whether a password opens it; None for a public key.
        bits: of the modulus; None if it could not be read.
    """

    path: str
    mode: str | None
    encrypted: bool | None = None
    bits: int | None = None

    def text(self) -> str:
        """In words, without the path."""
        words = [f"RSA-{self.bits}"] if self.bits is not None else []
        if self.encrypted is not None:
            words.append("encrypted" if self.encrypted else "not encrypted")
        if self.mode is not None:
            words.append(f"mode {self.mode}")
        return ", ".join(words)


@dataclass(slots=True)
class KeyFacts:
    """A key pair, or the half of it that is there.

    Attributes:
        private_key, public_key: the files; None for one that is not there, or was not named.
        fingerprint: of the private key, or of the public one where that cannot be opened; None for neither.
        belong_together: whether the two files are of one key; None if that cannot be told.
        problem: why no client would use it; None if one would, or if only the password could tell.
    """

    private_key: FileFacts | None = None
    public_key: FileFacts | None = None
    fingerprint: str | None = None
    belong_together: bool | None = None
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return {"format": FORMAT, **asdict(self)}

    def text(self) -> str:
        """As a table, without a line end."""
        rows = []
        for name, file in (("private key", self.private_key), ("public key", self.public_key)):
            if file is not None:
                rows += [(name, sanitize(file.path)), ("", file.text())]
        rows.append(("fingerprint", self.fingerprint or "not known"))
        if self.private_key is not None and self.private_key.bits is None and self.fingerprint:
            rows.append(("", "of the public key; that it belongs to the private one is not checked"))
        return "\n".join(f"{name.ljust(13)}{text}" for name, text in rows)


def facts_of(name: str, password: str | None) -> KeyFacts:
    """The facts about the folder or file `name`. Raises `CommandError` if there is no key in it."""
    facts = KeyFacts()
    for path in _key_files(name):
        content = read_input(str(path), PEM_MAX)
        label = _LABEL.search(content)
        if label is None or len(content) > PEM_MAX:
            raise CommandError(f"{path}: holds no key in PEM; name a key file, or a folder with one")
        file = FileFacts(str(path), _mode(path))
        if label[2] == b"PUBLIC":
            facts.public_key = file
            _read_public(facts, content)
        else:
            facts.private_key = file
            file.encrypted = b"ENCRYPTED" in content
            _read_private(facts, password)
    return facts


def _key_files(name: str) -> list[Path]:
    path = Path(name)
    try:
        if not path.is_dir():
            return [path]
        # The public key first: what is found of the private one counts for more.
        found = [path / one for one in (PUBLIC_NAME, PRIVATE_NAME) if os.path.lexists(path / one)]
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from None
    if not found:
        problem = f"{name}: holds neither {PRIVATE_NAME} nor {PUBLIC_NAME}"
        raise CommandError(f"{problem}; nomyo keys generate {name} makes a pair")
    return found


def _read_public(facts: KeyFacts, pem: bytes) -> None:
    assert facts.public_key is not None
    try:
        key = load_public(pem, BITS_FLOOR)
    except ValueError as error:
        facts.problem = f"{facts.public_key.path}: is no public key: {error}"
    else:
        facts.public_key.bits = key.key_size
        facts.fingerprint = fingerprint(key)


def _read_private(facts: KeyFacts, password: str | None) -> None:
    """Load it as a client would, and keep what that says."""
    file = facts.private_key
    assert file is not None
    try:
        if file.encrypted and password is None:
            with open_folder(Path(file.path).parent) as folder:
                folder.read(Path(file.path).name, PEM_MAX, private=True)
            return
        key = load(file.path, None, password)
        file.bits = key.key_size
        facts.fingerprint = fingerprint(key.public_key())
        if facts.public_key is not None:
            facts.belong_together = False
            load(file.path, facts.public_key.path, password)
            facts.belong_together = True
    except KeyStoreError as error:
        facts.problem = str(error)


def _mode(path: Path) -> str | None:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}" if os.name == "posix" else None
