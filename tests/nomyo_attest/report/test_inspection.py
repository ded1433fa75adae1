"""Structures as plain data: every field, by the specification's names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nomyo_attest.report.inspection import decoded, field_name
from nomyo_attest.testing import Forge
from nomyo_attest.tpm import TPMT_SIGNATURE, parse_attest, parse_public
from nomyo_attest.tpm.codec import Structure


def structures(structure: Structure) -> Iterator[tuple[Structure, Any]]:
    """Every structure inside one, each with its decoded form."""

    def walk(value: Any, plain: Any) -> Iterator[tuple[Structure, Any]]:
        if isinstance(value, Structure):
            yield value, plain
            for name in value.__struct_fields__:
                yield from walk(getattr(value, name), plain[name])
        elif isinstance(value, tuple):
            for one, of_one in zip(value, plain, strict=True):
                yield from walk(one, of_one)

    yield from walk(structure, decoded(structure))


@pytest.mark.parametrize("key", ["rsa2048", "p256"])
def test_every_field_of_every_structure_is_there(key: str) -> None:
    answer = Forge(key=key).build()
    for structure in (
        parse_attest(answer.attest).value,
        TPMT_SIGNATURE.parse(answer.signature),
        parse_public(answer.public).value,
    ):
        for one, plain in structures(structure):
            assert plain["structure"] == type(one).__name__
            assert set(plain) - {"structure", "indices"} == set(one.__struct_fields__)
        json.dumps(decoded(structure), allow_nan=False)


def test_constants_have_their_names_and_bytes_are_hex() -> None:
    plain = decoded(parse_attest(Forge().build().attest).value)
    assert plain["magic"] == "0xff544347"
    assert plain["type"] == "TPM_ST_ATTEST_QUOTE"
    assert plain["qualified_signer"] == Forge().build().qualified_signer.hex()
    assert plain["clock_info"] == {
        "structure": "TPMS_CLOCK_INFO",
        "clock": 86_400_000,
        "reset_count": 17,
        "restart_count": 0,
        "safe": True,
    }


@pytest.mark.parametrize(
    ("field", "name"),
    [("extra_data", "extraData"), ("magic", "magic"), ("signature_r", "signatureR"), ("curve_id", "curveID")],
)
def test_fields_are_spelled_as_in_part_2(field: str, name: str) -> None:
    assert field_name(field) == name
