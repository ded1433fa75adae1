"""RSA keys: what is made, what is refused and in which words, and that the server's key has one form only."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import warnings
from collections.abc import Callable
from functools import cache

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dh, dsa, ec, ed25519, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from nomyo import keys
from nomyo.errors import SecurityError, ServerKeyError

F4 = 65537
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
HEAD, FOOT = b"-----BEGIN PUBLIC KEY-----\n", b"-----END PUBLIC KEY-----\n"


@cache
def made(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(F4, bits)


def private(bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key for tests that only read it; one of a size is made in a run."""
    return made(bits)


def modulus(bits: int) -> int:
    """An odd number of exactly that many bits, the same each time; nobody knows its factors."""
    return int.from_bytes(hashlib.shake_256(b"a modulus of %d bits" % bits).digest(bits // 8 + 1), "big") % (
        1 << bits
    ) | (1 << bits - 1 | 1)


def tlv(tag: int, content: bytes) -> bytes:
    """One element of DER."""
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


RSA_ENCRYPTION = tlv(0x30, bytes.fromhex("06092a864886f70d010101") + bytes.fromhex("0500"))
RSA_ENCRYPTION_WITHOUT_NULL = tlv(0x30, bytes.fromhex("06092a864886f70d010101"))
RSASSA_PSS = tlv(0x30, bytes.fromhex("06092a864886f70d01010a"))


def spki(n: int, e: int, algorithm: bytes = RSA_ENCRYPTION) -> bytes:
    """A SubjectPublicKeyInfo of any RSA numbers, written without the library."""
    return tlv(0x30, algorithm + tlv(0x03, b"\0" + tlv(0x30, integer(n) + integer(e))))


def pem(der: bytes) -> bytes:
    return HEAD + base64.encodebytes(der) + FOOT


def good(bits: int = 2048) -> bytes:
    return keys.public_pem(private(bits)).encode()


def pem_of(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    written = key.public_bytes(serialization.Encoding.PEM, PUBLIC)
    assert isinstance(written, bytes)
    return written


def dh_pem() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library is about to drop it; a server may serve it still
        return pem_of(dh.DHPublicNumbers(4, dh.DHParameterNumbers(2**2048 - 1942289, 2)).public_key())


def refusal(body: bytes, least: int = 2048) -> str:
    with pytest.raises(ServerKeyError) as caught:
        keys.load_server_key(body, least)
    return str(caught.value)


def test_a_key_is_made_of_4096_bits_with_exponent_65537() -> None:
    key = keys.generate()
    assert (key.key_size, key.public_key().public_numbers().e) == (4096, F4)
    assert keys.check_private(key, keys.KEY_BITS) is key


@pytest.mark.parametrize("bits", [-1, 0, 512, 1024, 2047, 16385])
def test_a_key_of_a_size_nobody_should_use_is_not_made(bits: int) -> None:
    with pytest.raises(ValueError, match=f"2048 to 16384 bits, got {bits}"):
        keys.generate(bits)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: private(2048), "got RSA-2048"),
        (lambda: private(3072).public_key(), "got an RSA public key"),
        (lambda: rsa.generate_private_key(3, 3072), "got an RSA key with exponent 3"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "got an EC key on secp384r1"),
        (lambda: dsa.generate_private_key(1024), "got a DSA key"),
        (ed25519.Ed25519PrivateKey.generate, "got a key of type Ed25519PrivateKey"),
        (lambda: None, "got a key of type NoneType"),
    ],
)
def test_a_private_key_that_will_not_do_is_refused_by_kind(make: Callable[[], object], words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        key = make()
    with pytest.raises(ValueError, match=f"^expected an RSA private key of at least 3072 bits, {words}$"):
        keys.check_private(key, keys.CLIENT_KEY_BITS_MINIMUM)


def altered(**changes: int) -> rsa.RSAPrivateKey:
    """A private key with other numbers than belong to it, as a file may hold them (RFC 8017, appendix A.1.2)."""
    numbers = private().private_numbers()
    public = numbers.public_numbers
    values = {"n": public.n, "e": public.e, "d": numbers.d, "p": numbers.p, "q": numbers.q}
    values |= {"dmp1": numbers.dmp1, "dmq1": numbers.dmq1, "iqmp": numbers.iqmp}
    assert changes.keys() <= values.keys()
    der = tlv(0x30, integer(0) + b"".join(map(integer, (values | changes).values())))
    key = serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def test_the_numbers_of_a_private_key_must_belong_together() -> None:
    good = private().private_numbers()
    p, q, d, n = good.p, good.q, good.d, good.public_numbers.n
    keys.check_private(altered(), 2048)
    keys.check_private(altered(d=d + math.lcm(p - 1, q - 1)), 2048)  # RFC 8017 leaves d free to that extent
    for changes in (
        {"p": p + 2},
        {"q": q + 2},
        {"p": 1, "q": n},
        {"p": n, "q": 1},
        {"n": n + 2},
        {"d": d + 2},
        {"d": d + 2, "dmp1": (d + 2) % (p - 1), "dmq1": (d + 2) % (q - 1)},
        {"d": d + (p - 1), "dmq1": (d + p - 1) % (q - 1)},
        {"d": d + (q - 1), "dmp1": (d + q - 1) % (p - 1)},
        {"dmp1": good.dmp1 + 1},
        {"dmq1": good.dmq1 + 1},
        {"iqmp": good.iqmp + 1},
        {"p": q, "q": p},
    ):
        with pytest.raises(ValueError, match=r"got an RSA key with inconsistent numbers$"):
            keys.check_private(altered(**changes), 2048)


@pytest.mark.parametrize("least", [0, 1024, 2047])
def test_no_caller_can_ask_for_less_than_2048_bits(least: int) -> None:
    for read in (
        lambda: keys.check_private(private(), least),
        lambda: keys.load_server_key(good(), least),
        lambda: keys.load_public(good(), least),
    ):
        with pytest.raises(ValueError, match="expected a minimum key size of at least 2048 bits") as caught:
            read()
        assert not isinstance(caught.value, SecurityError)


def test_the_public_key_of_either_half_is_written_alike_and_ends_in_a_newline() -> None:
    text = keys.public_pem(private())
    assert text == keys.public_pem(private().public_key())
    assert text.startswith(HEAD.decode())
    assert text.endswith(FOOT.decode())
    assert max(map(len, text.splitlines())) == 64


def test_a_fingerprint_is_that_of_the_subject_public_key_info() -> None:
    numbers = private().public_key().public_numbers()
    expected = base64.b64encode(hashlib.sha256(spki(numbers.n, numbers.e)).digest()).decode()
    assert keys.fingerprint(private().public_key()) == f"sha256/{expected}"


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_the_servers_key_is_loaded(bits: int) -> None:
    key = keys.load_server_key(good(bits), bits)
    assert key.public_numbers() == private(bits).public_key().public_numbers()


@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"\r\n\t " + body,
        lambda body: body + b"\n\n  ",
        lambda body: body.rstrip(),
        lambda body: body.replace(b"\n", b"\r\n"),
        lambda body: HEAD + b"".join(body.splitlines()[1:-1]) + b"\n" + FOOT,
    ],
    ids=["blank before", "blank after", "no last newline", "CRLF", "one long line"],
)
def test_blank_space_and_line_breaks_do_not_matter(change: Callable[[bytes], bytes]) -> None:
    assert keys.load_server_key(change(good()), 2048).public_numbers() == private().public_key().public_numbers()


@pytest.mark.parametrize("exponent", [F4, F4 + 2, 2**64 - 1])
def test_any_odd_exponent_from_65537_to_64_bits_will_do(exponent: int) -> None:
    assert keys.load_server_key(pem(spki(modulus(2048), exponent)), 2048).public_numbers().e == exponent


ROCA = pow(F4, 12345, (primorial := math.prod(p for p in range(2, 702) if all(p % q for q in range(2, p))))) + (
    primorial * (2**2047 // primorial + 4)
)

WEAK = [
    (spki(modulus(1024), F4), "RSA-1024"),
    (spki(modulus(2047), F4), "RSA-2047"),
    (spki(modulus(16392), F4), "RSA-16392, above the maximum of 16384 bits"),
    (spki(modulus(2048), 3), "an RSA key with exponent 3"),
    (spki(modulus(2048), F4 - 2), "an RSA key with exponent 65535"),
    (spki(modulus(2048), 2**64 + 1), "an RSA key with an exponent of 65 bits, above 64"),
    (spki(modulus(2048), modulus(2048) - 2), "an RSA key with an exponent of 2048 bits, above 64"),
    (spki(modulus(2048) - 1, F4), "an RSA key with an even modulus"),
    (spki(ROCA, F4), "an RSA key with a modulus of the ROCA form (CVE-2017-15361)"),
]


@pytest.mark.parametrize(("der", "words"), WEAK, ids=[words for _, words in WEAK])
def test_a_weak_server_key_is_refused_by_its_weakness(der: bytes, words: str) -> None:
    assert refusal(pem(der)).endswith(f"an RSA key of at least 2048 bits, got {words}")


def test_a_server_key_smaller_than_was_asked_for_is_refused() -> None:
    assert refusal(good(2048), 4096) == (
        "the server's public key is refused: expected one PEM block PUBLIC KEY with an RSA key of at least 4096 bits, "
        "got RSA-2048"
    )


UNREADABLE = "a PEM block without a readable public key"
OTHER_FORM = "an RSA key that is not encoded as an RSA encryption key"

FOREIGN: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "an empty body"),
    "blank space": (lambda: b" \r\n" * 100, "an empty body"),
    "an HTML page": (lambda: b"\n<!DOCTYPE html><title>Sign in</title>", "an HTML page of 38 bytes"),
    "JSON": (lambda: b'{"detail":"no key"}', "19 bytes without a PEM block"),
    "DER": (lambda: spki(modulus(2048), F4), "294 bytes without a PEM block"),
    "16 KiB of blank space and a key": (lambda: b" " * 16384 + good(), "a body of more than 16384 bytes"),
    "EC": (lambda: pem_of(ec.generate_private_key(ec.SECP256R1()).public_key()), "an EC key on secp256r1"),
    "Ed25519": (lambda: pem_of(ed25519.Ed25519PrivateKey.generate().public_key()), "a key of type Ed25519PublicKey"),
    "X25519": (lambda: pem_of(x25519.X25519PrivateKey.generate().public_key()), "a key of type X25519PublicKey"),
    "RSASSA-PSS": (lambda: pem(spki(modulus(2048), F4, RSASSA_PSS)), OTHER_FORM),
    "rsaEncryption without NULL": (lambda: pem(spki(modulus(2048), F4, RSA_ENCRYPTION_WITHOUT_NULL)), OTHER_FORM),
    "an even exponent": (lambda: pem(spki(modulus(2048), F4 + 1)), UNREADABLE),
    "a DER with a byte more": (lambda: pem(spki(modulus(2048), F4) + b"\0"), UNREADABLE),
    "a DER with a byte less": (lambda: pem(spki(modulus(2048), F4)[:-1]), UNREADABLE),
    "an algorithm the library warns of": (dh_pem, UNREADABLE),
    "two keys": (lambda: good() * 2, "a body with 2 PEM blocks"),
    "a key and a certificate": (
        lambda: good() + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "a body with 2 PEM blocks",
    ),
    "text before": (lambda: b"key:\n" + good(), "a PEM block that is damaged or has text around it"),
    "text after": (lambda: good() + b".", "a PEM block that is damaged or has text around it"),
    "a byte order mark": (lambda: b"\xef\xbb\xbf" + good(), "a PEM block that is damaged or has text around it"),
    "no end": (lambda: good()[: -len(FOOT)], "a PEM block that is damaged or has text around it"),
    "headers in the block": (
        lambda: good().replace(HEAD, HEAD + b"Comment: x\n\n"),
        "a PEM block that is damaged or has text around it",
    ),
    "blank space in the base64": (
        lambda: good().replace(b"MIIB", b"MI IB"),
        "a PEM block that is damaged or has text around it",
    ),
    "an empty block": (lambda: HEAD + FOOT, "a PEM block that is damaged or has text around it"),
    "bits behind the base64": (
        # 294 bytes leave 4 bits in the last group of 4 characters free: B instead of A sets one of them.
        lambda: HEAD + base64.b64encode(b"ab").replace(b"I=", b"J=") + b"\n" + FOOT,
        "a PEM block whose content is not canonical base64",
    ),
    "PKCS#1": (
        lambda: private().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        "a PEM block labeled RSA PUBLIC KEY",
    ),
    "PKCS#8": (
        lambda: private().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "a PEM block labeled PRIVATE KEY",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_server_key_is_refused_by_what_it_is_and_not_quoted(name: str) -> None:
    make, words = FOREIGN[name]
    body = make()
    message = refusal(body)
    assert message.endswith(f"with an RSA key of at least 2048 bits, got {words}")
    assert not re.search(rb"[A-Za-z0-9+/=]{24}", message.encode()), "a piece of the body"


def test_a_refused_server_key_is_a_security_error_with_a_code_and_a_value_error() -> None:
    with pytest.raises(ValueError, match="an empty body") as caught:
        keys.load_server_key(b"", 2048)
    assert isinstance(caught.value, SecurityError)
    assert caught.value.code == "server_key_refused"
    assert caught.value.__cause__ is None


def judge(body: bytes) -> None:
    """Either a key that the rules allow, whose fingerprint is that of the bytes in the body, or a short refusal."""
    try:
        key = keys.load_server_key(body, 2048)
    except ServerKeyError as error:
        short = len(str(error)) < 250
        assert short
        return
    numbers = key.public_numbers()
    assert key.key_size >= 2048
    assert numbers.n % 2 == 1
    assert numbers.e % 2 == 1
    assert F4 <= numbers.e < 2**64
    lines = body.split()
    assert (lines[0] + b" " + lines[1] + b" " + lines[2], lines[-3:]) == (HEAD.strip(), FOOT.split())
    digest = hashlib.sha256(base64.b64decode(b"".join(lines[3:-3]), validate=True)).digest()
    assert keys.fingerprint(key) == "sha256/" + base64.b64encode(digest).decode()


@given(st.data())
def test_a_tampered_pem_is_refused_or_is_another_key_in_the_same_form(data: st.DataObject) -> None:
    body = bytearray(good())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(start + 8, len(body))))
        body[start:end] = data.draw(
            st.binary(max_size=8) | st.sampled_from([b"\n", b"\r", b" ", b"=", b"A", HEAD, FOOT])
        )
    judge(bytes(body))


@given(st.integers(0, 293), st.integers(0, 7))
def test_a_flipped_bit_in_the_der_is_refused_or_is_another_key(byte: int, bit: int) -> None:
    der = bytearray(spki(modulus(2048), F4))
    assert len(der) == 294
    der[byte] ^= 1 << bit
    judge(pem(bytes(der)))


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_in_a_pem_block_or_alone_are_judged(content: bytes) -> None:
    judge(content)
    judge(HEAD + content + b"\n" + FOOT)
    judge(pem(content))


@given(st.binary(min_size=32, max_size=32), st.text(st.sampled_from(" \t\r\n")), st.text(st.sampled_from(" \t\r\n")))
def test_a_pin_is_taken_with_blank_space_around_it(digest: bytes, before: str, after: str) -> None:
    pin = "sha256/" + base64.b64encode(digest).decode()
    assert keys.parse_pin(before + pin + after) == pin


def test_the_fingerprint_of_a_key_is_its_pin() -> None:
    pin = keys.fingerprint(private().public_key())
    assert keys.parse_pin(pin) == pin


GOOD_PIN = "sha256/" + base64.b64encode(bytes(range(32))).decode()

BAD_PINS = {
    "nothing": ("", "does not begin with sha256/"),
    "only the prefix": ("sha256/", "0 characters after sha256/"),
    "no prefix": (GOOD_PIN.removeprefix("sha256/"), "does not begin with sha256/"),
    "capitals": (GOOD_PIN.replace("sha", "SHA"), "does not begin with sha256/"),
    "sha1": (GOOD_PIN.replace("sha256", "sha1"), "does not begin with sha256/"),
    "two slashes": (GOOD_PIN.replace("/", "//", 1), "45 characters after sha256/"),
    "no padding": (GOOD_PIN.rstrip("="), "43 characters after sha256/"),
    "hex": ("sha256/" + bytes(range(32)).hex(), "64 characters after sha256/"),
    "33 bytes": ("sha256/" + base64.b64encode(bytes(33)).decode(), "a string that is not canonical base64 of 32 bytes"),
    "31 bytes": ("sha256/" + base64.b64encode(bytes(31)).decode(), "a string that is not canonical base64 of 32 bytes"),
    "a bit behind the end": (GOOD_PIN.replace("Hh8=", "Hh9="), "a string that is not canonical base64 of 32 bytes"),
    "the alphabet of URLs": (
        "sha256/" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        "a string that is not canonical base64 of 32 bytes",
    ),
    "a letter that is none": (GOOD_PIN.replace("A", "\u0410", 1), "a string that is not canonical base64 of 32 bytes"),
    "half a character": (GOOD_PIN.replace("A", "\ud800", 1), "a string that is not canonical base64 of 32 bytes"),
}


@pytest.mark.parametrize("name", BAD_PINS)
def test_a_pin_of_another_form_is_refused_with_the_right_one(name: str) -> None:
    text, words = BAD_PINS[name]
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        keys.parse_pin(text)
    assert "sha256/<base64 of the SHA-256 of the key's SubjectPublicKeyInfo, 44 characters>" in str(caught.value)


def test_a_pin_that_is_no_text_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="got bytes"):
        keys.parse_pin(GOOD_PIN.encode())  # type: ignore[arg-type] # what a caller without mypy may do


def test_what_was_given_for_a_pin_by_mistake_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="expected a pin") as caught:
        keys.parse_pin("sk-secret-api-key")
    assert "secret" not in str(caught.value)


@given(
    st.text(max_size=60) | st.text(st.sampled_from("AQgw019+/=-_ \n"), min_size=43, max_size=46).map("sha256/".__add__)
)
def test_any_text_is_a_pin_of_32_bytes_or_refused(text: str) -> None:
    try:
        pin = keys.parse_pin(text)
    except ValueError:
        return
    assert pin == text.strip()
    assert len(base64.b64decode(pin.removeprefix("sha256/"), validate=True)) == 32
