"""Recorded responses as tests: every record is one, which passes if its evidence is affirmed.

Every pytest of an environment with this package loads this module, so that it imports nothing before it is needed.
docs/pytest.md describes it.
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
    policy_path,
    settings_of,
)
from nomyo_attest.pytest_plugin.records import AttestationWarning, Missed, RecordFile, RecordItem, matches

if TYPE_CHECKING:
    from nomyo_attest.policy import AppraisalPolicy

__all__ = ["Appraise", "AttestationWarning"]

FILES_USUAL: Final = ("*.attest.json", "*.attest.jsonl", "*.attest.ndjson")
"""Names of the files collected where the configuration names none."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and configuration."""
    group = parser.getgroup("attestation", "attestation of recorded responses (nomyo-attest)")
    group.addoption("--attestation-policy", metavar="FILE", help="the policy that recorded responses are appraised by")
    group.addoption("--attestation-at", metavar="TIME", help="appraise as of this time (RFC 3339), not of now")
    parser.addini("attestation_policy", "the policy (.toml or .json) that recorded responses are appraised by")
    parser.addini("attestation_at", "the time (RFC 3339) as of which they are appraised, for policies with a period")
    parser.addini(
        "attestation_files",
        f"patterns of the files with recorded responses, read as those of python_files are; {' '.join(FILES_USUAL)}",
        type="args",
        default=list(FILES_USUAL),
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """The policy configured, unless there is none."""
    path = policy_path(config)
    if path is None:
        return None
    from nomyo_attest.report.formatting import sanitize

    return f"attestation policy: {sanitize(str(path))}"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse a configuration file that came with the evidence. Where xdist collects in other processes: report a policy
    that cannot be used here, once, and not in each of them.
    """
    config = session.config
    if is_used(config):
        check_configuration(config)
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput") and policy_path(config):
        settings_of(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Raise `UsageError` for a policy that cannot be used, before any test runs, if one of them needs it."""
    if any(isinstance(item, RecordItem) for item in session.items):
        settings_of(session.config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the files that the configuration names."""
    patterns = parent.config.getini("attestation_files")
    return RecordFile.from_parent(parent, path=file_path) if matches(file_path, patterns) else None


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, None]:
    """Add the matching names in a folder that pytest does not ask `pytest_collect_file` about (pytest 8 and newer)."""
    outcome = yield
    if isinstance(collector, getattr(pytest, "Directory", ())) and is_used(collector.config):
        report = outcome.get_result()
        if report.passed:
            missed = Missed(collector, collector.config.getini("attestation_files"), report.result)
            report.result.extend(missed.files())
            missed.warn()


@pytest.fixture(scope="session")
def attestation_policy(pytestconfig: pytest.Config) -> AppraisalPolicy:
    """The appraisal policy configured: `attestation_policy`, or `--attestation-policy`."""
    policy = _settings_for_a_test(pytestconfig).policy
    if policy is None:
        pytest.fail(NO_POLICY, pytrace=False)
    return policy


@pytest.fixture
def appraise(pytestconfig: pytest.Config) -> Appraise:
    """Appraise a response by the policy configured: `appraise(response)`, `appraise.require(response)`."""
    return Appraise(_settings_for_a_test(pytestconfig))


def _settings_for_a_test(config: pytest.Config) -> Settings:
    try:
        return settings_of(config)
    except pytest.UsageError as error:
        pytest.fail(str(error), pytrace=False)
