"""Generate a synthetic fleet: recorded responses, a policy and planted anomalies, written to a folder.

FOR TESTS ONLY: the keys are public.
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
    ScheduledResponse,
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
        description: what happened, in a sentence.
        rules: the rules that fail for its records; empty if every record passes.
        cross_record: the cross-record rules that detect it; empty if a single record reveals it.
    """

    name: str
    description: str
    rules: tuple[str, ...] = ()
    cross_record: tuple[str, ...] = ()


SECURE_BOOT: Final = Anomaly(
    "secure-boot-off",
    "One machine runs with Secure Boot off for one day: PCR 7 does not match a reference value.",
    rules=("pcr.values",),
)
REPLAY: Final = Anomaly(
    "replayed-evidence",
    "The evidence of a response, including its payload id, is recorded again days later with another completion. Each "
    "of the two responses passes every rule; together they show a duplicate quote, of an AIK that may sign only once.",
    cross_record=("duplicate.quote", "duplicate.payload_id", "reused.aik"),
)
SNAPSHOT: Final = Anomaly(
    "restored-snapshot",
    "A machine with a pinned AIK is restored from a snapshot some days old: the TPM's clock and resetCount go back. "
    "Every response passes every rule.",
    cross_record=("rollback.clock", "rollback.counters"),
)

ANOMALIES: Final = (SECURE_BOOT, REPLAY, SNAPSHOT)
"""The anomalies of every fleet."""


_TIERS: Final = ("standard",) * 6 + ("high",) * 3 + ("maximum",)


class RecordedResponse(NamedTuple):
    """One response as it was recorded.

    Attributes:
        number: its number in order of time, from 0.
        text: the response as JSON text.
    """

    number: int
    text: str


@dataclass(frozen=True)
class Fleet(Plan):
    """A synthetic fleet. The same arguments generate the same responses, byte for byte.

    Args:
        records: the number of responses, at least ten per day.
        machines: the number of machines. A quarter have an AIK that the policy pins; the others create a new AIK for
            each response.
        days: the number of days, from 2026-01-01 on.
        seed: different seeds generate different fleets.
    """

    def responses(self) -> Iterator[RecordedResponse]:
        """Generate every response, in order of time."""
        for scheduled in self.schedule:
            yield RecordedResponse(scheduled.number, self._forge(scheduled).text())

    @cached_property
    def planted(self) -> Mapping[Anomaly, tuple[int, ...]]:
        """Each anomaly with the numbers of the affected responses."""
        return {
            SECURE_BOOT: tuple(sorted(self.insecure)),
            REPLAY: (self.original, self.replay),
            SNAPSHOT: (self.restore - 1, self.restore),
        }

    def policy(self) -> dict[str, Any]:
        """Return the fleet's policy: old and new firmware, Secure Boot on, any value of PCR 10, and the pinned AIKs."""
        return {
            "format": "nomyo-attest-policy/1",
            "id": "example-fleet",
            "description": "The reference values of a synthetic fleet. For tests only.",
            "pcrs": {
                "sha256": {
                    "0": [{"value": firmware_pcr(firmware).hex(), "label": firmware.label} for firmware in (OLD, NEW)],
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
            "firmware": {"versions": [f"0x{firmware.version:016x}" for firmware in (OLD, NEW)]},
            "claims": {"security_tier": ["standard", "high", "maximum"]},
        }

    def _forge(self, scheduled: ScheduledResponse) -> Forge:
        # Replayed evidence is generated again: the same TPM produces the same quote for the same request and time.
        evidence = self.schedule[self.original] if scheduled.number == self.replay else scheduled
        forge = self.fleet[evidence.machine].forge(evidence.time, evidence.number)
        forge.payload_id = payload_id(self.seed, evidence.number)
        forge.processed_at = FIRST + scheduled.time // 1000
        forge.security_tier = _TIERS[choose(self.seed, "tier", len(_TIERS), scheduled.number)]
        if scheduled.number in self.insecure:
            forge.pcrs["sha256"][7] = secure_boot_pcr(on=False)
        if scheduled.number in self.unavailable:
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
README_FIRST_LINE: Final = "A synthetic fleet for trying nomyo-attest audit. FOR TESTS ONLY."
"""The first line of the README, which identifies a folder as a synthetic fleet."""

SINGLE_FILES: Final = 5
"""The number of responses, the last of the fleet, that are stored in one file each."""

_COMPRESSED: Final = {1: ".gz", 2: ".zst"}
"""Day → the extension of its file, for the days whose files are compressed."""

_README: Final = """\
{first_line}

{recorded}/
    {records} responses from {machines} machines, recorded from {first} to {last}: one file for
    each day, one of them compressed with gzip and one with Zstandard. Each of the last
    {singles} responses has a separate file.
{policy}
    The fleet's policy: reference values of the old and the new firmware, Secure Boot on,
    and the AIKs of the machines that have persistent ones.

Every machine is updated once. A few responses have no evidence, as in a real fleet.
The fleet has three anomalies. To find them:

    nomyo-attest audit {recorded} --policy {policy}

To generate the same fleet again:

    nomyo-attest example fleet FOLDER --records {records} --machines {machines} --days {days} --seed {seed}

The keys are public, so this evidence says nothing about any machine.
"""


def write_fleet(fleet: Fleet, folder: str | PathLike[str]) -> None:
    """Write a fleet's responses, policy and README into `folder`, which must be empty. Raises `OSError`.

    The content of compressed files is the same on every machine; their bytes depend on the versions of zlib and
    Zstandard.
    """
    folder = Path(folder)
    recorded = folder / RECORDED
    recorded.mkdir()
    for name, responses in groupby(fleet.responses(), key=lambda response: place_of(fleet, response.number)[0]):
        _write(recorded / name, [response.text for response in responses])
    _write_text(folder / POLICY, policy_text(fleet.policy()))
    _write_text(folder / README, _readme(fleet))


def place_of(fleet: Fleet, number: int) -> tuple[str, int]:
    """Return the file of a response, relative to the folder `RECORDED`, and its line in that file."""
    scheduled = fleet.schedule[number]
    date = _date(scheduled.day)
    if number >= fleet.records - SINGLE_FILES:
        time = datetime.fromtimestamp(FIRST + scheduled.time // 1000, UTC)
        return f"{date}.single/{time:%H%M%S}-{number}.json", 1
    first = bisect_left(fleet.schedule, scheduled.day, key=lambda scheduled: scheduled.day)
    return f"{date}.jsonl{_COMPRESSED.get(scheduled.day, '')}", number - first + 1


def policy_text(policy: dict[str, Any]) -> str:
    """Return a fleet's policy in TOML."""
    lines = [f"{key} = {json.dumps(policy[key])}" for key in ("format", "id", "description")]
    for table in ("key", "firmware", "claims"):
        lines += ["", f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in policy[table].items())]
    for bank, pcrs in policy["pcrs"].items():
        lines += ["", f"[pcrs.{bank}]", *(f"{index} = {_toml(values)}" for index, values in pcrs.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Return a string, or a list of strings or of tables of strings, in TOML: one line per item of a list."""
    if isinstance(value, list):
        return "\n".join(["[", *(f"  {_toml(item)}," for item in value), "]"])
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
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
        first_line=README_FIRST_LINE,
        recorded=RECORDED,
        policy=POLICY,
        records=fleet.records,
        machines=fleet.machines,
        days=fleet.days,
        seed=fleet.seed,
        first=_date(0),
        last=_date(fleet.days - 1),
        singles=SINGLE_FILES,
    )
