"""Without a policy nothing passes, and a policy that cannot be used is told once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nomyo_attest.testing import Forge

pytest_plugins = ["pytester"]

GOOD = Forge(key="p256")


@pytest.fixture
def folder(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with good.attest.json, and the ../policies/policy.json that affirms it, which no configuration names."""
    pytester.path.joinpath("good.attest.json").write_text(GOOD.text())
    policies = pytester.path.parent / "policies"
    policies.mkdir(exist_ok=True)
    policies.joinpath("policy.json").write_text(json.dumps(GOOD.policy()))
    return pytester


def test_without_a_policy_every_record_fails_and_says_what_is_missing(folder: pytest.Pytester) -> None:
    ran = folder.runpytest()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["good.attest.json: no policy is configured; write attestation_policy = policy.toml*"])


def test_the_option_names_the_policy_from_the_working_folder_and_goes_before_the_configuration(
    folder: pytest.Pytester,
) -> None:
    folder.makeini("[pytest]\nattestation_policy = missing.json\n")
    folder.runpytest("--attestation-policy", "../policies/policy.json").assert_outcomes(passed=1)


def test_the_configuration_names_the_policy_from_the_root_folder(
    folder: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.makeini("[pytest]\nattestation_policy = ../policies/policy.json\n")
    folder.mkdir("below").joinpath("more.attest.json").write_text(GOOD.text())
    monkeypatch.chdir(folder.path / "below")
    folder.runpytest().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (None, "ERROR: attestation policy: *missing.json: cannot be read: No such file or directory"),
        ("{", "ERROR: attestation policy: *missing.json: not a policy file: *"),
        ('{"format": "nomyo-attest-policy/1", "id": "x"}', "ERROR: attestation policy: *: pcrs: no PCR value is *"),
        ('{"format": "nomyo-attest-policy/1", "id": "x", "\\u001b[2J": 1}', "ERROR: attestation policy: *"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("-n", "2"), ("--collect-only",)])
def test_a_policy_that_cannot_be_used_is_one_usage_error(
    folder: pytest.Pytester, policy: str | None, told: str, arguments: tuple[str, ...]
) -> None:
    if policy is not None:
        folder.path.joinpath("missing.json").write_text(policy)
    folder.makeini("[pytest]\nattestation_policy = missing.json\n")
    ran = folder.runpytest(*arguments)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in ran.errlines if line]
    assert len(errors) == 1
    ran.stderr.fnmatch_lines([told])
    assert "\x1b" not in ran.stderr.str()
    ran.stdout.no_fnmatch_line("*Traceback*")


def test_tests_without_records_run_whatever_becomes_of_the_policy(folder: pytest.Pytester) -> None:
    folder.makeini("[pytest]\nattestation_policy = missing.json\n")
    folder.makepyfile(test_other="def test_other(): pass")
    folder.runpytest("test_other.py").assert_outcomes(passed=1)


def test_the_time_is_the_one_configured(folder: pytest.Pytester) -> None:
    period = {"valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-02-01T00:00:00Z"}
    folder.path.parent.joinpath("policies", "policy.json").write_text(json.dumps(GOOD.policy() | period))
    for time, outcomes in (("2026-01-15T12:00:00+01:00", {"passed": 1}), ("2026-02-15t00:00:00z", {"failed": 1})):
        folder.makeini(f"[pytest]\nattestation_policy = ../policies/policy.json\nattestation_at = {time}\n")
        folder.runpytest().assert_outcomes(**outcomes)
    folder.runpytest("--attestation-at", "2026-01-15T00:00:00Z").assert_outcomes(passed=1)
    folder.runpytest("--attestation-at", "2026-01-01").assert_outcomes(passed=1)  # midnight UTC
    folder.runpytest("--attestation-at", "2026-02-02").assert_outcomes(failed=1)


@pytest.mark.parametrize("time", ["yesterday", "2026-02-30", "2026-01-15T00:00:00"])
def test_a_time_that_is_none_is_a_usage_error(folder: pytest.Pytester, time: str) -> None:
    ran = folder.runpytest("--attestation-policy", "../policies/policy.json", "--attestation-at", time)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([f"ERROR: attestation_at: invalid time '{time}'; write a date*"])


def test_the_fixtures_appraise_by_the_policy_configured(folder: pytest.Pytester) -> None:
    folder.makeini("[pytest]\nattestation_policy = ../policies/policy.json\nattestation_files = nothing\n")
    folder.makepyfile(
        """
        import pytest
        from nomyo_attest import AppraisalPolicy, Verdict
        from nomyo_attest.testing import Forge

        GOOD, BAD = Forge(key="p256"), Forge(key="p256").measure(0, b"other firmware")

        def test_the_policy(attestation_policy):
            assert isinstance(attestation_policy, AppraisalPolicy)
            assert attestation_policy.id == "forge"

        def test_good(appraise):
            assert appraise(GOOD.response()).verdict is Verdict.AFFIRMING
            assert appraise.require(GOOD.text()).verdict is Verdict.AFFIRMING

        def test_bad(appraise):
            assert appraise(BAD.response()).failed == ("pcr.values",)
            appraise.require(BAD.response(), policy=AppraisalPolicy.from_dict(BAD.policy()))

        def test_another_nonce(appraise):
            assert appraise(GOOD.response(), nonce=b"0" * 16).failed == ("nonce.match",)
            assert appraise(GOOD.response(), payload_id="another").failed == ("nonce.match",)

        def test_required(appraise):
            appraise.require(BAD.response())
        """
    )
    ran = folder.runpytest()
    ran.assert_outcomes(passed=4, failed=1)
    ran.stdout.fnmatch_lines(["response   contraindicated *", "*FAIL  pcr.values", "*remediation*"])
    ran.stdout.no_fnmatch_line("*appraise.require(*")


@pytest.mark.parametrize(
    ("ini", "told"), [("", "no policy is configured*"), ("attestation_policy = no.json", "*cannot be read*")]
)
def test_a_fixture_without_a_policy_fails_the_test(folder: pytest.Pytester, ini: str, told: str) -> None:
    folder.makeini(f"[pytest]\n{ini}\nattestation_files = nothing\n")
    folder.makepyfile(
        """
        def test_policy(attestation_policy): pass
        def test_appraise(appraise): appraise({})
        """
    )
    ran = folder.runpytest()
    assert ran.parseoutcomes().keys() <= {"failed", "errors"}
    assert sum(ran.parseoutcomes().values()) == 2
    ran.stdout.fnmatch_lines([told])
    ran.stdout.no_fnmatch_line("*Traceback*")


def test_the_options_stand_in_a_group_of_the_help(folder: pytest.Pytester) -> None:
    ran = folder.runpytest("--help")
    ran.stdout.fnmatch_lines(
        [
            "attestation of recorded responses (nomyo-attest):",
            "  --attestation-policy=FILE",
            "  --attestation-at=TIME*",
            "  attestation_policy (string):*",
            "  attestation_files (args):*",
        ]
    )


def test_every_pytest_of_the_environment_loads_it_and_nothing_behind_it() -> None:
    probe = (
        "import sys, pytest, nomyo_attest.pytest_plugin; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'cryptography', 'msgspec', 'jsonschema', "
        "'rich', 'httpx', 'tomllib', 'json'}), sorted(name for name in sys.modules if name.startswith('nomyo')))"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, encoding="utf-8", check=True, timeout=60)
    loaded = "'nomyo_attest.pytest_plugin.appraising', 'nomyo_attest.pytest_plugin.records'"
    assert "'cryptography'" not in ran.stdout
    assert "'msgspec'" not in ran.stdout
    assert "'jsonschema'" not in ran.stdout
    assert loaded in ran.stdout
    assert "nomyo_attest.appraisal" not in ran.stdout


@pytest.fixture
def hostile(folder: pytest.Pytester) -> pytest.Pytester:
    """A folder with evidence, a policy and a configuration in `recorded/`, all by the same maker."""
    recorded = folder.mkdir("recorded")
    bad = Forge(key="p256", payload_id="bad").measure(0, b"other firmware")
    recorded.joinpath("bad.attest.json").write_text(bad.text())
    recorded.joinpath("policy.json").write_text(json.dumps(bad.policy()))
    recorded.joinpath("pytest.ini").write_text("[pytest]\nattestation_policy = policy.json\n")
    return folder


REFUSED = (
    "ERROR: attestation: the configuration file *recorded/pytest.ini is neither in the folder in which pytest was *"
)


@pytest.mark.parametrize("options", [(), ("-n", "2"), ("--collect-only",)])
def test_a_configuration_that_came_with_the_evidence_is_refused(
    hostile: pytest.Pytester, options: tuple[str, ...]
) -> None:
    ran = hostile.runpytest("recorded", *options)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([REFUSED])


@pytest.mark.parametrize(
    "content",
    [
        "attestation_files = nothing",
        "addopts = --ignore-glob=*.json",
        "addopts = -c pytest.ini --ignore-glob=*.json",
        "addopts = --attestation-policy recorded/policy.json",
    ],
)
def test_a_configuration_that_came_with_the_evidence_cannot_leave_it_out(
    hostile: pytest.Pytester, content: str
) -> None:
    hostile.makeini("[pytest]\nattestation_policy = ../policies/policy.json\n")
    hostile.path.joinpath("recorded", "pytest.ini").write_text(f"[pytest]\n{content}\n")
    hostile.path.joinpath("recorded", "test_fine.py").write_text("def test_fine(): pass")
    ran = hostile.runpytest("recorded")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([REFUSED])


def test_a_configuration_outside_the_folder_of_the_run_is_refused(
    hostile: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile.mkdir("elsewhere"))
    ran = hostile.runpytest("../recorded")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([REFUSED])


def test_a_configuration_that_the_command_line_names_is_used(hostile: pytest.Pytester) -> None:
    configuration = hostile.mkdir("configuration")
    configuration.joinpath("pytest.ini").write_text("[pytest]\nattestation_policy = ../../policies/policy.json\n")
    for option in (["-c", "configuration/pytest.ini"], ["-cconfiguration/pytest.ini"]):
        hostile.runpytest(*option, "recorded").assert_outcomes(failed=1)
        hostile.runpytest(*option, "good.attest.json").assert_outcomes(passed=1)


def test_a_configuration_below_is_of_no_concern_to_tests_without_records(folder: pytest.Pytester) -> None:
    below = folder.mkdir("package")
    below.joinpath("pytest.ini").write_text("[pytest]\n")
    below.joinpath("test_other.py").write_text("def test_other(): pass")
    folder.runpytest("package").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "policy", ["recorded/policy.json", "recorded/deep/policy.json", "link.json", "recorded/link.json"]
)
def test_a_policy_in_the_folder_of_the_evidence_fails_its_tests(hostile: pytest.Pytester, policy: str) -> None:
    recorded = hostile.path / "recorded"
    recorded.joinpath("pytest.ini").unlink()
    recorded.joinpath("deep").mkdir()
    recorded.joinpath("deep", "policy.json").write_bytes(recorded.joinpath("policy.json").read_bytes())
    hostile.path.joinpath("link.json").symlink_to("recorded/policy.json")
    recorded.joinpath("link.json").symlink_to(hostile.path.parent / "policies" / "policy.json")
    ran = hostile.runpytest("--attestation-policy", policy, "recorded")
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        ["*recorded/bad.attest.json: the policy is in the folder of this evidence, or below it: *", "hint: keep the *"]
    )


def test_the_documented_options_run_no_python_file_of_the_folder_with_evidence(hostile: pytest.Pytester) -> None:
    hostile.makefile(".ini", own="[pytest]\nattestation_policy = ../policies/policy.json\n")
    for name in ("__init__", "conftest", "test_fine"):
        mark = hostile.path / f"{name}.ran"
        hostile.path.joinpath("recorded", f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    command = ["-c", "own.ini", "--noconftest", "-p", "no:python", "recorded"]
    hostile.runpytest_subprocess(*command).assert_outcomes(failed=1)
    assert not list(hostile.path.glob("*.ran"))
