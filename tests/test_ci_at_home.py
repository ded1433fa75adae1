"""What CI systems run of this project: the files they read are valid, and the command lines in them do as they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

ROOT: Final = Path(__file__).parents[1]
EVIDENCE: Final = ROOT / "fixtures/evidence"
BIN: Final = Path(sys.executable).parent
PAGE: Final = ROOT / "docs/ci.md"

INJECTIONS: Final = ["$(touch pwned)", "`touch pwned`", "; touch pwned", '" ; touch pwned ; "', "'; touch pwned; '"]


def run(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command, whatever its status."""
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, **more)


def pre_commit(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "pre_commit", *arguments, env=os.environ | {"PRE_COMMIT_HOME": str(home)})


def yaml(text: str) -> Any:
    return YAML(typ="safe").load(text)


def action() -> dict[str, Any]:
    return dict(yaml((ROOT / "action.yml").read_text(encoding="utf-8")))


def hooks() -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in yaml((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}


def blocks(name: str) -> list[str]:
    """The YAML blocks of docs/ci.md whose first line is a comment with this file's name."""
    found = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block for block in found if block.startswith(f"# {name}\n")]


def valid(schema: str, path: Path) -> None:
    done = run(BIN / "check-jsonschema", "--builtin-schema", schema, path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_is_one_by_the_schema_of_github_actions() -> None:
    valid("vendor.github-actions", ROOT / "action.yml")


def test_the_hooks_are_ones_by_the_reading_of_pre_commit(tmp_path: Path) -> None:
    done = pre_commit(tmp_path, "validate-manifest", ROOT / ".pre-commit-hooks.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "schema"),
    [(".github/workflows/attestation.yml", "vendor.github-workflows"), (".gitlab-ci.yml", "vendor.gitlab-ci")],
)
def test_the_snippets_of_the_documentation_are_valid(name: str, schema: str, tmp_path: Path) -> None:
    (block,) = blocks(name)
    path = tmp_path / "snippet.yml"
    path.write_text(block, encoding="utf-8")
    valid(schema, path)


def test_the_pre_commit_snippet_is_valid_and_names_hooks_that_there_are(tmp_path: Path) -> None:
    (block,) = blocks(".pre-commit-config.yaml")
    path = tmp_path / "config.yaml"
    path.write_text(block, encoding="utf-8")
    done = pre_commit(tmp_path / "home", "validate-config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    named = [hook["id"] for repo in yaml(block)["repos"] for hook in repo["hooks"]]
    assert set(named) == set(hooks())


def test_the_workflow_snippet_uses_inputs_and_outputs_that_there_are() -> None:
    (block,) = blocks(".github/workflows/attestation.yml")
    steps = [step for job in yaml(block)["jobs"].values() for step in job["steps"]]
    (ours,) = (step for step in steps if "nomyo" in step.get("uses", ""))
    assert set(ours["with"]) <= set(action()["inputs"])
    required = {name for name, one in action()["inputs"].items() if one.get("required")}
    assert required <= set(ours["with"])
    used = set(re.findall(rf"steps\.{ours['id']}\.outputs\.(\w+)", block))
    assert used
    assert used <= set(action()["outputs"])


# The action, run as the runner of GitHub runs it.


def step(name: str) -> dict[str, Any]:
    (found,) = (one for one in action()["runs"]["steps"] if one["name"] == name)
    return dict(found)


def test_nothing_from_outside_is_put_into_a_script() -> None:
    for one in action()["runs"]["steps"]:
        assert "${{" not in one["run"]
        assert one["shell"] == "bash"


class Job:
    """A job of GitHub's: a workspace with recorded responses, and the files and variables that its steps get."""

    def __init__(self, folder: Path, policy: Path) -> None:
        self.workspace = folder / "work space"
        self.temporary = folder / "temp"
        self.summary = folder / "summary.md"
        self.output = folder / "output"
        self.workspace.mkdir()
        (self.temporary / "nomyo-attest/bin").mkdir(parents=True)
        (self.temporary / "nomyo-attest/bin/nomyo-attest").symlink_to(BIN / "nomyo-attest")
        self.output.touch()
        recorded = self.workspace / "recorded"
        recorded.mkdir()
        shutil.copy(EVIDENCE / "response.json", recorded / "monday.attest.json")
        shutil.copy(policy, self.workspace / "policy.toml")

    def add_other_firmware(self) -> None:
        shutil.copy(EVIDENCE / "other-firmware.json", self.workspace / "recorded/tuesday.attest.json")

    def run(self, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        """Run a step with some inputs, others at their defaults."""
        defaults = {key: str(one.get("default", "")) for key, one in action()["inputs"].items()}
        given = {key.replace("_", "-"): value for key, value in inputs.items()}
        assert set(given) <= set(defaults)
        context = {f"inputs.{key}": value for key, value in (defaults | given).items()} | {
            "github.action_path": str(ROOT),
            "github.action_ref": "v1.2.3",
            "github.action_repository": "owner/project",
        }
        environment = {
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_SERVER_URL": "https://git.example",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "HOME": str(self.temporary),
            "PATH": os.environ["PATH"],
            "RUNNER_TEMP": str(self.temporary),
        }
        found = step(name)
        for key, value in found["env"].items():
            environment[key] = re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda expression: context[expression[1]], value)
        script = self.temporary / "script.sh"
        script.write_text(found["run"], encoding="utf-8")
        return run("bash", "--noprofile", "--norc", "-eo", "pipefail", script, cwd=self.workspace, env=environment)

    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.output.read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    learned = run(BIN / "nomyo-attest", "policy", "learn", EVIDENCE / "known-good.json", "-o", path)
    assert learned.returncode == 0, learned.stderr
    return path


@pytest.fixture
def job(tmp_path: Path, policy: Path) -> Job:
    return Job(tmp_path, policy)


def test_the_action_passes_where_all_is_affirmed(job: Job) -> None:
    done = job.run("Audit", sources="recorded", policy="policy.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "::error" not in done.stdout
    outputs = job.outputs()
    assert outputs["status"] == "0"
    assert set(outputs) == set(action()["outputs"])
    for name in ("sarif", "junit", "html", "verdicts"):
        assert Path(outputs[name]).stat().st_size
    assert job.summary.read_text(encoding="utf-8").startswith("## nomyo-attest audit: passed\n")


def test_the_action_fails_with_the_rule_the_file_and_what_to_do(job: Job) -> None:
    job.add_other_firmware()
    done = job.run("Audit", sources="recorded", policy="policy.toml")
    assert done.returncode == 1
    (annotation,) = (line for line in done.stdout.splitlines() if line.startswith("::error"))
    assert annotation.startswith("::error file=recorded/tuesday.attest.json,line=1,title=pcr.values::")
    assert "If the machine was updated" in annotation
    assert job.summary.read_text(encoding="utf-8").startswith("## nomyo-attest audit: not passed\n")
    log = json.loads(Path(job.outputs()["sarif"]).read_text(encoding="utf-8"))
    (result,) = log["runs"][0]["results"]
    rule = log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert rule["helpUri"] == "https://git.example/owner/project/blob/v1.2.3/docs/rules.md#pcrvalues"


def test_the_inputs_of_the_action_reach_the_audit(job: Job) -> None:
    job.add_other_firmware()
    more = "--select\ncontraindicated\n"
    done = job.run("Audit", sources="recorded\n", policy="policy.toml", max_failures="1", arguments=more)
    assert done.returncode == 0, done.stdout + done.stderr
    (verdict,) = Path(job.outputs()["verdicts"]).read_text(encoding="utf-8").splitlines()
    assert json.loads(verdict)["source"].endswith("tuesday.attest.json")
    assert job.run("Audit", sources="recorded", policy="policy.toml", fail_on="nothing").returncode == 0


def test_sources_are_lines_and_may_have_blanks(job: Job) -> None:
    shutil.move(job.workspace / "recorded", job.workspace / "two words")
    shutil.copy(EVIDENCE / "known-good.json", job.workspace)
    done = job.run("Audit", sources="two words\n\nknown-good.json\n", policy="policy.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("2 records in 2 sources\n")


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_input_of_the_action_is_taken_for_a_command(job: Job, text: str) -> None:
    done = job.run("Audit", sources=text, policy=text, fail_on=text, max_failures=text, arguments=text)
    assert done.returncode == 2
    assert [one.name for one in job.workspace.iterdir() if "pwned" in one.name] == []
    assert job.outputs() == {"status": "2", "reports": job.outputs()["reports"]}


def test_a_policy_that_cannot_be_used_fails_with_status_2_and_no_reports(job: Job) -> None:
    done = job.run("Audit", sources="recorded", policy="missing.toml")
    assert done.returncode == 2
    assert "missing.toml" in done.stderr
    assert not job.summary.exists()
    assert job.outputs()["status"] == "2"


def fake_python(folder: Path, version_status: int) -> tuple[Path, Path]:
    """A Python that makes no environment but notes what it is asked for, and so does the one in the environment."""
    log = folder / "asked"
    path = folder / "python"
    path.write_text(
        f"""#!/bin/bash
printf '%s\\n' "$*" >> {shlex.quote(str(log))}
if [ "$1" = -c ]; then exit {version_status}; fi
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
""",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path, log


@pytest.mark.parametrize(("extras", "installed"), [("", str(ROOT)), ("parquet", f"{ROOT}[parquet]")])
def test_the_action_installs_its_own_commit_into_an_environment_of_its_own(
    job: Job, tmp_path: Path, extras: str, installed: str
) -> None:
    python, log = fake_python(tmp_path, 0)
    assert job.run("Install nomyo-attest", python=str(python), extras=extras).returncode == 0
    _, environment, install = log.read_text(encoding="utf-8").splitlines()
    assert environment == f"-m venv {job.temporary}/nomyo-attest"
    assert install == f"-m pip install --quiet --disable-pip-version-check {installed}"


def test_the_action_says_that_an_old_python_will_not_do(job: Job, tmp_path: Path) -> None:
    python, log = fake_python(tmp_path, 1)
    done = job.run("Install nomyo-attest", python=str(python))
    assert done.returncode == 2
    assert done.stdout.startswith("::error title=nomyo-attest::Python 3.11 or newer")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1


# The hooks, run as pre-commit runs them: the entry, the arguments, then the names of the files that match.


def run_hook(job: Job, hook_id: str, names: list[str]) -> subprocess.CompletedProcess[str]:
    hook = hooks()[hook_id]
    matching = [name for name in names if re.search(hook["files"], name)]
    assert matching
    program, *words = shlex.split(hook["entry"])
    command = [BIN / program, *words, *hook["args"], *(matching if hook.get("pass_filenames", True) else [])]
    return run(*command, cwd=job.workspace)


@pytest.mark.parametrize("hook_id", ["nomyo-attest-verify", "nomyo-attest-audit"])
def test_a_hook_passes_and_fails_as_the_policy_says(job: Job, hook_id: str) -> None:
    names = ["recorded/monday.attest.json", "recorded/notes.json", "README.md"]
    assert run_hook(job, hook_id, names).returncode == 0
    job.add_other_firmware()
    done = run_hook(job, hook_id, [*names, "recorded/tuesday.attest.json"])
    assert done.returncode == 1
    assert "FAIL  pcr.values" in done.stdout


def test_the_hook_of_the_policy_fails_on_a_warning(job: Job) -> None:
    first = run_hook(job, "nomyo-attest-policy-check", ["policy.toml"])
    assert first.returncode in {0, 1}
    policy = job.workspace / "policy.toml"
    text = policy.read_text(encoding="utf-8")
    policy.write_text(f"unsafe_any_nonce = true\n{text}", encoding="utf-8")
    done = run_hook(job, "nomyo-attest-policy-check", ["policy.toml"])
    assert done.returncode == 1
    assert "unsafe_any_nonce" in done.stdout


# GitLab's job, but for the line that installs.


def test_the_job_of_the_gitlab_snippet_runs_and_makes_the_files_that_it_keeps(job: Job) -> None:
    (block,) = blocks(".gitlab-ci.yml")
    (found,) = (one for one in yaml(block).values() if isinstance(one, dict) and "script" in one)
    lines = [line for line in found["script"] if "pip install" not in line]
    assert len(lines) == len(found["script"]) - 1
    job.add_other_firmware()
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = run("bash", "-eo", "pipefail", "-c", "\n".join(lines), cwd=job.workspace, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    artifacts = found["artifacts"]
    for name in (artifacts["reports"]["junit"], *artifacts["paths"]):
        assert (job.workspace / name).stat().st_size
