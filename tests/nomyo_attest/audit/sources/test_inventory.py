"""What is read under the names given, and what is not."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from nomyo_attest.audit.sources import Inventory, InventoryError, read_chunks, take_inventory
from nomyo_attest.audit.sources import inventory as inventory_module
from nomyo_attest.errors import NomyoAttestError
from tests.nomyo_attest.audit.sources.helpers import read, write_files


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(inventory: Inventory) -> list[str]:
    return [source.name for source in inventory.sources]


def problems(inventory: Inventory) -> dict[str, str]:
    return {source.name: source.problem for source in inventory.sources if source.problem}


def tree(*paths: str, content: bytes = b"{}") -> None:
    write_files(Path(), dict.fromkeys(paths, content))


def test_names_are_read_in_the_order_given_and_folders_sorted_in_depth() -> None:
    tree("z.json", "d/b.jsonl", "d/a/z.JSON", "d/a.json", "d/B.ndjson.gz", "d/c.parquet", "d/ä.json")
    inventory = take_inventory(["z.json", "d"])
    assert names(inventory) == [
        "z.json",
        "d/B.ndjson.gz",
        "d/a/z.JSON",
        "d/a.json",
        "d/b.jsonl",
        "d/c.parquet",
        "d/ä.json",
    ]
    assert [source.number for source in inventory.sources] == list(range(7))
    assert (inventory.count, inventory.size) == (7, 14)


@pytest.mark.parametrize(
    ("typed", "name"), [("d", "d/a.json"), ("d/", "d/a.json"), (".", "./d/a.json"), ("./d", "./d/a.json")]
)
def test_a_source_is_named_as_typed(typed: str, name: str) -> None:
    tree("d/a.json")
    assert names(take_inventory([typed])) == [name]


def test_a_folder_with_more_names_than_are_sorted_at_once_is_sorted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inventory_module, "NAMES_SORTED", 7)
    tree(*(f"d/{number * 37 % 101}.json" for number in range(101)), "e/only.json")
    assert names(take_inventory(["d", "e"])) == [
        *sorted(f"d/{number}.json" for number in range(101)),
        "e/only.json",
    ]


def test_files_without_a_name_of_records_are_passed_over_and_listed() -> None:
    tree("d/a.json", "d/readme.md", "d/.hidden", "d/.git/b.json", "d/s/notes")
    inventory = take_inventory(["d"])
    assert names(inventory) == ["d/a.json"]
    assert inventory.skipped == ("d/.git", "d/.hidden", "d/readme.md", "d/s/notes")
    assert inventory.skipped_total == 4


def test_the_first_hundred_files_passed_over_are_listed_and_all_are_counted() -> None:
    tree("d/a.json", *(f"d/{number:03}.txt" for number in range(150)))
    inventory = take_inventory(["d"])
    assert inventory.skipped == tuple(f"d/{number:03}.txt" for number in range(100))
    assert inventory.skipped_total == 150


def test_a_name_that_begins_with_a_dot_or_an_underscore_is_read() -> None:
    tree("d/.bad.jsonl", "d/.x/bad.json", "d/_bad.parquet", "d/_x/.y/_bad.json.gz", "d/part-0.json", "d/_SUCCESS")
    inventory = take_inventory(["d"])
    assert names(inventory) == [
        "d/.bad.jsonl",
        "d/.x/bad.json",
        "d/_bad.parquet",
        "d/_x/.y/_bad.json.gz",
        "d/part-0.json",
    ]
    assert inventory.skipped == ("d/_SUCCESS",)


@pytest.mark.parametrize("sign", ["t/_SUCCESS", "t/part-00000-1.json", "t/a.snappy.parquet"])
def test_unfinished_files_in_a_folder_that_spark_writes_are_passed_over(sign: str) -> None:
    tree(
        "d/b.json", f"d/{sign}", f"d/t/.{Path(sign).name}.crc", "d/t/_temporary/0/part-0.json", "d/t/_temporary/1.json"
    )
    inventory = take_inventory(["d"])
    assert not [name for name in names(inventory) if "_temporary" in name]
    assert {f"d/t/.{Path(sign).name}.crc", "d/t/_temporary"} <= set(inventory.skipped)
    assert not problems(inventory)


def test_a_folder_called_temporary_elsewhere_is_read() -> None:
    tree("d/_temporary/bad.json", "d/a.json")
    Path("d/z.json").symlink_to("_temporary/bad.json")
    inventory = take_inventory(["d"])
    assert names(inventory) == ["d/_temporary/bad.json", "d/a.json"]
    assert inventory.duplicate_names == ("d/z.json",)


@pytest.mark.parametrize("typed", ["d", "d/t"])
def test_a_delta_table_is_reported_with_a_hint_and_its_log_is_not_read_as_records(typed: str) -> None:
    tree("d/t/_delta_log/00000000000000000000.json", "d/t/part-00000-1.snappy.parquet", "d/t/day=1/part-2.parquet")
    inventory = take_inventory([typed])
    assert names(inventory) == ["d/t", "d/t/day=1/part-2.parquet", "d/t/part-00000-1.snappy.parquet"]
    assert inventory.skipped == ("d/t/_delta_log",)
    (problem,) = problems(inventory).items()
    assert problem[0] == "d/t"
    assert problem[1].startswith("is a Delta table, whose Parquet files may also contain rows that were deleted")


def test_a_name_that_does_not_exist_is_a_source_that_fails() -> None:
    tree("a.json")
    result = read("a.json", "b.jsonl", "c.parquet", "d", "a.json/e.json", "f\0.json")
    assert result.texts == [b"{}"]
    assert [(end.name, end.kind, end.size, end.sha256) for end in result.ends[1:]] == [
        ("b.jsonl", "jsonl", None, None),
        ("c.parquet", "parquet", None, None),
        ("d", "json", None, None),
        ("a.json/e.json", "json", None, None),
        ("f\0.json", "json", None, None),
    ]
    assert [(record.line, record.text, record.problem) for record in result.records[1:]] == [
        (0, None, "cannot be read: No such file or directory; check the name"),
        (0, None, "cannot be read: No such file or directory; check the name"),
        (0, None, "cannot be read: No such file or directory; check the name"),
        (0, None, "cannot be read: Not a directory; check the name: a part of it is a file"),
        (0, None, "cannot be read: invalid file name"),
    ]
    assert [end.problem for end in result.ends] == [record.problem for record in result.records]


def test_a_named_file_with_an_unsupported_extension_fails() -> None:
    tree("notes.txt")
    assert "unsupported file extension: expected .json" in read("notes.txt").problem


@pytest.mark.parametrize("names", [(), (".hidden",), (".git/a.json",), ("notes.txt", "s/more.txt")])
def test_a_folder_without_records_is_a_source_that_fails(names: tuple[str, ...]) -> None:
    Path("d").mkdir()
    tree(*(f"d/{name}" for name in names))
    assert read("d").problem.startswith("contains no file of records: expected names ending in .json")


def test_a_folder_in_a_folder_may_be_empty() -> None:
    tree("d/a.json")
    Path("d/empty").mkdir()
    assert read("d").places == [("d/a.json", 1)]


def test_a_file_and_a_folder_that_may_not_be_read_are_sources_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    tree("d/a.json", "d/b.jsonl", "d/s/c.json")
    # Patched, since everything is open to the superuser, who runs tests in containers.
    allowed = os.open, os.scandir

    def opened(path: str, flags: int) -> int:
        if path.startswith("d/"):
            raise PermissionError(13, "Permission denied")
        return allowed[0](path, flags)

    def listed(path: bytes) -> object:
        if path == b"d/s":
            raise PermissionError(13, "Permission denied")
        return allowed[1](path)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "scandir", listed)
    result = read("d")
    assert [(record.name, record.line, record.problem) for record in result.records] == [
        ("d/a.json", 0, "cannot be read: Permission denied; check its permissions"),
        ("d/b.jsonl", 0, "cannot be read: Permission denied; check its permissions"),
        ("d/s", 0, "cannot be listed: Permission denied; check its permissions"),
    ]


def test_a_special_file_with_a_name_of_records_is_a_source_that_fails() -> None:
    tree("d/a.json")
    os.mkfifo("d/pipe.jsonl")
    os.mkfifo("d/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("d/socket.json")
        inventory = take_inventory(["d", "/dev/null"])
    assert problems(inventory) == {
        "d/pipe.jsonl": "is a pipe, not a file; to read from it, connect it to standard input (-)",
        "d/socket.json": "is a socket, not a file; to read from it, connect it to standard input (-)",
        "/dev/null": "is a device, not a file; to read from it, connect it to standard input (-)",
    }
    assert inventory.skipped == ("d/pipe",)


def test_a_file_named_twice_is_read_once_and_listed() -> None:
    tree("d/a.json", "d/b.json")
    inventory = take_inventory(["d/a.json", "d", "./d/a.json", "d/", "d/b.json"])
    assert names(inventory) == ["d/a.json", "d/b.json"]
    assert inventory.duplicate_names == ("d/a.json", "d/b.json", "./d/a.json", "d/")
    assert inventory.duplicate_names_total == 4


def test_a_folder_in_a_folder_is_read_where_it_is_named() -> None:
    tree("d/a.json", "d/s/b.json")
    for order in (["d", "d/s"], ["d/s", "d"]):
        inventory = take_inventory(order)
        assert sorted(names(inventory)) == ["d/a.json", "d/s/b.json"]
        assert inventory.duplicate_names == ("d/s",)


def test_a_folder_all_of_which_is_read_elsewhere_does_not_fail() -> None:
    tree("d/a.json")
    inventory = take_inventory(["d/a.json", "d"])
    assert names(inventory) == ["d/a.json"]


def test_links_are_followed_and_no_file_is_read_twice_by_them() -> None:
    tree("d/a.json", "out/b.json", "out/s/c.json", "out/data.bin")
    Path("d/latest.json").symlink_to("a.json")
    Path("d/one.json").symlink_to("../out/b.json")
    Path("d/two.json").symlink_to("../out/b.json")
    Path("d/folder").symlink_to("../out")
    Path("d/within").symlink_to("../out/s")
    Path("d/other.json").symlink_to("../out/data.bin")
    inventory = take_inventory(["d"], follow_links=True)
    # "folder" comes before "one.json" and has what that leads to.
    assert names(inventory) == ["d/a.json", "d/folder/b.json", "d/folder/s/c.json", "d/other.json"]
    assert inventory.duplicate_names == ("d/latest.json", "d/one.json", "d/two.json", "d/within")


def test_a_link_that_leads_out_of_the_folder_is_a_source_that_fails(tmp_path: Path) -> None:
    tree("d/a.json", "d/s/notes", "out/b.json", "d-too/c.json")
    Path("d/all").symlink_to("/")
    Path("d/beside.json").symlink_to("../d-too/c.json")
    Path("d/folder").symlink_to(tmp_path / "out")
    Path("d/up").symlink_to("../..")
    Path("d/notes").symlink_to("../out/b.json")
    inventory = take_inventory(["d"])
    assert names(inventory) == ["d/a.json", "d/all", "d/beside.json", "d/folder", "d/up"]
    hint = f"which is outside the folder {tmp_path}/d; name the target as a source, or give --follow-links to read"
    assert {name: problem.partition(hint)[0] for name, problem in problems(inventory).items()} == {
        "d/all": "is a symbolic link to /, ",
        "d/beside.json": f"is a symbolic link to {tmp_path}/d-too/c.json, ",
        "d/folder": f"is a symbolic link to {tmp_path}/out, ",
        "d/up": f"is a symbolic link to {tmp_path.parent}, ",
    }
    assert inventory.skipped == ("d/notes", "d/s/notes")
    result = read("d")
    assert result.places == [("d/a.json", 1), ("d/all", 0), ("d/beside.json", 0), ("d/folder", 0), ("d/up", 0)]


def test_a_link_to_another_named_file_does_not_fail() -> None:
    tree("d/a.json", "out/b.json", "out/s/c.json")
    Path("d/folder").symlink_to("../out")
    Path("d/file.json").symlink_to("../out/s/c.json")
    inventory = take_inventory(["d", "out"])
    assert names(inventory) == ["d/a.json", "out/b.json", "out/s/c.json"]
    assert inventory.duplicate_names == ("d/file.json", "d/folder")


def test_a_link_within_the_folder_that_is_named_by_a_link_is_followed() -> None:
    tree("real/.git/annex/KEY", "real/a.json")
    Path("d").symlink_to("real")
    Path("real/b.json").symlink_to(".git/annex/KEY")
    assert names(take_inventory(["d"])) == ["d/a.json", "d/b.json"]
    assert read("d").texts == [b"{}", b"{}"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_a_file_replaced_by_a_link_out_of_the_folder_is_not_read(name: str, swapped: str) -> None:
    tree(f"d/s/{name}", f"out/s/{name}")
    status = Path("d", "s", name).stat()
    os.utime(f"out/s/{name}", ns=(status.st_atime_ns, status.st_mtime_ns))
    inventory = take_inventory(["d"])
    place = Path("d", "s", name) if swapped == "file" else Path("d/s")
    place.rename("away")
    place.symlink_to(Path("out", *place.parts[1:]).absolute())
    records = [record for chunk in read_chunks(inventory) for record in chunk.records()]
    assert [(record.text, record.line) for record in records] == [(None, 0)]
    assert records[0].problem.startswith("changed while it was audited: is a symbolic link to ")


def test_a_folder_that_was_moved_can_be_resumed() -> None:
    tree("one/d/a.json")
    os.chdir("one")
    before = take_inventory(["d"]).identity()
    os.chdir("..")
    Path("one").rename("two")
    os.chdir("two")
    assert take_inventory(["d"]).identity() == before


def test_circular_links_end(tmp_path: Path) -> None:
    tree("d/a.json", "d/s/b.json", "c.json")
    Path("d/s/up").symlink_to("..")
    Path("d/s/top").symlink_to("../..")
    Path("d/self.json").symlink_to("self.json")
    Path("d/gone.json").symlink_to("nowhere")
    Path("d/gone").symlink_to("nowhere")
    inventory = take_inventory(["d"], follow_links=True)
    assert names(inventory) == ["d/a.json", "d/gone.json", "d/s/b.json", "d/s/top/c.json", "d/self.json"]
    assert problems(inventory) == {
        "d/gone.json": "cannot be read: No such file or directory; check the name",
        "d/self.json": "cannot be read: Too many levels of symbolic links",
    }
    assert inventory.duplicate_names == ("d/s/top/d", "d/s/up")
    assert inventory.skipped == ("d/gone",)


def test_a_link_that_is_named_is_read_under_that_name() -> None:
    tree("d/a.json")
    Path("link.json").symlink_to("d/a.json")
    inventory = take_inventory(["link.json", "d"])
    assert names(inventory) == ["link.json"]
    assert inventory.duplicate_names == ("d/a.json",)


def test_a_link_to_a_folder_with_a_dot_is_read_once() -> None:
    tree("d/..2026_11/a.json")  # as Kubernetes mounts a ConfigMap
    Path("d/..data").symlink_to("..2026_11")
    Path("d/a.json").symlink_to("..data/a.json")
    inventory = take_inventory(["d"])
    assert names(inventory) == ["d/..2026_11/a.json"]
    assert inventory.duplicate_names == ("d/..data", "d/a.json")


def test_of_hard_links_to_one_file_the_first_is_read() -> None:
    tree("monday/a.json")
    Path("tuesday").mkdir()
    os.link("monday/a.json", "tuesday/a.json")
    inventory = take_inventory(["monday", "tuesday"])
    assert names(inventory) == ["monday/a.json"]
    assert inventory.duplicate_names == ("tuesday/a.json",)


def test_a_copy_is_read() -> None:
    tree("monday/a.json", "tuesday/a.json")
    assert len(read("monday", "tuesday").texts) == 2


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there only")
def test_a_name_that_is_not_utf_8_is_read_and_written_with_backslashes() -> None:
    Path("d").mkdir()
    with open(b"d/\xff.jsonl", "wb") as file:  # noqa: PTH123 - a name in bytes
        file.write(b"{}\n")
    assert read("d").places == [(r"d/\xff.jsonl", 1)]


def test_folders_nested_deeper_than_calls_may_be_are_listed() -> None:
    deep = "/".join("d" * 300)
    for length in range(1, len(deep) + 1, 2):
        Path(deep[:length]).mkdir()
    tree(f"{deep}/a.json")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(250)
    try:
        inventory = take_inventory(["d"])
    finally:
        sys.setrecursionlimit(limit)
    assert names(inventory) == [f"{deep}/a.json"]


def test_a_folder_whose_path_is_longer_than_a_path_may_be_is_a_source_that_fails() -> None:
    here = Path.cwd()
    for _ in range(20):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    os.chdir(here)
    (problem,) = problems(take_inventory(["d" * 250])).values()
    assert problem == "cannot be read: File name too long"


def test_standard_input_is_read_once_only() -> None:
    with pytest.raises(InventoryError, match=r"standard input \(-\) can be read only once; pass it once") as raised:
        take_inventory(["-", "a.json", "-"])
    assert isinstance(raised.value, NomyoAttestError)


def test_the_identity_changes_with_everything_that_would_be_read() -> None:
    tree("d/a.json", "d/b.jsonl")
    seen = {take_inventory(["d"]).identity(), take_inventory(["d"], column="x").identity()}
    assert take_inventory(["d"]).identity() in seen
    os.utime("d/a.json", ns=(1, 1))
    seen.add(take_inventory(["d"]).identity())
    Path("d/b.jsonl").write_bytes(b"")
    seen.add(take_inventory(["d"]).identity())
    Path("d/b.jsonl").rename("d/c.jsonl")
    seen.add(take_inventory(["d"]).identity())
    seen.add(take_inventory(["d", "gone.json"]).identity())
    seen.add(take_inventory(["d/c.jsonl", "d/a.json"]).identity())
    assert len(seen) == 7


def test_files_passed_over_do_not_change_the_identity() -> None:
    tree("d/a.json")
    before = take_inventory(["d"]).identity()
    tree("d/verdicts.txt")
    assert take_inventory(["d"]).identity() == before


def test_an_audit_of_a_pipe_cannot_be_resumed() -> None:
    tree("a.json")
    assert take_inventory(["a.json"]).is_rereadable
    assert not take_inventory(["a.json", "-"]).is_rereadable


def test_the_sources_can_be_iterated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory_module, "_PACK_SOURCES", 10)
    tree(*(f"d/{number:02}.json" for number in range(25)))
    inventory = take_inventory(["d"])
    assert list(inventory.sources) == list(inventory.sources)
    assert names(inventory) == [f"d/{number:02}.json" for number in range(25)]
    assert inventory.count == 25
