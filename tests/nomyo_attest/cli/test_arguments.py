"""Values of options that several commands have."""

from __future__ import annotations

import argparse

import pytest

import nomyo.cli
import nomyo_attest.cli
from nomyo_attest.cli.arguments import Parser, decimal_number, web_address, whole_number
from nomyo_attest.cli.program import Program


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("007", 7), ("-12", -12), ("9" * 18, 10**18 - 1)])
def test_a_whole_number_has_ascii_digits(text: str, value: int) -> None:
    assert whole_number(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "٩", "\uff19", "1_0", " 1", "1 ", "1\n", "+1", "--1", "1.0", "1e3", "0x10", "nan", "9" * 19, "9" * 5000],
)
def test_other_spellings_of_a_whole_number_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"^invalid number '.*': expected a whole number"):
        whole_number(text)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("1.5", 1.5), (".5", 0.5), ("5.", 5), ("-2", -2), ("1e3", 1000), ("2.5E-3", 0.0025)]
)
def test_a_decimal_number_has_ascii_digits(text: str, value: float) -> None:
    assert decimal_number(text) == value


@pytest.mark.parametrize(
    "text", ["", ".", "٩", "1_0", "1.0_0", " 1", "1\n", "+1", "nan", "inf", "-Infinity", "1e999", "1,5", "0x1p3"]
)
def test_other_spellings_of_a_decimal_number_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"^invalid number '.*': expected a decimal number"):
        decimal_number(text)


@pytest.mark.parametrize("text", ["https://example.org/docs/rules.md", "HTTP://[::1]:8080/rules?x=1"])
def test_a_web_address_is_an_http_or_https_url(text: str) -> None:
    assert web_address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "rules.md", "//example.org", "https:", "https:///x", "javascript:alert(1)", "data:text/html,x"),
        *("file:///etc/passwd", "https://[", "https://example.org/a b", "https://example.org/\n", " https://a.b"),
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"^invalid address '.*': expected an http or https URL"):
        web_address(text)


@pytest.mark.parametrize(
    ("program", "words"),
    [(one, words) for one in (nomyo_attest.cli.PROGRAM, nomyo.cli.PROGRAM) for words in one.commands],
)
def test_no_option_uses_the_lenient_numbers_of_python(program: Program, words: str) -> None:
    parser = Parser("x", words, "", "")
    program.load(words).configure(parser)
    assert [action.dest for action in parser._actions if action.type in (int, float)] == []
