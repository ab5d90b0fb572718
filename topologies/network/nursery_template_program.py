"""The process that forks nurseries: see nursery_template.py.

python -P -m napt_lab.topologies.network.nursery_template_program DESCRIPTOR ROOM
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from napt_lab.topologies.network.nursery_program import HIGHEST_DESCRIPTOR, serve
from napt_lab.topologies.network.nursery_template import NAMESPACES

MESSAGE_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


def next_nursery(asked: socket.socket) -> socket.socket:
    """Fork for each request; returns in the nursery, in its sandbox, with its channel."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, MESSAGE_BYTES, 1 + len(NAMESPACES))
        if not message:
            sys.exit(0)
        wanted = json.loads(message)
        for module in wanted["modules"]:
            importlib.import_module(module)
        gc.freeze()  # what is imported stays shared
        if not os.fork():
            asked.close()
            channel, *namespaces = descriptors
            _enter(namespaces, wanted["limits"])
            return socket.socket(fileno=channel)
        for each in descriptors:
            os.close(each)


def _enter(namespaces: Sequence[int], limits: Mapping[str, tuple[int, int]]) -> None:
    """Go into a sandbox as if started there; whoever cannot, ends."""
    for kind, namespace in zip(NAMESPACES, namespaces, strict=True):
        # Root's sandbox is in the same user namespace, and nobody may enter the one he is in.
        same = os.path.samestat(Path(f"/proc/self/ns/{kind}").stat(), os.fstat(namespace))
        if not same and _libc.setns(namespace, 0) != 0:
            os._exit(1)
        os.close(namespace)
    if os.fork():  # one enters a namespace of processes only as a child
        _await_child()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, limit in limits.items():
        if list(resource.getrlimit(int(number))) != list(limit):
            resource.setrlimit(int(number), limit)


def _await_child() -> NoReturn:
    """End after the nursery, whose parent this is.

    A sandbox ends when none of its dead waits for a parent, and the first process of a container
    may not be one that cares.
    """
    os.closerange(3, HIGHEST_DESCRIPTOR)
    with contextlib.suppress(ChildProcessError):  # nobody asks how it has ended
        os.wait()
    os._exit(0)


def main(descriptor: int) -> None:
    """Fork nurseries; in one, be it."""
    gc.disable()  # imports leave hardly any garbage
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets the dead at once
    with contextlib.suppress(BrokenPipeError):  # who has asked is gone
        channel = next_nursery(socket.socket(fileno=descriptor))
        channel.send(b"%d" % os.getpid())
        serve(channel)


if __name__ == "__main__":
    main(int(sys.argv[1]))
