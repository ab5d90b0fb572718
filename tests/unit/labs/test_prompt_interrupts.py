"""What Ctrl-C does at the prompts, typed by nobody: no network is asked for anything here."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from napt_lab.labs.exercises import session
from napt_lab.labs.exercises.exercise import series
from napt_lab.labs.exercises.exercise_cli import Leave
from napt_lab.labs.prompt import at_terminal, prompt
from napt_lab.labs.prompt.background import Background
from napt_lab.labs.prompt.lab_cli import LabCLI
from napt_lab.labs.prompt.stepping_cli import SteppingCLI
from napt_lab.labs.stage.pause import Go, Here
from napt_lab.labs.stage.prediction import NotAnAnswer
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load


class NoNodes(list[Any]):
    mininet = None
    topology = load(TOPOLOGIES / "two-sites.yaml")
    nodes = ()


def no_nodes() -> Any:
    return NoNodes()


def predict(typed):
    raise NotAnAnswer(f"{typed} is not an answer")


HERE = Here(2, 3, "a letter, a to c", predict)


@pytest.fixture
def ctrl_c(monkeypatch):
    """Somebody types some lines; one that ends in ^C is broken off there. Returns the prompt."""

    def type_at(cli, *lines):
        waiting = deque(lines)

        def read(_prompt):
            if not waiting:
                raise EOFError
            line = waiting.popleft()
            monkeypatch.setattr("readline.get_line_buffer", lambda: line.removesuffix("^C"))
            if line.endswith("^C"):
                raise KeyboardInterrupt
            monkeypatch.setattr("readline.get_line_buffer", str)
            return line

        def interrupted_command(_net):
            raise KeyboardInterrupt

        monkeypatch.setattr("builtins.input", read)
        monkeypatch.setattr("napt_lab.labs.prompt.lab_cli.pingall", interrupted_command)
        out = io.StringIO()
        nothing: Any = SimpleNamespace()
        console = Console(file=out, width=80)
        if cli is SteppingCLI:
            at = cli(no_nodes(), console, HERE, nothing, Background())
        else:
            at = cli(no_nodes(), console, "hint", nothing)
        try:
            return at.read(), out.getvalue()
        except KeyboardInterrupt:
            return "ended", out.getvalue()

    return type_at


@pytest.mark.parametrize("line", ["^C", "bob curl^C", "pingall"])
def test_a_line_or_a_command_is_broken_off_and_the_lab_goes_on(ctrl_c, line):
    ended, shown = ctrl_c(SteppingCLI, line, "next")
    assert ended is True
    assert "Ctrl-D or quit leaves" in shown


def test_where_there_is_no_lab_to_end_it_drops_the_line(ctrl_c):
    ended, shown = ctrl_c(LabCLI, "^C", "quit")
    assert ended is False
    assert shown.count("Ctrl-D or quit leaves") == 1


@pytest.mark.parametrize(
    ("line", "go", "said"),
    [
        ("", Go(2), ""),
        ("next", Go(2), ""),
        ("back", Go(1, at_once=False), ""),
        ("repeat", Go(1), ""),
        ("goto 3", Go(3, at_once=False), ""),
        ("goto 9", None, "There is no step 9; there are 1 to 3."),
        ("goto x", None, "Type the number of a step after it, 1 to 3, as in: goto 4"),
        ("b", None, "b is not an answer"),
        ("7", None, "7 is not an answer"),
        ("-1", None, "-1 is not an answer"),
        ("line", None, "line is neither a command (? shows them) nor a node"),
        ("maybe", None, "maybe is neither a command (? shows them) nor a node"),
        ("about three", None, "The step's question wants a letter, a to c."),
    ],
)
def test_where_to_go_on(line, go, said):
    out, nothing = io.StringIO(), SimpleNamespace()
    cli = SteppingCLI(
        no_nodes(), Console(file=out, width=80), HERE, cast(Any, nothing), Background()
    )
    assert cli.onecmd(line) is (go is not None)
    assert cli.go == (go or HERE.on)
    assert said in out.getvalue()


def test_after_the_last_step_there_is_nothing_left_to_stop(ctrl_c, monkeypatch):
    def interrupted(_self):
        raise KeyboardInterrupt

    monkeypatch.setattr(SteppingCLI, "read", interrupted)
    monkeypatch.setattr(prompt, "Why", lambda net: SimpleNamespace(net=net))
    pause, net = prompt.Prompt(Console(file=io.StringIO())), no_nodes()
    with pytest.raises(KeyboardInterrupt):
        pause(net, HERE)
    try:
        assert pause(net, replace(HERE, step=4)) == Go(4)
    except KeyboardInterrupt:  # which would end all tests
        pytest.fail("a run that is whole was stopped")


def test_a_command_that_takes_long_is_said_to_end_with_ctrl_c():
    said = []
    quick, slow = subprocess.Popen(["true"]), subprocess.Popen(["sleep", "0.3"])
    assert at_terminal.wait(quick, 30, lambda: said.append("quick")) == 0
    assert at_terminal.wait(slow, 0.05, lambda: said.append("slow")) == 0
    assert said == ["slow"]
    out = io.StringIO()
    nothing: Any = SimpleNamespace()
    LabCLI(no_nodes(), Console(file=out), "hint", nothing)._tell_how_to_end()
    assert "Ctrl-C ends it" in out.getvalue()


@pytest.mark.parametrize(
    "line", ["quit now", "exit 1", "draw x", "pingall &", "rules napt_a | head -1", "why > page"]
)
def test_words_that_mean_nothing_to_a_command_are_refused(ctrl_c, line):
    shown = " ".join(ctrl_c(LabCLI, line, "quit")[1].split())
    pipes = f"{line.split()[0]} takes no | > &. They work in a command on a node"
    alone = f"{line.split()[0]} takes no words after it: nothing was done"
    assert (pipes if set(line) & set("|&>") else alone) in shown
    assert shown.count("hint") == 1
    assert ctrl_c(SteppingCLI, "next extra", "next")[1].count("takes no words") == 1


def test_ctrl_c_while_a_network_is_built_anew_leads_to_the_prompt(monkeypatch):
    leaving = deque([Leave.SOLVE, Leave.RESET, Leave.QUIT])
    did: list[object] = []

    class Prompt:
        hints = 0

        def __init__(self, *_):
            self.leaving = leaving.popleft()

        def say(self, _text):
            pass

        def perform(self, lines):
            did.append(len(lines))

        def interrupted(self):
            did.append("told")

        def read(self):
            did.append("prompt")

    @contextlib.contextmanager
    def network(_topology):
        if len(leaving) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        yield None, None
        did.append("gone")

    monkeypatch.setattr(session, "fresh_network", network)
    monkeypatch.setattr(session, "Why", lambda _net: io.StringIO())
    monkeypatch.setattr(session, "Attempt", lambda *_: None)
    monkeypatch.setattr(session, "ExerciseCLI", Prompt)
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert session.run_session(series("9c"), "door") == 0
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    except KeyboardInterrupt:
        pytest.fail("it threw the student out")
    finally:
        signal.signal(signal.SIGINT, usual)
    first, built_meanwhile, third = [0, "prompt", "gone"], [0, "told", "prompt", "gone"], [0]
    assert did == [*first, *built_meanwhile, *third, "prompt", "gone"]
