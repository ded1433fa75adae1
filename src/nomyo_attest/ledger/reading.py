"""A ledger's line, read for its chain: whether it is one, its number, and what it says it follows."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Final

import msgspec

from nomyo_attest.evidence.strict_json import check_containers
from nomyo_attest.ledger.line import BEGINNING, LEDGER_FORMAT
from nomyo_attest.ledger.tail import TORN_KEPT


class Note(msgspec.Struct):
    """What a repair says of what was torn; see `Tail.note`."""

    bytes: int
    sha256: str
    torn: str


class Line(msgspec.Struct):
    """What a line must hold; more may come with a later version."""

    format: str
    number: int
    previous: str
    recorded_at: str
    continues: str | None = None
    repair: Note | None = None
    given: bool | None = None
    whole: bool | None = None
    payload_id: str | None = None
    refused: str | None = None
    gate: str | None = None
    evidence: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()


_DECODER: Final = msgspec.json.Decoder(Line)


def read_line(line: bytes) -> Line | str:
    """A line, or what it is instead."""
    if not line.startswith(BEGINNING):
        return "an empty line" if not line.strip() else "something else"
    try:
        read = _DECODER.decode(line)
    except msgspec.ValidationError:
        return "a line that lacks something"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # It may hold a lone surrogate, which JSON can say and a UTF-8 decoder cannot.
        rescued = _read_slowly(line)
        if rescued is None:
            return "broken JSON"
        read = rescued
    if read.format != LEDGER_FORMAT or read.number < 1 or not line.removesuffix(b"\n").endswith(b"}"):
        return "a line of another format"
    if (read.repair is None) is (not read.evidence):
        return "neither a record nor a repair"
    if read.repair is not None:
        return read if _is_true(read.repair) else "a repair that does not say what it repaired"
    if read.given is None or read.whole is None or not read.result:
        return "a line that lacks something"
    return read


def _read_slowly(line: bytes) -> Line | None:
    try:
        check_containers(line)
        document = json.loads(line)
        document |= {key: msgspec.Raw(b"{}") for key in ("evidence", "result") if key in document}
        for key in ("payload_id", "refused", "gate"):
            if isinstance(document.get(key), str):
                document[key] = ""
        return msgspec.convert(document, Line)
    except (ValueError, TypeError, RecursionError, msgspec.ValidationError):
        return None


def _is_true(note: Note) -> bool:
    try:
        torn = base64.b64decode(note.torn, validate=True)
    except ValueError:
        return False
    if len(torn) < note.bytes:
        return len(torn) == TORN_KEPT
    return len(torn) == note.bytes and hashlib.sha256(torn).hexdigest() == note.sha256
