"""The order of places: sources by name. Sorting names of a million records takes room, sorting numbers does not."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from nomyo_attest.audit.store import Store

_NAMES_REMEMBERED: Final = 4096


class SourceOrder:
    """Numbers of sources whose order is that of their names, as UTF-8 bytes; one number for one name.

    Attributes:
        rank: SQL for a fact's number.
        join: SQL that `rank` needs after `FROM facts`; empty where the sources were read in that order anyway.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        ((unordered,),) = store.query(
            "SELECT EXISTS (SELECT 1 FROM (SELECT name, LAG(name) OVER (ORDER BY number) AS before FROM sources) "
            "WHERE name <= before)"
        )
        if not unordered:
            self.rank, self.join = "facts.source", ""
            self._name = "SELECT name FROM sources WHERE number = ?"
        else:
            store.run("DROP TABLE IF EXISTS temp.ranks")
            store.run("CREATE TEMP TABLE ranks (number INTEGER PRIMARY KEY, rank INTEGER NOT NULL)")
            store.run(
                "INSERT INTO temp.ranks SELECT number, placed FROM "
                "(SELECT number, DENSE_RANK() OVER (ORDER BY name) AS placed FROM sources) ORDER BY number"
            )
            store.run("CREATE INDEX temp.ranks_by_rank ON ranks (rank)")
            self.rank, self.join = "ranks.rank", "LEFT JOIN temp.ranks ON ranks.number = facts.source"
            self._name = "SELECT name FROM temp.ranks CROSS JOIN sources USING (number) WHERE rank = ? LIMIT 1"
        self.name = lru_cache(_NAMES_REMEMBERED)(self._find)

    def _find(self, rank: int) -> str:
        names = [name for (name,) in self._store.query(self._name, (rank,))]
        return names[0] if names else ""  # of a source whose end was not added: of an audit that is not finished
