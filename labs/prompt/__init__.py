"""The prompt on a network's nodes: between two steps of a lab, or for a topology of one's own.

A line is a command of the prompt, or a node's name and what to run there. It is Mininet's own
prompt (topologies/network/mininet_cli.py) with other commands.
"""

from __future__ import annotations

import contextlib

from rich.console import Console

from napt_lab.labs.prompt.background import Background
from napt_lab.labs.prompt.lab_cli import LabCLI
from napt_lab.labs.prompt.why import Why
from napt_lab.topologies.network.builder import Network

IN_STEP = "Enter: next step · ? for help · quit"
AT_END = "That was the last step. Enter: finish · ? for help"
IN_SHELL = "? for help · quit"


class Prompt:
    """Reads commands from the terminal until one of them says how to go on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._why: Why | None = None
        self._background = Background()

    def __call__(self, net: Network, *, last: bool) -> bool:
        """Before a step, or after the `last` one. True to go on, False to stop."""
        if self._why is None or self._why.net is not net:  # the steps in between are seen, too
            self.close()
            self._why = Why(net)
        hint = AT_END if last else IN_STEP
        try:
            return _SteppingCLI(net, self._console, hint, self._why, self._background).read()
        except KeyboardInterrupt:
            if last:
                return True  # there is nothing left to stop
            raise

    def close(self) -> None:
        """Stop looking for what goes wrong on the network."""
        if self._why is not None:
            self._why.close()
            self._why = None

    def explore(self, net: Network) -> None:
        """No lab, only a network to look at."""
        with contextlib.closing(Why(net)) as why:
            LabCLI(net, self._console, IN_SHELL, why).read()


class _SteppingCLI(LabCLI):
    """The prompt between two steps, where Enter goes on."""

    alone = LabCLI.alone | {"next"}

    def emptyline(self) -> bool:
        return self.do_next([])

    def do_next(self, _words: list[str]) -> bool:
        """next: go on with the next step (so does Enter)"""
        self.goes_on = True
        return True
