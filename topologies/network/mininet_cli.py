"""Mininet's prompt, without the commands that run anything outside of the nodes.

Mininet's CLI is a `cmd.Cmd` that evaluates Python (`py`, `px`), runs shell lines (`sh`), and calls
programs that a lab does not need (`xterm`, `dpctl`). Here only the commands in `KEPT` are left; a
subclass adds its own commands as methods `do_NAME(words)`.

The line of a command is split into words as in a shell, with quotes, but without variables, pipes
and redirections. A line that begins with a node's name goes unchanged to a shell on that node, as
in Mininet.
"""

from __future__ import annotations

import shlex
from cmd import Cmd
from collections.abc import Callable
from typing import Any, TextIO

from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.mininet_import import CLI, lg

KEPT = frozenset({"net", "intfs", "time"})

Command = Callable[[Any], bool | None]


class SafeCLI(CLI):  # type: ignore[misc]  # Mininet has no types
    """Reads lines and calls `do_NAME` with the other words, until a call returns True.

    `rest` is the text after the first word, as it was typed.
    """

    def __init__(self, net: Network, stdout: TextIO) -> None:
        # CLI.__init__ would begin to read at once, and use one history for all of Mininet.
        Cmd.__init__(self, stdout=stdout)
        self.mn = net.mininet
        self.rest = ""
        lg.ch.setStream(stdout)  # Mininet's own commands write there

    def commands(self) -> list[str]:
        """The names of all commands, sorted."""
        names = (name[3:] for name in self.get_names() if name.startswith("do_"))
        return sorted({name for name in names if name.islower() and self._command(name)})

    def onecmd(self, line: str) -> bool:
        """Run one line. True ends the prompt."""
        if line == "EOF":  # cmdloop passes this for Ctrl-D
            return bool(self.end_of_input())
        if line.lstrip().startswith("#"):
            return False
        if not line.strip():
            return bool(self.emptyline())
        name, self.rest = (*line.strip().split(maxsplit=1), "")[:2]
        command = self._command(name)
        if command is None:
            return bool(self.default(name))
        try:
            words = shlex.split(self.rest)
        except ValueError as error:  # a quote that is not closed
            self.refuse(f"{error}; the command was not run")
            return False
        why = self.why_not(name, words)
        if why is not None:
            self.refuse(why)
            return False
        return bool(command(words))

    def do_time(self, words: list[str]) -> bool:
        """time COMMAND: how long a command takes"""
        return bool(super().do_time(self.rest)) if words else False

    def default(self, name: str) -> bool | None:
        """Handle a line whose first word is not a command."""
        raise NotImplementedError

    def end_of_input(self) -> bool:
        """Handle Ctrl-D."""
        raise NotImplementedError

    def why_not(self, name: str, words: list[str]) -> str | None:
        """The reason why a command cannot run with these words; None if it can."""
        raise NotImplementedError

    def refuse(self, why: str) -> None:
        """Tell why a line is not run."""
        raise NotImplementedError

    def _command(self, name: str) -> Command | None:
        method = getattr(type(self), f"do_{name}", None)
        if method is None or (method is getattr(CLI, f"do_{name}", None) and name not in KEPT):
            return None
        command: Command = getattr(self, f"do_{name}")
        return command
