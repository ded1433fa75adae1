"""Commands for keys: generate the client's key pair, show a key file, pin a server's key."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nomyo.cli.connection import add_server, host_of, insecurity_notices
from nomyo.cli.settings import nonempty, read_secret
from nomyo.cli.terminal import need_output
from nomyo_attest.cli.console import print_json, print_output, text_style
from nomyo_attest.cli.errors import OK, CommandError, print_stderr
from nomyo_attest.cli.files import read_input, unreadable
from nomyo_attest.report.formatting import sanitize

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser


class Generate:
    """Make a key pair of the client's own and keep it in a folder, which is made if
    it is not there. What is there already is never overwritten.

    Nobody needs one: without it the client makes a pair in memory for each run, a
    second of work, and a key that is not kept cannot be stolen later. One that is
    kept saves that second.

    Exit status: 0; 2 if the pair cannot be made or written.
    """

    EXAMPLE = """
    nomyo keys generate client_keys --password-file password.txt
    nomyo chat --key-dir client_keys --key-password-file password.txt "Hello"
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("directory", type=nonempty, metavar="DIR", help="the folder of the pair")
        parser.add_argument(
            "--password-file",
            type=nonempty,
            metavar="FILE",
            help="encrypt the private key with the password in this file; - is standard input",
        )
        parser.add_format()

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        password = None
        if arguments.password_file is not None:
            password = read_secret(arguments.password_file, "--password-file")

        from nomyo.client_keys import save_new
        from nomyo.errors import KeyStoreError
        from nomyo.keys import generate

        try:
            save_new(arguments.directory, generate(), password)
        except KeyStoreError as error:
            raise CommandError(str(error)) from None
        facts = facts_of(arguments.directory, password)
        if arguments.format == "json":
            print_json(facts.to_dict())
        else:
            print_output(facts.text())
        return OK


class Show:
    """Say what a key file is: size, fingerprint, whether a password protects it, and
    who may read it; and whether the client would use it.

    Exit status: 0; 2 if the client would not use it, which is said on standard
    error, or if there is none.
    """

    EXAMPLE = """
    nomyo keys show client_keys
    nomyo keys show client_keys --password-file password.txt
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "path", type=nonempty, metavar="PATH", help="the folder of a key pair, or one key file in PEM"
        )
        parser.add_argument(
            "--password-file", type=nonempty, metavar="FILE", help="a file with the password; - is standard input"
        )
        parser.add_format()

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        password = None
        if arguments.password_file is not None:
            password = read_secret(arguments.password_file, "--password-file")

        facts = facts_of(arguments.path, password)
        if arguments.format == "json":
            print_json(facts.to_dict())
        else:
            print_output(facts.text())
        if facts.problem is not None:
            raise CommandError(facts.problem)
        return OK


PIN_FORMAT: Final = "nomyo-keys-pin/1"

MEANING: Final = (
    "Pinned on first use: another key would be noticed from now on. That this is the right one, nobody has checked: "
    "compare it with what the operator publishes."
)


class Pin:
    """Fetch the public key of a server, check it, and print the pin that stands for
    it.

    A pin is a promise to send to this key only: nomyo chat --server-key-pin, or
    NOMYO_SERVER_KEY_PINS. It is worth what you know of the key. Taken from the
    server itself it says "the same as today", which is not "the right one": whoever
    stands between you and the server now is pinned with it. Compare it with what
    the operator publishes, or fetch it over another network.

    Exit status: 0; 2 if there is no key, or none that may be used.
    """

    EXAMPLE = """
    nomyo keys pin https://api.nomyo.ai
    PIN=$(nomyo keys pin https://api.nomyo.ai) &&
      nomyo chat --server-key-pin "$PIN" "Hello"
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("url", type=nonempty, metavar="URL", help="base URL of the router")
        add_server(parser, timeout=60)
        parser.add_format()

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        need_output()
        import asyncio
        import sys

        from nomyo.cli.connection import command_error
        from nomyo.client import SecureCompletionClient
        from nomyo.errors import NomyoError
        from nomyo.keys import KEY_BITS, fingerprint, load_server_key

        async def fetch() -> str:
            with insecurity_notices():
                client = SecureCompletionClient(
                    arguments.url, allow_http=arguments.allow_http, timeout=arguments.timeout
                )
            async with client, asyncio.timeout(arguments.timeout):
                return await client.fetch_server_public_key()

        try:
            pem = asyncio.run(fetch())
        except NomyoError as error:
            raise command_error(error, host_of(arguments.url)) from None
        except TimeoutError:
            raise CommandError(f"{host_of(arguments.url)}: no response within {arguments.timeout:g} s") from None
        key = load_server_key(pem.encode(), KEY_BITS)
        pin = fingerprint(key)
        if arguments.format == "json":
            print_json(
                {"format": PIN_FORMAT, "url": arguments.url, "pin": pin, "bits": key.key_size, "public_key": pem}
            )
        else:
            print_output(pin)
            there = text_style(stream=sys.stderr)
            print_stderr("\n".join(there.wrap(f"{host_of(arguments.url)}: RSA-{key.key_size}. {MEANING}")))
        return OK


SHOW_FORMAT: Final = "nomyo-keys-show/1"

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
        return {"format": SHOW_FORMAT, **asdict(self)}

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
    from nomyo.keys import PEM_MAX

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
    from nomyo.client_keys import PRIVATE_NAME, PUBLIC_NAME

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
    from nomyo.keys import BITS_FLOOR, fingerprint, load_public

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
    from nomyo.client_keys import load
    from nomyo.errors import KeyStoreError
    from nomyo.keys import PEM_MAX, fingerprint
    from nomyo.keystore import open_folder

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
