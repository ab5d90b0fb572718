"""A node of a running network, as labs see it: run commands there, start programs.

Theory of operation. The node is a set of namespaces, held by some process. `mnexec -a PID`
enters them and becomes the command, whose words are passed as they are: no shell.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import threading
from collections.abc import Container, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from napt_lab.topologies.network import own_programs
from napt_lab.topologies.network.interrupt_waits import interrupt_waits
from napt_lab.topologies.network.napt_control import NaptControl
from napt_lab.topologies.network.nursery import Nursery
from napt_lab.topologies.network.plan import Port
from napt_lab.topologies.network.processes import (
    Command,
    Completed,
    EventLog,
    NodeProgram,
    Process,
    Started,
    Tell,
    start,
)
from napt_lab.topologies.sandbox import sandbox
from napt_lab.topologies.sandbox.limits import Watch
from napt_lab.topologies.spec.checkout import IN_CHECKOUT

P = TypeVar("P", bound=Process)
MOST_TOLD = 5  # programs that have failed
LIST_LINKS = ("ip", "-json", "link", "show")


class Node:
    """A node of the running network: run commands on it, start programs, look at its NAPT."""

    def __init__(
        self,
        name: str,
        ports: tuple[Port, ...],
        pid: int,
        log: EventLog,
        limits: Watch,
        nursery: Nursery | None = None,
    ) -> None:
        """`pid` is a process in the node's namespaces; `nursery` starts programs of ours."""
        self.name = name
        self.ports = ports
        self.pid = pid
        self.home = sandbox.RUN_DIRECTORY / name
        self.napt: NaptControl | None = None
        self._log = log
        self._limits = limits
        self._nursery = nursery
        self._processes: list[Process] = []
        self._lock = threading.Lock()

    @property
    def address(self) -> IPv4Address:
        """The node's first address."""
        return self.ports[0].address.ip

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The names of the node's interfaces."""
        return tuple(port.interface for port in self.ports)

    @property
    def entry(self) -> list[str]:
        """The words before a command that run it on this node."""
        return ["mnexec", "-a", str(self.pid)]

    @property
    def environment(self) -> dict[str, str]:
        """What commands on this node see: of the user's own settings, Python's path alone."""
        ours = own_programs.environment()
        if self.napt is not None:
            ours["NAPT_CONTROL"] = str(self.napt.path)
        return ours | {
            "PATH": f"{own_programs.FOLDER}:{_user_path()}:/usr/local/sbin:/usr/sbin:/sbin:"
            "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "CURL_HOME": str(own_programs.FOLDER),
            "TERM": os.environ.get("TERM", "dumb"),
            "PS1": f"{self.name}$ ",
        }

    def start(
        self,
        argv: Sequence[str],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        name: str = "",
        ready: str | None = None,
        tell: Tell | None = None,
    ) -> Command:
        """Start a command on the node, in a folder: without one, in the node's own.

        `name` in messages; `ready` and `tell`: see Command. Raises TypeError or ValueError for
        what is not a list of words, FileNotFoundError or PermissionError if there is no such
        program.
        """
        self._check_words(argv)
        argv = own_programs.renamed(argv) or argv
        folder = folder or self.home
        usual = environment is None  # else Python may be told what the nursery was not
        environment = self.environment if environment is None else environment
        self._check_program(argv[0], folder, environment.get("PATH", os.defpath))
        with interrupt_waits(), self._limits.calls():
            begin = self._begin if usual else self._begin_by_exec
            started = begin(argv, environment, str(folder))
            return self._keep(Command(self.name, argv, started, name=name, ready=ready, tell=tell))

    def run(self, argv: Sequence[str], *, timeout: float = 30.0) -> Completed:
        """Run a command on the node to its end; DeadlinePassed after `timeout` seconds."""
        if not isinstance(timeout, int | float):
            raise TypeError(f"{self.name}: timeout={timeout!r} is not a number of seconds")
        return self.start(argv).wait(timeout)

    def start_program(self, argv: Sequence[str], *, name: str) -> NodeProgram:
        """Start a node program (JSON lines on stdout), named `name` in the event log."""
        argv = own_programs.renamed(argv) or argv
        with interrupt_waits(), self._limits.calls():
            started = self._begin(argv, self.environment, str(self.home))
            return self._keep(NodeProgram(self.name, argv, started, name=name, log=self._log))

    def _check_words(self, argv: object) -> None:
        if isinstance(argv, str):
            raise TypeError(
                f"{self.name}: a command is a list of words: {argv.split()!r} instead of {argv!r}"
            )
        if not isinstance(argv, Sequence) or isinstance(argv, bytes):
            raise TypeError(f"{self.name}: a command is a list of words, not {argv!r}")
        if not argv:
            raise ValueError(f"{self.name}: a command is a list of words; this list is empty")
        for word in argv:
            if not isinstance(word, str):
                raise TypeError(
                    f"{self.name}: {word!r} in {argv!r} is not a text; write {str(word)!r}"
                )

    def _begin(self, argv: Sequence[str], environment: Mapping[str, str], folder: str) -> Started:
        """Start a program: one of our own, also under its short name, from the nursery."""
        words = own_programs.words_of(argv)
        if self._nursery is None or words is None:
            return self._begin_by_exec(argv, environment, folder)
        return self._nursery.start(self.pid, words, environment, folder)

    def _begin_by_exec(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: str
    ) -> Started:
        return start([*self.entry, *argv], environment, folder)

    def _check_program(self, word: str, folder: Path, path: str) -> None:
        """mnexec would say that there is no such program by status 1, as programs say no."""
        place = str(folder / word) if "/" in word else word
        if shutil.which(place, path=path) is None:
            known = errno.EACCES if Path(place).exists() else errno.ENOENT
            told = os.strerror(known).lower()
            where = "" if "/" in word else f" (PATH on the node: {path})"
            raise OSError(known, f"{self.name} cannot run {word!r}: {told}{where}")

    def _keep(self, process: P) -> P:
        with self._lock:
            self._processes = [p for p in self._processes if p.running or p.has_fallen]
            self._processes.append(process)
        return process

    @property
    def fallen(self) -> list[Process]:
        """What was started here and has failed by itself, the last ones."""
        with self._lock:
            return [process for process in self._processes if process.has_fallen][-MOST_TOLD:]

    @property
    def processes(self) -> list[Process]:
        """What was started here and still runs."""
        with self._lock:
            return [process for process in self._processes if process.running]


def without_link(listed: str, interfaces: Container[str]) -> list[dict[str, Any]]:
    """Those of a node's interfaces that LIST_LINKS lists as down, or as unplugged."""
    return [
        link
        for link in json.loads(listed)
        if link["ifname"] in interfaces
        and ("UP" not in link["flags"] or "NO-CARRIER" in link["flags"])
    ]


def _user_path() -> str:
    """Where the user's own programs are: in a checkout, whose user runs `make`, its Python's."""
    own = str(Path(sys.executable).parent)
    return own if IN_CHECKOUT else f"{os.environ.get('PATH', os.defpath)}:{own}"
