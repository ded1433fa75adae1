"""The runner of the examples in documents detects wrong ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.document_examples import ExampleError, examples, wants_router

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path / "document.md")


class Run:
    """Write a document and run its examples."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, text: str) -> int:
        """Count the examples that ran."""
        self.path.write_text(text, encoding="utf-8")
        found = examples(self.path)
        for example, _ in found:
            example.evaluate()
        return len(found)


def test_a_command_that_prints_what_the_document_says_passes(run: Run) -> None:
    assert run("# Title\n\n```console\n$ printf 'one\\ntwo\\n'\none\ntwo\n$ echo three | tr a-z A-Z\nTHREE\n```\n") == 1


def test_a_command_that_prints_something_else_fails(run: Run) -> None:
    with pytest.raises(ExampleError, match=r"(?s)\$ echo affirming.*-contraindicated.*\+affirming"):
        run("```console\n$ echo affirming\ncontraindicated\n```\n")


def test_output_that_the_document_omits_fails(run: Run) -> None:
    with pytest.raises(ExampleError, match=r"\+two"):
        run("```console\n$ printf 'one\\ntwo\\n'\none\n```\n")


def test_missing_output_fails(run: Run) -> None:
    with pytest.raises(ExampleError, match="-one"):
        run("```console\n$ true\none\n```\n")


@pytest.mark.parametrize("expected", ["one … four", "one…four", "one two\n…\nthree four", "…"])
def test_an_ellipsis_matches_parts_of_lines_and_whole_lines(run: Run, expected: str) -> None:
    assert run(f"```console\n$ printf 'one two\\nzero\\nthree four\\n'\n{expected}\n```\n") == 1


def test_an_ellipsis_hides_nothing_around_it(run: Run) -> None:
    with pytest.raises(ExampleError):
        run("```console\n$ echo one two three\none … four\n```\n")


def test_a_pattern_character_in_the_output_matches_only_itself(run: Run) -> None:
    with pytest.raises(ExampleError):
        run("```console\n$ echo abc\na.c\n```\n")


def test_standard_error_is_part_of_the_output(run: Run) -> None:
    assert run("```console\n$ echo oops >&2\noops\n```\n") == 1


def test_a_failing_command_fails_unless_the_status_is_shown(run: Run) -> None:
    with pytest.raises(ExampleError, match="status 3"):
        run("```console\n$ exit 3\n```\n")
    assert run("```console\n$ (exit 3); echo $?\n3\n```\n") == 1


def test_a_command_can_have_continuation_lines(run: Run) -> None:
    assert run("```console\n$ cat <<END\n> one\n> END\none\n```\n") == 1


def test_a_python_block_sees_the_blocks_before_it(run: Run) -> None:
    assert run("```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 1\n```\n") == 2


def test_a_python_block_may_await_outside_a_function(run: Run) -> None:
    block = "```python\nimport asyncio\nprint(await asyncio.sleep(0, 'one'))\n```\n"
    assert run(f"{block}\n<!-- printed -->\n```text\none\n```\n") == 2


def test_an_error_after_an_await_fails(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run("```python\nimport asyncio\nawait asyncio.sleep(0)\n1 / 0\n```\n")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# Title\n\n<!-- with-router -->\n\ntext\n", True),
        ("text\n", False),
        ("in `<!-- with-router -->` quotes\n", False),
    ],
)
def test_a_document_says_that_its_examples_need_a_router(tmp_path: Path, text: str, wanted: bool) -> None:
    document = tmp_path / "document.md"
    document.write_text(text, encoding="utf-8")
    assert wants_router(document) is wanted


def test_a_python_block_that_raises_fails(run: Run) -> None:
    with pytest.raises(AssertionError):
        run("```python\nassert 1 == 2\n```\n")


def test_the_output_of_a_python_block_is_compared_if_the_document_shows_it(run: Run) -> None:
    assert run("```python\nprint('one')\n```\n\n<!-- printed -->\n```text\none\n```\n") == 2
    with pytest.raises(ExampleError, match=r"-two\n\+one"):
        run("```python\nprint('one')\n```\n\n<!-- printed -->\n```text\ntwo\n```\n")


def test_a_block_can_be_a_file_that_a_command_reads(run: Run) -> None:
    assert (
        run('<!-- file: policy.toml -->\n```toml\nid = "x"\n```\n\n```console\n$ cat policy.toml\nid = "x"\n```\n') == 2
    )


def test_a_file_outside_the_working_folder_is_refused(run: Run) -> None:
    with pytest.raises(ExampleError, match="outside"):
        run("<!-- file: ../policy.toml -->\n```toml\n```\n")


def test_a_block_marked_not_run_is_left_out_and_must_say_why(run: Run) -> None:
    assert run("<!-- not-run: makes an environment -->\n```console\n$ false\n```\n") == 0
    with pytest.raises(ExampleError, match="requires text"):
        run("<!-- not-run: -->\n```console\n$ false\n```\n")


def test_a_block_in_a_setup_comment_runs(run: Run) -> None:
    text = "<!-- setup\n```console\n$ echo one > file\n```\n-->\n```console\n$ cat file\none\n```\n"
    assert run(text) == 2


def test_a_comment_further_up_does_not_count(run: Run) -> None:
    with pytest.raises(ExampleError, match="status 1"):
        run("<!-- not-run: the reason -->\n\ntext\n\n```console\n$ false\n```\n")


@pytest.mark.parametrize("word", ["needs-tpm", "needs-spark"])
def test_a_block_that_needs_a_tpm_or_spark_has_a_note(tmp_path: Path, word: str) -> None:
    document = tmp_path / "document.md"
    document.write_text(f"<!-- {word} -->\n```console\n$ true\n```\n\n```console\n$ true\n```\n", encoding="utf-8")
    assert [note.word for _, note in examples(document)] == [word, ""]


@pytest.mark.parametrize("language", ["bash", "sh", "shell", "pycon", "{code-block} console"])
def test_a_language_that_is_not_checked_is_refused(run: Run, language: str) -> None:
    with pytest.raises(ExampleError, match="not checked"):
        run(f"```{language}\n$ true\n```\n")


def test_a_block_of_data_is_not_an_example(run: Run) -> None:
    assert run("```json\n{}\n```\n\n```toml\n```\n\n```\nplain\n```\n") == 0
