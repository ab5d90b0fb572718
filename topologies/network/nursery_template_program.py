"""The process that forks nurseries: see nursery_template.py.

python -P -m napt_lab.topologies.network.nursery_template_program DESCRIPTOR OWNER ROOM
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from napt_lab.topologies.network.nursery_program import HIGHEST_DESCRIPTOR, serve
from napt_lab.topologies.network.nursery_template import NAMESPACES

MESSAGE_BYTES = 1 << 16
_PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)  # ignored by every Python program
_libc = ctypes.CDLL(None, use_errno=True)


def next_nursery(asked: socket.socket, owner: int) -> socket.socket:
    """Fork for each request; returns in the nursery, in its sandbox, with its channel."""
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    poll.register(owner, select.POLLIN)
    while True:
        if any(descriptor == owner for descriptor, _ in poll.poll()):
            sys.exit(0)
        message, descriptors, _, _ = socket.recv_fds(asked, MESSAGE_BYTES, 2 + len(NAMESPACES))
        if not message:
            sys.exit(0)
        wanted = json.loads(message)
        for module in wanted["modules"]:
            importlib.import_module(module)
        gc.freeze()  # what is imported stays shared
        try:
            child = os.fork()
        except OSError:  # no room: the builder sees the end of its channel
            child = -1
        if not child:
            asked.close()
            os.close(owner)
            channel, stderr, *namespaces = descriptors
            os.dup2(stderr, 2)
            os.close(stderr)
            try:
                _enter(namespaces)
                _inherit(**wanted["inherited"])
            except Exception:  # noqa: BLE001  # the builder sees that, and starts one of its own
                os._exit(1)
            return socket.socket(fileno=channel)
        for each in descriptors:
            os.close(each)


def _enter(namespaces: Sequence[int]) -> None:
    """Go into a sandbox. Raises OSError."""
    for kind, namespace in zip(NAMESPACES, namespaces, strict=True):
        # Root's sandbox is in the same user namespace, and nobody may enter the one he is in.
        same = os.path.samestat(Path(f"/proc/self/ns/{kind}").stat(), os.fstat(namespace))
        if not same and _libc.setns(namespace, 0) != 0:
            raise OSError(ctypes.get_errno(), f"setns: {kind}")
        os.close(namespace)
    if os.fork():  # one enters a namespace of processes only as a child
        _await_child()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()


def _await_child() -> NoReturn:
    """End after the nursery, whose parent this is.

    A sandbox ends when none of its dead waits for a parent, and the first process of a container
    may not be one that cares.
    """
    os.closerange(3, HIGHEST_DESCRIPTOR)
    with contextlib.suppress(ChildProcessError):  # nobody asks how it has ended
        os.wait()
    os._exit(0)


def _inherit(
    limits: Mapping[str, tuple[int, int]],
    ignored: Sequence[int],
    blocked: Sequence[int],
    umask: int,
    nice: int,
    processors: Sequence[int],
) -> None:
    """Be as if the builder had started this process. Raises OSError or ValueError."""
    for number, limit in limits.items():
        if list(resource.getrlimit(int(number))) != list(limit):
            resource.setrlimit(int(number), limit)
    for signal_number in ignored:
        signal.signal(signal_number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    os.umask(umask)
    os.nice(nice - os.nice(0))
    if set(processors) != os.sched_getaffinity(0):
        os.sched_setaffinity(0, processors)


def _forget_signals() -> None:
    """Heed and let through what whoever has started this process did not."""
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN and number not in _PYTHONS_OWN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def main(descriptor: int, owner: int) -> None:
    """Fork nurseries; in one, be it."""
    if os.fork():
        os._exit(0)
    gc.disable()  # imports leave hardly any garbage
    _forget_signals()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets the dead at once
    with contextlib.suppress(BrokenPipeError):  # who has asked is gone
        channel = next_nursery(socket.socket(fileno=descriptor), owner)
        channel.send(b"%d" % os.getpid())
        serve(channel)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
