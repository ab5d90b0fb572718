"""Packets in pieces (RFC 791; RFC 4787, REQ-14).

Only the first fragment carries the ports, so only it can be looked up; what was decided for it
holds for its siblings, which share its source, destination, protocol and identification. A
sibling that overtakes the first one waits. How many wait, and for how long, is bounded: else a
flood of fragments without a first would fill the memory. That fragments may come in any order
is why they are not put together here: each goes on as it came.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from nat_node.packet import Packet, Side
from nat_node.verdict import Drop

#: A datagram's pieces arrive within seconds or not at all (RFC 791 suggests 15 s).
LIFETIME = 15.0
DATAGRAMS = 256
WAITING_PIECES = 64
WAITING_BYTES = 1 << 20

Datagram = tuple[Side, int, int, int, int]


@dataclass(slots=True)
class _Entry:
    expires: float
    source: int | None = None  # what the first fragment's addresses became; None: not seen yet
    destination: int | None = None
    dropped: Drop | None = None
    waiting: list[Packet] = field(default_factory=list)


class Fragments:
    """What is known of the datagrams that come in pieces. Times in seconds."""

    def __init__(self) -> None:
        self._datagrams: OrderedDict[Datagram, _Entry] = OrderedDict()
        self._bytes = 0
        self.lost = 0  # pieces that waited in vain

    def __len__(self) -> int:
        return len(self._datagrams)

    def first(self, original: Datagram, verdict: Packet | Drop, now: float) -> list[Packet]:
        """Remember what became of a first fragment; gives the siblings that waited, rewritten."""
        entry = self._entry(original, now)
        entry.expires = now + LIFETIME  # an identification that is used again is another datagram
        self._datagrams.move_to_end(original)
        waiting, entry.waiting = entry.waiting, []
        self._bytes -= sum(len(piece.data) for piece in waiting)
        entry.dropped = verdict if isinstance(verdict, Drop) else None
        if isinstance(verdict, Drop):
            return []
        entry.source, entry.destination = verdict.source, verdict.destination
        return [_rewrite(piece, entry) for piece in waiting]

    def later(self, piece: Packet, now: float) -> list[Packet] | Drop:
        """A later fragment: rewritten like its first, or kept until that has come."""
        entry = self._entry(datagram(piece), now)
        if entry.dropped:
            return entry.dropped
        if entry.source is not None:
            return [_rewrite(piece, entry)]
        size = len(piece.data)
        if len(entry.waiting) >= WAITING_PIECES or self._bytes + size > WAITING_BYTES:
            return Drop.FRAGMENTS_FULL
        piece.data = bytearray(piece.data)  # the caller's buffer is used again
        entry.waiting.append(piece)
        self._bytes += size
        return []

    def expire(self, now: float) -> None:
        """Forget the datagrams whose time has passed."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            self._forget_oldest()

    def next_deadline(self) -> float | None:
        """When `expire` has something to do."""
        for entry in self._datagrams.values():
            return entry.expires
        return None

    def _entry(self, key: Datagram, now: float) -> _Entry:
        entry = self._datagrams.get(key)
        if entry is None:
            if len(self._datagrams) >= DATAGRAMS:
                self._forget_oldest()
            entry = self._datagrams[key] = _Entry(now + LIFETIME)
        return entry

    def _forget_oldest(self) -> None:
        _, entry = self._datagrams.popitem(last=False)
        self.lost += len(entry.waiting)
        self._bytes -= sum(len(piece.data) for piece in entry.waiting)


def datagram(packet: Packet) -> Datagram:
    """What the fragments of one datagram have in common, before any rewriting."""
    return (
        packet.side, packet.source, packet.destination, packet.protocol, packet.identification,
    )  # fmt: skip


def _rewrite(piece: Packet, entry: _Entry) -> Packet:
    assert entry.source is not None
    assert entry.destination is not None
    piece.rewrite_source((entry.source, 0))
    piece.rewrite_destination((entry.destination, 0))
    return piece
