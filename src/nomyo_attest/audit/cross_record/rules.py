"""The cross-record rules, in order, with the SQL queries of each.

A rule detects something that an honest TPM never does. A finding therefore needs an explanation, and each rule lists
the possible ones. Findings do not change the verdicts of records.
"""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.cross_record.queries import (
    CLOCK_QUERY,
    CLOCK_RECORDS_QUERY,
    COUNTERS_QUERY,
    COUNTERS_RECORDS_QUERY,
    DATED_QUERY,
    IS_SIGNED,
    coverage_query,
    duplicates_query,
    gap_query,
    ordered_comparison_query,
    presence_query,
    shared_records_query,
)


class CrossRecordRule:
    """One cross-record rule.

    `id`, `field`, `question`, `explanation` and `remediation` have the same meaning as in an appraisal `Rule`.

    Attributes:
        id: the stable name of the rule.
        field: the structure field that the rule examines, or the key of a response.
        question: what the rule checks, as a question.
        explanation: why the rule exists, and what else may cause a finding.
        remediation: what to do about a finding.
        needs: the values that a record must have to be compared, as a noun phrase.
        coverage, comparison: the queries that count the compared records; see `Coverage`.
        needs_limit: whether the rule is evaluated only with a limit.
        records_query: the query for all records of all findings, with the columns ``cross_record_key``, ``source``,
            ``line``, ``processed_at`` and ``verdict``; empty if a finding does not concern the records themselves.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the public name
        text: str,
        field: str,
        query: str = "",
        records_query: str = "",
        *,
        needs: str,
        usable: str,
        comparison: str,
        needs_limit: bool = False,
    ) -> None:
        parts = [" ".join(part.split()) for part in text.strip().split("\n\n")]
        self.id = id
        self.field = field
        self.question = parts[0]
        self.explanation = "\n\n".join(parts[1:-1])
        self.remediation = parts[-1].removeprefix("Remediation: ")
        self.needs = needs
        self.coverage = coverage_query(usable)
        self.comparison = comparison
        self.needs_limit = needs_limit
        self.records_query = records_query
        self._query = query

    def query(self, max_gap: int | None = None) -> str:
        """Return the SQL over the table `verdicts`, with the result columns `QUERY_COLUMNS`.

        Args:
            max_gap: the limit of `gap.records`, in seconds.

        Raises:
            ValueError: for `gap.records` without a limit.
        """
        if not self.needs_limit:
            return self._query
        if max_gap is None:
            raise ValueError(f"{self.id} is evaluated only with a limit")
        return gap_query(max_gap)


CROSS_RECORD_RULES: Final = (
    CrossRecordRule(
        "duplicate.quote",
        """Is every quote unique?

        Two records with the same TPMS_ATTEST contain the same quote: a response was replayed, or recorded twice. The
        signed structure is compared, not the signature, since anyone can compute a second valid form of an ECDSA
        signature.

        Remediation: compare the payload ids and dates of the records listed. If neither differ, the response was stored
        in two files or sent twice: audit it once. If only the dates differ, it was recorded or sent again under a new
        date: do not rely on the later records. If the payload ids differ, one response contains the quote of another
        one: do not rely on any of them.
        """,
        "TPMS_ATTEST",
        duplicates_query("quote", "payload_id"),
        shared_records_query("quote"),
        needs="a quote",
        usable="quote IS NOT NULL",
        comparison=presence_query("quote"),
    ),
    CrossRecordRule(
        "duplicate.payload_id",
        """Is every payload id unique?

        A client generates a random payload id for each request, and the quote's nonce is derived from it. An attacker
        who knows that an id will be used again can prepare a quote for it. Two records with the same payload id are a
        response that was recorded twice, a request that was sent again with the same id, or a replay.

        Remediation: compare the records listed. If they are the same response, audit it once. If one of your clients
        reuses payload ids, fix that client.
        """,
        "payload_id",
        duplicates_query("payload_id", "quote"),
        shared_records_query("payload_id"),
        needs="a payload id",
        usable="payload_id IS NOT NULL",
        comparison=presence_query("payload_id"),
    ),
    CrossRecordRule(
        "reused.aik",
        """Is every AIK that the policy does not pin used only once?

        The service creates an AIK for each response and discards it. If a Name that the policy does not pin appears
        again, the key was stored, possibly outside any TPM, or a response was recorded twice. A Name that the policy
        pins may appear any number of times.

        Remediation: if the service now keeps its AIKs, pin their Names in the policy's `key.pinned`. If the records are
        the same response, audit it once. Otherwise ask the operator of the service, and do not rely on these responses
        until you have an explanation.
        """,
        "TPMT_PUBLIC",
        duplicates_query("aik_name", "quote", "aik_pinned = FALSE"),
        shared_records_query("aik_name", "aik_pinned = FALSE"),
        needs="an AIK",
        usable="aik_name IS NOT NULL",
        comparison=presence_query("aik_name"),
    ),
    CrossRecordRule(
        "rollback.clock",
        """Does the clock of each AIK only increase while its resetCount stays the same?

        The records of an AIK are ordered by `processed_at`, and each clock is compared with the largest clock of all
        earlier seconds. Records of the same second are not compared. Only quotes whose signature verifies count.

        A TPM's clock continues through TPM Restart and TPM Resume. A power failure without TPM2_Shutdown may set it
        back to the value saved last, by up to 70 minutes by default, but the next start is then a TPM Reset, which
        increments resetCount. Therefore clocks are compared only under the same resetCount, where a power failure
        cannot explain a clock that goes back. The time counted between TPM2_Shutdown and the power-off before a TPM
        Resume, usually moments, may be lost. TPM2_Clear resets the clock to zero.

        `processed_at` is a claim by the server, taken from the server's own clock, in whole seconds. If that clock was
        set back, or if a response overtook one whose quote was created earlier, the records are not in the order of
        their quotes, and the TPM's clock appears to go back by the difference. A record without a usable `processed_at`
        cannot be ordered. If its AIK also signed other records, the rule is not evaluated.

        Remediation: if the clock went back by seconds, responses overtook each other, or the server's clock was set
        back. If it went back by more, two TPMs share a key, a virtual TPM was restored to an earlier state, or old
        quotes were given a new date. Do not rely on the responses until you have an explanation.
        """,
        "TPMS_CLOCK_INFO.clock",
        CLOCK_QUERY,
        CLOCK_RECORDS_QUERY,
        needs="a quote with a clock and a signature that verifies",
        usable=IS_SIGNED,
        comparison=ordered_comparison_query("aik_name, reset_count"),
    ),
    CrossRecordRule(
        "rollback.counters",
        """Do the reset and restart counters of each AIK only increase?

        The records of an AIK are ordered by `processed_at`. resetCount must not be less than the largest resetCount of
        all earlier seconds. The same applies to restartCount among records with the same resetCount, since a TPM Reset
        sets it to zero. Only quotes whose signature verifies count. Records without a usable `processed_at` are treated
        as in `rollback.clock`.

        For a key outside the endorsement and platform hierarchies, a TPM obfuscates both counters by adding a value
        that is constant for the key, so they can be compared only for the same AIK. The sum is 32 bits wide and wraps
        to zero once in 2^32 counts. TPM2_Clear sets both counters to zero.

        Remediation: two TPMs share a key, a virtual TPM was restored to an earlier state, old quotes were given a new
        date, the TPM was cleared, or the server's clock was set back across a restart. Do not rely on the responses
        until you have an explanation.
        """,
        "TPMS_CLOCK_INFO.resetCount, restartCount",
        COUNTERS_QUERY,
        COUNTERS_RECORDS_QUERY,
        needs="a quote with counters and a signature that verifies",
        usable=IS_SIGNED,
        comparison=ordered_comparison_query("aik_name"),
    ),
    CrossRecordRule(
        "gap.records",
        """Is every gap between consecutive records within the limit?

        This rule is evaluated only with a limit (`--max-gap`), the maximum time between two consecutive records. The
        time of a ledger's line is `recorded_at`; the time of any other record is the server's claim `processed_at`.
        Records count regardless of their verdict. The time before the first record and after the last one is not
        examined. If fewer than two records have a usable time and others have none, the rule is not evaluated.

        Remediation: find out whether the service sent no responses in that time, or whether they were not recorded.
        """,
        "processed_at",
        needs="a processed_at",
        usable="TRUE",
        comparison=DATED_QUERY,
        needs_limit=True,
    ),
)


def find_cross_record_rule(rule_id: str) -> CrossRecordRule:
    """Return the cross-record rule with this id. Raises `KeyError` for an unknown id."""
    for rule in CROSS_RECORD_RULES:
        if rule.id == rule_id:
            return rule
    raise KeyError(rule_id)


def evaluated_rules(max_gap: int | None) -> tuple[CrossRecordRule, ...]:
    """Return the rules that are evaluated, in order; `gap.records` only with a limit."""
    return tuple(rule for rule in CROSS_RECORD_RULES if max_gap is not None or not rule.needs_limit)
