"""A fleet's answers as files: the folder that `nomyo-attest example fleet` makes."""

from __future__ import annotations

import gzip
import json
import sys
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any, Final

from nomyo_attest._files import write_new
from nomyo_attest.testing.fleet.draws import FIRST
from nomyo_attest.testing.fleet.fleet import Fleet

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RECORDED: Final = "recorded"
"""The folder of the answers."""
POLICY: Final = "policy.toml"
README: Final = "README.txt"
README_BEGINS: Final = "A made-up fleet, for trying nomyo-attest audit. FOR TESTS ONLY."
"""The first line, by which such a folder is known."""

SINGLES: Final = 5
"""How many answers, the last ones, have a file each."""

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
    """Write a fleet's answers, policy and README into `folder`, which is empty. Raises `OSError`.

    Compressed files hold the same on every machine; their bytes are those of this machine's zlib and Zstandard.
    """
    folder = Path(folder)
    recorded = folder / RECORDED
    recorded.mkdir()
    for name, answers in groupby(fleet.answers(), key=lambda answer: place_of(fleet, answer.number)[0]):
        _write(recorded / name, [answer.text for answer in answers])
    _write_text(folder / POLICY, policy_text(fleet.policy()))
    _write_text(folder / README, _readme(fleet))


def place_of(fleet: Fleet, number: int) -> tuple[str, int]:
    """Where an answer stands: the file's name, from the folder `RECORDED` on, and its line."""
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
