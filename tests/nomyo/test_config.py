"""What a client is told: what is taken, what is refused and in which words, and that no password is quoted."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nomyo import SecureChatCompletion, config
from nomyo.errors import ArgumentError, ArgumentTypeError, InsecureURLError, InsecureWarning
from nomyo_attest.evidence.response import PAYLOAD_ID_MAX

TAKEN = [
    ("https://api.nomyo.ai", "https://api.nomyo.ai", ("https", "api.nomyo.ai", 443)),
    ("https://api.nomyo.ai/", "https://api.nomyo.ai", ("https", "api.nomyo.ai", 443)),
    ("https://api.nomyo.ai///", "https://api.nomyo.ai", ("https", "api.nomyo.ai", 443)),
    ("HTTPS://API.Nomyo.AI", "https://api.nomyo.ai", ("https", "api.nomyo.ai", 443)),
    ("https://h:8443", "https://h:8443", ("https", "h", 8443)),
    ("https://h:443", "https://h:443", ("https", "h", 443)),
    ("https://h:", "https://h", ("https", "h", 443)),
    ("https://h/EU/West/", "https://h/EU/West", ("https", "h", 443)),
    ("https://h/a%20b/~c", "https://h/a%20b/~c", ("https", "h", 443)),
    ("https://h/a@b", "https://h/a@b", ("https", "h", 443)),
    ("https://127.0.0.1:1", "https://127.0.0.1:1", ("https", "127.0.0.1", 1)),
    ("https://[::1]:8443/x", "https://[::1]:8443/x", ("https", "::1", 8443)),
    ("https://[2001:DB8::1]", "https://[2001:db8::1]", ("https", "2001:db8::1", 443)),
    ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example", ("https", "xn--mnchen-3ya.example", 443)),
    ("https://my_host.lan.", "https://my_host.lan.", ("https", "my_host.lan.", 443)),
]
NO_URL = [
    "", "api.nomyo.ai", "//h", "/path", "https:", "https://", "https:///path", "https:h", "https://:443", "ftp://h",
    "file:///etc/passwd", "httpss://h", "https://h:99999", "https://h:-1", "https://h:port", "https://h:4 43",
    "https://[", "https://[]", "https://[::1", "https://[h]", "https://[v1.x]", "https://[::1%25lo]", "https://::1",
    "https://h\\x", "https://h%zz", "https://ho$t", "https://{h}", "https://münchen.example", " https://h",
    "https://h ", "https://h\n", "https://h\t", "https://h\x00", "\ufeffhttps://h", "https://h/ü", "https://h:\uff14\uff14\uff13",
]  # fmt: skip
REFUSED_PARTS = [
    ("https://user@h", "no user name or password"),
    ("https://user:pass@h", "no user name or password"),
    ("https://:@h", "no user name or password"),
    ("https://@h", "no user name or password"),
    ("https://good.example\\@h", "no user name or password"),
    ("https://h?x=1", "no query"),
    ("https://h/?", "no query"),
    ("https://h/#", "no fragment"),
    ("https://h#x", "no fragment"),
]
LOOPBACK = ["localhost", "LOCALHOST", "127.0.0.1", "127.255.0.9", "[::1]", "[0:0:0:0:0:0:0:1]"]
REMOTE = [
    "api.nomyo.ai", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example", "0.0.0.0", "[::]", "10.0.0.1",
    "192.168.0.1", "169.254.169.254", "[fe80::1]", "127.1", "2130706433", "0x7f000001", "localhost.",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_warning_but_where_it_is_asked_for() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(("text", "kept", "origin"), TAKEN)
def test_a_base_url_becomes_scheme_host_port_and_path_without_a_slash_at_its_end(
    text: str, kept: str, origin: tuple[str, str, int]
) -> None:
    url = config.parse_base_url(text)
    assert (url.text, url.origin) == (kept, origin)


def test_a_base_url_that_was_checked_does_not_change() -> None:
    with pytest.raises(AttributeError):
        config.parse_base_url("https://h").text = "http://h"  # type: ignore[misc] # what is tested


@pytest.mark.parametrize("text", NO_URL)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"^base_url: expected ") as caught:
        config.parse_base_url(text)
    assert type(caught.value) is ArgumentError
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("text", "words"), REFUSED_PARTS)
def test_a_password_a_query_and_a_fragment_are_refused(text: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        config.parse_base_url(text)


@pytest.mark.parametrize("value", [None, 5, b"https://h", Path("https://h"), ["https://h"]])
def test_a_base_url_is_a_str(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="base_url: expected a str, got "):
        config.parse_base_url(value)


@pytest.mark.parametrize("host", [*LOOPBACK, *REMOTE])
def test_plain_http_is_refused_and_the_message_names_allow_http(host: str) -> None:
    for options in ({}, {"unsafe_remote_http": True}):
        with pytest.raises(InsecureURLError, match="allow_http=True") as caught:
            config.parse_base_url(f"http://{host}", **options)
        assert caught.value.code == "insecure_url"


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_with_allow_http_this_machine_may_be_reached_in_the_clear_with_a_warning(host: str, scheme: str) -> None:
    with pytest.warns(InsecureWarning, match="plain http to "):
        url = config.parse_base_url(f"{scheme}://{host}", allow_http=True)
    assert url.origin[0] == "http"
    assert url.origin[2] == 80


@pytest.mark.parametrize("host", REMOTE)
def test_other_machines_need_a_second_louder_word(host: str) -> None:
    with pytest.raises(InsecureURLError, match="unsafe_remote_http=True"):
        config.parse_base_url(f"http://{host}", allow_http=True)
    with pytest.warns(InsecureWarning):
        config.parse_base_url(f"http://{host}", allow_http=True, unsafe_remote_http=True)


@pytest.mark.parametrize("name", ["allow_http", "unsafe_remote_http", "secure_memory"])
@pytest.mark.parametrize("value", ["false", "0", "", "no", 2, 1.0, [], object()])
def test_a_flag_is_true_or_false(name: str, value: object) -> None:
    # bool("false"), as a variable of the environment may have it, is True.
    arguments: dict[str, Any] = {"allow_http": True, "unsafe_remote_http": True, name: value}
    with pytest.raises(ArgumentTypeError, match=f"{name}: expected True or False, got "):
        SecureChatCompletion("http://192.0.2.1", **arguments)


@pytest.mark.parametrize("value", [False, 0, None])
def test_none_and_0_do_not_allow_plain_http(value: Any) -> None:
    with pytest.raises(InsecureURLError):
        SecureChatCompletion("http://127.0.0.1", allow_http=value)


def test_neither_word_makes_https_insecure() -> None:
    assert config.parse_base_url("https://h", allow_http=True, unsafe_remote_http=True).origin[0] == "https"


def taken_or_refused(text: str, **options: bool) -> config.BaseURL | Exception:
    """What `parse_base_url` makes of a text; any error but its own, and any warning but its own, fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureWarning)
        try:
            return config.parse_base_url(text, **options)
        except (ArgumentError, InsecureURLError) as error:
            return error


URL_PIECES = st.sampled_from(
    ["http", "https", ":", "//", "/", "@", "?", "#", "[", "]", "%", "\\", "localhost", "127.0.0.1", "::1", "h", ".",
     "-", "_", "443", "99999", "..", " ", "\t", "\n", "\x00", "ü", "%25", "v1.x", "xn--", "\uff20", "℀", "user:pass@"]
)  # fmt: skip
URL_LIKE = st.one_of(
    st.text(max_size=60),
    st.lists(URL_PIECES, max_size=12).map("".join),
    st.builds("{}://{}".format, st.sampled_from(["http", "https", "HTTPS"]), st.text(max_size=40)),
    st.builds("https://{}{}".format, st.lists(URL_PIECES, max_size=6).map("".join), st.text(max_size=10)),
)


@given(text=URL_LIKE, allow_http=st.booleans(), remote=st.booleans())
@example(text="https://[::1]:0//", allow_http=False, remote=False)
@example(text="https://h/℀", allow_http=False, remote=False)
def test_any_text_is_taken_or_refused_and_what_is_taken_means_the_same_when_read_again(
    text: str, allow_http: bool, remote: bool
) -> None:
    url = taken_or_refused(text, allow_http=allow_http, unsafe_remote_http=remote)
    if isinstance(url, Exception):
        return
    assert taken_or_refused(url.text, allow_http=allow_http, unsafe_remote_http=remote) == url
    assert url.text.isascii()
    assert not url.text.endswith("/")
    assert not {"@", "?", "#"} & set(urlsplit(url.text).netloc + urlsplit(url.text).query)
    parts = urlsplit(url.text)
    assert parts.scheme in (("https", "http") if allow_http else ("https",))
    port = parts.port if parts.port is not None else {"https": 443, "http": 80}[parts.scheme]
    assert (parts.scheme, parts.hostname, port) == url.origin


PASSWORD = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=30)


@given(password=PASSWORD, form=st.sampled_from([
    "https://user:{}@h", "https://{}@h", "https://{}:x@h:99999", "https://user:{}@", "http://user:{}@localhost",
    "https://h/?key={}", "https://h/#{}", "https://user:{}@h ", "https://user:{}@[", "ftp://user:{}@h", "{}", "{}@h",
    "user:{}@h", "https://h:{}", "https://h\n{}", "https://user:{}@ü", "https://user:{}[@h", "http://{}@h?",
]))  # fmt: skip
def test_what_may_be_a_password_is_quoted_in_no_message(password: str, form: str) -> None:
    password = f"hunter2{password}"
    error = taken_or_refused(form.format(password), allow_http=True, unsafe_remote_http=True)
    assert isinstance(error, Exception), error
    assert password.lower() not in f"{error!s} {error!r} {error.args} {vars(error)}".lower()


@pytest.mark.parametrize("value", [0, 1, 2, 1000])
def test_a_number_of_retries_is_a_whole_number_from_zero(value: int) -> None:
    assert config.check_max_retries(value) == value


REFUSED: list[tuple[Callable[[Any], object], Any, type[ArgumentError], str]] = [
    (config.check_max_retries, -1, ArgumentError, "max_retries: expected 0 or more, got -1"),
    (config.check_max_retries, True, ArgumentTypeError, "max_retries: expected an int, got bool"),
    (config.check_max_retries, 2.0, ArgumentTypeError, "max_retries: expected an int, got float"),
    (config.check_max_retries, None, ArgumentTypeError, "got NoneType; pass the key folder as key_dir"),
    (config.check_max_retries, "keys", ArgumentTypeError, "got str; pass the key folder as key_dir"),
    (config.check_timeout, 0, ArgumentError, "timeout: expected a finite number of seconds above 0, got 0"),
    (config.check_timeout, -0.0, ArgumentError, "above 0, got -0"),
    (config.check_timeout, -5, ArgumentError, "above 0, got -5"),
    (config.check_timeout, math.nan, ArgumentError, "finite .* got nan"),
    (config.check_timeout, math.inf, ArgumentError, "finite .* got inf"),
    (config.check_timeout, 10**400, ArgumentError, "finite .* got inf"),
    (config.check_timeout, -(10**400), ArgumentError, "timeout: expected"),
    (config.check_timeout, True, ArgumentTypeError, "timeout: expected seconds as a number, got bool"),
    (config.check_timeout, "5", ArgumentTypeError, "timeout: expected seconds as a number, got str"),
    (config.check_timeout, None, ArgumentTypeError, "timeout: expected seconds as a number, got NoneType"),
    (config.check_key_bits, 2047, ArgumentError, "min_server_key_bits: expected 2048 or more, got 2047"),
    (config.check_key_bits, 4096.0, ArgumentTypeError, "min_server_key_bits: expected an int, got float"),
    (config.check_key_bits, True, ArgumentTypeError, "min_server_key_bits: expected an int, got bool"),
    (config.check_api_key, b"key", ArgumentTypeError, "api_key: expected a str, got bytes"),
    (config.check_api_key, 0, ArgumentTypeError, "api_key: expected a str, got int"),
    (config.check_payload_id, None, ArgumentTypeError, "payload_id: expected a str, got NoneType"),
    (config.check_payload_id, b"id", ArgumentTypeError, "payload_id: expected a str, got bytes"),
    (config.check_pins, None, ArgumentTypeError, "server_key_pins: expected a list of str, got NoneType"),
    (config.check_pins, [], ArgumentError, "server_key_pins: expected at least one fingerprint, got none"),
    (config.check_pins, iter(()), ArgumentError, "server_key_pins: expected at least one fingerprint, got none"),
    (config.check_pins, 5, ArgumentTypeError, "server_key_pins: expected a list of str, got int"),
]


@pytest.mark.parametrize(("check", "value", "kind", "message"), REFUSED)
def test_an_argument_that_makes_no_sense_is_refused_by_name(
    check: Callable[[Any], object], value: Any, kind: type[ArgumentError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        check(value)
    assert type(caught.value) is kind


@pytest.mark.parametrize("value", [0.001, 1, 900.0, 10**9])
def test_a_timeout_is_a_number_of_seconds(value: float) -> None:
    assert config.check_timeout(value) == value
    assert type(config.check_timeout(value)) is float


def test_shorter_server_keys_are_taken_only_aloud() -> None:
    assert config.check_key_bits(4096) == 4096
    assert config.check_key_bits(8192) == 8192
    for bits in (2048, 4095):
        with pytest.warns(InsecureWarning, match=f"server keys of {bits} bits"):
            assert config.check_key_bits(bits) == bits


@pytest.mark.parametrize("value", [None, ""])
def test_no_api_key_is_none(value: str | None) -> None:
    assert config.check_api_key(value) is None


@pytest.mark.parametrize("value", ["k", "NOMYO_AI_E2EE_INFERENCE", "a.b-c~d+e/f==", "!$%&"])
def test_an_api_key_is_printable_ascii(value: str) -> None:
    assert config.check_api_key(value) == value


@pytest.mark.parametrize("form", ["{}\n", "{}\r\nX: y", " {}", "{} x", "{}\x00", "{}ü", "\t{}", "{}\x7f", "{}\u2028"])
def test_an_api_key_that_fits_into_no_header_is_refused_and_not_quoted(form: str) -> None:
    with pytest.raises(ArgumentError, match="api_key: expected printable ASCII") as caught:
        config.check_api_key(form.format("hunter2hunter2"))
    assert "hunter2" not in f"{caught.value!s}{caught.value!r}{vars(caught.value)}"


@pytest.mark.parametrize("tier", [None, "standard", "high", "maximum"])
def test_the_tiers_are_these(tier: str | None) -> None:
    assert config.check_tier(tier) == tier


@pytest.mark.parametrize("tier", ["", "High", "high ", "ultra", "x" * 1000, "high\r\nX-Evil: 1"])
def test_another_tier_is_refused_in_the_published_words(tier: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        config.check_tier(tier)
    assert str(caught.value) == f"Invalid security_tier: {tier[:40]!r}. Must be one of: standard, high, maximum"


@pytest.mark.parametrize("tier", [5, ["high"], {"high": 1}, b"high", True])
def test_a_tier_that_is_no_str_is_told_by_its_type(tier: object) -> None:
    with pytest.raises(ArgumentError, match=f"Invalid security_tier: {type(tier).__name__}. Must be one of: "):
        config.check_tier(tier)


@pytest.mark.parametrize("value", ["x", "a b", "6f1c8a52-0d3e-4b7a-9c45-2e8f7d10b364", "~!@#", "x" * 1024])
def test_a_payload_id_is_printable_ascii(value: str) -> None:
    assert config.check_payload_id(value) == value


@pytest.mark.parametrize("value", ["", " ", " x", "x ", "x\n", "x\r\ny", "\x00", "ü", "x" * 1025, "\u2028", "\x7f"])
def test_a_payload_id_that_fits_into_no_header_is_refused(value: str) -> None:
    with pytest.raises(ArgumentError, match="payload_id: expected 1 to 1024 printable ASCII characters"):
        config.check_payload_id(value)


def test_pins_may_be_one_or_several() -> None:
    assert config.check_pins("sha256/a") == ("sha256/a",)
    assert config.check_pins(["a", "b"]) == ("a", "b")
    assert config.check_pins(iter("ab")) == ("a", "b")
    assert config.check_pins(()) == ()


def test_a_path_may_be_a_str_or_a_path() -> None:
    assert config.check_path("key_dir", "x") == Path("x")
    assert config.check_path("key_dir", Path("x")) == Path("x")
    for value in (None, 5, b"x", ["x"]):
        with pytest.raises(ArgumentTypeError, match=f"key_dir: expected a path, got {type(value).__name__}"):
            config.check_path("key_dir", value)


def test_the_numbers_that_users_were_told() -> None:
    assert config.DEFAULT_BASE_URL == "https://api.nomyo.ai"
    assert (config.TIMEOUT, config.SERVER_KEY_BITS, config.BITS_FLOOR) == (900.0, 4096, 2048)
    assert config.TIERS == ("standard", "high", "maximum")


def test_the_warning_names_the_line_that_asked_for_it() -> None:
    with pytest.warns(InsecureWarning) as warned:
        SecureChatCompletion("http://localhost:1", allow_http=True)
    assert {one.filename for one in warned} == {__file__}


def test_a_subdomain_of_localhost_is_somebody_elses_until_it_is_resolved() -> None:
    with pytest.raises(InsecureURLError, match="not this machine"):
        config.parse_base_url("http://api.localhost", allow_http=True)


def test_a_payload_id_may_be_as_long_as_the_verifier_accepts() -> None:
    assert config.PAYLOAD_ID_MAX == PAYLOAD_ID_MAX
