"""The package: byte for byte the published one on the way out; on the way in, what the protocol promises or one error.

The other side of every test is `tests.nomyo.wire.package`, which shares no code with what is tested. Packages that are
no JSON, or are put together at random, are in `test_hostile_packages`.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import assume, given
from hypothesis import strategies as st

from nomyo import envelope, memory
from nomyo.errors import ResponseError
from tests.nomyo.defects.walker import places_of
from tests.nomyo.packages import (
    BASE64_FIELDS,
    FIELDS,
    KEY,
    MARK,
    OTHER_KEY,
    PARTS,
    PLAINTEXT,
    document,
    flipped,
    holder,
    is_refused,
    opens,
    tampered,
    valid,
)  # fmt: skip
from tests.nomyo.wire import package as wire
from tests.nomyo.wire import server_keys

PIECE = envelope._CHUNK_BYTES


@pytest.mark.parametrize("processed_at", [None, 0, 1_700_000_000])
def test_a_package_is_byte_for_byte_what_json_dumps_makes_of_the_published_layout(processed_at: int | None) -> None:
    package = envelope.encrypt(b"{}", KEY.public_key(), processed_at=processed_at)
    found = json.loads(package)
    layout: dict[str, Any] = {
        "version": "1.0",
        "algorithm": "hybrid-aes256-rsa4096",
        "encrypted_payload": {name: found["encrypted_payload"][name] for name in ("ciphertext", "nonce", "tag")},
        "encrypted_aes_key": found["encrypted_aes_key"],
        "key_algorithm": "RSA-OAEP-SHA256",
        "payload_algorithm": "AES-256-GCM",
    }
    if processed_at is not None:
        layout["processed_at"] = processed_at
    assert package == json.dumps(layout).encode()
    assert type(package) is bytes


@pytest.mark.parametrize(
    "size", [0, 1, 2, 3, 15, 16, 17, 1000, PIECE - 1, PIECE, PIECE + 1, PIECE + 2, 2 * PIECE, 2 * PIECE + 7]
)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_what_is_sealed_here_opens_elsewhere_and_the_other_way_round(size: int, kind: type[bytes]) -> None:
    plaintext = os.urandom(size)
    assert wire.unseal(envelope.encrypt(kind(plaintext), KEY.public_key()), KEY) == plaintext
    for inside in (False, True):
        package = wire.seal(plaintext, KEY.public_key(), tag_inside=inside)
        unsealed = envelope.decrypt(package, KEY, tag_inside=inside)
        assert unsealed.plaintext == plaintext
        assert type(unsealed.plaintext) is bytearray


@given(plaintext=st.binary(max_size=200), processed_at=st.none() | st.integers(0, 2**40))
def test_what_is_sealed_opens_again(plaintext: bytes, processed_at: int | None) -> None:
    package = envelope.encrypt(plaintext, KEY.public_key(), processed_at=processed_at)
    unsealed = envelope.decrypt(package, KEY)
    assert unsealed.plaintext == plaintext
    assert unsealed.processed_at == processed_at


@pytest.mark.parametrize("bits", [2048, 2050, 2060, 3072, 4096])
def test_keys_of_any_size_do(bits: int) -> None:
    key = server_keys.pair(1001, bits)
    package = envelope.encrypt(b"x", key.public_key())
    assert len(base64.b64decode(json.loads(package)["encrypted_aes_key"])) == -(-key.key_size // 8)
    assert wire.unseal(package, key) == b"x"
    assert envelope.decrypt(package, key).plaintext == b"x"


def test_every_package_has_a_key_and_a_nonce_of_its_own() -> None:
    keys, nonces = set(), set()
    for _ in range(20):
        package = json.loads(envelope.encrypt(b"the same", KEY.public_key()))
        keys.add(KEY.decrypt(base64.b64decode(package["encrypted_aes_key"]), wire.oaep()))
        nonces.add(base64.b64decode(package["encrypted_payload"]["nonce"]))
    assert len(keys) == len(nonces) == 20
    assert {len(key) for key in keys} == {32}
    assert {len(nonce) for nonce in nonces} == {12}


def test_sealing_leaves_the_plaintext_to_its_owner() -> None:
    plaintext = bytearray(b"{}")
    envelope.encrypt(plaintext, KEY.public_key())
    plaintext += b"it can be resized, so no view of it is left"
    assert plaintext.startswith(b"{}")


def test_what_was_opened_does_not_show_in_its_repr() -> None:
    assert repr(envelope.decrypt(valid(), KEY)) == f"<Decrypted {len(PLAINTEXT)} bytes>"


@pytest.mark.parametrize("inside", [False, True])
def test_a_right_package_opens(inside: bool) -> None:
    unsealed = envelope.decrypt(valid(inside=inside), KEY, tag_inside=inside)
    assert unsealed.plaintext == PLAINTEXT
    assert unsealed.processed_at == 1_700_000_000


def test_a_tag_inside_the_ciphertext_is_taken_only_if_it_is_asked_for() -> None:
    assert is_refused(valid(inside=True))
    with pytest.raises(ResponseError):
        envelope.decrypt(valid(inside=True), KEY)
    assert opens(valid(), tag_inside=True)


@pytest.mark.parametrize("name", ["key_algorithm", "payload_algorithm", "processed_at"])
def test_what_is_optional_may_be_missing(name: str) -> None:
    package = document()
    del package[name]
    assert opens(json.dumps(package).encode())


def test_the_four_fields_that_are_required_are_enough() -> None:
    package = document()
    required = ("version", "algorithm", "encrypted_payload", "encrypted_aes_key")
    assert opens(json.dumps({name: package[name] for name in required}).encode())


@pytest.mark.parametrize("value", [None, 0, -1, 2**63, int("1" * 4000)])
def test_the_outer_time_may_be_any_whole_number_or_null(value: int | None) -> None:
    assert envelope.decrypt(tampered("processed_at", lambda _: value), KEY).processed_at == value


@given(name=st.text(max_size=12), value=st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers()))
def test_fields_that_nobody_knows_are_passed_over(name: str, value: object) -> None:
    package = document()
    assume(name not in package)
    assume(name not in PARTS)
    package[name] = package["encrypted_payload"][name] = value
    assert opens(json.dumps(package).encode())


@pytest.mark.parametrize("indent", [None, 0, 3])
@pytest.mark.parametrize("turn", [False, True])
def test_spacing_and_order_are_free(indent: int | None, turn: bool) -> None:
    package = document()
    names = sorted(package, reverse=turn)
    text = json.dumps({name: package[name] for name in names}, indent=indent, ensure_ascii=False)
    assert opens(f"\r\n\t {text}\n\n".encode())


def test_the_way_packages_are_refused_here_can_tell() -> None:
    assert not is_refused(valid())
    assert is_refused(valid(), key=OTHER_KEY)


@pytest.mark.parametrize("name", ["version", "algorithm", "encrypted_payload", "encrypted_aes_key", *PARTS])
def test_a_field_that_is_missing_is_missed(name: str) -> None:
    package = document()
    del holder(package, name)[name]
    assert is_refused(json.dumps(package).encode())
    if name != "tag":
        package = document(inside=True)
        del holder(package, name)[name]
        assert is_refused(json.dumps(package).encode(), tag_inside=True)
    else:  # the ciphertext's last bytes are no tag
        assert is_refused(json.dumps(package).encode(), tag_inside=True)


@pytest.mark.parametrize("name", [*FIELDS, *PARTS])
def test_a_field_under_another_spelling_of_its_name_does_not_count(name: str) -> None:
    package = document()
    at = holder(package, name)
    at[name.upper()] = at.pop(name)
    assert opens(json.dumps(package).encode()) is (name in ("key_algorithm", "payload_algorithm"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", "1.00"), ("version", "1.0 "), ("version", "0.9"), ("version", "2.0"), ("version", "1"),
        ("algorithm", "hybrid-aes256-rsa2048"), ("algorithm", "HYBRID-AES256-RSA4096"), ("algorithm", "none"),
        ("key_algorithm", "RSA-OAEP-SHA1"), ("key_algorithm", "RSA-PKCS1v15"), ("key_algorithm", "rsa-oaep-sha256"),
        ("payload_algorithm", "AES-128-GCM"), ("payload_algorithm", "AES-256-CBC"), ("payload_algorithm", "none"),
    ],
)  # fmt: skip
def test_another_version_or_algorithm_is_refused(name: str, value: str) -> None:
    assert is_refused(tampered(name, lambda _: value))


@pytest.mark.parametrize("name", BASE64_FIELDS)
@pytest.mark.slow
def test_a_flip_of_any_bit_is_noticed(name: str) -> None:
    data = base64.b64decode(holder(document(), name)[name])
    for bit in range(8 * len(data)):
        assert is_refused(tampered(name, lambda _: wire.b64(flipped(data, bit)))), f"bit {bit}"  # noqa: B023 - used at once


def test_a_flip_of_any_bit_is_noticed_where_the_tag_is_inside() -> None:
    data = base64.b64decode(document(inside=True)["encrypted_payload"]["ciphertext"])
    for bit in range(8 * len(data)):
        package = tampered("ciphertext", lambda _: wire.b64(flipped(data, bit)), inside=True)  # noqa: B023 - used at once
        assert is_refused(package, tag_inside=True), f"bit {bit}"


@pytest.mark.parametrize("bytes_off", [1, 15, 16, 17, len(PLAINTEXT), len(PLAINTEXT) + 16])
@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_a_ciphertext_that_is_cut_is_refused(bytes_off: int, at_the_end: bool, inside: bool) -> None:
    def cut(text: str) -> str:
        data = base64.b64decode(text)
        return wire.b64(data[:-bytes_off] if at_the_end else data[bytes_off:])

    assert is_refused(tampered("ciphertext", cut, inside=inside), tag_inside=inside)


@pytest.mark.parametrize("size", [size for size in range(41) if size != 12])
@pytest.mark.parametrize("inside", [False, True])
def test_a_nonce_of_another_length_is_refused(size: int, inside: bool) -> None:
    # AES-GCM works with those of 8 to 128 bytes: the package is sealed with it rightly.
    if size >= 8:
        package = wire.seal(PLAINTEXT, KEY.public_key(), nonce_bytes=size, tag_inside=inside)
    else:
        package = tampered("nonce", lambda text: wire.b64(base64.b64decode(text)[:size]), inside=inside)
    assert is_refused(package, tag_inside=inside)


@pytest.mark.parametrize("size", [*range(16), 17, 24, 32])
def test_a_tag_of_another_length_is_refused_though_its_beginning_is_right(size: int) -> None:
    assert is_refused(tampered("tag", lambda text: wire.b64((base64.b64decode(text) + bytes(16))[:size])))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 24, 31, 33, 64])
@pytest.mark.parametrize("inside", [False, True])
def test_an_aes_key_of_another_length_is_refused(size: int, inside: bool) -> None:
    if size in (16, 24):  # AES has these: the package is sealed with it rightly
        package = wire.seal(PLAINTEXT, KEY.public_key(), aes_bytes=size, tag_inside=inside)
    else:
        wrapped = KEY.public_key().encrypt(os.urandom(size), wire.oaep())
        package = tampered("encrypted_aes_key", lambda _: wire.b64(wrapped), inside=inside)
    assert is_refused(package, tag_inside=inside)


@pytest.mark.parametrize("size", [0, 1, 255, 257, 512])
def test_an_encrypted_key_of_another_length_is_refused(size: int) -> None:
    def fit(text: str) -> str:
        data = base64.b64decode(text)
        return wire.b64((bytes(512) + data)[-size:] if size else b"")

    assert is_refused(tampered("encrypted_aes_key", fit))


def test_an_encrypted_key_without_its_leading_zero_is_refused() -> None:
    public = KEY.public_key()
    plain = os.urandom(32)
    wrapped = next(one for one in iter(lambda: public.encrypt(plain, wire.oaep()), b"") if one[0] == 0)
    assert KEY.decrypt(wrapped, wire.oaep()) == plain
    assert is_refused(tampered("encrypted_aes_key", lambda _: wire.b64(wrapped[1:])))


@pytest.mark.parametrize(
    "way",
    [
        padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
        padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA256(), None),
        padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA1(), None),
        padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA512(), None),
        padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"label"),
        padding.PKCS1v15(),
    ],
    ids=["SHA-1", "MGF1 with SHA-1", "digest SHA-1", "digest SHA-512", "a label", "PKCS #1 v1.5"],
)
def test_a_key_that_is_wrapped_in_another_way_is_refused(way: padding.AsymmetricPadding) -> None:
    aes_key, nonce = os.urandom(32), os.urandom(12)
    sealed = AESGCM(aes_key).encrypt(nonce, PLAINTEXT, None)
    package = document()
    package["encrypted_aes_key"] = wire.b64(KEY.public_key().encrypt(aes_key, way))
    package["encrypted_payload"] = {
        "ciphertext": wire.b64(sealed[:-16]),
        "nonce": wire.b64(nonce),
        "tag": wire.b64(sealed[-16:]),
    }
    assert is_refused(json.dumps(package).encode())


def test_additional_authenticated_data_is_refused() -> None:
    aes_key, nonce = os.urandom(32), os.urandom(12)
    sealed = AESGCM(aes_key).encrypt(nonce, PLAINTEXT, b"more")
    package = document(inside=True)
    package["encrypted_aes_key"] = wire.b64(KEY.public_key().encrypt(aes_key, wire.oaep()))
    package["encrypted_payload"] = {"ciphertext": wire.b64(sealed), "nonce": wire.b64(nonce)}
    assert is_refused(json.dumps(package).encode(), tag_inside=True)


@pytest.mark.parametrize("name", BASE64_FIELDS)
def test_parts_of_two_packages_do_not_mix(name: str) -> None:
    other = json.loads(wire.seal(PLAINTEXT, KEY.public_key()))
    assert is_refused(tampered(name, lambda _: holder(other, name)[name]))


def refusal(package: bytes) -> ResponseError:
    with pytest.raises(ResponseError) as caught:
        envelope.decrypt(package, KEY)
    return caught.value


@pytest.mark.parametrize("name", ["tag", "ciphertext", "nonce"])
def test_what_was_decrypted_but_not_authenticated_is_wiped_and_not_to_be_found(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiped: list[bytearray] = []

    def wipe(buffer: bytearray) -> None:
        wiped.append(buffer)
        memory.wipe(buffer)

    monkeypatch.setattr(envelope, "wipe", wipe)
    seen: list[bytes] = []
    decrypt = envelope._decrypt_into

    def watched(decryptor: Any, ciphertext: bytes, plaintext: bytearray) -> None:
        decrypt(decryptor, ciphertext, plaintext)
        seen.append(bytes(plaintext))

    monkeypatch.setattr(envelope, "_decrypt_into", watched)
    last = tampered(name, lambda text: wire.b64(flipped(base64.b64decode(text), 0)))
    error = refusal(last)
    (buffer,) = wiped
    assert len(buffer) == len(PLAINTEXT)
    assert not any(buffer)
    assert any(seen[0])
    assert (seen[0] == PLAINTEXT) is (name == "tag")
    assert places_of(MARK, error) == []


def test_every_refusal_looks_the_same_whatever_step_failed() -> None:
    looks = set()
    for package in (
        b"",
        b"[]",
        tampered("version", lambda _: "0.9"),
        tampered("nonce", lambda _: "AAAA"),
        tampered("encrypted_aes_key", lambda text: wire.b64(flipped(base64.b64decode(text), 7))),
        tampered("tag", lambda text: wire.b64(flipped(base64.b64decode(text), 7))),
        wire.seal(PLAINTEXT, KEY.public_key(), aes_bytes=16),
    ):
        error = refusal(package)
        lines, traceback = [], error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == envelope.__file__:
                lines.append(traceback.tb_lineno)
            traceback = traceback.tb_next
        looks.add((type(error), str(error), repr(error), error.code, tuple(lines)))
    assert len(looks) == 1
