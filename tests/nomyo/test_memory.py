"""Buffers are wiped and locked as they say, and say so truly."""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from nomyo import memory, pagelocks
from nomyo.memory import (
    SecureBuffer,
    disable_secure_memory,
    enable_secure_memory,
    get_memory_protection_info,
    secure_bytearray,
    secure_bytes,
    wipe,
)

SECRET = b"correct horse battery staple"
PUBLISHED_KEYS = {
    "enabled",
    "platform",
    "protection_level",
    "has_memory_locking",
    "has_secure_zeroing",
    "supports_full_protection",
    "page_size",
}

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
needs_locking = pytest.mark.skipif(not pagelocks.PAGES.can_lock(), reason="this process may not lock memory")


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    enable_secure_memory()
    yield
    enable_secure_memory()


def kernel_locked() -> int:
    """Bytes this process has locked, as the kernel counts them."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmLck:")[2].split()[0]) * 1024


def run(program: str) -> list[str]:
    """What a program of its own prints, a line each; it must not complain."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("size", [0, 1, 15, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 200_001])
def test_a_wiped_buffer_is_zeros_of_the_same_length(size: int) -> None:
    buffer = bytearray(b"\xa5" * size)
    wipe(buffer)
    assert buffer == bytes(size)


def test_a_buffer_is_wiped_in_place_and_can_be_resized_again() -> None:
    buffer = bytearray(SECRET)
    address = pagelocks.address_of(buffer)
    view = memoryview(buffer)
    wipe(buffer)
    assert bytes(view) == bytes(len(SECRET))
    assert ctypes.string_at(address, len(SECRET)) == bytes(len(SECRET))
    view.release()
    buffer.append(1)


def test_9_mib_are_wiped_in_milliseconds() -> None:
    buffer = bytearray(b"\xa5") * (9 * 1024 * 1024)
    times = []
    for _ in range(5):
        started = time.thread_time()
        wipe(buffer)
        times.append(time.thread_time() - started)
    # About 0.4 ms on an idle machine, where a loop over the bytes takes 400: the bound is for a busy one.
    assert min(times) < 0.02


@pytest.mark.parametrize("thing", [SECRET, SECRET.decode(), memoryview(bytearray(SECRET)), None])
def test_what_cannot_be_wiped_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match=f"only a bytearray can be wiped, not {type(thing).__name__}"):
        wipe(thing)  # type: ignore[arg-type] # what a caller without mypy may do


def test_a_buffer_holds_a_copy_and_is_wiped_at_the_end() -> None:
    with SecureBuffer(SECRET) as buffer:
        assert isinstance(buffer.data, bytearray)
        assert buffer.data == SECRET
        assert bytes(buffer) == SECRET
        assert len(buffer) == buffer.size == len(SECRET)
        assert ctypes.string_at(buffer.address, buffer.size) == SECRET
    assert buffer.data == bytes(len(SECRET))
    assert ctypes.string_at(buffer.address, buffer.size) == bytes(len(SECRET))
    assert not buffer.locked
    assert len(buffer) == len(SECRET)


def test_a_buffer_is_wiped_when_the_block_fails() -> None:
    buffer = SecureBuffer(SECRET)
    with pytest.raises(KeyError), buffer:
        raise KeyError
    assert buffer.data == bytes(len(SECRET))


def test_a_bytearray_is_wiped_once_it_is_copied() -> None:
    original = bytearray(SECRET)
    buffer = SecureBuffer(original)
    assert original == bytes(len(SECRET))
    assert buffer.data == SECRET


def test_bytes_cannot_be_wiped_and_are_not_touched() -> None:
    original = bytes(bytearray(SECRET))
    with SecureBuffer(original):
        pass
    assert original == SECRET


def test_the_data_of_one_buffer_can_be_moved_into_another() -> None:
    first = SecureBuffer(SECRET)
    second = SecureBuffer(first.data)
    assert first.data == bytes(len(SECRET))
    assert second.data == SECRET


def test_an_empty_buffer_is_a_buffer() -> None:
    with SecureBuffer(b"") as buffer:
        assert (buffer.size, len(buffer), bytes(buffer), buffer.data) == (0, 0, b"", bytearray())


@pytest.mark.parametrize("thing", ["text", 5, None, [1, 2], memoryview(SECRET)])
def test_a_buffer_takes_bytes_and_bytearrays_only(thing: object) -> None:
    with pytest.raises(TypeError, match=f"requires bytes or a bytearray, not {type(thing).__name__}"):
        SecureBuffer(thing)  # type: ignore[arg-type] # what a caller without mypy may do


def test_the_data_can_be_changed_but_not_resized() -> None:
    buffer = SecureBuffer(b"abc")
    buffer.data[0] = ord("x")
    assert bytes(buffer) == b"xbc"
    with pytest.raises(BufferError):
        buffer.data.append(0)


def test_data_that_outlives_its_buffer_stays_readable() -> None:
    data = SecureBuffer(SECRET).data
    gc.collect()
    assert data == SECRET
    view = memoryview(data)
    del data
    gc.collect()
    assert bytes(view) == SECRET


def test_data_is_wiped_when_the_last_reference_to_it_goes() -> None:
    seen = []

    class Witness(memory._WipedBytes):
        def __del__(self) -> None:
            super().__del__()
            seen.append(bytes(self))

    witness = Witness(SECRET)
    view = memoryview(witness)
    del witness
    assert seen == []
    view.release()
    assert seen == [bytes(len(SECRET))]


def test_nothing_shows_the_secret_by_itself() -> None:
    buffer = SecureBuffer(SECRET)
    shown = f"{buffer} {buffer!r} {buffer.data} {buffer.data!r} {[buffer, buffer.data]}"
    assert "horse" not in shown
    assert f"SecureBuffer of {len(SECRET)} bytes" in shown


def test_a_buffer_is_neither_copied_nor_pickled() -> None:
    buffer = SecureBuffer(SECRET)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            duplicate(buffer)


def test_a_copy_of_its_data_is_a_plain_bytearray_without_a_lock() -> None:
    buffer = SecureBuffer(SECRET)
    held = pagelocks.PAGES.locked_bytes()
    for duplicate in (copy.copy(buffer.data), copy.deepcopy(buffer.data), pickle.loads(pickle.dumps(buffer.data))):
        assert type(duplicate) is bytearray
        assert duplicate == SECRET
    del duplicate
    assert pagelocks.PAGES.locked_bytes() == held


def test_a_dropped_buffer_is_no_garbage_that_waits_to_be_collected() -> None:
    gc.disable()
    try:
        before = pagelocks.PAGES.locked_bytes()
        buffer = SecureBuffer(bytes(3 * pagelocks.PAGES.page_size))
        gone = weakref.ref(buffer)
        del buffer
        assert gone() is None
        assert pagelocks.PAGES.locked_bytes() == before
    finally:
        gc.enable()


@needs_locking
def test_locks_are_taken_once_and_given_up() -> None:
    before = pagelocks.PAGES.locked_bytes()
    size = 10 * pagelocks.PAGES.page_size
    buffer = SecureBuffer(bytes(size), lock=False)
    assert not buffer.locked
    assert buffer.lock()
    assert buffer.lock()
    assert "bytes, locked" in repr(buffer)
    assert before + size <= pagelocks.PAGES.locked_bytes() <= before + size + pagelocks.PAGES.page_size
    assert buffer.unlock()
    assert buffer.unlock()
    assert "bytes, not locked" in repr(buffer)
    assert pagelocks.PAGES.locked_bytes() == before


@linux
@needs_locking
def test_the_kernel_keeps_the_pages_of_the_others_locked_when_one_goes() -> None:
    before = kernel_locked()
    buffers = [SecureBuffer(bytes([number]) * 64) for number in range(200)]
    assert all(buffer.locked for buffer in buffers)
    pages = {buffer.address // pagelocks.PAGES.page_size for buffer in buffers}
    assert len(pages) < len(buffers), "no two buffers on a page: this test shows nothing"
    assert kernel_locked() >= before + len(pages) * pagelocks.PAGES.page_size
    while len(buffers) > 1:
        with buffers.pop():
            pass
        pages = {page for each in buffers for page in covered(each)}
        assert kernel_locked() >= before + len(pages) * pagelocks.PAGES.page_size
    buffers.clear()
    assert kernel_locked() == before


def covered(buffer: SecureBuffer) -> range:
    size = pagelocks.PAGES.page_size
    return range(buffer.address // size, (buffer.address + buffer.size - 1) // size + 1)


@linux
@needs_locking
def test_the_kernel_and_the_table_agree_after_buffers_of_all_sizes_in_many_threads() -> None:
    before = kernel_locked(), pagelocks.PAGES.locked_bytes()

    def work(seed: int) -> None:
        kept = []
        for step in range(200):
            kept.append(SecureBuffer(bytes((seed * 977 + step * 131) % 20_000)))
            if step % 3:
                kept.pop((step * 7) % len(kept))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (kernel_locked(), pagelocks.PAGES.locked_bytes()) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_knows_that_nothing_is_locked_and_can_lock_again() -> None:
    program = """
        import os
        from nomyo.memory import SecureBuffer, get_memory_protection_info as info
        buffer = SecureBuffer(b"secret" * 10000)
        locked = buffer.locked
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            print(buffer.locked == locked, info()["locked_bytes"] > 0 or not locked, flush=True)
        else:
            print(buffer.locked, info()["locked_bytes"], bytes(buffer) == b"secret" * 10000, flush=True)
            print(buffer.lock() == locked, flush=True)
            buffer.unlock()
            print(info()["locked_bytes"], flush=True)
    """
    assert run(program) == ["False 0 True", "True", "0", "True True"]


def test_a_buffer_that_lives_to_the_end_of_the_program_makes_no_noise() -> None:
    program = """
        from nomyo.memory import SecureBuffer
        kept = SecureBuffer(b"secret")
        class Node: pass
        node = Node(); node.itself = node; node.buffer = SecureBuffer(b"secret")
        with SecureBuffer(b"secret") as left_open:
            print(len(left_open))
            import sys; sys.exit()
    """
    assert run(program) == ["6"]


LIMITED = """
import os, resource, sys
from nomyo.memory import SecureBuffer, get_memory_protection_info

page = resource.getpagesize()
limit = page * {pages}
try:
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)  # root is not held to the limit
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
except (OSError, ValueError) as error:
    sys.exit(print("cannot", error))

def say(*keys):
    info = get_memory_protection_info()
    print(*(info[key] for key in keys))

LEVEL = "protection_level", "supports_full_protection", "has_memory_locking", "lock_failures", "locked_bytes"
"""

may_limit = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="RLIMIT_MEMLOCK binds an unprivileged process on Linux"
)


def run_limited(pages: int, program: str) -> list[str]:
    """The same, of a program that may lock that many pages only."""
    lines = run(LIMITED.format(pages=pages) + textwrap.dedent(program))
    if lines[0].startswith("cannot"):
        pytest.skip(f"this process cannot make itself one that may lock {pages} pages: {lines[0]}")
    return lines


@may_limit
def test_after_a_failed_lock_the_protection_is_no_longer_full() -> None:
    program = """
        say(*LEVEL)
        say("memlock_limit", "page_size")
        small = SecureBuffer(b"fits")
        large = SecureBuffer(b"x" * 9 * 1024 * 1024)
        print(small.locked, large.locked, large.lock(), bytes(large) == b"x" * 9 * 1024 * 1024)
        say(*LEVEL)
        with large:
            pass
        print(any(large.data))
        del small, large
        say(*LEVEL)
    """
    page = pagelocks.PAGES.page_size
    assert run_limited(16, program) == [
        "full True True 0 0",
        f"{16 * page} {page}",
        "True False False True",
        f"zeroing_only False True 2 {page}",
        "False",
        "zeroing_only False True 2 0",
    ]


@may_limit
def test_where_nothing_may_be_locked_the_first_question_finds_out() -> None:
    program = """
        say(*LEVEL)
        with SecureBuffer(b"secret") as buffer:
            print(buffer.locked, bytes(buffer))
        say(*LEVEL)
        say("memlock_limit", "enabled", "has_secure_zeroing")
    """
    assert run_limited(0, program) == [
        "zeroing_only False False 1 0",
        "False b'secret'",
        "zeroing_only False False 2 0",
        "0 True True",
    ]


def test_a_failed_lock_is_told_whatever_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    locks = pagelocks.PageLocks((lambda address, size: -1 if size > 4 * 4096 else 0, lambda address, size: 0), 4096)
    monkeypatch.setattr(memory, "PAGES", locks)
    assert get_memory_protection_info()["protection_level"] == "full"
    assert SecureBuffer(bytes(100)).locked
    assert get_memory_protection_info()["supports_full_protection"]
    assert not SecureBuffer(bytes(100_000)).locked
    info = get_memory_protection_info()
    assert (info["protection_level"], info["supports_full_protection"]) == ("zeroing_only", False)
    assert (info["has_memory_locking"], info["lock_failures"]) == (True, 1)


def test_a_system_that_cannot_lock_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PAGES", pagelocks.PageLocks(None, 4096))
    with SecureBuffer(SECRET) as buffer:
        assert not buffer.locked
        assert not buffer.lock()
        assert bytes(buffer) == SECRET
    assert buffer.data == bytes(len(SECRET))
    info = get_memory_protection_info()
    assert (info["protection_level"], info["has_memory_locking"], info["has_secure_zeroing"]) == (
        "zeroing_only",
        False,
        True,
    )
    assert info["lock_failures"] == 0


def test_the_information_keeps_the_published_keys_and_their_types() -> None:
    info = get_memory_protection_info()
    assert set(info) == PUBLISHED_KEYS | {"lock_failures", "locked_bytes", "memlock_limit"}
    assert type(info) is dict
    assert (info["enabled"], info["platform"], info["has_secure_zeroing"]) == (True, sys.platform, True)
    assert info["protection_level"] in {"full", "zeroing_only"}
    assert info["supports_full_protection"] is (info["protection_level"] == "full")
    assert info["page_size"] == pagelocks.PAGES.page_size


def test_the_published_helper_yields_a_buffer_and_wipes_what_it_was_given() -> None:
    original = bytearray(SECRET)
    with secure_bytearray(original) as buffer:
        assert isinstance(buffer, SecureBuffer)
        assert bytes(buffer) == SECRET
        assert original == bytes(len(SECRET))
        assert buffer.locked is get_memory_protection_info()["has_memory_locking"]
    assert buffer.data == bytes(len(SECRET))


def test_the_published_helper_does_not_lock_when_told_so() -> None:
    with secure_bytearray(SECRET, lock=False) as buffer:
        assert not buffer.locked
    with secure_bytearray(SECRET, False) as buffer:
        assert not buffer.locked


def test_the_old_helper_warns_at_the_callers_line_and_works() -> None:
    with pytest.warns(DeprecationWarning, match="secure_bytearray") as caught, secure_bytes(SECRET) as buffer:
        assert bytes(buffer) == SECRET
    assert caught[0].filename == __file__


def test_disabled_the_helper_locks_nothing_promises_nothing_and_wipes_all_the_same() -> None:
    disable_secure_memory()
    with secure_bytearray(SECRET) as buffer:
        assert not buffer.locked
        assert bytes(buffer) == SECRET
    assert buffer.data == bytes(len(SECRET))
    info = get_memory_protection_info()
    assert (info["enabled"], info["protection_level"], info["supports_full_protection"]) == (False, "none", False)
    assert (info["has_memory_locking"], info["has_secure_zeroing"]) == (False, False)
    enable_secure_memory()
    assert get_memory_protection_info()["enabled"]


@needs_locking
def test_disabling_the_helper_reaches_into_nobody_elses_buffers() -> None:
    before = SecureBuffer(SECRET)
    disable_secure_memory()
    assert before.locked
    assert SecureBuffer(SECRET).locked
    with secure_bytearray(SECRET) as buffer:
        assert buffer.lock(), "asked for by name"
