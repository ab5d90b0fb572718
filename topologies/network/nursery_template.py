"""A process that forks the nurseries of one network after another: each test has its own.

Theory of operation. A nursery (nursery.py) imports what programs need, which takes a processor
80 to 150 ms, and a run of tests may have a thousand networks. So pytest's process starts a
template, which stays outside the sandboxes. When a network is built in one, the template imports
what it has not yet, and forks; the child enters the sandbox's namespaces, takes what a process
inherits from its parent as if its parent were the builder, and is the network's nursery.

    builder -> template   the modules, and what is inherited (JSON); the nursery's end of its
                          channel, the builder's stderr, and the sandbox's namespaces
    builder <- nursery    its process number in the sandbox, by that channel

The template is no child of pytest's, which may wait for all of its own. It ends with it.
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
from pathlib import Path
from typing import Any

from napt_lab.topologies.network.own_programs import ROOM, program

PROGRAM = "napt_lab.topologies.network.nursery_template_program"
# In the order of entering: that of users gives the right, that of mounts takes one's own /proc.
NAMESPACES = ("user", "uts", "ipc", "pid", "net", "mnt")
LIMITS = {n for name, n in vars(resource).items() if name.startswith("RLIMIT_")}
NUMBER_BYTES = 12
ANSWER_SECONDS = 10.0


class Template:
    """The process, for who has started it, and for forks of that process in sandboxes."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it, in the environment that all programs have."""
        self.environment = dict(environment)
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, contextlib.ExitStack() as stack:
            owner = os.pidfd_open(os.getpid())
            stack.callback(os.close, owner)
            between = subprocess.Popen(
                program(PROGRAM, str(theirs.fileno()), str(owner), ROOM),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), owner],
                start_new_session=True,
            )
        between.wait()

    def fork(self, modules: Iterable[str]) -> Forked | None:
        """Have it fork a nursery for the sandbox of this process; None if it cannot."""
        wanted = json.dumps({"modules": sorted(modules), "inherited": _inherited()}).encode()
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.settimeout(ANSWER_SECONDS)
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            given = [theirs.fileno(), 2]
            try:
                for kind in NAMESPACES:
                    given.append(os.open(f"/proc/self/ns/{kind}", os.O_RDONLY))
                    stack.callback(os.close, given[-1])
                socket.send_fds(self._asking, [wanted], given)
                theirs.close()  # so that its end would be seen
                if number := int(channel.recv(NUMBER_BYTES) or 0):
                    channel.settimeout(None)
                    return Forked(channel, os.pidfd_open(number))
            except OSError:  # it has been killed, or the nursery has, or they do not answer
                pass
        channel.close()
        return None

    def close(self) -> None:
        """End it, also if forks of this process could still ask it. Its nurseries go on."""
        with contextlib.suppress(OSError):  # it has ended already
            self._asking.shutdown(socket.SHUT_RDWR)
        self._asking.close()


def _inherited() -> dict[str, Any]:
    """What a process that this one starts would inherit."""
    ignored = [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN]
    # umask(2) tells it only by setting another one, which other threads would have meanwhile.
    status = Path("/proc/self/status").read_text("ascii", errors="replace")
    return {
        "limits": {number: resource.getrlimit(number) for number in LIMITS},
        "ignored": ignored,
        "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "umask": int(status.partition("Umask:")[2].split()[0], 8),
        "nice": os.nice(0),
        "processors": list(os.sched_getaffinity(0)),
    }


class Forked:
    """A nursery that came from the template: its channel, and a descriptor of its process."""

    def __init__(self, channel: socket.socket, pidfd: int) -> None:
        self.channel = channel
        self._pidfd = pidfd

    def end(self) -> None:
        """Kill it, and wait until it has ended."""
        ended = select.poll()
        ended.register(self._pidfd, select.POLLIN)
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        ended.poll()
        os.close(self._pidfd)
