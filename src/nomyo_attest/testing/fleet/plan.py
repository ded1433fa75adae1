"""Plan a synthetic fleet: its machines, their clocks and boots, and which machine sends which response at what time.

All random numbers are computed from the seed with SHA-256, so that every version of Python generates the same fleet.
"""

from __future__ import annotations

import functools
import hashlib
import uuid
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from nomyo_attest.testing.forge import Forge, booted, extend
from nomyo_attest.testing.keys import ForgeError

FIRST = 1767225600
"""The start of every fleet's recording in seconds since 1970: 2026-01-01T00:00:00Z."""


def draw(seed: int, purpose: str, number: int = 0) -> float:
    """Return a pseudorandom number of at least 0 and less than 1, computed from the arguments."""
    return int.from_bytes(_digest(seed, purpose, number)[:6], "big") / 2**48


def choose(seed: int, purpose: str, count: int, number: int = 0) -> int:
    """Return a pseudorandom integer of at least 0 and less than `count`."""
    return int(draw(seed, purpose, number) * count)


def payload_id(seed: int, number: int) -> str:
    """Return the payload id of a response: a UUID of version 4."""
    return str(uuid.UUID(bytes=_digest(seed, "payload id", number)[:16], version=4))


def _digest(seed: int, purpose: str, number: int) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()


DAY: Final = 86_400_000
"""The length of a day in milliseconds."""


class Firmware(NamedTuple):
    """A firmware: its label in the policy, the event that it measures into PCR 0, and its firmwareVersion."""

    label: str
    event: bytes
    version: int


OLD: Final = Firmware("firmware 2.4", b"firmware 2.4", 0x2024012500120000)
NEW: Final = Firmware("firmware 2.5", b"firmware 2.5", 0x2026010800130000)


class State(NamedTuple):
    """The state of a machine at some time: its TPM's clock in milliseconds, its resetCount, and the booted firmware."""

    clock: int
    reset_count: int
    firmware: Firmware


class Snapshot(NamedTuple):
    """The times at which a snapshot was taken and restored, in milliseconds since the start of the recording."""

    taken: int
    restored: int


@dataclass(frozen=True)
class Machine:
    """A machine. Times are milliseconds since the start of the recording.

    Attributes:
        name: its name; responses do not contain it.
        key: the type of its AIK, as in `Forge.key`.
        pinned: whether it has one AIK, which the policy pins; otherwise it creates an AIK for each response.
        clock, resets: its TPM's clock and resetCount at the start of the recording.
        boots: the times of its boots, ascending; `update` is one of them.
        update: the time of the first boot with the new firmware.
        snapshot: the snapshot from which it is restored, if any.
    """

    name: str
    key: str
    pinned: bool
    clock: int
    resets: int
    boots: tuple[int, ...]
    update: int
    snapshot: Snapshot | None = None

    def at(self, time: int) -> State:
        """Return the state of the machine at a time."""
        elapsed, boots = time, [boot for boot in self.boots if boot <= time]
        if self.snapshot and time >= self.snapshot.restored:
            taken, restored = self.snapshot
            elapsed = taken + (time - restored)
            boots = [boot for boot in boots if boot <= taken or boot > restored]
        firmware = NEW if self.update in boots else OLD
        return State(self.clock + elapsed, self.resets + len(boots), firmware)

    def forge(self, time: int, number: int) -> Forge:
        """Return the soft TPM for one response; `number` is part of the label of an AIK that is not pinned."""
        state = self.at(time)
        return Forge(
            key=self.key,
            label=f"fleet {self.name}" if self.pinned else f"fleet {self.name} response {number}",
            pcrs={"sha256": dict(_pcrs(state.firmware, self.name, state.reset_count))},
            clock=state.clock,
            reset_count=state.reset_count,
            firmware_version=state.firmware.version,
            device=f"GPU of {self.name}",
        )


def firmware_pcr(firmware: Firmware) -> bytes:
    """Return PCR 0 of the SHA-256 bank after a boot with `firmware`."""
    return extend("sha256", bytes(32), firmware.event)


def secure_boot_pcr(*, on: bool) -> bytes:
    """Return PCR 7 of the SHA-256 bank after a boot with Secure Boot on or off."""
    if on:
        return booted()["sha256"][7]
    return extend("sha256", extend("sha256", bytes(32), b"Secure Boot off"), b"db 2026-10")


@functools.lru_cache(maxsize=1024)
def _pcrs(firmware: Firmware, name: str, reset_count: int) -> dict[int, bytes]:
    """Return the SHA-256 bank after a boot. PCR 10, which measures applications, differs after each boot."""
    values = booted()["sha256"]
    measured = extend("sha256", values[10], f"{name} boot {reset_count}".encode())
    return {**values, 0: firmware_pcr(firmware), 10: measured}


RECORDS_MAXIMUM: Final = 200_000
"""The maximum number of responses: generating them takes half a minute."""
MACHINES_RANGE: Final = (4, 200)
DAYS_RANGE: Final = (5, 366)
DAILY_MINIMUM: Final = 10
"""The minimum number of responses per day, so that each anomaly affects some of them."""

_BOOT_INTERVAL: Final = 6 * DAY
_UNAVAILABLE_ONE_IN: Final = 400

# Times of events, as fractions of the period.
_UPDATES: Final = (0.40, 0.60)
_INSECURE_DAY: Final = 0.50
_ORIGINAL, _REPLAY = 0.25, 0.65
_SNAPSHOT, _RESTORE = 0.70, 0.80


class ScheduledResponse(NamedTuple):
    """The number of a response, its time in milliseconds since the start of the recording, and its machine's number."""

    number: int
    time: int
    machine: int

    @property
    def day(self) -> int:
        """The day of the response, from 0."""
        return self.time // DAY


@dataclass(frozen=True)
class Plan:
    """A fleet's responses, in order of time, and which of them are anomalies.

    Raises `ForgeError` for numbers out of range: an anomaly might not affect any response.
    """

    records: int = 2000
    machines: int = 12
    days: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (minimum, maximum) in (("machines", MACHINES_RANGE), ("days", DAYS_RANGE)):
            if not minimum <= getattr(self, name) <= maximum:
                raise ForgeError(name, f"{minimum} to {maximum}", str(getattr(self, name)))
        minimum = DAILY_MINIMUM * self.days
        if not minimum <= self.records <= RECORDS_MAXIMUM:
            raise ForgeError("records", f"{minimum} to {RECORDS_MAXIMUM} for {self.days} days", str(self.records))
        if not 0 <= self.seed < 2**32:
            raise ForgeError("seed", "0 to 4294967295", str(self.seed))

    @cached_property
    def pinned(self) -> int:
        """The number of machines, counted from the first, with an AIK that the policy pins."""
        return max(2, self.machines // 4)

    @cached_property
    def fleet(self) -> tuple[Machine, ...]:
        """Every machine."""
        return tuple(self._machine(number) for number in range(self.machines))

    @cached_property
    def schedule(self) -> tuple[ScheduledResponse, ...]:
        """Every response, in order of time."""
        numbers = range(self.records)
        return tuple(ScheduledResponse(n, self._time(n), self._machine_of(n)) for n in numbers)

    @cached_property
    def insecure_day(self) -> int:
        """The day on which one machine runs with Secure Boot off."""
        return int(_INSECURE_DAY * self.days)

    @cached_property
    def insecure(self) -> frozenset[int]:
        """The numbers of the responses of that machine on `insecure_day`."""
        first, last = self._numbers_of(self.insecure_day)
        return frozenset(n for n in range(first, last) if self.schedule[n].machine == self._insecure_machine)

    @cached_property
    def original(self) -> int:
        """The number of the response whose evidence is replayed; its machine uses each AIK once."""
        start = int(_ORIGINAL * self.records)
        return next(n for n in range(start, self.records) if self._machine_of(n) >= self.pinned)

    @cached_property
    def replay(self) -> int:
        """The number of the response that contains the replayed evidence."""
        return int(_REPLAY * self.records)

    @cached_property
    def restore(self) -> int:
        """The number of the first response of the restored machine after its snapshot is restored."""
        return int(_RESTORE * self.records)

    @cached_property
    def around_restore(self) -> tuple[int, int, int]:
        """The number `restore` and those of the two responses of the same machine before it.

        The machine boots between the first two. The first has the resetCount of the snapshot and a later clock; the
        second has a higher resetCount.
        """
        return self.restore - 2, self.restore - 1, self.restore

    @cached_property
    def unavailable(self) -> frozenset[int]:
        """The numbers of the responses without evidence, which are not an anomaly."""
        wanted = max(2, self.records // _UNAVAILABLE_ONE_IN)
        taken = {*self.insecure, self.original, self.replay, *self.around_restore}
        found: set[int] = set()
        attempt = 0
        while len(found) < wanted:
            number = choose(self.seed, "no evidence", self.records, attempt)
            attempt += 1
            if number not in taken:
                found.add(number)
        return frozenset(found)

    @cached_property
    def _insecure_machine(self) -> int:
        return self.pinned + choose(self.seed, "odd machine", self.machines - self.pinned)

    @cached_property
    def _restored_machine(self) -> int:
        return 1 + choose(self.seed, "restored machine", self.pinned - 1)

    def _machine(self, number: int) -> Machine:
        period = self.days * DAY
        begin, end = _UPDATES
        update = int((begin + (end - begin) * (number + 0.5) / self.machines) * period)
        offset = int(draw(self.seed, "boots", number) * _BOOT_INTERVAL)
        boots = {update, *range(offset, period, _BOOT_INTERVAL)}
        snapshot = None
        if number == self._restored_machine:
            before, after, restore = map(self._time, self.around_restore)
            taken = int(_SNAPSHOT * period)
            # One boot after the snapshot, shortly before the restore: until then resetCount does not change.
            boots = {boot for boot in boots if not taken < boot <= restore} | {(before + after + 1) // 2}
            snapshot = Snapshot(taken, restore)
        pinned = number < self.pinned
        return Machine(
            name=f"{self.seed}-{number:03d}",
            key="rsa2048" if pinned and number == 0 else "p256",
            pinned=pinned,
            clock=int((20 + 400 * draw(self.seed, "clock", number)) * DAY),
            resets=4 + choose(self.seed, "resets", 60, number),
            boots=tuple(sorted(boots)),
            update=update,
            snapshot=snapshot,
        )

    def _time(self, number: int) -> int:
        """Return the time of a response: spread evenly, with random variation and twice as many by day as by night."""
        even = (number + draw(self.seed, "time", number)) * self.days / self.records
        day = min(int(even), self.days - 1)
        hour = even - day
        return day * DAY + min(int(hour * (1.5 - 1.5 * hour + hour * hour) * DAY), DAY - 1)

    def _machine_of(self, number: int) -> int:
        if number in self.around_restore:
            return self._restored_machine
        first, last = self._numbers_of(self.insecure_day)
        if first <= number < last and (number - first) % 3 == 0:
            return self._insecure_machine
        chosen = choose(self.seed, "machine", self.machines, number)
        # RSA takes fifty times as long to forge, so half of the responses of the only RSA machine go to other machines.
        if chosen == 0 and draw(self.seed, "again", number) < 0.5:
            return choose(self.seed, "other machine", self.machines, number)
        return chosen

    def _numbers_of(self, day: int) -> tuple[int, int]:
        """Return the number of the first response of a day, and that of the first response after that day."""
        times = range(self.records)
        first, last = (bisect_left(times, moment, key=self._time) for moment in (day * DAY, (day + 1) * DAY))
        return first, last
