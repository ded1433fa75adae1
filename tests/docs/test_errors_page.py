"""docs/errors.md names exactly the exceptions, statuses and codes that exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import nomyo
from nomyo import errors
from nomyo.router.errors import MissingExtraError, RouterError
from nomyo.status import is_retryable, status_error

if TYPE_CHECKING:
    from pathlib import Path

EXCEPTIONS = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.NomyoError)
}
CODES = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, str) and value.islower()}


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "errors.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """The text under a heading."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads."""
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    rule = next(place for place, cells in enumerate(table) if re.fullmatch(r"-+:?", cells[0].strip()))
    return [[cell.strip() for cell in cells] for cells in table[rule + 1 :]]


def test_every_exception_has_a_row_with_its_cause_and_what_to_do(page: str) -> None:
    named: list[str] = []
    for first, cause, remediation in rows(section(page, "All exceptions")):
        named += re.findall(r"`(\w+)`", first)
        assert cause, first
        assert remediation or "never raised" in cause, first
    assert sorted(named) == sorted(EXCEPTIONS)


def test_two_names_in_one_row_are_one_exception(page: str) -> None:
    for first, *_ in rows(section(page, "All exceptions")):
        assert len({EXCEPTIONS[name] for name in re.findall(r"`(\w+)`", first)}) == 1


def test_the_tree_has_every_exception_in_its_place(page: str) -> None:
    above: list[type] = [Exception]
    seen = set()
    for line in section(page, "All exceptions").partition("```text\n")[2].partition("```")[0].splitlines()[1:]:
        found = re.match(r"(?P<branches>[ │├└─]*)(?P<name>\w+)\s*(?:\((?P<other>[\w.]+)\))?", line)
        assert found is not None, line
        depth, kind = len(found["branches"]) // 4, EXCEPTIONS[found["name"]]
        assert kind.__bases__[0] is above[depth - 1], line
        assert (found["other"] or "").rpartition(".")[2] == (kind.__bases__[1].__name__ if kind.__bases__[1:] else "")
        above[depth:] = [kind]
        seen.add(kind)
    assert seen == set(EXCEPTIONS.values())


def test_every_name_of_the_page_can_be_imported_from_nomyo() -> None:
    for name, kind in {**EXCEPTIONS, "InsecureWarning": errors.InsecureWarning}.items():
        assert getattr(nomyo, name) is kind
        assert name in nomyo.__all__


def test_the_errors_of_the_router_are_errors_of_nomyo(page: str) -> None:
    assert "`RouterError`" in page
    assert "`MissingExtraError`" in page
    assert issubclass(RouterError, errors.NomyoError)
    assert issubclass(MissingExtraError, errors.NomyoError)


def test_the_table_of_statuses_has_the_exception_and_the_retries_of_each(page: str) -> None:
    told = set()
    for statuses, exception, begins, again in rows(section(page, "Statuses")):
        for status in map(int, re.findall(r"\d+", statuses)):
            error = status_error(status, {}, b'{"detail": "why"}')
            assert f"`{type(error).__name__}`" == exception, status
            assert str(error).startswith(begins), status
            assert is_retryable(status, None, None) is again.startswith("yes"), status
            told.add(status)
    classes = {kind.usual_status for kind in EXCEPTIONS.values() if issubclass(kind, errors.APIStatusError)} - {None}
    assert classes <= told
    assert {status for status in range(300, 600) if is_retryable(status, None, None)} <= told


def test_the_table_of_codes_has_every_code_with_the_exception_that_carries_it(page: str) -> None:
    table = rows(section(page, "Codes of a `SecurityError`"))
    assert sorted(code.strip("`") for code, _ in table) == sorted(CODES)
    carriers = {code.strip("`"): carrier.partition(":")[0].strip("`") for code, carrier in table}
    for name, kind in EXCEPTIONS.items():
        if issubclass(kind, errors.SecurityError) and kind.code:
            assert carriers[kind.code] == name


def test_every_attribute_in_the_table_exists(page: str) -> None:
    whose: type[errors.NomyoError] = errors.NomyoError
    for of, names, _ in rows(section(page, "Attributes")):
        if of:
            whose = errors.NomyoError if of == "all" else EXCEPTIONS[of.strip("`")]
        error = made(whose)
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(error, name), f"{whose.__name__}.{name}"


def made(kind: type[errors.NomyoError]) -> errors.NomyoError:
    """Return an exception of a class."""
    if issubclass(kind, (errors.KeyStoreError, errors.EvidenceLogError)):
        return kind("key.pem", "is wrong", "fix it")
    if issubclass(kind, errors.AttestationError):
        return kind("not affirmed", None)  # type: ignore[arg-type]  # any result will do
    return kind("why")
