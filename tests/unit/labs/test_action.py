"""action.yml and the workflows: what they call exists, and takes what it is given.

The action's steps are run here, with a program in the place of labs/setup/bootstrap.py that says
how it was called.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from napt_lab.labs.cli.exercise_commands import grade
from napt_lab.labs.cli.main import check

ROOT = Path(__file__).parents[3]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SAYS_HOW = "import sys\nprint(*sys.argv[1:], sep='\\n')\n"


def steps_of(workflow):
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def run_step(tmp_path, program, **inputs):
    """Run the step that calls this, in a folder of somebody's own; what bootstrap.py was told."""
    action, work = tmp_path / "action", tmp_path / "work"
    (action / "labs" / "setup").mkdir(parents=True)
    (action / "labs" / "setup" / "bootstrap.py").write_text(SAYS_HOW)
    (work / "nets").mkdir(parents=True)
    for name in ("a.yaml", "b c.yaml", "d.txt"):
        (work / "nets" / name).touch()
    steps = ACTION["runs"]["steps"]
    (step,) = [s for s in steps if f'bootstrap.py" {program}' in s.get("run", "")]
    environment = {
        **os.environ,
        **inputs,
        "REPORTS": ACTION["inputs"]["reports"]["default"],
        "GITHUB_ACTION_PATH": str(action),
    }
    ran = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=work, env=environment, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    reports = work / "napt-lab-reports"
    assert reports.is_dir()
    return work, reports, ran.stdout.splitlines()


def run_check(tmp_path, topologies):
    work, reports, said = run_step(tmp_path, "check", TOPOLOGIES=topologies)
    options, files = said[: said.index("--")], said[said.index("--") + 1 :]
    junit, as_json = f"{reports}/junit.xml", f"{reports}/report.json"
    assert options == ["check", "--junit", junit, "--json", as_json]
    return [Path(file).relative_to(work) for file in files]


@pytest.mark.parametrize(
    ("topologies", "files"),
    [
        ("nets/a.yaml", ["nets/a.yaml"]),
        ("nets/*.yaml\n", ["nets/a.yaml", "nets/b c.yaml"]),
        ("nets/b c.yaml\n\nnets/a.yaml\n", ["nets/b c.yaml", "nets/a.yaml"]),
        ("nothing/*.yaml", ["nothing/*.yaml"]),  # which the loader will say does not exist
        ("$(touch gotcha); nets/a.yaml", ["$(touch gotcha); nets/a.yaml"]),
    ],
)
def test_the_action_checks_the_files_that_it_is_given(tmp_path, topologies, files):
    assert run_check(tmp_path, topologies) == [Path(file) for file in files]
    assert not (tmp_path / "work" / "gotcha").exists()


@pytest.mark.parametrize(
    ("exercises", "told"),
    [("9c/door", "9c/door"), ("nets/b c.yaml", "{}/nets/b c.yaml"), ("nets", "{}/nets")],
)
def test_the_action_marks_the_answers_that_it_is_given(tmp_path, exercises, told):
    work, reports, said = run_step(
        tmp_path, "grade", ANSWERS="$(touch gotcha).yaml", EXERCISES=exercises
    )
    assert said == [
        "grade", "--rules", f"{work}/$(touch gotcha).yaml", "--junit", f"{reports}/marks.xml",
        "--json", f"{reports}/marks.json", "--", told.format(work),
    ]  # fmt: skip
    assert not (work / "gotcha").exists()


def test_what_the_action_calls_exists():
    assert (ROOT / "labs" / "setup" / "bootstrap.py").is_file()
    for command, wanted in ((check, set()), (grade, {"--rules"})):
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--junit", "--json"} | wanted <= options


def test_the_action_uses_inputs_that_it_has_and_no_others():
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.(\w+)", text)) == set(ACTION["inputs"])
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), "text from outside must not become commands"
        assert "uses" in step or step["shell"] == "bash"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_what_the_workflows_call_exists(workflow):
    for step in steps_of(workflow):
        used = step.get("uses", "")
        assert not used or used == "./" or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", used), used
        for target in re.findall(r"^make ([\w-]+)", step.get("run", ""), re.MULTILINE):
            subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)
        if used == "./":
            assert set(step["with"]) <= set(ACTION["inputs"])


def test_every_shell_step_is_shell():
    scripts = [step["run"] for step in ACTION["runs"]["steps"] if "run" in step]
    scripts += [
        step["run"] for workflow in WORKFLOWS for step in steps_of(workflow) if "run" in step
    ]
    for script in scripts:
        plain = re.sub(r"\$\{\{.*?\}\}", "x", script)
        subprocess.run(["bash", "-n", "-c", plain], check=True, timeout=10)
