"""What a student's file may take: time, memory, descriptors, and words (all else: wall.py).

Every call is timed by the processor time that it takes. A signal comes after each LOOK_SECONDS of
it. If it finds the same call twice, it raises Overrun in the line that takes so long. Python does
not see signals during one long operation in C, and none come while a call waits: the node notices
both (process.py), and ends the process.
"""

from __future__ import annotations

import faulthandler
import io
import itertools
import os
import resource
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from napt_lab.nat_node.engines.student.faults import Overrun

LOOK_SECONDS = 0.5  # of processor time; a call may take one to two of these
MEMORY = 512 << 20  # bytes of address space
OPEN_FILES = 64
HIGHEST_DESCRIPTOR = 1 << 20
LINES = 200  # of what is printed, and as many different faults are told
LINE = 300  # characters


def confine(*kept: int) -> None:
    """Close what is not ours, and set bounds."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what is written past sys.stdout does not reach the node's events
        os.dup2(nothing, standard)
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, HIGHEST_DESCRIPTOR)
    for what, bound in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(what, (most, most))
    faulthandler.register(signal.SIGUSR1, file=kept[1], all_threads=False)


class Stopwatch:
    """Interrupts a call that takes too long. Calls have numbers; 0: no call."""

    def __init__(self) -> None:
        self._calls = itertools.count(1)
        self._call = self._found = 0

    def start(self) -> None:
        """From now on the processor time is counted."""
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, LOOK_SECONDS, LOOK_SECONDS)

    def time(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a function. Raises Overrun out of it."""
        self._call = next(self._calls)
        try:
            return function(*arguments)
        finally:
            self._call = 0

    def _look(self, _number: int, _frame: FrameType | None) -> None:
        if self._call and self._call == self._found:
            raise Overrun("has been computing for too long: an endless loop?")
        self._found = self._call


class Said(io.TextIOBase):
    """sys.stdout and sys.stderr of the student's file: lines, of which the first are told."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._begun = ""
        self._left = LINES

    def writable(self) -> bool:
        """True: the io module asks before it writes."""
        return True

    def write(self, text: str) -> int:
        """Pass on whole lines, until LINES of them."""
        *lines, self._begun = (self._begun + text).split("\n")
        self._begun = self._begun[:LINE]
        for line in lines[: max(0, self._left)]:
            self._tell(line[:LINE])
            self._left -= 1
            if not self._left:
                self._tell("… and more, which is not shown")
        return len(text)
