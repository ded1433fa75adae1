"""The client's key pair on disk: made once, never overwritten, never replaced because it could not be loaded."""

from __future__ import annotations

import base64
import errno
import os
import re
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from nomyo import keys
from nomyo.client_keys import PRIVATE_NAME, PUBLIC_NAME, load, load_or_create, save_new
from nomyo.errors import KeyFileNotFoundError, KeyStoreError, NomyoError
from nomyo.keystore import KeyFolder

posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes are those of POSIX")

PASSWORD = "tr0ub4dor-Zürich-馬"
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


@cache
def made(bits: int, number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def key(bits: int = 3072, number: int = 0) -> rsa.RSAPrivateKey:
    """A key for tests that only use it; one of a size and number is made in a run."""
    return made(bits, number)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Keys are made at once, of 3072 bits; the sizes asked for are noted."""
    asked: list[int] = []

    def generate(bits: int) -> rsa.RSAPrivateKey:
        asked.append(bits)
        return rsa.generate_private_key(65537, 2048) if bits < 3072 else key(number=len(asked))

    monkeypatch.setattr(keys, "generate", generate)
    return asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def same(one: rsa.RSAPrivateKey, other: rsa.RSAPrivateKey) -> bool:
    return one.private_numbers() == other.private_numbers()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def write_private(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)


def refusal(call: Callable[..., object], *arguments: object, **named: object) -> KeyStoreError:
    """The error; it must not lead to a password or a key."""
    with pytest.raises(KeyStoreError) as caught:
        call(*arguments, **named)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert caught.tb is not None
    told = repr((error, error.args, vars(error))) + str(error)
    for frame, _ in traceback.walk_tb(caught.tb):
        if frame.f_code.co_filename != __file__:
            told += repr(frame.f_locals)
            assert not any(isinstance(value, rsa.RSAPrivateKey) for value in frame.f_locals.values())
    for password in (value for value in (*arguments, *named.values()) if isinstance(value, str) and value):
        assert Path(password).is_absolute() or repr(password)[1:-1] not in told
    assert not re.search(r"[A-Za-z0-9+/]{40}", told.replace(os.sep, "  ")), "a piece of a key"
    return error


def test_a_saved_pair_is_loaded_again(folder: Path) -> None:
    save_new(folder, key())
    assert sorted(contents(folder)) == [PRIVATE_NAME, PUBLIC_NAME]
    assert same(load(folder / PRIVATE_NAME), key())
    assert same(load(folder / PRIVATE_NAME, folder / PUBLIC_NAME), key())
    assert same(load_or_create(folder), key())


def test_paths_may_be_texts(folder: Path) -> None:
    save_new(str(folder), key())
    assert same(load(str(folder / PRIVATE_NAME), str(folder / PUBLIC_NAME)), key())
    assert same(load_or_create(str(folder)), key())


def test_a_path_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(folder)
    save_new("client_keys", key())
    assert same(load(f"client_keys/{PRIVATE_NAME}"), key())
    monkeypatch.chdir("client_keys")
    assert same(load(PRIVATE_NAME), key())


@posix
def test_the_private_key_is_private_in_a_private_folder_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        save_new(folder / "below", key())
    finally:
        os.umask(before)
    assert mode(folder) == mode(folder / "below") == 0o700
    assert mode(folder / "below" / PRIVATE_NAME) == 0o600
    assert mode(folder / "below" / PUBLIC_NAME) == 0o644


def test_the_files_are_what_the_published_client_reads_and_writes(folder: Path) -> None:
    save_new(folder, key())
    private, public = (folder / PRIVATE_NAME).read_bytes(), (folder / PUBLIC_NAME).read_bytes()
    assert private == key().private_bytes(PEM, PKCS8, PLAIN)
    assert public.decode() == keys.public_pem(key())


def test_a_password_encrypts_the_private_key(folder: Path) -> None:
    save_new(folder, key(), PASSWORD)
    assert (folder / PRIVATE_NAME).read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert same(load(folder / PRIVATE_NAME, None, PASSWORD), key())
    assert same(load(folder / PRIVATE_NAME, password=PASSWORD), key())
    assert same(load_or_create(folder, PASSWORD), key())
    read = serialization.load_pem_private_key((folder / PRIVATE_NAME).read_bytes(), PASSWORD.encode("utf-8"))
    assert isinstance(read, rsa.RSAPrivateKey)


@pytest.mark.parametrize("there", [PRIVATE_NAME, PUBLIC_NAME])
@pytest.mark.parametrize("content", [b"", b"older"])
def test_neither_file_is_ever_overwritten(folder: Path, there: str, content: bytes) -> None:
    write_private(folder / there, content)
    error = refusal(save_new, folder, key())
    assert error.path == str(folder / there)
    assert error.problem == "already exists and is not overwritten"
    assert contents(folder) == {there: content}


@pytest.mark.parametrize("there", [PRIVATE_NAME, PUBLIC_NAME])
def test_a_dangling_link_of_that_name_is_neither_followed_nor_replaced(
    folder: Path, there: str, quick: list[int]
) -> None:
    folder.mkdir(mode=0o700)
    (folder / there).symlink_to(folder / "elsewhere")
    for call in (lambda: save_new(folder, key()), lambda: load_or_create(folder)):
        refusal(call)
        assert (folder / there).is_symlink()
        assert [path.name for path in folder.iterdir()] == [there]
    assert quick == []


def test_a_public_key_that_appears_meanwhile_is_not_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = KeyFolder.create

    def plants(self: KeyFolder, name: str, content: bytes, mode: int) -> bool:
        placed = place(self, name, content, mode)
        (folder / PUBLIC_NAME).write_bytes(b"planted")
        return placed

    monkeypatch.setattr(KeyFolder, "create", plants)
    assert refusal(save_new, folder, key()).path == str(folder / PUBLIC_NAME)
    assert (folder / PUBLIC_NAME).read_bytes() == b"planted"


def test_a_key_too_weak_to_load_is_not_saved(folder: Path) -> None:
    error = refusal(save_new, folder, rsa.generate_private_key(65537, 1024))
    assert error.problem == "cannot be used: expected an RSA private key of at least 2048 bits, got RSA-1024"
    assert contents(folder) == {}


def test_a_pair_is_made_where_there_is_none_and_is_the_same_ever_after(folder: Path, quick: list[int]) -> None:
    first = load_or_create(folder)
    assert same(load_or_create(folder), first)
    assert same(load(folder / PRIVATE_NAME, folder / PUBLIC_NAME), first)
    assert quick == [4096]


def test_a_pair_is_made_with_the_password(folder: Path, quick: list[int]) -> None:
    first = load_or_create(folder, PASSWORD)
    assert same(load_or_create(folder, PASSWORD), first)
    assert b"ENCRYPTED" in (folder / PRIVATE_NAME).read_bytes()
    assert quick == [4096]


@pytest.mark.parametrize(("least", "bits"), [(2048, 4096), (4096, 4096), (8192, 8192)])
def test_a_new_key_has_4096_bits_or_as_many_as_are_required(
    folder: Path, quick: list[int], least: int, bits: int
) -> None:
    load_or_create(folder, minimum_bits=least)
    assert quick == [bits]


def test_a_new_key_is_really_one_of_4096_bits(folder: Path) -> None:
    assert load_or_create(folder).key_size == 4096
    assert load(folder / PRIVATE_NAME, minimum_bits=4096).key_size == 4096


@pytest.mark.parametrize("least", [0, 2047, 16385])
def test_no_size_that_makes_no_sense_can_be_required(folder: Path, quick: list[int], least: int) -> None:
    for call in (load_or_create, load):
        assert f"invalid minimum key size: {least} bits" in refusal(call, folder, minimum_bits=least).problem
    assert contents(folder) == {}


def garbage(folder: Path) -> None:
    write_private(folder / PRIVATE_NAME, b"garbage")


def empty(folder: Path) -> None:
    write_private(folder / PRIVATE_NAME, b"")


def truncated(folder: Path) -> None:
    write_private(folder / PRIVATE_NAME, key().private_bytes(PEM, PKCS8, PLAIN)[:1000])


def pem_of(der: bytes) -> bytes:
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END PRIVATE KEY-----\n"


def flipped(folder: Path) -> None:
    der = bytearray(key().private_bytes(serialization.Encoding.DER, PKCS8, PLAIN))
    der[1000] ^= 1  # in the first prime
    write_private(folder / PRIVATE_NAME, pem_of(bytes(der)))


def large(folder: Path) -> None:
    write_private(folder / PRIVATE_NAME, key().private_bytes(PEM, PKCS8, PLAIN) + b"\n" * 16384)


def elliptic(folder: Path) -> None:
    write_private(folder / PRIVATE_NAME, ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, PLAIN))


def small(folder: Path) -> None:
    write_private(folder / PRIVATE_NAME, key(2048).private_bytes(PEM, PKCS8, PLAIN))


def public_only(folder: Path) -> None:
    write_private(folder / PUBLIC_NAME, keys.public_pem(key()).encode())


def public_in_its_place(folder: Path) -> None:
    write_private(folder / PRIVATE_NAME, keys.public_pem(key()).encode())


def encrypted(folder: Path) -> None:
    save_new(folder, key(), PASSWORD)


def encrypted_in_the_old_form(folder: Path) -> None:
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
    write_private(folder / PRIVATE_NAME, key().private_bytes(PEM, traditional, encryption))


def truncated_encrypted(folder: Path) -> None:
    save_new(folder, key(), PASSWORD)
    content = (folder / PRIVATE_NAME).read_bytes()
    (folder / PRIVATE_NAME).write_bytes(content[:1500] + content[-36:])


def plain(folder: Path) -> None:
    save_new(folder, key())


def linked(folder: Path) -> None:
    save_new(folder, key())
    (folder / PRIVATE_NAME).rename(folder / "other.pem")
    (folder / PRIVATE_NAME).symlink_to(folder / "other.pem")


def with_foreign_public_key(folder: Path) -> None:
    save_new(folder, key())
    (folder / PUBLIC_NAME).write_bytes(keys.public_pem(key(number=1)).encode())


def with_garbage_for_a_public_key(folder: Path) -> None:
    save_new(folder, key())
    (folder / PUBLIC_NAME).write_bytes(b"garbage")


def with_an_empty_public_key(folder: Path) -> None:
    save_new(folder, key())
    (folder / PUBLIC_NAME).write_bytes(b"")


def with_an_elliptic_public_key(folder: Path) -> None:
    save_new(folder, key())
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    (folder / PUBLIC_NAME).write_bytes(public.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def with_text_after_the_public_key(folder: Path) -> None:
    save_new(folder, key())
    with (folder / PUBLIC_NAME).open("ab") as file:
        file.write(b"trailing")


def with_a_linked_public_key(folder: Path) -> None:
    save_new(folder, key())
    (folder / PUBLIC_NAME).rename(folder / "other.pem")
    (folder / PUBLIC_NAME).symlink_to(folder / "other.pem")


def readable_by_others(folder: Path) -> None:
    save_new(folder, key())
    (folder / PRIVATE_NAME).chmod(0o644)


def in_a_folder_others_write_to(folder: Path) -> None:
    save_new(folder, key())
    folder.chmod(0o777)


def in_utf_16(folder: Path) -> None:
    save_new(folder, key())
    pem = (folder / PRIVATE_NAME).read_text(encoding="ascii")
    (folder / PRIVATE_NAME).write_bytes(pem.encode("utf-16"))


NOT_READ = "contains no readable private key"
NOT_DECRYPTED = "cannot be decrypted: the password is wrong or the file is damaged"
EXPECTED = "expected one PEM block PUBLIC KEY with an RSA key of at least 2048 bits, got"
EXPECTED_PRIVATE = "expected an RSA private key of at least 3072 bits, got"
Case = tuple[Callable[[Path], None], str | None, str, str]

REFUSED: list[Case] = [
    (garbage, None, PRIVATE_NAME, NOT_READ),
    (empty, None, PRIVATE_NAME, NOT_READ),
    (garbage, PASSWORD, PRIVATE_NAME, NOT_READ),
    (in_utf_16, None, PRIVATE_NAME, "is UTF-16 text"),
    (truncated, None, PRIVATE_NAME, NOT_READ),
    (truncated, PASSWORD, PRIVATE_NAME, NOT_READ),
    (
        flipped,
        None,
        PRIVATE_NAME,
        f"cannot be used: {EXPECTED_PRIVATE} an RSA key with inconsistent numbers",
    ),
    (public_in_its_place, None, PRIVATE_NAME, NOT_READ),
    (large, None, PRIVATE_NAME, "is larger than 16384 bytes, which is too large for a key"),
    (
        elliptic,
        None,
        PRIVATE_NAME,
        f"cannot be used: {EXPECTED_PRIVATE} an EC key on secp256r1",
    ),
    (small, None, PRIVATE_NAME, f"cannot be used: {EXPECTED_PRIVATE} RSA-2048"),
    (encrypted, None, PRIVATE_NAME, "is encrypted, but no password was given"),
    (encrypted, "wrong-password", PRIVATE_NAME, NOT_DECRYPTED),
    (encrypted, PASSWORD + " ", PRIVATE_NAME, NOT_DECRYPTED),
    (encrypted_in_the_old_form, None, PRIVATE_NAME, "is encrypted, but no password was given"),
    (encrypted_in_the_old_form, "wrong-password", PRIVATE_NAME, NOT_DECRYPTED),
    (truncated_encrypted, PASSWORD, PRIVATE_NAME, NOT_DECRYPTED),
    (plain, PASSWORD, PRIVATE_NAME, "is not encrypted, but a password was given"),
    (plain, "", PRIVATE_NAME, "its password is empty"),
    (plain, "x" * 1024, PRIVATE_NAME, "its password is longer than 1023 bytes"),
    (plain, "half\ud800", PRIVATE_NAME, "its password contains a lone surrogate, which UTF-8 cannot encode"),
    (linked, None, PRIVATE_NAME, "is a symbolic link"),
    (with_foreign_public_key, None, PUBLIC_NAME, "belongs to a different private key"),
    (with_garbage_for_a_public_key, None, PUBLIC_NAME, f"is not a public key: {EXPECTED} 7 bytes without a PEM block"),
    (with_an_empty_public_key, None, PUBLIC_NAME, f"is not a public key: {EXPECTED} an empty body"),
    (with_an_elliptic_public_key, None, PUBLIC_NAME, f"is not a public key: {EXPECTED} an EC key on secp256r1"),
    (
        with_text_after_the_public_key,
        None,
        PUBLIC_NAME,
        f"is not a public key: {EXPECTED} a PEM block that is damaged or has text around it",
    ),
    (with_a_linked_public_key, None, PUBLIC_NAME, "is a symbolic link"),
]

if hasattr(os, "geteuid"):
    REFUSED += [
        (readable_by_others, None, PRIVATE_NAME, "has mode 0644: others may use it"),
        (in_a_folder_others_write_to, None, "", "has mode 0777: others may write to it"),
    ]


@pytest.mark.parametrize("case", REFUSED, ids=[f"{case[0].__name__}-{number}" for number, case in enumerate(REFUSED)])
def test_a_pair_that_cannot_be_loaded_is_told_and_neither_replaced_nor_changed(
    folder: Path, case: Case, quick: list[int]
) -> None:
    prepare, password, name, problem = case
    prepare(folder)
    before = contents(folder)
    for call in (
        lambda: load_or_create(folder, password),
        lambda: load(folder / PRIVATE_NAME, folder / PUBLIC_NAME, password),
    ):
        error = refusal(call)
        assert error.path == str(folder / name)
        assert error.problem == problem
        assert error.hint
        assert contents(folder) == before
    assert quick == []


@pytest.mark.parametrize("case", REFUSED, ids=[f"{case[0].__name__}-{number}" for number, case in enumerate(REFUSED)])
def test_no_error_leads_to_a_password_or_a_key(folder: Path, case: Case) -> None:
    prepare, password, _, _ = case
    prepare(folder)
    refusal(load_or_create, folder, password)
    refusal(load, folder / PRIVATE_NAME, folder / PUBLIC_NAME, password=password)
    refusal(save_new, folder, key(), password)


@given(st.data())
def test_a_damaged_private_key_is_refused_or_still_the_same(data: st.DataObject) -> None:
    der = bytearray(key(2048).private_bytes(serialization.Encoding.DER, PKCS8, PLAIN))
    if data.draw(st.booleans()):
        der[data.draw(st.integers(0, len(der) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        start = data.draw(st.integers(0, len(der)))
        der[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PRIVATE_NAME
        write_private(path, pem_of(bytes(der)))
        try:
            loaded = load(path, minimum_bits=2048)
        except KeyStoreError:
            return
        assert same(loaded, key(2048))


@given(st.binary(max_size=400))
def test_any_bytes_for_a_private_key_are_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for written in (content, pem_of(content)):
            write_private(Path(folder) / PRIVATE_NAME, written)
            refusal(load_or_create, folder)


def test_a_key_is_loaded_in_milliseconds_since_nothing_else_runs_meanwhile(folder: Path) -> None:
    save_new(folder, key(4096))
    times = []
    for _ in range(5):
        started = time.thread_time()
        load(folder / PRIVATE_NAME, folder / PUBLIC_NAME)
        times.append(time.thread_time() - started)
    # 1 or 2 ms; 220 where the library tests the primes, holding the GIL.
    assert min(times) < 0.05


def test_a_public_key_alone_is_no_reason_to_make_a_pair(folder: Path, quick: list[int]) -> None:
    public_only(folder)
    before = contents(folder)
    error = refusal(load_or_create, folder)
    assert error.problem == f"does not exist, although {PUBLIC_NAME} does"
    assert (contents(folder), quick) == (before, [])


def test_a_pair_that_appears_between_two_looks_is_no_public_key_alone(
    folder: Path, quick: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = KeyFolder.holds

    def looks(self: KeyFolder, name: str) -> bool:
        found = holds(self, name)
        monkeypatch.setattr(KeyFolder, "holds", holds)
        save_new(folder, key())
        return found

    monkeypatch.setattr(KeyFolder, "holds", looks)
    assert same(load_or_create(folder), key())
    assert quick == []


def test_a_private_key_alone_is_a_pair(folder: Path, quick: list[int]) -> None:
    save_new(folder, key())
    (folder / PUBLIC_NAME).unlink()
    assert same(load_or_create(folder), key())
    assert quick == []
    assert list(contents(folder)) == [PRIVATE_NAME]


def test_a_file_that_is_named_must_be_there(folder: Path) -> None:
    save_new(folder, key())
    for arguments in (
        (folder / "nothing.pem",),
        (folder / PRIVATE_NAME, folder / "nothing.pem"),
        (folder / "nowhere" / PRIVATE_NAME,),
    ):
        error = refusal(load, *arguments)
        assert isinstance(error, KeyFileNotFoundError)
        assert isinstance(error, FileNotFoundError)
        assert isinstance(error, ValueError)
        assert isinstance(error, NomyoError)
    assert isinstance(refusal(load, ""), KeyStoreError)


def test_the_public_key_may_lie_in_a_folder_of_others_since_it_is_only_compared(folder: Path, tmp_path: Path) -> None:
    save_new(folder, key())
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "mine.pem").write_bytes((folder / PUBLIC_NAME).read_bytes().replace(b"\n", b"\r\n"))
    assert same(load(folder / PRIVATE_NAME, shared / "mine.pem"), key())


def test_a_smaller_key_is_loaded_when_that_is_asked_for(folder: Path) -> None:
    save_new(folder, key(2048))
    assert same(load(folder / PRIVATE_NAME, folder / PUBLIC_NAME, minimum_bits=2048), key(2048))
    assert same(load_or_create(folder, minimum_bits=2048), key(2048))


def test_a_password_that_is_no_text_is_refused_by_its_type(folder: Path) -> None:
    for call in (lambda: save_new(folder, key(), b"secret"), lambda: load_or_create(folder, b"secret")):  # type: ignore[arg-type] # what a caller without mypy may do
        assert refusal(call).problem == "its password must be a str, not bytes"
    assert contents(folder) == {}


def test_a_password_of_1023_bytes_will_do(folder: Path) -> None:
    save_new(folder, key(), "é" * 511 + "x")
    assert same(load(folder / PRIVATE_NAME, password="é" * 511 + "x"), key())


def test_files_left_behind_by_a_process_that_was_killed_are_not_in_the_way(folder: Path, quick: list[int]) -> None:
    for name in (PRIVATE_NAME, PUBLIC_NAME):
        write_private(folder / f".{name}.0123456789abcdef.tmp", b"-----BEGIN PRI")
    first = load_or_create(folder)
    assert same(load_or_create(folder), first)


def test_a_full_disk_leaves_no_key_and_no_other_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        error = refusal(save_new, folder, key())
    assert error.problem == f"cannot be written: {os.strerror(errno.ENOSPC)}"
    assert contents(folder) == {}
    save_new(folder, key())
    assert same(load(folder / PRIVATE_NAME, folder / PUBLIC_NAME), key())


def run(program: str, *arguments: str, count: int = 1) -> list[list[str]]:
    """What `count` processes of a program print, a list of lines each. They begin when all have started."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=300) for process in processes]
    assert [(process.returncode, error) for process, (_, error) in zip(processes, answers, strict=True)] == [
        (0, "") for _ in processes
    ]
    return [output.splitlines() for output, _ in answers]


RACE = """
    import errno, os, sys
    from nomyo import keys, client_keys

    root, rounds, links = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "links"
    own = keys.generate(2048)
    keys.generate = lambda bits: own            # the pair each process would like to see
    if not links:
        def link(*_, **__):
            raise OSError(errno.EPERM, "no links")
        os.link = link
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(rounds):
        key = client_keys.load_or_create(f"{root}/{number}", minimum_bits=2048)
        assert keys.fingerprint(client_keys.load_or_create(f"{root}/{number}", minimum_bits=2048).public_key()) == (
            keys.fingerprint(key.public_key()))
        print(keys.fingerprint(key.public_key()), key is own, flush=True)
"""


@posix
@pytest.mark.parametrize("links", ["links", "no links"])
def test_processes_that_race_end_with_one_pair_and_all_use_it(tmp_path: Path, links: str) -> None:
    rounds = 12
    processes = run(RACE, str(tmp_path / "keys"), str(rounds), links, count=3)
    for number in range(rounds):
        answers = [lines[number].split() for lines in processes]
        assert len({pin for pin, _ in answers}) == 1, f"round {number}: not one key"
        assert [own for _, own in answers].count("True") == 1, f"round {number}: not one winner"
        folder = tmp_path / "keys" / str(number)
        pair = load(folder / PRIVATE_NAME, folder / PUBLIC_NAME, minimum_bits=2048)
        assert sorted(contents(folder)) == [PRIVATE_NAME, PUBLIC_NAME]
        assert keys.fingerprint(pair.public_key()) == answers[0][0]


CRASH = """
    import errno, os, sys
    from nomyo import keys, client_keys

    root, links = sys.argv[1], sys.argv[2] == "links"
    old, new = keys.generate(2048), keys.generate(2048)
    STEPS = "mkdir", "open", "fchmod", "fsync", "link", "rename", "stat", "unlink", "close"
    real = {name: getattr(os, name) for name in STEPS}

    def dies_at(step, before):
        # Replace the calls that change anything on disk, or lie between, by ones that end the process at the n-th.
        count = 0
        def counted(name):
            def call(*args, **kwargs):
                nonlocal count
                count += 1
                if count == step and before:
                    os._exit(77)
                if name == "link" and not links:
                    raise OSError(errno.EPERM, "no links")
                answer = real[name](*args, **kwargs)
                if count == step:
                    os._exit(77)
                return answer
            return call
        for name in STEPS:
            setattr(os, name, counted(name))

    def created(directory, key):
        keys.generate = lambda bits: key
        return client_keys.load_or_create(directory, minimum_bits=2048)

    print("ready", flush=True)
    sys.stdin.readline()
    for before in (True, False):
        for step in range(1, 200):
            directory = f"{root}/{before}-{step}"
            child = os.fork()
            if not child:
                dies_at(step, before)
                created(directory, old)
                os._exit(0)
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert ended in (0, 77), ended
            names = os.listdir(directory) if os.path.isdir(directory) else []
            private = client_keys.PRIVATE_NAME in names
            assert private or client_keys.PUBLIC_NAME not in names, names
            for name in names:
                assert name == client_keys.PUBLIC_NAME or name.startswith(f".{client_keys.PUBLIC_NAME}.") or (
                    os.stat(f"{directory}/{name}").st_mode & 0o77 == 0), name
            key = created(directory, new)
            assert key.private_numbers() == (old if private else new).private_numbers()
            assert created(directory, old).private_numbers() == key.private_numbers()
            leftovers = sum(name.endswith(".tmp") for name in names)
            print(ended, private, client_keys.PUBLIC_NAME in names, leftovers, flush=True)
            if ended == 0:
                break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes that are killed are forked")
@pytest.mark.parametrize("links", ["links", "no links"])
def test_a_process_killed_at_any_step_leaves_nothing_or_a_pair_that_can_be_loaded(tmp_path: Path, links: str) -> None:
    (lines,) = run(CRASH, str(tmp_path / "keys"), links)
    assert lines.count("0 True True 0") == 2, "ran to the end once for each place of death"
    states = {tuple(line.split()[1:]) for line in lines}
    # Before anything, with a file half placed, with only the private key, with both.
    assert {("False", "False", "0"), ("False", "False", "1"), ("True", "False", "0"), ("True", "True", "0")} <= states
    assert len(lines) > 20


def test_a_byte_order_mark_in_front_of_a_key_is_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    save_new(folder, key())
    for name in (PRIVATE_NAME, PUBLIC_NAME):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    assert same(load(folder / PRIVATE_NAME, folder / PUBLIC_NAME), key())
