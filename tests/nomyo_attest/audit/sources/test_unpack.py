"""Archives: whole, cut off anywhere, with any byte changed."""

from __future__ import annotations

import os
import random
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.audit.sources.source import Packing, SourceDamageError
from nomyo_attest.audit.sources.unpack import ZSTANDARD_TEXT_BYTES, decompress, detect_packing
from tests.nomyo_attest.audit.sources.helpers import gz, join_lines, numbered_lines, zst

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS: dict[Packing, Callable[[bytes], bytes]] = {"gz": gz, "zst": zst}
packings = pytest.mark.parametrize("packing", ["gz", "zst"])

# Some of it packs well, some does not; several blocks of Zstandard.
TEXT = (
    join_lines(numbered_lines(300))
    + random.Random(7).randbytes(3000)
    + b"\n" * 300_000
    + join_lines(numbered_lines(50))
)
PACKED = {packing: pack(TEXT) for packing, pack in PACKERS.items()}


def blocks(data: bytes, places: list[int] | None = None) -> Iterator[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places or [])
    return (data[begin:end] for begin, end in pairwise([0, *ends, len(data)]) if end > begin)


def unpack(data: bytes, packing: Packing, places: list[int] | None = None) -> tuple[bytes, str]:
    """The text that comes out, and the problem behind it."""
    out = bytearray()
    try:
        for text in decompress(blocks(data, places), packing):
            out += text
    except SourceDamageError as damage:
        return bytes(out), str(damage)
    return bytes(out), ""


@packings
@given(places=st.lists(st.integers(0, 2**20), max_size=8))
def test_an_archive_gives_the_same_text_however_it_is_cut_into_blocks(packing: Packing, places: list[int]) -> None:
    assert unpack(PACKED[packing], packing, places) == (TEXT, "")


@packings
@given(cut=st.integers(0, 2**20), places=st.lists(st.integers(0, 2**20), max_size=3))
def test_an_archive_cut_off_anywhere_gives_the_text_before_and_an_error(
    packing: Packing, cut: int, places: list[int]
) -> None:
    data = PACKED[packing][: cut % len(PACKED[packing])]
    text, problem = unpack(data, packing, places)
    assert problem.startswith("cut off: ")
    assert TEXT.startswith(text)
    if packing == "gz":
        assert text == zlib.decompressobj(31).decompress(data)


@packings
@given(place=st.integers(0, 2**20), flip=st.integers(1, 255), places=st.lists(st.integers(0, 2**20), max_size=3))
def test_a_changed_byte_is_reported_or_changes_nothing(
    packing: Packing, place: int, flip: int, places: list[int]
) -> None:
    data = bytearray(PACKED[packing])
    data[place % len(data)] ^= flip
    text, problem = unpack(bytes(data), packing, places)
    assert problem or text == TEXT
    assert unpack(bytes(data), packing)[0] == text


@packings
def test_the_text_before_a_wrong_checksum_is_returned(packing: Packing) -> None:
    data = bytearray(PACKED[packing])
    data[-5 if packing == "gz" else -1] ^= 1  # the CRC-32 of gzip is before the length
    text, problem = unpack(bytes(data), packing)
    assert TEXT.startswith(text)
    assert len(TEXT) - len(text) < (1 if packing == "gz" else ZSTANDARD_TEXT_BYTES)
    assert problem.startswith("damaged: ")


def test_damage_in_a_zstandard_frame_loses_no_text_of_the_frames_before_it() -> None:
    frames = [zst(b"%d\n" % number * 50_000) for number in range(4)]
    damaged = bytearray(frames[3])
    damaged[-1] ^= 1
    text, problem = unpack(b"".join(frames[:3]) + bytes(damaged), "zst")
    assert text.startswith(b"0\n" * 50_000 + b"1\n" * 50_000 + b"2\n" * 50_000)
    assert problem == "damaged: Restored data doesn't match checksum"


def test_many_small_zstandard_frames_take_time_in_proportion_to_their_number() -> None:
    began = time.process_time()
    assert unpack(zst(b"") * 60_000, "zst") == (b"", "")  # 780 kB
    assert time.process_time() - began < 10


@packings
def test_several_archives_in_one_file_are_one_text(packing: Packing) -> None:
    pack = PACKERS[packing]
    assert unpack(pack(b"a\n") + pack(b"") + pack(b"b\n"), packing) == (b"a\nb\n", "")


@packings
@pytest.mark.parametrize("garbage", [b"x", b"\x1f", b"garbage", b"\0\0x"])
def test_other_bytes_behind_an_archive_are_damage(packing: Packing, garbage: bytes) -> None:
    text, problem = unpack(PACKERS[packing](b"a\n") + garbage, packing)
    assert text == b"a\n"
    assert problem.startswith(("damaged: the bytes behind the archive are not", "cut off: "))


def test_zeros_behind_gzip_are_padding() -> None:
    assert unpack(gz(b"a\n") + bytes(1000), "gz", [25, 30]) == (b"a\n", "")
    assert unpack(zst(b"a\n") + bytes(1000), "zst")[1].startswith("damaged: ")


@packings
def test_an_empty_archive_is_valid_and_an_empty_file_is_not(packing: Packing) -> None:
    assert unpack(PACKERS[packing](b""), packing) == (b"", "")
    assert unpack(b"", packing)[1].startswith("cut off: the file is empty")


PROGRAMS = {"gz": "gzip", "zst": "Zstandard"}


@packings
def test_a_file_that_is_not_an_archive_is_damage(packing: Packing) -> None:
    assert unpack(b'{"a": 1}\n', packing) == (
        b"",
        f"damaged: does not begin as {PROGRAMS[packing]} does; if it is not compressed, rename it",
    )


@packings
def test_a_decompression_bomb_is_read_in_bounded_memory(packing: Packing) -> None:
    bomb = PACKERS[packing](bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        size = sum(map(len, decompress(blocks(bomb), packing)))
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert size == 64 * 1024 * 1024


def test_skippable_frames_are_skipped() -> None:
    skippable = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    assert unpack(skippable + zst(b"a\n") + skippable, "zst") == (b"a\n", "")
    assert unpack(skippable, "zst") == (b"", "")
    assert unpack(zst(b"a\n") + skippable[:-1], "zst")[1].startswith("cut off: ")
    assert detect_packing(skippable) == "zst"


def windowed(log: int) -> bytes:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: log,
        zstd.CompressionParameter.enable_long_distance_matching: 0,
    }
    packer = zstd.ZstdCompressor(options=options)
    return packer.compress(b"a\n" * 100) + packer.flush()


def test_a_frame_with_a_window_above_the_limit_is_refused() -> None:
    assert unpack(windowed(27), "zst") == (b"a\n" * 100, "")
    text, problem = unpack(windowed(28), "zst")
    assert text == b""
    assert problem == "needs more than 128 MiB of memory to be decompressed; decompress it first"


def test_an_archive_that_needs_a_dictionary_is_refused() -> None:
    words = zstd.train_dict([b'{"sample": %d}' % number for number in range(2000)], 2000)
    assert "dictionary" in unpack(zstd.compress(b'{"sample": 1}\n', zstd_dict=words), "zst")[1]


@pytest.mark.parametrize("level", [1, 3, 19, -5])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_791, 65_792, 131_072, 131_073, 1_000_000])
def test_frames_with_every_form_of_header_are_decompressed(level: int, size: int) -> None:
    text = os.urandom(size // 2) + b"b" * (size - size // 2)
    packer = zstd.ZstdCompressor(level=level)
    streamed = packer.compress(text[:1000]) + packer.flush(packer.FLUSH_BLOCK) + packer.compress(text[1000:])
    assert unpack(streamed + packer.flush() + zstd.compress(text, level), "zst") == (text * 2, "")


def test_without_zstandard_in_python_the_problem_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zst(b"a\n")
    package = sys.modules[zstd.__name__.rpartition(".")[0]]
    monkeypatch.delattr(package, "zstd")
    monkeypatch.setitem(sys.modules, zstd.__name__, None)
    assert unpack(packed, "zst") == (b"", "Zstandard is not part of this Python; decompress the file first")


@pytest.mark.parametrize(
    ("head", "packing"), [(gz(b""), "gz"), (zst(b""), "zst"), (b'{"a', ""), (b"", ""), (b"\x1f", "")]
)
def test_the_compression_is_recognized_by_the_first_bytes(head: bytes, packing: str) -> None:
    assert detect_packing(head) == packing
