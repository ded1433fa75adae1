"""Every exception that `nomyo_attest` raises on purpose.

::

    Exception
    └── NomyoAttestError                 the base class of the others
        ├── ParseError (ValueError)      bytes are not the expected TPM structure
        │   └── UnsupportedError         valid, but of a kind that this library does not parse
        ├── EvidenceError (ValueError)   a recorded response is not well-formed evidence
        │   └── MisplacedEvidenceError   a record has evidence, but not at the top level
        ├── PolicyError (ValueError)     an appraisal policy cannot be used
        ├── LearningError (ValueError)   no policy can be learned from these responses
        ├── AttestationError             the appraisal did not affirm; carries `.result`
        ├── LedgerError                  an evidence ledger cannot be read or written
        └── AttesterError                a TPM could not produce evidence

`nomyo_attest.appraise` never raises for bad evidence: it reports a finding instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    # Only for the annotation. `AttestationError` cannot be defined beside the result: `nomyo.errors` derives from it
    # and must not import the appraisal and `cryptography`.
    from nomyo_attest.appraisal.result import AttestationResult


class NomyoAttestError(Exception):
    """The base class of every exception of this package."""


class ParseError(NomyoAttestError, ValueError):
    """Bytes are not the TPM 2.0 structure that they were parsed as.

    Attributes:
        structure: name in TPM 2.0 Part 2, e.g. ``"TPMS_CLOCK_INFO"``.
        field: the field that failed, in snake_case, e.g. ``"safe"``; ``""`` for the structure as a whole.
        offset: position in bytes, from the start of the blob, where that field begins.
        expected: the values that the specification allows.
        got: the value that was read.
        value: the integer that was read; None if the field is not an integer.
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
        """Structure and field, joined by a dot, such as ``"TPMS_CLOCK_INFO.safe"``."""
        return f"{self.structure}.{self.field}" if self.field else self.structure

    def __str__(self) -> str:
        return f"{self.where} at byte {self.offset}: expected {self.expected}, got {self.got}"


class UnsupportedError(ParseError):
    """A valid value of the specification that this library recognizes but does not parse."""


class EvidenceError(NomyoAttestError, ValueError):
    """A recorded response does not contain well-formed evidence.

    Attributes:
        where: path of the field in the JSON, e.g. ``"_metadata.tpm_attestation.quote_b64"``.
        expected: the value that the field must have.
        got: the value found, shortened; never a part of the completion.
    """

    def __init__(self, where: str, expected: str, got: str) -> None:
        self.where = where
        self.expected = expected
        self.got = got
        super().__init__(where, expected, got)

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, got {self.got}"


class MisplacedEvidenceError(EvidenceError):
    """A record has evidence, but not at its top level under the protocol's keys, where evidence is read.

    Log systems wrap responses in other objects or arrays, or rename keys. `nomyo_attest.appraise` returns a
    contraindicated result for such a record, by `evidence.form`; an audit counts the record as unreadable.

    Attributes:
        pointer: JSON Pointer (RFC 6901) to the evidence, in ASCII, with long keys cut; ``""`` for the record itself.
        form: the form of the evidence there, such as ``"JSON text in a string"``.
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
        source: the file that the policy was loaded from, or ``"policy"`` for a dict.
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
        result: the `AttestationResult`, with every finding.
    """

    def __init__(self, message: str, result: AttestationResult) -> None:
        self.result = result
        super().__init__(message, result)

    def __str__(self) -> str:
        return str(self.args[0])


class RefusedResponse(NamedTuple):
    """A response that was rejected when a policy was learned.

    Attributes:
        name: the caller's name for the response.
        problem: why it was rejected.
        hint: what to do instead.
        error: why its evidence cannot be read; None if a rule rejected it.
    """

    name: str
    problem: str
    hint: str
    error: EvidenceError | None


class LearningError(NomyoAttestError, ValueError):
    """No policy can be learned from these responses.

    Attributes:
        problem: what is wrong; if responses were rejected, the problem of the first one.
        hint: what to do instead.
        refused: every response that was rejected; empty if the problem does not concern single responses.
    """

    def __init__(self, problem: str, hint: str, refused: tuple[RefusedResponse, ...] = ()) -> None:
        self.problem = problem
        self.hint = hint
        self.refused = refused
        super().__init__(problem, hint, refused)

    def __str__(self) -> str:
        return f"{self.problem}; {self.hint}"


class LedgerError(NomyoAttestError):
    """An evidence ledger cannot be read or appended to.

    Attributes:
        path: the file.
        problem: what is wrong.
        hint: the next action.
    """

    def __init__(self, path: str, problem: str, hint: str) -> None:
        self.path = path
        self.problem = problem
        self.hint = hint
        super().__init__(path, problem, hint)

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.hint}"


class AttesterError(NomyoAttestError):
    """A TPM, or the software that accesses it, could not produce evidence."""


E = TypeVar("E", bound=NomyoAttestError)


def without_traceback(error: E) -> E:
    """Remove the traceback, cause and context of `error`, whose frames reference the text being read, and return it."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
