"""When each thing expires: allocations, permissions, channels, reservations, idle connections.

Theory of operation. A heap gives the next expiration. Refreshing leaves the old entry behind in
the heap, so a dictionary holds the current times, and heap entries that disagree with it are
skipped. When most of the heap is stale it is rebuilt: its size stays in proportion to what is
alive, whatever a client does.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Expirations(Generic[K]):
    """One time per key, in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._when: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._when)

    def set(self, key: K, when: float) -> None:
        """Have `key` expire at this time, instead of any other."""
        self._when[key] = when
        self._push(key, when)
        if len(self._heap) > 2 * len(self._when) + 64:
            self._rebuild()

    def discard(self, key: K) -> None:
        """Forget `key`, if it is known."""
        self._when.pop(key, None)
        if len(self._heap) > 2 * len(self._when) + 64:
            self._rebuild()

    def next(self) -> float | None:
        """The earliest time."""
        while self._heap:
            when, _, key = self._heap[0]
            if self._when.get(key) == when:
                return when
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> Iterator[K]:
        """Yield and forget each key whose time has come."""
        while (when := self.next()) is not None and when <= now:
            key = heapq.heappop(self._heap)[2]
            del self._when[key]
            yield key

    def _push(self, key: K, when: float) -> None:
        # The sequence number keeps the heap from ever comparing keys.
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, key))

    def _rebuild(self) -> None:
        self._heap.clear()
        for key, when in self._when.items():
            self._push(key, when)
