"""The process from which our programs are forked: see nursery.py.

python -P -m napt_lab.topologies.network.nursery_program DESCRIPTOR MODULE… ROOM
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import gc
import importlib
import json
import os
import runpy
import select
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MODULE = 3  # its place in `python -P -m MODULE …`
HIGHEST_DESCRIPTOR = 1 << 20
ARGUMENTS_BEGIN, ARGUMENTS_END = 45, 46  # in /proc/self/stat, after the name (proc(5))
_libc = ctypes.CDLL(None, use_errno=True)


def next_program(channel: socket.socket) -> dict[str, Any]:
    """Fork for each request; returns in the child, with what it is to become."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    children: dict[int, tuple[int, int]] = {}  # pidfd: the number, and where its status goes
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in children:
                poll.unregister(descriptor)
                _tell_end(descriptor, *children.pop(descriptor))
                continue
            message, descriptors, _, _ = socket.recv_fds(channel, 1, 4)
            if not message:
                sys.exit(0)
            words, out, err, end = descriptors
            try:
                child = os.fork()
            except OSError as error:
                channel.send(b"-%d" % (error.errno or errno.EAGAIN))
            else:
                if not child:
                    wanted: dict[str, Any] = json.loads(os.pread(words, os.fstat(words).st_size, 0))
                    _take(out, err)
                    return wanted
                os.setpgid(child, child)  # now, so that it can be killed as a group
                pidfd = os.pidfd_open(child)
                poll.register(pidfd, select.POLLIN)
                children[pidfd] = child, os.dup(end)
                channel.send(b"%d" % child)
            for each in descriptors:
                os.close(each)


def _tell_end(pidfd: int, child: int, end: int) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(end, b"%d" % status)  # a pipe has room for it, and someone reads it
    os.close(end)
    os.close(pidfd)


def _take(out: int, err: int) -> None:
    """Take the streams that were sent, and leave what belongs to the nursery."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.closerange(3, HIGHEST_DESCRIPTOR)


def become(node: int, argv: Sequence[str], environment: dict[str, str], folder: str) -> None:
    """Be `python -P -m MODULE …` on a node, to the end of the program."""
    for name in ("net", "mnt"):
        descriptor = os.open(f"/proc/{node}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        if _libc.setns(descriptor, 0) != 0:
            number = ctypes.get_errno()
            sys.exit(f"cannot enter the node's namespaces: setns: {os.strerror(number)}")
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _show_as(argv)
    gc.enable()
    atexit.register(gc.freeze)  # at its end all is garbage: nothing need be looked for
    sys.argv = list(argv[MODULE:])
    runpy.run_module(argv[MODULE], run_name="__main__", alter_sys=True)


def _show_as(argv: Sequence[str]) -> None:
    """Put these words where `ps` finds the command line of this process."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[ARGUMENTS_BEGIN]), int(fields[ARGUMENTS_END])
    words = os.fsencode(" ".join(argv))[: end - begin - 2]
    # A last byte that is not zero tells the kernel that the words were changed.
    ctypes.memmove(begin, words.ljust(end - begin - 1, b"\0") + b" ", end - begin)


def main(descriptor: int, modules: Sequence[str]) -> None:
    """Import the modules, and fork; in a child, be the program."""
    gc.disable()  # imports leave hardly any garbage
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # what is imported stays shared
    serve(socket.socket(fileno=descriptor))


def serve(channel: socket.socket) -> None:
    """Fork for each request; in a child, be the program."""
    become(**next_program(channel))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:-1])
