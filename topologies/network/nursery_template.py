"""A process that forks the nurseries of one network after another: each test has its own.

Theory of operation. A nursery (nursery.py) imports what programs need, which takes a processor
80 to 150 ms, and a run of tests may have a thousand networks. So pytest's process starts a
template, which stays outside the sandboxes. When a network is built in one, the template imports
what it has not yet, and forks; the child enters the sandbox's namespaces, and is the network's
nursery.

    builder -> template   the modules, and the limits of a process in the sandbox (JSON); the
                          nursery's end of its channel, and the sandbox's namespaces
    builder <- nursery    its process number in the sandbox, by that channel
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping

from napt_lab.topologies.network.own_programs import ROOM, program

PROGRAM = "napt_lab.topologies.network.nursery_template_program"
# In the order of entering: that of users gives the right, that of mounts takes one's own /proc.
NAMESPACES = ("user", "uts", "ipc", "pid", "net", "mnt")
LIMITS = {n for name, n in vars(resource).items() if name.startswith("RLIMIT_")}
NUMBER_BYTES = 12


class Template:
    """The process, for who has started it, and for forks of that process in sandboxes."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it, in the environment that all programs have."""
        self.environment = dict(environment)
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._popen = subprocess.Popen(
                program(PROGRAM, str(theirs.fileno()), ROOM),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def fork(self, modules: Iterable[str]) -> Forked | None:
        """Have it fork a nursery for the sandbox of this process; None if it cannot."""
        limits = {number: resource.getrlimit(number) for number in LIMITS}
        wanted = json.dumps({"modules": sorted(modules), "limits": limits}).encode()
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        entries = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in NAMESPACES]
        try:
            with theirs:
                socket.send_fds(self._asking, [wanted], [theirs.fileno(), *entries])
            if number := int(channel.recv(NUMBER_BYTES) or 0):
                return Forked(channel, os.pidfd_open(number))
        except OSError:  # it has been killed, or the nursery has
            pass
        finally:
            for each in entries:
                os.close(each)
        channel.close()
        return None

    def close(self) -> None:
        """End it. Nurseries that it has forked go on."""
        self._asking.close()
        self._popen.wait()


class Forked:
    """A nursery that came from the template: its channel, and a descriptor of its process."""

    def __init__(self, channel: socket.socket, pidfd: int) -> None:
        self.channel = channel
        self._pidfd = pidfd

    def end(self) -> None:
        """Kill it, and wait until it has ended."""
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        select.select([self._pidfd], [], [])
        os.close(self._pidfd)
