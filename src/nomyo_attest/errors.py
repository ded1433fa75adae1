"""Every exception that `nomyo_attest` raises on purpose.

::

    Exception
    └── NomyoAttestError                 catch this one to catch them all
        ├── ParseError (ValueError)      bytes are not the TPM structure they should be
        │   └── UnsupportedError         valid, but of a kind that this library does not parse
        ├── EvidenceError (ValueError)   a recorded response is not well-formed evidence
        │   └── MisplacedEvidenceError   a record has evidence, but not at the top level
        ├── PolicyError (ValueError)     an appraisal policy cannot be used
        ├── LearningError (ValueError)   no policy can be learned from these responses
        ├── AttestationError             the appraisal did not affirm; carries `.result`
        ├── LedgerError                  an evidence ledger cannot be read, or not be written to
        └── AttesterError                a TPM could not be used to make evidence

Bad evidence never raises out of `nomyo_attest.appraise`: there it becomes a finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    # For the annotation alone. The class cannot live beside the result: `nomyo.errors` derives from it, and must load
    # without the appraisal and `cryptography`.
    from nomyo_attest.appraisal.result import AttestationResult


class NomyoAttestError(Exception):
    """The common root of every error of this package."""


class ParseError(NomyoAttestError, ValueError):
    """Bytes are not the TPM 2.0 structure they were read as.

    Attributes:
        structure: name in TPM 2.0 Part 2, e.g. ``"TPMS_CLOCK_INFO"``.
        field: the field that failed, in snake_case, e.g. ``"safe"``; ``""`` for the structure as a whole.
        offset: position in bytes, from the start of the blob, where that field begins.
        expected: what the specification allows there.
        got: what was read there.
        value: the integer that was read, if the field is one; else None.
    """

    def __init__(
        self, structure: str, field: str, offset: int, expected: str, got: str, value: int | None = None
    ) -> None:
        self.structure = structure
        self.field = field
        self.offset = offset
        self.expected = expected
        self.got = got
        self.value = value
        super().__init__(structure, field, offset, expected, got, value)

    @property
    def where(self) -> str:
        """Structure and field, dotted, such as ``"TPMS_CLOCK_INFO.safe"``."""
        return f"{self.structure}.{self.field}" if self.field else self.structure

    def __str__(self) -> str:
        return f"{self.where} at byte {self.offset}: expected {self.expected}, got {self.got}"


class UnsupportedError(ParseError):
    """A valid value of the specification that this library recognizes but does not parse."""


class EvidenceError(NomyoAttestError, ValueError):
    """A recorded response does not contain well-formed evidence.

    Attributes:
        where: path in the JSON, from what was given, e.g. ``"_metadata.tpm_attestation.quote_b64"``.
        expected: the value that the field must have.
        got: the value found, shortened; never the content of the completion.
    """

    def __init__(self, where: str, expected: str, got: str) -> None:
        self.where = where
        self.expected = expected
        self.got = got
        super().__init__(where, expected, got)

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, got {self.got}"


class MisplacedEvidenceError(EvidenceError):
    """A record has evidence, but not where evidence is read: at the top level, under the protocol's keys.

    Log systems wrap responses, put them into arrays or rename keys. `nomyo_attest.appraise` reports such a record as
    contraindicated by `evidence.form`; an audit counts it as unreadable.

    Attributes:
        pointer: JSON Pointer (RFC 6901) to the evidence, in ASCII, with long keys cut; ``""`` for the record itself.
        form: what is there, such as ``"JSON text in a string"``.
        hint: how to unwrap the record.
    """

    def __init__(self, pointer: str, form: str, hint: str) -> None:
        self.pointer = pointer
        self.form = form
        self.hint = hint
        expected = "evidence at the top level: _metadata, tpm_attestation or is_available"
        super().__init__("response", expected, f"evidence at {pointer} ({form})" if pointer else form)
        self.args = (pointer, form, hint)

    def __str__(self) -> str:
        if not self.pointer:
            return f"the record is {self.form}, not a JSON object; {self.hint}"
        return f"the evidence is not at the top level of the record but at {self.pointer} ({self.form}); {self.hint}"


class PolicyError(NomyoAttestError, ValueError):
    """An appraisal policy cannot be loaded.

    Attributes:
        source: file the policy came from, or ``"policy"`` for one given as a dict.
        where: place in the policy, e.g. ``"pcrs.sha256.7[0]"``; ``""`` for the policy as a whole.
        problem: what is wrong.
        hint: what to write instead.
    """

    def __init__(self, where: str, problem: str, hint: str, source: str = "policy") -> None:
        self.source = source
        self.where = where
        self.problem = problem
        self.hint = hint
        super().__init__(where, problem, hint, source)

    def __str__(self) -> str:
        place = f"{self.source}: {self.where}" if self.where else self.source
        return f"{place}: {self.problem}; {self.hint}"


class AttestationError(NomyoAttestError):
    """The appraisal did not affirm the evidence.

    Attributes:
        result: the whole `AttestationResult`, with every finding.
    """

    def __init__(self, message: str, result: AttestationResult) -> None:
        self.result = result
        super().__init__(message, result)

    def __str__(self) -> str:
        return str(self.args[0])


class RefusedResponse(NamedTuple):
    """A response that was rejected when a policy was learned.

    Attributes:
        name: the name it was given under.
        problem: why it is refused.
        hint: what to do instead.
        error: why its evidence cannot be read; None if it can be, and a rule refuses it.
    """

    name: str
    problem: str
    hint: str
    error: EvidenceError | None


class LearningError(NomyoAttestError, ValueError):
    """No policy can be learned from these responses.

    Attributes:
        problem: what is wrong; if responses are refused, with the first of them.
        hint: what to do instead.
        refused: every response that is refused; empty if the problem does not concern single responses.
    """

    def __init__(self, problem: str, hint: str, refused: tuple[RefusedResponse, ...] = ()) -> None:
        self.problem = problem
        self.hint = hint
        self.refused = refused
        super().__init__(problem, hint, refused)

    def __str__(self) -> str:
        return f"{self.problem}; {self.hint}"


class LedgerError(NomyoAttestError):
    """An evidence ledger cannot be read, or nothing can be appended to it.

    Attributes:
        path: the file.
        problem: what is wrong.
        hint: what to do.
    """

    def __init__(self, path: str, problem: str, hint: str) -> None:
        self.path = path
        self.problem = problem
        self.hint = hint
        super().__init__(path, problem, hint)

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.hint}"


class AttesterError(NomyoAttestError):
    """A TPM, or the software in front of it, could not be used to make evidence."""


E = TypeVar("E", bound=NomyoAttestError)


def detached(error: E) -> E:
    """Remove the traceback, cause and context of `error`, whose frames hold what was being read, and return it."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
