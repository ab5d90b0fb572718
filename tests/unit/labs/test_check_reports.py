"""What `check` tells other programs: JSON, JUnit, GitHub's annotations."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from napt_lab.labs.check.github import Annotations
from napt_lab.labs.check.outcome import Outcome
from napt_lab.labs.check.reports import Checked, Reports
from napt_lab.labs.check.run import STOPPED
from napt_lab.labs.check.telling import Telling
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.spec.loader import loads

YAML = """
title: A home
internet: {stackoverflow: 151.101.1.69, files: 198.51.100.10}
expect:
  - stackoverflow reaches files
  - {check: "files reaches stackoverflow:80", points: 3}
  - {check: files reaches stackoverflow, message: "look, 100%"}
"""
VERDICTS = Verdict.PASSED, Verdict.FAILED, Verdict.ERROR
EVIL = "\x1b[31mred\x00 ]]> <&\n::error::gotcha"


@pytest.fixture
def checked():
    topology = loads(YAML.encode(), Path("home.yaml"))
    verdicts = zip(topology.expect, VERDICTS, ("fine", "first\nbecause", EVIL), strict=True)
    outcomes = [
        Outcome(e, verdict, tuple(said.split("\n", 1)), 0.5) for e, verdict, said in verdicts
    ]
    return Checked(topology, outcomes, 1.25)


@pytest.fixture
def written(tmp_path):
    """What is in the reports of these."""

    def write(checked):
        junit, as_json = tmp_path / "junit.xml", tmp_path / "report.json"
        Reports(str(junit), str(as_json)).write(checked)
        return ET.parse(junit).getroot(), json.loads(as_json.read_text(encoding="utf-8"))

    return write


def test_json_has_every_check(checked, written):
    _, whole = written([checked])
    (file,) = whole["files"]
    assert (whole["passed"], file["passed"], file["file"]) == (False, False, "home.yaml")
    assert (file["points"], file["of_points"]) == (1, 5)
    assert [check["verdict"] for check in file["checks"]] == ["passed", "failed", "error"]
    assert file["checks"][1] == {
        "line": 6,
        "check": "files reaches stackoverflow:80",
        "verdict": "failed",
        "evidence": ["first", "because"],
        "message": "",
        "points": 3,
        "seconds": 0.5,
    }


def test_junit_tells_failures_from_errors(checked, written):
    suites, _ = written([checked])
    (suite,) = suites
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors")}
    assert counts == {"tests": "3", "failures": "1", "errors": "1"}
    good, bad, unknown = suite
    assert good.find("failure") is None
    assert good.find("error") is None
    assert (bad.get("file"), bad.get("line")) == ("home.yaml", "6")
    assert bad.find("failure").get("message") == "because"
    assert unknown.find("error").get("message") == "look, 100%"
    assert "gotcha" in unknown.find("error").text


def test_all_that_passed_passed(checked, written):
    checked.outcomes = checked.outcomes[:1]
    suites, whole = written([checked])
    assert whole["passed"]
    assert suites[0].get("failures") == suites[0].get("errors") == "0"


def test_annotations_name_file_and_line(checked, tmp_path, capsys):
    topologies = tmp_path / "a, b:c"
    annotations = Annotations({"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(tmp_path)})
    for outcome in checked.outcomes:
        annotations.outcome(topologies / "home.yaml", outcome)
    annotations.problem(topologies / "home.yaml", f"{topologies / 'home.yaml'}:3: sites: wrong; 5%")
    where = "::error file=a%2C b%3Ac/home.yaml,line="
    assert capsys.readouterr().out.splitlines() == [
        f"{where}6,title=does not hold::files reaches stackoverflow:80%0Abecause",
        f"{where}7,title=was not checked::files reaches stackoverflow%0A::error::gotcha"
        "%0Alook, 100%25",
        f"{where}3,title=wrong topology::sites: wrong; 5%25",
    ]


def test_what_people_read_is_no_command(capsys):
    with Annotations({"GITHUB_ACTIONS": "true"}).silenced():
        print("::error::gotcha")
    first, said, _, last = capsys.readouterr().out.split("\n")[:4]
    assert first.startswith("::stop-commands::")
    word = first.removeprefix("::stop-commands::")
    assert (said, last) == ("::error::gotcha", f"::{word}::")
    assert len(word) >= 32


def test_into_a_pipe_no_line_of_evidence_is_broken(checked, capsys):
    telling = Telling(on_stderr=False)
    telling.begin(checked.topology)
    outcome = checked.outcomes[0]
    telling(replace(outcome, evidence=("seen " * 40 + "to the end",)))
    assert f"    {'seen ' * 40}to the end\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("known", "told"), [(2, "1 holds, 1 does not hold, 1 not checked"), (0, "3 not checked")]
)
def test_a_check_that_is_stopped_says_how_much_is_known(checked, capsys, known, told):
    checked.outcomes = checked.outcomes[:known]
    if known:
        checked.outcomes += [
            replace(checked.outcomes[0], verdict=Verdict.ERROR, evidence=(STOPPED,))
        ]
    Telling(on_stderr=False).stop([checked])
    assert capsys.readouterr().out == f"You stopped the check: {told}.\n"


def test_elsewhere_there_are_no_annotations(checked, capsys):
    annotations = Annotations({})
    with annotations.silenced():
        annotations.outcome(Path("home.yaml"), checked.outcomes[1])
    annotations.problem(Path("home.yaml"), "home.yaml:1: wrong")
    assert capsys.readouterr().out == ""
