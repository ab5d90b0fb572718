"""The prompt as labs and `shell` use it: it reads commands until one says how to go on."""

from __future__ import annotations

import contextlib

from rich.console import Console

from napt_lab.labs.prompt.background import Background
from napt_lab.labs.prompt.lab_cli import LabCLI
from napt_lab.labs.prompt.stepping_cli import SteppingCLI
from napt_lab.labs.prompt.why import Why
from napt_lab.labs.stage.pause import Go, Here
from napt_lab.topologies.network.builder import Network

IN_SHELL = "? for help · quit"


class Prompt:
    """Reads commands from the terminal until one of them says how to go on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._why: Why | None = None
        self._background = Background()
        self._cli: LabCLI | None = None  # that reads now

    def __call__(self, net: Network, here: Here) -> Go | None:
        """Before a step, or after the last one: where to go on, None to stop."""
        if self._why is None or self._why.net is not net:  # the steps in between are seen, too
            self.close()
            self._why = Why(net)
        self._cli = cli = SteppingCLI(net, self._console, here, self._why, self._background)
        try:
            return cli.go if cli.read() else None
        except KeyboardInterrupt:
            if here.is_last:
                return here.on  # there is nothing left to stop
            raise
        finally:
            self._cli = None

    def close(self) -> None:
        """Stop looking for what goes wrong on the network."""
        if self._why is not None:
            self._why.close()
            self._why = None

    def explore(self, net: Network) -> None:
        """No lab, only a network to look at."""
        with contextlib.closing(Why(net)) as self._why:
            self._cli = LabCLI(net, self._console, IN_SHELL, self._why)
            self._cli.read()
            self._cli = None

    # ── for a page that shows the same network; called in another thread ─────────────────

    def look(self, line: str) -> str:
        """What a command of LOOKS shows; nothing between two prompts."""
        return self._cli.look(line) if self._cli is not None else ""

    def begins(self, line: str) -> None:
        """A line was typed on the page, and shown: `why` tells of that."""
        if self._why is not None:
            self._why.begins(line, told=True)

    def ended(self, status: int) -> None:
        """That line has ended with this exit status."""
        if self._why is not None:
            self._why.ended(status)

    def again(self) -> None:
        """Show the line that is typed at the terminal below what a lab told meanwhile."""
        if isinstance(self._cli, SteppingCLI):  # without a lab nothing is told there
            self._cli.prompt_again()
