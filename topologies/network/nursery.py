"""Starts our own programs by forking a process that has imported them already.

Theory of operation. A Python program takes a processor some 80 ms to begin, nearly all of it for
imports, and a network may have a hundred. So one process, the nursery (nursery_program.py),
imports what they need, while the network is being built. For each program it forks; the child
enters the node's namespaces as mnexec does, and becomes `python -P -m MODULE …` but for the exec.
A program also takes less memory, since what was imported is shared.

    builder -> nursery   a file in memory (a message has too little room) with node, words,
                         environment, folder; and the ends of three pipes: the program's stdout
                         and stderr, and one for its exit status
    builder <- nursery   the program's process number, or an errno

Where many networks are built one after another, the nursery itself is forked (nursery_template.py).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from napt_lab.topologies.network import own_programs
from napt_lab.topologies.network.nursery_template import Template
from napt_lab.topologies.network.own_programs import ROOM, program
from napt_lab.topologies.network.processes import Started

PROGRAM = "napt_lab.topologies.network.nursery_program"
STATUS_BYTES = 8


class Nursery:
    """The process. To be closed when the programs have ended."""

    template: ClassVar[Template | None] = None
    """Where it comes from, if there is one."""

    def __init__(self, modules: Iterable[str], environment: Mapping[str, str]) -> None:
        """Start it. It imports `modules` at once, in the environment that all programs have."""
        self._lock = threading.Lock()
        template = self.template
        fits = template is not None and template.environment == environment
        forked = template.fork(modules) if template is not None and fits else None
        if forked is not None:
            self._channel, self._end = forked.channel, forked.end
            return
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            popen = subprocess.Popen(
                program(PROGRAM, str(theirs.fileno()), *modules, ROOM),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

        def end() -> None:
            popen.kill()
            popen.wait()

        self._end = end

    def start(
        self, node: int, argv: Sequence[str], environment: Mapping[str, str], folder: str
    ) -> Started:
        """Begin a program, as own_programs.program names it, in the namespaces of process `node`.

        Not to be left by Ctrl-C: the next program would get the answer for this one. Raises
        OSError if the machine has no room for it, or the nursery has ended.
        """
        wanted = {"node": node, "argv": argv, "environment": environment, "folder": folder}
        pipes = [os.pipe() for _ in range(3)]
        out, err, end = (ours for ours, _ in pipes)
        theirs = [written for _, written in pipes]
        try:
            with os.fdopen(os.memfd_create("program"), "wb", 0) as words:
                words.write(json.dumps(wanted).encode())
                number = self._ask([words.fileno(), *theirs])
            if number < 0:
                raise OSError(-number, f"{argv[3]}: {os.strerror(-number)}")
        except BaseException:
            for descriptor in (out, err, end):
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        out_file, err_file = os.fdopen(out, "rb", 0), os.fdopen(err, "rb", 0)
        return Started(number, out_file, err_file, end, lambda: _status(end))

    def _ask(self, descriptors: list[int]) -> int:
        """The process number of the program that it has begun, or an errno less than 0."""
        with self._lock:
            socket.send_fds(self._channel, [b"+"], descriptors)
            return int(self._channel.recv(STATUS_BYTES) or -errno.EPIPE)  # it has ended

    def close(self) -> None:
        """End the process."""
        self._channel.close()
        self._end()


@contextlib.contextmanager
def from_template() -> Iterator[None]:
    """Until its end, one template is for all networks of this process and of its forks."""
    if Nursery.template is not None:
        yield
        return
    with contextlib.suppress(OSError):  # the machine is at a limit: the next network will say so
        Nursery.template = Template(own_programs.environment())
    try:
        yield
    finally:
        if Nursery.template is not None:
            Nursery.template.close()
            Nursery.template = None


def _status(descriptor: int) -> int:
    """Wait for a program's exit status; that of a kill if nothing can tell any more."""
    return int(os.read(descriptor, STATUS_BYTES) or b"-9")
