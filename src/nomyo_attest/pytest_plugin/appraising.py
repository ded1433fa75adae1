"""Read the settings from pytest's configuration, appraise one record, and explain why it is not affirmed."""

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
    "no policy is configured; write attestation_policy = policy.toml in the configuration of pytest, or pass "
    "--attestation-policy policy.toml"
)

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True)
class Settings:
    """The policy and its file, both None if none is configured, and the time of the appraisal, None for now."""

    policy: AppraisalPolicy | None
    path: Path | None
    at: datetime | None


_LOCATIONS: Final[tuple[Callable[[Path], Path], ...]] = (lambda path: Path(os.path.abspath(path)), Path.resolve)  # noqa: PTH100 - Path.absolute keeps ".."
"""Functions that return the absolute location of a path: without and with resolving symbolic links."""

_SETTINGS: Final = pytest.StashKey[Settings]()
_IS_USED: Final = pytest.StashKey[bool]()


def load_settings(config: pytest.Config) -> Settings:
    """Return the settings, read from the configuration on the first call. Raises `UsageError`."""
    if _SETTINGS not in config.stash:
        check_configuration(config)
        path = policy_path(config)
        config.stash[_SETTINGS] = Settings(_load(path) if path else None, path, _read_time(config))
    return config.stash[_SETTINGS]


def check_configuration(config: pytest.Config) -> None:
    """Raise `UsageError` for a configuration file from an unexpected place. Accepted are a file that the command line
    names, and one in the folder in which pytest was started or above it.

    pytest reads the configuration from the folder that it collects. If that folder contains evidence, anyone who adds
    evidence could choose the policy.
    """
    path, here = config.inipath, config.invocation_params.dir
    if path is None or hasattr(config, "workerinput") or _names_configuration(config):
        return
    if not all(locate(path.parent) in (locate(here), *locate(here).parents) for locate in _LOCATIONS):
        from nomyo_attest.report.formatting import sanitize

        raise pytest.UsageError(
            f"attestation: the configuration file {sanitize(str(path))} "
            f"is neither in the folder in which pytest was started "
            f"nor above it, so it may have come with the evidence; hint: name the configuration file to use: "
            f"pytest -c pytest.ini {' '.join(sanitize(str(argument)) for argument in config.args[:1])}"
        )


def _names_configuration(config: pytest.Config) -> bool:
    """Whether the command line, or PYTEST_ADDOPTS, names the configuration file. Its own `addopts` do not count."""
    arguments = [*map(str, config.invocation_params.args), *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    return any(argument.startswith(("-c", "--config-file")) for argument in arguments)


def is_used(config: pytest.Config) -> bool:
    """Whether attestation is configured: for this run, or in the folder in which pytest was started."""
    if _IS_USED not in config.stash:
        config.stash[_IS_USED] = _detect_use(config)
    return config.stash[_IS_USED]


def _detect_use(config: pytest.Config) -> bool:
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
    """Whether a policy is in the folder of an evidence file or below it, with or without resolving symbolic links."""
    return any(locate(evidence).parent in locate(policy).parents for locate in _LOCATIONS)


def policy_path(config: pytest.Config) -> Path | None:
    """Return the policy's file: from the command line, else from the configuration, relative to the root folder."""
    option: str | None = config.getoption("attestation_policy")
    if option == "":
        raise pytest.UsageError("--attestation-policy: expected a file name, got an empty string; name the policy file")
    if option:
        return config.invocation_params.dir / option
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
        reason = getattr(error, "strerror", None) or "invalid file name"
        raise pytest.UsageError(f"attestation policy: {sanitize(str(path))}: cannot be read: {reason}") from None


def _read_time(config: pytest.Config) -> datetime | None:
    option: str | None = config.getoption("attestation_at")
    if option == "":
        raise pytest.UsageError("--attestation-at: expected a time, got an empty string; write 2026-11-30T00:00:00Z")
    text = option or config.getini("attestation_at")
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


if TYPE_CHECKING:
    from nomyo_attest.appraisal import AttestationResult
    from nomyo_attest.policy import AppraisalPolicy


class RefusedError(Exception):
    """A record is not affirmed. `brief` is the reason in one line; the message is the full explanation."""

    def __init__(self, brief: str, text: str) -> None:
        from nomyo_attest.report.formatting import escape_commands

        self.brief = escape_commands(brief)
        super().__init__(escape_commands(text))


def appraise_record(text: bytes, policy: AppraisalPolicy, at: datetime | None, place: str) -> AttestationResult:
    """Appraise one record: a response, a ledger line or a stored verdict. Raises `RefusedError`."""
    from nomyo_attest.appraisal import appraise
    from nomyo_attest.audit.stored_evidence import RepairError, read_one_record
    from nomyo_attest.errors import MisplacedEvidenceError

    try:
        evidence, payload_id = read_one_record(text)
    except MisplacedEvidenceError as error:
        raise RefusedError("the evidence is not at the top level", f"{place}: {sanitize_text(str(error))}") from None
    except RepairError as error:
        raise RefusedError("the evidence cannot be read", f"{place}: {sanitize_text(str(error))}") from None
    return appraise(evidence, policy, payload_id=payload_id, now=at)


def explain_result(
    place: str, result: AttestationResult, policy: AppraisalPolicy, *, verbose: bool = False
) -> tuple[str, str]:
    """Explain why a result is not affirming: in one line, and in full with expected and actual values.

    Digests are printed in full if `verbose`.
    """
    from nomyo_attest.report.explain import body_text, head_text, reasons
    from nomyo_attest.report.formatting import TextStyle, escape_commands, excerpt

    found = reasons(result)
    findings = (*found.failed, *found.undecided, *found.softened)
    because = [f"{finding.rule}: {excerpt(finding.message)}" for finding in findings]
    style = TextStyle(verbose=verbose)
    body = body_text(result, policy, style)
    brief = sanitize_text(f"{result.verdict.value}: {'; '.join(because)}")
    return brief, escape_commands(head_text(place, result, style) + (f"\n\n{body}" if body else ""))


class Appraise:
    """The value of the fixture `appraise`: call it for a result, or call `require` to fail unless it affirms."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(
        self,
        response: object,
        *,
        policy: AppraisalPolicy | None = None,
        payload_id: str | None = None,
        nonce: bytes | None = None,
        now: datetime | None = None,
    ) -> AttestationResult:
        """Appraise `response` as `nomyo_attest.appraise` does; `policy` and `now` default to the configured ones."""
        from nomyo_attest.appraisal import appraise

        now = now if now is not None else self._settings.at
        return appraise(response, self._policy(policy), payload_id=payload_id, nonce=nonce, now=now)

    def require(
        self,
        response: object,
        *,
        policy: AppraisalPolicy | None = None,
        payload_id: str | None = None,
        nonce: bytes | None = None,
        now: datetime | None = None,
    ) -> AttestationResult:
        """Appraise `response` and return the result if it affirms or warns; else fail the test with the findings."""
        __tracebackhide__ = True
        policy = self._policy(policy)
        result = self(response, policy=policy, payload_id=payload_id, nonce=nonce, now=now)
        if result.verdict.value not in ("affirming", "warning"):
            pytest.fail(explain_result("response", result, policy)[1], pytrace=False)
        return result

    def _policy(self, policy: AppraisalPolicy | None) -> AppraisalPolicy:
        policy = policy if policy is not None else self._settings.policy
        if policy is None:
            pytest.fail(NO_POLICY, pytrace=False)
        return policy


def sanitize_text(text: str) -> str:
    """Escape characters that must not be printed on a terminal."""
    from nomyo_attest.report.formatting import sanitize

    return sanitize(text)
