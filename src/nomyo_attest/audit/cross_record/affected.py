"""Count the records in the findings of the cross-record rules, each once, however many findings it is in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nomyo_attest.audit.cross_record.model import Affected, AffectedKey, CrossRecordFinding
from nomyo_attest.audit.cross_record.rules import CrossRecordRule
from nomyo_attest.audit.cross_record.stored import KEY_COLUMNS, StoredRecords
from nomyo_attest.audit.store import Store

# Only the listed keys are stored: storing the keys of all findings would take more space than their records.
_INSERT: Final = """
INSERT INTO temp.affected SELECT key, source, line, verdict = 'affirming'
FROM ({records}) LEFT JOIN temp.affected_keys ON family = ? AND value = cross_record_key
"""
_TOTALS_QUERY: Final = """
SELECT COUNT(*), coalesce(SUM(affirming), 0)
FROM (SELECT MAX(affirming) AS affirming FROM temp.affected GROUP BY source, line)
"""
_KEYS_QUERY: Final = """
SELECT family, value, COUNT(*), SUM(affirming)
FROM (
  SELECT key, MAX(affirming) AS affirming FROM temp.affected WHERE key IS NOT NULL GROUP BY key, source, line
) JOIN temp.affected_keys USING (key)
GROUP BY key ORDER BY key
"""


def affected_of(
    store: Store, stored: StoredRecords, rules: Iterable[CrossRecordRule], listed: Iterable[CrossRecordFinding]
) -> Affected:
    """Count the records in all findings of `rules`, and those in the findings that are listed.

    SQLite sorts the records within its cache and in temporary files, so the counts are exact for any number of records.

    Args:
        store: the store, after its last checkpoint.
        stored: its records.
        rules: the rules that have findings.
        listed: the findings for whose keys the records are also counted separately.

    Raises:
        StoreError: the store cannot be read, or the disk is too full for temporary files.
    """
    store.execute("DROP TABLE IF EXISTS temp.affected_keys")
    store.execute("DROP TABLE IF EXISTS temp.affected")
    store.execute(
        "CREATE TEMP TABLE affected_keys (key INTEGER PRIMARY KEY, family TEXT, value, UNIQUE (family, value))"
    )
    store.execute("CREATE TEMP TABLE affected (key INTEGER, source INTEGER, line INTEGER, affirming INTEGER)")
    keys = ((_family(finding.rule), _stored_key(finding)) for finding in listed if finding.rule in KEY_COLUMNS)
    store.execute("INSERT OR IGNORE INTO temp.affected_keys (family, value) VALUES (?, ?)", keys)
    for rule in rules:
        if rule.records_query:
            stored.select_shared(rule)
            store.execute(_INSERT.format(records=rule.records_query), [(_family(rule.id),)])
    ((records, affirming),) = store.query(_TOTALS_QUERY)
    by_key = [
        AffectedKey(
            family=family,
            key=value.hex() if isinstance(value, bytes) else value,
            records=number,
            affirming=affirming_number,
        )
        for family, value, number, affirming_number in store.query(_KEYS_QUERY)
    ]
    return Affected(records=records, affirming=affirming, by_key=by_key)


def _family(rule_id: str) -> str:
    return rule_id.partition(".")[0]


def _stored_key(finding: CrossRecordFinding) -> bytes | str:
    if KEY_COLUMNS[finding.rule] == "payload_id":
        return finding.key
    try:
        return bytes.fromhex(finding.key)
    except ValueError:  # text in the column of a damaged store
        return finding.key
