"""One direction of a link: a queue, a sender of limited rate, a wire that takes time, and loss.

Theory of operation. A frame that arrives waits in the queue until the frames before it have been
sent (`rate`), then it is on the wire for `delay`, more or less by `jitter`. Frames do not overtake
each other. A frame is lost if the queue is full, if it is too long for a black hole, by chance
(`loss`), or because it is the tenth one (`every: 10`).

Pure: the time and the chance come from outside.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from random import Random

ETHERNET = 14  # bytes before the IP packet


class Loss(Enum):
    """Why a link did not deliver a frame: the reason's name, and a sentence for people."""

    def __init__(self, label: str, meaning: str) -> None:
        self.label = label
        self.meaning = meaning

    CHANCE = "lost", "the link loses some packets (loss)"
    ALWAYS = "lost", "the link loses all packets (loss)"
    QUEUE_FULL = "queue-full", "the queue of the link is full (rate, queue)"
    BLACK_HOLE = "black-hole", "it is longer than the link's mtu, and no router reports this"
    DOWN = "link-down", "the link is unplugged"
    OVERRUN = "link-overrun", "this machine is too slow to carry so many packets over slow links"


@dataclass(frozen=True, slots=True)
class Direction:
    """What a link does in one direction. Times are in seconds, `rate` in bits a second."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0  # the share of frames lost, 0 to 1
    every: int = 0  # 10: each tenth frame is lost; 0: none
    rate: float = 0.0  # 0: no limit
    queue: int = 100  # frames that may wait to be sent
    largest: int = 0  # bytes of an IP packet that gets through; 0: any


class Line:
    """One direction of a link, with the frames that are on it."""

    def __init__(self, settings: Direction, chance: Random) -> None:
        self.settings = settings
        self._chance = chance
        self._on_the_wire: deque[tuple[float, bytes]] = deque()  # when it arrives, and what
        self._starts: deque[float] = deque()  # when each waiting frame will begin to be sent
        self._free_at = 0.0  # when the sender has sent all that waits
        self._seen = 0

    def offer(self, frame: bytes, now: float) -> Loss | None:
        """Put a frame on the line at `now`; why it is lost, or None."""
        settings = self.settings
        if settings.largest and len(frame) - ETHERNET > settings.largest:
            return Loss.BLACK_HOLE
        self._seen += 1
        if settings.every and self._seen % settings.every == 0:
            return Loss.CHANCE if settings.every > 1 else Loss.ALWAYS
        if settings.loss and self._chance.random() < settings.loss:
            return Loss.CHANCE if settings.loss < 1 else Loss.ALWAYS
        sent = now
        if settings.rate:
            while self._starts and self._starts[0] <= now:
                self._starts.popleft()
            if len(self._starts) >= settings.queue:
                return Loss.QUEUE_FULL
            start = max(now, self._free_at)
            if start > now:
                self._starts.append(start)
            sent = self._free_at = start + 8 * len(frame) / settings.rate
        arrives = sent + settings.delay
        if settings.jitter:
            arrives += self._chance.uniform(-settings.jitter, settings.jitter)
        if self._on_the_wire:
            arrives = max(arrives, self._on_the_wire[-1][0])
        self._on_the_wire.append((max(arrives, now), frame))
        return None

    @property
    def next_arrival(self) -> float | None:
        """When the next frame arrives; None if there is none on the line."""
        return self._on_the_wire[0][0] if self._on_the_wire else None

    def arrived(self, now: float) -> list[bytes]:
        """Take the frames that have arrived by `now`, in their order."""
        frames = []
        while self._on_the_wire and self._on_the_wire[0][0] <= now:
            frames.append(self._on_the_wire.popleft()[1])
        return frames
