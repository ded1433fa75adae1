"""Write ledgers for tests, and verify them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import nomyo_attest as na
from nomyo_attest.ledger.verify import Verification, kinds_of, verify
from nomyo_attest.testing import Forge


@cache
def policy() -> na.AppraisalPolicy:
    return na.AppraisalPolicy.from_dict(Forge().policy())


@cache
def answer(payload_id: str = "an-id") -> dict[str, Any]:
    """Return a response with evidence for this payload id. Do not change it: it is cached."""
    forge = Forge()
    forge.payload_id = payload_id
    response: dict[str, Any] = forge.response()
    return response


SMALL: dict[str, Any] = {"_metadata": {"tpm_attestation": {"is_available": False}}}
"""A response whose ledger line is short."""


def small(path: Path, lines: int = 5, **options: Any) -> list[bytes]:
    """Write a ledger of short lines to `path`; return its lines."""
    log = na.EvidenceLog(path, **options)
    for number in range(lines):
        log.append(SMALL, payload_id=f"id-{number}")
    return path.read_bytes().splitlines(keepends=True)


def problems(*paths: Path, **kept: Any) -> list[str]:
    """Return the kinds of problems in a ledger."""
    return kinds_of(verify([str(path) for path in paths], **kept).problems)


def checked(*paths: Path, **kept: Any) -> Verification:
    return verify([str(path) for path in paths], **kept)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]
