"""What the command line calls, inside the sandbox: run a lab, or give a prompt on a topology."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from labs.drawing import draw
from labs.engine import Lab, Part
from labs.narration import Narration
from labs.play import Pause, Play
from labs.prompt import Prompt
from labs.registry import LABS
from labs.report.story import Story
from labs.results import Results
from labs.rundir import RunDirectory
from labs.stream import Stream
from topologies.builder import Network
from topologies.loader import load
from topologies.model import Topology
from topologies.processes import DeadlinePassed, ProgramEnded

PASSED, FAILED, WRONG_USAGE, CANNOT_RUN = 0, 1, 2, 3


def run_lab(lab_id: str, *, step: bool, part: str | None) -> int:
    """Run a lab with narration. Returns the exit status; what it produced is in runs/."""
    lab = LABS[lab_id].lab()
    parts = [p for p in lab.parts if part is None or p.name == part]
    if not parts:
        names = ", ".join(p.name for p in lab.parts)
        return _refuse(f"lab {lab_id} has no part {part!r}; there are: {names}")
    if step and not sys.stdin.isatty():
        return _refuse("step by step needs a terminal to type at; run it without STEP")
    narration = Narration()
    pause = Prompt(narration.console) if step else None
    return play(lab, parts, narration, pause)


def play(lab: Lab, parts: Sequence[Part], narration: Narration, pause: Pause | None) -> int:
    """Play some parts of a lab and write everything down, however it ends."""
    try:
        directory = RunDirectory(lab.id)
    except OSError as error:
        print(f"napt-lab: cannot write the results: {error}", file=sys.stderr)
        return CANNOT_RUN
    stream = Stream()
    results, story = Results(directory.path), Story()
    stream.listen(results)
    stream.listen(story)
    stream.listen(narration)
    try:
        passed = Play(lab, parts, stream, directory.path, pause).run()
    finally:
        stream.silence()
        narration.rest()
        results.write()
        try:
            _write_report(story, directory.path, narration)
        finally:
            place = os.path.relpath(directory.publish())
        narration.console.print(f"Everything that was seen is in {place}/.", style="dim")
    return PASSED if passed else FAILED


def _write_report(story: Story, folder: Path, narration: Narration) -> None:
    """The verdict stands and the results are written: a page that fails costs only the page."""
    try:
        from labs.report.page import write_report  # it takes its time, which nobody waits for now

        write_report(story, folder)
    except Exception as error:
        narration.console.print(f"There is no report.html: {type(error).__name__}: {error}")


def run_shell(path: Path) -> int:
    """Build a topology and give a prompt on it."""
    if not sys.stdin.isatty():
        return _refuse("a prompt needs a terminal to type at")
    console = Narration().console
    topology = load(path)
    for line in draw(topology):
        console.print(line, markup=False, no_wrap=True, overflow="ignore", crop=False)
    try:
        _prompt_on(topology, Prompt(console))
    except (ProgramEnded, DeadlinePassed) as error:
        print(f"napt-lab: {error}", file=sys.stderr)
        return FAILED
    return PASSED


def _prompt_on(topology: Topology, prompt: Prompt) -> None:
    with Network(topology) as net:
        while prompt(net):
            pass


def _refuse(why: str) -> int:
    print(f"napt-lab: {why}", file=sys.stderr)
    return WRONG_USAGE
