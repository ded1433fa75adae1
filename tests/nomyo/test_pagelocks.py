"""Pages are counted: a page is locked exactly while somebody claims it, whatever fails in between."""

from __future__ import annotations

import ctypes
import errno
import gc
import logging
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nomyo import pagelocks
from nomyo.pagelocks import PageClaim, PageLocks

PAGE = 4096


class Kernel:
    """What mlock and munlock do to pages, and when they refuse."""

    def __init__(self) -> None:
        self.locked: set[int] = set()
        self.calls: list[tuple[str, int, int]] = []
        self.refusals: Iterator[int] = iter(())

    def refuse(self, *pages_before: int) -> None:
        """Let the next locks fail, each after it locked that many of its pages."""
        self.refusals = iter(pages_before)

    def mlock(self, address: int, size: int) -> int:
        self.calls.append(("mlock", address, size))
        pages = range(address // PAGE, (address + size) // PAGE)
        done = next(self.refusals, None)
        self.locked.update(pages[:done])
        if done is None:
            return 0
        ctypes.set_errno(errno.ENOMEM)
        return -1

    def munlock(self, address: int, size: int) -> int:
        self.calls.append(("munlock", address, size))
        self.locked.difference_update(range(address // PAGE, (address + size) // PAGE))
        return 0

    def locks(self) -> PageLocks:
        return PageLocks((self.mlock, self.munlock), PAGE)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def test_a_page_stays_locked_until_the_last_claim_on_it_ends(kernel: Kernel) -> None:
    locks = kernel.locks()
    first, second = locks.claim(5 * PAGE + 10, 100), locks.claim(5 * PAGE + 200, 100)
    assert first is not None
    assert second is not None
    assert kernel.calls == [("mlock", 5 * PAGE, PAGE)]
    del first
    assert kernel.locked == {5}
    assert locks.locked_bytes() == PAGE
    del second
    assert kernel.locked == set()
    assert locks.locked_bytes() == 0
    assert kernel.calls[1:] == [("munlock", 5 * PAGE, PAGE)]


def test_only_the_pages_that_are_new_are_locked_and_those_nobody_else_claims_unlocked(kernel: Kernel) -> None:
    locks = kernel.locks()
    middle = locks.claim(12 * PAGE, 1)
    whole = locks.claim(10 * PAGE + 1, 4 * PAGE)  # pages 10 to 14
    assert kernel.locked == {10, 11, 12, 13, 14}
    assert kernel.calls[1:] == [("mlock", 10 * PAGE, 2 * PAGE), ("mlock", 13 * PAGE, 2 * PAGE)]
    del whole
    assert kernel.locked == {12}
    del middle
    assert kernel.locked == set()


def test_a_refused_lock_leaves_nothing_locked_but_what_others_claim(kernel: Kernel) -> None:
    locks = kernel.locks()
    middle = locks.claim(12 * PAGE, 1)
    runs = iter([[], [1]])  # 10 and 11 are locked; of 13 and 14 one page, before it fails, as mlock(2) says of EAGAIN

    def second_fails(address: int, size: int) -> int:
        kernel.refuse(*next(runs))
        return kernel.mlock(address, size)

    locks._calls = second_fails, kernel.munlock
    assert locks.claim(10 * PAGE, 5 * PAGE) is None
    assert next(runs, None) is None
    assert kernel.locked == {12}
    assert locks.failures == 1
    assert middle is not None


def test_bytes_up_to_the_end_of_a_page_claim_no_page_behind_it(kernel: Kernel) -> None:
    hold = kernel.locks().claim(3 * PAGE, 2 * PAGE)
    assert kernel.locked == {3, 4}
    assert hold is not None


def test_no_bytes_claim_no_page_and_that_succeeds(kernel: Kernel) -> None:
    assert kernel.locks().claim(3 * PAGE + 7, 0) is not None
    assert kernel.calls == []


def test_the_first_refusal_is_logged_once_with_its_reason(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    locks = kernel.locks()
    kernel.refuse(0, 0)
    with caplog.at_level(logging.DEBUG, "nomyo"):
        assert locks.claim(0, 1) is None
        assert locks.claim(0, 1) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"memory could not be locked (ENOMEM, {os.strerror(errno.ENOMEM)}); buffers are wiped, but may be swapped out"
    ]
    assert locks.failures == 2


def test_whether_memory_can_be_locked_is_tried_once_and_leaves_nothing_locked(kernel: Kernel) -> None:
    locks = kernel.locks()
    assert locks.can_lock()
    assert locks.can_lock()
    assert [name for name, _, size in kernel.calls if size == PAGE] == ["mlock", "munlock"]
    assert kernel.locked == set()


def test_memory_that_could_not_be_locked_when_it_was_tried_may_be_later(kernel: Kernel) -> None:
    locks = kernel.locks()
    kernel.refuse(0)
    assert not locks.can_lock()
    assert not locks.can_lock()
    assert locks.failures == 1
    assert locks.claim(PAGE, 1) is not None
    assert locks.can_lock()


def test_a_system_without_mlock_locks_nothing_and_refuses_nothing() -> None:
    locks = PageLocks(None, PAGE)
    assert locks.claim(PAGE, 1) is None
    assert not locks.can_lock()
    assert (locks.failures, locks.locked_bytes()) == (0, 0)


def test_a_claim_dropped_while_the_table_is_in_use_is_settled_by_who_uses_it(kernel: Kernel) -> None:
    # What a finalizer does when the garbage collector starts in the middle of another lock.
    locks = kernel.locks()
    victim = [locks.claim(PAGE, 1)]

    def collects_garbage(address: int, size: int) -> int:
        victim.clear()
        assert 1 in kernel.locked, "settled in the middle"
        return kernel.mlock(address, size)

    locks._calls = collects_garbage, kernel.munlock
    other = locks.claim(7 * PAGE, 1)
    assert kernel.locked == {7}
    assert other is not None


def test_a_page_that_was_released_and_mapped_anew_is_locked_anew(kernel: Kernel) -> None:
    locks = kernel.locks()
    hold = locks.claim(PAGE, 1)
    with locks._mutex:  # so that the release has to wait
        del hold
        kernel.locked.clear()  # munmap
    assert locks.claim(PAGE, 1) is not None
    assert [name for name, _, _ in kernel.calls] == ["mlock", "munlock", "mlock", "munlock"]


def test_a_lock_asked_for_by_a_finalizer_in_the_thread_that_has_the_table_fails_and_is_counted(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagelocks, "MUTEX_TIMEOUT", 0.01)
    locks = kernel.locks()
    with locks._mutex:
        assert locks.claim(PAGE, 1) is None
    assert locks.failures == 1


def test_after_a_fork_nothing_is_locked_and_older_claims_are_void(kernel: Kernel) -> None:
    locks = kernel.locks()
    old = locks.claim(PAGE, 1)
    assert old is not None
    before = old.valid
    assert locks._mutex.acquire()  # a thread that is not there in the child
    kernel.locked.clear()
    locks.reset_after_fork()
    assert (before, old.valid) == (True, False)
    assert locks.locked_bytes() == 0
    new = locks.claim(PAGE, 1)
    del old
    assert kernel.locked == {1}
    assert new is not None


def test_many_threads_leave_nothing_locked(kernel: Kernel) -> None:
    locks = kernel.locks()

    def work(seed: int) -> None:
        for step in range(300):
            hold = locks.claim((seed * 7 + step * 13) % 50 * 1000, 1 + step * 37 % 9000)
            assert hold is not None
            del hold

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert locks.locked_bytes() == 0
    assert kernel.locked == set()


class Claims(RuleBasedStateMachine):
    """Claims come, are refused and end in any order; the locked pages are the claimed ones at every moment."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel()
        self.locks = self.kernel.locks()
        self.claims: list[tuple[PageClaim, set[int]]] = []

    @rule(address=st.integers(0, 6 * PAGE), size=st.integers(0, 4 * PAGE))
    def claim(self, address: int, size: int) -> None:
        hold = self.locks.claim(address, size)
        assert hold is not None
        self.claims.append((hold, {byte // PAGE for byte in range(address, address + size)}))

    @rule(address=st.integers(0, 6 * PAGE), size=st.integers(1, 4 * PAGE), before=st.integers(0, 3))
    def refused(self, address: int, size: int, before: int) -> None:
        self.kernel.refuse(before)
        failures = self.locks.failures
        hold = self.locks.claim(address, size)
        if hold is None:
            assert self.locks.failures == failures + 1
        else:  # every page was locked already
            self.kernel.refuse()
            self.claims.append((hold, {byte // PAGE for byte in range(address, address + size)}))
            assert self.locks.failures == failures

    @rule(which=st.randoms(use_true_random=False))
    def end(self, which: object) -> None:
        if self.claims:
            assert hasattr(which, "randrange")
            self.claims.pop(which.randrange(len(self.claims)))

    @invariant()
    def the_locked_pages_are_the_claimed_ones(self) -> None:
        claimed = set[int]().union(*(pages for _, pages in self.claims))
        assert self.kernel.locked == claimed
        assert self.locks.locked_bytes() == len(claimed) * PAGE


TestClaims = Claims.TestCase


def test_a_buffer_on_the_system_is_found_at_its_address() -> None:
    buffer = bytearray(b"found")
    assert ctypes.string_at(pagelocks.address_of(buffer), 5) == b"found"


def test_a_pinned_buffer_cannot_be_resized_and_can_be_later() -> None:
    buffer = bytearray(10)
    pin = pagelocks.pin(buffer)
    with pytest.raises(BufferError):
        buffer.append(0)
    del pin
    gc.disable()  # the pin is gone at once, not when garbage is collected
    try:
        buffer.append(0)
    finally:
        gc.enable()


@pytest.mark.skipif(os.name != "posix", reason="memory is locked on POSIX systems only")
def test_the_system_calls_are_found_and_lock_a_page() -> None:
    calls = pagelocks.system_calls()
    assert calls is not None
    locks = PageLocks(calls)
    if not locks.can_lock():
        pytest.skip("this process may not lock memory")
    with mmap.mmap(-1, mmap.PAGESIZE) as memory:
        hold = locks.claim(pagelocks.address_of(memory), 1)
        assert hold is not None
        assert locks.locked_bytes() == mmap.PAGESIZE
        del hold


def test_where_the_c_library_has_no_mlock_there_are_no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    assert pagelocks.system_calls() is None


def test_on_a_system_that_is_not_posix_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert pagelocks.system_calls() is None


SET_LIMIT = """
import resource
from nomyo.pagelocks import memlock_limit
soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, hard))
print(memlock_limit())
"""


@pytest.mark.skipif(os.name != "posix", reason="a limit of POSIX")
def test_the_limit_is_the_soft_one_in_bytes() -> None:
    done = subprocess.run([sys.executable, "-c", SET_LIMIT], capture_output=True, text=True, check=True)
    assert done.stdout == "4096\n"


def test_no_limit_and_no_way_to_tell_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert pagelocks.memlock_limit() is None
    monkeypatch.setitem(sys.modules, "resource", None)
    assert pagelocks.memlock_limit() is None
