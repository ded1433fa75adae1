from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomyo_attest.audit import cause_groups
from nomyo_attest.audit.cause_counts import CauseCounts
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.row import Row, RowFinding
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import BOOTS_LISTED, CAUSE_GROUPS_LISTED, CauseGroup
from tests.nomyo_attest.audit.stores import result

PINNED = "000b" + "11" * 32
_STORES = itertools.count()


def finding(
    rule: str = "pcr.values", got: Any = None, outcome: str = "fail", requirement: str = "required"
) -> RowFinding:
    return RowFinding(rule=rule, outcome=outcome, requirement=requirement, expected=[], got=got, message=f"no {got}")


def booted(value: str) -> RowFinding:
    return finding(got={"sha256:7": value})


def failing(line: int, *found: RowFinding, **fields: Any) -> Row:
    """A record of the boot with resetCount 7 whose TPM's clock was zero at 1000."""
    at = fields.get("processed_at", 1000 + line)
    given: dict[str, Any] = {
        "source": "a", "line": line, "verdict": "contraindicated", "signature_valid": True,
        "aik_name": "000b" + f"{line:064x}", "aik_pinned": False, "reset_count": 7,
        "clock": None if at is None else (at - 1000) * 1000, "processed_at": at,
        "findings": list(found) or [booted("aa")],
    }  # fmt: skip
    return Row(**{**given, **fields})


def groups_of(folder: Path, *chunks: list[Row], following: tuple[str, ...] = ()) -> tuple[list[CauseGroup], int]:
    with Store.open(folder / f"store {next(_STORES)}") as store:
        for number, rows in enumerate(chunks):
            counts = CauseCounts()
            for row in rows:
                counts.add(row, following)
            store.add(result(number=number, causes=counts.samples, boots=counts.boots))
        return cause_groups.cause_groups_of(store)


def test_the_records_of_one_boot_with_ephemeral_aiks_are_one_group(tmp_path: Path) -> None:
    ((group,), total) = groups_of(tmp_path, [failing(3), failing(1)], [failing(2, processed_at=1003, clock=900)])
    assert (group.records, group.boots_total, group.boots_inferred, group.without_boot, total) == (3, 1, 1, 0, 1)
    assert (group.first, group.last) == (Place("a", 1, 1001), Place("a", 3, 1003))
    (boot,) = group.boots
    assert (boot.aik, boot.reset_count, boot.clock_epoch, boot.records) == ("", 7, 1000, 3)
    assert group.findings[0].got == {"sha256:7": "aa"}


def test_another_reset_count_or_another_offset_of_the_clock_is_another_boot(tmp_path: Path) -> None:
    rows = [
        failing(1),
        failing(2, reset_count=8),
        failing(3, clock=0, processed_at=1000 + cause_groups.BOOT_SECONDS + 1),
    ]
    ((group,), _) = groups_of(tmp_path, rows)
    assert (group.records, group.boots_total, group.boots_inferred) == (3, 3, 3)


def test_boots_with_the_same_offset_of_the_clock_are_of_one_machine(tmp_path: Path) -> None:
    rows = [failing(1), failing(2, reset_count=8), failing(3, reset_count=9, clock=0, processed_at=9000)]
    ((group,), _) = groups_of(tmp_path, [*rows, failing(4, reset_count=9, aik_name=PINNED, aik_pinned=True)])
    assert (group.boots_inferred, group.machines_inferred, group.pinned_aiks) == (3, 2, 1)


def test_a_boot_is_followed_while_its_clock_drifts(tmp_path: Path) -> None:
    rows = [failing(line, clock=0, processed_at=1000 + line * cause_groups.BOOT_SECONDS) for line in range(20)]
    ((group,), _) = groups_of(tmp_path, rows)
    assert group.boots_total == 1


def test_a_pinned_aik_is_a_machine_that_is_not_inferred(tmp_path: Path) -> None:
    pinned = [failing(line, aik_name=PINNED, aik_pinned=True) for line in (1, 2)]
    ((group,), _) = groups_of(tmp_path, [*pinned, failing(3)])
    assert (group.boots_total, group.boots_inferred, group.pinned_aiks) == (2, 1, 1)
    assert {boot.aik for boot in group.boots} == {PINNED, ""}


@pytest.mark.parametrize("fields", [
    {"signature_valid": False}, {"signature_valid": None}, {"processed_at": None}, {"clock": None},
    {"reset_count": None}, {"aik_name": None},
])  # fmt: skip
def test_no_boot_is_inferred_from_values_that_are_missing_or_that_no_key_signed(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    ((group,), _) = groups_of(tmp_path, [failing(1, **fields), failing(2, **fields)])
    assert (group.records, group.boots, group.boots_total, group.without_boot) == (2, [], 0, 2)


def test_records_with_other_rules_or_other_values_are_other_groups(tmp_path: Path) -> None:
    rows = [
        failing(1), failing(2, booted("bb")), failing(3, booted("aa"), finding("clock.safe", got=False)),
        failing(4, finding("nonce.match", got="one")), failing(5, finding("nonce.match", got="two")),
    ]  # fmt: skip
    groups, total = groups_of(tmp_path, rows)
    assert total == 4
    assert (groups[0].records, [one.rule for one in groups[0].findings]) == (2, ["nonce.match"])


def test_ignored_rules_and_consequences_are_in_no_group(tmp_path: Path) -> None:
    rows = [
        failing(1, finding("clock.safe", requirement="ignore")),
        failing(2, finding("evidence.available", outcome="undecided"), finding("attest.form", outcome="undecided")),
    ]
    ((group,), _) = groups_of(tmp_path, rows, following=("attest.form",))
    assert [one.rule for one in group.findings] == ["evidence.available"]


def test_many_values_of_the_same_pcr_are_one_group_with_the_earliest_as_its_sample(tmp_path: Path) -> None:
    rows = [failing(line, booted(f"{line:02x}")) for line in range(20, 0, -1)]
    ((group,), total) = groups_of(tmp_path, rows)
    assert (group.records, group.values, group.boots_total, total) == (20, 20, 1, 1)
    assert group.findings[0].got == {"sha256:7": "01"}


def test_groups_and_boots_are_listed_up_to_limits_and_all_are_counted(tmp_path: Path) -> None:
    rows = [failing(line, finding(f"claims.c{line}", got="x")) for line in range(CAUSE_GROUPS_LISTED + 5)]
    groups, total = groups_of(tmp_path, rows)
    assert (len(groups), total) == (CAUSE_GROUPS_LISTED, CAUSE_GROUPS_LISTED + 5)
    ((group,), _) = groups_of(tmp_path, [failing(line, reset_count=line) for line in range(BOOTS_LISTED + 5)])
    assert (len(group.boots), group.boots_total) == (BOOTS_LISTED, BOOTS_LISTED + 5)


_FOUND = st.lists(
    st.tuples(
        st.sampled_from(["pcr.values", "clock.safe", "nonce.match"]),
        st.sampled_from(["a", "b", {"sha256:7": "aa"}, {"sha256:7": "bb"}]),
        st.sampled_from(["required", "warn", "ignore"]),
    ),
    min_size=1, max_size=2, unique_by=lambda one: one[0],
)  # fmt: skip
_RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from(["a", "b", "é"]), "processed_at": st.none() | st.integers(1000, 1004),
            "reset_count": st.integers(1, 2), "aik_pinned": st.booleans(), "signature_valid": st.booleans(),
            "found": _FOUND,
        }
    ),
    max_size=12,
)  # fmt: skip


@given(_RECORDS, st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_groups_depend_neither_on_the_order_nor_on_the_chunks_and_hold_each_record_once(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], random: Any, size: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    rows = []
    for line, record in enumerate(records, 1):
        found = [finding(rule, got, requirement=asked) for rule, got, asked in record["found"]]
        fields = {key: value for key, value in record.items() if key != "found"}
        rows.append(failing(line, *found, **fields, aik_name=PINNED if record["aik_pinned"] else "000b" + "22" * 32))
    groups, total = groups_of(folder, rows)
    shuffled = random.sample(rows, len(rows))
    chunks = [shuffled[begin : begin + size] for begin in range(0, len(rows), size)]
    assert groups_of(folder, *chunks) == (groups, total)
    in_groups: dict[str, int] = defaultdict(int)
    for group in groups:
        assert group.records == group.without_boot + sum(boot.records for boot in group.boots)
        for one in group.findings:
            in_groups[one.rule] += group.records
    expected = Counter(one.rule for row in rows for one in row.findings if one.requirement != "ignore")
    assert json.dumps(in_groups, sort_keys=True) == json.dumps(expected, sort_keys=True)
