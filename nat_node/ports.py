"""Which external port a new rule gets (RFC 4787, section 4.2; RFC 6056).

Preserve: the internal port if it is free, else at random. Sequential: the next free one.
Random: any free one. Chance comes from outside, so that tests can choose it.

In a pool that is nearly full, free ports are searched for in strides of random length. One after
the other would fill up the pool in runs without a gap, each longer than the one before, and the
last ports of 65,535 would take thousands of looks each.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

from nat_node.settings import PortAssignment

#: A few throws find a free port in any pool that is not nearly full.
_THROWS = 8


class PortPool:
    """Chooses ports from `pool`; `below(n)` returns a random number from 0 to n - 1."""

    def __init__(
        self, pool: range, assignment: PortAssignment, below: Callable[[int], int]
    ) -> None:
        self.pool = pool
        self._assignment = assignment
        self._below = below
        self._next = 0

    def choose(self, wanted: int, is_free: Callable[[int], bool]) -> int | None:
        """A free port, or None when there is none. `wanted` is the internal port."""
        pool = self.pool
        if self._assignment is PortAssignment.SEQUENTIAL:
            return self._scan(self._next, is_free)
        if self._assignment is PortAssignment.PRESERVE and wanted in pool and is_free(wanted):
            return wanted
        for _ in range(_THROWS):
            port = pool[self._below(len(pool))]
            if is_free(port):
                return port
        return self._scan(self._below(len(pool)), is_free, self._stride())

    def _stride(self) -> int:
        """A step that comes to every port of the pool before it comes back to the first."""
        size = len(self.pool)
        while gcd(stride := 1 + self._below(size), size) != 1:
            pass
        return stride

    def _scan(self, start: int, is_free: Callable[[int], bool], stride: int = 1) -> int | None:
        """The first free port from `start` on, once around."""
        pool = self.pool
        for step in range(len(pool)):
            index = (start + step * stride) % len(pool)
            if is_free(pool[index]):
                self._next = index + 1
                return pool[index]
        return None
