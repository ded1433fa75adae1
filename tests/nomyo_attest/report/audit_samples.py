"""A summary of an audit as reports get one, made by hand: two weeks of a fleet in which something happens.

A firmware roll-out in the second week, one odd machine, hours with nothing but records without evidence, hours without
records, a quote that was replayed, an archive cut off. All numbers follow from `_bucket` and `_failures`, and add up.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from nomyo_attest.audit.cross_record.model import Affected, AffectedKey, CrossRecordFinding, CrossRecordRuleSummary
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.row import Row, RowFinding, encode_row
from nomyo_attest.audit.summary import (
    Boot,
    Bucket,
    CauseFinding,
    CauseGroup,
    Counts,
    Gap,
    Policy,
    Profile,
    RulePlace,
    RuleSummary,
    Run,
    SourceSummary,
    Summary,
)
from nomyo_attest.policy.model import AppraisalPolicy

START: Final = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp())
STEP: Final = 6 * 3600
BUCKETS: Final = 14 * 4
ROLL_OUT: Final = range(28, 36)
ODD: Final = range(38, BUCKETS)
OUTAGE: Final = range(17, 19)
SILENCE: Final = range(44, 47)
UNDATED: Final = 12

OLD, NEW, ODD_ONE = "old", "new", "odd"


def digest(text: str) -> str:
    """A SHA-256 in hex to stand for anything."""
    return hashlib.sha256(text.encode()).hexdigest()


PCRS: Final[dict[str, dict[str, dict[str, str]]]] = {
    OLD: {"sha256": {"0": digest("firmware 2.4"), "7": digest("secure boot")}},
    NEW: {"sha256": {"0": digest("firmware 2.5"), "7": digest("secure boot")}},
    ODD_ONE: {"sha256": {"0": digest("firmware 2.4"), "7": digest("secure boot off")}},
}

DOCUMENT: Final[dict[str, Any]] = {
    "format": "nomyo-attest-policy/1",
    "id": "prod-eu-2026-11",
    "description": "EU fleet, firmware 2.4 and 2.5",
    "pcrs": {
        "sha256": {
            "0": [
                {"value": digest("firmware 2.4"), "label": "firmware 2.4"},
                {"value": digest("firmware 2.5"), "label": "firmware 2.5"},
            ],
            "7": [{"value": digest("secure boot"), "label": "Secure Boot on, db 2026-10"}],
            "10": "any",
        }
    },
    "key": {"hierarchy": ["endorsement"]},
    "claims": {"security_tier": ["high", "maximum"]},
    "rules": {"clock.safe": "warn"},
}

NOT_ESTABLISHED: Final = [
    "That a TPM made the quote: the AIK came with the response and has no certificate.",
    "That the server wrote the completion: the quote signs a payload id and PCRs, not the completion.",
    "What the measured software does: a PCR value shows that known code was loaded, not that this code is sound.",
    "That the server's claims about itself are true (security tier, memory protection, GPU): they are unsigned.",
]


def _bucket(number: int) -> dict[str, int]:
    """Records of one bucket by what happened to them: of each profile, warned of, without evidence."""
    if number in SILENCE:
        return {}
    if number in OUTAGE:
        return {"unavailable": 60}
    usual = (90, 240, 310, 180)[number % 4]
    if number < ROLL_OUT.start:
        share = 0
    elif number >= ROLL_OUT.stop:
        share = usual
    else:
        share = usual * (number - ROLL_OUT.start + 1) // len(ROLL_OUT)
    return {
        OLD: usual - share,
        NEW: share,
        ODD_ONE: 5 if number in ODD else 0,
        "warned": number % 3,
        "unavailable": number % 2,
    }


def _counts(found: dict[str, int]) -> Counts:
    good = found.get(OLD, 0) + found.get(NEW, 0)
    return Counts(
        affirming=good - found.get("warned", 0),
        warning=found.get("warned", 0),
        contraindicated=found.get(ODD_ONE, 0),
        none=found.get("unavailable", 0),
    )


def _sum(parts: list[Counts]) -> Counts:
    return Counts(**{name: sum(getattr(one, name) for one in parts) for name in Counts.__struct_fields__})


def _failures() -> list[Row]:
    """Every record that is contraindicated, none or unreadable, in the order of the sources."""
    rows = []
    line = 0
    for number in range(BUCKETS):
        found = _bucket(number)
        line += found.get(OLD, 0) + found.get(NEW, 0)
        for one in range(found.get(ODD_ONE, 0)):
            line += 1
            rows.append(_odd_row(line, START + number * STEP + 600 * one))
        for one in range(found.get("unavailable", 0)):
            line += 1
            rows.append(_unavailable_row(line, START + number * STEP + 60 * one))
    message = "the archive is cut off at byte 1048576: the records behind are lost"
    rows.append(Row(source="recorded/2026-11-16.jsonl.zst", line=412, verdict="unreadable", reason=message))
    return rows


def _payload_id(line: int) -> str:
    text = digest(f"payload {line}")
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}"


def _odd_row(line: int, at: int) -> Row:
    finding = RowFinding(
        rule="pcr.values",
        outcome="fail",
        requirement="required",
        expected={"sha256:7": [digest("secure boot")]},
        got={"sha256:7": digest("secure boot off")},
        message="PCR sha256:7 does not match the policy",
    )
    return Row(
        source="recorded/2026-11.jsonl.gz",
        line=line,
        payload_id=_payload_id(line),
        verdict="contraindicated",
        failed=["pcr.values"],
        reason="pcr.values: PCR sha256:7 does not match the policy",
        trust="self_asserted",
        processed_at=at,
        security_tier="high",
        available=True,
        signature_valid=True,
        aik_name="000b" + digest(f"aik {line}"),
        aik_pinned=False,
        quote=digest(f"quote {line}"),
        clock=1_000 * line,
        reset_count=3,
        restart_count=0,
        firmware_version="2024012500120000",
        pcr_profile=digest(ODD_ONE),
        pcrs=msgspec.Raw(msgspec.json.encode(PCRS[ODD_ONE])),
        findings=[finding],
    )


def _unavailable_row(line: int, at: int) -> Row:
    message = "the server says that it has no TPM evidence"
    finding = RowFinding(
        rule="evidence.available",
        outcome="undecided",
        requirement="required",
        expected=True,
        got=False,
        message=message,
    )
    return Row(
        source="recorded/2026-11.jsonl.gz",
        line=line,
        payload_id=_payload_id(line),
        verdict="none",
        undecided=["evidence.available"],
        reason=f"evidence.available: {message}",
        trust="self_asserted",
        processed_at=at,
        security_tier="standard",
        available=False,
        findings=[finding],
    )


def _profile(name: str, buckets: list[dict[str, int]]) -> Profile:
    over_time = [one.get(name, 0) for one in buckets]
    seen = [START + number * STEP for number, count in enumerate(over_time) if count]
    warned = sum(one.get("warned", 0) for one in buckets)
    old_warned = warned // 2
    total = sum(over_time)
    counts = {
        OLD: Counts(affirming=total - old_warned, warning=old_warned),
        NEW: Counts(affirming=total - (warned - old_warned) + UNDATED, warning=warned - old_warned),
        ODD_ONE: Counts(contraindicated=total),
    }[name]
    return Profile(
        profile=digest(name),
        pcrs=PCRS[name],
        counts=counts,
        aiks=counts.total,
        first=Place("recorded/2026-11.jsonl.gz", 1 + seen[0] % 997, seen[0]),
        last=Place("recorded/2026-11.jsonl.gz", 9000 + seen[-1] % 997, seen[-1] + 4242),
        first_seen=seen[0],
        last_seen=seen[-1] + 4242,
        over_time=over_time,
    )


def _groups(odd: list[Row], without: list[Row]) -> list[CauseGroup]:
    """The records of the odd machine, which are of one inferred boot, and those without evidence."""
    found = []
    for rows in (without, odd):
        places = [Place(row.source, row.line, row.processed_at) for row in (rows[0], rows[-1])]
        boots = [Boot(aik="", reset_count=3, clock_epoch=START, records=len(rows), first=places[0], last=places[1])]
        boots *= rows is odd
        found.append(
            CauseGroup(
                findings=[msgspec.convert(rows[0].findings[0], CauseFinding, from_attributes=True)],
                values=1,
                records=len(rows),
                first=places[0],
                last=places[1],
                boots=boots,
                boots_total=len(boots),
                boots_inferred=len(boots),
                machines_inferred=len(boots),
                pinned_aiks=0,
                without_boot=0 if boots else len(rows),
            )
        )
    return found


def _series() -> list[CrossRecordFinding]:
    replayed = [Place("recorded/2026-11.jsonl.gz", line, START + STEP * 30 + line) for line in (6120, 6121, 6744)]
    shared = [Place("recorded/2026-11.jsonl.gz", line, START + STEP * 30 + line) for line in (6120, 6744)]
    return [
        CrossRecordFinding(
            rule="duplicate.quote",
            key=digest("quote 6120"),
            records=3,
            first=replayed[0],
            last=replayed[-1],
            places=replayed,
            message="3 records carry the same quote, under 2 payload ids",
        ),
        CrossRecordFinding(
            rule="duplicate.payload_id",
            key=_payload_id(6120),
            records=2,
            first=shared[0],
            last=shared[1],
            places=shared,
            message="2 records have the same payload id",
        ),
    ]


CROSS_RECORD_RULES: Final = [
    ("duplicate.quote", "Is every quote seen once?", "find out who recorded or sent the same answer again"),
    (
        "duplicate.payload_id",
        "Is every payload id seen once?",
        "see that ids are random, and that nothing is kept twice",
    ),
    ("reused.aik", "Does an AIK that is not pinned sign one quote only?", "ask the service why a key came back"),
    ("rollback.clock", "Does the clock of an AIK only go forward?", "look for records out of order, or two TPMs"),
]


def _cross_record_rules(found: list[CrossRecordFinding]) -> list[CrossRecordRuleSummary]:
    return [
        CrossRecordRuleSummary(
            rule=rule,
            question=question,
            remediation=remediation,
            findings=sum(one.rule == rule for one in found),
            records=sum(one.records for one in found if one.rule == rule),
            outcome="found" if any(one.rule == rule for one in found) else "held",
        )
        for rule, question, remediation in CROSS_RECORD_RULES
    ]


def _sources(counts: Counts) -> list[SourceSummary]:
    cut = Counts(affirming=411, unreadable=1)
    rest = {name: getattr(counts, name) - getattr(cut, name) for name in Counts.__struct_fields__}
    return [
        SourceSummary(
            name="recorded/2026-11-16.jsonl.zst",
            kind="jsonl",
            size=1_048_576,
            counts=cut,
            problem="the archive is cut off at byte 1048576",
        ),
        SourceSummary(
            name="recorded/2026-11.jsonl.gz",
            kind="jsonl",
            size=31_234_567,
            sha256=digest("2026-11.jsonl.gz"),
            counts=Counts(**rest),
            outside=340,
            blank=2,
        ),
        SourceSummary(
            name="recorded/empty.json", kind="json", size=0, sha256=hashlib.sha256().hexdigest(), counts=Counts()
        ),
    ]


def summary(**changes: Any) -> Summary:
    """The sample, with some of its attributes changed."""
    buckets = [_bucket(number) for number in range(BUCKETS)]
    timeline = [
        Bucket(at=START + number * STEP, counts=_counts(found), unavailable=found.get("unavailable", 0))
        for number, found in enumerate(buckets)
    ]
    failures = _failures()
    counts = _sum([one.counts for one in timeline] + [Counts(affirming=UNDATED, unreadable=1)])
    policy = AppraisalPolicy.from_dict(DOCUMENT)
    series = _series()
    odd = [row for row in failures if row.verdict == "contraindicated"]
    without = [row for row in failures if row.verdict == "none"]
    warned = sum(one.get("warned", 0) for one in buckets)
    first_odd, first_without = (Place(rows[0].source, rows[0].line, rows[0].processed_at) for rows in (odd, without))
    first_warned = Place("recorded/2026-11.jsonl.gz", 187, START + STEP)
    tallied: list[tuple[str, str, str, int, Place, list[int], str]] = [
        (
            "pcr.values",
            "required",
            "fail",
            len(odd),
            first_odd,
            [row.line for row in odd[:10]],
            "PCR sha256:7 does not match the policy",
        ),
        (
            "evidence.available",
            "required",
            "undecided",
            len(without),
            first_without,
            [row.line for row in without[:10]],
            "the server says that it has no TPM evidence",
        ),
        ("clock.safe", "warn", "fail", warned, first_warned, [187, 402], "the clock may have gone back"),
    ]
    whole = Summary(
        policy=Policy(id=policy.id, digest=policy.digest, source="policy.toml", document=policy.to_dict()),
        run=Run(
            version="0.4.0",
            command=["nomyo-attest", "audit", "recorded/", "--policy", "policy.toml", "--html", "report.html"],
            since="2026-11-02T00:00:00+00:00",
            started_at="2026-11-17T08:15:00+00:00",
            seconds=2.5,
            processes=4,
        ),
        counts=counts,
        outside=340,
        blank=2,
        written=counts.total,
        sources_total=3,
        sources_unreadable=1,
        sources=_sources(counts),
        skipped=["recorded/README.md", "recorded/notes.txt"],
        skipped_total=2,
        inputs_digest=digest("inputs"),
        rules=[
            RuleSummary(
                rule=rule,
                requirement=requirement,
                outcome=outcome,
                records=records,
                first=first,
                message=message,
            )
            for rule, requirement, outcome, records, first, _, message in tallied
        ],
        places=[
            RulePlace(
                source="recorded/2026-11.jsonl.gz",
                rule=rule,
                requirement=requirement,
                outcome=outcome,
                records=records,
                lines=lines,
                message=message,
            )
            for rule, requirement, outcome, records, _, lines, message in tallied
        ],
        places_total=3,
        failures=[msgspec.json.decode(encode_row(row)) for row in failures],
        failures_total=len(failures),
        cross_record=series,
        cross_record_rules=_cross_record_rules(series),
        profiles=sorted(
            (_profile(name, buckets) for name in (OLD, NEW, ODD_ONE)), key=lambda one: one.counts.total, reverse=True
        ),
        profiles_total=3,
        bucket_seconds=STEP,
        timeline=timeline,
        undated=UNDATED + 1,
        period_begins=timeline[0].at,
        period_ends=timeline[-1].at + STEP - 1,
        gaps=[Gap(begins=START + SILENCE.start * STEP, ends=START + SILENCE.stop * STEP, records=0)],
        unavailable=[Gap(begins=START + OUTAGE.start * STEP, ends=START + OUTAGE.stop * STEP, records=120)],
        tiers=[("high", counts.total - len(without) - 1), ("standard", len(without)), (None, 1)],
        tiers_total=3,
        aiks=counts.total - len(without) - 1,
        aiks_pinned=0,
        not_established=NOT_ESTABLISHED,
        status=1,
        cause_groups=_groups(odd, without),
        cause_groups_total=2,
        affected=Affected(
            records=3,
            affirming=3,
            by_key=[
                AffectedKey(family="duplicate", key=one.key, records=one.records, affirming=one.records)
                for one in series
            ],
        ),
        status_reason=f"{len(odd)} contraindicated, {len(without)} none, 1 unreadable, 2 findings across records",
    )
    return msgspec.structs.replace(whole, **changes)
