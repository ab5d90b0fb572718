"""What is done on a topology, inside the sandbox: a prompt, one program, several, or a check."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.check_command import check_topologies
from napt_lab.labs.check.reports import CannotReport, Reports
from napt_lab.labs.prompt.prompt import Prompt
from napt_lab.labs.prompt.script import ScriptCLI
from napt_lab.labs.prompt.why import Why
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.running.open_page import open_page
from napt_lab.labs.running.run_in import run_in
from napt_lab.labs.running.run_together import run_together
from napt_lab.labs.running.wanted_programs import Wanted
from napt_lab.labs.stage.drawing import draw
from napt_lab.labs.stage.narration import Narration
from napt_lab.labs.verdict.exit_status import PASSED, WRONG_USAGE
from napt_lab.labs.verdict.run_errors import NETWORK_ERRORS, tell_network_error, tell_unwritten
from napt_lab.labs.view.door import Door
from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.model import Topology


def run_shell(topology: Topology, door: Door | None = None) -> int:
    """Build a topology and give a prompt on it, or run the script on standard input.

    `door`: where a browser sees it.
    """
    if not sys.stdin.isatty():
        lines = sys.stdin.readlines()
        if not lines:
            why = "a prompt needs a terminal to type at, or a script on standard input"
            print(f"napt-lab: {why}", file=sys.stderr)
            return WRONG_USAGE
        return _on_network(lambda: _script_on(topology, lines))
    console = Narration().console
    for line in draw(topology):
        console.print(line, markup=False, no_wrap=True, overflow="ignore", crop=False)
    return _on_network(lambda: _prompt_on(topology, Prompt(console), console, door))


def _prompt_on(topology: Topology, prompt: Prompt, console: Console, door: Door | None) -> int:
    with contextlib.ExitStack() as stack:
        stream = Stream()
        live = open_page(door, topology.title, stream, console, prompt)
        net = stack.enter_context(Network(topology))
        if live is not None:
            stack.callback(live.close)
            stack.callback(live.end, "The prompt has ended, and with it the network.")
            wire = stack.enter_context(Wire(net))
            stack.enter_context(live.shows(net, wire))
        prompt.explore(net)
    return PASSED


def _script_on(topology: Topology, lines: Sequence[str]) -> int:
    console = Console(highlight=False)
    with Network(topology) as net, contextlib.closing(Why(net)) as why:
        return ScriptCLI(net, console, why).run(lines)


def run_command(topology: Topology, node: str, command: Sequence[str], capture: Path | None) -> int:
    """Run one command on one node of a topology; its exit status."""
    return _on_network(lambda: run_in(topology, node, command, capture))


def run_programs(topology: Topology, wanted: Sequence[Wanted], capture: Path | None) -> int:
    """Run programs on several nodes of a topology; the exit status."""
    return _on_network(lambda: run_together(topology, wanted, capture))


def _on_network(use: Callable[[], int]) -> int:
    """Build a network and use it; the exit status, also where it could not be built."""
    try:
        return use()
    except NETWORK_ERRORS as error:
        return tell_network_error(error)


def run_check(topologies: Sequence[Topology], reports: Reports) -> int:
    """Build topologies and test what they expect. Returns the exit status."""
    try:
        return check_topologies(topologies, reports)
    except BuildError as error:
        return tell_network_error(error)
    except CannotReport as error:
        return tell_unwritten(error.error, "the report")
