"""Invalid policies: the changes of a small policy, and the error for each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from tests.nomyo_attest.policy.documents import CORE, TIMED, ZEROS, Json

Row = tuple[str, Json, str, str, str]
"""A name; the change; the place that the error must name; a part of the problem; a part of the hint."""

TYPE, NOT_ALLOWED, EMPTY, TWICE = "wrong type", "is not allowed", "must not be empty", "duplicate"
VALUES: Final = "list the values, of 64 hexadecimal digits each"
VALUE: Final = "write the value as 64 hexadecimal digits in quotes"
NAME: Final = "write a Name in hex"
TIME: Final = "2026-11-30T00:00:00Z"
CLAIM: Final = "write text, whole numbers or true/false"


def top() -> Iterator[Row]:
    """Top-level keys."""
    value: Any
    format_ = "write 'nomyo-attest-policy/1'"
    yield (
        "no format",
        {"format": None},
        "",
        "'format' is missing",
        "write format and id above the first [table]",
    )
    for value in ("nomyo-attest-policy/2", "nomyo-attest-policy/1\n", "", 1):
        yield f"format {value!r}", {"format": value}, "format", NOT_ALLOWED, format_
    yield "no id", {"id": None}, "", "'id' is missing", "write format and id above the first [table]"
    yield "empty id", {"id": ""}, "id", EMPTY, "name of one line"
    for value in ("a\nb", "a\n", "\na", "a\x1b[31m", "a\0", "a" * 201):
        yield f"id {value[:9]!r}", {"id": value}, "id", NOT_ALLOWED, "name of one line"
    yield "id a number", {"id": 7}, "id", "wrong type: expected string, got 7", "in quotes"
    yield "description a number", {"description": 7}, "description", "wrong type: expected string, got 7", "in quotes"
    for flag in ("unsafe_any_nonce", "unsafe_accept_any_pcrs"):
        for value in ("true", "yes", 1, 0, []):
            yield f"{flag} {value!r}", {flag: value}, flag, TYPE, "write true or false"


def unknown_keys() -> Iterator[Row]:
    """Unknown keys: a typing error must not be ignored."""
    yield "unknown pcr", {"pcr": {}}, "", "unknown key 'pcr'", "did you mean 'pcrs'?"
    yield "unknown zzz", {"zzz": 1}, "", "unknown key 'zzz'", "expected one of format, id"
    yield "unknown flag", {"unsafe_any_nonces": 1}, "", "unknown key", "did you mean 'unsafe_any_nonce'?"
    yield "unknown hierarchies", {"key": {"hierarchies": []}}, "key", "unknown key", "did you mean 'hierarchy'?"
    yield "unknown rsa_minbits", {"key": {"rsa_minbits": 1}}, "key", "unknown key", "did you mean 'rsa_min_bits'?"
    yield "unknown hash", {"signature": {"hash": []}}, "signature", "unknown key 'hash'", "did you mean 'hashes'?"
    yield "unknown in bank", {"bank": {"sha1": True}}, "bank", "unknown key 'sha1'", "expected one of hashes"
    yield "unknown version", {"firmware": {"version": []}}, "firmware", "unknown key", "did you mean 'versions'?"
    for bank, hint in (
        ("SHA256", "expected one of sha1"),
        ("sha-256", "did you mean 'sha256'?"),
        ("", "expected one of sha1"),
    ):
        yield f"bank {bank!r}", {"pcrs": {bank: {"0": [ZEROS]}}}, "pcrs", f"unknown key {bank!r}", hint
    for name in ("24", "-1", "00", "07", "+7", " 7", "7 ", "7\n", "1\n", "0x7", "7.0", "", "\u0667", "\uff17", "all"):
        change = {"pcrs": {"sha256": {name: [ZEROS]}}}
        yield f"index {name!r}", change, "pcrs.sha256", f"unknown key {name!r}", "name PCRs by index, 0 to 23"
    for path in ("", ".", "a.", ".a", "a..b", "a b", "a\n", "a/b", "a[0]", "\u00e9"):
        hint = "by their path in _metadata"
        yield f"claim {path!r}", {"claims": {path: ["x"]}}, "claims", f"unknown key {path!r}", hint
    for word in ("required", "warn", "ignore"):
        rule = "claims.security_tier"
        yield (
            f"{rule} {word}",
            {"rules": {rule: word}},
            f'rules."{rule}"',
            "does not contain this claim",
            "remove the rule",
        )
    for rule, what in (
        ("key.hierarchy", "key.hierarchy"), ("firmware.version", "firmware.versions"), ("policy.period", "valid_from"),
    ):  # fmt: skip
        yield f"{rule} alone", {"rules": {rule: "required"}}, f'rules."{rule}"', "no value for it to compare with", what
    yield "rule clock", {"rules": {"clock": "warn"}}, "rules", "unknown key 'clock'", ""
    yield (
        "rule clock.save",
        {"rules": {"clock.save": "warn"}},
        "rules",
        "unknown key 'clock.save'",
        "nomyo-attest rules lists all",
    )
    for slip, right in (("pcr.vales", "'pcr.values'?"), ("nonce.mach", "'nonce.match', which is a core rule")):
        yield f"rule {slip}", {"rules": {slip: "warn"}}, "rules", f"unknown key {slip!r}", f"did you mean {right}"
    for rule in CORE:
        for word in ("warn", "ignore"):
            hint = "core rules cannot be softened"
            yield f"{rule} {word}", {"rules": {rule: word}}, "rules", f"unknown key {rule!r}", hint


def toml_slips() -> Iterator[Row]:
    """Keys below the header of a table that belong above it, and keys with dots but without quotes."""
    above = "above the first [table]: below"
    change: Json
    for key, value in (("unsafe_any_nonce", True), ("description", "x"), ("valid_until", "2026-01-01T00:00:00Z")):
        for table in ("rules", "key", "bank"):
            yield (
                f"{key} in {table}",
                {table: {key: value}},
                table,
                f"unknown key {key!r}",
                f"write {key!r} {above} one",
            )
        yield f"{key} in claims", {"claims": {key: value}}, f"claims.{key}", TYPE, f"write {key!r} {above} one"
        change = {"pcrs": {"sha256": {"0": [ZEROS], key: value}}}
        yield f"{key} in a bank", change, "pcrs.sha256", f"unknown key {key!r}", f"write {key!r} {above} one"
    yield "id in key", {"id": None, "key": {"id": "x"}}, "", "'id' is missing", f"write 'id' {above} [key] it is"
    change = {"id": None, "pcrs": {"sha256": {"0": [ZEROS], "id": "x"}}}
    yield "id in a bank", change, "", "'id' is missing", f"write 'id' {above} [pcrs.sha256] it is"
    rule = {"rules": {"clock": {"safe": "warn"}}}
    yield "rule without quotes", rule, "rules", "unknown key 'clock'", 'in quotes: "clock.safe" = …'
    claim: Json = {"claims": {"memory_protection": {"memory_locking": [True]}}}
    hint = 'in quotes: "memory_protection.memory_locking" = …'
    yield "claim without quotes", claim, "claims.memory_protection", TYPE, hint
    claim = {"claims": {"memory_protection": {"memory_locking": [True], "platform": ["linux"]}}}
    yield "claims without quotes", claim, "claims.memory_protection", TYPE, 'in quotes: "memory_protection.…" = …'


def wrong_characters() -> Iterator[Row]:
    """A long value is cut where it is shown, so the error says which character is wrong."""
    for at in (1, 40, 64):
        text = ZEROS[: at - 1] + "g" + ZEROS[at:]
        yield f"g at {at}", {"pcrs": {"sha256": {"0": [text]}}}, "pcrs.sha256.0[0]", f"character {at} is 'g'", VALUE
    for size in (63, 65):
        text = "0" * size
        yield f"{size} digits", {"pcrs": {"sha256": {"0": [text]}}}, "pcrs.sha256.0[0]", f"{size} characters", VALUE
    name = "000b" + ZEROS[:-1] + "x"
    yield "x in a Name", {"key": {"pinned": [name]}}, "key.pinned[0]", "character 68 is 'x'", NAME
    yield (
        "g in a version",
        {"firmware": {"versions": ["0x000g"]}},
        "firmware.versions[0]",
        "character 6 is 'g'",
        "digits",
    )
    yield "a tab in the id", {"id": "a" * 60 + "\t"}, "id", "character 61 is '\\t'", "name of one line"


def pcrs() -> Iterator[Row]:
    """Reference values."""
    given: Any
    flag = "unsafe_accept_any_pcrs = true"
    for what, given in (("no", None), ("empty", {}), ("any alone", {"sha256": {"0": "any", "7": "any"}})):
        yield f"pcrs {what}", {"pcrs": given}, "pcrs", "no PCR value is pinned", flag
    asking = {"key": {"hierarchy": ["owner"]}, "firmware": {"versions": ["0x1"]}}
    for rule in TIMED:
        where, end = f'rules."{rule}"', "unsafe_warn_until = YYYY-MM-DD"
        yield f"{rule} warned", {**asking, "rules": {rule: "warn"}}, where, "only for a limited time", end
        yield f"{rule} ignored", {**asking, "rules": {rule: "ignore"}}, where, "cannot be ignored", end
        until = {"unsafe_warn_until": TIME, "rules": {rule: "ignore"}}
        yield f"{rule} ignored for a time", {**asking, **until}, where, "cannot be ignored", end
    for text in ("soon", "2026-13-01", "2026-11-31", "2026-11", "20261130", "2026-11-30T00:00:00", "2026-11-30 ", ""):
        yield f"until {text!r}", {"unsafe_warn_until": text}, "unsafe_warn_until", "invalid time", TIME
    yield "until a number", {"unsafe_warn_until": 2026}, "unsafe_warn_until", TYPE, TIME
    yield "pcrs a list", {"pcrs": []}, "pcrs", TYPE, "name a bank"
    yield "bank empty", {"pcrs": {"sha256": {}}}, "pcrs.sha256", EMPTY, "name PCRs by index"
    yield "bank a list", {"pcrs": {"sha256": [ZEROS]}}, "pcrs.sha256", TYPE, "name PCRs by index"
    yield "values empty", {"pcrs": {"sha256": {"0": []}}}, "pcrs.sha256.0", EMPTY, VALUES
    for text, example in ((ZEROS, "0000"), ("ANY", "9f"), ("any\n", "9f"), ("", "9f"), ("48C9dea1", "48C9")):
        hint = f'list the values: ["{example}…"]'
        yield f"values {text[:4]!r}", {"pcrs": {"sha256": {"0": text}}}, "pcrs.sha256.0", "instead of a list", hint
    for given in (7, True, {"value": ZEROS}, None):
        yield f"values {given!r:.9}", {"pcrs": {"sha256": {"0": given}}}, "pcrs.sha256.0", TYPE, VALUES
    for text in (
        *("any", "00", "00" * 20, "00" * 33, "0x" + ZEROS, "0x" + ZEROS[2:], "0g" * 32, " " + ZEROS[1:], ZEROS + "\n"),
        *(ZEROS[:-1] + "\n", "\u0660" * 64, "\uff10" * 64, "00 " * 21 + "0", ""),
    ):
        what = f"{text[:4]!r} {len(text)}"
        yield f"value {what}", {"pcrs": {"sha256": {"0": [text]}}}, "pcrs.sha256.0[0]", NOT_ALLOWED, VALUE
        change = {"pcrs": {"sha256": {"0": [{"value": text, "label": "x"}]}}}
        yield f"labelled {what}", change, "pcrs.sha256.0[0].value", NOT_ALLOWED, VALUE
    for given in (7, True, None, [ZEROS]):
        yield f"value {given!r:.9}", {"pcrs": {"sha256": {"0": [given]}}}, "pcrs.sha256.0[0]", TYPE, VALUES
    entries: list[tuple[Json, str, str, str]] = [
        ({"label": "x"}, "", "'value' is missing", VALUES),
        ({"value": ZEROS, "label": 7}, ".label", TYPE, "in quotes"),
        ({"value": ZEROS, "lable": "x"}, "", "unknown key 'lable'", "did you mean 'label'?"),
    ]
    for entry, place, problem, hint in entries:
        yield f"entry {problem}", {"pcrs": {"sha256": {"0": [entry]}}}, f"pcrs.sha256.0[0]{place}", problem, hint
    wide = "write the value as 40 hexadecimal digits in quotes"
    yield "value too wide", {"pcrs": {"sha1": {"0": [ZEROS]}}}, "pcrs.sha1.0[0]", NOT_ALLOWED, wide
    upper, lower = "AB" * 32, "ab" * 32
    for what, values in (
        ("twice", [ZEROS, ZEROS]), ("two cases", [upper, lower]), ("labelled", [ZEROS, {"value": ZEROS, "label": "x"}]),
    ):  # fmt: skip
        yield f"value {what}", {"pcrs": {"sha256": {"0": values}}}, "pcrs.sha256.0", TWICE, "once"


def key() -> Iterator[Row]:
    """Requirements on the AIK."""
    bits = "2048 or more"
    for number in (512, 1024, 2047, 16385, 10**6, 0, -2048):
        yield f"bits {number}", {"key": {"rsa_min_bits": number}}, "key.rsa_min_bits", f"{number} is not", bits
    for no_number in (True, "3072", None, [2048]):
        yield f"bits {no_number!r}", {"key": {"rsa_min_bits": no_number}}, "key.rsa_min_bits", TYPE, bits
    for fraction in (2048.0, 2048.5, math.nan, math.inf):
        with_fraction: Json = {"key": {"rsa_min_bits": fraction}}
        yield f"bits {fraction!r}", with_fraction, "key.rsa_min_bits", "wrong type: float", "whole numbers"
    yield "hierarchy a text", {"key": {"hierarchy": "owner"}}, "key.hierarchy", TYPE, "list hierarchies"
    yield "hierarchy empty", {"key": {"hierarchy": []}}, "key.hierarchy", EMPTY, "list hierarchies"
    yield "hierarchy twice", {"key": {"hierarchy": ["owner"] * 2}}, "key.hierarchy", TWICE, "once"
    for name in ("ek", "Owner", "owner\n", "", None, 0x40000001):
        change = {"key": {"hierarchy": [name]}}
        yield (
            f"hierarchy {name!r}",
            change,
            "key.hierarchy[0]",
            NOT_ALLOWED,
            "'endorsement', 'owner', 'platform', 'null'",
        )
    yield "trust reserved", {"key": {"trust": "certified_aik"}}, "key.trust", NOT_ALLOWED, "reserved"
    for word in ("none", "PINNED_AIK", "pinned", None, 1):
        yield f"trust {word!r}", {"key": {"trust": word}}, "key.trust", NOT_ALLOWED, "'self_asserted', 'pinned_aik'"
    yield "trust without a pin", {"key": {"trust": "pinned_aik"}}, "key.pinned", "no AIK is pinned", "list the Names"
    yield "pinned empty", {"key": {"pinned": []}}, "key.pinned", EMPTY, "list Names"
    yield "pinned a text", {"key": {"pinned": "000b" + ZEROS}}, "key.pinned", TYPE, "list Names"
    for text in (
        ZEROS,
        "000b" + ZEROS[2:],
        "000b" + ZEROS + "00",
        "000c" + ZEROS,
        "000b" + ZEROS + "\n",
        "0x000b" + ZEROS,
        "",
    ):
        yield f"pinned {text[:6]!r} {len(text)}", {"key": {"pinned": [text]}}, "key.pinned[0]", NOT_ALLOWED, NAME
        entry = {"key": {"pinned": [{"name": text}]}}
        yield f"pinned table {text[:6]!r} {len(text)}", entry, "key.pinned[0].name", NOT_ALLOWED, NAME
    yield from labels()


def labels() -> Iterator[Row]:
    """Tables of a pinned AIK and its label."""
    name, place = "000b" + ZEROS, "key.pinned[0].label"
    label: Any
    for label, problem, hint in (
        ("", EMPTY, "write a one-line label"),
        ("a" * 61, NOT_ALLOWED, "1 to 60 characters"),
        ("a\nb", NOT_ALLOWED, "write a one-line label"),
        ("a\n", NOT_ALLOWED, "write a one-line label"),
        ("a\x1b[31m", "character 2 is", "write a one-line label"),
        (7, TYPE, "in quotes"),
        ("  ", "has only spaces", "write one line of printable characters"),
        ("a\u202eb", r"character 2 is '\u202e', which does not print", "printable characters"),
        ("a\x9bb", r"character 2 is '\x9b', which does not print", "printable characters"),
    ):
        entry = {"name": name, "label": label}
        yield f"label {label!r:.9}", {"key": {"pinned": [entry]}}, place, problem, hint
    no_name = {"key": {"pinned": [{"label": "a"}]}}
    yield "label alone", no_name, "key.pinned[0]", "'name' is missing", "write { name ="
    names = {"key": {"pinned": [{"names": name}]}}
    yield "label names", names, "key.pinned[0]", "unknown key 'names'", "did you mean 'name'?"
    upper = {"name": name.upper(), "label": "a"}
    for what, entries in (
        ("then", [name, upper]),
        ("first", [upper, name]),
        ("both", [upper, {"name": name, "label": "b"}]),
    ):
        problem = "duplicate Name: key.pinned[0] pins it too"
        yield f"label twice, {what}", {"key": {"pinned": entries}}, "key.pinned[1]", problem, "once"


def lists() -> Iterator[Row]:
    """Hashes, firmware, claims, words for rules."""
    given: Any
    for table in ("signature", "bank"):
        yield f"{table} empty", {table: {"hashes": []}}, f"{table}.hashes", EMPTY, "list hashes"
        yield f"{table} a text", {table: {"hashes": "sha256"}}, f"{table}.hashes", TYPE, "list hashes"
        yield f"{table} twice", {table: {"hashes": ["sha256"] * 2}}, f"{table}.hashes", TWICE, "once"
        for name in ("md5", "SHA256", "sha256\n", "", None, 11):
            yield f"{table} {name!r}", {table: {"hashes": [name]}}, f"{table}.hashes[0]", NOT_ALLOWED, "'sha256'"
    yield "firmware empty", {"firmware": {"versions": []}}, "firmware.versions", EMPTY, "list versions"
    yield "firmware a number", {"firmware": {"versions": [7]}}, "firmware.versions[0]", TYPE, "in hex and in quotes"
    for text in ("2024", "0x", "0x" + "0" * 17, "0x1\n", "0xg", "0X1", "1", ""):
        change = {"firmware": {"versions": [text]}}
        yield f"firmware {text!r}", change, "firmware.versions[0]", NOT_ALLOWED, "up to 16 digits"
    for given in ("high", {}, True, None):
        yield f"claim {given!r}", {"claims": {"a": given}}, "claims.a", TYPE, "list the allowed values"
    yield "claim empty", {"claims": {"a": []}}, "claims.a", EMPTY, "list the allowed values"
    yield "claim twice", {"claims": {"a": ["x", "x"]}}, "claims.a", TWICE, "once"
    for given in (None, 1.0, 1.5, {}, [], math.inf):
        yield f"claim of {given!r}", {"claims": {"a": [given]}}, "claims.a[0]", TYPE, CLAIM
    for word in ("off", "WARN", "warn\n", "", False, None):
        hint = "'required', 'warn', 'ignore'"
        yield f"word {word!r}", {"rules": {"clock.safe": word}}, 'rules."clock.safe"', NOT_ALLOWED, hint


def period() -> Iterator[Row]:
    """The validity period of the policy."""
    for name in ("valid_from", "valid_until"):
        for text in (
            *("", "now", "2026-11-30", "2026-11-30T00:00:00", "2026-13-01T00:00:00Z", "2026-11-31T00:00:00Z"),
            *("20261130T000000Z", "2026-W48-1T00:00:00Z", "2026-11-30T00:00Z", "2026-11-30x00:00:00Z"),
            *("2026-11-30T00:00:00+2", " 2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z\n", "2026-11-30T24:00:00Z"),
            *("\u0662\u0660\u0662\u0666-11-30T00:00:00Z", "2026-11-30T00:00:00 Z", "1764460800"),
        ):
            yield f"{name} {text!r}", {name: text}, name, "invalid time", TIME
        yield f"{name} a number", {name: 1764460800}, name, TYPE, TIME
    begins = "2026-02-01T00:00:00Z"
    for what, ends in (("backwards", "2026-01-01T00:00:00Z"), ("empty", "2026-02-01T02:00:00+02:00")):
        change = {"valid_from": begins, "valid_until": ends}
        yield f"period {what}", change, "valid_until", "ends before it begins", "later"


WRONG: Final = {
    name: (change, where, problem, hint)
    for rows in (top, unknown_keys, toml_slips, wrong_characters, pcrs, key, lists, period)
    for name, change, where, problem, hint in rows()
}


WHOLE: Final = {
    "no format": ("the key 'format' is missing; write format and id above the first [table]; a policy also needs pcrs"),
    "format 'nomyo-attest-policy/2'": ("format: 'nomyo-attest-policy/2' is not allowed; write 'nomyo-attest-policy/1'"),
    "empty id": ("id: must not be empty; write a name of one line in quotes"),
    "id 'a\\nb'": ("id: 'a\\nb' is not allowed: character 2 is '\\n'; write a name of one line in quotes"),
    "id a number": ("id: wrong type: expected string, got 7; write a name of one line in quotes"),
    "unsafe_any_nonce []": ("unsafe_any_nonce: wrong type: expected boolean, got []; write true or false"),
    "unknown pcr": ("unknown key 'pcr'; did you mean 'pcrs'?"),
    "unknown in bank": ("bank: unknown key 'sha1'; expected one of hashes"),
    "index '24'": ("pcrs.sha256: unknown key '24'; name PCRs by index, 0 to 23"),
    "claim ''": (
        "claims: unknown key ''; name claims by their path in _metadata: \"memory_protection.memory_locking\""
    ),
    "claims.security_tier required": (
        'rules."claims.security_tier": [claims] does not contain this claim; add it there, or remove the rule here'
    ),
    "firmware.version alone": (
        'rules."firmware.version": the rule is required, but the policy has no value for it to compare '
        "with; write firmware.versions, or remove the rule here"
    ),
    "policy.period alone": (
        'rules."policy.period": the rule is required, but the policy has no value for it to compare '
        "with; write valid_from or valid_until, or remove the rule here"
    ),
    "rule clock": ("rules: unknown key 'clock'; did you mean 'clock.safe'? nomyo-attest rules lists all rules"),
    "unsafe_any_nonce in rules": (
        "rules: unknown key 'unsafe_any_nonce'; write 'unsafe_any_nonce' above the first [table]: below "
        "one, it is a key of that table"
    ),
    "unsafe_any_nonce in claims": (
        "claims.unsafe_any_nonce: wrong type: expected array, got True; write 'unsafe_any_nonce' above "
        "the first [table]: below one, it is a key of that table; for a claim, list the allowed values: "
        '["high", "maximum"]'
    ),
    "id in a bank": (
        "the key 'id' is missing; write 'id' above the first [table]: below [pcrs.sha256] it is a key of that table"
    ),
    "rule without quotes": ("rules: unknown key 'clock'; write a key with dots in quotes: \"clock.safe\" = …"),
    "claims without quotes": (
        "claims.memory_protection: wrong type: expected array, got {'memory_locking': [True], "
        "'platform'…; write a key with dots in quotes: \"memory_protection.…\" = …"
    ),
    "g at 1": (
        "pcrs.sha256.0[0]: 'g00000000000000000000000000000000000… is not allowed: character 1 is 'g'; "
        "write the value as 64 hexadecimal digits in quotes"
    ),
    "63 digits": (
        "pcrs.sha256.0[0]: '000000000000000000000000000000000000… is not allowed: 63 characters; write "
        "the value as 64 hexadecimal digits in quotes"
    ),
    "x in a Name": (
        "key.pinned[0]: '000b00000000000000000000000000000000… is not allowed: character 68 is 'x'; "
        "write a Name in hex: 000b and 64 digits for SHA-256; nomyo-attest inspect prints it"
    ),
    "g in a version": (
        "firmware.versions[0]: '0x000g' is not allowed: character 6 is 'g'; write the version in hex and "
        "in quotes: 0x and up to 16 digits"
    ),
    "pcrs no": (
        "pcrs: no PCR value is pinned, so every machine state would be accepted; pin a value, or write "
        "unsafe_accept_any_pcrs = true to accept every machine state"
    ),
    "key.attributes warned": (
        'rules."key.attributes": this rule can be a warning only for a limited time; remove it; to see '
        "first which evidence the rule would reject, write unsafe_warn_until = YYYY-MM-DD above the "
        "first [table]; from then on it is required"
    ),
    "key.attributes ignored": (
        'rules."key.attributes": this rule cannot be ignored; remove it; to see first which evidence the '
        'rule would reject, write "warn" here and unsafe_warn_until = YYYY-MM-DD above the first [table]'
    ),
    "until 'soon'": (
        "unsafe_warn_until: invalid time 'soon'; write an RFC 3339 time with an offset: 2026-11-30T00:00:00Z"
    ),
    "until a number": (
        "unsafe_warn_until: wrong type: expected string, got 2026; write a date, or a time with an "
        "offset: 2026-11-30T00:00:00Z"
    ),
    "pcrs a list": ("pcrs: wrong type: expected object, got []; name a bank: [pcrs.sha256]"),
    "values empty": (
        'pcrs.sha256.0: must not be empty; list the values, of 64 hexadecimal digits each: ["9f…", { '
        'value = "41…", label = "…" }]'
    ),
    "values '0000'": (
        "pcrs.sha256.0: '000000000000000000000000000000000000… is not allowed instead of a list; list "
        'the values: ["0000…"]'
    ),
    "values 'ANY'": (
        'pcrs.sha256.0: \'ANY\' is not allowed instead of a list; list the values: ["9f…"]; "any", in '
        "lower case and without a list, accepts every value"
    ),
    "values 7": (
        "pcrs.sha256.0: wrong type: expected array or string, got 7; list the values, of 64 hexadecimal "
        'digits each: ["9f…", { value = "41…", label = "…" }]'
    ),
    "entry 'value' is missing": (
        "pcrs.sha256.0[0]: the key 'value' is missing; list the values, of 64 hexadecimal digits each: "
        '["9f…", { value = "41…", label = "…" }]'
    ),
    "value twice": ("pcrs.sha256.0: duplicate value; list each value once"),
    "bits 512": ("key.rsa_min_bits: 512 is not allowed; write a size in bits, 2048 or more"),
    "bits 2048.0": ("key.rsa_min_bits: wrong type: float; write text, whole numbers or true/false"),
    "hierarchy twice": ("key.hierarchy: duplicate entry; list each entry once"),
    "hierarchy 'ek'": (
        "key.hierarchy[0]: 'ek' is not allowed; write one of 'endorsement', 'owner', 'platform', 'null'"
    ),
    "trust reserved": (
        "key.trust: 'certified_aik' is not allowed; write one of 'self_asserted', 'pinned_aik' "
        "(certified_aik is reserved: no evidence carries a certificate)"
    ),
    "trust without a pin": (
        "key.pinned: trust is pinned_aik, but no AIK is pinned; list the Names of the AIKs that you trust"
    ),
    "pinned '' 0": (
        "key.pinned[0]: '' is not allowed; write a Name in hex: 000b and 64 digits for SHA-256; "
        "nomyo-attest inspect prints it"
    ),
    "claim of None": (
        "claims.a[0]: wrong type: expected string or boolean or integer, got None; write text, whole "
        "numbers or true/false"
    ),
    "period backwards": ("valid_until: the period ends before it begins; write a later time"),
}
"""Complete messages without the source, one for each form of error."""
