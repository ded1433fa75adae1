"""The types of a response agree with the schema of a result and with what the client returns."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, Literal

import pytest

from nomyo import SecureChatCompletion, types
from nomyo_attest.schemas import load_schema
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import Wire, policy

RESULT = load_schema("result")
OBJECTS = {
    types.AttestationResultObject: RESULT,
    types.PolicyReference: RESULT["properties"]["policy"],
    types.AIK: RESULT["properties"]["aik"],
    types.Quote: RESULT["properties"]["quote"],
    types.Finding: RESULT["$defs"]["finding"],
}


@pytest.mark.parametrize(("kind", "schema"), OBJECTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_type_has_the_keys_and_the_values_of_the_schema(kind: Any, schema: dict[str, Any]) -> None:
    assert kind.__required_keys__ == set(schema["required"])
    assert kind.__required_keys__ | kind.__optional_keys__ == schema["properties"].keys()
    for name, hint in typing.get_type_hints(kind).items():
        values = schema["properties"][name].get("enum")
        if values is not None:
            assert set(literals(hint)) == set(values), name


def literals(hint: Any) -> list[Any]:
    """Return the values of a `Literal`, or of a union of one with None."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return [None if member is type(None) else value for member in typing.get_args(hint) for value in
            ([None] if member is type(None) else literals(member))]  # fmt: skip


def test_a_response_has_the_keys_that_its_type_requires(wire: Wire, tpm: Forge, tmp_path: Path) -> None:
    options = {"attestation_policy": policy(), "preflight": 60, "evidence_log": tmp_path / "evidence.jsonl"}
    metadata = wire.ask(options)["_metadata"]

    for found, kind in (
        (metadata, types.Metadata),
        (metadata["verification"], types.Verification),
        (metadata["verification"]["preflight"], types.PreflightFact),
        (metadata["evidence_log"], types.StoredEvidence),
    ):
        known: Any = kind
        assert known.__required_keys__ <= found.keys() <= known.__required_keys__ | known.__optional_keys__


async def check_types(client: SecureChatCompletion) -> dict[str, Any]:
    """Never run: mypy checks it."""
    response = await client.create("m", [])
    verdict = response["_metadata"]["attestation_result"]["verdict"]
    typing.assert_type(verdict, Literal["affirming", "warning", "contraindicated", "none"])
    response["_metadata"]["atestation_result"]  # type: ignore[typeddict-item]  # a misspelled key is an error
    return response
