"""Key files as Kubernetes, Docker and certificate tools provide them: root's, for a reader who is another user."""

from __future__ import annotations

import codecs
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo import client_keys, keys
from nomyo.cli.settings import read_secret, read_secrets
from nomyo.client_keys import PRIVATE_NAME, PUBLIC_NAME
from nomyo.errors import KeyStoreError
from nomyo.router import RouterError, RouterOptions
from nomyo.router.credentials import ServerKey, load_tls
from nomyo_attest.cli.errors import CommandError
from tests.nomyo.cli.runner import run

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files to other users"
)

# Python imports a codec when it is first used, which another user may not be allowed to.
codecs.lookup("utf-8-sig")

NOBODY = 65534
OTHER = 12345
FS_GROUP = 2000


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 4096)


@cache
def private_pem() -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key().private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


@pytest.fixture
def volume() -> Iterator[Path]:
    """An empty folder of root that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="nomyo-volume-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextmanager
def user(uid: int = NOBODY, *groups: int) -> Iterator[None]:
    """This process with the rights of another user."""
    before = os.getgroups()
    os.setgroups(groups)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setgroups(before)


def projected(volume: Path, mode: int = 0o440, group: int = FS_GROUP, contents: dict[str, bytes] | None = None) -> Path:
    """Fill a folder as the kubelet does: NAME -> ..data/NAME, ..data -> ..TIMESTAMP."""
    files = contents or {PRIVATE_NAME: private_pem(), PUBLIC_NAME: keys.public_pem(key()).encode()}
    stamp = volume / "..2026_01_02_03_04_05.123456789"
    stamp.mkdir(0o755)
    (volume / "..data").symlink_to(stamp.name)
    for name, content in files.items():
        write(stamp / name, content, mode, group=group)
        (volume / name).symlink_to(f"..data/{name}")
    volume.chmod(0o1777)
    return volume


def write(path: Path, content: bytes, mode: int, owner: int = 0, group: int = 0) -> None:
    path.write_bytes(content)
    os.chown(path, owner, group)
    path.chmod(mode)


def load(folder: Path) -> rsa.RSAPublicKey:
    return client_keys.load(folder / PRIVATE_NAME, folder / PUBLIC_NAME).public_key()


def load_alone(folder: Path) -> rsa.RSAPublicKey:
    return client_keys.load(folder / PRIVATE_NAME).public_key()


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_a_key_pair_in_a_kubernetes_volume_with_fs_group_is_loaded(volume: Path, mode: int) -> None:
    projected(volume, mode | 0o040)  # Kubernetes adds the group's right to read
    with user(NOBODY, FS_GROUP):
        assert load(volume) == key().public_key()
        assert client_keys.load_or_create(volume).public_key() == key().public_key()
        server_key = ServerKey.load_or_generate(RouterOptions(server_key=volume / PRIVATE_NAME))
        assert server_key.private.public_key() == key().public_key()


def test_root_itself_loads_a_key_from_a_kubernetes_volume(volume: Path) -> None:
    assert load(projected(volume, 0o400)) == key().public_key()


def test_a_key_that_is_mounted_alone_with_sub_path_is_loaded(volume: Path) -> None:
    write(volume / PRIVATE_NAME, private_pem(), 0o440, group=FS_GROUP)
    with user(NOBODY, FS_GROUP):
        assert load_alone(volume) == key().public_key()


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o460, 0o450])
def test_a_private_key_of_root_that_others_can_use_is_refused_with_a_hint_for_a_pod(volume: Path, mode: int) -> None:
    projected(volume, mode)
    with user(NOBODY, FS_GROUP), pytest.raises(KeyStoreError) as refused:
        load(volume)
    assert refused.value.problem == f"has mode {mode:04o}: others may use it"
    assert refused.value.hint == (
        "in a Kubernetes pod, set fsGroup and the volume's defaultMode: 0400, which gives the file mode 0440; or use a "
        f"copy that belongs to user {NOBODY} and has mode 0600 (in a container, an entrypoint or init container can "
        "create it)"
    )


def test_a_private_key_that_the_user_may_not_read_names_fs_group(volume: Path) -> None:
    projected(volume, 0o400, group=0)
    with user(), pytest.raises(KeyStoreError) as refused:
        load(volume)
    assert refused.value.problem == "cannot be read: Permission denied"
    assert f"user {NOBODY} must be allowed to use it (in a Kubernetes pod, set fsGroup)" in refused.value.hint


def test_the_user_s_own_key_must_be_private_from_its_group(volume: Path) -> None:
    write(volume / PRIVATE_NAME, private_pem(), 0o640, owner=NOBODY)
    with user():
        with pytest.raises(KeyStoreError, match=f"has mode 0640: others may use it; chmod 600 {volume}"):
            load_alone(volume)
        (volume / PRIVATE_NAME).chmod(0o600)
        assert load_alone(volume) == key().public_key()


def test_a_key_of_another_user_as_in_a_bind_mount_is_refused(volume: Path) -> None:
    write(volume / PRIVATE_NAME, private_pem(), 0o640, owner=OTHER, group=FS_GROUP)
    with user(NOBODY, FS_GROUP), pytest.raises(KeyStoreError) as refused:
        load_alone(volume)
    assert refused.value.problem == f"belongs to user {OTHER}, not to user {NOBODY} or root"
    assert refused.value.hint.startswith(f"as root, chown it to user {NOBODY}, or use a copy that belongs to user ")


@pytest.mark.parametrize("part", [PRIVATE_NAME, "..data", "..2026_01_02_03_04_05.123456789", ""])
def test_a_link_or_folder_of_another_user_on_the_way_to_a_key_is_refused(volume: Path, part: str) -> None:
    projected(volume)
    os.chown(volume / part, OTHER, -1, follow_symlinks=False)
    with user(NOBODY, FS_GROUP), pytest.raises(KeyStoreError, match=f"belongs to user {OTHER}|others may write"):
        load_alone(volume)


def test_a_folder_on_the_way_to_a_key_that_others_may_write_to_is_refused(volume: Path) -> None:
    projected(volume)
    (volume / "..data").resolve().chmod(0o757)
    with (
        user(NOBODY, FS_GROUP),
        pytest.raises(KeyStoreError, match="others can write to a folder on the way to its target"),
    ):
        load_alone(volume)


def test_a_folder_that_others_may_write_to_without_the_sticky_bit_is_refused(volume: Path) -> None:
    projected(volume).chmod(0o777)
    with user(NOBODY, FS_GROUP), pytest.raises(KeyStoreError, match="has mode 0777: others may write to it") as refused:
        load_alone(volume)
    assert refused.value.hint.startswith("mount it read-only, or use a folder that only user ")


def test_a_key_that_is_no_link_is_refused_in_a_folder_that_others_may_write_to(volume: Path) -> None:
    write(volume / PRIVATE_NAME, private_pem(), 0o440, group=FS_GROUP)
    volume.chmod(0o1777)
    with user(NOBODY, FS_GROUP), pytest.raises(KeyStoreError, match="has mode 1777: others may write to it"):
        load_alone(volume)


def test_no_key_pair_is_made_in_a_folder_that_others_may_write_to(volume: Path) -> None:
    volume.chmod(0o1777)
    with pytest.raises(KeyStoreError, match="has mode 1777: others may write to it"):
        client_keys.save_new(volume, key())
    assert list(volume.iterdir()) == []


@pytest.mark.parametrize("target", ["other/private_key.pem", "..data/other.pem", "/{}/..data/private_key.pem"])
def test_another_link_of_root_to_a_client_s_key_is_refused(volume: Path, target: str) -> None:
    projected(volume)
    (volume / PRIVATE_NAME).unlink()
    (volume / PRIVATE_NAME).symlink_to(target.format(volume))
    with pytest.raises(KeyStoreError, match="is a symbolic link; name the file itself"):
        load_alone(volume)


def test_a_loop_of_links_is_refused(volume: Path) -> None:
    projected(volume)
    (volume / "..data").unlink()
    (volume / "..data").symlink_to("..data")
    with pytest.raises(KeyStoreError, match="cannot be read: Too many levels of symbolic links"):
        load_alone(volume)


def test_a_secret_that_is_replaced_while_it_is_read_is_read_again(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    projected(volume)
    readlink = os.readlink
    replaced: list[str] = []

    def replaces(name: str, *, dir_fd: int) -> str:
        target = readlink(name, dir_fd=dir_fd)
        if name == "..data" and not replaced:
            replaced.append(target)
            (volume / target).rename(volume / "..2027")
            (volume / "..new").symlink_to("..2027")
            (volume / "..new").rename(volume / "..data")
        return target

    monkeypatch.setattr(os, "readlink", replaces)
    assert load_alone(volume) == key().public_key()
    assert replaced


READ_ONLY = """
import os, sys
from pathlib import Path
from nomyo import client_keys
folder = Path(sys.argv[1])
os.setgroups([{group}]); os.setgid({user}); os.setuid({user})
print(client_keys.load(folder / "private_key.pem", folder / "public_key.pem").key_size)
"""


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_key_is_loaded_by_another_user_from_a_read_only_mount(volume: Path, mode: int) -> None:
    """A volume of a pod has mode 0777 or 1777; that nobody can write to it is a property of the mount."""
    source, mount = volume / "source", volume / "mount"
    source.mkdir()
    mount.mkdir()
    projected(source).chmod(mode)
    script = 'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" || exit 77; shift; exec "$0" -c "$2" "$1"'
    code = READ_ONLY.format(user=NOBODY, group=FS_GROUP)
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("needs unshare(1)")
    done = subprocess.run(
        [unshare, "-m", "sh", "-c", script, sys.executable, source, mount, code],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode in (1, 77) and "denied" in done.stderr:
        pytest.skip("this machine does not let root mount")
    assert (done.stdout, done.stderr) == ("4096\n", "")


# TLS keys of the router.


@pytest.fixture
def certificate(volume: Path) -> Path:
    """A chain, in its own file; the key is `key_pem`."""
    leaf = trustme.CA().issue_cert("router.example")
    write(volume / "chain.pem", b"".join(one.bytes() for one in leaf.cert_chain_pems), 0o644)
    write(volume / "tls.pem", leaf.private_key_pem.bytes(), 0o600)
    return volume / "chain.pem"


def test_a_tls_key_that_others_may_use_is_refused(certificate: Path) -> None:
    load_tls(certificate, certificate.with_name("tls.pem"))
    certificate.with_name("tls.pem").chmod(0o644)
    with pytest.raises(RouterError, match=r"key: .*tls\.pem: has mode 0644: others may use it; chmod 600 "):
        load_tls(certificate, certificate.with_name("tls.pem"))


def test_a_tls_key_of_root_that_a_group_may_read_is_used(certificate: Path) -> None:
    private = certificate.with_name("tls.pem")
    write(private, private.read_bytes(), 0o640, group=FS_GROUP)
    with user(NOBODY, FS_GROUP):
        load_tls(certificate, private)


def test_links_of_root_to_a_tls_key_are_followed_as_certificate_tools_make_them(certificate: Path) -> None:
    volume = certificate.parent
    (volume / "archive").mkdir()
    (volume / "live").mkdir()
    (volume / "tls.pem").rename(volume / "archive" / "privkey1.pem")
    (volume / "live" / "privkey.pem").symlink_to("../archive/privkey1.pem")
    (volume / "live" / "absolute.pem").symlink_to(volume / "archive" / "privkey1.pem")
    load_tls(certificate, volume / "live" / "privkey.pem")
    (volume / "archive").chmod(0o777)
    with pytest.raises(RouterError, match="others can write to a folder on the way to its target"):
        load_tls(certificate, volume / "live" / "privkey.pem")


def test_a_link_of_another_user_to_a_tls_key_is_refused(certificate: Path) -> None:
    link = certificate.with_name("link.pem")
    link.symlink_to("tls.pem")
    os.chown(link, OTHER, -1, follow_symlinks=False)
    with pytest.raises(RouterError, match=f"is a symbolic link, and .* belongs to user {OTHER}"):
        load_tls(certificate, link)


# API keys, tokens and passwords.


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_an_api_key_in_a_kubernetes_volume_is_read_without_a_notice(
    volume: Path, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    projected(volume, mode | 0o040, contents={"api-key": b"secret-of-mine\n"})
    with user(NOBODY, FS_GROUP):
        assert read_secret(str(volume / "api-key"), "--api-key-file") == "secret-of-mine"
        assert read_secrets(str(volume / "api-key"), "--api-key-file") == ("secret-of-mine",)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", [0o444, 0o644])
def test_an_api_key_that_every_user_can_read_is_read_with_a_notice(
    volume: Path, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = projected(volume, mode, contents={"api-key": b"secret-of-mine\n"}) / "api-key"
    with user():
        assert read_secret(str(path), "--api-key-file") == "secret-of-mine"
    err = capsys.readouterr().err
    assert err == f"nomyo: notice: {path}: has mode {mode:04o}: every user of this machine can read it\n"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_api_key_that_others_may_write_is_refused(volume: Path, mode: int) -> None:
    write(volume / "api-key", b"secret-of-mine\n", mode, owner=NOBODY)
    with user(), pytest.raises(CommandError) as refused:
        read_secret(str(volume / "api-key"), "--api-key-file")
    assert f"has mode {mode:04o}: others may write to it; chmod go-w {volume}/api-key" in str(refused.value)
    assert "secret-of-mine" not in str(refused.value)


def test_an_api_key_of_another_user_is_refused(volume: Path) -> None:
    write(volume / "api-key", b"secret-of-mine\n", 0o644, owner=OTHER)
    with user(), pytest.raises(CommandError, match=f"belongs to user {OTHER}, not to user {NOBODY} or root; as root, "):
        read_secret(str(volume / "api-key"), "--api-key-file")


def test_an_api_key_from_a_pipe_is_read(volume: Path) -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"secret-of-mine\n")
        os.close(writer)
        assert read_secret(f"/dev/fd/{reader}", "--api-key-file") == "secret-of-mine"
    finally:
        os.close(reader)


def test_the_command_line_shows_a_key_pair_of_a_kubernetes_volume(volume: Path) -> None:
    projected(volume)
    run("keys", "show", str(volume))  # imports the command, whose files that user may not be allowed to read
    with user(NOBODY, FS_GROUP):
        ran = run("keys", "show", str(volume))
    assert (ran.status, ran.err) == (0, "")
    assert "RSA-4096, not encrypted, mode 0440" in ran.out
