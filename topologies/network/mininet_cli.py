"""Mininet's own prompt, without the commands that would reach a shell of this machine.

Mininet's CLI is a `cmd.Cmd` that evaluates Python (`py`, `px`), runs shell lines (`sh`), and calls
programs that a lab does not need (`xterm`, `dpctl`). Here only what `KEPT` names is left of it;
whatever else a prompt can do, a class built on this one adds, as methods `do_NAME(words)`.

A command's line is split into words as a shell would (quotes count), and the words stay words: no
variable, pipe or redirection. A line that begins with a node's name is left whole, for a shell on
that node, as in Mininet.
"""

from __future__ import annotations

import shlex
from cmd import Cmd
from collections.abc import Callable
from typing import Any, TextIO

from mininet.cli import CLI
from mininet.log import lg

from napt_lab.topologies.network.builder import Network

KEPT = frozenset({"net", "intfs", "time"})

Command = Callable[[Any], bool | None]


class SafeCLI(CLI):  # type: ignore[misc]  # Mininet has no types
    """Reads lines and calls `do_NAME` with the words after it, until one returns True.

    `rest` is what followed the first word, as it was typed.
    """

    def __init__(self, net: Network, stdout: TextIO) -> None:
        # Not CLI's own, which begins to read at once and has one history for all of Mininet.
        Cmd.__init__(self, stdout=stdout)
        self.mn = net.mininet
        self.rest = ""
        lg.ch.setStream(stdout)  # where Mininet's own commands write

    def commands(self) -> list[str]:
        """The names of what can be typed, sorted."""
        names = (name[3:] for name in self.get_names() if name.startswith("do_"))
        return sorted({name for name in names if name.islower() and self._command(name)})

    def onecmd(self, line: str) -> bool:
        """Do what a line says. True ends the prompt."""
        if line == "EOF":  # what cmdloop makes of Ctrl-D
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
        except ValueError as error:  # a quote without its end
            self.refuse(f"{error}: nothing was done")
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
        """The first word of a line is no command."""
        raise NotImplementedError

    def end_of_input(self) -> bool:
        """Ctrl-D was typed."""
        raise NotImplementedError

    def why_not(self, name: str, words: list[str]) -> str | None:
        """Why a command cannot be done with these words; None if it may try."""
        raise NotImplementedError

    def refuse(self, why: str) -> None:
        """A line that cannot be understood."""
        raise NotImplementedError

    def _command(self, name: str) -> Command | None:
        method = getattr(type(self), f"do_{name}", None)
        if method is None or (method is getattr(CLI, f"do_{name}", None) and name not in KEPT):
            return None
        command: Command = getattr(self, f"do_{name}")
        return command
