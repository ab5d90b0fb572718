"""`help` at the prompts: it names every command, and breaks lines between words."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from napt_lab.labs.exercises.exercise_cli import ExerciseCLI
from napt_lab.labs.prompt.lab_cli import LabCLI
from napt_lab.labs.prompt.stepping_cli import SteppingCLI
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load


class NoNodes(list[Any]):
    mininet = None
    topology = load(TOPOLOGIES / "two-sites.yaml")
    nodes = ("alice", "bob")


def helped(examples: Any, **console: Any) -> list[str]:
    out = io.StringIO()
    nothing: Any = SimpleNamespace()
    net: Any = NoNodes()
    cli = LabCLI(net, Console(file=out, color_system=None, **console), "? for help", nothing)
    cli.examples = examples
    cli.do_help([])
    return out.getvalue().splitlines()


@pytest.mark.parametrize("cli", [LabCLI, SteppingCLI, ExerciseCLI])
def test_help_names_every_command(cli):
    text = "\n".join(helped(cli.examples, width=80))
    commands = {name[3:] for name in dir(cli) if re.fullmatch("do_[a-z_]+", name)}
    ours = {name for name in commands if cli.__dict__.get(f"do_{name}")}
    assert {name for name in ours if not re.search(rf"\b{name}\b", text)} <= {"help"}
    for line in ("why all", "why napt_a", "quit", "rule add napt_a tcp 8080 10.0.0.7:8080"):
        assert re.search(rf"^  {line}(  |$)", text, re.MULTILINE), line


@pytest.mark.parametrize("width", [60, 80, 100])
def test_help_breaks_lines_between_words(width):
    shown = helped(SteppingCLI.examples, width=width, force_terminal=True)
    assert max(map(len, shown)) <= width
    whole = helped(SteppingCLI.examples, width=width)
    assert " ".join(shown).split() == " ".join(whole).split()
