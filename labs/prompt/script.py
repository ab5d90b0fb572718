"""The prompt without a terminal: lines from a script, for CI systems and other languages.

    napt-lab shell two-sites < script

The lines are those of the prompt: `alice curl …`, `alice ./server &`, `rule add …`, `event …`. What
a command on a node prints is labeled with the node's name. The first line that fails ends the
script, and its exit status is the script's: that of the command, or 2 for a line that the prompt
refuses.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console

from napt_lab.labs.prompt.at_terminal import in_shell
from napt_lab.labs.prompt.background import without_ampersand
from napt_lab.labs.prompt.lab_cli import LabCLI
from napt_lab.labs.prompt.labeled import labeled
from napt_lab.labs.prompt.why import Why
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.processes import Process

LINE_SECONDS = 3600.0  # in which a line must end
REFUSED = 2


class ScriptCLI(LabCLI):
    """Runs lines until one fails; `status` is then its exit status."""

    def __init__(self, net: Network, console: Console, why: Why) -> None:
        super().__init__(net, console, "", why)
        self.status = 0
        self._behind: list[Process] = []  # started with & in an earlier line

    def run(self, lines: Iterable[str]) -> int:
        """The exit status of the first line that failed; 0 if none did."""
        try:
            for number, line in enumerate(lines, start=1):
                if self.onecmd(line.rstrip("\n")) or self.status:
                    if self.status:
                        words = f"line {number} failed with status {self.status}: {line.strip()}"
                        print(words, file=sys.stderr, flush=True)
                    break
        finally:
            for process in self._behind:
                process.kill()
            for process in self._behind:
                process.await_end()
        return self.status

    def say(self, text: str) -> None:
        """The prompt refuses a line: whatever it says is why."""
        print(text, file=sys.stderr, flush=True)
        self.status = self.status or REFUSED

    def under_new_name(self, line: str) -> str:
        """Take the line as it is: a script has no reader for a hint."""
        return line

    def run_line(self, node: Node, line: str) -> None:
        """Run a line in a shell on a node, to its end or in the background."""
        program = without_ampersand(line)
        process = node.start(in_shell(program or line), tell=labeled(node.name))
        if program is not None:
            self._behind.append(process)
            return
        status = process.wait(LINE_SECONDS).status
        self.status = status if status >= 0 else 128 - status
