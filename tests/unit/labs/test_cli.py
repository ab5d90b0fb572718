"""The command line: exit statuses, and errors in words instead of tracebacks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import click
import pytest

from napt_lab.labs.cli import gate
from napt_lab.labs.course.registry import LABS

ROOT = Path(__file__).parents[3]


def labs(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "napt_lab.labs", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)


def test_labs_lists_the_labs():
    listed = labs("labs")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(LABS)


def test_make_has_a_target_for_each_lab():
    (line,) = re.findall(r"^LABS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line.split() == list(LABS)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    unset = {"TOPOLOGY", "LEVEL", "RULES", "TRANSLATOR", "MAKEFLAGS", "MAKELEVEL"}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in unset},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_make_lists_what_there_is_in_80_columns():
    listed = make().stdout.splitlines()
    assert [line for line in listed if len(line) > 80] == []
    named = {line.split()[1] for line in listed if line.startswith("  make ")}
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (others,) = re.findall(r"^TARGETS := .* (grade .*) help$", makefile, re.MULTILINE)
    each = {f"{what}-{lab}" for what in ("lab", "exercise") for lab in LABS}
    assert named == {"labs", *each, *others.split()}


@pytest.mark.parametrize(("typed", "meant"), [("lab9c", "lab-9c"), ("tests", "test")])
def test_make_knows_what_a_misspelt_target_was_meant_to_be(typed, meant):
    made = make(typed)
    assert made.returncode == 2
    assert made.stderr.startswith(f"There is no `make {typed}` (did you mean `make {meant}`?): ")


@pytest.mark.parametrize("given", [(), ("LEVEL=9c",), ("RULES=answers.yaml",)])
def test_make_grade_says_what_it_wants(given):
    made = make("grade", *given)
    assert made.returncode == 2
    assert made.stderr.startswith("Say what is to be marked: make grade LEVEL=")
    assert ", or make grade TRANSLATOR=FILE\n" in made.stderr


@pytest.mark.parametrize("target", ["check", "shell"])
def test_make_without_a_topology_lists_them(target):
    made = make(target)
    assert made.returncode == 2
    assert made.stderr.startswith(f"Say which topology: make {target} TOPOLOGY=FILE. There are:\n")
    own = {f"  topologies/{path.name}" for path in (ROOT / "topologies").glob("*.yaml")}
    assert own <= set(made.stderr.splitlines())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lab", "10"], "there is no lab '10'; there are: "),
        (["lab"], "Missing argument 'ID'"),
        (["nonsense"], "No such command 'nonsense'"),
        (["check"], "Missing argument 'FILES...'"),
        (["check", "topologies/bench.yaml", "--json", "no-such-folder/x"], "no-such-folder/x"),
        (["check", "no-such-file.yaml"], "no-such-file.yaml: no such file"),
        (["shell", "no-such-file.yaml"], "no-such-file.yaml: no such file"),
    ],
)
def test_wrong_usage_and_wrong_files_end_with_2(arguments, words):
    refused = labs(*arguments)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("target", "variable", "said"),
    [
        ("lab-9c", "STEP=3", "allowed: 1 (yes) or 0 (no) (did you mean FROM=3 STEP=1?)"),
        ("lab-9c", "QUIZ=3", "allowed: 1 (yes) or 0 (no) (did you mean FROM=3 QUIZ=1?)"),
        ("lab-9c", "RESUME=x", "allowed: 1 (yes) or 0 (no)"),
        ("lab-9c", "FROM=abc", "allowed: a whole number, 1 or more"),
        ("lab-9c", "WEB=2", "allowed: 1 (any free port), or a port, 1024 to 65535"),
        ("lab-9c", "WEB=on", "allowed: 1 (any free port), or a port, 1024 to 65535"),
        ("matrix", "CARRIER=4", "allowed: 1 (yes) or 0 (no)"),
        ("fuzz", "SEED=x", "allowed: a whole number"),
        ("fuzz", "PACKETS=0", "allowed: a whole number, 1 or more"),
        ("bench", "SECONDS=x", "allowed: a number, 0.2 to 60"),
        ("conformance", "ENGINES=foo", "allowed: python, nftables"),
        ("conformance", "TRANSLATOR=none.py", "File 'none.py' does not exist."),
    ],
)
def test_a_wrong_value_of_a_variable_is_told_with_what_is_allowed(target, variable, said):
    made = make(target, variable)
    assert made.returncode == 2
    assert made.stderr.startswith(f"napt-lab: {variable}: {said}\n")


def test_a_wrong_value_of_an_option_names_the_option():
    typed = labs("lab", "9e", "--from", "x")
    assert typed.returncode == 2
    assert "Invalid value for '--from': 'x' is not" in typed.stderr


@pytest.mark.parametrize("value", ["FROM=99", "PART=3"])
def test_a_step_or_part_that_is_not_there_names_the_variable(value):
    made = make("lab-9c", "QUIZ=1", value)
    assert made.returncode == 2
    assert f"({value.partition('=')[0]}); there are" in made.stderr


def test_check_lists_every_problem(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("internet: {}\nsites: 5\nwrong: 1\n")
    checked = labs("check", str(bad))
    assert checked.returncode == 2
    assert len(checked.stderr.splitlines()) >= 2
    assert all(line.startswith(f"{bad}:") for line in checked.stderr.splitlines())


def test_check_names_the_problems_of_all_files_before_anything_is_built(tmp_path):
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    bad.write_text("internet: {}\nwrong: 1\n")
    good.write_text("internet: {a: 198.51.100.2, b: 198.51.100.3}\nexpect: [a reaches b]\n")
    reports = tmp_path / "junit.xml", tmp_path / "r.json"
    checked = labs(
        "check", str(good), str(bad), "--junit", str(reports[0]), "--json", str(reports[1])
    )
    assert checked.returncode == 2
    assert checked.stdout == ""
    assert checked.stderr.startswith(f"{bad}:2: wrong: unknown key")
    unread, unchecked = ET.parse(reports[0]).getroot()
    assert unchecked.find("testcase/error").get("message").startswith("nothing was built: ")
    assert unread.get("errors") == unread.get("tests") == "1"
    assert unread.find("testcase").get("line") == "2"
    assert unread.find("testcase/error").get("message").startswith("wrong: unknown key")
    whole = json.loads(reports[1].read_text())
    assert [file["passed"] for file in whole["files"]] == [False, False]
    assert whole["files"][0]["problems"][0]["line"] == 2


def test_a_report_on_stdout_is_that_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    checked = labs("check", str(tmp_path / "none.yaml"), "--junit", "-")
    assert checked.returncode == 2
    error = ET.fromstring(checked.stdout).find("testsuite/testcase/error")
    assert error.get("message") == "no such file"
    assert "title=wrong topology::no such file" in checked.stderr


def test_check_says_that_nothing_is_expected(tmp_path):
    plain, report = tmp_path / "plain.yaml", tmp_path / "report.json"
    plain.write_text("title: Plain\ninternet: {a: 198.51.100.2}\n")
    checked = labs("check", str(plain), "--json", str(report))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == (
        f"{plain}: Plain: no problem found; it has no `expect:`, so there is nothing to test\n"
    )
    assert json.loads(report.read_text())["files"][0]["checks"] == []


def test_check_annotates_problems_on_github(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    bad = tmp_path / "bad.yaml"
    bad.write_text("internet: {}\nwrong: 1\n")
    checked = labs("check", str(bad))
    assert checked.returncode == 2
    silenced, annotated = checked.stdout.split("\n\n")  # the problem itself is for people
    assert silenced.startswith("::stop-commands::")
    assert "\n::error file=bad.yaml,line=2,title=wrong topology::wrong: " in f"\n{annotated}"


def test_a_project_in_what_the_sandbox_hides_is_refused_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(gate, "ROOT", Path("/run/media/me/napt-lab"))
    with pytest.raises(click.UsageError, match="NAPT Lab itself is below /run or /dev/shm"):
        gate.stop_unless_ready()


def test_help_imports_nothing_slow():
    script = "import sys, napt_lab.labs.cli.main; print(*sys.modules)"
    imported = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "click" in imported
    assert not {"rich", "mininet", "scapy", "aiohttp", "jinja2", "yaml"} & set(imported)
