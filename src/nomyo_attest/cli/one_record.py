"""Read a file of one record: a response, one line of a ledger, or one verdict with its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nomyo_attest.cli.errors import CommandError
from nomyo_attest.cli.files import read_record

if TYPE_CHECKING:
    from nomyo_attest.errors import EvidenceError
    from nomyo_attest.evidence import Evidence


class OneRecord(NamedTuple):
    """The evidence of one file.

    Attributes:
        evidence: the evidence, or the error if it is malformed.
        payload_id: the payload id to appraise the evidence with, from the option or the ledger line; None to use the
            payload id in the response.
    """

    evidence: Evidence | EvidenceError
    payload_id: str | None


def read_one(name: str, *, payload_id: str | None = None, nonce: bytes | None = None) -> OneRecord:
    """Read the file `name`, or standard input for ``-``, as an audit reads a record.

    Args:
        name: the file.
        payload_id: the value of --payload-id.
        nonce: the value of --nonce.

    Raises:
        CommandError: the file cannot be read, its evidence is misplaced, or an option contradicts the ledger's line.
    """
    content = read_record(name)

    from nomyo_attest.audit.stored_evidence import RepairError, read_one_record
    from nomyo_attest.errors import MisplacedEvidenceError

    try:
        evidence, sent = read_one_record(content)
    except (MisplacedEvidenceError, RepairError) as error:
        raise CommandError(f"{name}: {error}") from None
    if sent is not None and nonce is not None:
        raise CommandError(
            f"{name}: --nonce replaces the payload id that the client sent, which this line of a ledger contains; "
            "omit --nonce"
        )
    if sent is not None and payload_id is not None and payload_id != sent:
        raise CommandError(
            f"{name}: --payload-id: expected {sent!r}, the payload id that the client sent according to this line of a "
            f"ledger, got {payload_id!r}; omit --payload-id"
        )
    return OneRecord(evidence, payload_id if sent is None else sent)
