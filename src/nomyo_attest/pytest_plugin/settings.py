"""What records are appraised by, as pytest's configuration and command line have it."""

from __future__ import annotations

import re
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
    """What records are appraised by: the policy, None if none is configured, and the time, None for now."""

    policy: AppraisalPolicy | None
    at: datetime | None


_SETTINGS: Final = pytest.StashKey[Settings]()


def settings_of(config: pytest.Config) -> Settings:
    """What records are appraised by; worked out once. Raises `UsageError`."""
    if _SETTINGS not in config.stash:
        path = policy_path(config)
        config.stash[_SETTINGS] = Settings(_load(path) if path else None, _time(config))
    return config.stash[_SETTINGS]


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
    from nomyo_attest.report.clean import clean

    try:
        return AppraisalPolicy.load(path)
    except PolicyError as error:
        raise pytest.UsageError(f"attestation policy: {clean(str(error))}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise pytest.UsageError(f"attestation policy: {clean(str(path))}: cannot be read: {reason}") from None


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
