"""`nomyo keys`: made once, shown as they are, pinned as they are served."""

from __future__ import annotations

import os
import stat
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from nomyo import keys
from nomyo.cli import PROGRAM
from tests.nomyo.cli.router_evidence import PROMPT
from tests.nomyo.cli.runner import environment, error_message, run, start
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.plain_router import PlainRouter, Reply

posix = pytest.mark.skipif(os.name != "posix", reason="looks at modes")


@pytest.fixture
def password(here: Path) -> str:
    """A file with a password."""
    Path("password").write_text("correct horse\n", encoding="utf-8")
    Path("password").chmod(0o600)
    return "password"


@pytest.fixture
def pair(here: Path, client_key: rsa.RSAPrivateKey, _shared_client_key: None) -> str:
    """A folder with a key pair that has no password."""
    assert run("keys", "generate", "pair").status == 0
    return "pair"


@posix
def test_a_pair_is_made_for_its_owner_alone_and_described(here: Path) -> None:
    done = start("keys", "generate", "deep/pair")
    assert (done.returncode, done.stderr) == (0, "")
    private, public = Path("deep/pair/private_key.pem"), Path("deep/pair/public_key.pem")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (private.parent, private, public)] == [0o700, 0o600, 0o644]
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 4096
    assert done.stdout.splitlines() == [
        "private key  deep/pair/private_key.pem",
        "             RSA-4096, not encrypted, mode 0600",
        "public key   deep/pair/public_key.pem",
        "             RSA-4096, mode 0644",
        f"fingerprint  {keys.fingerprint(key.public_key())}",
    ]


@pytest.mark.usefixtures("_shared_client_key")
def test_a_password_encrypts_it(password: str) -> None:
    assert run("keys", "generate", "pair", "--password-file", password).status == 0
    pem = Path("pair/private_key.pem").read_bytes()
    serialization.load_pem_private_key(pem, b"correct horse")
    with pytest.raises(TypeError):
        serialization.load_pem_private_key(pem, None)


@pytest.mark.usefixtures("_shared_client_key")
def test_a_password_may_come_from_standard_input(here: Path) -> None:
    ran = run("keys", "generate", "pair", "--password-file", "-", stdin="größer\r\n".encode())
    assert (ran.status, ran.err) == (0, "")
    pem = Path("pair/private_key.pem").read_bytes()
    serialization.load_pem_private_key(pem, "größer".encode())


def test_a_key_is_never_overwritten(pair: str) -> None:
    before = Path(pair, "private_key.pem").read_bytes()
    answer = error_message(run("keys", "generate", pair))
    assert "already exists and is not overwritten; use a different folder" in answer
    assert Path(pair, "private_key.pem").read_bytes() == before


@pytest.mark.usefixtures("_shared_client_key")
def test_a_folder_that_cannot_be_is_said(here: Path) -> None:
    Path("file").touch()
    assert "file" in error_message(run("keys", "generate", "file"))
    assert "invalid file name" in error_message(run("keys", "generate", "a\0b"))


@posix
@pytest.mark.usefixtures("_shared_client_key")
def test_show_says_what_it_can_of_a_key_whose_password_it_does_not_have(
    password: str, client_key: rsa.RSAPrivateKey
) -> None:
    assert run("keys", "generate", "pair", "--password-file", password).status == 0
    pin = keys.fingerprint(client_key.public_key())
    ran = run("keys", "show", "pair", "--format", "json")
    assert (ran.status, ran.err) == (0, "")
    assert ran.json() == {
        "format": "nomyo-keys-show/1",
        "private_key": {"path": "pair/private_key.pem", "mode": "0600", "encrypted": True, "bits": None},
        "public_key": {"path": "pair/public_key.pem", "mode": "0644", "encrypted": None, "bits": 4096},
        "fingerprint": pin,
        "belong_together": None,
        "problem": None,
    }
    assert "whether it belongs to the private key was not checked" in run("keys", "show", "pair").out
    opened = run("keys", "show", "pair", "--password-file", password, "--format", "json").json()
    assert (opened["private_key"]["bits"], opened["belong_together"]) == (4096, True)
    assert run("keys", "show", "pair/private_key.pem").out.endswith("fingerprint  unknown\n")


def others_may_read(pair: Path) -> None:
    (pair / "private_key.pem").chmod(0o644)


def others_may_write(pair: Path) -> None:
    pair.chmod(0o777)


def linked(pair: Path) -> None:
    (pair / "private_key.pem").rename(pair / "elsewhere")
    (pair / "private_key.pem").symlink_to("elsewhere")


def of_another(pair: Path) -> None:
    (pair / "public_key.pem").write_text(keys.public_pem(server_keys.pair(1, 2048)), encoding="ascii")


@posix
@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (others_may_read, "has mode 0644: others may use it; chmod 600"),
        (others_may_write, "has mode 0777: others may write to it; chmod go-w"),
        (linked, "is a symbolic link"),
        (of_another, "belongs to a different private key"),
    ],
)
def test_show_says_why_a_client_would_not_use_a_key_and_shows_it_all_the_same(
    pair: str, tamper: Callable[[Path], None], said: str
) -> None:
    tamper(Path(pair))
    ran = run("keys", "show", pair)
    assert ran.status == 2
    assert ran.out.startswith("private key  pair/private_key.pem\n")
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert run("keys", "show", pair, "--format", "json").json()["problem"] in ran.err


def test_show_takes_one_file(pair: str) -> None:
    whole = run("keys", "show", pair).out.splitlines()
    assert run("keys", "show", f"{pair}/public_key.pem").out.splitlines() == [*whole[2:4], whole[4]]
    assert run("keys", "show", f"{pair}/private_key.pem").out.splitlines() == [*whole[:2], whole[4]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected a key in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "expected a key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "contains no readable private key"),
        (b"x" * 100_000, "expected a key in PEM"),
    ],
)
def test_show_of_what_is_no_key_is_one_line(here: Path, content: bytes, said: str) -> None:
    Path("key.pem").write_bytes(content)
    Path("key.pem").chmod(0o600)
    ran = run("keys", "show", "key.pem")
    assert ran.status == 2
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_show_of_a_key_of_another_kind_is_one_line(here: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    Path("key.pem").write_bytes(pem)
    Path("key.pem").chmod(0o600)
    assert "EC key" in run("keys", "show", "key.pem").err


def test_show_of_nothing_says_what_makes_a_pair(here: Path) -> None:
    assert "nomyo keys generate . generates a key pair" in error_message(run("keys", "show", "."))
    assert "cannot be read: No such file" in error_message(run("keys", "show", "nowhere"))
    assert "invalid file name" in error_message(run("keys", "show", "a\0b"))


def test_pin_prints_the_pin_alone_and_says_what_it_means(router: PlainRouter) -> None:
    ran = run("keys", "pin", router.url)
    pin = keys.fingerprint(router.private_key.public_key())
    assert (ran.status, ran.out) == (0, f"{pin}\n")
    assert ran.err.startswith(f"localhost:{router.port}: RSA-4096. This pin was fetched on first use: ")
    assert "does not prove that this is the right key" in " ".join(ran.err.split())
    assert run("chat", "--server-key-pin", ran.out.strip(), PROMPT).status == 0
    document = run("keys", "pin", router.url, "--format", "json").json()
    assert document == {
        "format": "nomyo-keys-pin/1",
        "url": router.url,
        "pin": pin,
        "bits": 4096,
        "public_key": keys.public_pem(router.private_key.public_key()),
    }


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"<html>", "an HTML page of 6 bytes"),
        (server_keys.ec_pem(0), "an EC key on secp256r1"),
        (server_keys.public_pem(server_keys.pair(0, 2048).public_key()), "got RSA-2048"),
    ],
)
def test_a_key_that_may_not_be_used_gets_no_pin(router: PlainRouter, document: bytes, said: str) -> None:
    router.key_document = document
    answer = error_message(run("keys", "pin", router.url))
    assert said in answer
    assert answer.startswith(f"localhost:{router.port}: the server's public key is refused")


def test_a_server_that_serves_no_key_is_said(router: PlainRouter) -> None:
    router.answer(lambda _: Reply(status=503), on="GET")
    assert "Failed to fetch server's public key: HTTP " in error_message(run("keys", "pin", router.url))
    router.answer(lambda _: Reply(delay=30), on="GET")
    answer = error_message(run("keys", "pin", router.url, "--timeout", "1"))
    assert answer == f"localhost:{router.port}: no response within 1 s; increase --timeout"
    router.reset_faults()
    assert "check that the base URL" in error_message(run("keys", "pin", f"{router.url}/elsewhere"))
    assert "base URL: expected https://HOST" in error_message(run("keys", "pin", "localhost"))


@pytest.mark.skipif(os.name != "posix", reason="a line for a POSIX shell")
def test_the_example_sends_to_the_pinned_key_and_nothing_where_there_is_no_pin(router: PlainRouter) -> None:
    example = PROGRAM.load("keys pin").example.strip().partition("\n")[2]
    assert "--server-key-pin" in example
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"

    def typed(url: str) -> subprocess.CompletedProcess[str]:
        line = example.replace("https://api.nomyo.ai", url)
        return subprocess.run(
            ["sh", "-c", line], capture_output=True, text=True, timeout=120, check=False, env=environment(PATH=path)
        )

    right = typed(router.url)
    assert (right.returncode, right.stdout) == (0, "Hello\n")
    router.requests.clear()
    wrong = typed(f"{router.url}/elsewhere")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert router.posts == []
