"""Packets in pieces (RFC 791; RFC 4787, REQ-14).

Only the first fragment carries the ports. What the translator decides about it holds for the later
ones, which have the same source, destination, protocol and Identification. A later fragment that
arrives before the first one waits. Fragments are not put together here: each goes on as it came,
so they may arrive in any order.

The number of waiting fragments and their time are limited: otherwise a flood of fragments without
a first one would fill the memory. Datagrams whose first fragment has passed are kept apart from
those that wait or were dropped, so a flood of one kind pushes out none of the other (RFC 4787,
REQ-14a): fragments that arrive in order always pass. When the room for waiting fragments is used
up, the sender that takes most of it loses its oldest. So a host inside pushes out its own only. All
senders outside count as one, since a source is easily forged there.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from napt_lab.nat_node.core.packet import INSIDE, Packet, Side
from napt_lab.nat_node.core.verdict import Drop

#: A datagram's pieces arrive within seconds or not at all (RFC 791 suggests 15 s).
LIFETIME = 15.0
PASSING_DATAGRAMS = 4096
WAITING_PIECES = 64
ROOM, ENTRY = 1 << 20, 4096
"""Bytes for all that wait; what a datagram takes of them in addition to its pieces."""

Datagram = tuple[Side, int, int, int, int]


@dataclass(slots=True)
class _Passing:
    """How the first fragment was rewritten, and so the later ones are."""

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
    """Later fragments whose first one has not come, or was dropped."""

    expires: float
    dropped: Drop | None = None
    pieces: list[Packet] = field(default_factory=list)


class Fragments:
    """What is known of the datagrams that come in pieces. Times in seconds."""

    def __init__(self) -> None:
        self._passing: OrderedDict[Datagram, _Passing] = OrderedDict()
        self._waiting: OrderedDict[Datagram, _Waiting] = OrderedDict()
        self._taken: Counter[int] = Counter()  # of the room, by sender
        self.lost = 0  # pieces whose first fragment never passed

    def __len__(self) -> int:
        return len(self._passing) + len(self._waiting)

    def first(self, original: Datagram, verdict: Packet | Drop, now: float) -> list[Packet]:
        """Note what became of a first fragment; gives the later ones that waited, rewritten."""
        self._passing.pop(original, None)  # if it comes twice, its time begins afresh
        pieces = self._take_out(original)
        if isinstance(verdict, Drop):
            self.lost += len(pieces)
            self._wait(original, 0, now).dropped = verdict
            return []
        if len(self._passing) >= PASSING_DATAGRAMS:
            self._passing.popitem(last=False)
        passing = self._passing[original] = _Passing(
            now + LIFETIME, verdict.source, verdict.destination, verdict.identification
        )
        return [passing.rewrite(piece) for piece in pieces]

    def identification(self, original: Datagram) -> int | None:
        """The Identification that a datagram's first fragment was given, if it has passed."""
        passing = self._passing.get(original)
        return passing.identification if passing is not None else None

    def later(self, piece: Packet, now: float) -> list[Packet] | Drop:
        """A later fragment: rewritten like its first one, or kept until that has come."""
        key = datagram(piece)
        passing = self._passing.get(key)
        if passing is not None:
            return [passing.rewrite(piece)]
        waiting = self._waiting.get(key)
        if waiting and waiting.dropped:
            return waiting.dropped
        if waiting and len(waiting.pieces) >= WAITING_PIECES:
            return Drop.FRAGMENTS_FULL
        piece.data = bytearray(piece.data)  # the caller's buffer is used again
        self._wait(key, len(piece.data), now).pieces.append(piece)
        return []

    def expire(self, now: float) -> None:
        """Forget the datagrams whose time has passed."""
        while self._passing and next(iter(self._passing.values())).expires <= now:
            self._passing.popitem(last=False)
        while self._waiting and next(iter(self._waiting.values())).expires <= now:
            self._forget(next(iter(self._waiting)))

    def next_deadline(self) -> float | None:
        """When `expire` has something to do."""
        if not (self._passing or self._waiting):
            return None
        times = []
        for passing in self._passing.values():
            times.append(passing.expires)
            break
        for waiting in self._waiting.values():
            times.append(waiting.expires)
            break
        return min(times, default=None)

    def _wait(self, key: Datagram, size: int, now: float) -> _Waiting:
        """The entry of a waiting datagram that needs `size` bytes more."""
        while self._taken.total() + size + ENTRY * (key not in self._waiting) > ROOM:
            ((greediest, _),) = self._taken.most_common(1)
            self._forget(next(one for one in self._waiting if _sender(one) == greediest))
        entry = self._waiting.get(key)
        if entry is None:
            self._waiting[key] = entry = _Waiting(now + LIFETIME)
            size += ENTRY
        self._taken[_sender(key)] += size
        return entry

    def _forget(self, key: Datagram) -> None:
        self.lost += len(self._take_out(key))

    def _take_out(self, key: Datagram) -> list[Packet]:
        """End a datagram's waiting; gives its pieces."""
        entry = self._waiting.pop(key, None)
        if entry is None:
            return []
        sender = _sender(key)
        self._taken[sender] -= ENTRY + sum(len(piece.data) for piece in entry.pieces)
        if not self._taken[sender]:
            del self._taken[sender]
        return entry.pieces


def _sender(key: Datagram) -> int:
    """The host inside, or 0 for all hosts outside."""
    side, source, *_ = key
    return source if side is INSIDE else 0


def datagram(packet: Packet) -> Datagram:
    """What the fragments of one datagram have in common, before any rewriting."""
    return (
        packet.side, packet.source, packet.destination, packet.protocol, packet.identification,
    )  # fmt: skip
