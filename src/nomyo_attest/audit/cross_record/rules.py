"""The series rules: every question asked of all records together, in order.

A rule asks for what an honest TPM never does, so a finding needs an explanation, and each rule says which there are.
The records' verdicts are another matter: they do not change.
"""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.cross_record import sql


class CrossRecordRule:
    """One cross-record rule.

    `id`, `field`, `question`, `explanation` and `remediation` have the same meaning as in an appraisal `Rule`.

    Attributes:
        id: the name users store.
        field: the column, and the structure field behind it, that the rule examines.
        question: what it asks.
        explanation: why, and what else a finding can come from.
        remediation: what to do about a finding.
        needs: what a record must have to be compared, in words.
        alone: why records that have it may have nothing to be compared with, in words.
        coverage, comparison: the SQL that counts which records were compared; see `Coverage`.
        if_asked: whether it is asked only where a limit is given.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the name users know it by
        text: str,
        field: str,
        query: str = "",
        *,
        needs: str,
        usable: str,
        comparison: str,
        if_asked: bool = False,
    ) -> None:
        parts = [" ".join(part.split()) for part in text.strip().split("\n\n")]
        self.id = id
        self.field = field
        self.question = parts[0]
        self.explanation = "\n\n".join(parts[1:-1])
        self.remediation = parts[-1].removeprefix("What to do: ")
        self.needs = needs
        self.alone = "no AIK signed quotes at different times"
        self.coverage = sql.coverage(usable)
        self.comparison = comparison
        self.if_asked = if_asked
        self._query = query

    def query(self, max_gap: int | None = None) -> str:
        """Its SQL over the table `verdicts`; see `nomyo_attest.audit.cross_record.sql` for what it answers with.

        `max_gap`, in seconds, is what `gap.records` asks for; without it that rule has no query: `ValueError`.
        """
        if not self.if_asked:
            return self._query
        if max_gap is None:
            raise ValueError(f"{self.id} is asked with a limit only")
        return sql.gap(max_gap)


CROSS_RECORD_RULES: Final = (
    CrossRecordRule(
        "duplicate.quote",
        """Is every quote there once?

        Two records with the same TPMS_ATTEST are one quote used twice: an answer replayed, or one that was recorded
        twice. What was signed is compared, not the signature, since of an ECDSA signature anybody can make a second
        valid one.

        What to do: look at the places named. If the records are the same answer, kept in two files or sent twice, audit
        it once; if their payload ids differ, one of the answers came with the quote of another: do not rely on them.
        """,
        "TPMS_ATTEST",
        sql.repeated("quote", "payload_id"),
        needs="a quote",
        usable="quote IS NOT NULL",
        comparison=sql.present("quote"),
    ),
    CrossRecordRule(
        "duplicate.payload_id",
        """Is every payload id there once?

        A client draws a fresh random payload id for each request, and the quote's nonce is made of it: whoever knows
        that an id comes again can have its quote ready. Two records with one payload id are one answer recorded twice,
        a request sent again under its old id, or a replay.

        What to do: look at the places named. If they are one answer, audit it once; if a client of yours uses ids
        again, mend it.
        """,
        "payload_id",
        sql.repeated("payload_id", "quote"),
        needs="a payload id",
        usable="payload_id IS NOT NULL",
        comparison=sql.present("payload_id"),
    ),
    CrossRecordRule(
        "reused.aik",
        """Is every AIK that the policy does not pin there once?

        The service makes an AIK for each answer and forgets it. A Name that comes again, although the policy does not
        pin it, is a key that was kept, maybe outside any TPM, or an answer recorded twice. A Name that the policy pins
        may come as often as it likes.

        What to do: if the service keeps its AIKs now, pin their Names in the policy's `key.pinned`; if the records are
        one answer, audit it once; if neither, ask the service, and do not rely on these answers until then.
        """,
        "TPMT_PUBLIC",
        sql.repeated("aik_name", "quote", "aik_pinned = FALSE"),
        needs="an AIK",
        usable="aik_name IS NOT NULL",
        comparison=sql.present("aik_name"),
    ),
    CrossRecordRule(
        "rollback.clock",
        """Does the clock of each AIK only go forward while its resetCount stays?

        Of one AIK's answers, in the order of `processed_at`, each clock is compared with the largest of the seconds
        before; answers of one second have no order among themselves. Only quotes whose signature verifies count.

        A TPM's clock runs on through TPM Restart and TPM Resume. A power cut without TPM2_Shutdown may take it back to
        the value last saved, up to 70 minutes by default, and the next start is then a TPM Reset, which adds one to
        resetCount: so across different values of resetCount nothing is compared, and with one value a clock that goes
        back was no power cut. What it counted between a TPM2_Shutdown and the power-off before a TPM Resume may be
        lost: moments. TPM2_Clear starts it again from zero.

        `processed_at` is the server's claim, and its clock, in whole seconds. If that clock was set back, or if an
        answer took longer than one whose quote was made later, the order is not that of the quotes: then the clock goes
        back by as much. A record without a usable `processed_at` has no place in the order. If its AIK signed other
        records too, the rule is not evaluated.

        What to do: see by how much. By moments: answers that overtook each other, or a server's clock that was set. By
        more: two TPMs that share a key, a virtual TPM set back to an older state, or old quotes under a new date. Do
        not rely on the answers until it is explained.
        """,
        "TPMS_CLOCK_INFO.clock",
        sql.CLOCK,
        needs="a quote with a clock and a signature that verifies",
        usable=sql.VOUCHED_FOR,
        comparison=sql.in_order("aik_name, reset_count"),
    ),
    CrossRecordRule(
        "rollback.counters",
        """Do the reset and restart counters of each AIK only go up?

        Of one AIK's answers, in the order of `processed_at`, resetCount must not be less than the largest of the
        seconds before; nor restartCount, among answers of one resetCount, since TPM Reset starts it from zero. Only
        quotes whose signature verifies count. Records without a usable `processed_at` are as in `rollback.clock`.

        Outside the endorsement and platform hierarchies a TPM hides both by adding a value that is constant for a key,
        so they can be compared for one AIK, and only for one. That sum has 32 bits: once in 2^32 counts it starts from
        zero. TPM2_Clear sets both counters to zero.

        What to do: as for `rollback.clock`: two TPMs that share a key, a virtual TPM set back to an older state, old
        quotes under a new date, a TPM that somebody cleared, or a server whose clock was set back over a restart.
        """,
        "TPMS_CLOCK_INFO.resetCount, restartCount",
        sql.COUNTERS,
        needs="a quote with counters and a signature that verifies",
        usable=sql.VOUCHED_FOR,
        comparison=sql.in_order("aik_name"),
    ),
    CrossRecordRule(
        "gap.records",
        """Are there records all the time?

        Asked only with a limit (`--max-gap`): no two records that follow each other in time may be further apart. The
        time is `recorded_at` of a ledger's line, and of any other record the server's claim `processed_at`. Verdicts do
        not matter for it, and neither does the time before the first record and after the last. If fewer than two
        records have a usable time, and others have none, the rule is not evaluated.

        What to do: find out whether there were no answers in that time, or no recordings of them.
        """,
        "processed_at",
        needs="a processed_at",
        usable="TRUE",
        comparison=sql.DATED,
        if_asked=True,
    ),
)


def find_cross_record_rule(rule_id: str) -> CrossRecordRule:
    """The series rule of this id. Raises `KeyError` for another."""
    for rule in CROSS_RECORD_RULES:
        if rule.id == rule_id:
            return rule
    raise KeyError(rule_id)


def rules_asked(max_gap: int | None) -> tuple[CrossRecordRule, ...]:
    """The rules that are asked, in order: `gap.records` with a limit only."""
    return tuple(rule for rule in CROSS_RECORD_RULES if max_gap is not None or not rule.if_asked)
