"""A synthetic fleet's recorded responses, its policy, the anomalies planted in it, and the folder of files made of it.

FOR TESTS ONLY: the keys are known to everybody.
"""

from __future__ import annotations

import gzip
import json
import sys
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

from nomyo_attest._files import write_new
from nomyo_attest.testing.fleet.plan import (
    FIRST,
    NEW,
    OLD,
    Plan,
    Visit,
    choose,
    firmware_pcr,
    payload_id,
    secure_boot_pcr,
)
from nomyo_attest.testing.forge import Forge


@dataclass(frozen=True)
class Anomaly:
    """One planted anomaly.

    Attributes:
        name: a slug.
        what: what happened, in a sentence.
        rules: the rules that do not hold for its records, each by itself; none if every record passes.
        cross_record: the rules across records that find it; none if it shows in one record.
    """

    name: str
    what: str
    rules: tuple[str, ...] = ()
    cross_record: tuple[str, ...] = ()


SECURE_BOOT: Final = Anomaly(
    "secure-boot-off",
    "One machine runs with Secure Boot off for one day: PCR 7 has a value that no reference value is.",
    rules=("pcr.values",),
)
REPLAY: Final = Anomaly(
    "replayed-evidence",
    "The evidence of an answer is recorded again days later, with its payload id, around another answer. Each of the "
    "two passes every rule; together they are one quote, of an AIK that was to be used once.",
    cross_record=("duplicate.quote", "duplicate.payload_id", "reused.aik"),
)
SNAPSHOT: Final = Anomaly(
    "restored-snapshot",
    "A machine with a pinned AIK is put back to a snapshot of some days before: the TPM's clock and resetCount go "
    "back. Every answer passes every rule.",
    cross_record=("rollback.clock", "rollback.counters"),
)

ANOMALIES: Final = (SECURE_BOOT, REPLAY, SNAPSHOT)
"""All of them."""


_TIERS: Final = ("standard",) * 6 + ("high",) * 3 + ("maximum",)


class RecordedResponse(NamedTuple):
    """One response as it was recorded.

    Attributes:
        number: from 0, in order of time.
        text: the response as JSON text.
    """

    number: int
    text: str


@dataclass(frozen=True)
class Fleet(Plan):
    """A synthetic fleet. The same arguments generate the same responses, byte for byte.

    Args:
        records: how many responses it sent, at least ten a day.
        machines: how many machines it has: a quarter with an AIK that the policy names, the others with a new one for
            each response.
        days: how many days, from 2026-01-01 on.
        seed: another seed, another fleet.
    """

    def responses(self) -> Iterator[RecordedResponse]:
        """Every response, in order of time."""
        for visit in self.visits:
            yield RecordedResponse(visit.number, self._forge(visit).text())

    @cached_property
    def planted(self) -> Mapping[Anomaly, tuple[int, ...]]:
        """Each anomaly, and the responses that show it."""
        return {
            SECURE_BOOT: tuple(sorted(self.odd)),
            REPLAY: (self.original, self.replay),
            SNAPSHOT: (self.restore - 1, self.restore),
        }

    def policy(self) -> dict[str, Any]:
        """The policy of the fleet's owner: old and new firmware, Secure Boot on, PCR 10 whatever it is, the AIKs
        pinned.
        """
        return {
            "format": "nomyo-attest-policy/1",
            "id": "example-fleet",
            "description": "The reference values of a made-up fleet. For tests only.",
            "pcrs": {
                "sha256": {
                    "0": [{"value": firmware_pcr(one).hex(), "label": one.label} for one in (OLD, NEW)],
                    "7": [{"value": secure_boot_pcr(on=True).hex(), "label": "Secure Boot on"}],
                    "10": "any",
                }
            },
            "key": {
                "hierarchy": ["endorsement"],
                "trust": "self_asserted",
                "pinned": [
                    {"name": machine.forge(0, 0).build().name.hex(), "label": f"machine {number:03d}"}
                    for number, machine in enumerate(self.fleet[: self.pinned])
                ],
            },
            "firmware": {"versions": [f"0x{one.version:016x}" for one in (OLD, NEW)]},
            "claims": {"security_tier": ["standard", "high", "maximum"]},
        }

    def _forge(self, visit: Visit) -> Forge:
        # Evidence recorded again is made again: the same TPM, asked the same at the same time, signs the same.
        evidence = self.visits[self.original] if visit.number == self.replay else visit
        forge = self.fleet[evidence.machine].forge(evidence.time, evidence.number)
        forge.payload_id = payload_id(self.seed, evidence.number)
        forge.processed_at = FIRST + visit.time // 1000
        forge.security_tier = _TIERS[choose(self.seed, "tier", len(_TIERS), visit.number)]
        if visit.number in self.odd:
            forge.pcrs["sha256"][7] = secure_boot_pcr(on=False)
        if visit.number in self.unavailable:
            forge.tamper("tpm_attestation", lambda _: {"is_available": False})
        return forge


if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RECORDED: Final = "recorded"
"""The folder of the responses."""
POLICY: Final = "policy.toml"
README: Final = "README.txt"
README_BEGINS: Final = "A made-up fleet, for trying nomyo-attest audit. FOR TESTS ONLY."
"""The first line, by which such a folder is known."""

SINGLES: Final = 5
"""How many of the last responses have a file each."""

_COMPRESSED: Final = {1: ".gz", 2: ".zst"}
"""Which days' files are compressed, and the ending of their names."""

_README: Final = """\
{begins}

{recorded}/
    {records} answers that {machines} machines gave from {first} to {last}, a file a day,
    one of them gzip, one Zstandard, and the last {singles} answers in a file each.
{policy}
    The policy of the fleet's owner: reference values of the old and the new firmware,
    Secure Boot on, and the AIKs of the machines that keep theirs.

Every machine is updated once. A few answers come without evidence, as happens.
Three things are not as they should be. To find them:

    nomyo-attest audit {recorded} --policy {policy}

Made by nomyo-attest example fleet --records {records} --machines {machines} --days {days} --seed {seed},
which makes the same again. The keys are known to everybody, and evidence made here
says nothing about any machine.
"""


def write_fleet(fleet: Fleet, folder: str | PathLike[str]) -> None:
    """Write a fleet's responses, policy and README into `folder`, which is empty. Raises `OSError`.

    Compressed files hold the same on every machine; their bytes are those of this machine's zlib and Zstandard.
    """
    folder = Path(folder)
    recorded = folder / RECORDED
    recorded.mkdir()
    for name, answers in groupby(fleet.responses(), key=lambda answer: place_of(fleet, answer.number)[0]):
        _write(recorded / name, [answer.text for answer in answers])
    _write_text(folder / POLICY, policy_text(fleet.policy()))
    _write_text(folder / README, _readme(fleet))


def place_of(fleet: Fleet, number: int) -> tuple[str, int]:
    """The place of a response: the file's name, from the folder `RECORDED` on, and its line."""
    visit = fleet.visits[number]
    date = _date(visit.day)
    if number >= fleet.records - SINGLES:
        at = datetime.fromtimestamp(FIRST + visit.time // 1000, UTC)
        return f"{date}.single/{at:%H%M%S}-{number}.json", 1
    first = bisect_left(fleet.visits, visit.day, key=lambda one: one.day)
    return f"{date}.jsonl{_COMPRESSED.get(visit.day, '')}", number - first + 1


def policy_text(policy: dict[str, Any]) -> str:
    """A fleet's policy in TOML."""
    lines = [f"{key} = {json.dumps(policy[key])}" for key in ("format", "id", "description")]
    for table in ("key", "firmware", "claims"):
        lines += ["", f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in policy[table].items())]
    for bank, pcrs in policy["pcrs"].items():
        lines += ["", f"[pcrs.{bank}]", *(f"{index} = {_toml(values)}" for index, values in pcrs.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Text, or a list of text or of tables of text; a list has a line for each of its values."""
    if isinstance(value, list):
        return "\n".join(["[", *(f"  {_toml(one)}," for one in value), "]"])
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(one)}' for key, one in value.items())} }}"
    return json.dumps(value)


def _write(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".json":
        _write_text(path, json.dumps(json.loads(texts[0]), indent=1) + "\n")
        return
    octets = "".join(f"{text}\n" for text in texts).encode()
    if path.suffix == ".gz":
        octets = gzip.compress(octets, mtime=0)
    elif path.suffix == ".zst":
        octets = zstd.compress(octets)
    write_new(path, octets)


def _write_text(path: Path, text: str) -> None:
    write_new(path, text.encode("utf-8"))


def _date(day: int) -> str:
    return f"{datetime.fromtimestamp(FIRST, UTC) + timedelta(days=day):%Y-%m-%d}"


def _readme(fleet: Fleet) -> str:
    return _README.format(
        begins=README_BEGINS,
        recorded=RECORDED,
        policy=POLICY,
        records=fleet.records,
        machines=fleet.machines,
        days=fleet.days,
        seed=fleet.seed,
        first=_date(0),
        last=_date(fleet.days - 1),
        singles=SINGLES,
    )
