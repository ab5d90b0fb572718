"""When an unused session must go, or a lease that is not renewed.

Theory of operation
-------------------
Every session has an entry in a heap, ordered by time. Each packet moves its session's deadline,
which is far too often to reorder a heap. So an entry only says when to *look again*: at that time
the session's deadline is read, and if it lies ahead, the entry goes back into the heap with it. A
deadline that moved *closer* (a connection that closed) gets a new entry at once. The old entry is
then stale; stale ones are removed when they are the majority.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar


class Expiring(Protocol):
    """What has a deadline, and a serial number of its own; `look_again_at` is None at first."""

    look_again_at: float | None

    @property
    def deadline(self) -> float:
        """When it ends, in seconds of the caller's clock."""

    @property
    def serial(self) -> int:
        """A number of its own, which orders equal deadlines."""


T = TypeVar("T", bound=Expiring)


class Deadlines(Generic[T]):
    """The sessions in the order in which they may expire. Times are in seconds."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._live = 0

    def __len__(self) -> int:
        """How many entries are held, stale ones included."""
        return len(self._heap)

    def schedule(self, session: T) -> None:
        """Look at a session at its deadline; call again whenever its lifetime shrinks."""
        deadline = session.deadline
        if session.look_again_at is None:
            self._live += 1
        elif session.look_again_at <= deadline:
            return  # it is looked at early enough
        session.look_again_at = deadline
        heappush(self._heap, (deadline, session.serial, session))

    def cancel(self, session: T) -> None:
        """Forget a session that has ended."""
        if session.look_again_at is not None:
            session.look_again_at = None
            self._live -= 1
            if len(self._heap) > 64 and len(self._heap) > 2 * self._live:
                self._heap = [e for e in self._heap if e[0] == e[2].look_again_at]
                heapify(self._heap)

    def next(self) -> float | None:
        """The time of the next look, or None when there is nothing to wait for."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[T]:
        """The sessions whose time has passed. The caller ends each, which cancels it."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, session = heappop(heap)
            if when != session.look_again_at:
                continue
            if session.deadline > now:
                session.look_again_at = deadline = session.deadline
                heappush(heap, (deadline, session.serial, session))
            else:
                yield session
                heap = self._heap  # cancelling may have swept
