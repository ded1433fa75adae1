"""What CI systems run of this project: the files they read are valid, and the command lines in them do as they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from requirements.lock import LOCKS

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
        self.temporary.mkdir()
        self.output.touch()
        recorded = self.workspace / "recorded"
        recorded.mkdir()
        shutil.copy(EVIDENCE / "response.json", recorded / "monday.attest.json")
        shutil.copy(policy, self.workspace / "policy.toml")

    def add_other_firmware(self) -> None:
        shutil.copy(EVIDENCE / "other-firmware.json", self.workspace / "recorded/tuesday.attest.json")

    def plant(self) -> Path:
        """Put files into the workspace that Python or pip would load from the working directory.

        Returns the file that gets a line for each one that was loaded.
        """
        log = self.temporary / "loaded"
        for name in PLANTED:
            path = self.workspace / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"open({str(log)!r}, 'a').write({name!r} + '\\n')\n", encoding="utf-8")
        evil = self.temporary / "evil"
        (self.workspace / "pyproject.toml").write_text('[build-system]\nrequires = ["evil"]\n', encoding="utf-8")
        (self.workspace / "setup.cfg").write_text("[install]\nprefix = evil\n", encoding="utf-8")
        for name in ("pip.conf", ".pip/pip.conf", "pip/pip.conf"):
            path = self.workspace / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"[global]\nlog = {evil}\nindex-url = https://evil.invalid/\n", encoding="utf-8")
        return log

    def run(
        self, name: str, variables: Mapping[str, str] | None = None, **inputs: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a step with some inputs, others at their defaults, and with `variables` of the job."""
        defaults = {key: str(one.get("default", "")) for key, one in action()["inputs"].items()}
        given = {key.replace("_", "-"): value for key, value in inputs.items()}
        assert set(given) <= set(defaults)
        context = {f"inputs.{key}": value for key, value in (defaults | given).items()} | {
            "github.action_path": str(ROOT),
            "github.action_ref": "v1.2.3",
            "github.action_repository": "owner/project",
            "steps.install.outputs.python": self.outputs().get("python", sys.executable),
        }
        environment = {
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_SERVER_URL": "https://git.example",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "HOME": str(self.temporary),
            "PATH": os.environ["PATH"],
            "RUNNER_TEMP": str(self.temporary),
            **(variables or {}),
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
    learned = run(
        BIN / "nomyo-attest", "policy", "learn", "--allow-test-keys", EVIDENCE / "known-good.json", "-o", path
    )
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
    assert annotation.startswith("::error file=recorded/tuesday.attest.json,line=1,title=")
    assert "If the machine was updated" in annotation
    assert job.summary.read_text(encoding="utf-8").startswith("## nomyo-attest audit: not passed\n")
    log = json.loads(Path(job.outputs()["sarif"]).read_text(encoding="utf-8"))
    (result,) = log["runs"][0]["results"]
    assert result["ruleId"] == "pcr.values"
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


def test_arguments_with_which_nothing_is_audited_are_no_success(job: Job) -> None:
    done = job.run("Audit", sources="recorded", policy="policy.toml", arguments="--help")
    assert done.returncode == 2
    assert "::error title=nomyo-attest::The audit wrote no report (status 2)" in done.stdout
    assert job.outputs() == {"status": "2", "reports": job.outputs()["reports"]}


def test_a_policy_that_cannot_be_used_fails_with_status_2_and_no_reports(job: Job) -> None:
    done = job.run("Audit", sources="recorded", policy="missing.toml")
    assert done.returncode == 2
    assert "missing.toml" in done.stderr
    assert not job.summary.exists()
    assert job.outputs()["status"] == "2"


PLANTED: Final = [
    *("venv.py", "pip.py", "ensurepip.py", "sitecustomize.py", "usercustomize.py", "hatchling.py", "json.py"),
    *("argparse.py", "multiprocessing.py", "subprocess.py", "msgspec.py", "cryptography.py", "rich.py"),
    *("nomyo_attest/__init__.py", "setup.py"),
]
"""Modules that are loaded in place of real ones if the workspace is on Python's path."""


def fake_python(folder: Path, version_status: int) -> tuple[Path, Path]:
    """A Python that makes no environment but notes where it is, its variables and what it is asked for.

    The one in the environment does the same.
    """
    log = folder / "asked"
    path = folder / "python"
    path.write_text(
        f"""#!/bin/bash
printf '%s|%s|%s\\n' "$PWD" "${{!PYTHON*}}" "$*" >> {shlex.quote(str(log))}
if [ "$2" = -c ]; then exit {version_status}; fi
if [ "$3" = venv ]; then mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; fi
""",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path, log


def test_the_planted_files_would_be_loaded_by_a_python_that_is_not_isolated(job: Job) -> None:
    log = job.plant()
    run(sys.executable, "-c", "import venv, pip, json, nomyo_attest", cwd=job.workspace)
    run(sys.executable, "-c", "pass", cwd=job.temporary, env=os.environ | {"PYTHONPATH": str(job.workspace)})
    loaded = log.read_text(encoding="utf-8").split()
    assert {"venv.py", "pip.py", "json.py", "nomyo_attest/__init__.py", "sitecustomize.py"} <= set(loaded)


@pytest.mark.parametrize(("extras", "lock"), [("", "action.txt"), ("parquet", "action-parquet.txt")])
def test_the_action_installs_locked_dependencies_and_then_its_own_commit_away_from_the_workspace(
    job: Job, tmp_path: Path, extras: str, lock: str
) -> None:
    python, log = fake_python(tmp_path, 0)
    variables = {"PYTHONPATH": "src", "PYTHONSTARTUP": "x.py"}
    assert job.run("Install nomyo-attest", variables, python=str(python), extras=extras).returncode == 0
    lines = [line.split("|") for line in log.read_text(encoding="utf-8").splitlines()]
    (folder,) = {folder for folder, _, _ in lines}
    assert Path(folder).parent == job.temporary
    assert {names for _, names, _ in lines} == {""}
    _, environment, dependencies, own = [asked for _, _, asked in lines]
    assert environment == f"-I -m venv {folder}/venv"
    install = "-I -m pip install --quiet --disable-pip-version-check --no-input"
    wanted = f"{ROOT}/requirements/{lock}"
    assert dependencies == f"{install} --only-binary=:all: --require-hashes --requirement {wanted}"
    assert own == f"{install} --no-index --no-deps --no-build-isolation {ROOT}"
    assert Path(wanted).is_file()
    assert job.outputs() == {"python": f"{folder}/venv/bin/python"}


def test_no_program_of_the_workspace_is_run_where_path_has_a_relative_entry(job: Job, tmp_path: Path) -> None:
    job.add_other_firmware()
    log = tmp_path / "started"
    for name in ("python3", "python", "mktemp", "cat", "env", "git", "pip", "swtpm"):
        program = job.workspace / name
        program.write_text(f"#!/bin/bash\necho {name} >> {shlex.quote(str(log))}\n", encoding="utf-8")
        program.chmod(0o755)
    variables = {"PATH": f".:{os.environ['PATH']}"}
    python, _ = fake_python(tmp_path, 0)
    assert job.run("Install nomyo-attest", variables, python=str(python)).returncode == 0
    job.output.write_text("", encoding="utf-8")
    assert job.run("Audit", variables, sources="recorded", policy="policy.toml").returncode == 1
    assert not log.exists()
    assert job.summary.read_text(encoding="utf-8").startswith("## nomyo-attest audit: not passed\n")


def test_the_extras_of_the_action_are_those_that_are_locked() -> None:
    found = re.findall(r"^ +(\S+)\) lock=(\S+) ;;$", step("Install nomyo-attest")["run"], re.MULTILINE)
    locked = {name: ",".join(extras) for name, extras in LOCKS.items()}
    assert {file: extra.strip('"') for extra, file in found} == locked


@pytest.mark.parametrize("extras", ["router", "parquet,router", "parquet]", "evil @ https://evil.invalid/e.whl", "\n"])
def test_the_action_installs_no_extra_that_is_not_locked(job: Job, tmp_path: Path, extras: str) -> None:
    python, log = fake_python(tmp_path, 0)
    done = job.run("Install nomyo-attest", python=str(python), extras=extras)
    assert done.returncode == 2
    assert done.stdout.startswith("::error title=nomyo-attest::unsupported value of the input extras; expected parquet")
    assert not log.exists()


def test_the_action_starts_no_python_by_a_path_in_the_workspace(job: Job) -> None:
    python, log = fake_python(job.workspace, 0)
    done = job.run("Install nomyo-attest", python=f"./{python.name}")
    assert done.returncode == 2
    assert done.stdout.startswith("::error title=nomyo-attest::the input python is a relative path")
    relative = f".:{job.workspace.name}:{os.environ['PATH']}"
    done = job.run("Install nomyo-attest", {"PATH": relative, "PIP_NO_INDEX": "1"})
    assert done.returncode == 1
    assert not log.exists()


def test_the_install_step_loads_nothing_from_the_workspace(job: Job) -> None:
    """Without an index, so it ends where pip looks for the first dependency."""
    log = job.plant()
    variables = {"PYTHONPATH": str(job.workspace), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "pip.conf"}
    done = job.run("Install nomyo-attest", variables)
    assert done.returncode == 1
    assert "No matching distribution found for" in done.stderr, done.stderr
    assert not log.exists()
    assert not (job.temporary / "evil").exists()
    assert "evil" not in done.stdout + done.stderr


def test_the_audit_step_loads_nothing_from_the_workspace(job: Job) -> None:
    log = job.plant()
    job.add_other_firmware()
    done = job.run("Audit", {"PYTHONPATH": "."}, sources="recorded", policy="policy.toml", arguments="--processes\n2")
    assert done.returncode == 1, done.stderr
    assert "::error file=recorded/tuesday.attest.json" in done.stdout
    assert not log.exists()


@pytest.mark.skipif("NOMYO_PACKAGE_INDEX" not in os.environ, reason="installs from the package index: tox -e action")
def test_the_action_installs_and_audits_in_a_workspace_full_of_planted_files(job: Job) -> None:
    log = job.plant()
    index = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = job.run("Install nomyo-attest", index, extras="parquet")
    assert done.returncode == 0, done.stdout + done.stderr
    installed = Path(job.outputs()["python"])
    assert installed.is_relative_to(job.temporary)
    done = job.run("Audit", sources="recorded", policy="policy.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    found = run(installed, "-I", "-c", "import nomyo_attest, pyarrow; print(nomyo_attest.__file__)").stdout
    assert Path(found.strip()).is_relative_to(job.temporary)
    assert not log.exists()


def test_the_action_says_that_an_old_python_will_not_do(job: Job, tmp_path: Path) -> None:
    python, log = fake_python(tmp_path, 1)
    done = job.run("Install nomyo-attest", python=str(python))
    assert done.returncode == 2
    assert done.stdout.startswith("::error title=nomyo-attest::Python 3.11 or newer")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1


# The hooks, run as pre-commit runs them: the entry, the arguments, then the names of the files that match.


def run_hook(
    job: Job, hook_id: str, names: list[str], args: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    hook = hooks()[hook_id] | ({} if args is None else {"args": args})
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


EVIL: Final = "--policy=evil.attest.json"
"""A file that pre-commit takes for a recorded response, and whose name is an option."""


def plant_evil_policy(job: Job) -> None:
    """A policy that accepts the other firmware, as a recorded response, and a file whose name selects it."""
    job.add_other_firmware()
    learned = run(
        *(BIN / "nomyo-attest", "policy", "learn", "--allow-test-keys", EVIDENCE / "other-firmware.json"),
        cwd=job.workspace,
    )
    (job.workspace / "evil.attest.json").write_text(learned.stdout, encoding="utf-8")
    (job.workspace / EVIL).write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("hook_id", ["nomyo-attest-verify", "nomyo-attest-audit"])
@pytest.mark.parametrize("args", [None, ["--policy", "policy.toml"], ["--policy=policy.toml", "--format", "json"], []])
def test_a_file_named_like_an_option_is_not_one_whatever_the_arguments_of_the_hook_are(
    job: Job, hook_id: str, args: list[str] | None
) -> None:
    plant_evil_policy(job)
    done = run_hook(job, hook_id, [EVIL, "recorded/tuesday.attest.json"], args)
    if args is None:  # the hook's own end with --
        assert done.returncode in {1, 2}
        assert "FAIL  pcr.values" in done.stdout
        assert EVIL in done.stdout
    else:
        assert done.returncode == 2
        assert f"{EVIL!r} is the name of a file in the working directory" in done.stderr
        assert done.stdout == ""


def test_the_arguments_of_every_hook_and_of_the_snippet_put_names_after_two_hyphens() -> None:
    (block,) = blocks(".pre-commit-config.yaml")
    configured = [hook for repo in yaml(block)["repos"] for hook in repo["hooks"]]
    for hook in [*hooks().values(), *configured]:
        if hook["id"] != "nomyo-attest-policy-check":
            assert hook["args"][-1] == "--"


def test_pre_commit_passes_names_that_the_command_refuses_as_options(job: Job, tmp_path: Path) -> None:
    """With pre-commit itself, and a hook as ours but for the environment, which would be installed from an index."""
    plant_evil_policy(job)
    hook = hooks()["nomyo-attest-audit"]
    entry = f"{BIN}/{hook['entry']}"
    local = {"id": "audit", "name": "audit", "language": "system", "entry": entry, "files": hook["files"]}
    local |= {"args": ["--policy", "policy.toml"], "require_serial": True}
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"repos": [{"repo": "local", "hooks": [local]}]}), encoding="utf-8")
    for command in (["init", "-q"], ["add", "--all"]):
        assert run("git", *command, cwd=job.workspace).returncode == 0
    environment = os.environ | {"PRE_COMMIT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--config", str(config)]
    done = run(*command, cwd=job.workspace, env=environment)
    assert done.returncode == 1
    assert "exit code: 2" in done.stdout
    assert f"{EVIL!r} is the name of a file in the working directory" in done.stdout


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
