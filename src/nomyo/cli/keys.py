"""The commands for keys: generate a key pair for the client, show a key file, fetch the pin of a server's key."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nomyo.cli.connection import add_server, host_of, print_insecure_warnings
from nomyo.cli.settings import nonempty, read_secret
from nomyo.cli.terminal import require_stdout
from nomyo_attest.cli.console import print_json, print_output, text_style
from nomyo_attest.cli.errors import EXIT_OK, CommandError, print_stderr
from nomyo_attest.cli.files import read_input, unreadable_error
from nomyo_attest.report.formatting import sanitize

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser


class Generate:
    """Generate a key pair for the client in a folder.

    The folder is created if it does not exist. Existing files are never
    overwritten.

    Most programs do not need a stored key pair: without one, the client generates
    a pair in memory at each start, which takes about a second, and a key that is
    not stored cannot be stolen later.

    Exit status: 0; 2 if the pair cannot be written.
    """

    EXAMPLE = """
    nomyo keys generate client_keys --password-file password.txt
    nomyo chat --key-dir client_keys --key-password-file password.txt "Hello"
    # First: (umask 077; openssl rand -base64 24 > password.txt)
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("directory", type=nonempty, metavar="DIR", help="folder for the key pair")
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
        facts = read_key_facts(arguments.directory, password)
        if arguments.format == "json":
            print_json(facts.to_dict())
        else:
            print_output(facts.text())
        return EXIT_OK


class Show:
    """Show a key file's size, fingerprint, encryption and mode.

    If the client would refuse the key, the reason is printed on standard error.

    Exit status: 0; 2 if there is no key, or the client would refuse it.
    """

    EXAMPLE = """
    nomyo keys show client_keys
    nomyo keys show client_keys --password-file password.txt
    # First: nomyo keys generate client_keys
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("path", type=nonempty, metavar="PATH", help="folder of a key pair, or a key file in PEM")
        parser.add_argument(
            "--password-file",
            type=nonempty,
            metavar="FILE",
            help="a file that contains the password; - is standard input",
        )
        parser.add_format()

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        password = None
        if arguments.password_file is not None:
            password = read_secret(arguments.password_file, "--password-file")

        facts = read_key_facts(arguments.path, password)
        if arguments.format == "json":
            print_json(facts.to_dict())
        else:
            print_output(facts.text())
        if facts.problem is not None:
            raise CommandError(facts.problem)
        return EXIT_OK


PIN_FORMAT: Final = "nomyo-keys-pin/1"

PIN_NOTICE: Final = (
    "This pin was fetched on first use: it detects later changes of the key, but does not prove that this is the right "
    "key. Compare it with the pin that the operator publishes."
)


class Pin:
    """Fetch the public key of a server, check it, and print its pin.

    With a pin (nomyo chat --server-key-pin, or NOMYO_SERVER_KEY_PINS) the client
    encrypts to this key only. A pin fetched from the server detects later changes
    of the key, but does not prove that it is the right key: an attacker between you
    and the server can replace it now. Compare the pin with the one that the
    operator publishes, or fetch it over another network.

    Exit status: 0; 2 if no key is served, or the client would refuse it.
    """

    EXAMPLE = """
    nomyo keys pin https://api.nomyo.ai
    PIN=$(nomyo keys pin https://api.nomyo.ai) &&
      nomyo chat --server-key-pin "$PIN" "Hello"
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("url", type=nonempty, metavar="URL", help="base URL of the service")
        add_server(parser, timeout=60)
        parser.add_format()

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        require_stdout()
        import asyncio
        import sys

        from nomyo.cli.connection import command_error
        from nomyo.client import SecureCompletionClient
        from nomyo.errors import NomyoError
        from nomyo.keys import KEY_BITS, fingerprint, load_server_key

        async def fetch() -> str:
            with print_insecure_warnings():
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
            raise CommandError(
                f"{host_of(arguments.url)}: no response within {arguments.timeout:g} s; increase --timeout"
            ) from None
        key = load_server_key(pem.encode(), KEY_BITS)
        pin = fingerprint(key)
        if arguments.format == "json":
            print_json(
                {"format": PIN_FORMAT, "url": arguments.url, "pin": pin, "bits": key.key_size, "public_key": pem}
            )
        else:
            print_output(pin)
            style = text_style(stream=sys.stderr)
            print_stderr("\n".join(style.wrap(f"{host_of(arguments.url)}: RSA-{key.key_size}. {PIN_NOTICE}")))
        return EXIT_OK


SHOW_FORMAT: Final = "nomyo-keys-show/1"

_LABEL: Final = re.compile(rb"-----BEGIN ((?:[A-Z0-9]+ )*(PRIVATE|PUBLIC) KEY)-----")


@dataclass(slots=True)
class FileFacts:
    """The facts about one key file.

    Attributes:
        path: path of the file.
        mode: permission bits in octal, such as ``"0600"``; None on a system without them.
        encrypted: whether the key is encrypted with a password; None for a public key.
        bits: size of the modulus; None if the key could not be read.
    """

    path: str
    mode: str | None
    encrypted: bool | None = None
    bits: int | None = None

    def text(self) -> str:
        """Describe the file in one line, without its path."""
        words = [f"RSA-{self.bits}"] if self.bits is not None else []
        if self.encrypted is not None:
            words.append("encrypted" if self.encrypted else "not encrypted")
        if self.mode is not None:
            words.append(f"mode {self.mode}")
        return ", ".join(words)


@dataclass(slots=True)
class KeyFacts:
    """The facts about a key pair, or about one half of it.

    Attributes:
        private_key, public_key: the files; None for a file that does not exist or was not named.
        fingerprint: fingerprint of the private key, or of the public key if the private key cannot be read; None if
            neither can be read.
        belong_together: whether both files belong to the same key pair; None if that is unknown.
        problem: why the client would refuse the key; None if it would accept it, or if that is unknown without the
            password.
    """

    private_key: FileFacts | None = None
    public_key: FileFacts | None = None
    fingerprint: str | None = None
    belong_together: bool | None = None
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the facts in JSON types."""
        return {"format": SHOW_FORMAT, **asdict(self)}

    def text(self) -> str:
        """Format the facts as a table, without a trailing newline."""
        rows = []
        for name, file in (("private key", self.private_key), ("public key", self.public_key)):
            if file is not None:
                rows += [(name, sanitize(file.path)), ("", file.text())]
        rows.append(("fingerprint", self.fingerprint or "unknown"))
        if self.private_key is not None and self.private_key.bits is None and self.fingerprint:
            rows.append(("", "of the public key; whether it belongs to the private key was not checked"))
        return "\n".join(f"{name.ljust(13)}{text}" for name, text in rows)


def read_key_facts(name: str, password: str | None) -> KeyFacts:
    """Collect the facts about the folder or key file `name`. Raises `CommandError` if it contains no key."""
    from nomyo.keys import PEM_MAX

    facts = KeyFacts()
    for path in _find_key_files(name):
        content = read_input(str(path), PEM_MAX)
        label = _LABEL.search(content)
        if label is None or len(content) > PEM_MAX:
            raise CommandError(f"{path}: expected a key in PEM; name a key file, or a folder that contains one")
        file = FileFacts(str(path), _read_mode(path))
        if label[2] == b"PUBLIC":
            facts.public_key = file
            _read_public(facts, content)
        else:
            facts.private_key = file
            file.encrypted = b"ENCRYPTED" in content
            _read_private(facts, password)
    return facts


def _find_key_files(name: str) -> list[Path]:
    from nomyo.client_keys import PRIVATE_NAME, PUBLIC_NAME

    path = Path(name)
    try:
        if not path.is_dir():
            return [path]
        # The public key comes first, so that the facts of the private key replace its facts.
        found = [path / file for file in (PUBLIC_NAME, PRIVATE_NAME) if os.path.lexists(path / file)]
    except (OSError, ValueError) as error:
        raise unreadable_error(name, error) from None
    if not found:
        problem = f"{name}: contains neither {PRIVATE_NAME} nor {PUBLIC_NAME}"
        raise CommandError(f"{problem}; nomyo keys generate {name} generates a key pair")
    return found


def _read_public(facts: KeyFacts, pem: bytes) -> None:
    from nomyo.config import BITS_FLOOR
    from nomyo.keys import fingerprint, load_public

    assert facts.public_key is not None
    try:
        key = load_public(pem, BITS_FLOOR)
    except ValueError as error:
        facts.problem = f"{facts.public_key.path}: not a public key: {error}"
    else:
        facts.public_key.bits = key.key_size
        facts.fingerprint = fingerprint(key)


def _read_private(facts: KeyFacts, password: str | None) -> None:
    """Load the private key as the client would, and store the outcome in `facts`."""
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


def _read_mode(path: Path) -> str | None:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}" if os.name == "posix" else None
