"""Servers forked from a process that has imported what they need, as a network's nursery does.

Their imports would be a quarter of a second for each of some 130. Here no namespace is entered,
for which an ordinary user would have no right.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
from multiprocessing.connection import Connection

_SERVERS = multiprocessing.get_context("forkserver")
_SERVERS.set_forkserver_preload(["napt_lab.servers.files.application"])


def _become(
    module: str, arguments: tuple[str, ...], stdout: Connection, stderr: Connection
) -> None:
    os.dup2(stdout.fileno(), 1)
    os.dup2(stderr.fileno(), 2)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Forked:
    """`python -m MODULE`, but for the exec; with what tests use of a subprocess.Popen."""

    def __init__(self, module: str, *arguments: str) -> None:
        pipes = [_SERVERS.Pipe(duplex=False) for _ in range(2)]
        self._process = _SERVERS.Process(
            target=_become, args=(module, arguments, *(theirs for _, theirs in pipes))
        )
        self._process.start()
        for _, theirs in pipes:
            theirs.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(ours.fileno()), "rb") for ours, _ in pipes)
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.terminate, self.kill = self._process.terminate, self._process.kill

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # its parent has waited for it already
            os.kill(self.pid, number)
