"""Waiting for packets without falling asleep where the next one is about to come.

A process that waits sleeps, and to wake it takes the machine longer than to translate a packet:
tens of microseconds, on virtual machines most of all. A question and its answer pass a NAPT one
after the other, so both would wait for that. So where the last wait was short, the next one begins
with looking again and again, for as long as a wait may be to count as short. Other processes go
first (sched_yield(2)). Where packets come seldom, or not at all, the process sleeps as any other.

The kernel can do the same for sockets (SO_BUSY_POLL, socket(7)), but not for TUN devices.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

SHORT = 100e-6
"""Seconds: a wait that is not longer is worth staying awake for."""


class BusyPoll:
    """Waits for the descriptors that are registered with `epoll`."""

    def __init__(self, epoll: select.epoll, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: the time in seconds."""
        self._epoll = epoll
        self._clock = clock
        self._awake = False

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Descriptors and what is ready there; none after `seconds`. -1: wait without end."""
        clock, poll = self._clock, self._epoll.poll
        began = clock()
        while self._awake and clock() - began < SHORT:
            if ready := poll(0):
                return ready
            os.sched_yield()
        ready = poll(seconds)
        self._awake = bool(ready) and clock() - began < SHORT
        return ready
