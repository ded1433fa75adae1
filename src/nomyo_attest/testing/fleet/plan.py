"""Who answers when: the machines of a fleet, and every answer it gives, before any evidence is made."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from nomyo_attest.testing.errors import ForgeError
from nomyo_attest.testing.fleet.draws import choose, draw
from nomyo_attest.testing.fleet.machine import DAY, Machine, Restored

RECORDS_MAXIMUM: Final = 200_000
"""Answers: what is made in half a minute."""
MACHINES: Final = (4, 200)
DAYS: Final = (5, 366)
DAILY: Final = 10
"""Answers a day at the least, so that each anomaly has records that show it."""

_BOOTS_EVERY: Final = 6 * DAY
_UNAVAILABLE_ONE_IN: Final = 400

# Where in the period, as parts of it.
_UPDATES: Final = (0.40, 0.60)
_ODD_DAY: Final = 0.50
_ORIGINAL, _REPLAY = 0.25, 0.65
_SNAPSHOT, _RESTORE = 0.70, 0.80


class Visit(NamedTuple):
    """One answer: its number, when it is given (milliseconds since the record begins), and the machine's number."""

    number: int
    time: int
    machine: int

    @property
    def day(self) -> int:
        """The day it falls on, from 0."""
        return self.time // DAY


@dataclass(frozen=True)
class Plan:
    """A fleet's answers, in order of time, and which of them are out of the ordinary.

    Raises `ForgeError` for numbers that make no fleet with everything in it that belongs there.
    """

    records: int = 2000
    machines: int = 12
    days: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (least, most) in (("machines", MACHINES), ("days", DAYS)):
            if not least <= getattr(self, name) <= most:
                raise ForgeError(name, f"{least} to {most}", str(getattr(self, name)))
        least = DAILY * self.days
        if not least <= self.records <= RECORDS_MAXIMUM:
            raise ForgeError("records", f"{least} to {RECORDS_MAXIMUM} for {self.days} days", str(self.records))
        if not 0 <= self.seed < 2**32:
            raise ForgeError("seed", "0 to 4294967295", str(self.seed))

    @cached_property
    def pinned(self) -> int:
        """How many machines, the first ones, have an AIK that the policy names."""
        return max(2, self.machines // 4)

    @cached_property
    def fleet(self) -> tuple[Machine, ...]:
        """Every machine."""
        return tuple(self._machine(number) for number in range(self.machines))

    @cached_property
    def visits(self) -> tuple[Visit, ...]:
        """Every answer, in order of time."""
        return tuple(Visit(number, self._time(number), self._machine_of(number)) for number in range(self.records))

    @cached_property
    def odd_day(self) -> int:
        """The day that one machine spends with Secure Boot off."""
        return int(_ODD_DAY * self.days)

    @cached_property
    def odd(self) -> frozenset[int]:
        """The answers that this machine gives on that day."""
        first, last = self._numbers_of(self.odd_day)
        return frozenset(n for n in range(first, last) if self.visits[n].machine == self._odd_machine)

    @cached_property
    def original(self) -> int:
        """The answer whose evidence is recorded again: by a machine that uses each AIK once."""
        start = int(_ORIGINAL * self.records)
        return next(n for n in range(start, self.records) if self._machine_of(n) >= self.pinned)

    @cached_property
    def replay(self) -> int:
        """The answer that stands around evidence that is not its own."""
        return int(_REPLAY * self.records)

    @cached_property
    def restore(self) -> int:
        """The first answer of the restored machine after its snapshot is brought back."""
        return int(_RESTORE * self.records)

    @cached_property
    def around_restore(self) -> tuple[int, int, int]:
        """That answer and the machine's two before it, between which it boots: with the resetCount of the snapshot and
        a later clock, then with a later resetCount.
        """
        return self.restore - 2, self.restore - 1, self.restore

    @cached_property
    def unavailable(self) -> frozenset[int]:
        """The answers without evidence: ordinary, and no anomaly."""
        wanted = max(2, self.records // _UNAVAILABLE_ONE_IN)
        taken = {*self.odd, self.original, self.replay, *self.around_restore}
        found: set[int] = set()
        attempt = 0
        while len(found) < wanted:
            number = choose(self.seed, "no evidence", self.records, attempt)
            attempt += 1
            if number not in taken:
                found.add(number)
        return frozenset(found)

    @cached_property
    def _odd_machine(self) -> int:
        return self.pinned + choose(self.seed, "odd machine", self.machines - self.pinned)

    @cached_property
    def _restored_machine(self) -> int:
        return 1 + choose(self.seed, "restored machine", self.pinned - 1)

    def _machine(self, number: int) -> Machine:
        period = self.days * DAY
        begin, end = _UPDATES
        update = int((begin + (end - begin) * (number + 0.5) / self.machines) * period)
        offset = int(draw(self.seed, "boots", number) * _BOOTS_EVERY)
        boots = {update, *range(offset, period, _BOOTS_EVERY)}
        restored = None
        if number == self._restored_machine:
            before, after, restore = map(self._time, self.around_restore)
            taken = int(_SNAPSHOT * period)
            # One boot since the snapshot, so that resetCount stays until shortly before it is brought back.
            boots = {boot for boot in boots if not taken < boot <= restore} | {(before + after + 1) // 2}
            restored = Restored(taken, restore)
        pinned = number < self.pinned
        return Machine(
            name=f"{self.seed}-{number:03d}",
            key="rsa2048" if pinned and number == 0 else "p256",
            pinned=pinned,
            clock=int((20 + 400 * draw(self.seed, "clock", number)) * DAY),
            resets=4 + choose(self.seed, "resets", 60, number),
            boots=tuple(sorted(boots)),
            update=update,
            restored=restored,
        )

    def _time(self, number: int) -> int:
        """When an answer is given: evenly spread but for chance, and by day twice as many as by night."""
        even = (number + draw(self.seed, "time", number)) * self.days / self.records
        day = min(int(even), self.days - 1)
        hour = even - day
        return day * DAY + min(int(hour * (1.5 - 1.5 * hour + hour * hour) * DAY), DAY - 1)

    def _machine_of(self, number: int) -> int:
        if number in self.around_restore:
            return self._restored_machine
        first, last = self._numbers_of(self.odd_day)
        if first <= number < last and (number - first) % 3 == 0:
            return self._odd_machine
        chosen = choose(self.seed, "machine", self.machines, number)
        # RSA takes fifty times as long to forge, so every second answer of the one such machine goes to another.
        if chosen == 0 and draw(self.seed, "again", number) < 0.5:
            return choose(self.seed, "other machine", self.machines, number)
        return chosen

    def _numbers_of(self, day: int) -> tuple[int, int]:
        """The numbers of the answers of one day: the first, and the one after the last."""
        times = range(self.records)
        first, last = (bisect_left(times, moment, key=self._time) for moment in (day * DAY, (day + 1) * DAY))
        return first, last
