"""No prompt, completion, API key, password or private key is reachable from any error, or said on the way."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest

from nomyo import errors
from tests.nomyo.client_calls import Wire, run
from tests.nomyo.defects.conftest import write_keys
from tests.nomyo.error_scenarios import PASSWORD, SCENARIOS, SECRETS, ScenarioContext
from tests.nomyo.secret_search import SecretSearch, capture_output
from tests.nomyo.wire import server_keys

NEVER_RAISED = {errors.NomyoError, errors.APIError}
"""Roots of others."""


WITHOUT_A_SECRET = {
    "SecurityError",  # nothing secret has come into a frame yet
    "InternalError",  # it is made by the guard alone, as are the next
    *(name for name in SCENARIOS if name.startswith("ArgumentTypeError ")),
    "ArgumentError too large",  # a hunt through hundreds of megabytes
}
"""Scenes that prove nothing where the guard is off."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encrypted key pair, the public key of another, and a policy that is none."""
    folder = tmp_path_factory.mktemp("secrets")
    write_keys(folder / "keys", password=PASSWORD.encode())
    (folder / "other.pem").write_bytes(server_keys.public_pem(server_keys.pair(0).public_key()))
    (folder / "bad.toml").write_text("id = 1")
    return folder / "keys"


@pytest.fixture
def stage(wire: Wire, keys: Path) -> ScenarioContext:
    return ScenarioContext(wire, keys.parent, keys)


def private_lines(keys: Path) -> list[str]:
    """The key file's lines, which are secrets, too."""
    return [line for line in (keys / "private_key.pem").read_text().splitlines() if len(line) > 40]


def hunted(stage: ScenarioContext, name: str, *, debug: bool = False) -> tuple[BaseException, SecretSearch]:
    """Play a scene while capture_output, and hunt through its error and all that was said."""
    kind, play = SCENARIOS[name]

    async def main() -> None:
        if debug:
            asyncio.get_running_loop().slow_callback_duration = 0.0  # every step is logged, as being slow
        await play(stage)

    hunt = SecretSearch(*SECRETS, *private_lines(stage.keys))
    with capture_output() as heard:
        with pytest.raises(kind) as caught:
            run(main(), debug=debug)
        assert type(caught.value) is kind
        hunt.look("error", caught.value)
    heard.search(hunt)
    return caught.value, hunt


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_secret_is_reachable_from_an_error_or_said_on_the_way(
    stage: ScenarioContext, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    error, hunt = hunted(stage, name)
    hunt.look("printed", capfd.readouterr())
    assert hunt.found == []
    assert hunt.object_count > 20
    assert error.__cause__ is error.__context__ is None


@pytest.mark.parametrize("name", [name for name, (_, play) in SCENARIOS.items() if not hasattr(play, "at_once")])
def test_no_secret_is_said_by_an_event_loop_that_tells_every_step(
    stage: ScenarioContext, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _, hunt = hunted(stage, name, debug=True)
    hunt.look("printed", capfd.readouterr())
    assert hunt.found == []


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in WITHOUT_A_SECRET])
def test_without_the_guard_the_hunt_finds_secrets_in_every_scene(
    stage: ScenarioContext, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nomyo.traceback_scrubbing._scrubbed", lambda error, method: error)
    _, hunt = hunted(stage, name)
    assert hunt.found


def test_every_class_of_error_has_a_scene() -> None:
    classes = {one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, errors.NomyoError)}
    assert classes - NEVER_RAISED == {kind for kind, _ in SCENARIOS.values() if issubclass(kind, errors.NomyoError)}


def test_errors_of_many_calls_that_wait_for_one_key_hold_nothing(stage: ScenarioContext) -> None:
    stage.wire.router.fault("key-503")

    async def main() -> Any:
        async with stage.client() as client:
            calls = [client.create("m", [{"role": "user", "content": SECRETS[1]}]) for _ in range(10)]
            return await asyncio.gather(*calls, return_exceptions=True)

    failures = run(main())
    assert len({id(failure) for failure in failures}) == 10
    assert len({failure.payload_id for failure in failures}) == 10
    assert SecretSearch(*SECRETS).look("errors", failures).found == []


def test_errors_of_many_calls_that_wait_for_one_key_pair_hold_nothing(stage: ScenarioContext) -> None:
    async def main() -> Any:
        async with stage.own(key_password=PASSWORD + "x") as client:
            calls = [client.create("m", [{"role": "user", "content": SECRETS[1]}]) for _ in range(10)]
            return await asyncio.gather(*calls, return_exceptions=True)

    failures = run(main())
    assert {type(failure) for failure in failures} == {errors.KeyStoreError}
    assert len({failure.payload_id for failure in failures}) == 10
    assert SecretSearch(*SECRETS).look("errors", failures).found == []
