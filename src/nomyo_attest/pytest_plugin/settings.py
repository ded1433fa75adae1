"""What records are appraised by, as pytest's configuration and command line have it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from nomyo_attest.policy import AppraisalPolicy

NO_POLICY: Final = (
    "no policy says what is affirmed; name one: attestation_policy = policy.toml in the configuration of pytest, "
    "or --attestation-policy policy.toml"
)


_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True)
class Settings:
    """What records are appraised by: the policy and its file, None if none is configured; the time, None for now."""

    policy: AppraisalPolicy | None
    path: Path | None
    at: datetime | None


_PLACES: Final[tuple[Callable[[Path], Path], ...]] = (lambda path: Path(os.path.abspath(path)), Path.resolve)  # noqa: PTH100 - Path.absolute keeps ".."
"""Where a path is: by its name, and by where links lead."""

_SETTINGS: Final = pytest.StashKey[Settings]()
_USED: Final = pytest.StashKey[bool]()


def settings_of(config: pytest.Config) -> Settings:
    """What records are appraised by; worked out once. Raises `UsageError`."""
    if _SETTINGS not in config.stash:
        check_configuration(config)
        path = policy_path(config)
        config.stash[_SETTINGS] = Settings(_load(path) if path else None, path, _time(config))
    return config.stash[_SETTINGS]


def check_configuration(config: pytest.Config) -> None:
    """Raise `UsageError` for a configuration file that the command line does not name, and that is neither in the
    folder in which pytest was started nor above it.

    pytest takes the configuration from the folder that it is told to collect. If that folder holds evidence, who made
    the evidence would choose the policy.
    """
    path, here = config.inipath, config.invocation_params.dir
    if path is None or hasattr(config, "workerinput") or _names_configuration(config):
        return
    if not all(one(path.parent) in (one(here), *one(here).parents) for one in _PLACES):
        from nomyo_attest.report.formatting import sanitize

        raise pytest.UsageError(
            f"attestation: the configuration file {sanitize(str(path))} "
            f"is not in the folder in which pytest was started, "
            f"nor above it, and whoever made the evidence may have put it there; hint: name the file to be used: "
            f"pytest -c pytest.ini {' '.join(sanitize(str(one)) for one in config.args[:1])}"
        )


def _names_configuration(config: pytest.Config) -> bool:
    """Whether the command line, or PYTEST_ADDOPTS, names the configuration file. Its own `addopts` do not count."""
    given = [*map(str, config.invocation_params.args), *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    return any(one.startswith(("-c", "--config-file")) for one in given)


def is_used(config: pytest.Config) -> bool:
    """Whether attestation is configured: for this run, or in the folder in which pytest was started."""
    if _USED not in config.stash:
        config.stash[_USED] = _find_use(config)
    return config.stash[_USED]


def _find_use(config: pytest.Config) -> bool:
    if policy_path(config) or config.getoption("attestation_at") or config.getini("attestation_at"):
        return True
    for name in ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg"):
        try:
            if b"attestation_" in (config.invocation_params.dir / name).read_bytes():
                return True
        except OSError:
            continue
    return False


def shares_folder(policy: Path, evidence: Path) -> bool:
    """Whether a policy is in the folder of an evidence file or below it, by its name or by where links lead."""
    return any(one(evidence).parent in one(policy).parents for one in _PLACES)


def policy_path(config: pytest.Config) -> Path | None:
    """The policy's file: as the command line has it, else from the root folder on as the configuration has it."""
    given: str | None = config.getoption("attestation_policy")
    if given == "":
        raise pytest.UsageError("--attestation-policy: expected a file name, got an empty one; name the policy file")
    if given:
        return config.invocation_params.dir / given
    configured: str = config.getini("attestation_policy")
    return config.rootpath / configured if configured else None


def _load(path: Path) -> AppraisalPolicy:
    from nomyo_attest.errors import PolicyError
    from nomyo_attest.policy import AppraisalPolicy
    from nomyo_attest.report.formatting import sanitize

    try:
        return AppraisalPolicy.load(path)
    except PolicyError as error:
        raise pytest.UsageError(f"attestation policy: {sanitize(str(error))}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise pytest.UsageError(f"attestation policy: {sanitize(str(path))}: cannot be read: {reason}") from None


def _time(config: pytest.Config) -> datetime | None:
    given: str | None = config.getoption("attestation_at")
    if given == "":
        raise pytest.UsageError("--attestation-at: expected a time, got an empty one; write 2026-11-30T00:00:00Z")
    text = given or config.getini("attestation_at")
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text.upper())
        if _DATE.fullmatch(text):
            time = time.replace(tzinfo=UTC)
    except ValueError:
        time = None
    if time is None or time.utcoffset() is None:
        raise pytest.UsageError(
            f"attestation_at: invalid time {text[:80]!r}; write a date, such as 2026-11-30 (midnight UTC), "
            "or an RFC 3339 time with an offset, such as 2026-11-30T08:00:00Z"
        )
    return time
