"""Packets in pieces (RFC 791; RFC 4787, REQ-14).

Only the first fragment carries the ports, so only it can be looked up; what was decided for it
holds for its siblings, which share its source, destination, protocol and identification. A
sibling that overtakes the first one waits. How many wait, and for how long, is bounded: else a
flood of fragments without a first would fill the memory. That fragments may come in any order
is why they are not put together here: each goes on as it came.

Anyone can send pieces that lead nowhere. So the datagrams whose first fragment has passed are
kept apart from those that wait or were dropped, and a flood of the one kind pushes out none of
the other (RFC 4787, REQ-14a): whoever comes in order passes, whatever else is going on.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from nat_node.packet import Packet, Side
from nat_node.verdict import Drop

#: A datagram's pieces arrive within seconds or not at all (RFC 791 suggests 15 s).
LIFETIME = 15.0
PASSING_DATAGRAMS = 4096
DATAGRAMS = 256
WAITING_PIECES = 64
WAITING_BYTES = 1 << 20

Datagram = tuple[Side, int, int, int, int]


@dataclass(slots=True)
class _Passing:
    """What the first fragment became; so do the others."""

    expires: float
    source: int
    destination: int
    identification: int

    def rewrite(self, piece: Packet) -> Packet:
        piece.rewrite_source((self.source, 0))
        piece.rewrite_destination((self.destination, 0))
        piece.rewrite_identification(self.identification)
        return piece


@dataclass(slots=True)
class _Waiting:
    """Pieces without a first one, or with one that was dropped."""

    expires: float
    dropped: Drop | None = None
    pieces: list[Packet] = field(default_factory=list)


class Fragments:
    """What is known of the datagrams that come in pieces. Times in seconds."""

    def __init__(self) -> None:
        self._passing: OrderedDict[Datagram, _Passing] = OrderedDict()
        self._waiting: OrderedDict[Datagram, _Waiting] = OrderedDict()
        self._bytes = 0
        self.lost = 0  # pieces that waited in vain

    def __len__(self) -> int:
        return len(self._passing) + len(self._waiting)

    def first(self, original: Datagram, verdict: Packet | Drop, now: float) -> list[Packet]:
        """Remember what became of a first fragment; gives the siblings that waited, rewritten."""
        # An identification that is used again is another datagram, with a time of its own.
        self._passing.pop(original, None)
        waited = self._waiting.pop(original, None)
        pieces = waited.pieces if waited else []
        self._bytes -= sum(len(piece.data) for piece in pieces)
        if isinstance(verdict, Drop):
            self._wait(original, now).dropped = verdict
            return []
        if len(self._passing) >= PASSING_DATAGRAMS:
            self._passing.popitem(last=False)
        passing = self._passing[original] = _Passing(
            now + LIFETIME, verdict.source, verdict.destination, verdict.identification
        )
        return [passing.rewrite(piece) for piece in pieces]

    def later(self, piece: Packet, now: float) -> list[Packet] | Drop:
        """A later fragment: rewritten like its first, or kept until that has come."""
        key = datagram(piece)
        passing = self._passing.get(key)
        if passing is not None:
            return [passing.rewrite(piece)]
        waiting = self._waiting.get(key) or self._wait(key, now)
        if waiting.dropped:
            return waiting.dropped
        size = len(piece.data)
        if len(waiting.pieces) >= WAITING_PIECES or self._bytes + size > WAITING_BYTES:
            return Drop.FRAGMENTS_FULL
        piece.data = bytearray(piece.data)  # the caller's buffer is used again
        waiting.pieces.append(piece)
        self._bytes += size
        return []

    def expire(self, now: float) -> None:
        """Forget the datagrams whose time has passed."""
        while self._passing and next(iter(self._passing.values())).expires <= now:
            self._passing.popitem(last=False)
        while self._waiting and next(iter(self._waiting.values())).expires <= now:
            self._forget_oldest()

    def next_deadline(self) -> float | None:
        """When `expire` has something to do."""
        times = []
        for passing in self._passing.values():
            times.append(passing.expires)
            break
        for waiting in self._waiting.values():
            times.append(waiting.expires)
            break
        return min(times, default=None)

    def _wait(self, key: Datagram, now: float) -> _Waiting:
        if len(self._waiting) >= DATAGRAMS:
            self._forget_oldest()
        self._waiting[key] = entry = _Waiting(now + LIFETIME)
        return entry

    def _forget_oldest(self) -> None:
        _, entry = self._waiting.popitem(last=False)
        self.lost += len(entry.pieces)
        self._bytes -= sum(len(piece.data) for piece in entry.pieces)


def datagram(packet: Packet) -> Datagram:
    """What the fragments of one datagram have in common, before any rewriting."""
    return (
        packet.side, packet.source, packet.destination, packet.protocol, packet.identification,
    )  # fmt: skip
