"""A NAPT or a server that ends by itself is an error of every run: never a pass, exit status 3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check import check_command
from napt_lab.labs.check.reports import Reports
from napt_lab.labs.check.run import run_all
from napt_lab.labs.conformance import conformance_command, examine
from napt_lab.labs.conformance.requirement import judge
from napt_lab.labs.exercises import session
from napt_lab.labs.exercises.command_line import chosen
from napt_lab.labs.exercises.exercise_cli import ExerciseCLI
from napt_lab.labs.records.rundir import RunDirectory
from napt_lab.labs.running import on_topology, runner
from napt_lab.labs.stage.narration import Narration
from napt_lab.labs.stage.steps import Lab, Part
from napt_lab.topologies.network.build_error import ProgramLost
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load, loads
from tests.waiting import await_death

LOST = "nat_node on napt_a ended with status -9"
network = pytest.mark.network(timeout=60)


def lose(net, node="napt_a"):
    """Somebody else ends a program of the topology."""
    (program,) = net[node].processes
    os.kill(program.pid, signal.SIGKILL)
    program.await_end()


@network
@pytest.mark.parametrize(
    ("node", "said"), [("napt_a", LOST), ("files", "file-server:8080 on files ended with status")]
)
def test_the_network_says_which_program_was_lost(node, said):
    with (
        pytest.raises(ProgramLost, match=said),
        Network(load(TOPOLOGIES / "two-sites.yaml")) as net,
    ):
        lose(net, node)


def lose_unnoticed(net):
    """The nursery, which is told first of a program's end, has no time to tell us."""
    (program,) = net["napt_a"].processes
    nursery = int(Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(nursery, signal.SIGSTOP)
    os.kill(program.pid, signal.SIGKILL)
    await_death(program.pid)
    assert program.running
    threading.Timer(0.5, os.kill, (nursery, signal.SIGCONT)).start()  # far more than the rest


@network
def test_a_program_that_ends_just_before_the_network_is_lost_as_well():
    with (
        pytest.raises(ProgramLost, match=LOST),
        Network(load(TOPOLOGIES / "two-sites.yaml")) as net,
    ):
        lose_unnoticed(net)


@network
def test_a_program_that_was_told_to_end_is_not_lost():
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        for process in net["files"].processes:
            process.kill()
            process.await_end()


@network
def test_with_the_kernels_nat_it_is_told_as_well():
    topology = loads(
        b"internet: {web: 151.101.1.69}\n"
        b"sites: {a: {gateway: {kind: napt, engine: nftables, public: 24.9.3.7,"
        b" private: 10.0.0.1/24}, hosts: {pc: 10.0.0.7}}}\n",
        Path("k.yaml"),
    )
    with pytest.raises(ProgramLost, match=LOST), Network(topology) as net, Wire(net):
        lose(net)


@network
@pytest.mark.parametrize("loses", [True, False])
def test_a_lab(loses, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(RunDirectory.__init__, "__defaults__", (tmp_path,))
    part = Part("one", topology="two-sites.yaml")

    @part.step("A step", say="", proves=["9c.rule"])
    def _(stage):
        with stage.claim("9c.rule", "it holds") as claim:
            claim.require(True, "seen")
        if loses:
            lose(stage.net)

    lab = Lab("x", "A lab", "", (part,))
    status = runner.play(lab, lab.parts, Narration(), None)
    results = json.loads((tmp_path / "x" / "results.json").read_text())
    errors = list(ET.parse(tmp_path / "x" / "junit.xml").iter("error"))
    said = capfd.readouterr().err
    if loses:
        assert (status, results["passed"], len(errors)) == (3, False, 1)
        assert LOST in said
        assert LOST in errors[0].get("message")
    else:
        assert (status, results["passed"], errors, said) == (0, True, [], "")


EXPECTS = """
internet: {files: {address: 198.51.100.10, runs: [file-server]}}
sites:
  a:
    gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {alice: 10.0.0.7}
expect:
  - alice reaches files:8080
"""


@network
@pytest.mark.parametrize("loses", [True, False])
def test_check(loses, tmp_path, monkeypatch, capfd):
    def checks(net, *arguments):
        outcomes = run_all(net, *arguments)
        if loses:
            lose(net)
        return outcomes

    monkeypatch.setattr(check_command, "run_all", checks)
    report = tmp_path / "report.json"
    topology = loads(EXPECTS.encode(), Path("x.yaml"))
    status = on_topology.run_check([topology], Reports(as_json=str(report)))
    (told,) = json.loads(report.read_text())["files"]
    (check,) = told["checks"]
    if loses:
        assert (status, told["passed"], check["verdict"]) == (3, False, "error")
        assert LOST in check["evidence"][-1]
        assert LOST in capfd.readouterr().err
    else:
        assert (status, told["passed"], check["verdict"]) == (0, True, "passed")


@network
def test_shell(monkeypatch, capfd):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(on_topology, "Prompt", lambda _console: SimpleNamespace(explore=lose))
    assert on_topology.run_shell(load(TOPOLOGIES / "two-sites.yaml")) == 3
    assert LOST in capfd.readouterr().err


@network
def test_exercises(monkeypatch, capfd):
    monkeypatch.setattr(ExerciseCLI, "read", lambda cli: lose(cli._attempt.net))
    exercises, _ = chosen("9c", None)
    assert session.run_session(exercises, "door") == 3
    assert LOST in capfd.readouterr().err


def test_conformance(tmp_path, monkeypatch, capfd):
    """Its children make sandboxes of their own."""

    def and_lose(requirement, exam, *rest):
        outcome = judge(requirement, exam, *rest)
        lose(exam.testbed.net, "napt_main")
        return outcome

    monkeypatch.setattr(examine, "judge", and_lose)
    monkeypatch.setattr(RunDirectory.__init__, "__defaults__", (tmp_path,))
    found = conformance_command.setups(conformance_command.candidates(["python"], [], ["rfc"], {}))
    assert conformance_command.run(found, ("3022.TTL",), docs=False) == 3
    results = json.loads((tmp_path / "conformance" / "results.json").read_text())
    assert not results["passed"]
    (row,) = results["candidates"][0]["requirements"]
    assert row["verdict"] == "error"
    assert "nat_node on napt_main ended with status -9" in row["why"]
    assert "nat_node on napt_main ended" in capfd.readouterr().err


# A process that was sent SIGKILL takes a moment to end, and run-in looks when its command ends.
KILLED = "pkill -9 -f '[n]at_node run'; while pgrep -f '[n]at_node run'; do :; done"


def test_run_in():
    done = subprocess.run(
        [sys.executable, "-m", "napt_lab.labs", "run-in", "two-sites", "napt_a", "--",
         "sh", "-c", KILLED],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done
    assert LOST in done.stderr
