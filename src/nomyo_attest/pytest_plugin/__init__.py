"""Run recorded responses as pytest tests: one test per record, which passes if the policy affirms its evidence.

Every pytest in an environment with this package loads this module, so it imports other modules only when it needs them.
See docs/pytest.md.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from nomyo_attest.pytest_plugin.appraising import (
    NO_POLICY,
    Appraise,
    Settings,
    check_configuration,
    is_used,
    load_settings,
    policy_path,
)
from nomyo_attest.pytest_plugin.records import AttestationWarning, RecordFile, RecordItem, SkippedPaths, matches

if TYPE_CHECKING:
    from nomyo_attest.policy import AppraisalPolicy

__all__ = ["Appraise", "AttestationWarning"]

DEFAULT_FILES: Final = ("*.attest.json", "*.attest.jsonl", "*.attest.ndjson")
"""Default patterns of the files to collect."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and configuration."""
    group = parser.getgroup("attestation", "attestation of recorded responses (nomyo-attest)")
    group.addoption("--attestation-policy", metavar="FILE", help="appraise recorded responses with this policy")
    group.addoption("--attestation-at", metavar="TIME", help="appraise as of this time (RFC 3339) instead of now")
    parser.addini("attestation_policy", "the policy (.toml or .json) with which recorded responses are appraised")
    parser.addini("attestation_at", "the time (RFC 3339) of the appraisal, for policies that depend on the time")
    parser.addini(
        "attestation_files",
        f"patterns of the files with recorded responses, as for python_files; default: {' '.join(DEFAULT_FILES)}",
        type="args",
        default=list(DEFAULT_FILES),
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Return a line that names the configured policy; None if there is none."""
    path = policy_path(config)
    if path is None:
        return None
    from nomyo_attest.report.formatting import sanitize

    return f"attestation policy: {sanitize(str(path))}"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Reject a configuration file that may have come with the evidence. With xdist, also report a policy that cannot be
    used here: once, and not in each worker process.
    """
    config = session.config
    if is_used(config):
        check_configuration(config)
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput") and policy_path(config):
        load_settings(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    """If a test needs the policy and it cannot be used, raise `UsageError` before any test runs."""
    if any(isinstance(item, RecordItem) for item in session.items):
        load_settings(session.config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a file that matches the configured patterns."""
    patterns = parent.config.getini("attestation_files")
    return RecordFile.from_parent(parent, path=file_path) if matches(file_path, patterns) else None


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, None]:
    """Add matching files for which pytest does not call `pytest_collect_file` (pytest 8 and newer)."""
    outcome = yield
    if isinstance(collector, getattr(pytest, "Directory", ())) and is_used(collector.config):
        report = outcome.get_result()
        if report.passed:
            skipped = SkippedPaths(collector, collector.config.getini("attestation_files"), report.result)
            report.result.extend(skipped.files())
            skipped.warn()


@pytest.fixture(scope="session")
def attestation_policy(pytestconfig: pytest.Config) -> AppraisalPolicy:
    """The configured appraisal policy: `attestation_policy`, or `--attestation-policy`."""
    policy = _load_settings_or_fail(pytestconfig).policy
    if policy is None:
        pytest.fail(NO_POLICY, pytrace=False)
    return policy


@pytest.fixture
def appraise(pytestconfig: pytest.Config) -> Appraise:
    """Appraise a response with the configured policy: `appraise(response)`, `appraise.require(response)`."""
    return Appraise(_load_settings_or_fail(pytestconfig))


def _load_settings_or_fail(config: pytest.Config) -> Settings:
    try:
        return load_settings(config)
    except pytest.UsageError as error:
        pytest.fail(str(error), pytrace=False)
