"""Kills a process of a sandbox at every moment of the sandbox's life; what is left is told.

A program of its own, for pytest's process, which is larger, takes much longer to fork.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from napt_lab.topologies.sandbox import sandbox
from tests.network.sandbox_host import await_same, host, processes_of


def enter_traced(at_line: Callable[[bool, int], None], work: Callable[[], object]) -> int:
    """Fork a child that enters a sandbox, does `work` and leaves; returns its process number.

    `at_line(is_init, line)` is called before each line of sandbox.py that outer or init runs.
    """
    child = os.fork()
    if child:
        return child

    def trace(frame, event, _argument):
        if frame.f_code.co_filename != sandbox.__file__:
            return None
        if event == "line":
            at_line(os.getpid() == 1, frame.f_lineno)
        return trace

    status = 1
    try:
        sys.settrace(trace)
        sandbox.enter()
        work()
        status = 0
    finally:
        os._exit(status)


def moments() -> list[tuple[bool, int]]:
    """All lines that outer and init run from the beginning to the end of a sandbox."""
    lines, lines_in = os.pipe()

    def tell(is_init: bool, line: int) -> None:
        os.write(lines_in, b"%d %d\n" % (is_init, line))

    child = enter_traced(tell, work=lambda: None)
    os.close(lines_in)
    with os.fdopen(lines) as stream:
        passed = {(bool(int(init)), int(line)) for init, line in map(str.split, stream)}
    assert os.waitpid(child, 0)[1] == 0
    return sorted(passed)


class Stopped:
    """A sandbox one of whose processes has stopped before a line."""

    def __init__(self, stop: tuple[bool, int]) -> None:
        here, here_in = os.pipe()
        self._on, self._on_in = os.pipe()
        self._began, began_in = os.pipe()
        os.set_blocking(self._began, False)

        def wait(*moment: int) -> None:
            if moment == stop:
                os.write(here_in, b"!")
                os.close(self._on_in)
                os.read(self._on, 1)
                sys.settrace(None)

        self.outer = enter_traced(wait, work=lambda: os.write(began_in, b"!"))
        os.close(here_in)
        os.close(began_in)
        os.read(here, 1)
        os.close(here)
        self.family = processes_of(self.outer)

    def work_began(self) -> bool:
        """Tell whether the work has begun since this was last asked."""
        try:
            return bool(os.read(self._began, 1))
        except BlockingIOError:
            return False

    def go_on(self) -> None:
        os.close(self._on_in)
        os.close(self._on)
        os.waitpid(self.outer, 0)


def kill_at_every_moment(victim: str) -> None:
    """A process stops before each line in turn, the victim is killed, and the rest goes on.

    The case that PR_SET_PDEATHSIG alone does not cover is among them: outer has started init and
    is killed, and init has not yet asked for the signal.
    """
    before = host()
    stops = moments()
    kills = 0
    for stop in stops:
        stopped = Stopped(stop)
        began_before = stopped.work_began()
        if victim == "outer":
            os.kill(stopped.outer, signal.SIGKILL)
            os.waitid(os.P_PID, stopped.outer, os.WEXITED | os.WNOWAIT)  # dead before init goes on
        elif len(stopped.family) > 1:
            os.kill(stopped.family[1], signal.SIGKILL)
            kills += 1
        stopped.go_on()
        await_same(before)
        is_init, line = stop
        if is_init and len(stopped.family) == 2 and not began_before:
            assert not stopped.work_began(), f"init went on after line {line} without {victim}"
    assert victim == "outer" or kills > len(stops) / 2


if __name__ == "__main__":
    kill_at_every_moment(sys.argv[1])
